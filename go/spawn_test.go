// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// spawned runs cmd to its end.
func spawned(t testing.TB, g *Group, cmd *exec.Cmd, o SpawnOptions) error {
	p, err := g.Spawn(within(t), cmd, o)
	if err != nil {
		return err
	}
	return p.Wait()
}

// prints returns what a shell prints with these attributes and options.
func prints(t testing.TB, g *Group, sys *syscall.SysProcAttr, o SpawnOptions, script string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = sys, &out, &out
	must(t, spawned(t, g, cmd, o))
	return strings.TrimSpace(out.String())
}

func TestASpawnedCommandGetsAllSettingsOfExecCmd(t *testing.T) {
	want := description(t, (*exec.Cmd).Run)
	g := group(t, Options{})
	if got := description(t, func(cmd *exec.Cmd) error { return spawned(t, g, cmd, SpawnOptions{}) }); got != want {
		t.Fatalf("%s\nis not\n%s", got, want)
	}
}

func TestASpawnedCommandIgnoresWhatThisProgramIgnores(t *testing.T) {
	signal.Ignore(syscall.SIGUSR2)
	defer signal.Reset(syscall.SIGUSR2)
	want := description(t, (*exec.Cmd).Run)
	g := group(t, Options{})
	if got := description(t, func(cmd *exec.Cmd) error { return spawned(t, g, cmd, SpawnOptions{}) }); got != want {
		t.Fatalf("%s\nis not\n%s", got, want)
	}
}

func TestASpawnedCommandIsInTheGroupFromTheBeginning(t *testing.T) {
	g := group(t, Options{})
	for i := 0; i < 3; i++ { // after cgroup.kill some kernels kill what is created in the group
		var out bytes.Buffer
		cmd := exec.Command(first(t))
		cmd.Stdout = &out
		must(t, spawned(t, g, cmd, SpawnOptions{}))
		if !inside(g, out.String()) {
			t.Fatal(out.String())
		}
		must(t, used(g))
	}
}

func TestTheStreamsOfASpawnedCommandMayBeAnything(t *testing.T) {
	g := group(t, Options{})
	var out, both bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", "cat; echo error >&2")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(strings.Repeat("line\n", 100000)), &out, &both
	must(t, spawned(t, g, cmd, SpawnOptions{}))
	if out.Len() != 500000 || both.String() != "error\n" {
		t.Fatalf("%d bytes, %q", out.Len(), both.String())
	}

	cmd = exec.Command("/bin/sh", "-c", "echo one; echo two >&2; echo three")
	cmd.Stdout, cmd.Stderr = &both, &both
	both.Reset()
	must(t, spawned(t, g, cmd, SpawnOptions{}))
	if both.String() != "one\ntwo\nthree\n" {
		t.Fatal(both.String())
	}

	cmd = exec.Command("cat")
	in, err := cmd.StdinPipe()
	must(t, err)
	from, err := cmd.StdoutPipe()
	must(t, err)
	p, err := g.Spawn(within(t), cmd, SpawnOptions{})
	must(t, err)
	_, err = io.WriteString(in, "through two pipes")
	must(t, err)
	must(t, in.Close())
	text, err := io.ReadAll(from) // ends only if this program has closed the other end
	must(t, err)
	must(t, p.Wait())
	if string(text) != "through two pipes" {
		t.Fatalf("%q", text)
	}

	cmd = exec.Command("true") // which does not read its input
	cmd.Stdin = strings.NewReader(strings.Repeat("x", 1<<20))
	must(t, spawned(t, g, cmd, SpawnOptions{}))
}

func TestNoDescriptorIsLeftOfASpawn(t *testing.T) {
	g := group(t, Options{})
	run := func(path string) {
		cmd := exec.Command(path, "-c", "echo")
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Dir = strings.NewReader("x"), io.Discard, &bytes.Buffer{}, "/usr"
		_ = spawned(t, g, cmd, SpawnOptions{})
	}
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	run("/bin/sh")
	before := count()
	for i := 0; i < 5; i++ {
		run("/bin/sh")
		run("/nonesuch")
	}
	if after := count(); after != before {
		t.Fatalf("%d descriptors, not %d", after, before)
	}
}

func TestAContextEndsASpawnedCommand(t *testing.T) {
	g := group(t, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.Command("sleep", "1000")
	p, err := g.Spawn(ctx, cmd, SpawnOptions{})
	must(t, err)
	cancel()
	wants(t, p.Wait(), context.Canceled)
	if cmd.ProcessState == nil || cmd.Process.Pid != p.PID() {
		t.Fatalf("%+v", cmd)
	}
	if err := p.Wait(); err == nil || !strings.Contains(err.Error(), "already called") {
		t.Fatalf("%v", err)
	}
	_, err = g.Spawn(ctx, exec.Command("true"), SpawnOptions{})
	wants(t, err, context.Canceled)
	var exit *exec.ExitError
	if err := spawned(t, g, exec.Command("/bin/sh", "-c", "exit 7"), SpawnOptions{}); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Fatalf("%v", err)
	}
}

func TestWaitDelayEndsTheWaitForTheOutputOfASpawnedCommand(t *testing.T) {
	g := group(t, Options{})
	cmd := exec.Command("/bin/sh", "-c", "sleep 1000 & echo here")
	cmd.WaitDelay = 10 * time.Millisecond
	var out bytes.Buffer
	cmd.Stdout = &out
	wants(t, spawned(t, g, cmd, SpawnOptions{}), exec.ErrWaitDelay)
}

func TestASpawnedCommandThatCannotBeExecuted(t *testing.T) {
	g := group(t, Options{})
	notExecutable := filepath.Join(t.TempDir(), "x")
	must(t, os.WriteFile(notExecutable, nil, 0o600))
	wants(t, spawned(t, g, exec.Command("/nonesuch"), SpawnOptions{}), syscall.ENOENT, os.ErrNotExist)
	wants(t, spawned(t, g, exec.Command(notExecutable), SpawnOptions{}), syscall.EACCES)
	wants(t, spawned(t, g, exec.Command("nonesuch"), SpawnOptions{}), exec.ErrNotFound)
	wants(t, spawned(t, g, &exec.Cmd{Path: "/bin/true", Dir: "/nonesuch"}, SpawnOptions{}), syscall.ENOENT)
	wants(t, spawned(t, g, exec.Command("true", "\x00"), SpawnOptions{}), syscall.EINVAL)
	wants(t, spawned(t, g, nil, SpawnOptions{}), syscall.EINVAL)
	wants(t, spawned(t, g, exec.CommandContext(within(t), "true"), SpawnOptions{}), syscall.EINVAL)
	for _, sys := range []*syscall.SysProcAttr{{Chroot: "/"}, {Ptrace: true}, {Cloneflags: syscall.CLONE_NEWUTS},
		{AmbientCaps: []uintptr{1}}, {UseCgroupFD: true}, {Setsid: true, Setctty: true, Ctty: 9}} {
		cmd := exec.Command("true")
		cmd.SysProcAttr = sys
		wants(t, spawned(t, g, cmd, SpawnOptions{}), syscall.EINVAL)
	}
	wants(t, spawned(t, g, exec.Command("true"), SpawnOptions{BeginTimeout: 1 << 62}), syscall.EINVAL)
	must(t, g.WaitEmpty(within(t)))
}

func TestSysProcAttrOfASpawnedCommand(t *testing.T) {
	g := group(t, Options{})
	ids := `set -- $(cat /proc/$$/stat); echo $(( $5 == $1 )) $(( $6 == $1 ))`
	for sys, want := range map[*syscall.SysProcAttr]string{
		{}:                           "0 0",
		{Setpgid: true}:              "1 0",
		{Setsid: true}:               "1 1",
		{Pdeathsig: syscall.SIGKILL}: "0 0",
	} {
		if got := prints(t, g, sys, SpawnOptions{}, ids); got != want {
			t.Errorf("%+v: %q, not %q", sys, got, want)
		}
	}
	if os.Geteuid() == 0 {
		sys := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 7, Gid: 8, Groups: []uint32{9, 10}}}
		if got := prints(t, g, sys, SpawnOptions{}, "id -u; id -g; id -G"); got != "7\n8\n8 9 10" {
			t.Error(got)
		}
		sys = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 7, Gid: 8}}
		if got := prints(t, g, sys, SpawnOptions{}, "id -G"); got != "8" {
			t.Error(got)
		}
	}

	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	defer master.Close()
	slave := terminalOf(t, master)
	defer slave.Close()
	cmd := exec.Command("/bin/sh", "-c", `set -- $(cat /proc/$$/stat); echo $(( $7 != 0 )) $(( $8 == $1 ))`)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout = slave, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	must(t, spawned(t, g, cmd, SpawnOptions{}))
	if out.String() != "1 1\n" {
		t.Errorf("the terminal: %q", out.String())
	}
}

func TestSpawnOptions(t *testing.T) {
	g := group(t, Options{})
	umask, nice, score := 0o27, 5, 300
	got := prints(t, g, nil, SpawnOptions{NoNewPrivs: true, Umask: &umask, Nice: &nice, OOMScoreAdj: &score,
		Rlimits: []Rlimit{{syscall.RLIMIT_CORE, 0, Unlimited}, {syscall.RLIMIT_NOFILE, 77, 88}}, BeginTimeout: time.Minute},
		"umask; nice; cat /proc/self/oom_score_adj; grep NoNewPrivs /proc/self/status | tr -dc 0-9; echo; ulimit -Sc; ulimit -Sn; ulimit -Hn")
	if got != "0027\n5\n300\n1\n0\n77\n88" {
		t.Error(got)
	}
	lower := -1000
	if os.Geteuid() != 0 {
		wants(t, spawned(t, g, exec.Command("true"), SpawnOptions{OOMScoreAdj: &lower}), syscall.EACCES)
	}
}

func TestAContainedCommandSeesOnlyItsGroup(t *testing.T) {
	g := group(t, Options{Limits: Limits{PIDsMax: At(16)}})
	got := prints(t, g, nil, SpawnOptions{Contain: true}, "cat /proc/self/cgroup; cat /sys/fs/cgroup/pids.max")
	if got != "0::/\n16" {
		t.Fatal(got)
	}
	sys := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid()), NoSetGroups: true}}
	cmd := exec.Command("true")
	cmd.SysProcAttr = sys
	wants(t, spawned(t, g, cmd, SpawnOptions{Contain: true}), syscall.EINVAL)
}

func TestASpawnInAFrozenGroupIsRefused(t *testing.T) {
	g := group(t, Options{})
	must(t, g.Freeze(within(t)))
	wants(t, spawned(t, g, exec.Command("true"), SpawnOptions{}), syscall.EBUSY)
	must(t, g.Thaw(within(t)))
	must(t, spawned(t, g, exec.Command("true"), SpawnOptions{}))
}

func TestManySpawnsAtTheSameTime(t *testing.T) {
	g := group(t, Options{})
	path, results := first(t), make(chan error)
	const count = 50
	for i := 0; i < count; i++ {
		go func() {
			var out bytes.Buffer
			cmd := exec.Command(path)
			cmd.Stdout = &out
			err := spawned(t, g, cmd, SpawnOptions{})
			if err == nil && !inside(g, out.String()) {
				err = fmt.Errorf("not in the group: %s", out.String())
			}
			results <- err
		}()
	}
	for i := 0; i < count; i++ {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// terminalOf opens the other end of a pseudo-terminal.
func terminalOf(t *testing.T, master *os.File) *os.File {
	t.Helper()
	unlock := int32(0)
	must(t, control(master, syscall.TIOCSPTLCK, &unlock))
	number := int32(0)
	must(t, control(master, syscall.TIOCGPTN, &number))
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	return slave
}

func control(file *os.File, request uintptr, value *int32) error {
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), request, uintptr(unsafe.Pointer(value))); e != 0 {
		return e
	}
	return nil
}
