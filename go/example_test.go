// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"agentcg"
)

// example makes the group of one example.
func example(limits agentcg.Limits) *agentcg.Group {
	g, err := agentcg.New(agentcg.Options{Limits: limits})
	if err != nil {
		log.Fatal(err)
	}
	return g
}

func Example() {
	g, err := agentcg.New(agentcg.Options{Limits: agentcg.Limits{
		MemoryMaxBytes: agentcg.At(64 << 20),
		SwapMaxBytes:   agentcg.At(0), // without it, the rest goes to swap
		CPUMaxMillicpu: agentcg.At(500),
		PIDsMax:        agentcg.At(32),
	}})
	if err != nil {
		log.Fatal(err)
	}
	cmd := exec.Command("echo", "inside")
	cmd.Stdout = os.Stdout
	if err := g.Start(cmd); err != nil {
		log.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		log.Fatal(err)
	}
	final, err := g.Destroy(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("CPU time was used:", final.CPUUsage > 0)
	// Output:
	// inside
	// CPU time was used: true
}

func ExampleNew() {
	_, err := agentcg.New(agentcg.Options{Limits: agentcg.Limits{CPUWeight: agentcg.At(20000)}})
	var e *agentcg.Error
	fmt.Println(errors.Is(err, syscall.ERANGE), errors.As(err, &e) && e.File == "cpu.weight")
	// Output: true true
}

func ExampleOpen() {
	g := example(agentcg.Limits{})
	g.Close() // the end of the program has the same effect
	again, err := agentcg.Open(g.UUID(), agentcg.OpenOptions{Own: true})
	if err != nil {
		log.Fatal(err)
	}
	defer again.Destroy(context.Background())
	fmt.Println(again.Path() == g.Path())
	// Output: true
}

func ExampleList() {
	g := example(agentcg.Limits{})
	defer g.Destroy(context.Background())
	agents, err := agentcg.List("")
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range agents {
		if a.UUID == g.UUID() {
			fmt.Println("orphan:", a.Orphan, "populated:", a.Populated, "owned here:", a.OwnerPID == os.Getpid())
		}
	}
	// Output: orphan: false populated: false owned here: true
}

func ExampleFind() {
	g := example(agentcg.Limits{})
	defer g.Destroy(context.Background())
	cmd := exec.Command("sleep", "1000")
	if err := g.Start(cmd); err != nil {
		log.Fatal(err)
	}
	defer cmd.Wait()
	found, err := agentcg.Find(cmd.Process.Pid)
	fmt.Println(found.UUID == g.UUID(), err)
	g.KillAll(context.Background())
	// Output: true <nil>
}

// All groups of the place together get at most 16 GiB, whoever makes them.
func ExampleSetPlaceLimits() {
	err := agentcg.SetPlaceLimits("", agentcg.Limits{MemoryMaxBytes: agentcg.At(16 << 30)})
	if err != nil {
		log.Fatal(err)
	}
	defer agentcg.SetPlaceLimits("", agentcg.Limits{MemoryMaxBytes: agentcg.At(agentcg.Unlimited)})
	limits, err := agentcg.PlaceLimits("")
	fmt.Println(limits.MemoryMaxBytes == agentcg.At(16<<30), err)
	// Output: true <nil>
}

func ExampleReap() {
	g := example(agentcg.Limits{})
	g.Close() // a crash has the same effect
	n, err := agentcg.Reap(context.Background(), "")
	fmt.Println(n, err)
	// Output: 1 <nil>
}

// After a restart: adopt this program's own agents, and end those that are left.
func ExampleReapTagged() {
	const tag = "com.example.host"
	agents, err := agentcg.ListTagged("", tag)
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range agents {
		if g, err := agentcg.Open(a.UUID, agentcg.OpenOptions{Own: true, Tag: tag}); err == nil {
			defer g.Destroy(context.Background())
		}
	}
	n, err := agentcg.ReapTagged(context.Background(), "", tag)
	fmt.Println(n, err)
	// Output: 0 <nil>
}

func ExampleDiagnose() {
	d, err := agentcg.Diagnose()
	if err != nil {
		log.Fatal(err)
	}
	if d.Place == 0 {
		fmt.Println(d.Obstacle)
		fmt.Println(d.Report) // each place that was tried, and the commands that remedy it
	}
	fmt.Println("memory can be limited:", d.Controllers.Has(agentcg.ControllerMemory))
	// Output: memory can be limited: true
}

func ExampleGroup_Start() {
	g := example(agentcg.Limits{})
	defer g.Destroy(context.Background())
	cmd := exec.Command("cat", "/proc/self/cgroup")
	out, _ := cmd.StdoutPipe()
	if err := g.Start(cmd); err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, _ := out.Read(buf)
	cmd.Wait()
	fmt.Println(strings.HasSuffix(strings.TrimSpace(string(buf[:n])), "/synwire/agents/"+g.UUID()))
	// Output: true
}

func ExampleGroup_MovePID() {
	g := example(agentcg.Limits{})
	defer g.Destroy(context.Background())
	cmd := exec.Command("sleep", "1000")
	cmd.Start() // children from before the move would stay outside; with Group.Start there are none
	defer cmd.Wait()
	if err := g.MovePID(cmd.Process.Pid); err != nil {
		log.Fatal(err)
	}
	inside, _ := g.Contains(cmd.Process.Pid)
	pids, _ := g.PIDs()
	fmt.Println(inside, len(pids))
	g.KillAll(context.Background())
	// Output: true 1
}

func ExampleGroup_SetLimits() {
	g := example(agentcg.Limits{PIDsMax: agentcg.At(32)})
	defer g.Destroy(context.Background())
	// Limits that are absent are left as they are.
	if err := g.SetLimits(agentcg.Limits{MemoryMaxBytes: agentcg.At(agentcg.Unlimited)}); err != nil {
		log.Fatal(err)
	}
	l, _ := g.Limits()
	n, ok := l.PIDsMax.Get()
	fmt.Println(l.MemoryMaxBytes, n, ok)
	// Output: max 32 true
}

func ExampleGroup_Stats() {
	g := example(agentcg.Limits{})
	defer g.Destroy(context.Background())
	s, err := g.Stats(agentcg.StatBasic | agentcg.StatCPUPressure)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("CPU time:", s.CPUUsage)
	if s.Has(agentcg.StatCPUPressure) { // only on a kernel with PSI
		fmt.Fprintln(os.Stderr, "stalls:", s.CPUPressureSome)
	}
	// Output: CPU time: 0s
}

func ExampleGroup_ReadFile() {
	g := example(agentcg.Limits{})
	defer g.Destroy(context.Background())
	if err := g.WriteFile("cgroup.max.depth", []byte("4")); err != nil {
		log.Fatal(err)
	}
	text, err := g.ReadFile("cgroup.max.depth")
	fmt.Printf("%q %v\n", text, err)
	// Output: "4\n" <nil>
}

func ExampleGroup_Events() {
	g := example(agentcg.Limits{})
	events, err := g.Events(context.Background(), agentcg.EventEmpty|agentcg.EventGone)
	if err != nil {
		log.Fatal(err)
	}
	cmd := exec.Command("true")
	if err := g.Start(cmd); err != nil {
		log.Fatal(err)
	}
	cmd.Wait()
	for e := range events { // the channel is closed after the group was removed
		if e&agentcg.EventEmpty != 0 { // may be reported more than once
			g.Destroy(context.Background())
		}
		if e&agentcg.EventGone != 0 {
			fmt.Println("gone")
		}
	}
	// Output: gone
}

func ExampleGroup_KillAll() {
	g := example(agentcg.Limits{})
	defer g.Destroy(context.Background())
	cmd := exec.Command("sh", "-c", "sleep 1000 & setsid sleep 1000")
	if err := g.Start(cmd); err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(g.KillAll(ctx), cmd.Wait())
	// Output: <nil> signal: killed
}

func ExampleGroup_Terminate() {
	g := example(agentcg.Limits{})
	defer g.Destroy(context.Background())
	cmd := exec.Command("sleep", "1000")
	if err := g.Start(cmd); err != nil {
		log.Fatal(err)
	}
	killed, err := g.Terminate(context.Background(), 10*time.Second)
	fmt.Println(killed, err, cmd.Wait())
	// Output: false <nil> signal: terminated
}

func ExampleGroup_Freeze() {
	g := example(agentcg.Limits{})
	defer g.Destroy(context.Background())
	fmt.Println(g.Freeze(context.Background()))
	s, _ := g.Stats(agentcg.StatState)
	fmt.Println(s.Frozen, g.Thaw(context.Background()))
	// Output:
	// <nil>
	// true <nil>
}

func ExampleGroup_SignalAll() {
	g := example(agentcg.Limits{})
	defer g.Destroy(context.Background())
	cmd := exec.Command("sleep", "1000")
	if err := g.Start(cmd); err != nil {
		log.Fatal(err)
	}
	n, err := g.SignalAll(syscall.SIGTERM)
	fmt.Println(n, err, cmd.Wait(), g.WaitEmpty(context.Background()))
	// Output: 1 <nil> signal: terminated <nil>
}

func ExampleGroup_Explain() {
	g := example(agentcg.Limits{})
	defer g.Destroy(context.Background())
	cmd := exec.Command("sh", "-c", "exit 137")
	if err := g.Start(cmd); err != nil {
		log.Fatal(err)
	}
	cmd.Wait()
	v, err := g.Explain(cmd.ProcessState)
	fmt.Println(v.Cause == agentcg.CauseExited, err, v)
	// Output: true <nil> The program exited with code 137.
}
