// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build go1.20

package agentcg

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// A kernel is sound if it kills no new process, however often cgroup.kill of the group was used.
func TestASoundKernelIsDetected(t *testing.T) {
	g := group(t, Options{})
	all := true
	for i := 0; i < 5; i++ {
		lives, sure := livesIn(g.FD())
		if !sure {
			t.Fatal("no process could be made")
		}
		all = all && lives
		must(t, used(g))
	}
	if is := soundIn(g.parent()); is != all {
		t.Fatalf("sound: %v, but all lived: %v", is, all)
	}
	if want := os.Getenv("AGENTCG_SOUND"); want != "" && (want == "yes") != all {
		t.Fatalf("all lived: %v, and this kernel is one of which it is known: %s", all, want)
	}
	if agents, err := List(g.parent()); err != nil || len(agents) != 1 {
		t.Fatalf("%v, %v", agents, err)
	}
}

func TestStartRefusesACgroupInSysProcAttr(t *testing.T) {
	g := group(t, Options{})
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true}
	wants(t, g.Start(cmd), syscall.EINVAL)
}
