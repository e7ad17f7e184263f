// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import (
	"strconv"
	"time"
	"unsafe"
)

// Unlimited is the limit that is none, the kernel's "max": At(Unlimited) lifts one.
const Unlimited = C.AGENTCG_UNLIMITED

// Limit is a limit that may be absent: its zero value leaves what there is as it is. At makes one. (Not a pointer,
// so that Limits can be copied and compared; and not a plain number, since 0 is a limit: no swap.)
type Limit struct {
	n  uint64
	is bool
}

// At is the limit n, in the unit that the field names.
func At(n uint64) Limit { return Limit{n, true} }

// Get is the limit, and whether there is one at all: in Limits to set, if it is to be set; in Limits that were
// read, if the kernel and the controllers in force have it.
func (l Limit) Get() (n uint64, ok bool) { return l.n, l.is }

// String is the number, "max", or "-" where it is absent.
func (l Limit) String() string {
	switch {
	case !l.is:
		return "-"
	case l.n == Unlimited:
		return "max"
	}
	return strconv.FormatUint(l.n, 10)
}

// Switch is a limit that is on or off, or absent, which is its zero value.
type Switch uint8

// The positions of a Switch.
const (
	Unset Switch = iota
	Off
	On
)

// Limits of a group. A field that is absent is left as it is.
type Limits struct {
	// MemoryMaxBytes is hard: over it the OOM killer acts. At least one page.
	MemoryMaxBytes Limit
	// MemoryHighBytes: over it the group is slowed down and its memory reclaimed.
	MemoryHighBytes Limit
	// MemoryLowBytes and MemoryMinBytes protect, as well as can be and without fail.
	MemoryLowBytes, MemoryMinBytes Limit
	// SwapMaxBytes: At(0) for no swap, so that MemoryMaxBytes bounds it all.
	SwapMaxBytes Limit
	// OOMGroup: On has an OOM kill the whole group, never half of it.
	OOMGroup Switch
	// CPUMaxMillicpu: 500 is half of one CPU, 2000 two.
	CPUMaxMillicpu Limit
	// CPUPeriod of CPUMaxMillicpu; 0 is 100 ms, made longer where the kernel needs it.
	CPUPeriod time.Duration
	// CPUBurst may be saved up and used over CPUMaxMillicpu, in microseconds.
	CPUBurstMicroseconds Limit
	// CPUWeight is 1 to 10000; the kernel's default is 100.
	CPUWeight Limit
	// CPUIdle: On gives it nothing but idle CPU time.
	CPUIdle Switch
	// PIDsMax: threads count, and zombies not yet waited for.
	PIDsMax Limit
	// IOWeight is 1 to 10000.
	IOWeight Limit
	// MaxDepth: levels of cgroups that the agent may make inside. MaxDescendants: how many of them.
	MaxDepth, MaxDescendants Limit
}

type limitField struct {
	bit   C.uint64_t
	limit *Limit
	c     *C.uint64_t
}

type switchField struct {
	bit C.uint64_t
	sw  *Switch
	c   *C.uint64_t
}

// fields pairs our fields with C's.
func (l *Limits) fields(c *C.agentcg_limits) ([]limitField, []switchField) {
	return []limitField{
			{C.AGENTCG_LIMIT_MEMORY_MAX, &l.MemoryMaxBytes, &c.memory_max_bytes},
			{C.AGENTCG_LIMIT_MEMORY_HIGH, &l.MemoryHighBytes, &c.memory_high_bytes},
			{C.AGENTCG_LIMIT_MEMORY_LOW, &l.MemoryLowBytes, &c.memory_low_bytes},
			{C.AGENTCG_LIMIT_MEMORY_MIN, &l.MemoryMinBytes, &c.memory_min_bytes},
			{C.AGENTCG_LIMIT_SWAP_MAX, &l.SwapMaxBytes, &c.swap_max_bytes},
			{C.AGENTCG_LIMIT_CPU_MAX, &l.CPUMaxMillicpu, &c.cpu_max_millicpu},
			{C.AGENTCG_LIMIT_CPU_BURST, &l.CPUBurstMicroseconds, &c.cpu_burst_us},
			{C.AGENTCG_LIMIT_CPU_WEIGHT, &l.CPUWeight, &c.cpu_weight},
			{C.AGENTCG_LIMIT_PIDS_MAX, &l.PIDsMax, &c.pids_max},
			{C.AGENTCG_LIMIT_IO_WEIGHT, &l.IOWeight, &c.io_weight},
			{C.AGENTCG_LIMIT_MAX_DEPTH, &l.MaxDepth, &c.max_depth},
			{C.AGENTCG_LIMIT_MAX_DESCENDANTS, &l.MaxDescendants, &c.max_descendants},
		}, []switchField{
			{C.AGENTCG_LIMIT_OOM_GROUP, &l.OOMGroup, &c.oom_group},
			{C.AGENTCG_LIMIT_CPU_IDLE, &l.CPUIdle, &c.cpu_idle},
		}
}

func (l Limits) toC(op string) (C.agentcg_limits, error) {
	var c C.agentcg_limits
	limits, switches := l.fields(&c)
	for _, f := range limits {
		if f.limit.is {
			c.mask |= f.bit
			*f.c = C.uint64_t(f.limit.n)
		}
	}
	for _, f := range switches {
		switch *f.sw {
		case Unset:
		case On, Off:
			c.mask |= f.bit
			*f.c = C.uint64_t(*f.sw - Off)
		default:
			return c, invalid(op, "a Switch is Unset, On or Off")
		}
	}
	if l.CPUPeriod != 0 {
		if l.CPUPeriod < time.Microsecond || !l.CPUMaxMillicpu.is {
			return c, invalid(op, "CPUPeriod is at least a microsecond, and goes with CPUMaxMillicpu")
		}
		c.cpu_period_us = C.uint64_t(l.CPUPeriod / time.Microsecond)
	}
	return c, nil
}

func limitsFromC(c *C.agentcg_limits) Limits {
	var l Limits
	limits, switches := l.fields(c)
	for _, f := range limits {
		if c.mask&f.bit != 0 {
			*f.limit = At(uint64(*f.c))
		}
	}
	for _, f := range switches {
		if c.mask&f.bit != 0 {
			*f.sw = Off + Switch(*f.c)
		}
	}
	if l.CPUMaxMillicpu.is {
		l.CPUPeriod = time.Duration(c.cpu_period_us) * time.Microsecond
	}
	return l
}

// SetLimits changes limits: all of them, or, on failure, none. A MemoryMaxBytes under what is in use now is EBUSY,
// since the kernel would kill to enforce it: ForceLimits does. Before Linux 6.16 it may take as long as it takes to
// reclaim what is over a lower MemoryHighBytes.
func (g *Group) SetLimits(l Limits) error { return g.setLimits(l, 0) }

// ForceLimits is SetLimits that enforces MemoryMaxBytes and MemoryHighBytes on the spot, by reclaiming and, for
// MemoryMaxBytes, by killing.
func (g *Group) ForceLimits(l Limits) error { return g.setLimits(l, C.AGENTCG_SET_FORCE) }

func (g *Group) setLimits(l Limits, flags C.uint64_t) error {
	const op = "set limits"
	limits, err := l.toC(op)
	if err != nil {
		return err
	}
	_, err = g.do(op, func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_set_limits(cg, &limits, C.size_t(unsafe.Sizeof(limits)), flags, e)
	})
	return err
}

// Limits are as the kernel has them. Absent are those that it has not, or whose controller is not in force. What
// holds may be less: the limits of cgroups above count too.
func (g *Group) Limits() (Limits, error) {
	var limits C.agentcg_limits
	_, err := g.do("limits", func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_get_limits(cg, &limits, C.size_t(unsafe.Sizeof(limits)), e)
	})
	if err != nil {
		return Limits{}, err
	}
	return limitsFromC(&limits), nil
}
