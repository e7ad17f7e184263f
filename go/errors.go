// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #cgo pkg-config: agentcg
// #include <agentcg.h>
import "C"

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// Error says what went wrong.
type Error struct {
	// Op is what was asked for: "new", "set limits".
	Op string
	// File is the interface file at fault, such as "memory.max", or empty.
	File string
	// Msg is one line for people: what failed, on which path, why, and what to do.
	Msg string
	// Errno is the error as the kernel numbers it.
	Errno syscall.Errno
	// Reason says why where Errno is too coarse; or 0.
	Reason Reason

	cause error // the context's error, or ErrClosed
}

// Error is the operation, the context's error if that ended it, and Msg.
func (e *Error) Error() string {
	parts := []string{"agentcg", e.Op}
	if e.cause != nil && e.cause != ErrClosed {
		parts = append(parts, e.cause.Error())
	}
	if e.Msg == "" {
		return strings.Join(append(parts, e.Errno.Error()), ": ")
	}
	return strings.Join(append(parts, e.Msg), ": ")
}

// Unwrap is the context's error or ErrClosed if that is the cause, else Errno.
func (e *Error) Unwrap() error {
	if e.cause != nil {
		return e.cause
	}
	return e.Errno
}

// Is finds Errno, what Errno stands for (fs.ErrNotExist), and Reason.
func (e *Error) Is(target error) bool {
	switch t := target.(type) {
	case Reason:
		return t == e.Reason && t != 0
	case syscall.Errno:
		return t == e.Errno
	}
	return e.Errno.Is(target)
}

// Timeout tells whether it took longer than it was given.
func (e *Error) Timeout() bool { return e.Errno == syscall.ETIMEDOUT }

// ErrClosed is what every method of a Group gives after Close or Destroy. It is os.ErrClosed too.
var ErrClosed error = closed{}

type closed struct{}

func (closed) Error() string        { return "the group is closed" }
func (closed) Is(target error) bool { return target == os.ErrClosed }

// Reason says why, where errno is too coarse. It is an error, so that errors.Is(err, agentcg.Gone) works.
type Reason uint32

// The reasons.
const (
	NoCgroup2        Reason = C.AGENTCG_WHY_NO_CGROUP2        // No cgroup2 mount holds our own cgroup.
	OutsideNamespace Reason = C.AGENTCG_WHY_OUTSIDE_NAMESPACE // Our cgroup is outside our cgroup namespace.
	ReadOnly         Reason = C.AGENTCG_WHY_READ_ONLY         // cgroupfs is mounted read-only, as in containers.
	NotDelegated     Reason = C.AGENTCG_WHY_NOT_DELEGATED     // Nowhere that we may create in, or no right to migrate.
	NoController     Reason = C.AGENTCG_WHY_NO_CONTROLLER     // A limit needs a controller that is not to be had.
	Populated        Reason = C.AGENTCG_WHY_POPULATED         // The parent holds processes.
	Threaded         Reason = C.AGENTCG_WHY_THREADED          // A threaded or invalid domain.
	Gone             Reason = C.AGENTCG_WHY_GONE              // The cgroup was removed under us.
	NestingLimit     Reason = C.AGENTCG_WHY_NESTING_LIMIT     // cgroup.max.depth or cgroup.max.descendants above us.
	NoSystemd        Reason = C.AGENTCG_WHY_NO_SYSTEMD        // systemd was needed and could not be reached.
	SystemdRefused   Reason = C.AGENTCG_WHY_SYSTEMD_REFUSED   // systemd said no; Msg carries its words.
	CallerInside     Reason = C.AGENTCG_WHY_CALLER_INSIDE     // We ourselves are in the cgroup.
	NotContained     Reason = C.AGENTCG_WHY_NOT_CONTAINED     // No user namespaces here, or not mounted nsdelegate.
	NoGuard          Reason = C.AGENTCG_WHY_NO_GUARD          // agentcg-guard is missing, or not the library's.
)

var reasons = map[Reason]string{
	0:                "no particular reason",
	NoCgroup2:        "no cgroup2 mount holds our own cgroup",
	OutsideNamespace: "our cgroup is outside our cgroup namespace",
	ReadOnly:         "cgroupfs is mounted read-only",
	NotDelegated:     "no cgroup is delegated to us",
	NoController:     "a controller is not to be had",
	Populated:        "the parent holds processes",
	Threaded:         "a threaded or invalid domain",
	Gone:             "the cgroup was removed",
	NestingLimit:     "a limit on nested cgroups",
	NoSystemd:        "systemd cannot be reached",
	SystemdRefused:   "systemd refused",
	CallerInside:     "we ourselves are in the cgroup",
	NotContained:     "what it starts cannot be contained",
	NoGuard:          "no program for the guard",
}

// String is the reason in a few words.
func (r Reason) String() string {
	if words, ok := reasons[r]; ok {
		return words
	}
	return "reason " + strconv.FormatUint(uint64(r), 10) // of a newer library
}

// Error is String.
func (r Reason) Error() string { return r.String() }

// failure makes an error of what the library has returned.
func failure(op string, code C.int, e *C.agentcg_error) *Error {
	return &Error{
		Op:     op,
		File:   text(e.file[:]),
		Msg:    text(e.message[:]),
		Errno:  syscall.Errno(-code),
		Reason: Reason(e.reason),
	}
}

func closedError(op string) *Error {
	return &Error{Op: op, Msg: ErrClosed.Error(), Errno: syscall.EBADF, cause: ErrClosed}
}

func invalid(op, msg string) *Error {
	return &Error{Op: op, Msg: msg, Errno: syscall.EINVAL}
}

// timedOut tells a wait that has come to its end from a failure.
func timedOut(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Errno == syscall.ETIMEDOUT
}

// ended is a wait's error where the context has ended: the same, and the context's.
func ended(err, cause error) error {
	var e *Error
	if errors.As(err, &e) {
		e.cause = cause
	}
	return err
}

// text is a NUL-terminated string in an array of C's.
func text(array []C.char) string {
	for n, c := range array {
		if c == 0 {
			return C.GoStringN(&array[0], C.int(n))
		}
	}
	return ""
}

// cString copies s for C; empty is NULL, where NULL means the library's own choice. Strings with a NUL inside would
// be cut there and name something else.
func cString(op, what, s string) (*C.char, error) {
	if strings.IndexByte(s, 0) >= 0 {
		return nil, invalid(op, what+" has a NUL byte in it")
	}
	if s == "" {
		return nil, nil
	}
	return C.CString(s), nil
}

func free(s *C.char) { freeC(unsafe.Pointer(s)) }
