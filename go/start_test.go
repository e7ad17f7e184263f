// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// ways runs the test with Start, and with the stand-in, also where Start would not use it.
func ways(t *testing.T, test func(t *testing.T, start func(*Group, *exec.Cmd) error)) {
	t.Run("by Start", func(t *testing.T) { test(t, (*Group).Start) })
	t.Run("by a stand-in", func(t *testing.T) { test(t, (*Group).startMoved) })
}

// first returns the path of the program whose first act is to fork: testdata/first.c.
func first(t *testing.T) string {
	path := os.Getenv("AGENTCG_FIRST")
	if path == "" {
		t.Fatal("AGENTCG_FIRST is not set: go/check builds that program")
	}
	return path
}

// inside returns true if the lines are those of the program and its child, and both are in the group.
func inside(g *Group, lines string) bool {
	line := strings.SplitN(lines, "\n", 2)[0]
	return lines == line+"\n"+line+"\n" && strings.HasPrefix(line, "0::/") &&
		strings.HasSuffix(line, "/synwire/agents/"+g.UUID())
}

// rounds returns how often a test repeats itself: AGENTCG_ROUNDS, otherwise a quarter of usual with -test.short, or usual.
func rounds(t *testing.T, usual int) int {
	if s := os.Getenv("AGENTCG_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		must(t, err)
		return n
	}
	if testing.Short() {
		return (usual + 3) / 4
	}
	return usual
}

// used writes cgroup.kill. Afterwards unsound kernels kill new processes. (KillAll does not write it in an empty
// group.)
func used(g *Group) error {
	err := g.WriteFile("cgroup.kill", []byte("1"))
	if errors.Is(err, syscall.ENOENT) { // before Linux 5.14
		return nil
	}
	return err
}

func TestProgramsStartedByFiftyGoroutinesAreInTheGroupFromTheBeginning(t *testing.T) {
	path := first(t)
	each := (rounds(t, 200) + 49) / 50
	var all sync.WaitGroup
	for i := 0; i < 50; i++ {
		g := group(t, Options{})
		all.Add(1)
		go func() {
			defer all.Done()
			for n := 0; n < each; n++ {
				var out bytes.Buffer
				cmd := exec.Command(path)
				cmd.Stdout = &out
				if err := g.Start(cmd); err != nil {
					t.Errorf("start: %v", err)
					return
				}
				if err := cmd.Wait(); err != nil || !inside(g, out.String()) {
					t.Errorf("%d: %v, %q", n, err, out.String())
					return
				}
				if err := used(g); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	all.Wait()
}

func TestManyStartsInOneGroupAtTheSameTime(t *testing.T) {
	path := first(t)
	g := group(t, Options{})
	run(t, g, "sleep", "1000")
	must(t, g.KillAll(within(t)))
	var all sync.WaitGroup
	for i := 0; i < 50; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			cmd := exec.Command(path)
			var out bytes.Buffer
			cmd.Stdout = &out
			if err := g.Start(cmd); err != nil {
				t.Error(err)
			} else if err := cmd.Wait(); err != nil || !inside(g, out.String()) {
				t.Errorf("%v, %q", err, out.String())
			}
		}()
	}
	all.Wait()
}

// describe is a script that prints its arguments, variables, directory, descriptors, signals, limits, session and group.
const describe = `
printf '%s\n' "$0" "$@"
env
pwd
for fd in /proc/$$/fd/*; do echo "${fd##*/} $(readlink $fd | tr -d 0-9)"; done
grep -E '^(Sig(Ign|Cgt)|Cap|NoNewPrivs)' /proc/$$/status
cat /proc/$$/limits
set -- $(cat /proc/$$/stat); echo $(( $5 == $1 )) $(( $6 == $1 ))
cat
cat <&3`

// description runs the script with run, and uses all fields of Cmd.
func description(t *testing.T, run func(*exec.Cmd) error) string {
	t.Helper()
	extra, err := os.Open("/proc/version")
	must(t, err)
	defer extra.Close()
	var out bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", describe, "zero", "one", "", "three\nfour")
	cmd.Env = []string{"A=1", "B=", "LONG=" + strings.Repeat("x", 100000), "A=2"}
	cmd.Dir = "/usr"
	cmd.Stdin = strings.NewReader("input\n")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.ExtraFiles = []*os.File{extra}
	sys := &syscall.SysProcAttr{Setsid: true}
	cmd.SysProcAttr = sys
	must(t, run(cmd))
	if cmd.Path != "/bin/sh" || len(cmd.Args) != 7 || len(cmd.Env) != 4 || len(cmd.ExtraFiles) != 1 ||
		cmd.SysProcAttr != sys || !reflect.DeepEqual(*sys, syscall.SysProcAttr{Setsid: true}) {
		t.Fatalf("the Cmd was changed: %+v", cmd)
	}
	return out.String()
}

func TestACommandGetsAllSettingsOfExecCmd(t *testing.T) {
	want := description(t, (*exec.Cmd).Run)
	if !strings.Contains(want, "input") {
		t.Fatal(want)
	}
	ways(t, func(t *testing.T, start func(*Group, *exec.Cmd) error) {
		g := group(t, Options{})
		got := description(t, func(cmd *exec.Cmd) error {
			if err := start(g, cmd); err != nil {
				return err
			}
			return cmd.Wait()
		})
		if got != want {
			t.Fatalf("%s\nis not\n%s", got, want)
		}
	})
}

func TestAFileThatCannotBeExecutedReturnsTheErrorOfExecCmd(t *testing.T) {
	dir := t.TempDir()
	notExecutable, notAProgram := filepath.Join(dir, "x"), filepath.Join(dir, "y")
	must(t, os.WriteFile(notExecutable, nil, 0o600))
	must(t, os.WriteFile(notAProgram, []byte{1, 2, 3}, 0o700))
	cmds := map[string]func() *exec.Cmd{
		"absent":      func() *exec.Cmd { return &exec.Cmd{Path: "/nonesuch"} },
		"not in PATH": func() *exec.Cmd { return exec.Command("nonesuch") },
		"not allowed": func() *exec.Cmd { return &exec.Cmd{Path: notExecutable} },
		"no program":  func() *exec.Cmd { return &exec.Cmd{Path: notAProgram} },
		"a NUL":       func() *exec.Cmd { return exec.Command("/bin/true", "\x00") },
		"no dir":      func() *exec.Cmd { return &exec.Cmd{Path: "/bin/true", Dir: "/nonesuch"} },
		"too long":    func() *exec.Cmd { return exec.Command("/bin/true", strings.Repeat("x", 1<<18)) },
	}
	ways(t, func(t *testing.T, start func(*Group, *exec.Cmd) error) {
		g := group(t, Options{})
		for name, make := range cmds {
			want := make().Start()
			cmd := make()
			cmd.Stdin = neverEnding{} // its end is not waited for
			got := start(g, cmd)
			if want == nil || got == nil || got.Error() != want.Error() {
				t.Errorf("%s: %v, not %v", name, got, want)
			}
		}
		must(t, g.WaitEmpty(within(t)))
	})
}

type neverEnding struct{}

func (neverEnding) Read([]byte) (int, error) { select {} }

func TestACommandsOwnContextEndsIt(t *testing.T) {
	ways(t, func(t *testing.T, start func(*Group, *exec.Cmd) error) {
		g := group(t, Options{})
		ctx, cancel := context.WithCancel(context.Background())
		cmd := exec.CommandContext(ctx, "sleep", "1000")
		must(t, start(g, cmd))
		cancel()
		if s := signalOf(cmd.Wait()); s != syscall.SIGKILL {
			t.Fatalf("it ended by %v", s)
		}
		wants(t, start(g, exec.CommandContext(ctx, "true")), context.Canceled)
	})
}

func TestACommandThatCannotBeStartedIsRefused(t *testing.T) {
	g := group(t, Options{})
	wants(t, g.Start(nil), syscall.EINVAL)
	if err := g.Start(&exec.Cmd{}); err == nil || err.Error() != (&exec.Cmd{}).Start().Error() {
		t.Fatalf("%v", err)
	}
	started := run(t, g, "true")
	if err := g.Start(started); err == nil || !strings.Contains(err.Error(), "already started") {
		t.Fatalf("%v", err)
	}
}

func TestSettingsThatAStandInCannotApplyAreRefused(t *testing.T) {
	g := group(t, Options{})
	for _, sys := range []*syscall.SysProcAttr{{Chroot: "/"}, {Ptrace: true}} {
		cmd := exec.Command("true")
		cmd.SysProcAttr = sys
		wants(t, g.startMoved(cmd), syscall.EOPNOTSUPP)
	}
}

func BenchmarkStart(b *testing.B) {
	for name, start := range map[string]func(*Group, *exec.Cmd) error{
		"exec":     func(_ *Group, cmd *exec.Cmd) error { return cmd.Start() },
		"start":    (*Group).Start,
		"stand-in": (*Group).startMoved,
	} {
		b.Run(name, func(b *testing.B) {
			g := group(b, Options{})
			for i := 0; i < b.N; i++ {
				cmd := exec.Command("/bin/true")
				must(b, start(g, cmd))
				must(b, cmd.Wait())
			}
		})
	}
}
