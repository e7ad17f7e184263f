// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import "math"

// MovePID moves a process with all its threads into the group, and checks that it has arrived. Children that it already
// has are not moved: use Start for a program that has to be in the group from its first instruction. Use os.Getpid() to
// move this program.
func (g *Group) MovePID(pid int) error {
	const op = "move pid"
	if err := checkPID(op, pid); err != nil {
		return err
	}
	_, err := g.do(op, func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_move_pid(cg, C.pid_t(pid), e)
	})
	return err
}

// MovePidfd is MovePID by a pidfd. It returns ESRCH if the process exited meanwhile; the message says if a process that
// reuses its pid was moved.
func (g *Group) MovePidfd(pidfd int) error {
	const op = "move pidfd"
	if pidfd < 0 || pidfd > math.MaxInt32 {
		return invalid(op, "the pidfd is not a descriptor")
	}
	_, err := g.do(op, func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_move_pidfd(cg, C.int(pidfd), e)
	})
	return err
}

// MoveOut moves a process with all its threads, which is in the group or below it, to the cgroup of this program: the way
// out of the group. The limits of the group do not apply to it any more, and it does not end with the group. Memory that it
// has used stays charged to the group until it is freed. It returns ESRCH if the process is not in the group, and EDEADLK if
// this program is in the group. Use MoveOutPidfd if the pid may have been reused.
func (g *Group) MoveOut(pid int) error {
	const op = "move out"
	if err := checkPID(op, pid); err != nil {
		return err
	}
	_, err := g.do(op, func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_move_out(cg, C.pid_t(pid), e)
	})
	return err
}

// MoveOutPidfd is MoveOut by a pidfd.
func (g *Group) MoveOutPidfd(pidfd int) error {
	const op = "move out pidfd"
	if pidfd < 0 || pidfd > math.MaxInt32 {
		return invalid(op, "the pidfd is not a descriptor")
	}
	_, err := g.do(op, func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_move_out_pidfd(cg, C.int(pidfd), e)
	})
	return err
}

// Contains returns true if pid, with any of its threads, is in the group or below it. This shows an escape.
func (g *Group) Contains(pid int) (bool, error) {
	const op = "contains"
	if err := checkPID(op, pid); err != nil {
		return false, err
	}
	r, err := g.do(op, func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_contains(cg, C.pid_t(pid), e)
	})
	return r == 1, err
}

// pidRoom is the first length of the list. The pids of most groups fit into it.
var pidRoom = 64

// PIDs returns the processes that live in the group and below it, each once, in ascending order. Zombies are left out.
// Processes outside the pid namespace of this process have no pid in it and are left out, too.
func (g *Group) PIDs() ([]int, error) {
	for room := pidRoom; ; {
		pids := make([]C.pid_t, room)
		n, err := g.do("pids", func(cg *C.agentcg, e *C.agentcg_error) C.int {
			return C.agentcg_pids(cg, &pids[0], C.size_t(room), e)
		})
		if err != nil {
			return nil, err
		}
		if n <= room {
			list := make([]int, n)
			for i := range list {
				list[i] = int(pids[i])
			}
			return list, nil
		}
		room = n + n/4 // more processes may be created before the next call
	}
}

// checkPID refuses a number that would become another one as C's pid_t.
func checkPID(op string, pid int) error {
	if pid < 1 || pid > math.MaxInt32 {
		return invalid(op, "a pid must be 1 or more, and fit into 31 bits")
	}
	return nil
}
