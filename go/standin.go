// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include "enter.h"
import "C"

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// standInPossible tells what forbids to execute this program a second time.
func standInPossible(op string, cmd *exec.Cmd) error {
	cannot := func(why string) error {
		return &Error{Op: op, Msg: "clone3(2) right into the group is not to be had or not sound here, and the other way " +
			why, Errno: syscall.EOPNOTSUPP}
	}
	if sys := cmd.SysProcAttr; sys != nil {
		if sys.Chroot != "" {
			return cannot("needs this program's file, which SysProcAttr.Chroot hides: let the command do the chroot")
		}
		if sys.Ptrace {
			return cannot("has an execve(2) more, at which SysProcAttr.Ptrace would stop")
		}
	}
	switch C.agentcg_go_stand_in() {
	case C.AGENTCG_GO_OK:
		return nil
	case C.AGENTCG_GO_SECURE:
		return cannot("is closed to programs with the set-user-ID bit or file capabilities")
	}
	return cannot("needs the main program to be the Go program, which it is not here (-buildmode=c-shared or plugin)")
}

// standInEnv is the environment that this program was started with, since it needs the same libraries again, and the
// descriptor that makes it a stand-in.
func standInEnv(fd int) ([]string, error) {
	environ, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		return nil, err
	}
	env := []string{C.AGENTCG_GO_FD + "=" + strconv.Itoa(fd)}
	for _, v := range bytes.Split(environ, []byte{0}) {
		if len(v) > 0 {
			env = append(env, string(v))
		}
	}
	return env, nil
}

// encode says in bytes what the stand-in is to become: struct order in enter.c, and the strings.
func encode(cmd *exec.Cmd) ([]byte, error) {
	args := cmd.Args
	if len(args) == 0 {
		args = []string{cmd.Path}
	}
	env := cmd.Environ()
	if cmd.Env != nil { // which leaves out what has a NUL, where Start refuses it
		for _, v := range cmd.Env {
			if strings.IndexByte(v, 0) >= 0 {
				return nil, errors.New("an environment variable has a NUL byte in it")
			}
		}
	}
	var texts []byte
	for _, s := range append(append([]string{cmd.Path}, args...), env...) {
		if strings.IndexByte(s, 0) >= 0 {
			return nil, syscall.EINVAL
		}
		texts = append(append(texts, s...), 0)
	}
	var head C.struct_agentcg_go_order
	head.bytes = C.uint32_t(len(texts))
	head.args = C.uint32_t(len(args))
	head.env = C.uint32_t(len(env))
	raw := (*[unsafe.Sizeof(head)]byte)(unsafe.Pointer(&head))[:]
	return append(append([]byte(nil), raw...), texts...), nil
}

// errnoOf is an int as the stand-in has written it, on the same machine.
func errnoOf(raw []byte) syscall.Errno {
	if C.AGENTCG_GO_LITTLE != 0 {
		return syscall.Errno(binary.LittleEndian.Uint32(raw))
	}
	return syscall.Errno(binary.BigEndian.Uint32(raw))
}

// socketPair is a stream of which one end, ours, waits in Go's poller.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		syscall.Close(fds[0])
		syscall.Close(fds[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "stand-in"), os.NewFile(uintptr(fds[1]), "stand-in"), nil
}

// contextCause is a Cmd's context, if that has ended it.
func contextCause(err error) error {
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, cause) {
			return cause
		}
	}
	return nil
}
