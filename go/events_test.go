// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

import (
	"context"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// until reads events until all wanted events have come, together or one by one.
func until(t *testing.T, events <-chan Event, want Event) Event {
	t.Helper()
	var seen Event
	for deadline := time.After(patience); seen&want != want; {
		select {
		case e, open := <-events:
			if !open {
				t.Fatalf("the channel closed; until then %v, not %v", seen, want)
			}
			seen |= e
		case <-deadline:
			t.Fatalf("%v, not %v", seen, want)
		}
	}
	return seen
}

func closes(t *testing.T, events <-chan Event) Event {
	t.Helper()
	var seen Event
	for deadline := time.After(patience); ; {
		select {
		case e, open := <-events:
			seen |= e
			if !open {
				return seen
			}
		case <-deadline:
			t.Fatal("the channel does not close")
		}
	}
}

// noneLeft waits until all goroutines of watches have ended.
func noneLeft(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		all := string(stacks[:runtime.Stack(stacks, true)])
		if !strings.Contains(all, "(*watch).run") && !strings.Contains(all, "(*Group).Events.func") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(all)
		}
	}
}

func TestEventsReportALifeUpToItsEnd(t *testing.T) {
	g := group(t, Options{})
	events, err := g.Events(context.Background(), EventPopulated|EventEmpty|EventFrozen|EventThawed|EventGone)
	must(t, err)
	cmd := run(t, g, "sleep", "1000")
	until(t, events, EventPopulated)
	must(t, g.Freeze(within(t)))
	until(t, events, EventFrozen)
	must(t, g.Thaw(within(t)))
	until(t, events, EventThawed)
	must(t, cmd.Process.Kill())
	until(t, events, EventEmpty)
	_, err = g.Destroy(within(t))
	must(t, err)
	if seen := closes(t, events); seen&EventGone == 0 {
		t.Fatalf("at the end: %v", seen)
	}
	noneLeft(t)
}

func TestDestroyReportsTheWholeEndToALateReader(t *testing.T) {
	g := group(t, Options{})
	events, err := g.Events(context.Background(), EventPopulated|EventEmpty|EventGone)
	must(t, err)
	run(t, g, "sleep", "1000")
	_, err = g.Destroy(within(t))
	must(t, err)
	noneLeft(t) // it ends although its events have not been read
	// After the removal the library cannot find out that the group was populated between two reads.
	if seen := closes(t, events) &^ EventPopulated; seen != EventEmpty|EventGone {
		t.Fatalf("%v", seen)
	}
}

func TestEventsThatAreNotReadAreCombined(t *testing.T) {
	w := &watch{events: make(chan Event, 1)}
	for _, e := range []Event{EventPopulated, 0, EventFrozen, EventPopulated | EventEmpty} {
		w.send(e)
	}
	if e := <-w.events; e != EventPopulated|EventFrozen|EventEmpty || len(w.events) != 0 {
		t.Fatalf("%v", e)
	}
}

func TestOnlyRequestedEventsAreReported(t *testing.T) {
	g := group(t, Options{})
	events, err := g.Events(context.Background(), EventEmpty)
	must(t, err)
	run(t, g, "sleep", "1000")
	_, err = g.Destroy(within(t))
	must(t, err)
	if seen := closes(t, events); seen != EventEmpty {
		t.Fatalf("%v", seen)
	}
}

func TestAnOOMKillAndARefusedForkAreEvents(t *testing.T) {
	g := limited(t, Limits{MemoryMaxBytes: At(16 << 20), PIDsMax: At(4)})
	events, err := g.Events(context.Background(), EventOOMKill|EventPIDsMax)
	must(t, err)
	run(t, g, "sh", "-c", "head -c 40000000 /dev/zero | tail")
	until(t, events, EventOOMKill)
	run(t, g, "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; wait")
	until(t, events, EventPIDsMax)
}

func TestTheChannelClosesWithItsContext(t *testing.T) {
	g := group(t, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	events, err := g.Events(ctx, EventPopulated)
	must(t, err)
	cancel()
	closes(t, events)
	noneLeft(t)
	_, err = g.Events(ctx, EventPopulated)
	wants(t, err, context.Canceled)
}

func TestSeveralChannelsCloseWithTheGroup(t *testing.T) {
	g := group(t, Options{})
	var all []<-chan Event
	for i := 0; i < 20; i++ {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		events, err := g.Events(ctx, EventPopulated)
		must(t, err)
		all = append(all, events)
	}
	run(t, g, "sleep", "1000")
	for _, events := range all {
		until(t, events, EventPopulated)
	}
	must(t, g.Close())
	for _, events := range all {
		closes(t, events)
	}
	noneLeft(t)
	if n, err := Reap(within(t), g.parent()); err != nil || n != 1 {
		t.Fatalf("%d, %v", n, err)
	}
}

func TestUnknownEventsAreRefused(t *testing.T) {
	g := group(t, Options{})
	_, err := g.Events(context.Background(), 1<<40)
	wants(t, err, syscall.EINVAL)
	if s := (EventEmpty | EventGone).String(); s != "empty|gone" || Event(0).String() != "none" {
		t.Fatal(s)
	}
}

func TestAStallIsReportedWhereTheKernelMeasuresIt(t *testing.T) {
	g := group(t, Options{})
	for _, s := range []Stall{
		{},
		{Resource: StallMemory, Window: time.Second},
		{Resource: StallMemory, Time: -1, Window: time.Second},
		{Resource: StallMemory, Time: time.Second, Window: time.Millisecond},
		{Resource: StallIO, Time: 2 * time.Second, Window: time.Second},
		{Time: time.Second, Window: time.Second},
	} {
		_, err := g.Events(context.Background(), EventGone, s)
		wants(t, err, syscall.EINVAL)
	}
	stall := Stall{Resource: StallCPU, Time: 100 * time.Millisecond, Window: time.Second}
	if _, err := os.Stat("/proc/pressure/cpu"); err == nil {
		must(t, g.SetLimits(Limits{CPUMaxMillicpu: At(20)}))
		events, err := g.Events(context.Background(), EventGone, stall)
		must(t, err)
		run(t, g, "sh", "-c", "while :; do :; done")
		until(t, events, EventStalled)
		until(t, events, EventStalled)
		_, err = g.Destroy(within(t))
		must(t, err)
		closes(t, events)
		noneLeft(t)
		return
	}
	// User-Mode Linux has no PSI.
	for _, stall.Full = range []bool{false, true} {
		_, err := g.Events(context.Background(), 0, stall)
		wants(t, err, syscall.EOPNOTSUPP)
	}
	noneLeft(t)
}
