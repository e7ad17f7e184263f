// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import "math"

// MovePID moves a process, with all its threads, into the group, and makes sure that it is there. Children that it
// has already stay where they are: Start is for what is to be inside from its first instruction. To move this
// program itself use os.Getpid().
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

// MovePidfd is MovePID by a pidfd: no other process that was given the pid meanwhile is taken for it.
func (g *Group) MovePidfd(pidfd int) error {
	const op = "move pidfd"
	if pidfd < 0 || pidfd > math.MaxInt32 {
		return invalid(op, "that is no descriptor")
	}
	_, err := g.do(op, func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_move_pidfd(cg, C.int(pidfd), e)
	})
	return err
}

// Contains tells whether pid is in the group or below it, with any of its threads: an escape shows here.
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

// pidRoom is what most groups fit into.
var pidRoom = 64

// PIDs are the processes that live in the group and below it, each once, in ascending order. Those outside our own
// pid namespace have no pid here and are left out, and so are zombies.
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
		room = n + n/4 // more are born meanwhile
	}
}

// checkPID refuses what would be another number as C's pid_t.
func checkPID(op string, pid int) error {
	if pid < 1 || pid > math.MaxInt32 {
		return invalid(op, "a pid is 1 or more, and fits into 31 bits")
	}
	return nil
}
