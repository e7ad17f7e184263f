// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"sync"
	"time"

	"agentcg"
)

// untilDead limits the time that a killed job may take to die: a process first leaves the system call that it is in.
const untilDead = 10 * time.Second

type runner struct {
	options
	commands []string

	mu      sync.Mutex
	running map[int]*agentcg.Group
	status  int
}

func newRunner(o options, commands []string) *runner {
	return &runner{options: o, commands: commands, running: map[int]*agentcg.Group{}}
}

// runAll runs all commands, at most atOnce at the same time, and returns the exit status.
func (r *runner) runAll(ctx context.Context) int {
	quiet, cancel := context.WithCancel(ctx)
	var printing sync.WaitGroup
	if r.every > 0 {
		printing.Add(1)
		go func() {
			defer printing.Done()
			r.printStats(quiet)
		}()
	}
	next := make(chan int)
	var workers sync.WaitGroup
	for i := 0; i < r.atOnce && i < len(r.commands); i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for n := range next {
				r.run(ctx, n)
			}
		}()
	}
	for n := range r.commands {
		select {
		case next <- n:
		case <-ctx.Done(): // the remaining commands are not started
		}
	}
	close(next)
	workers.Wait()
	cancel()
	printing.Wait()
	return r.status
}

// run runs one job to its end, and prints how it ended and what it used.
func (r *runner) run(ctx context.Context, n int) {
	began := time.Now()
	end, final, err := r.job(ctx, n)
	if err != nil {
		fmt.Fprintf(os.Stderr, "job %d: %v\n", n+1, err)
		r.worse(cannotRun)
		return
	}
	if end != "done" {
		r.worse(someFailed)
	}
	line := fmt.Sprintf("job %d: %s after %.1fs", n+1, end, time.Since(began).Seconds())
	if final.Has(agentcg.StatCPU) {
		line += fmt.Sprintf(", CPU %.2fs", final.CPUUsage.Seconds())
	}
	if final.Has(agentcg.StatMemoryPeak) {
		line += ", memory peak " + amount(final.MemoryPeakBytes)
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", line, r.commands[n])
}

func (r *runner) worse(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if status > r.status {
		r.status = status
	}
}

// job makes a group, runs one command in it, and destroys the group.
func (r *runner) job(ctx context.Context, n int) (end string, final agentcg.Stats, err error) {
	// With a guard no job survives this program, even after kill -9.
	g, err := agentcg.New(agentcg.Options{Limits: r.limits, Guard: true})
	if err != nil {
		return "", final, err
	}
	r.register(n, g)
	defer func() {
		r.register(n, nil)
		dead, cancel := context.WithTimeout(context.Background(), untilDead)
		defer cancel()
		last, failed := g.Destroy(dead)
		if failed != nil {
			err = failed
			return
		}
		final = last
		if final.MemoryEventsOOMKill > 0 && end != "done" {
			end = "out of memory"
		}
	}()

	cmd := exec.Command("sh", "-c", r.commands[n])
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	process, err := g.Spawn(context.Background(), cmd, agentcg.SpawnOptions{Contain: r.contain})
	if err != nil {
		return "", final, err
	}
	var late <-chan time.Time
	if r.time > 0 {
		timer := time.NewTimer(r.time)
		defer timer.Stop()
		late = timer.C
	}
	done := make(chan error, 1)
	go func() { done <- process.Wait() }()
	kill := func() error {
		dead, cancel := context.WithTimeout(context.Background(), untilDead)
		defer cancel()
		if err := g.KillAll(dead); err != nil {
			return err
		}
		<-done
		return nil
	}
	select {
	case err := <-done:
		return ending(err), final, nil
	case <-late:
		return "killed, its time was up,", final, kill()
	case <-ctx.Done():
		return "killed", final, kill()
	}
}

func ending(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &exit):
		return exit.String() // exit status 3, signal: killed
	}
	return err.Error()
}

func (r *runner) register(n int, g *agentcg.Group) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g == nil {
		delete(r.running, n)
	} else {
		r.running[n] = g
	}
}

// printStats prints periodically what the running jobs use, in their order.
func (r *runner) printStats(ctx context.Context) {
	tick := time.NewTicker(r.every)
	defer tick.Stop()
	before := map[int]agentcg.Stats{}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		r.mu.Lock()
		groups := make(map[int]*agentcg.Group, len(r.running))
		order := make([]int, 0, len(r.running))
		for n, g := range r.running {
			groups[n] = g
			order = append(order, n)
		}
		r.mu.Unlock()
		sort.Ints(order)
		now := map[int]agentcg.Stats{}
		for _, n := range order {
			s, err := groups[n].Stats(agentcg.StatBasic | agentcg.StatPIDs)
			if errors.Is(err, agentcg.ErrClosed) || errors.Is(err, agentcg.Gone) {
				continue // the job has ended since
			}
			if err != nil {
				fmt.Fprintf(os.Stderr, "job %d: %v\n", n+1, err)
				continue
			}
			now[n] = s
			fmt.Fprintf(os.Stderr, "  job %d:%s\n", n+1, use(before[n], s))
		}
		before = now
	}
}

// use formats the values that were read: CPU time since the last reading in percent of a CPU, memory, tasks.
func use(before, now agentcg.Stats) string {
	text := ""
	if passed := now.At - before.At; before.Has(agentcg.StatCPU) && now.Has(agentcg.StatCPU) && passed > 0 {
		text += fmt.Sprintf(" CPU %.0f%%", 100*float64(now.CPUUsage-before.CPUUsage)/float64(passed))
	}
	if now.Has(agentcg.StatMemory) {
		text += " memory " + amount(now.MemoryCurrentBytes)
	}
	if now.Has(agentcg.StatPIDs) {
		text += fmt.Sprintf(" tasks %d", now.PIDsCurrent)
	}
	return text
}
