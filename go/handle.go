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

// handle is the library's, and what keeps it alive: every call into C holds mu shared, and none of them waits for
// longer than a slice of time, so that Close and Destroy, which hold it alone, are never kept for long. It is apart
// from Group since the goroutine behind Events may know it without keeping a forgotten Group from being collected.
type handle struct {
	mu sync.RWMutex
	cg *C.agentcg // nil: closed

	// A Go program stands still while a child of its is between fork and exec: its first thread is held in vfork.
	// So no freeze of ours may begin meanwhile.
	births sync.RWMutex

	watchMu sync.Mutex
	watches map[*watch]struct{}
}

const sliceMS = 100

// slice is how long the next call may wait: in milliseconds, no longer than the context has, and not at all if it
// has ended.
func slice(ctx context.Context, most int) C.int {
	if ctx.Err() != nil {
		return 0
	}
	if deadline, ok := ctx.Deadline(); ok {
		switch left := time.Until(deadline); {
		case left <= 0: // the context is about to be told
			return 0
		case left < time.Duration(most)*time.Millisecond:
			return C.int(left/time.Millisecond) + 1
		}
	}
	return C.int(most)
}

type call func(cg *C.agentcg, e *C.agentcg_error) C.int

// do makes one call into the library.
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

// close frees the handle, once.
func (h *handle) close() bool {
	h.mu.Lock()
	cg := h.cg
	h.cg = nil
	C.agentcg_free(cg)
	h.mu.Unlock()
	h.endWatches()
	return cg != nil
}

// do is handle.do for a Group, which stays reachable until it is done.
func (g *Group) do(op string, f call) (int, error) {
	if g == nil || g.h == nil {
		return 0, invalid(op, "the Group is nil, or was not made by New or Open")
	}
	defer runtime.KeepAlive(g)
	return g.h.do(op, f)
}

// waitCall repeats a call that waits, on the open Group.
func (g *Group) waitCall(ctx context.Context, op string, most slices,
	f func(*C.agentcg, C.int, *C.agentcg_error) C.int) (int, error) {
	return g.wait(ctx, op, most, func(ms C.int) (int, error) {
		return g.do(op, func(cg *C.agentcg, e *C.agentcg_error) C.int { return f(cg, ms, e) })
	})
}

func freeC(p unsafe.Pointer) { C.free(p) }

// alive is a call that asks for nothing.
func alive(*C.agentcg, *C.agentcg_error) C.int { return 0 }
