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

// standInPossible returns an error if this program cannot be executed a second time for cmd.
func standInPossible(op string, cmd *exec.Cmd) error {
	cannot := func(why string) error {
		return &Error{Op: op, Msg: "clone3(2) into the group is not available or not reliable on this system, and the stand-in " +
			why, Errno: syscall.EOPNOTSUPP}
	}
	if sys := cmd.SysProcAttr; sys != nil {
		if sys.Chroot != "" {
			return cannot("needs the file of this program, which SysProcAttr.Chroot hides: do the chroot in the command")
		}
		if sys.Ptrace {
			return cannot("calls execve(2) once more, and SysProcAttr.Ptrace would stop there")
		}
	}
	switch C.agentcg_go_stand_in() {
	case C.AGENTCG_GO_OK:
		return nil
	case C.AGENTCG_GO_SECURE:
		return cannot("is not available to programs with the set-user-ID bit or file capabilities")
	}
	return cannot("needs a main program in Go, which this is not (-buildmode=c-shared or plugin)")
}

// standInEnv returns the environment of the stand-in. It is the environment with which this program was started,
// because the stand-in needs the same libraries, and the variable with the descriptor that makes the program a
// stand-in.
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

// encode returns the message that tells the stand-in what to execute: struct agentcg_go_order of enter.h, and the
// strings.
func encode(cmd *exec.Cmd) ([]byte, error) {
	args := cmd.Args
	if len(args) == 0 {
		args = []string{cmd.Path}
	}
	env := cmd.Environ()
	if cmd.Env != nil { // Environ leaves out variables with a NUL byte, but Start refuses them
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

// errnoOf decodes an int that the stand-in has written, in the byte order of this machine.
func errnoOf(raw []byte) syscall.Errno {
	if C.AGENTCG_GO_LITTLE != 0 {
		return syscall.Errno(binary.LittleEndian.Uint32(raw))
	}
	return syscall.Errno(binary.BigEndian.Uint32(raw))
}

// socketPair returns a stream. The end parentEnd uses Go's poller.
func socketPair() (parentEnd, childEnd *os.File, err error) {
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

// contextCause returns the error of the context of a Cmd, if that has ended the command.
func contextCause(err error) error {
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, cause) {
			return cause
		}
	}
	return nil
}
