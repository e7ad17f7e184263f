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

// KillAll kills every process in the group and below it with SIGKILL, even if it tries to avoid that, and waits until
// all are dead. The kill is sent even if ctx has ended; ctx bounds the waiting only. The group can be used again
// afterwards.
func (g *Group) KillAll(ctx context.Context) error {
	_, err := g.waitCall(ctx, "kill all", growing, func(cg *C.agentcg, ms C.int, e *C.agentcg_error) C.int {
		return C.agentcg_kill_all(cg, ms, e)
	})
	return err
}

// WaitEmpty waits until no process lives in the group. Zombies count as dead.
func (g *Group) WaitEmpty(ctx context.Context) error {
	_, err := g.waitCall(ctx, "wait empty", noSlices, func(cg *C.agentcg, ms C.int, e *C.agentcg_error) C.int {
		return C.agentcg_wait_empty(cg, ms, e)
	})
	return err
}

// Terminate asks all processes to end: it sends SIGTERM to all, SIGCONT to stopped ones, and thaws the group. If a
// process lives after grace, it calls KillAll. It returns true if the kill was necessary. If ctx ends during the grace
// period, no process is killed. Cgroups that the agent has made and frozen are not thawed: their processes are killed
// after the grace period.
func (g *Group) Terminate(ctx context.Context, grace time.Duration) (killed bool, err error) {
	if grace < 0 {
		return false, invalid("terminate", "the grace period is negative")
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
		return &Error{Op: "terminate", Msg: "this process is in the group: no process was signalled",
			Errno: syscall.EDEADLK, Reason: CallerInside}
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} {
		// Processes that cannot be signalled (EACCES) are killed after the grace period.
		if _, err := g.SignalAll(signal); err != nil && !errors.Is(err, syscall.EACCES) {
			return renamed(err, "terminate")
		}
	}
	err := g.Thaw(ctx)
	if errors.Is(err, syscall.EOPNOTSUPP) || timedOut(err) {
		return nil // before Linux 5.2 nothing is frozen; after a timeout the kill follows
	}
	return renamed(err, "terminate")
}

// renamed returns the error of a part of an operation with the name of the whole operation.
func renamed(err error, op string) error {
	var e *Error
	if errors.As(err, &e) {
		e.Op = op
	}
	return err
}

// Freeze freezes every process in the group and below it, and returns when all are frozen. If ctx ends before that, the
// freeze is undone and the processes run again. While Freeze waits, it may let them run for a moment and try again. A
// frozen group can be killed. A process that is moved into a frozen group is frozen, too.
func (g *Group) Freeze(ctx context.Context) error {
	if g != nil && g.h != nil {
		g.h.starting.Lock()
		defer g.h.starting.Unlock()
	}
	// The library undoes a freeze that timed out. Each attempt is longer, for processes that take long to freeze.
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

// Thaw undoes Freeze, and returns when the group runs again. A cgroup inside it that the agent has frozen stays frozen.
func (g *Group) Thaw(ctx context.Context) error {
	_, err := g.waitCall(ctx, "thaw", noSlices, func(cg *C.agentcg, ms C.int, e *C.agentcg_error) C.int {
		return C.agentcg_thaw(cg, ms, e)
	})
	return err
}

// SignalAll sends a signal to every process in the group and below it, to each once, but never to this process. Signal
// 0 sends nothing. SignalAll returns the number of processes that received the signal. EACCES means that some were not
// signalled, because they have another uid or are outside the pid namespace of this process; all others were.
func (g *Group) SignalAll(signal syscall.Signal) (int, error) {
	return g.do("signal all", func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_signal_all(cg, C.int(signal), e)
	})
}
