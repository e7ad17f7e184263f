// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import (
	"context"
	"time"
)

// A call into C blocks a thread as long as it lasts. A wait therefore consists of calls that do not wait. Between them
// the goroutine sleeps, and later waits for the event descriptor in Go's poller. If the library has to wait, because
// processes do not die from one kill, a call lasts for a slice of time, and only atOnce such calls run at a time in the
// whole program.
const (
	firstNap = 100 * time.Microsecond
	lastNap  = 10 * time.Millisecond
	naps     = 8                      // number of sleeps before the event descriptor is used
	look     = 500 * time.Millisecond // interval of the calls while there is no event
	blankNap = 50 * time.Millisecond  // interval of the calls without a descriptor
	atOnce   = 4
)

var blocking = make(chan struct{}, atOnce)

// waiting is one wait for the end of the processes in a group.
type waiting struct {
	g     *Group
	ctx   context.Context
	op    string
	round int
	w     *watch
	stop  chan struct{}
}

// slices returns how long the library may wait in the call of this round, in ms.
type slices func(round int) int

func noSlices(int) int { return 0 }

// growing is for a kill. Most processes die at once. If some do not, the library has to kill for longer.
func growing(round int) int {
	if round < 3 || round%2 == 0 {
		return 0
	}
	if round < 9 {
		return 10
	}
	return sliceMS
}

// wait repeats the call until it returns another result than ETIMEDOUT or the context ends. The call is made once even
// if the context has ended.
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
			// The error of a call without a timeout says that it did not wait. This call gets an error that fits.
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

// take waits for the permission to block a thread. It returns false if the context has ended.
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

// pause waits for the time between two calls.
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
			return // an end before listen produced no event: call again first
		}
	}
	if w.w == nil || !w.awaitEvent() {
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

// listen requests EventEmpty. It returns false if no descriptor is left.
func (w *waiting) listen() bool {
	found, err := w.g.watchWith(w.op, EventEmpty, nil)
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

// awaitEvent waits for an event until the next call is due. It returns false if there can be no event.
func (w *waiting) awaitEvent() bool {
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
	_ = conn.Read(func(uintptr) bool { // an error is the deadline: call again
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
