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

// Start is cmd.Start with the program in the group before its first instruction, and so all that it starts. All of
// cmd is used as it stands, SysProcAttr included, but for SysProcAttr.CgroupFD, which it sets; cmd.Wait and all else
// come after as usual. A program that cannot be executed gives the error that cmd.Start gives.
//
// Where that is sound the kernel makes the process in the group (clone3(2) with CLONE_INTO_CGROUP, Linux 5.7, and Go
// 1.20). Most kernels of 2025 and 2026 are not sound: they kill such processes at birth once cgroup.kill was used.
// Start finds that out, once for each parent, in a group of its own that it makes and removes. There, where seccomp
// forbids clone3, and where the group is frozen, this program is executed a second time instead, up to a point before
// its main and its init functions, is moved into the group by this one, and only then becomes the command. That
// takes a few milliseconds, is not held back by PIDsMax (which counts it from then on), and needs /proc, a program that
// is no C program with a Go library, and a command without SysProcAttr.Chroot or Ptrace: else EOPNOTSUPP.
//
// The command has the oom_score_adj of this program: over -1000 the OOM killer passes, so that at its MemoryMax it uses CPU
// time and is not killed. agentcg_spawn does not hand that down.
//
// Into a frozen group it returns when that is thawed or killed. Beside a KillAll the command may be killed before it
// runs, which cmd.Wait tells.
func (g *Group) Start(cmd *exec.Cmd) error {
	const op = "start"
	if _, err := g.do(op, alive); err != nil {
		return err
	}
	if cmd == nil {
		return invalid(op, "the Cmd is nil")
	}
	if cmd.Process != nil || cmd.Err != nil || cmd.Path == "" {
		return cmd.Start() // which has its own words for it, and starts nothing
	}
	defer runtime.KeepAlive(g)
	if ok, err := g.startInto(cmd); ok {
		return err
	}
	return g.startMoved(cmd)
}

// startMoved starts a stand-in for the command, which waits to be moved and then becomes the command: enter.c.
func (g *Group) startMoved(cmd *exec.Cmd) error {
	const op = "start"
	if err := standInPossible(op, cmd); err != nil {
		return err
	}
	order, err := encode(cmd)
	if err != nil {
		return &os.PathError{Op: "fork/exec", Path: cmd.Path, Err: err}
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	defer ours.Close()
	err = startStandIn(cmd, theirs)
	theirs.Close()
	if err != nil {
		return err
	}

	// It says that it is there: what else the program might do by itself must not be taken for it.
	if _, err := io.ReadFull(ours, make([]byte, 1)); err != nil {
		status := give(cmd)
		return &Error{Op: op, Msg: "the stand-in for " + cmd.Path + " ended before it was moved: " + status.Error(),
			Errno: syscall.ECHILD, cause: contextCause(status)}
	}
	if err := g.MovePID(cmd.Process.Pid); err != nil {
		ours.Close() // at which it ends
		give(cmd)
		return renamed(err, op)
	}
	// From here on it is one of the group, and may be killed with it: cmd.Wait tells.
	if _, err := ours.Write(order); err != nil {
		return nil
	}
	answer := make([]byte, 4)
	if n, _ := io.ReadFull(ours, answer); n < len(answer) {
		return nil // it has become the command, at which its end of the socket was closed
	}
	give(cmd)
	return &os.PathError{Op: "fork/exec", Path: cmd.Path, Err: errnoOf(answer)}
}

// startStandIn starts this program as the stand-in, and leaves cmd as it was.
func startStandIn(cmd *exec.Cmd, theirs *os.File) error {
	env, err := standInEnv(3 + len(cmd.ExtraFiles))
	if err != nil {
		return err
	}
	path, args, before, extra := cmd.Path, cmd.Args, cmd.Env, cmd.ExtraFiles
	defer func() { cmd.Path, cmd.Args, cmd.Env, cmd.ExtraFiles = path, args, before, extra }()
	cmd.Path, cmd.Args, cmd.Env = "/proc/self/exe", []string{"agentcg-stand-in"}, env
	cmd.ExtraFiles = append(append([]*os.File(nil), extra...), theirs)
	err = cmd.Start()
	var at *os.PathError
	if errors.As(err, &at) && at.Path == cmd.Path && at.Op == "fork/exec" {
		return &Error{Op: "start", Msg: "for " + path + " this program is executed a second time, by way of " +
			"/proc/self/exe, which fails (who runs it has to have the right to): " + at.Err.Error(), Errno: errno(at.Err)}
	}
	return err
}

// give waits for a stand-in that did not become the command, or has not long to live, and tells how it ended.
func give(cmd *exec.Cmd) error {
	switch cmd.Stdin.(type) {
	case nil, *os.File:
		if err := cmd.Wait(); err != nil {
			return err
		}
		return errors.New("it has ended")
	}
	// cmd.Wait would wait for the end of what is read, which may never come, and of which nobody reads any more.
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
