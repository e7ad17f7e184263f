// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"agentcg"
)

// jobs returns a command that runs the program, which go/check has built.
func jobs(t *testing.T, input string, args ...string) *exec.Cmd {
	path := os.Getenv("AGENTCG_JOBS")
	if path == "" {
		t.Fatal("AGENTCG_JOBS is not set: go/check builds that program")
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(input)
	return cmd
}

func result(t *testing.T, input string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := jobs(t, input, args...)
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	cmd.Run()
	noneLeft(t)
	return out.String(), errors.String(), cmd.ProcessState.ExitCode()
}

func noneLeft(t *testing.T) {
	t.Helper()
	if agents, err := agentcg.List(""); err != nil || len(agents) != 0 {
		t.Fatalf("left behind: %v, %v", agents, err)
	}
}

func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Fatalf("no %q in:\n%s", part, text)
		}
	}
}

func TestTwentyJobsRunAtOnce(t *testing.T) {
	// Each job waits until all twenty have begun.
	dir := t.TempDir()
	var input strings.Builder
	for i := 0; i < 20; i++ {
		fmt.Fprintf(&input, "touch %s/%d; until [ $(ls %s | wc -l) = 20 ]; do sleep 0.1; done; echo job %d\n", dir, i, dir, i)
	}
	out, messages, status := result(t, input.String(), "-memory", "32M", "-cpu", "1", "-pids", "16", "-stats", "100ms")
	if status != 0 || strings.Count(out, "job ") != 20 || strings.Count(messages, ": done after") != 20 {
		t.Fatalf("status %d\n%s%s", status, out, messages)
	}
	has(t, messages, "  job 20:", "memory ", "tasks ", "memory peak ")
}

func TestAtMostTheGivenNumberRunsAtOnce(t *testing.T) {
	lock := t.TempDir() + "/lock"
	one := "mkdir " + lock + " && sleep 0.05 && rmdir " + lock + "\n"
	if _, messages, status := result(t, strings.Repeat(one, 5), "-j", "1"); status != 0 {
		t.Fatalf("status %d\n%s", status, messages)
	}
}

func TestAFailingJobIsReported(t *testing.T) {
	_, messages, status := result(t, "# no job\n\nexit 3\ntrue\n")
	if status != someFailed {
		t.Fatalf("status %d", status)
	}
	has(t, messages, "job 1: exit status 3 after", "job 2: done after")
}

func TestAJobOverItsTimeIsKilledWithItsDescendants(t *testing.T) {
	_, messages, status := result(t, "setsid sleep 1000 & sleep 1000\n", "-time", "200ms")
	if status != someFailed {
		t.Fatalf("status %d", status)
	}
	has(t, messages, "killed, its time was up,")
}

func TestAJobOverItsMemoryIsKilledAsAWhole(t *testing.T) {
	_, messages, status := result(t, "head -c 60000000 /dev/zero | tail | cat\n", "-memory", "16M")
	if status != someFailed {
		t.Fatalf("status %d: %s", status, messages)
	}
	has(t, messages, "out of memory")
}

func TestForksOverTheLimitAreRefused(t *testing.T) {
	_, messages, status := result(t, "sleep 9 & sleep 9 & sleep 9 & sleep 9 & echo all\n", "-pids", "3")
	if status != someFailed {
		t.Fatalf("status %d: %s", status, messages)
	}
}

// No job survives Ctrl-C or kill -9 of the program.
func TestASignalKillsAllJobs(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		cmd := jobs(t, strings.Repeat("echo x; trap '' INT TERM; sleep 1000 & sleep 1000\n", 5))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 2*5)); err != nil {
			t.Fatalf("not all five began: %v", err)
		}
		cmd.Process.Signal(s)
		// At end of file every process that had the pipe open is dead: no process is left in a group.
		if _, err := io.ReadAll(out); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		if s != syscall.SIGKILL {
			if code := cmd.ProcessState.ExitCode(); code != 128+int(s) {
				t.Fatalf("status %d after %v", code, s)
			}
			noneLeft(t)
			continue
		}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			agents, err := agentcg.List("")
			if err == nil && len(agents) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the guard left %v, %v", agents, err)
			}
		}
	}
}

func TestWrongOptionsAreRefusedWithTheUsage(t *testing.T) {
	for _, args := range [][]string{{"-memory", "64Q"}, {"-memory", "KM"}, {"-memory", ""}, {"-memory", "99999999999G"},
		{"-cpu", "0"}, {"-cpu", "x"}, {"-cpu", "NaN"}, {"-pids", "-1"}, {"-j", "0"}, {"-time", "-1s"}, {"-nonesuch"}, {"a", "b"}} {
		_, messages, status := result(t, "", args...)
		if status != wrongUse {
			t.Fatalf("%v: status %d", args, status)
		}
		has(t, messages, "usage: jobs", "Exit status")
	}
	if _, messages, status := result(t, "", "/nonesuch"); status != wrongUse || !strings.Contains(messages, "/nonesuch") {
		t.Fatalf("status %d: %s", status, messages)
	}
	if _, messages, status := result(t, "", "-h"); status != 0 || !strings.Contains(messages, "usage: jobs") {
		t.Fatalf("status %d: %s", status, messages)
	}
}

func TestALimitOutOfRangeIsAJobThatCannotRun(t *testing.T) {
	if _, messages, status := result(t, "true\n", "-memory", "1"); status != cannotRun || !strings.Contains(messages, "memory.max") {
		t.Fatalf("status %d: %s", status, messages)
	}
}
