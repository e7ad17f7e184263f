// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

const withoutClone3 = "AGENTCG_TEST_WITHOUT_CLONE3"

func init() {
	if os.Getenv(withoutClone3) != "" {
		forbidClone3()
	}
}

// forbidClone3 makes clone3(2) fail in all threads, as the seccomp filters of containers do.
func forbidClone3() {
	const (
		load, jumpEqual, give = 0x20, 0x15, 0x06 // BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
		clone3                = 435
		failWith, allow       = 0x50000, 0x7fff0000 // SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW
		noNewPrivs            = 38                  // PR_SET_NO_NEW_PRIVS
		modeFilter, allAtOnce = 1, 1                // SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC
	)
	filter := []syscall.SockFilter{
		{Code: load},
		{Code: jumpEqual, Jf: 1, K: clone3},
		{Code: give, K: failWith | uint32(syscall.ENOSYS)},
		{Code: give, K: allow},
	}
	program := syscall.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	seccomp := uintptr(277)
	if runtime.GOARCH == "amd64" {
		seccomp = 317
	}
	runtime.LockOSThread() // the first call is for this thread, and the second must come from it
	defer runtime.UnlockOSThread()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, noNewPrivs, 1, 0); errno != 0 {
		panic(errno)
	}
	if _, _, errno := syscall.RawSyscall(seccomp, modeFilter, allAtOnce, uintptr(unsafe.Pointer(&program))); errno != 0 {
		panic(errno)
	}
}

func TestWithoutClone3ProgramsAreStartedInTheGroup(t *testing.T) {
	if os.Getenv(withoutClone3) != "" {
		if _, _, errno := syscall.RawSyscall(435, 0, 0, 0); errno != syscall.ENOSYS {
			t.Fatalf("clone3: %v", errno)
		}
		return
	}
	names := []string{t.Name(), "TestManyStartsInOneGroupAtTheSameTime", "TestACommandGetsAllSettingsOfExecCmd"}
	cmd := exec.Command("/proc/self/exe", "-test.v", fmt.Sprintf("-test.short=%t", testing.Short()), "-test.run", "^("+strings.Join(names, "|")+")$")
	cmd.Env = append(os.Environ(), withoutClone3+"=1")
	out, err := cmd.CombinedOutput()
	for _, name := range names {
		if err != nil || !strings.Contains(string(out), "--- PASS: "+name) {
			t.Fatalf("%v: %s", err, out)
		}
	}
}
