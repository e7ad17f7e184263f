// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// Cause is a set of causes of an agent's end.
type Cause uint64

// The causes. CauseUnknown and CauseSignal are values of Verdict.Cause only.
const (
	CauseExited           Cause = C.AGENTCG_CAUSE_EXITED             // The main program exited.
	CauseSignalInside     Cause = C.AGENTCG_CAUSE_SIGNAL_INSIDE      // A signal for a fault, or of a process of the group.
	CauseSignalOutside    Cause = C.AGENTCG_CAUSE_SIGNAL_OUTSIDE     // A signal of a process outside the group.
	CauseKilled           Cause = C.AGENTCG_CAUSE_KILLED             // A call of the library: see Call.
	CauseGuard            Cause = C.AGENTCG_CAUSE_GUARD              // The guard, because the owner ended.
	CauseMemoryLimit      Cause = C.AGENTCG_CAUSE_MEMORY_LIMIT       // The OOM killer, for a limit of the group or below it.
	CauseMemoryLimitAbove Cause = C.AGENTCG_CAUSE_MEMORY_LIMIT_ABOVE // The OOM killer, for a limit above the group.
	CauseMachine          Cause = C.AGENTCG_CAUSE_MACHINE            // The OOM killer: the machine had no memory left.
	CauseOOMD             Cause = C.AGENTCG_CAUSE_OOMD               // systemd-oomd.
	CauseRunning          Cause = C.AGENTCG_CAUSE_RUNNING            // None: processes live in the group.
	CauseSignal           Cause = C.AGENTCG_CAUSE_SIGNAL             // A signal, from inside or outside.
	CauseUnknown          Cause = C.AGENTCG_CAUSE_UNKNOWN            // Several candidates are possible.
)

// Call is a call of the library that signals all processes.
type Call uint32

// The calls. Group.Terminate consists of SignalAll and KillAll.
const (
	CallNone      Call = C.AGENTCG_CALL_NONE
	CallKillAll   Call = C.AGENTCG_CALL_KILL_ALL
	CallKillAllOf Call = C.AGENTCG_CALL_KILL_ALL_OF
	CallTerminate Call = C.AGENTCG_CALL_TERMINATE
	CallDestroy   Call = C.AGENTCG_CALL_DESTROY
	CallSignalAll Call = C.AGENTCG_CALL_SIGNAL_ALL
	CallReap      Call = C.AGENTCG_CALL_REAP
)

// VerdictCount is a set of counts of a Verdict.
type VerdictCount uint64

// The counts.
const (
	CountOOMKills          VerdictCount = C.AGENTCG_VERDICT_OOM_KILLS
	CountForksRefused      VerdictCount = C.AGENTCG_VERDICT_FORKS_REFUSED
	CountForksRefusedOwn   VerdictCount = C.AGENTCG_VERDICT_FORKS_REFUSED_OWN
	CountForksRefusedAbove VerdictCount = C.AGENTCG_VERDICT_FORKS_REFUSED_ABOVE
	CountMemoryPeak        VerdictCount = C.AGENTCG_VERDICT_MEMORY_PEAK
	CountMemoryMax         VerdictCount = C.AGENTCG_VERDICT_MEMORY_MAX
	CountCPUThrottled      VerdictCount = C.AGENTCG_VERDICT_CPU_THROTTLED
)

// Verdict says why an agent ended. It is never a guess: if the kernel does not show several causes apart, Cause is
// CauseUnknown, and Candidates has all of them. docs/verdict.md has the rules.
type Verdict struct {
	known VerdictCount

	// Cause is one cause, CauseSignal or CauseUnknown.
	Cause Cause
	// Candidates are all possible causes.
	Candidates Cause
	// ExitCode is the code after CauseExited.
	ExitCode int
	// Signal is the signal that ended the main program, 0 if none did or if it is unknown.
	Signal syscall.Signal
	// Call is the call that has sent the signal, if CauseKilled is a candidate.
	Call Call
	// LevelsUp is the number of levels from the group up to the cgroup of CauseMemoryLimitAbove, 0 if it is unknown.
	LevelsUp int

	// OOMKills is the number of processes of the group that the OOM killer has killed.
	OOMKills uint64
	// ForksRefused is the number of forks that were refused in the group, ForksRefusedOwn of those refused by limits of
	// the group and below it, ForksRefusedAbove by limits above it.
	ForksRefused, ForksRefusedOwn, ForksRefusedAbove uint64
	// MemoryPeakBytes is the most memory in use, MemoryMaxBytes the group's limit, or Unlimited.
	MemoryPeakBytes, MemoryMaxBytes uint64
	// CPUThrottled is the time for which the CPU quota throttled the group.
	CPUThrottled time.Duration

	// Text is the verdict as a sentence, for a log.
	Text string
}

// Has returns true if all of these counts are known. The others are 0.
func (v Verdict) Has(which VerdictCount) bool { return v.known&which == which }

// String returns the sentence.
func (v Verdict) String() string { return v.Text }

func verdictFromC(c *C.agentcg_verdict) Verdict {
	return Verdict{
		known:             VerdictCount(c.mask),
		Cause:             Cause(c.cause),
		Candidates:        Cause(c.candidates),
		ExitCode:          int(c.exit_code),
		Signal:            syscall.Signal(c.term_signal),
		Call:              Call(c.call),
		LevelsUp:          int(c.levels_up),
		OOMKills:          uint64(c.oom_kills),
		ForksRefused:      uint64(c.forks_refused),
		ForksRefusedOwn:   uint64(c.forks_refused_own),
		ForksRefusedAbove: uint64(c.forks_refused_above),
		MemoryPeakBytes:   uint64(c.memory_peak_bytes),
		MemoryMaxBytes:    uint64(c.memory_max_bytes),
		CPUThrottled:      time.Duration(c.cpu_throttled_ns),
		Text:              C.GoString(&c.text[0]),
	}
}

// waitStatus returns the status for C. A nil state is not known.
func waitStatus(state *os.ProcessState) C.int {
	if state == nil {
		return C.AGENTCG_NO_WAIT_STATUS
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok {
		return C.AGENTCG_NO_WAIT_STATUS
	}
	return C.int(status)
}

// Explain finds out why the agent ended. state is that of its main program, such as cmd.ProcessState, or nil if it is not
// known. Call it once for each program that has ended, before the next program is started in the group and before the
// group is killed. If the group was removed by another process, only what its remover has left for Events is known.
func (g *Group) Explain(state *os.ProcessState) (Verdict, error) {
	var c C.agentcg_verdict
	_, err := g.do("explain", func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_explain(cg, waitStatus(state), &c, C.size_t(unsafe.Sizeof(c)), e)
	})
	if err != nil {
		return Verdict{}, err
	}
	return verdictFromC(&c), nil
}

// DestroyExplained is Destroy with the verdict as well: that of Explain before the kill, if state is not nil, because the
// main program has ended then. With nil it is that of the moment before the group is removed.
func (g *Group) DestroyExplained(ctx context.Context, state *os.ProcessState) (Stats, Verdict, error) {
	const op = "destroy"
	if g == nil || g.h == nil {
		return Stats{}, Verdict{}, invalid(op, "the Group is nil, or was not made by New or Open")
	}
	var final Stats
	var verdict Verdict
	_, err := g.wait(ctx, op, growing, func(ms C.int) (n int, err error) {
		final, verdict, err = g.h.destroyExplained(op, waitStatus(state), ms)
		return 0, err
	})
	if err != nil {
		return Stats{}, Verdict{}, err
	}
	runtime.SetFinalizer(g, nil)
	return final, verdict, nil
}

func (h *handle) destroyExplained(op string, status, timeoutMS C.int) (Stats, Verdict, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cg == nil {
		return Stats{}, Verdict{}, closedError(op)
	}
	var final C.agentcg_stats
	var verdict C.agentcg_verdict
	var e C.agentcg_error
	r := C.agentcg_destroy_explained(h.cg, 0, timeoutMS, status, &final, C.size_t(unsafe.Sizeof(final)), &verdict,
		C.size_t(unsafe.Sizeof(verdict)), &e)
	if r < 0 {
		return Stats{}, Verdict{}, failure(op, r, &e)
	}
	h.cg = nil
	return statsFromC(&final), verdictFromC(&verdict), nil
}
