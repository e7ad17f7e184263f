// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import (
	"time"
	"unsafe"
)

// Stat is a set of measurements that come together, since the kernel tells them together.
type Stat uint64

// What can be measured.
const (
	StatCPU            Stat = C.AGENTCG_STAT_CPU             // CPUUsage, CPUUser, CPUSystem; there with no controller even
	StatMemory         Stat = C.AGENTCG_STAT_MEMORY          // MemoryCurrentBytes
	StatCPUThrottle    Stat = C.AGENTCG_STAT_CPU_THROTTLE    // CPUPeriods, CPUThrottledPeriods, CPUThrottled
	StatMemoryPeak     Stat = C.AGENTCG_STAT_MEMORY_PEAK     // MemoryPeakBytes; Linux 5.19
	StatSwap           Stat = C.AGENTCG_STAT_SWAP            // SwapCurrentBytes, SwapPeakBytes
	StatMemoryEvents   Stat = C.AGENTCG_STAT_MEMORY_EVENTS   // MemoryEvents..., of the group and all below it
	StatMemoryDetail   Stat = C.AGENTCG_STAT_MEMORY_DETAIL   // MemoryAnonBytes and its like; may be 2 s old
	StatPIDs           Stat = C.AGENTCG_STAT_PIDS            // PIDsCurrent
	StatPIDsPeak       Stat = C.AGENTCG_STAT_PIDS_PEAK       // PIDsPeak; Linux 6.1
	StatPIDsEvents     Stat = C.AGENTCG_STAT_PIDS_EVENTS     // PIDsEventsMax
	StatIO             Stat = C.AGENTCG_STAT_IO              // IO...
	StatCPUPressure    Stat = C.AGENTCG_STAT_CPU_PRESSURE    // CPUPressureSome; Linux with PSI
	StatMemoryPressure Stat = C.AGENTCG_STAT_MEMORY_PRESSURE // MemoryPressureSome, MemoryPressureFull
	StatIOPressure     Stat = C.AGENTCG_STAT_IO_PRESSURE     // IOPressureSome, IOPressureFull
	StatState          Stat = C.AGENTCG_STAT_STATE           // Populated, Frozen, Descendants, DyingDescendants

	// StatBasic is for polling: one read of each of two files.
	StatBasic Stat = C.AGENTCG_STAT_BASIC
	// StatAll is all that there is.
	StatAll Stat = C.AGENTCG_STAT_ALL
)

// Stats are measurements. What this kernel or this place does not offer, or was not asked for, is no error and no
// made-up number: its fields are 0, and Has tells. (Fields with one question, not a pointer or a method for each,
// since they come and go together and are read in a loop.)
type Stats struct {
	has Stat

	// At is CLOCK_MONOTONIC at the reading: subtract two for rates.
	At time.Duration

	CPUUsage, CPUUser, CPUSystem time.Duration
	// CPUPeriods of CPUMaxMillicpu, those in which it held the group back, and for how long.
	CPUPeriods, CPUThrottledPeriods uint64
	CPUThrottled                    time.Duration

	MemoryCurrentBytes, MemoryPeakBytes uint64
	SwapCurrentBytes                    uint64
	// SwapPeakBytes is 0 before Linux 6.5.
	SwapPeakBytes                                                         uint64
	MemoryAnonBytes, MemoryFileBytes, MemoryKernelBytes, MemoryShmemBytes uint64
	MemoryEventsHigh, MemoryEventsMax                                     uint64
	// MemoryEventsOOM counts the times that the limit could not be kept; it is no count of kills.
	MemoryEventsOOM uint64
	// MemoryEventsOOMKill counts the processes killed: the one to watch.
	MemoryEventsOOMKill uint64
	// MemoryEventsOOMGroupKill is 0 before Linux 5.17.
	MemoryEventsOOMGroupKill uint64

	// PIDsCurrent counts threads, and zombies not yet waited for; PIDsEventsMax forks refused.
	PIDsCurrent, PIDsPeak, PIDsEventsMax uint64

	// IO is summed over devices.
	IOReadBytes, IOWriteBytes, IOReads, IOWrites uint64

	// Pressure is the total time of stalls.
	CPUPressureSome                        time.Duration
	MemoryPressureSome, MemoryPressureFull time.Duration
	IOPressureSome, IOPressureFull         time.Duration

	// Populated: a process lives in the group or below.
	Populated, Frozen bool
	// Descendants are cgroups below; DyingDescendants are removed, but the kernel still holds memory for them.
	Descendants, DyingDescendants uint64
}

// Has tells whether all of these were really measured.
func (s Stats) Has(which Stat) bool { return s.has&which == which }

// Stats measures what which asks for: StatBasic in a loop. What is not to be had is left out: see Has. One file
// of the kernel's is one consistent snapshot; several are not.
func (g *Group) Stats(which Stat) (Stats, error) {
	var c C.agentcg_stats
	_, err := g.do("stats", func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_read_stats(cg, C.uint64_t(which), &c, C.size_t(unsafe.Sizeof(c)), e)
	})
	if err != nil {
		return Stats{}, err
	}
	return statsFromC(&c), nil
}

func statsFromC(c *C.agentcg_stats) Stats {
	ns := func(n C.uint64_t) time.Duration { return time.Duration(n) }
	us := func(n C.uint64_t) time.Duration { return time.Duration(n) * time.Microsecond }
	return Stats{
		has: Stat(c.mask),
		At:  ns(c.time_ns),

		CPUUsage:            ns(c.cpu_usage_ns),
		CPUUser:             ns(c.cpu_user_ns),
		CPUSystem:           ns(c.cpu_system_ns),
		CPUPeriods:          uint64(c.cpu_nr_periods),
		CPUThrottledPeriods: uint64(c.cpu_nr_throttled),
		CPUThrottled:        ns(c.cpu_throttled_ns),

		MemoryCurrentBytes:       uint64(c.memory_current_bytes),
		MemoryPeakBytes:          uint64(c.memory_peak_bytes),
		SwapCurrentBytes:         uint64(c.swap_current_bytes),
		SwapPeakBytes:            uint64(c.swap_peak_bytes),
		MemoryAnonBytes:          uint64(c.memory_anon_bytes),
		MemoryFileBytes:          uint64(c.memory_file_bytes),
		MemoryKernelBytes:        uint64(c.memory_kernel_bytes),
		MemoryShmemBytes:         uint64(c.memory_shmem_bytes),
		MemoryEventsHigh:         uint64(c.memory_events_high),
		MemoryEventsMax:          uint64(c.memory_events_max),
		MemoryEventsOOM:          uint64(c.memory_events_oom),
		MemoryEventsOOMKill:      uint64(c.memory_events_oom_kill),
		MemoryEventsOOMGroupKill: uint64(c.memory_events_oom_group_kill),

		PIDsCurrent:   uint64(c.pids_current),
		PIDsPeak:      uint64(c.pids_peak),
		PIDsEventsMax: uint64(c.pids_events_max),

		IOReadBytes:  uint64(c.io_read_bytes),
		IOWriteBytes: uint64(c.io_write_bytes),
		IOReads:      uint64(c.io_reads),
		IOWrites:     uint64(c.io_writes),

		CPUPressureSome:    us(c.cpu_pressure_some_us),
		MemoryPressureSome: us(c.memory_pressure_some_us),
		MemoryPressureFull: us(c.memory_pressure_full_us),
		IOPressureSome:     us(c.io_pressure_some_us),
		IOPressureFull:     us(c.io_pressure_full_us),

		Populated:        c.populated != 0,
		Frozen:           c.frozen != 0,
		Descendants:      uint64(c.nr_descendants),
		DyingDescendants: uint64(c.nr_dying_descendants),
	}
}

// cStats is for the tests, in which there is no cgo.
type cStats = C.agentcg_stats
