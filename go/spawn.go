// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <sys/resource.h>
// #include <stdlib.h>
// #include <agentcg.h>
// #include "enter.h"
//
// static uint64_t address(const void *memory) { return (uint64_t)(uintptr_t)memory; }
import "C"

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// SpawnOptions are the options of Spawn that an exec.Cmd has no field for. The zero value asks for nothing.
type SpawnOptions struct {
	// Contain keeps the program in the group: it cannot leave it, raise its limits or see the rest of the hierarchy.
	// It is in a session of its own. docs/containment.md lists what is contained and what is not.
	Contain bool
	// NoNewPrivs sets no_new_privs: execve gives the program and its descendants no privileges.
	NoNewPrivs bool
	// Umask, Nice and OOMScoreAdj are those of the program. nil leaves those of this program.
	Umask, Nice, OOMScoreAdj *int
	// Rlimits are the resource limits of the program that differ from those of this program.
	Rlimits []Rlimit
	// BeginTimeout is how long Spawn waits for the program to begin. With 0 this is 10 s in a throttled or frozen group,
	// and without an end in others, where a start is faster. It is rounded up to milliseconds. A negative value has no
	// end.
	BeginTimeout time.Duration
}

// Rlimit is a resource limit, as of setrlimit(2).
type Rlimit struct {
	Resource   int    // syscall.RLIMIT_...
	Soft, Hard uint64 // Unlimited, or a number
}

// Process is a program that Spawn has started.
type Process struct {
	cmd     *exec.Cmd
	ended   chan struct{}  // closed when the program has ended
	cancels chan error     // the error of the context, if it has ended the program
	copies  int            // the goroutines that copy its input and output
	copied  chan error     // what each returns
	outputs sync.WaitGroup // those of the output
	own     []*os.File     // this program's ends of their pipes
}

// Spawn starts cmd in the group by agentcg_spawn. The program, and everything that it starts, is in the group before its
// first instruction. Spawn works on every kernel and in every place, and without a second execution of this program, as
// Start may need it. If this program has an oom_score_adj of -1000, the command gets 0.
//
// All fields of cmd are used, except these, for which the error is EINVAL and names the field: Cancel, because the
// context of exec.CommandContext cannot be read (give it to Spawn); in SysProcAttr, Chroot, Ptrace, Noctty, Cloneflags,
// Unshareflags, UidMappings, GidMappings, AmbientCaps, UseCgroupFD and PidFD: use Start for these. Setctty needs Setsid
// or Contain.
//
// When ctx ends, the program is killed, but not what it has started: Destroy and KillAll kill that.
//
// Call Process.Wait instead of cmd.Wait. The fields Process and ProcessState of cmd are set as usual. If a program cannot
// be executed, the error has the errno of execve: errors.Is(err, syscall.ENOENT).
func (g *Group) Spawn(ctx context.Context, cmd *exec.Cmd, o SpawnOptions) (*Process, error) {
	const op = "spawn"
	if _, err := g.do(op, alive); err != nil {
		return nil, err
	}
	if cmd == nil {
		return nil, invalid(op, "the Cmd is nil")
	}
	if cmd.Process != nil || cmd.Err != nil || cmd.Path == "" {
		return nil, cmd.Start() // returns its own error and starts nothing
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := spawning{cmd: cmd, p: &Process{cmd: cmd, ended: make(chan struct{}), cancels: make(chan error, 1)}}
	defer s.free()
	if err := s.prepare(op, o); err != nil {
		s.p.closeOwn()
		return nil, err
	}
	var pid C.pid_t
	_, err := g.do(op, func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_spawn(cg, s.file, s.argv, s.envp, &s.options, C.size_t(unsafe.Sizeof(s.options)), &pid, nil, e)
	})
	runtime.KeepAlive(cmd) // its files are open until here
	if err != nil {
		s.p.closeOwn()
		return nil, err
	}
	cmd.Process, err = os.FindProcess(int(pid)) // it is a child that was not waited for: the pid is not reused
	if err != nil {
		s.p.closeOwn()
		return nil, err
	}
	s.p.begin(ctx, s.copying)
	return s.p, nil
}

// begin starts the goroutines of a process that has begun.
func (p *Process) begin(ctx context.Context, copying []func() error) {
	p.copies, p.copied = len(copying), make(chan error, len(copying))
	for _, one := range copying {
		one := one
		go func() { p.copied <- one() }()
	}
	if ctx.Done() == nil {
		return
	}
	go func() {
		select {
		case <-ctx.Done():
			if p.cmd.Process.Kill() == nil {
				p.cancels <- ctx.Err()
			}
		case <-p.ended:
		}
	}()
}

// PID is the process id of the program.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Wait is cmd.Wait: it waits for the end of the program, and for the end of the copying from and to those of cmd.Stdin,
// Stdout and Stderr that are not files. That ends when everything that has the pipe has closed it, or cmd.WaitDelay after
// the program: then Wait returns exec.ErrWaitDelay. If ctx has ended the program, Wait returns the error of ctx.
func (p *Process) Wait() error {
	if p.cmd.ProcessState != nil {
		return p.cmd.Wait() // returns its own error
	}
	err := p.cmd.Wait()
	if p.cmd.ProcessState == nil {
		return err
	}
	close(p.ended)
	failed := p.awaitCopies()
	p.closeOwn()
	select {
	case cancelled := <-p.cancels:
		if err != nil {
			return cancelled
		}
	default:
	}
	if err == nil {
		err = failed
	}
	return err
}

func (p *Process) awaitCopies() error {
	var late <-chan time.Time
	delay, tooLate := waitDelay(p.cmd)
	if delay > 0 && p.copies > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		late = timer.C
	}
	var first error
	for ; p.copies > 0; p.copies-- {
		select {
		case err := <-p.copied:
			if first == nil {
				first = err
			}
		case <-late:
			// This ends the copying of the output, so that nothing is written after Wait. The input may wait for its reader.
			p.closeOwn()
			p.outputs.Wait()
			return tooLate
		}
	}
	return first
}

func (p *Process) closeOwn() {
	for _, own := range p.own {
		own.Close()
	}
}

// spawning is a start with the memory of C that it needs.
type spawning struct {
	cmd     *exec.Cmd
	p       *Process
	options C.agentcg_spawn_options
	file    *C.char
	argv    **C.char
	envp    **C.char
	memory  []unsafe.Pointer
	theirs  []*os.File // the child's ends of pipes, and files that are only opened for it
	copying []func() error
}

func (s *spawning) free() {
	for _, file := range s.theirs {
		file.Close()
	}
	for _, memory := range s.memory {
		C.free(memory)
	}
}

// array returns zeroed memory of C for count elements.
func (s *spawning) array(count int, size uintptr) unsafe.Pointer {
	memory := C.calloc(C.size_t(count)+1, C.size_t(size))
	s.memory = append(s.memory, memory)
	return memory
}

func (s *spawning) text(text string) *C.char {
	copied := C.CString(text)
	s.memory = append(s.memory, unsafe.Pointer(copied))
	return copied
}

func (s *spawning) texts(texts []string) **C.char {
	array := (*[1 << 24]*C.char)(s.array(len(texts), unsafe.Sizeof((*C.char)(nil))))
	for i, text := range texts {
		array[i] = s.text(text)
	}
	return &array[0]
}

func (s *spawning) prepare(op string, o SpawnOptions) error {
	cmd := s.cmd
	if hasCancel(cmd) {
		return invalid(op, "the Cmd was made by exec.CommandContext, or has Cancel: give the context to Spawn")
	}
	args := cmd.Args
	if len(args) == 0 {
		args = []string{cmd.Path}
	}
	env := cmd.Environ()
	for _, text := range append(append(append([]string{cmd.Path}, args...), env...), cmd.Env...) {
		if strings.IndexByte(text, 0) >= 0 {
			return invalid(op, "the path, an argument or a variable has a NUL byte in it")
		}
	}
	s.file, s.argv, s.envp = s.text(cmd.Path), s.texts(args), s.texts(env)
	s.options = C.agentcg_spawn_options{stdin_fd: C.AGENTCG_DEVNULL, stdout_fd: C.AGENTCG_DEVNULL,
		stderr_fd: C.AGENTCG_DEVNULL, cwd_fd: C.AGENTCG_INHERIT}
	if cmd.Dir != "" {
		dir, err := os.Open(cmd.Dir)
		if err != nil {
			return &os.PathError{Op: "chdir", Path: cmd.Dir, Err: errno(err)}
		}
		s.theirs = append(s.theirs, dir)
		s.options.cwd_fd = C.int32_t(dir.Fd())
	}
	s.inheritIgnored()
	if err := s.files(op); err != nil {
		return err
	}
	if err := s.attributes(op, cmd.SysProcAttr); err != nil {
		return err
	}
	return s.more(op, o)
}

// inheritIgnored lets the program ignore the signals that this program ignores, as fork does.
func (s *spawning) inheritIgnored() {
	for n := syscall.Signal(1); n <= 64; n++ {
		if signal.Ignored(n) {
			s.options.ignored_signals |= 1 << (n - 1)
		}
	}
}

// files sets the descriptors of the program.
func (s *spawning) files(op string) error {
	cmd := s.cmd
	childs := childFiles(cmd)
	take := func(stream interface{}) (C.int32_t, bool) {
		file, ok := stream.(*os.File)
		if !ok {
			return 0, false
		}
		if childs[file] { // of StdinPipe and the like
			s.theirs = append(s.theirs, file)
		}
		return C.int32_t(file.Fd()), true
	}
	pipe := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err != nil {
			err = os.NewSyscallError("pipe2", err)
		}
		return
	}

	if fd, ok := take(cmd.Stdin); ok {
		s.options.stdin_fd = fd
	} else if cmd.Stdin != nil {
		r, w, err := pipe()
		if err != nil {
			return err
		}
		s.theirs, s.p.own = append(s.theirs, r), append(s.p.own, w)
		s.options.stdin_fd = C.int32_t(r.Fd())
		s.copying = append(s.copying, func() error {
			_, err := io.Copy(w, cmd.Stdin)
			if errors.Is(err, syscall.EPIPE) { // the program does not have to read all of it
				err = nil
			}
			if closed := w.Close(); err == nil {
				err = closed
			}
			return err
		})
	}
	output := func(stream io.Writer) (C.int32_t, error) {
		if fd, ok := take(stream); ok {
			return fd, nil
		}
		if stream == nil {
			return C.AGENTCG_DEVNULL, nil
		}
		r, w, err := pipe()
		if err != nil {
			return 0, err
		}
		s.theirs, s.p.own = append(s.theirs, w), append(s.p.own, r)
		s.p.outputs.Add(1)
		s.copying = append(s.copying, func() error {
			defer s.p.outputs.Done()
			_, err := io.Copy(stream, r)
			r.Close() // a program that goes on writing gets SIGPIPE
			return err
		})
		return C.int32_t(w.Fd()), nil
	}
	var err error
	if s.options.stdout_fd, err = output(cmd.Stdout); err != nil {
		return err
	}
	if cmd.Stderr != nil && same(cmd.Stderr, cmd.Stdout) {
		s.options.stderr_fd = s.options.stdout_fd
	} else if s.options.stderr_fd, err = output(cmd.Stderr); err != nil {
		return err
	}

	count := 0
	pairs := (*[1 << 20]C.agentcg_spawn_fd)(s.array(len(cmd.ExtraFiles), unsafe.Sizeof(C.agentcg_spawn_fd{})))
	for i, file := range cmd.ExtraFiles {
		if file != nil { // nil is a closed descriptor
			pairs[count] = C.agentcg_spawn_fd{source_fd: C.int32_t(file.Fd()), target_fd: C.int32_t(3 + i)}
			count++
		}
	}
	s.options.fds, s.options.fds_count = C.address(unsafe.Pointer(pairs)), C.uint64_t(count)
	return nil
}

// same returns true if both are the same writer. Some types cannot be compared.
func same(a, b interface{}) (is bool) {
	defer func() { _ = recover() }()
	return a == b
}

// childFiles returns the files that StdinPipe, StdoutPipe and StderrPipe have opened for the program. Only Start would
// close them, and exec.Cmd lists them nowhere else.
func childFiles(cmd *exec.Cmd) map[*os.File]bool {
	files := map[*os.File]bool{}
	list := reflect.ValueOf(cmd).Elem().FieldByName("childIOFiles")
	if !list.IsValid() {
		list = reflect.ValueOf(cmd).Elem().FieldByName("closeAfterStart") // before Go 1.20
	}
	if !list.IsValid() || list.Kind() != reflect.Slice {
		return files
	}
	for _, stream := range []interface{}{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		file, ok := stream.(*os.File)
		for i := 0; ok && i < list.Len(); i++ {
			if one := list.Index(i).Elem(); one.Kind() == reflect.Ptr && one.Pointer() == reflect.ValueOf(file).Pointer() {
				files[file] = true
			}
		}
	}
	return files
}

// attributes sets what SysProcAttr says.
func (s *spawning) attributes(op string, sys *syscall.SysProcAttr) error {
	if sys == nil {
		return nil
	}
	for _, field := range []string{"Chroot", "Ptrace", "Noctty", "Cloneflags", "Unshareflags", "UidMappings", "GidMappings",
		"GidMappingsEnableSetgroups", "AmbientCaps", "UseCgroupFD", "PidFD"} {
		value := reflect.ValueOf(sys).Elem().FieldByName(field) // some of them are not in older versions of Go
		if value.IsValid() && !value.IsZero() {
			return invalid(op, "SysProcAttr."+field+" is set: Spawn cannot do that, use Start")
		}
	}
	options := &s.options
	if sys.Setsid {
		options.flags |= C.AGENTCG_SPAWN_NEW_SESSION
	}
	if sys.Setpgid || sys.Foreground {
		options.flags |= C.AGENTCG_SPAWN_PGROUP
		options.pgroup = C.int32_t(sys.Pgid)
	}
	if sys.Setctty { // Ctty is a descriptor of the program
		fd, err := s.source(op, sys.Ctty)
		if err != nil {
			return err
		}
		options.flags |= C.AGENTCG_SPAWN_CONTROLLING_TERMINAL
		options.terminal_fd = fd
	}
	if sys.Foreground { // Ctty is a descriptor of this program
		options.flags |= C.AGENTCG_SPAWN_FOREGROUND
		options.terminal_fd = C.int32_t(sys.Ctty)
	}
	options.parent_death_signal = C.int32_t(sys.Pdeathsig)
	if c := sys.Credential; c != nil {
		options.flags |= C.AGENTCG_SPAWN_UID | C.AGENTCG_SPAWN_GID
		options.uid, options.gid = C.uint32_t(c.Uid), C.uint32_t(c.Gid)
		if !c.NoSetGroups {
			options.flags |= C.AGENTCG_SPAWN_GROUPS
			groups := (*[1 << 16]C.gid_t)(s.array(len(c.Groups), unsafe.Sizeof(C.gid_t(0))))
			for i, group := range c.Groups {
				groups[i] = C.gid_t(group)
			}
			options.groups, options.groups_count = C.address(unsafe.Pointer(groups)), C.uint64_t(len(c.Groups))
		}
	}
	return nil
}

// source returns this program's descriptor of that of the program.
func (s *spawning) source(op string, target int) (C.int32_t, error) {
	standard := []C.int32_t{s.options.stdin_fd, s.options.stdout_fd, s.options.stderr_fd}
	switch {
	case target >= 0 && target < len(standard) && standard[target] >= 0:
		return standard[target], nil
	case target >= 3 && target-3 < len(s.cmd.ExtraFiles) && s.cmd.ExtraFiles[target-3] != nil:
		return C.int32_t(s.cmd.ExtraFiles[target-3].Fd()), nil
	}
	return 0, invalid(op, "SysProcAttr.Ctty is not a descriptor of the program")
}

// more sets what SpawnOptions say.
func (s *spawning) more(op string, o SpawnOptions) error {
	options := &s.options
	if o.Contain {
		options.flags |= C.AGENTCG_SPAWN_CONTAIN
	}
	if o.NoNewPrivs {
		options.flags |= C.AGENTCG_SPAWN_NO_NEW_PRIVS
	}
	if o.Umask != nil {
		options.flags |= C.AGENTCG_SPAWN_UMASK
		options.umask = C.uint32_t(*o.Umask)
	}
	if o.Nice != nil {
		options.flags |= C.AGENTCG_SPAWN_NICE
		options.nice = C.int32_t(*o.Nice)
	}
	if o.OOMScoreAdj != nil {
		options.flags |= C.AGENTCG_SPAWN_OOM_SCORE_ADJ
		options.oom_score_adj = C.int32_t(*o.OOMScoreAdj)
	}
	limits := (*[1 << 16]C.agentcg_spawn_rlimit)(s.array(len(o.Rlimits)+1, unsafe.Sizeof(C.agentcg_spawn_rlimit{})))
	count := 0
	files := false
	for _, limit := range o.Rlimits {
		limits[count] = C.agentcg_spawn_rlimit{resource: C.uint64_t(limit.Resource), soft: C.uint64_t(limit.Soft),
			hard: C.uint64_t(limit.Hard)}
		files = files || limit.Resource == syscall.RLIMIT_NOFILE
		count++
	}
	// Go raises this limit at its start. A program that uses select(2) may not be able to work with that.
	var before C.struct_rlimit
	if !files && C.agentcg_go_raised_nofile(&before) != 0 {
		limits[count] = C.agentcg_spawn_rlimit{resource: syscall.RLIMIT_NOFILE, soft: C.uint64_t(before.rlim_cur),
			hard: C.uint64_t(before.rlim_max)}
		count++
	}
	options.rlimits, options.rlimits_count = C.address(unsafe.Pointer(limits)), C.uint64_t(count)
	switch {
	case o.BeginTimeout < 0:
		options.begin_timeout_ms = C.AGENTCG_FOREVER
	case (o.BeginTimeout-1)/time.Millisecond >= 1<<31-1:
		return invalid(op, "BeginTimeout is too long")
	case o.BeginTimeout > 0:
		options.begin_timeout_ms = C.int32_t((o.BeginTimeout-1)/time.Millisecond + 1)
	}
	return nil
}
