// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build go1.20

package agentcg

// #include <agentcg.h>
import "C"

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startInto has the kernel make the process in the group, where that is sound. It tells whether it was, and if so
// whether the command has started.
func (g *Group) startInto(cmd *exec.Cmd) (tried bool, err error) {
	if sys := cmd.SysProcAttr; sys != nil && sys.UseCgroupFD {
		return true, invalid("start", "SysProcAttr.UseCgroupFD is set: what cgroup is it to be?")
	}
	if !soundIn(g.parent()) {
		return false, nil
	}
	// While the child is frozen before its exec, this whole program stands still in vfork.
	g.h.births.RLock()
	defer g.h.births.RUnlock()
	if frozen, err := g.freezing(); frozen || err != nil {
		return err != nil, err
	}
	before := cmd.SysProcAttr
	defer func() { cmd.SysProcAttr = before }()
	var sys syscall.SysProcAttr
	if before != nil {
		sys = *before
	}
	cmd.SysProcAttr = &sys
	_, closed := g.do("start", func(cg *C.agentcg, _ *C.agentcg_error) C.int {
		sys.UseCgroupFD, sys.CgroupFD = true, int(C.agentcg_fd(cg))
		err = cmd.Start()
		return 0
	})
	if closed != nil {
		return true, closed
	}
	if _, absent := os.Stat(cmd.Dir); before == nil && cmd.Dir != "" && absent != nil && err != nil {
		absent.(*os.PathError).Op = "chdir" // as it is told where there is no SysProcAttr
		return true, absent
	}
	return true, err
}

// freezing tells whether the group is frozen, or on the way there.
func (g *Group) freezing() (bool, error) {
	s, err := g.Stats(StatState)
	if err != nil {
		return false, renamed(err, "start")
	}
	freeze, err := g.ReadFile("cgroup.freeze")
	if errors.Is(err, syscall.ENOENT) { // before Linux 5.2
		return s.Frozen, nil
	}
	return s.Frozen || strings.TrimSpace(string(freeze)) == "1", renamed(err, "start")
}

var (
	soundMu sync.Mutex
	sound   = map[string]bool{}
)

// soundIn tells whether processes can be made by the kernel in the groups under parent, and live.
func soundIn(parent string) bool {
	soundMu.Lock()
	defer soundMu.Unlock()
	is, known := sound[parent]
	if known {
		return is
	}
	is, sure := trySound(parent)
	if sure {
		sound[parent] = is
	}
	return is
}

// trySound finds it out in a group that is made for it. Linux 6.14, and what it was ported back to, counts in each
// cgroup how often cgroup.kill was used, and kills a child at birth if the count where it is put is another one than
// that of its parent. Of three counts two are another one, whatever ours is. (Mended in 2026.)
func trySound(parent string) (is, sure bool) {
	g, err := New(Options{Parent: parent, NoSystemd: true, KeepCaller: true})
	if err != nil {
		return false, false
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := g.Destroy(ctx); err != nil {
			g.Close() // Reap ends it when we have ended
		}
	}()
	for count := 0; count < 3; count++ {
		if is, sure = livesIn(g.FD()); !is {
			return false, sure
		}
		err := g.WriteFile("cgroup.kill", []byte("1"))
		if errors.Is(err, syscall.ENOENT) { // before Linux 5.14: nothing counts
			return true, true
		}
		if err != nil {
			return false, false
		}
	}
	return true, true
}

// A name that no file has, and an error for it that only execve(2) gives.
var tooLong = "/" + strings.Repeat("x", 2*syscall.PathMax)

// livesIn makes a process in the cgroup that gets as far as its execve(2), and ends there. A process killed at birth
// looks to Go as if it had got through it.
func livesIn(cgroup int) (is, sure bool) {
	pid, err := syscall.ForkExec(tooLong, []string{"agentcg-birth"}, &syscall.ProcAttr{
		Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: cgroup},
	})
	switch err {
	case syscall.ENAMETOOLONG:
		return true, true
	case nil:
		for {
			if _, err := syscall.Wait4(pid, nil, 0, nil); err != syscall.EINTR {
				return false, true
			}
		}
	case syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE:
		return false, false
	}
	return false, true // ENOSYS, EPERM: seccomp, old kernels; EACCES: only systemd may
}
