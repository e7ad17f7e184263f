// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import (
	"context"
	"time"
)

// A call into C holds a thread for as long as it takes, so a wait is made of calls that do not wait, and the time between
// them is Go's: a sleep at first, then the event descriptor in Go's poller. Where the library itself has to wait, to fight
// what does not die, it does so for a slice of time, and no more than so many at once in the whole program.
const (
	firstNap = 100 * time.Microsecond
	lastNap  = 10 * time.Millisecond
	naps     = 8                      // then the descriptor is asked for
	look     = 500 * time.Millisecond // though nothing was told
	blankNap = 50 * time.Millisecond  // without a descriptor
	atOnce   = 4
)

var blocking = make(chan struct{}, atOnce)

// waiting is one wait for the end of what lives in a group.
type waiting struct {
	g     *Group
	ctx   context.Context
	op    string
	round int
	w     *watch
	stop  chan struct{}
}

// slices is how the library itself waits in a call: as long as the round allows, in ms.
type slices func(round int) int

func noSlices(int) int { return 0 }

// growing are for a kill: most die at once, and those who do not have to be fought.
func growing(round int) int {
	if round < 3 || round%2 == 0 {
		return 0
	}
	if round < 9 {
		return 10
	}
	return sliceMS
}

// wait makes the call again and again, until it says something else than ETIMEDOUT or the context ends. It is made once
// even if the context has ended.
func (g *Group) wait(ctx context.Context, op string, most slices, f func(ms C.int) (int, error)) (int, error) {
	w := waiting{g: g, ctx: ctx, op: op}
	defer w.end()
	for ; ; w.round++ {
		ms := C.int(0)
		holds := most(w.round) > 0 && w.take()
		if holds {
			ms = slice(ctx, most(w.round))
		}
		r, err := f(ms)
		if holds {
			<-blocking
		}
		if err == nil || !timedOut(err) {
			return r, err
		}
		if ctx.Err() != nil {
			// For an error that does not speak of a call that did not wait.
			if r, err = f(1); err == nil || !timedOut(err) {
				return r, err
			}
			return 0, ended(err, ctx.Err())
		}
		if !holds {
			w.pause()
		}
	}
}

// take waits for the right to hold a thread. False if the context has ended.
func (w *waiting) take() bool {
	if w.ctx.Err() != nil {
		return false
	}
	select {
	case blocking <- struct{}{}:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// pause is the time between two calls.
func (w *waiting) pause() {
	if w.round < naps {
		nap := firstNap << w.round
		if nap > lastNap {
			nap = lastNap
		}
		w.sleep(nap)
		return
	}
	if w.stop == nil {
		w.stop = make(chan struct{})
		if w.listen() {
			return // what has ended meanwhile is no event: look first
		}
	}
	if w.w == nil || !w.told() {
		w.sleep(blankNap)
	}
}

func (w *waiting) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.ctx.Done():
	}
}

// listen asks for the end of the last process. False where there is no descriptor left for it.
func (w *waiting) listen() bool {
	found, err := w.g.watchWith(w.op, EventEmpty)
	if err != nil {
		return false
	}
	w.w = found
	if w.ctx.Done() != nil {
		go func() {
			select {
			case <-w.ctx.Done():
				found.file.SetReadDeadline(time.Unix(1, 0))
			case <-w.stop:
			}
		}()
	}
	return true
}

// told waits for an event, for a while. False if there can come none.
func (w *waiting) told() bool {
	if w.w.file.SetReadDeadline(time.Now().Add(look)) != nil {
		return false
	}
	if w.ctx.Err() != nil {
		return true
	}
	conn, err := w.w.file.SyscallConn()
	if err != nil {
		return false
	}
	r := C.int(0)
	_ = conn.Read(func(uintptr) bool { // the deadline: look again
		var events C.uint64_t
		var e C.agentcg_error
		r = C.agentcg_next_events(w.w.cg, 0, &events, &e)
		return r != 0
	})
	return r >= 0
}

func (w *waiting) end() {
	if w.stop != nil {
		close(w.stop)
	}
	if w.w == nil {
		return
	}
	w.w.file.Close()
	C.agentcg_free(w.w.cg)
	w.g.h.forget(w.w)
	close(w.w.done)
}
