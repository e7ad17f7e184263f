// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// KillAll sends SIGKILL to every process in the group and below it, whatever it does to get away, and waits until
// none lives. The kill is sent even where ctx has ended already; ctx bounds the waiting. The group can be used again.
func (g *Group) KillAll(ctx context.Context) error {
	_, err := g.waitCall(ctx, "kill all", growing, func(cg *C.agentcg, ms C.int, e *C.agentcg_error) C.int {
		return C.agentcg_kill_all(cg, ms, e)
	})
	return err
}

// WaitEmpty waits until no process lives in it. Zombies count as gone.
func (g *Group) WaitEmpty(ctx context.Context) error {
	_, err := g.waitCall(ctx, "wait empty", noSlices, func(cg *C.agentcg, ms C.int, e *C.agentcg_error) C.int {
		return C.agentcg_wait_empty(cg, ms, e)
	})
	return err
}

// Terminate asks all to end, by SIGTERM, and SIGCONT and a thaw for those that are stopped. Up to grace for them to
// go; then it is KillAll. It tells whether it came to the kill. If ctx ends during the grace none is killed. Cgroups
// that the agent has made and frozen itself are not thawed: their processes are killed after the grace.
func (g *Group) Terminate(ctx context.Context, grace time.Duration) (killed bool, err error) {
	if grace < 0 {
		return false, invalid("terminate", "the grace is negative")
	}
	inGrace, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if grace > 0 {
		if err := g.askToEnd(inGrace); err != nil {
			return false, err
		}
	}
	err = g.WaitEmpty(inGrace)
	if err == nil {
		return false, nil
	}
	if !timedOut(err) || ctx.Err() != nil {
		return false, renamed(err, "terminate")
	}
	return true, renamed(g.KillAll(ctx), "terminate")
}

func (g *Group) askToEnd(ctx context.Context) error {
	if info, err := g.do("terminate", func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_contains(cg, C.pid_t(syscall.Getpid()), e)
	}); err != nil {
		return err
	} else if info == 1 {
		return &Error{Op: "terminate", Msg: "we ourselves are in the group: nobody was signalled",
			Errno: syscall.EDEADLK, Reason: CallerInside}
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} {
		// Whom no signal of ours reaches (EACCES) is killed after the grace.
		if _, err := g.SignalAll(signal); err != nil && !errors.Is(err, syscall.EACCES) {
			return renamed(err, "terminate")
		}
	}
	err := g.Thaw(ctx)
	if errors.Is(err, syscall.EOPNOTSUPP) || timedOut(err) {
		return nil // nothing is frozen before Linux 5.2; and the grace is over or goes on
	}
	return renamed(err, "terminate")
}

// renamed is the error of a part, as that of the whole.
func renamed(err error, op string) error {
	var e *Error
	if errors.As(err, &e) {
		e.Op = op
	}
	return err
}

// Freeze parks every process in the group and below it, and returns when all are parked. If ctx ends before, the
// freeze is undone and all run on. While it waits it may let them run for a moment and try again. A frozen group can
// be killed; a process moved into it is parked too.
func (g *Group) Freeze(ctx context.Context) error {
	if g != nil && g.h != nil {
		g.h.births.Lock()
		defer g.h.births.Unlock()
	}
	// A try that came to its end is undone by the library: longer ones, for what takes long to park.
	longer := func(round int) int {
		if round > 3 {
			round = 3
		}
		return sliceMS << round
	}
	_, err := g.waitCall(ctx, "freeze", longer, func(cg *C.agentcg, ms C.int, e *C.agentcg_error) C.int {
		return C.agentcg_freeze(cg, ms, e)
	})
	return err
}

// Thaw undoes Freeze, and returns when the group goes on. A cgroup inside that the agent has frozen itself stays
// frozen.
func (g *Group) Thaw(ctx context.Context) error {
	_, err := g.waitCall(ctx, "thaw", noSlices, func(cg *C.agentcg, ms C.int, e *C.agentcg_error) C.int {
		return C.agentcg_thaw(cg, ms, e)
	})
	return err
}

// SignalAll signals every process in the group and below it, once each, but never this one. Signal 0 sends nothing.
// It tells how many took it. EACCES: all were signalled but some.
func (g *Group) SignalAll(signal syscall.Signal) (int, error) {
	return g.do("signal all", func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_signal_all(cg, C.int(signal), e)
	})
}
