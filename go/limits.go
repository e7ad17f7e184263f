// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import (
	"strconv"
	"time"
	"unsafe"
)

// Unlimited is the value of a limit that limits nothing, the kernel's "max". At(Unlimited) lifts a limit.
const Unlimited = C.AGENTCG_UNLIMITED

// Limit is a limit that may be absent. The zero value is absent and leaves the limit as it is. At makes a limit. It is
// not a pointer, so that Limits can be copied and compared. It is not a plain number, because 0 is a limit: no swap.
type Limit struct {
	n  uint64
	is bool
}

// At returns the limit n, in the unit of the field's name.
func At(n uint64) Limit { return Limit{n, true} }

// Get returns the limit, and true if it is present. In Limits to set it is present if it is to be set. In Limits that
// were read it is present if the kernel and the controllers in force have it.
func (l Limit) Get() (n uint64, ok bool) { return l.n, l.is }

// String returns the number, "max", or "-" if the limit is absent.
func (l Limit) String() string {
	switch {
	case !l.is:
		return "-"
	case l.n == Unlimited:
		return "max"
	}
	return strconv.FormatUint(l.n, 10)
}

// Switch is a limit that is on, off or absent. The zero value is absent.
type Switch uint8

// The values of a Switch: absent, off and on.
const (
	Unset Switch = iota
	Off
	On
)

// Limits are the limits of a group. SetLimits leaves those that are absent as they are.
type Limits struct {
	// MemoryMaxBytes is the hard limit of memory: above it the OOM killer acts. It is one page or more.
	MemoryMaxBytes Limit
	// MemoryHighBytes is the soft limit: above it the group is throttled and its memory is reclaimed.
	MemoryHighBytes Limit
	// MemoryLowBytes is a best-effort protection of memory from reclaim, MemoryMinBytes is a hard protection.
	MemoryLowBytes, MemoryMinBytes Limit
	// SwapMaxBytes is the limit of swap. With At(0) there is none, and MemoryMaxBytes bounds all.
	SwapMaxBytes Limit
	// OOMGroup, if On, makes an OOM kill the whole group and never a part of it.
	OOMGroup Switch
	// CPUMaxMillicpu is the CPU quota: 500 is half of a CPU, 2000 is two CPUs.
	CPUMaxMillicpu Limit
	// CPUPeriod is the period of CPUMaxMillicpu. 0 means 100 ms, or longer if the kernel needs that.
	CPUPeriod time.Duration
	// CPUBurstMicroseconds is unused quota that can be saved up and used above CPUMaxMillicpu.
	CPUBurstMicroseconds Limit
	// CPUWeight is the share of CPU time, 1 to 10000. The kernel's default is 100.
	CPUWeight Limit
	// CPUIdle, if On, gives the group only idle CPU time.
	CPUIdle Switch
	// PIDsMax is the limit of threads. Zombies count, too.
	PIDsMax Limit
	// IOWeight is the share of I/O, 1 to 10000.
	IOWeight Limit
	// MaxDepth is the number of levels of cgroups that the agent may make inside its group, MaxDescendants the number
	// of these cgroups.
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

// fields pairs the fields of Limits with those of C.
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
			return c, invalid(op, "a Switch must be Unset, On or Off")
		}
	}
	if l.CPUPeriod != 0 {
		if l.CPUPeriod < time.Microsecond || !l.CPUMaxMillicpu.is {
			return c, invalid(op, "CPUPeriod must be a microsecond or more, and needs CPUMaxMillicpu")
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

// SetLimits changes limits: all of them, or none on failure. A MemoryMaxBytes that is less than the memory in use is
// refused with EBUSY, because the kernel would kill to enforce it; ForceLimits allows that. Before Linux 6.16, lowering
// MemoryHighBytes takes as long as the reclaim of the memory above it.
func (g *Group) SetLimits(l Limits) error { return g.setLimits(l, 0) }

// ForceLimits is SetLimits that enforces MemoryMaxBytes and MemoryHighBytes at once, by reclaiming memory and, for
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

// Limits reads the limits that are set in the group. Those that the kernel does not have, or whose controller is not in
// force, are absent. The limits in force may be lower, because the limits of the cgroups above apply, too.
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

// SetPlaceLimits sets limits of all groups of a place together: all of them, or none on failure. parent is the place; if it is
// empty, it is the one in which New with these limits would make a group. Limits that are absent stay as they are. The limits
// stay until others are set, also without a group and after the end of this process; they end with the place, as a systemd
// scope does with its last process. All programs of one place have one set of limits. A MemoryMaxBytes that is less than the
// memory in use is refused with EBUSY; ForcePlaceLimits allows that. At(Unlimited) lifts a limit.
func SetPlaceLimits(parent string, l Limits) error { return setPlaceLimits(parent, l, 0) }

// ForcePlaceLimits is SetPlaceLimits that enforces MemoryMaxBytes and MemoryHighBytes at once, by reclaiming memory and, for
// MemoryMaxBytes, by killing.
func ForcePlaceLimits(parent string, l Limits) error {
	return setPlaceLimits(parent, l, C.AGENTCG_SET_FORCE)
}

func setPlaceLimits(parent string, l Limits, flags C.uint64_t) error {
	const op = "set place limits"
	limits, err := l.toC(op)
	if err != nil {
		return err
	}
	p, err := cString(op, "the parent", parent)
	if err != nil {
		return err
	}
	defer free(p)
	var e C.agentcg_error
	if r := C.agentcg_set_place_limits(p, &limits, C.size_t(unsafe.Sizeof(limits)), flags, &e); r < 0 {
		return failure(op, r, &e)
	}
	return nil
}

// PlaceLimits reads the limits of all groups of a place together. parent is the place; if it is empty, it is that of
// DiscoverParent. Limits that the kernel does not have, or whose controller is not in force, are absent. A place without
// groups and limits is ENOENT.
func PlaceLimits(parent string) (Limits, error) {
	const op = "place limits"
	p, err := cString(op, "the parent", parent)
	if err != nil {
		return Limits{}, err
	}
	defer free(p)
	var e C.agentcg_error
	var limits C.agentcg_limits
	if r := C.agentcg_get_place_limits(p, &limits, C.size_t(unsafe.Sizeof(limits)), &e); r < 0 {
		return Limits{}, failure(op, r, &e)
	}
	return limitsFromC(&limits), nil
}
