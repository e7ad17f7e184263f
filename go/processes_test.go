// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

import (
	"math"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func outside(t *testing.T) *exec.Cmd {
	cmd := exec.Command("sleep", "1000")
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

func TestAMovedProcessIsContainedAndListed(t *testing.T) {
	g := group(t, Options{})
	cmd := outside(t)
	pid := cmd.Process.Pid
	if in, err := g.Contains(pid); err != nil || in {
		t.Fatalf("%v, %v", in, err)
	}
	must(t, g.MovePID(pid))
	if in, err := g.Contains(pid); err != nil || !in {
		t.Fatalf("%v, %v", in, err)
	}
	if pids, err := g.PIDs(); err != nil || len(pids) != 1 || pids[0] != pid {
		t.Fatalf("%v, %v", pids, err)
	}
}

func TestAProcessIsMovedByItsPidfd(t *testing.T) {
	g := group(t, Options{})
	cmd := outside(t)
	const pidfdOpen = 434
	fd, _, errno := syscall.Syscall(pidfdOpen, uintptr(cmd.Process.Pid), 0, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer syscall.Close(int(fd))
	must(t, g.MovePidfd(int(fd)))
	if in, err := g.Contains(cmd.Process.Pid); err != nil || !in {
		t.Fatalf("%v, %v", in, err)
	}
	wants(t, g.MovePidfd(g.FD()), syscall.EBADF)
	wants(t, g.MovePidfd(-1), syscall.EINVAL)
}

func TestAProcessIsMovedOutOfItsGroup(t *testing.T) {
	g := group(t, Options{})
	cmd := outside(t)
	pid := cmd.Process.Pid
	const pidfdOpen = 434
	fd, _, errno := syscall.Syscall(pidfdOpen, uintptr(pid), 0, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer syscall.Close(int(fd))
	for _, moveOut := range []func() error{
		func() error { return g.MoveOut(pid) },
		func() error { return g.MoveOutPidfd(int(fd)) },
	} {
		wants(t, moveOut(), syscall.ESRCH)
		must(t, g.MovePID(pid))
		must(t, moveOut())
		if in, err := g.Contains(pid); err != nil || in {
			t.Fatalf("%v, %v", in, err)
		}
	}
	wants(t, g.MoveOut(0), syscall.EINVAL)
	wants(t, g.MoveOutPidfd(g.FD()), syscall.EBADF)
	wants(t, g.MoveOutPidfd(-1), syscall.EINVAL)
}

func TestTheAgentOfAProcessIsFound(t *testing.T) {
	g := group(t, Options{})
	cmd := outside(t)
	_, err := Find(cmd.Process.Pid)
	wants(t, err, syscall.ENOENT)
	must(t, g.MovePID(cmd.Process.Pid))
	const pidfdOpen = 434
	fd, _, errno := syscall.Syscall(pidfdOpen, uintptr(cmd.Process.Pid), 0, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer syscall.Close(int(fd))
	f, err := Find(cmd.Process.Pid)
	must(t, err)
	if f.UUID != g.UUID() || f.Place != g.parent() || f.Below || f.OwnerPID != os.Getpid() || time.Since(f.Created) > time.Hour {
		t.Fatalf("%+v", f)
	}
	if same, err := FindPidfd(int(fd)); err != nil || same != f {
		t.Fatalf("%+v, %v", same, err)
	}
	_, err = FindPidfd(g.FD())
	wants(t, err, syscall.EBADF)
	_, err = FindPidfd(-1)
	wants(t, err, syscall.EINVAL)
}

func TestAllOfManyProcessesAreListed(t *testing.T) {
	g := group(t, Options{})
	defer func(room int) { pidRoom = room }(pidRoom)
	pidRoom = 3
	run(t, g, "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; wait")
	for n := 0; n < 10; {
		pids, err := g.PIDs()
		must(t, err)
		for i := 1; i < len(pids); i++ {
			if pids[i] <= pids[i-1] {
				t.Fatalf("%v", pids)
			}
		}
		n = len(pids)
	}
}

func TestInvalidPidsAreRefused(t *testing.T) {
	g := group(t, Options{})
	for _, pid := range []int{0, -1, math.MaxInt32 + 1, 1 << 32} {
		wants(t, g.MovePID(pid), syscall.EINVAL)
		_, err := g.Contains(pid)
		wants(t, err, syscall.EINVAL)
		_, err = Find(pid)
		wants(t, err, syscall.EINVAL)
	}
	gone := exec.Command("true")
	must(t, gone.Run())
	wants(t, g.MovePID(gone.Process.Pid), syscall.ESRCH)
}

func TestInterfaceFilesAreReadAndWritten(t *testing.T) {
	g := group(t, Options{})
	must(t, g.WriteFile("cgroup.max.depth", []byte("5\n")))
	if text, err := g.ReadFile("cgroup.max.depth"); err != nil || string(text) != "5\n" {
		t.Fatalf("%q, %v", text, err)
	}
	defer func(room int) { fileRoom = room }(fileRoom)
	for fileRoom = 1; fileRoom < 30; fileRoom++ {
		if text, err := g.ReadFile("cgroup.events"); err != nil || string(text) != "populated 0\nfrozen 0\n" {
			t.Fatalf("%q, %v", text, err)
		}
	}
	_, err := g.ReadFile("memory.nonesuch")
	wants(t, err, syscall.ENOENT, os.ErrNotExist)
	wants(t, g.WriteFile("cgroup.freeze", nil), syscall.EINVAL)
	wants(t, g.WriteFile("cgroup.freeze", []byte("1\x00")), syscall.EINVAL)
	_, err = g.ReadFile("../cgroup.procs")
	wants(t, err, syscall.EINVAL)
}
