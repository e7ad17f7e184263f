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

// startInto lets the kernel make the process in the group, if the kernel does that right. It returns false if it did
// not try; else err is the result of the start.
func (g *Group) startInto(cmd *exec.Cmd) (tried bool, err error) {
	if sys := cmd.SysProcAttr; sys != nil && sys.UseCgroupFD {
		return true, invalid("start", "SysProcAttr.UseCgroupFD is set: leave the cgroup to Start")
	}
	if !soundIn(g.place()) {
		return false, nil
	}
	// If the child were frozen before its exec, this whole program would be suspended in vfork.
	g.h.starting.RLock()
	defer g.h.starting.RUnlock()
	// The group of a session takes no process, and an agent may have frozen the cgroup that takes them.
	if g.isSession() {
		return false, nil
	}
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
		absent.(*os.PathError).Op = "chdir" // the error of cmd.Start without SysProcAttr
		return true, absent
	}
	return true, err
}

// freezing returns true if the group is frozen, or is about to be.
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

// soundIn returns true if the kernel can make processes in the groups under parent without killing them.
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

// trySound tests this in a group that it makes. Linux 6.14, and older kernels with the backported change, count in each
// cgroup how often cgroup.kill was used, and kill a new child if the count of its cgroup differs from that of its
// parent's cgroup (fixed in 2026). The test uses three counts, of which at least two differ from that of this process.
func trySound(parent string) (is, sure bool) {
	g, err := New(Options{Parent: parent, NoSystemd: true, KeepCaller: true})
	if err != nil {
		return false, false
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := g.Destroy(ctx); err != nil {
			g.Close() // Reap removes it later
		}
	}()
	for count := 0; count < 3; count++ {
		if is, sure = livesIn(g.FD()); !is {
			return false, sure
		}
		err := g.WriteFile("cgroup.kill", []byte("1"))
		if errors.Is(err, syscall.ENOENT) { // before Linux 5.14 the kernel does not count
			return true, true
		}
		if err != nil {
			return false, false
		}
	}
	return true, true
}

// tooLong is a path that no file can have. Only execve(2) fails with ENAMETOOLONG for it.
var tooLong = "/" + strings.Repeat("x", 2*syscall.PathMax)

// livesIn makes a process in the cgroup that fails in execve(2). If the kernel kills the new process, ForkExec
// succeeds, because the pipe to the child is closed without an error in it.
func livesIn(cgroup int) (is, sure bool) {
	pid, err := syscall.ForkExec(tooLong, []string{"agentcg-probe"}, &syscall.ProcAttr{
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
	return false, true // ENOSYS, EPERM: seccomp or an old kernel; EACCES: only systemd may move processes there
}
