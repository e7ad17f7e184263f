// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import (
	"context"
	"runtime"
	"sort"
	"unsafe"
)

// KillAllOf does KillAll to many groups at once: all of them get the kill before the first is waited for. It returns the
// error of each group, in the order of groups; nil for a group whose processes are all dead. A group that cannot be
// killed does not keep the others from being killed.
func KillAllOf(ctx context.Context, groups []*Group) []error {
	errs := make([]error, len(groups))
	for at := range sentKill(ctx, groups) {
		// The processes of these live, or the kill has failed. This call finds out which, and waits.
		errs[at] = groups[at].KillAll(ctx)
	}
	return errs
}

// sentKill kills the processes of all groups, waits for a moment, and returns the numbers of the groups that need more.
func sentKill(ctx context.Context, groups []*Group) map[int]struct{} {
	more := make(map[int]struct{})
	held := make(map[*handle]struct{})
	for at, g := range groups {
		if g == nil || g.h == nil {
			more[at] = struct{}{}
			continue
		}
		held[g.h] = struct{}{}
	}
	defer runtime.KeepAlive(groups)
	// Every call locks them in the same order, each once: a lock that another goroutine waits for cannot be locked
	// shared a second time.
	inOrder := make([]*handle, 0, len(held))
	for h := range held {
		inOrder = append(inOrder, h)
	}
	sort.Slice(inOrder, func(a, b int) bool {
		return uintptr(unsafe.Pointer(inOrder[a])) < uintptr(unsafe.Pointer(inOrder[b]))
	})
	for _, h := range inOrder {
		h.mu.RLock()
		defer h.mu.RUnlock()
	}
	var cgs []*C.agentcg
	var numbers []int
	for at, g := range groups {
		if g == nil || g.h == nil {
			continue
		}
		if g.h.cg == nil {
			more[at] = struct{}{}
			continue
		}
		cgs = append(cgs, g.h.cg)
		numbers = append(numbers, at)
	}
	if len(cgs) == 0 {
		return more
	}
	blocking <- struct{}{}
	defer func() { <-blocking }()
	codes := make([]C.int, len(cgs))
	for i := range codes {
		codes[i] = -1
	}
	C.agentcg_kill_all_of(&cgs[0], C.size_t(len(cgs)), &codes[0], slice(ctx, sliceMS), nil)
	for i, code := range codes {
		if code != 0 {
			more[numbers[i]] = struct{}{}
		}
	}
	return more
}
