// SPDX-License-Identifier: MIT OR Apache-2.0

// Jobs runs shell commands, many at once, each in its own cgroup.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"agentcg"
)

const usage = `usage: jobs [OPTION...] [FILE]
Run each line of FILE, or of the standard input, as a shell command in its own cgroup. The processes that a job
leaves when its shell ends are killed. Ctrl-C kills all jobs.

`

const exits = `
Exit status: 0 if all jobs ended with 0; 1 if not; 2 for an invalid option; 125 if a job could not be run;
128+n after signal n.
`

const (
	someFailed = 1
	wrongUse   = 2
	cannotRun  = 125
)

type options struct {
	atOnce int
	limits agentcg.Limits
	time   time.Duration
	every  time.Duration

	contain bool
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	o, file, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return wrongUse // the package flag has printed the reason
	}
	input := os.Stdin
	if file != "" {
		if input, err = os.Open(file); err != nil {
			fmt.Fprintln(os.Stderr, "jobs:", err)
			return wrongUse
		}
		defer input.Close()
	}
	commands, err := lines(input)
	if err != nil {
		fmt.Fprintln(os.Stderr, "jobs:", err)
		return wrongUse
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ended := make(chan os.Signal, 1)
	go func() {
		s := <-caught
		ended <- s
		cancel()
	}()

	r := newRunner(o, commands)
	status := r.runAll(ctx)
	select {
	case s := <-ended:
		return 128 + int(s.(syscall.Signal))
	default:
		return status
	}
}

func parse(args []string) (o options, file string, err error) {
	flags := flag.NewFlagSet("jobs", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
		fmt.Fprint(flags.Output(), exits)
	}
	flags.IntVar(&o.atOnce, "j", 20, "at most `N` jobs at once")
	flags.Var(size{&o.limits.MemoryMaxBytes}, "memory", "memory for each job, in `BYTES` or as 64K, 64M, 64G")
	flags.Var(cpus{&o.limits.CPUMaxMillicpu}, "cpu", "CPU time for each job, in `CPUS`: 0.5 is half of one")
	flags.Var(count{&o.limits.PIDsMax}, "pids", "`N` processes and threads for each job")
	flags.DurationVar(&o.time, "time", 0, "kill a job after this `TIME`, such as 10s; 0 never")
	flags.BoolVar(&o.contain, "contain", false, "a job cannot leave its cgroup")
	flags.DurationVar(&o.every, "stats", time.Second, "print what the running jobs use, each `TIME`; 0 never")
	if err := flags.Parse(args); err != nil {
		return o, "", err
	}
	switch {
	case flags.NArg() > 1:
		err = errors.New("more than one FILE")
	case o.atOnce < 1:
		err = errors.New("-j must be 1 or more")
	case o.time < 0 || o.every < 0:
		err = errors.New("a time must not be negative")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "jobs:", err)
		flags.Usage()
	}
	if _, limited := o.limits.MemoryMaxBytes.Get(); limited {
		o.limits.SwapMaxBytes = agentcg.At(0) // otherwise a job above its memory limit continues to grow in swap
		o.limits.OOMGroup = agentcg.On        // a job cannot continue without one of its processes
	}
	return o, flags.Arg(0), err
}

func lines(r io.Reader) ([]string, error) {
	var found []string
	in := bufio.NewScanner(r)
	for in.Scan() {
		if line := strings.TrimSpace(in.Text()); line != "" && line[0] != '#' {
			found = append(found, line)
		}
	}
	return found, in.Err()
}
