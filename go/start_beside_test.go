// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
)

func TestStartInAFrozenGroupWaitsAndBlocksNothingElse(t *testing.T) {
	ways(t, func(t *testing.T, start func(*Group, *exec.Cmd) error) {
		g := group(t, Options{})
		must(t, g.Freeze(within(t)))
		cmd := exec.Command(first(t))
		var out bytes.Buffer
		cmd.Stdout = &out
		started := make(chan error)
		go func() { started <- start(g, cmd) }()
		for pids := []int(nil); len(pids) == 0; { // wait until the process is in the group and frozen
			var err error
			pids, err = g.PIDs()
			must(t, err)
		}
		runtime.GC() // the garbage collector has to stop all goroutines
		must(t, exec.Command("true").Run())
		select {
		case err := <-started:
			t.Fatalf("it has started: %v", err)
		default:
		}
		must(t, g.Thaw(within(t)))
		must(t, <-started)
		must(t, cmd.Wait())
		if !inside(g, out.String()) {
			t.Fatal(out.String())
		}
	})
}

// startUntil starts programs in the group, one after the other, until stop is closed or one fails.
func startUntil(t *testing.T, g *Group, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		cmd := exec.Command("true")
		if err := g.Start(cmd); err != nil {
			t.Error(err)
			return
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
			return
		}
	}
}

func TestAFreezeDuringStartsBlocksNoOtherGroup(t *testing.T) {
	g := group(t, Options{})
	stop, all := make(chan struct{}), sync.WaitGroup{}
	for i := 0; i < 4; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			startUntil(t, g, stop)
		}()
	}
	for i := 0; i < 20; i++ {
		must(t, g.Freeze(within(t)))
		runtime.GC()
		must(t, g.Thaw(within(t)))
	}
	close(stop)
	all.Wait()
}

func TestAKillDuringStartsLeavesNothingIncomplete(t *testing.T) {
	g := group(t, Options{})
	for i := 0; i < 20; i++ {
		cmd := exec.Command(first(t))
		var out bytes.Buffer
		cmd.Stdout = &out
		killed := make(chan error)
		go func() { killed <- g.KillAll(within(t)) }()
		err := g.Start(cmd)
		must(t, <-killed)
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil && !inside(g, out.String()) {
			t.Fatal(out.String())
		} else if err != nil && signalOf(err) != syscall.SIGKILL && cmd.ProcessState.ExitCode() != 4 {
			t.Fatal(err) // status 4: its child was killed and the program was not
		}
	}
	must(t, g.WaitEmpty(within(t)))
}

// The stand-in of a program that ends, or that cannot move the stand-in, executes nothing.
func TestAReleasedStandInRunsNothing(t *testing.T) {
	for _, send := range []string{"", "half"} {
		parentEnd, childEnd, err := socketPair()
		must(t, err)
		env, err := standInEnv(3)
		must(t, err)
		var out bytes.Buffer
		cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{"agentcg-stand-in"}, Env: env,
			ExtraFiles: []*os.File{childEnd}, Stdout: &out, Stderr: &out}
		must(t, cmd.Start())
		childEnd.Close()
		if n, err := parentEnd.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		if _, err := parentEnd.Write([]byte(send)); err != nil {
			t.Fatal(err)
		}
		parentEnd.Close()
		cmd.Wait()
		if cmd.ProcessState.ExitCode() != 253 || out.Len() > 0 {
			t.Fatalf("%v: %s", cmd.ProcessState, out.String())
		}
	}
}

func TestAGroupThatIsRemovedDuringAStartIsGone(t *testing.T) {
	ways(t, func(t *testing.T, start func(*Group, *exec.Cmd) error) {
		g := group(t, Options{})
		must(t, os.Remove(g.Path()))
		cmd := exec.Command("true")
		err := start(g, cmd)
		var e *Error
		if err == nil || (errors.As(err, &e) && !errors.Is(err, Gone)) {
			t.Fatalf("%v", err)
		}
	})
}
