// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import (
	"context"
	"os"
	"strings"
	"syscall"
	"time"
)

// Event is a set of events of a group.
type Event uint64

// The events of a group.
const (
	EventEmpty      Event = C.AGENTCG_EVENT_EMPTY       // The last process in the group is gone.
	EventPopulated  Event = C.AGENTCG_EVENT_POPULATED   // A process came into the empty group.
	EventFrozen     Event = C.AGENTCG_EVENT_FROZEN      // All processes are frozen.
	EventThawed     Event = C.AGENTCG_EVENT_THAWED      // The processes run again.
	EventOOMKill    Event = C.AGENTCG_EVENT_OOM_KILL    // The OOM killer killed a process in the group or below it.
	EventMemoryHigh Event = C.AGENTCG_EVENT_MEMORY_HIGH // MemoryHighBytes was reached in the group or below it.
	EventMemoryMax  Event = C.AGENTCG_EVENT_MEMORY_MAX  // MemoryMaxBytes was reached in the group or below it.
	EventPIDsMax    Event = C.AGENTCG_EVENT_PIDS_MAX    // A fork was refused in the group or below it.
	EventGone       Event = C.AGENTCG_EVENT_GONE        // The group was removed.
	EventStalled    Event = C.AGENTCG_EVENT_STALLED     // Processes have waited for as long as a Stall says.
)

var eventNames = []struct {
	bit  Event
	name string
}{
	{EventEmpty, "empty"}, {EventPopulated, "populated"}, {EventFrozen, "frozen"}, {EventThawed, "thawed"},
	{EventOOMKill, "oom-kill"}, {EventMemoryHigh, "memory-high"}, {EventMemoryMax, "memory-max"},
	{EventPIDsMax, "pids-max"}, {EventGone, "gone"}, {EventStalled, "stalled"},
}

// String returns the names of the events, such as "populated" or "empty|gone".
func (e Event) String() string {
	var names []string
	for _, n := range eventNames {
		if e&n.bit != 0 {
			names = append(names, n.name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, "|")
}

// StallResource is what processes wait for.
type StallResource uint32

// The resources of a Stall.
const (
	StallCPU    StallResource = C.AGENTCG_STALL_CPU    // a CPU, which others have or CPUMaxMillicpu withholds
	StallMemory StallResource = C.AGENTCG_STALL_MEMORY // memory that is reclaimed, read again or swapped in
	StallIO     StallResource = C.AGENTCG_STALL_IO     // the end of I/O
)

// Stall says when EventStalled is sent: when processes have waited for the resource for Time within Window.
type Stall struct {
	Resource StallResource
	Full     bool          // all processes that are not idle wait, instead of at least one
	Time     time.Duration // more than 0, at most Window
	Window   time.Duration // from 100 ms to an hour
}

// watch asks for the reports of a stall.
func (s Stall) watch(cg *C.agentcg, e *C.agentcg_error) C.int {
	kind := C.uint32_t(C.AGENTCG_STALL_SOME)
	if s.Full {
		kind = C.AGENTCG_STALL_FULL
	}
	return C.agentcg_watch_stall(cg, C.uint32_t(s.Resource), kind, C.uint64_t(s.Time.Microseconds()),
		C.uint64_t(s.Window.Microseconds()), e)
}

// watch is the source of one channel. It has a handle of its own, so that it gets the last events of the group after
// the Group was destroyed.
type watch struct {
	cg     *C.agentcg
	file   *os.File // a copy of the handle's descriptor
	which  Event
	events chan Event
	done   chan struct{} // closed when the goroutine has ended
}

// Events returns a channel of the events that happen from now on. Conditions that already hold produce no event. Events
// that the receiver has not fetched yet are merged into one value, so that none is lost and the sender never waits. The
// channel is closed when ctx ends, when the Group is closed or garbage collected, and after the group was removed by
// Destroy or by others. EventOOMKill, EventMemoryHigh and EventMemoryMax need the memory controller, EventPIDsMax needs
// the pids controller; without it the error is EOPNOTSUPP.
//
// With stalls, EventStalled is among the events: it is sent for each of them, at most once for each Window and at the end
// of it. It needs a kernel that measures pressure (PSI); without it the error is EOPNOTSUPP.
func (g *Group) Events(ctx context.Context, which Event, stalls ...Stall) (<-chan Event, error) {
	const op = "events"
	if g == nil || g.h == nil {
		return nil, invalid(op, "the Group is nil, or was not made by New or Open")
	}
	for _, stall := range stalls {
		if stall.Time < time.Microsecond {
			return nil, invalid(op, "the Time of a Stall is less than a microsecond")
		}
		which |= EventStalled
	}
	if err := ctx.Err(); err != nil {
		return nil, &Error{Op: op, Msg: "the context has ended; no events were requested", Errno: syscall.ECANCELED, cause: err}
	}
	w, err := g.watchWith(op, which, stalls)
	if err != nil {
		return nil, err
	}
	go w.run(g.h)
	if ctx.Done() != nil {
		go func() {
			select {
			case <-ctx.Done():
				w.file.Close()
			case <-w.done:
			}
		}()
	}
	return w.events, nil
}

func (g *Group) watchWith(op string, which Event, stalls []Stall) (*watch, error) {
	parent, err := cString(op, "the parent", g.parent())
	if err != nil {
		return nil, err
	}
	defer free(parent)
	uuid, err := cString(op, "the uuid", g.uuid)
	if err != nil {
		return nil, err
	}
	defer free(uuid)
	w := &watch{which: which, events: make(chan Event, 1), done: make(chan struct{})}
	var copyErr error
	// This is done in a call on the open Group, so that Close finds the watch.
	_, err = g.do(op, func(_ *C.agentcg, e *C.agentcg_error) C.int {
		if r := C.agentcg_open(parent, uuid, 0, &w.cg, e); r < 0 {
			return r
		}
		// EventGone is always requested, because it ends the watch.
		r := C.agentcg_event_fd(w.cg, C.uint64_t(which|EventGone), e)
		for _, stall := range stalls {
			if r >= 0 {
				if failed := stall.watch(w.cg, e); failed < 0 {
					r = failed
				}
			}
		}
		if r >= 0 {
			w.file, copyErr = copied(op, int(r))
		}
		if r < 0 || copyErr != nil {
			C.agentcg_free(w.cg)
			return r
		}
		g.h.remember(w)
		return 0
	})
	if err == nil && w.file == nil {
		err = copyErr
	}
	return w, err
}

// copied returns a duplicate of the descriptor for Go's poller. The original belongs to the handle.
func copied(op string, fd int) (*os.File, error) {
	n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return nil, &Error{Op: op, Msg: "copying the events' descriptor: " + errno.Error(), Errno: errno}
	}
	if err := syscall.SetNonblock(int(n), true); err != nil {
		syscall.Close(int(n))
		return nil, err
	}
	return os.NewFile(n, "events"), nil
}

// run sends the events until the file is closed or the group is removed. It has no reference to the Group, so that the
// Group can be garbage collected.
func (w *watch) run(h *handle) {
	defer close(w.done)
	defer h.forget(w)
	defer C.agentcg_free(w.cg)
	defer close(w.events)
	defer w.file.Close()
	conn, err := w.file.SyscallConn()
	for err == nil {
		var events C.uint64_t
		var r C.int
		var e C.agentcg_error
		err = conn.Read(func(uintptr) bool {
			r = C.agentcg_next_events(w.cg, 0, &events, &e)
			return r != 0
		})
		switch {
		case err != nil:
		case r == 1:
			w.send(Event(events) & w.which)
			if Event(events)&EventGone != 0 {
				return
			}
		case syscall.Errno(-r) == syscall.EMFILE || syscall.Errno(-r) == syscall.ENFILE:
			// No event is lost by a later call. The kernel does not report when a descriptor becomes available.
			time.Sleep(sliceMS * time.Millisecond)
		default: // ENODEV: the group is gone, and EventGone was sent
			return
		}
	}
}

// send adds events to those that were not fetched yet. There is no other sender, so the channel has room after they
// were taken back.
func (w *watch) send(events Event) {
	if events == 0 {
		return
	}
	select {
	case before := <-w.events:
		events |= before
	default:
	}
	w.events <- events
}

func (h *handle) remember(w *watch) {
	h.watchMu.Lock()
	defer h.watchMu.Unlock()
	if h.watches == nil {
		h.watches = map[*watch]struct{}{}
	}
	h.watches[w] = struct{}{}
}

func (h *handle) forget(w *watch) {
	h.watchMu.Lock()
	defer h.watchMu.Unlock()
	delete(h.watches, w)
}

// endWatches ends the goroutines of Events, and returns when they have ended.
func (h *handle) endWatches() {
	h.watchMu.Lock()
	ending := make([]*watch, 0, len(h.watches))
	for w := range h.watches {
		ending = append(ending, w)
	}
	h.watchMu.Unlock()
	for _, w := range ending {
		w.file.Close()
		<-w.done
	}
}
