// SPDX-License-Identifier: MIT OR Apache-2.0

// Package adapter is the part that is common to the adapters of Go libraries: the protocol of bench/peers/README.md.
package adapter

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The limits of every group, as in bench/bench.h.
const (
	MemoryMaxBytes = 64 << 20
	CPUMaxUs       = 150000
	CPUPeriodUs    = 100000
	PidsMax        = 8000
)

// A Setting is what the adapter was started with.
type Setting struct {
	Groups string // the directory in which groups are made
	Limits bool   // each group gets three limits
}

// A Group is a group of the library, in the best way in which it does each operation.
type Group interface {
	Path() string
	Read() (cpuNs uint64, err error)
	Move(pid int) error
	// Kill returns at once: the adapter waits, since neither library does.
	Kill() error
	Remove() error
}

// A Library makes groups.
type Library func(number int) (Group, error)

func fail(err error) {
	fmt.Fprintln(os.Stderr, "adapter:", err)
	os.Exit(2)
}

// waitUntilEmpty reads cgroup.events until the group is empty, as the floor does.
func waitUntilEmpty(directory string) error {
	fd, err := syscall.Open(filepath.Join(directory, "cgroup.events"), syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	var text [128]byte
	for reads := 0; ; reads++ {
		n, err := syscall.Pread(fd, text[:], 0)
		if err != nil {
			return err
		}
		if bytes.Contains(text[:n], []byte("populated 0")) {
			return nil
		}
		if reads < 100 {
			syscall.Syscall(syscall.SYS_SCHED_YIELD, 0, 0, 0)
		} else {
			time.Sleep(100 * time.Microsecond)
		}
	}
}

type runner struct {
	library Library
	groups  []Group
	made    int
	program string
	// The descriptor of the first group's directory, in which programs are started.
	directory     int
	directoryPath string
}

// spawn starts the program with the clone into a cgroup of Go's standard library: neither library starts programs.
func (r *runner) spawn() error {
	if path := r.groups[0].Path(); path != r.directoryPath {
		if r.directoryPath != "" {
			syscall.Close(r.directory)
		}
		fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		r.directory, r.directoryPath = fd, path
	}
	attr := &syscall.ProcAttr{Env: []string{}, Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: r.directory}}
	pid, err := syscall.ForkExec(r.program, []string{r.program}, attr)
	if err != nil {
		return err
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status != 0 {
		return fmt.Errorf("the program ended with wait status %#x, %v", status, err)
	}
	return nil
}

func (r *runner) run(verb string, arguments []int) (string, error) {
	var start time.Time
	var more string
	switch verb {
	case "new":
		start = time.Now()
		for i := 0; i < arguments[0]; i++ {
			r.made++
			group, err := r.library(r.made)
			if err != nil {
				return "", err
			}
			r.groups = append(r.groups, group)
		}
	case "read":
		var cpuNs uint64
		start = time.Now()
		for i := 0; i < arguments[0]; i++ {
			var err error
			if cpuNs, err = r.groups[0].Read(); err != nil {
				return "", err
			}
		}
		more = fmt.Sprintf(" %d", cpuNs)
	case "move":
		start = time.Now()
		for i := 0; i < arguments[1]; i++ {
			if err := r.groups[(i+1)%2].Move(arguments[0]); err != nil {
				return "", err
			}
		}
	case "spawn":
		start = time.Now()
		for i := 0; i < arguments[0]; i++ {
			if err := r.spawn(); err != nil {
				return "", err
			}
		}
	case "kill":
		start = time.Now()
		for _, group := range r.groups {
			if err := group.Kill(); err != nil {
				return "", err
			}
			if err := waitUntilEmpty(group.Path()); err != nil {
				return "", err
			}
		}
	case "destroy":
		groups := r.groups
		r.groups = nil
		start = time.Now()
		for _, group := range groups {
			if err := group.Remove(); err != nil {
				return "", err
			}
		}
	case "paths":
		var paths []string
		for _, group := range r.groups {
			paths = append(paths, group.Path())
		}
		return strings.Join(paths, " "), nil
	case "allocations":
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return strconv.FormatUint(stats.Mallocs, 10), nil
	case "settle":
		debug.FreeOSMemory()
		return "", nil
	default:
		fail(fmt.Errorf("unknown command %q", verb))
	}
	return strconv.FormatInt(time.Since(start).Nanoseconds(), 10) + more, nil
}

func answer(text string) {
	if _, err := syscall.Write(1, []byte(text)); err != nil {
		fail(err)
	}
}

// Run serves commands until the end of the standard input. It reads without a buffer, so that the trace of an operation
// contains only its own system calls between the read of the command and the write of the answer.
func Run(start func(Setting) (Library, error)) {
	if len(os.Args) != 4 {
		fail(fmt.Errorf("usage: GROUPS-DIRECTORY plain|limits PROGRAM"))
	}
	library, err := start(Setting{Groups: os.Args[1], Limits: os.Args[2] == "limits"})
	if err != nil {
		fail(err)
	}
	r := &runner{library: library, program: os.Args[3]}
	answer("ready\n")
	line := make([]byte, 256)
	for {
		n, err := syscall.Read(0, line)
		if n <= 0 || err != nil {
			return
		}
		words := strings.Fields(string(line[:n]))
		var arguments []int
		for _, word := range words[2:] {
			number, err := strconv.Atoi(word)
			if err != nil {
				fail(err)
			}
			arguments = append(arguments, number)
		}
		text, err := r.run(words[1], arguments)
		if err != nil {
			answer(words[0] + " no " + strings.ReplaceAll(err.Error(), "\n", " ") + "\n")
		} else {
			answer(words[0] + " ok " + text + "\n")
		}
	}
}
