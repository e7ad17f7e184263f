// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func signalOf(err error) syscall.Signal {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.Sys().(syscall.WaitStatus).Signal()
	}
	return -1
}

func TestKillAllLeavesNothingAliveAndTheGroupCanBeUsedAgain(t *testing.T) {
	g := group(t, Options{})
	for round := 0; round < 5; round++ {
		cmd := run(t, g, "sh", "-c", "sleep 1000 & sleep 1000 & setsid sleep 1000")
		must(t, g.KillAll(within(t)))
		if pids, err := g.PIDs(); err != nil || len(pids) != 0 {
			t.Fatalf("%v live, %v", pids, err)
		}
		if s := signalOf(cmd.Wait()); s != syscall.SIGKILL {
			t.Fatalf("it ended by %v", s)
		}
	}
}

func TestAnEndedContextStillKillsAndIsTheError(t *testing.T) {
	g := group(t, Options{})
	cmd := run(t, g, "sleep", "1000")
	if err := g.KillAll(endedContext()); err != nil {
		wants(t, err, context.Canceled, syscall.ETIMEDOUT)
	}
	if s := signalOf(cmd.Wait()); s != syscall.SIGKILL {
		t.Fatalf("it ended by %v", s)
	}
}

func TestKillAllOfKillsManyGroupsAndReturnsTheErrorOfEach(t *testing.T) {
	groups := make([]*Group, 6)
	cmds := make([]*exec.Cmd, 4)
	for i := range cmds {
		groups[i] = group(t, Options{})
		cmds[i] = run(t, groups[i], "sleep", "1000")
	}
	groups[4] = group(t, Options{})
	must(t, groups[4].Close())
	t.Cleanup(func() { Reap(within(t), groups[0].parent()) })
	groups = append(groups, groups[0]) // groups[5] is nil
	for i, err := range KillAllOf(within(t), groups) {
		switch i {
		case 4:
			wants(t, err, ErrClosed)
		case 5:
			wants(t, err, syscall.EINVAL)
		default:
			must(t, err)
		}
	}
	for _, cmd := range cmds {
		if s := signalOf(cmd.Wait()); s != syscall.SIGKILL {
			t.Fatalf("it ended by %v", s)
		}
	}
	if errs := KillAllOf(within(t), nil); len(errs) != 0 {
		t.Fatal(errs)
	}
}

func TestWaitEmptyWaitsForTheLastProcess(t *testing.T) {
	g := group(t, Options{})
	must(t, g.WaitEmpty(within(t)))
	cmd := run(t, g, "sleep", "1000")
	ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
	defer cancel()
	err := g.WaitEmpty(ctx)
	wants(t, err, context.DeadlineExceeded, syscall.ETIMEDOUT)
	if e := err.(*Error); !e.Timeout() || !strings.Contains(err.Error(), "deadline exceeded") || e.Msg == "" {
		t.Fatalf("%v", err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	waiting := make(chan error)
	go func() { waiting <- g.WaitEmpty(cancelled) }()
	cancel()
	wants(t, <-waiting, context.Canceled)
	go func() { waiting <- g.WaitEmpty(within(t)) }()
	must(t, cmd.Process.Kill())
	must(t, <-waiting)
}

// ready starts a command and waits for its first output.
func ready(t *testing.T, g *Group, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, g.Start(cmd))
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatalf("it printed nothing: %v", err)
	}
	return cmd
}

func TestTerminateSendsSIGTERMFirst(t *testing.T) {
	g := group(t, Options{})
	cmd := ready(t, g, "trap 'exit 7' TERM; echo x; while :; do sleep 0.05; done")
	killed, err := g.Terminate(within(t), patience)
	must(t, err)
	cmd.Wait()
	if killed || cmd.ProcessState.ExitCode() != 7 {
		t.Fatalf("killed %v, %v", killed, cmd.ProcessState)
	}
}

func TestTerminateReachesStoppedAndFrozenProcesses(t *testing.T) {
	g := group(t, Options{})
	cmd := ready(t, g, "trap 'exit 7' TERM; echo x; while :; do sleep 0.05; done")
	must(t, cmd.Process.Signal(syscall.SIGSTOP))
	must(t, g.Freeze(within(t)))
	killed, err := g.Terminate(within(t), patience)
	must(t, err)
	cmd.Wait()
	if killed || cmd.ProcessState.ExitCode() != 7 {
		t.Fatalf("killed %v, %v", killed, cmd.ProcessState)
	}
}

func TestTerminateKillsAfterTheGrace(t *testing.T) {
	g := group(t, Options{})
	for _, grace := range []time.Duration{0, 50 * time.Millisecond} {
		cmd := ready(t, g, "trap '' TERM; echo x; while :; do sleep 0.05; done")
		killed, err := g.Terminate(within(t), grace)
		must(t, err)
		if s := signalOf(cmd.Wait()); !killed || s != syscall.SIGKILL {
			t.Fatalf("killed %v, by %v", killed, s)
		}
	}
	_, err := g.Terminate(within(t), -1)
	wants(t, err, syscall.EINVAL)
}

func TestTerminateDoesNotKillWhenItsContextEndsInTheGrace(t *testing.T) {
	g := group(t, Options{})
	ready(t, g, "trap '' TERM; echo x; while :; do sleep 0.05; done")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	killed, err := g.Terminate(ctx, patience)
	wants(t, err, context.DeadlineExceeded)
	if pids, err := g.PIDs(); killed || err != nil || len(pids) == 0 {
		t.Fatalf("killed %v, %v live, %v", killed, pids, err)
	}
}

func TestAFrozenGroupDoesNotRunUntilItThaws(t *testing.T) {
	g := group(t, Options{})
	run(t, g, "sh", "-c", "while :; do :; done")
	must(t, g.Freeze(within(t)))
	before, err := g.Stats(StatCPU | StatState)
	must(t, err)
	after, err := g.Stats(StatCPU)
	must(t, err)
	if !before.Frozen || before.CPUUsage != after.CPUUsage {
		t.Fatalf("%+v, then %+v", before, after)
	}
	must(t, g.Thaw(within(t)))
	for after.CPUUsage == before.CPUUsage {
		after, err = g.Stats(StatCPU)
		must(t, err)
	}
	must(t, g.Freeze(within(t)))
	must(t, g.KillAll(within(t)))
}

func TestAFreezeWhoseContextEndsIsUndone(t *testing.T) {
	g := group(t, Options{})
	run(t, g, "sh", "-c", "while :; do :; done")
	if err := g.Freeze(endedContext()); err != nil {
		wants(t, err, context.Canceled)
		if s, err := g.Stats(StatState); err != nil || s.Frozen {
			t.Fatalf("%+v, %v", s, err)
		}
	}
}

func TestASignalReachesEachProcessOnce(t *testing.T) {
	g := group(t, Options{})
	for i := 0; i < 3; i++ {
		run(t, g, "sleep", "1000")
	}
	n, err := g.SignalAll(0)
	must(t, err)
	if n != 3 {
		t.Fatalf("%d of 3", n)
	}
	if n, err = g.SignalAll(syscall.SIGTERM); err != nil || n != 3 {
		t.Fatalf("%d, %v", n, err)
	}
	must(t, g.WaitEmpty(within(t)))
	_, err = g.SignalAll(99)
	wants(t, err, syscall.EINVAL)
}
