// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Start is cmd.Start for a program in the group, by the means of Go. Spawn does the same by agentcg_spawn, which has no
// need of a stand-in, and can contain the program; Start is for what Spawn cannot do, such as SysProcAttr.Chroot and
// cmd.Wait of a Cmd with a context. The program, and everything that it starts, is in the group before its first
// instruction. All fields of cmd are used, SysProcAttr included, except SysProcAttr.UseCgroupFD and CgroupFD,
// which Start sets. Call cmd.Wait as usual. If a program cannot be executed, the error is that of cmd.Start.
//
// If possible, the kernel makes the process in the group: clone3(2) with CLONE_INTO_CGROUP, which needs Linux 5.7 and
// Go 1.20. Most kernels of 2025 and 2026 do this wrong: once cgroup.kill was used, they kill every process that is
// created in the group. Start tests this once for each place, in a group that it makes and removes.
//
// Start uses a stand-in on such kernels, if seccomp forbids clone3, and if the group is frozen. The stand-in is this
// program, executed a second time, up to a point before its init functions and main. This process moves it into the
// group, and only then it executes the command. This takes a few milliseconds. PIDsMax does not prevent it, but counts
// the process afterwards. It needs /proc, a main program in Go, and a command without SysProcAttr.Chroot and Ptrace;
// else the error is EOPNOTSUPP.
//
// The command inherits the oom_score_adj of this program. If that is -1000, the OOM killer passes it over, and at
// MemoryMaxBytes it uses CPU time instead of being killed. agentcg_spawn does not pass -1000 on.
//
// If the group is frozen, Start returns when it is thawed or killed. If KillAll is called at the same time, the command
// may be killed before it runs; cmd.Wait reports that.
func (g *Group) Start(cmd *exec.Cmd) error {
	const op = "start"
	if _, err := g.do(op, alive); err != nil {
		return err
	}
	if cmd == nil {
		return invalid(op, "the Cmd is nil")
	}
	if cmd.Process != nil || cmd.Err != nil || cmd.Path == "" {
		return cmd.Start() // returns its own error and starts nothing
	}
	defer runtime.KeepAlive(g)
	if ok, err := g.startInto(cmd); ok {
		return err
	}
	return g.startMoved(cmd)
}

// startMoved starts a stand-in for the command. It waits until it was moved, and then executes the command; see
// enter.c.
func (g *Group) startMoved(cmd *exec.Cmd) error {
	const op = "start"
	if err := standInPossible(op, cmd); err != nil {
		return err
	}
	order, err := encode(cmd)
	if err != nil {
		return &os.PathError{Op: "fork/exec", Path: cmd.Path, Err: err}
	}
	parentEnd, childEnd, err := socketPair()
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	defer parentEnd.Close()
	err = startStandIn(cmd, childEnd)
	childEnd.Close()
	if err != nil {
		return err
	}

	// The stand-in sends a byte. Without it the process is not a stand-in, but the program runs as usual.
	if _, err := io.ReadFull(parentEnd, make([]byte, 1)); err != nil {
		status := give(cmd)
		return &Error{Op: op, Msg: "the stand-in for " + cmd.Path + " ended before it was moved: " + status.Error(),
			Errno: syscall.ECHILD, cause: contextCause(status)}
	}
	if err := g.MovePID(cmd.Process.Pid); err != nil {
		parentEnd.Close() // this ends the stand-in
		give(cmd)
		return renamed(err, op)
	}
	// From now on it is in the group and may be killed with it; cmd.Wait reports that.
	if _, err := parentEnd.Write(order); err != nil {
		return nil
	}
	answer := make([]byte, 4)
	if n, _ := io.ReadFull(parentEnd, answer); n < len(answer) {
		return nil // it has executed the command, and execve(2) has closed its end of the socket
	}
	give(cmd)
	return &os.PathError{Op: "fork/exec", Path: cmd.Path, Err: errnoOf(answer)}
}

// startStandIn starts this program as a stand-in. It restores cmd.
func startStandIn(cmd *exec.Cmd, childEnd *os.File) error {
	env, err := standInEnv(3 + len(cmd.ExtraFiles))
	if err != nil {
		return err
	}
	path, args, before, extra := cmd.Path, cmd.Args, cmd.Env, cmd.ExtraFiles
	defer func() { cmd.Path, cmd.Args, cmd.Env, cmd.ExtraFiles = path, args, before, extra }()
	cmd.Path, cmd.Args, cmd.Env = "/proc/self/exe", []string{"agentcg-stand-in"}, env
	cmd.ExtraFiles = append(append([]*os.File(nil), extra...), childEnd)
	err = cmd.Start()
	var at *os.PathError
	if errors.As(err, &at) && at.Path == cmd.Path && at.Op == "fork/exec" {
		return &Error{Op: "start", Msg: "to start " + path + ", this program is executed a second time by " +
			"/proc/self/exe, which failed (the user needs the permission to execute it): " + at.Err.Error(), Errno: errno(at.Err)}
	}
	return err
}

// give waits for a stand-in that did not execute the command and ends soon, and returns how it ended.
func give(cmd *exec.Cmd) error {
	switch cmd.Stdin.(type) {
	case nil, *os.File:
		if err := cmd.Wait(); err != nil {
			return err
		}
		return errors.New("it has ended")
	}
	// cmd.Wait would wait for the end of cmd.Stdin, which may never come, although cmd.Stdin is not read any more.
	state, err := cmd.Process.Wait()
	if err != nil {
		return err
	}
	return errors.New(state.String())
}

func errno(err error) syscall.Errno {
	var e syscall.Errno
	errors.As(err, &e)
	return e
}
