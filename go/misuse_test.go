// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
)

// verbs are all methods of a Group that can fail.
func verbs(ctx context.Context) map[string]func(*Group) error {
	return map[string]func(*Group) error{
		"Contains":       func(g *Group) error { _, err := g.Contains(1); return err },
		"Events":         func(g *Group) error { _, err := g.Events(ctx, EventEmpty); return err },
		"ForceLimits":    func(g *Group) error { return g.ForceLimits(Limits{}) },
		"Freeze":         func(g *Group) error { return g.Freeze(ctx) },
		"Info":           func(g *Group) error { _, err := g.Info(); return err },
		"KillAll":        func(g *Group) error { return g.KillAll(ctx) },
		"Limits":         func(g *Group) error { _, err := g.Limits(); return err },
		"NewChild":       func(g *Group) error { _, err := g.NewChild(Options{}); return err },
		"MovePID":        func(g *Group) error { return g.MovePID(1 << 30) },
		"MovePidfd":      func(g *Group) error { return g.MovePidfd(1 << 30) },
		"MoveOut":        func(g *Group) error { return g.MoveOut(1 << 30) },
		"MoveOutPidfd":   func(g *Group) error { return g.MoveOutPidfd(1 << 30) },
		"PIDs":           func(g *Group) error { _, err := g.PIDs(); return err },
		"ReadFile":       func(g *Group) error { _, err := g.ReadFile("cgroup.type"); return err },
		"SetLabel":       func(g *Group) error { return g.SetLabel("x") },
		"SetLimits":      func(g *Group) error { return g.SetLimits(Limits{}) },
		"SignalAll":      func(g *Group) error { _, err := g.SignalAll(0); return err },
		"Spawn":          func(g *Group) error { _, err := g.Spawn(ctx, exec.Command("true"), SpawnOptions{}); return err },
		"Start":          func(g *Group) error { return g.Start(exec.Command("true")) },
		"Stats":          func(g *Group) error { _, err := g.Stats(StatAll); return err },
		"Terminate":      func(g *Group) error { _, err := g.Terminate(ctx, patience); return err },
		"Thaw":           func(g *Group) error { return g.Thaw(ctx) },
		"WaitEmpty":      func(g *Group) error { return g.WaitEmpty(ctx) },
		"WriteFile":      func(g *Group) error { return g.WriteFile("cgroup.max.depth", []byte("9")) },
		"Explain":        func(g *Group) error { _, err := g.Explain(nil); return err },
		"Close":          func(g *Group) error { return g.Close() },
		"Destroy":        func(g *Group) error { _, err := g.Destroy(ctx); return err },
		"DestroyIfEmpty": func(g *Group) error { _, err := g.DestroyIfEmpty(ctx); return err },
		"DestroyExplained": func(g *Group) error {
			_, _, err := g.DestroyExplained(ctx, nil)
			return err
		},
	}
}

func TestAfterDestroyAndAfterCloseEveryMethodReturnsErrClosed(t *testing.T) {
	closed, destroyed := group(t, Options{}), group(t, Options{})
	must(t, closed.Close())
	_, err := destroyed.Destroy(within(t))
	must(t, err)
	for name, verb := range verbs(within(t)) {
		for _, g := range []*Group{closed, destroyed} {
			err := verb(g)
			if !errors.Is(err, ErrClosed) || !errors.Is(err, os.ErrClosed) || !errors.Is(err, syscall.EBADF) {
				t.Errorf("%s: %v", name, err)
			}
			if g.FD() != -1 || g.UUID() == "" || g.Path() == "" {
				t.Errorf("%s: fd %d, %q, %q", name, g.FD(), g.UUID(), g.Path())
			}
		}
	}
	n, err := Reap(within(t), closed.parent())
	must(t, err)
	if n != 1 {
		t.Fatalf("%d reaped", n)
	}
}

func TestNilAndEmptyGroupsAreRefusedByEveryMethod(t *testing.T) {
	for name, verb := range verbs(within(t)) {
		for _, g := range []*Group{nil, {}} {
			wants(t, verb(g), syscall.EINVAL)
			if g.FD() != -1 || g.UUID() != "" || g.Path() != "" {
				t.Errorf("%s: it has facts", name)
			}
		}
	}
}

func TestStringsWithANULAreRefused(t *testing.T) {
	for _, o := range []Options{{Parent: "/sys\x00"}, {UUID: "\x00"}} {
		_, err := New(o)
		wants(t, err, syscall.EINVAL)
	}
	_, err := Open("\x00", OpenOptions{})
	wants(t, err, syscall.EINVAL)
	_, err = Open("", OpenOptions{})
	wants(t, err, syscall.EINVAL)
	wants(t, SetPlaceLimits("\x00", Limits{}), syscall.EINVAL)
	_, err = PlaceLimits("\x00")
	wants(t, err, syscall.EINVAL)
	_, err = List("\x00")
	wants(t, err, syscall.EINVAL)
	_, err = Reap(within(t), "\x00")
	wants(t, err, syscall.EINVAL)
	_, err = New(Options{SystemdOnly: true, NoSystemd: true})
	wants(t, err, syscall.EINVAL)
	_, err = New(Options{Parent: "/nonesuch"})
	var e *Error
	if !errors.As(err, &e) || e.Op != "new" || e.Msg == "" {
		t.Fatalf("%v", err)
	}
}

// during calls every method repeatedly in its own goroutine until all return ErrClosed, and calls end meanwhile.
func during(t *testing.T, g *Group, end func() error) {
	t.Helper()
	var started, all sync.WaitGroup
	for name, verb := range verbs(within(t)) {
		switch name {
		case "Close", "Destroy", "DestroyExplained", "DestroyIfEmpty", "KillAll", "Terminate":
			continue
		}
		name, verb := name, verb
		started.Add(1)
		all.Add(1)
		go func() {
			defer all.Done()
			for first := true; ; first = false {
				err := verb(g)
				if first {
					started.Done()
				}
				if errors.Is(err, ErrClosed) {
					return
				}
				var e *Error
				if err != nil && !errors.As(err, &e) {
					t.Errorf("%s: %v", name, err)
				}
				if err != nil && errors.Is(err, Gone) {
					return
				}
			}
		}()
	}
	started.Wait()
	if err := end(); err != nil {
		t.Error(err)
	}
	all.Wait()
	noneLeft(t)
}

// keepThawing thaws the group by another handle until the function that it returns is called: if the last method of g was
// Freeze, Start waits for that, and a Freeze that has begun may end later.
func keepThawing(t *testing.T, g *Group) func() {
	t.Helper()
	other, err := Open(g.UUID(), OpenOptions{})
	must(t, err)
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-over:
				return
			default:
				if err := other.Thaw(context.Background()); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	return func() {
		close(over)
		<-ended
		must(t, other.Close())
	}
}

func TestCloseDuringEveryOtherMethod(t *testing.T) {
	for round := 0; round < rounds(t, 5); round++ {
		g, err := New(Options{})
		must(t, err)
		var stop func()
		during(t, g, func() error {
			err := g.Close()
			stop = keepThawing(t, g)
			return err
		})
		stop()
		again, err := Open(g.UUID(), OpenOptions{Own: true})
		must(t, err)
		_, err = again.Destroy(within(t))
		must(t, err)
	}
}

func TestDestroyDuringEveryOtherMethod(t *testing.T) {
	for round := 0; round < rounds(t, 5); round++ {
		g, err := New(Options{})
		must(t, err)
		during(t, g, func() error { _, err := g.Destroy(within(t)); return err })
		if !gone(g.Path()) {
			t.Fatal("the directory is still there")
		}
	}
}

func TestOneOfManyConcurrentDestroysSucceeds(t *testing.T) {
	g := group(t, Options{})
	run(t, g, "sleep", "1000")
	var wg sync.WaitGroup
	results := make(chan error, 20)
	for i := 0; i < cap(results); i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := g.Destroy(within(t))
			results <- err
		}()
	}
	wg.Wait()
	close(results)
	first := 0
	for err := range results {
		if err == nil {
			first++
		} else if !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	if first != 1 {
		t.Fatalf("%d calls succeeded", first)
	}
}

func TestCloseDoesNotWaitForWaitingCalls(t *testing.T) {
	for _, verb := range []string{"WaitEmpty", "Terminate"} {
		g := group(t, Options{})
		ready(t, g, "trap '' TERM; echo x; while :; do sleep 0.05; done")
		waiting := make(chan error)
		go func() { waiting <- verbs(context.Background())[verb](g) }()
		must(t, g.Close())
		wants(t, <-waiting, ErrClosed) // not only after the grace period of a minute, or never
		again, err := Open(g.UUID(), OpenOptions{Own: true})
		must(t, err)
		_, err = again.Destroy(within(t))
		must(t, err)
	}
}
