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

// Error is an error of the library.
type Error struct {
	// Op is the operation that failed, such as "new" or "set limits".
	Op string
	// File is the interface file that failed, such as "memory.max", or empty.
	File string
	// Msg is one line of text for people: what failed, on which path, why, and what to do.
	Msg string
	// Errno is the error number.
	Errno syscall.Errno
	// Reason is the reason if Errno is too coarse, else 0.
	Reason Reason

	cause error // the error of the context, or ErrClosed
}

// Error returns the operation, the error of the context if that ended the call, and Msg.
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

// Unwrap returns the error of the context or ErrClosed if that is the cause, else Errno.
func (e *Error) Unwrap() error {
	if e.cause != nil {
		return e.cause
	}
	return e.Errno
}

// Is returns true if target is Errno, an error that Errno stands for (such as fs.ErrNotExist), or Reason.
func (e *Error) Is(target error) bool {
	switch t := target.(type) {
	case Reason:
		return t == e.Reason && t != 0
	case syscall.Errno:
		return t == e.Errno
	}
	return e.Errno.Is(target)
}

// Timeout returns true if the operation took longer than its timeout.
func (e *Error) Timeout() bool { return e.Errno == syscall.ETIMEDOUT }

// ErrClosed is the error of every method of a Group after Close or Destroy. errors.Is finds os.ErrClosed in it, too.
var ErrClosed error = closed{}

type closed struct{}

func (closed) Error() string        { return "the group is closed" }
func (closed) Is(target error) bool { return target == os.ErrClosed }

// Reason is the reason of an error whose errno is too coarse. It is an error, so that errors.Is(err, agentcg.Gone)
// works.
type Reason uint32

// The reasons of errors.
const (
	NoCgroup2        Reason = C.AGENTCG_WHY_NO_CGROUP2        // No cgroup2 mount contains the cgroup of this process.
	OutsideNamespace Reason = C.AGENTCG_WHY_OUTSIDE_NAMESPACE // The cgroup of this process is outside its cgroup namespace.
	ReadOnly         Reason = C.AGENTCG_WHY_READ_ONLY         // cgroupfs is mounted read-only (common in containers).
	NotDelegated     Reason = C.AGENTCG_WHY_NOT_DELEGATED     // This process may create no cgroups, or may not migrate processes.
	NoController     Reason = C.AGENTCG_WHY_NO_CONTROLLER     // A limit needs a controller that is not available.
	Populated        Reason = C.AGENTCG_WHY_POPULATED         // The parent holds processes.
	Threaded         Reason = C.AGENTCG_WHY_THREADED          // The cgroup is threaded, or it is in an invalid domain.
	Gone             Reason = C.AGENTCG_WHY_GONE              // Somebody else removed the cgroup while it was in use.
	NestingLimit     Reason = C.AGENTCG_WHY_NESTING_LIMIT     // cgroup.max.depth or max.descendants of an ancestor is reached.
	NoSystemd        Reason = C.AGENTCG_WHY_NO_SYSTEMD        // systemd is needed and cannot be reached.
	SystemdRefused   Reason = C.AGENTCG_WHY_SYSTEMD_REFUSED   // systemd refused the request. Msg contains its reply.
	CallerInside     Reason = C.AGENTCG_WHY_CALLER_INSIDE     // This process is in the group that it wants to kill or to freeze.
	NotContained     Reason = C.AGENTCG_WHY_NOT_CONTAINED     // User namespaces are forbidden, or the mount lacks nsdelegate.
	NoGuard          Reason = C.AGENTCG_WHY_NO_GUARD          // agentcg-guard is missing, or not the one of this library.
	NotExecuted      Reason = C.AGENTCG_WHY_NOT_EXECUTED      // execve(2) of the program failed, with the errno of Code.
)

var reasons = map[Reason]string{
	0:                "no particular reason",
	NoCgroup2:        "no cgroup2 mount contains the cgroup of this process",
	OutsideNamespace: "the cgroup of this process is outside its cgroup namespace",
	ReadOnly:         "cgroupfs is mounted read-only",
	NotDelegated:     "no cgroup is delegated to this process",
	NoController:     "a controller is not available",
	Populated:        "the parent holds processes",
	Threaded:         "the cgroup is threaded or in an invalid domain",
	Gone:             "the cgroup was removed",
	NestingLimit:     "a limit of nested cgroups is reached",
	NoSystemd:        "systemd cannot be reached",
	SystemdRefused:   "systemd refused",
	CallerInside:     "this process is in the group",
	NotContained:     "the program cannot be contained",
	NoGuard:          "the program of the guard is missing or does not match",
	NotExecuted:      "the program cannot be executed",
}

// String returns the reason in a few words.
func (r Reason) String() string {
	if words, ok := reasons[r]; ok {
		return words
	}
	return "reason " + strconv.FormatUint(uint64(r), 10) // the reason of a newer library
}

// Error returns the same as String.
func (r Reason) Error() string { return r.String() }

// failure converts an error of the C library.
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

// timedOut returns true if a wait has timed out, false for all other errors.
func timedOut(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Errno == syscall.ETIMEDOUT
}

// ended adds the error of the context to the error of a wait that the context has ended.
func ended(err, cause error) error {
	var e *Error
	if errors.As(err, &e) {
		e.cause = cause
	}
	return err
}

// text converts a NUL-terminated string in a C array.
func text(array []C.char) string {
	for n, c := range array {
		if c == 0 {
			return C.GoStringN(&array[0], C.int(n))
		}
	}
	return ""
}

// cString copies s to C memory. An empty string becomes NULL, with which the library makes its own choice. A string
// that contains a NUL byte is refused, because C would see only the part before it.
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
