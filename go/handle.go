// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <stdlib.h>
// #include <agentcg.h>
import "C"

import (
	"context"
	"runtime"
	"sync"
	"time"
	"unsafe"
)

// handle is the handle of the C library with its locks. Every call into C holds mu shared and waits for at most a slice
// of time, so that Close and Destroy, which lock mu exclusively, get it soon. handle is not part of Group, because the
// goroutine of Events refers to it and must not keep a Group from being garbage collected.
type handle struct {
	mu sync.RWMutex
	cg *C.agentcg // nil if closed

	// While a child of a Go program is between fork and exec, the whole program is suspended: its thread is in vfork.
	// starting is locked shared during that time, and exclusively by Freeze, which must not freeze the child then. So it is by
	// the first NewChild, since the kernel makes no process in the group of a session.
	starting sync.RWMutex

	watchMu sync.Mutex
	watches map[*watch]struct{}
}

const sliceMS = 100

// slice returns how long the next call may wait, in milliseconds: at most most, at most until the deadline of the
// context, and 0 if the context has ended.
func slice(ctx context.Context, most int) C.int {
	if ctx.Err() != nil {
		return 0
	}
	if deadline, ok := ctx.Deadline(); ok {
		switch left := time.Until(deadline); {
		case left <= 0: // the context ends in a moment
			return 0
		case left < time.Duration(most)*time.Millisecond:
			return C.int(left/time.Millisecond) + 1
		}
	}
	return C.int(most)
}

type call func(cg *C.agentcg, e *C.agentcg_error) C.int

// do makes one call into the C library.
func (h *handle) do(op string, f call) (int, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.cg == nil {
		return 0, closedError(op)
	}
	var e C.agentcg_error
	r := f(h.cg, &e)
	if r < 0 {
		return 0, failure(op, r, &e)
	}
	return int(r), nil
}

// close frees the handle. It returns false if the handle was closed before.
func (h *handle) close() bool {
	h.mu.Lock()
	cg := h.cg
	h.cg = nil
	C.agentcg_free(cg)
	h.mu.Unlock()
	h.endWatches()
	return cg != nil
}

// do is handle.do for a Group, which stays reachable during the call.
func (g *Group) do(op string, f call) (int, error) {
	if g == nil || g.h == nil {
		return 0, invalid(op, "the Group is nil, or was not made by New or Open")
	}
	defer runtime.KeepAlive(g)
	return g.h.do(op, f)
}

// waitCall makes a call that waits, on the open Group, as wait does.
func (g *Group) waitCall(ctx context.Context, op string, most slices,
	f func(*C.agentcg, C.int, *C.agentcg_error) C.int) (int, error) {
	return g.wait(ctx, op, most, func(ms C.int) (int, error) {
		return g.do(op, func(cg *C.agentcg, e *C.agentcg_error) C.int { return f(cg, ms, e) })
	})
}

func freeC(p unsafe.Pointer) { C.free(p) }

// alive is a call without effect: it succeeds if the Group is open.
func alive(*C.agentcg, *C.agentcg_error) C.int { return 0 }
