// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import (
	"time"
	"unsafe"
)

// Stat is a set of measurements. Each bit stands for the measurements that the kernel reports together.
type Stat uint64

// The measurements.
const (
	StatCPU            Stat = C.AGENTCG_STAT_CPU             // CPUUsage, CPUUser, CPUSystem; no controller is needed
	StatMemory         Stat = C.AGENTCG_STAT_MEMORY          // MemoryCurrentBytes
	StatCPUThrottle    Stat = C.AGENTCG_STAT_CPU_THROTTLE    // CPUPeriods, CPUThrottledPeriods, CPUThrottled
	StatMemoryPeak     Stat = C.AGENTCG_STAT_MEMORY_PEAK     // MemoryPeakBytes (Linux 5.19)
	StatSwap           Stat = C.AGENTCG_STAT_SWAP            // SwapCurrentBytes, SwapPeakBytes
	StatMemoryEvents   Stat = C.AGENTCG_STAT_MEMORY_EVENTS   // MemoryEvents..., of the group and all cgroups below it
	StatMemoryDetail   Stat = C.AGENTCG_STAT_MEMORY_DETAIL   // MemoryAnonBytes to MemoryShmemBytes; may be 2 s old
	StatPIDs           Stat = C.AGENTCG_STAT_PIDS            // PIDsCurrent
	StatPIDsPeak       Stat = C.AGENTCG_STAT_PIDS_PEAK       // PIDsPeak (Linux 6.1)
	StatPIDsEvents     Stat = C.AGENTCG_STAT_PIDS_EVENTS     // PIDsEventsMax
	StatIO             Stat = C.AGENTCG_STAT_IO              // IO...
	StatCPUPressure    Stat = C.AGENTCG_STAT_CPU_PRESSURE    // CPUPressureSome (Linux 4.20 with PSI)
	StatMemoryPressure Stat = C.AGENTCG_STAT_MEMORY_PRESSURE // MemoryPressureSome, MemoryPressureFull
	StatIOPressure     Stat = C.AGENTCG_STAT_IO_PRESSURE     // IOPressureSome, IOPressureFull
	StatState          Stat = C.AGENTCG_STAT_STATE           // Populated, Frozen, Descendants, DyingDescendants

	// StatBasic is the set for polling. It costs one read each of two files.
	StatBasic Stat = C.AGENTCG_STAT_BASIC
	// StatAll is the set of all measurements.
	StatAll Stat = C.AGENTCG_STAT_ALL
)

// Stats are measurements. What the kernel or the place does not offer, or what was not requested, is not an error: the
// fields are 0, and Has returns false. The fields are neither pointers nor methods, because those of one bit are
// present or absent together and are read in a loop.
type Stats struct {
	has Stat

	// At is CLOCK_MONOTONIC at the reading, to compute rates.
	At time.Duration

	// CPUUsage is the CPU time, CPUUser that in user mode, CPUSystem that in the kernel.
	CPUUsage, CPUUser, CPUSystem time.Duration
	// CPUPeriods are the periods of the CPU quota that have elapsed. In CPUThrottledPeriods of them the quota throttled
	// the group, for the time CPUThrottled.
	CPUPeriods, CPUThrottledPeriods uint64
	CPUThrottled                    time.Duration

	// MemoryCurrentBytes is the memory in use, MemoryPeakBytes the most that was in use.
	MemoryCurrentBytes, MemoryPeakBytes uint64
	// SwapCurrentBytes is the swap in use.
	SwapCurrentBytes uint64
	// SwapPeakBytes is the most swap that was in use. It is 0 before Linux 6.5.
	SwapPeakBytes uint64
	// MemoryAnonBytes is anonymous memory. MemoryFileBytes is page cache, tmpfs and shared memory included.
	// MemoryKernelBytes is memory of the kernel; before Linux 5.18 it is the sum of the parts that the kernel reports.
	// MemoryShmemBytes is tmpfs and shared memory.
	MemoryAnonBytes, MemoryFileBytes, MemoryKernelBytes, MemoryShmemBytes uint64
	// MemoryEventsHigh counts the times that the group was throttled because of MemoryHighBytes, MemoryEventsMax the
	// times that the memory in use was about to exceed MemoryMaxBytes.
	MemoryEventsHigh, MemoryEventsMax uint64
	// MemoryEventsOOM counts the times that the limit could not be kept. It does not count kills.
	MemoryEventsOOM uint64
	// MemoryEventsOOMKill counts the processes that the OOM killer killed. Watch this one.
	MemoryEventsOOMKill uint64
	// MemoryEventsOOMGroupKill counts the times that an OOM killed a whole group. It is 0 before Linux 5.17.
	MemoryEventsOOMGroupKill uint64

	// PIDsCurrent counts threads, and zombies, too. PIDsPeak is the most that there were.
	// PIDsEventsMax counts the forks that were refused.
	PIDsCurrent, PIDsPeak, PIDsEventsMax uint64

	// IOReadBytes, IOWriteBytes, IOReads and IOWrites are the bytes and the operations, summed over the devices.
	IOReadBytes, IOWriteBytes, IOReads, IOWrites uint64

	// CPUPressureSome is the total time in which some process waited for a CPU.
	CPUPressureSome time.Duration
	// MemoryPressureSome is the total time in which some process waited for memory, MemoryPressureFull the time in
	// which all busy processes did.
	MemoryPressureSome, MemoryPressureFull time.Duration
	// IOPressureSome and IOPressureFull are the same for I/O.
	IOPressureSome, IOPressureFull time.Duration

	// Populated is true if a process lives in the group or below it, Frozen if the group is frozen.
	Populated, Frozen bool
	// Descendants is the number of cgroups below the group, DyingDescendants the number of removed cgroups for which
	// the kernel holds memory.
	Descendants, DyingDescendants uint64
}

// Has returns true if all of these were measured.
func (s Stats) Has(which Stat) bool { return s.has&which == which }

// Stats measures the group and all cgroups below it. which selects the measurements; use StatBasic in a loop. What is
// not available is left out: see Has. The fields of one file are one consistent snapshot; those of several files are
// not.
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

// cStats is for the tests, because test files cannot use cgo.
type cStats = C.agentcg_stats
