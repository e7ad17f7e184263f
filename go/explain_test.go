// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func explained(t *testing.T, g *Group, cmd *exec.Cmd) Verdict {
	t.Helper()
	cmd.Wait()
	v, err := g.Explain(cmd.ProcessState)
	must(t, err)
	return v
}

func TestAnExitIsExplained(t *testing.T) {
	g := group(t, Options{})
	v := explained(t, g, run(t, g, "sh", "-c", "exit 137"))
	if v.Cause != CauseExited || v.Candidates != CauseExited || v.ExitCode != 137 || v.Signal != 0 {
		t.Fatalf("%+v", v)
	}
	if v.String() != "The program exited with code 137." {
		t.Fatal(v)
	}
}

func TestAKillIsExplainedByItsCall(t *testing.T) {
	g := group(t, Options{})
	cmd := run(t, g, "sleep", "1000")
	if v, err := g.Explain(nil); err != nil || v.Cause != CauseRunning {
		t.Fatalf("%+v, %v", v, err)
	}
	must(t, g.KillAll(within(t)))
	v := explained(t, g, cmd)
	if v.Cause != CauseKilled || v.Call != CallKillAll || v.Signal != syscall.SIGKILL {
		t.Fatalf("%+v", v)
	}
}

func TestASignalOfAnotherIsNotTakenForAKill(t *testing.T) {
	g := group(t, Options{})
	cmd := run(t, g, "sleep", "1000")
	must(t, cmd.Process.Kill())
	if v := explained(t, g, cmd); v.Cause != CauseSignal || v.Candidates != CauseSignalInside|CauseSignalOutside {
		t.Fatalf("%+v", v)
	}
}

func TestAnOOMKillIsExplained(t *testing.T) {
	g := group(t, Options{Limits: Limits{MemoryMaxBytes: At(16 << 20), SwapMaxBytes: At(0), OOMGroup: On}})
	cmd := run(t, g, "sh", "-c", "x=$(head -c 100000000 /dev/zero | tr '\\0' x); sleep 1000")
	v := explained(t, g, cmd)
	if v.Signal != syscall.SIGKILL || !v.Has(CountOOMKills|CountMemoryMax) || v.OOMKills == 0 || v.MemoryMaxBytes != 16<<20 {
		t.Fatalf("%+v", v)
	}
	// Before Linux 5.17 the kernel does not count that it has killed the whole group.
	if v.Cause != CauseMemoryLimit && v.Candidates != CauseMemoryLimit|CauseSignal {
		t.Fatalf("%+v", v)
	}
}

func TestDestroyExplainsTheEndBeforeItsOwnKill(t *testing.T) {
	g := group(t, Options{})
	cmd := run(t, g, "sh", "-c", "sleep 1000 & exit 3")
	cmd.Wait()
	_, v, err := g.DestroyExplained(within(t), cmd.ProcessState)
	if err != nil || v.Cause != CauseExited || v.ExitCode != 3 {
		t.Fatalf("%+v, %v", v, err)
	}
	g = group(t, Options{})
	run(t, g, "sleep", "1000")
	final, v, err := g.DestroyExplained(within(t), nil)
	if err != nil || v.Cause != CauseKilled || v.Call != CallDestroy || !final.Has(StatCPU) {
		t.Fatalf("%+v, %v", v, err)
	}
	if !strings.Contains(v.Text, "agentcg_destroy()") {
		t.Fatal(v.Text)
	}
}
