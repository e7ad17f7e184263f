// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is the timeout of waits that have to succeed. It is long, because no test may fail because it is slow.
const patience = 60 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func endedContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t testing.TB, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Fatalf("the error is %v, not %v", err, target)
		}
	}
}

// group makes a group that is destroyed at the end of the test.
func group(t testing.TB, o Options) *Group {
	t.Helper()
	g, err := New(o)
	must(t, err)
	t.Cleanup(func() {
		if _, err := g.Destroy(within(t)); err != nil && !errors.Is(err, ErrClosed) {
			t.Errorf("destroying: %v", err)
		}
	})
	return g
}

// run starts a command in the group. The cleanup of the test waits for it.
func run(t testing.TB, g *Group, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	must(t, g.Start(cmd))
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

func TestANewGroupIsADirectoryThatDestroyRemoves(t *testing.T) {
	g := group(t, Options{})
	if filepath.Base(g.Path()) != g.UUID() || len(g.UUID()) != 36 || g.String() != g.Path() {
		t.Fatalf("uuid %q, path %q", g.UUID(), g.Path())
	}
	if gone(g.Path()) {
		t.Fatal("there is no such directory")
	}
	var at, dir syscall.Stat_t
	must(t, syscall.Fstat(g.FD(), &at))
	must(t, syscall.Stat(g.Path(), &dir))
	info, err := g.Info()
	must(t, err)
	if at.Ino != dir.Ino || info.ID != dir.Ino {
		t.Fatalf("FD is inode %d, Info %d, the directory %d", at.Ino, info.ID, dir.Ino)
	}
	if !info.Owned || info.Guarded || info.Place == 0 {
		t.Fatalf("%+v", info)
	}
	_, err = g.Destroy(within(t))
	must(t, err)
	if !gone(g.Path()) {
		t.Fatal("the directory is still there")
	}
}

func TestAChildIsInItsSessionAndEndsWithIt(t *testing.T) {
	session := group(t, Options{})
	before := run(t, session, "sleep", "1000")
	child, err := session.NewChild(Options{Limits: Limits{MaxDescendants: At(3)}, Label: "a child"})
	must(t, err)
	defer child.Close()
	if child.Path() != session.Path()+"/"+child.UUID() || child.parent() != session.Path() {
		t.Fatalf("%q is not in %q", child.Path(), session.Path())
	}
	info, err := child.Info()
	must(t, err)
	if info.Session != session.UUID() || info.Label != "a child" {
		t.Fatalf("%+v", info)
	}
	agents, err := List(session.Path())
	must(t, err)
	if len(agents) != 1 || agents[0].UUID != child.UUID() || agents[0].Session != session.UUID() {
		t.Fatalf("%+v", agents)
	}
	inside, after := run(t, child, "sleep", "1000"), run(t, session, "sleep", "1000")
	for cmd, expected := range map[*exec.Cmd]string{before: "", inside: child.UUID(), after: ""} {
		found, err := Find(cmd.Process.Pid)
		must(t, err)
		if found.UUID != session.UUID() || found.Child != expected || found.Below != (expected != "") {
			t.Fatalf("%+v", found)
		}
	}
	stats, err := session.Stats(StatPIDs)
	must(t, err)
	if stats.Has(StatPIDs) && stats.PIDsCurrent != 3 {
		t.Fatalf("%d processes", stats.PIDsCurrent)
	}
	_, err = session.Destroy(within(t))
	must(t, err)
	wants(t, child.KillAll(within(t)), syscall.ENODEV)
	for _, o := range []Options{{Parent: "/sys/fs/cgroup"}, {NoSystemd: true}} {
		_, err = group(t, Options{}).NewChild(o)
		wants(t, err, syscall.EINVAL)
	}
}

func TestAStartDuringTheFirstNewChildSucceeds(t *testing.T) {
	for round := 0; round < rounds(t, 20); round++ {
		g := group(t, Options{})
		var starting sync.WaitGroup
		made := make(chan struct{})
		for i := 0; i < 2; i++ {
			starting.Add(1)
			go func() {
				defer starting.Done()
				startUntil(t, g, made)
			}()
		}
		child, err := g.NewChild(Options{})
		close(made)
		starting.Wait()
		must(t, err)
		must(t, child.Close())
		run(t, g, "true")
		_, err = g.Destroy(within(t))
		must(t, err)
	}
}

func TestAUUIDInUseIsRefused(t *testing.T) {
	g := group(t, Options{})
	_, err := New(Options{UUID: g.UUID()})
	wants(t, err, syscall.EEXIST, os.ErrExist)
}

func TestAGuardedGroupIsReportedAsGuarded(t *testing.T) {
	g := group(t, Options{Guard: true})
	info, err := g.Info()
	must(t, err)
	if !info.Guarded {
		t.Fatal("it is not guarded")
	}
}

func TestAClosedGroupCanBeOpenedAgain(t *testing.T) {
	g := group(t, Options{})
	if _, err := Open(g.UUID(), OpenOptions{Own: true}); !errors.Is(err, syscall.EBUSY) {
		t.Fatalf("its owner lives: %v", err)
	}
	must(t, g.Close())
	again, err := Open(g.UUID(), OpenOptions{Own: true})
	must(t, err)
	if again.Path() != g.Path() {
		t.Fatalf("%s is not %s", again, g)
	}
	_, err = again.Destroy(within(t))
	must(t, err)
	_, err = Open(g.UUID(), OpenOptions{})
	wants(t, err, syscall.ENOENT)
}

func TestLabelAndTagAreKnownEverywhere(t *testing.T) {
	g := group(t, Options{Label: "pull request 7: Überprüfung", Tag: "go-test"})
	run(t, g, "sleep", "1000")
	pids, err := g.PIDs()
	must(t, err)
	check := func(label string) {
		t.Helper()
		info, err := g.Info()
		must(t, err)
		agents, err := ListTagged("", "go-test")
		must(t, err)
		found, err := Find(pids[0])
		must(t, err)
		if len(agents) != 1 || agents[0].UUID != g.UUID() {
			t.Fatalf("%+v", agents)
		}
		for _, got := range [][2]string{{info.Label, info.Tag}, {agents[0].Label, agents[0].Tag}, {found.Label, found.Tag}} {
			if got != [2]string{label, "go-test"} {
				t.Fatalf("%q", got)
			}
		}
	}
	check("pull request 7: Überprüfung")
	must(t, g.SetLabel("pull request 8"))
	check("pull request 8")
	wants(t, g.SetLabel("two\nlines"), syscall.EINVAL)
	must(t, g.SetLabel(""))
	check("")
	guest, err := Open(g.UUID(), OpenOptions{Tag: "go-test"})
	must(t, err)
	wants(t, guest.SetLabel("x"), syscall.EPERM)
	must(t, guest.Close())
}

func TestACallThatIsBoundToATagLeavesOtherAgentsAlone(t *testing.T) {
	g, other := group(t, Options{Tag: "go-test"}), group(t, Options{Tag: "go-other"})
	for _, one := range []*Group{g, other} {
		must(t, one.Close())
	}
	if agents, err := ListTagged("", "go-none"); err != nil || len(agents) != 0 {
		t.Fatal(agents, err)
	}
	_, err := Open(g.UUID(), OpenOptions{Own: true, Tag: "go-other"})
	wants(t, err, syscall.ENOENT)
	n, err := ReapTagged(within(t), "", "go-test")
	must(t, err)
	if n != 1 || !gone(g.Path()) || gone(other.Path()) {
		t.Fatalf("%d reaped", n)
	}
	again, err := Open(other.UUID(), OpenOptions{Own: true, Tag: "go-other"})
	must(t, err)
	_, err = again.Destroy(within(t))
	must(t, err)
}

func TestAnInvalidLabelOrTagIsRefused(t *testing.T) {
	for _, o := range []Options{{Label: "\x1b[2J"}, {Label: "a\x00b"}, {Tag: "a b"}, {Tag: "\xff"}} {
		_, err := New(o)
		wants(t, err, syscall.EINVAL)
	}
	for _, tag := range []string{"", "a b", "a\x00"} {
		_, err := ListTagged("", tag)
		wants(t, err, syscall.EINVAL)
		_, err = ReapTagged(within(t), "", tag)
		wants(t, err, syscall.EINVAL)
	}
}

func TestAForgottenGroupIsClosedAndNotDestroyed(t *testing.T) {
	g, err := New(Options{})
	must(t, err)
	uuid, path := g.UUID(), g.Path()
	events, err := g.Events(context.Background(), EventPopulated)
	must(t, err)
	g = nil
	deadline := time.After(patience)
	for open := true; open; {
		runtime.GC()
		select {
		case _, open = <-events: // it is closed with the Group
		case <-deadline:
			t.Fatal("nothing was closed")
		case <-time.After(10 * time.Millisecond): // the garbage collector produces no event to wait for
		}
	}
	if gone(path) {
		t.Fatal("the directory was removed")
	}
	var again *Group
	for { // the lock is released with the handle, after the watch has ended
		if again, err = Open(uuid, OpenOptions{Own: true}); !errors.Is(err, syscall.EBUSY) {
			break
		}
		runtime.Gosched()
	}
	must(t, err)
	_, err = again.Destroy(within(t))
	must(t, err)
}

func TestDestroyKillsAndReturnsTheLastMeasurements(t *testing.T) {
	g := group(t, Options{})
	cmd := run(t, g, "sh", "-c", "sleep 1000 & sleep 1000")
	final, err := g.Destroy(within(t))
	must(t, err)
	if !final.Has(StatCPU) || final.CPUUsage == 0 {
		t.Fatalf("%+v", final)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("it ended with %v", err)
	}
}

func TestDestroyWithAnEndedContextStillKills(t *testing.T) {
	g := group(t, Options{})
	cmd := run(t, g, "sleep", "1000")
	if _, err := g.Destroy(endedContext()); err != nil {
		wants(t, err, context.Canceled, syscall.ETIMEDOUT)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("it was not killed")
	}
}

func TestDestroyIfEmptyDoesNotKill(t *testing.T) {
	g := group(t, Options{})
	run(t, g, "sleep", "1000")
	_, err := g.DestroyIfEmpty(within(t))
	wants(t, err, syscall.EBUSY)
	if pids, err := g.PIDs(); err != nil || len(pids) != 1 {
		t.Fatalf("%v, %v", pids, err)
	}
}

func TestAGroupThatAnotherProgramRemovedIsGone(t *testing.T) {
	g := group(t, Options{})
	must(t, os.Remove(g.Path()))
	_, err := g.Stats(StatBasic)
	wants(t, err, syscall.ENODEV, Gone)
	if _, err := g.Destroy(within(t)); err != nil {
		t.Fatal(err)
	}
}

func TestThePlaceIsDescribed(t *testing.T) {
	if !IsAvailable() {
		t.Fatal("no cgroup2 here")
	}
	if n := strings.Count(Version(), "."); n != 2 {
		t.Fatalf("version %q", Version())
	}
	parent, err := DiscoverParent()
	must(t, err)
	g := group(t, Options{})
	if !strings.HasPrefix(g.Path(), strings.TrimSuffix(parent, "/")+"/synwire/agents/") {
		t.Fatalf("%s is not under %s", g, parent)
	}
	info, err := g.Info()
	must(t, err)
	d, err := Diagnose()
	must(t, err)
	if d.Obstacle != 0 || d.Place != info.Place || d.Report == "" {
		t.Fatalf("%+v", d)
	}
	if d.MissingControllers == 0 && !info.Controllers.Has(ControllerMemory|ControllerPIDs) {
		t.Fatalf("%+v beside %+v", d, info)
	}
}

func TestDiagnoseNewIsForTheGivenLimitsAndFlags(t *testing.T) {
	d, err := DiagnoseNew(Options{Limits: Limits{PIDsMax: At(17)}, KeepCaller: true})
	must(t, err)
	if d.Obstacle != 0 || d.Place == 0 || d.Report == "" {
		t.Fatalf("%+v", d)
	}
	// The lab has no systemd, and the flag excludes other places.
	d, err = DiagnoseNew(Options{SystemdOnly: true})
	must(t, err)
	if d.Obstacle != NoSystemd || d.Place != 0 {
		t.Fatalf("%+v", d)
	}
}

func TestListAndReapDistinguishOrphansFromOwnedGroups(t *testing.T) {
	living, orphan := group(t, Options{}), group(t, Options{})
	run(t, orphan, "sleep", "1000")
	must(t, orphan.Close())
	agents, err := List("")
	must(t, err)
	found := map[string]Agent{}
	for _, a := range agents {
		found[a.UUID] = a
	}
	if a := found[living.UUID()]; a.Orphan || a.Populated || a.OwnerPID != os.Getpid() ||
		time.Since(a.Created) > time.Hour {
		t.Fatalf("the living: %+v", a)
	}
	if a := found[orphan.UUID()]; !a.Orphan || !a.Populated {
		t.Fatalf("the orphan: %+v", a)
	}
	n, err := Reap(within(t), orphan.parent())
	must(t, err)
	if n != 1 || !gone(orphan.Path()) || gone(living.Path()) {
		t.Fatalf("%d reaped", n)
	}
}
