// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const crowd = 40

// threads returns the number of threads of this program.
func threads(t *testing.T) int {
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "Threads:") {
			n, err := strconv.Atoi(strings.TrimSpace(line[len("Threads:"):]))
			must(t, err)
			return n
		}
	}
	t.Fatal("/proc/self/status has no line for threads")
	return 0
}

// crowded makes crowd groups with one living process each.
func crowded(t *testing.T) []*Group {
	groups := make([]*Group, crowd)
	for n := range groups {
		groups[n] = group(t, Options{})
		run(t, groups[n], "sleep", "1000")
	}
	return groups
}

func TestWaitingCallsHoldNoThread(t *testing.T) {
	groups := crowded(t)
	before := threads(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var waiting sync.WaitGroup
	ended := make(chan error, 3*crowd)
	for _, g := range groups {
		waiting.Add(1)
		go func(g *Group) {
			defer waiting.Done()
			err := g.WaitEmpty(ctx)
			if errors.Is(err, ErrClosed) {
				err = nil // the group was destroyed before this call
			}
			ended <- err
		}(g)
	}
	// Long enough that all goroutines sleep. Each call in between is short.
	most := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if n := threads(t); n > most {
			most = n
		}
	}
	if most > before+crowd/4 {
		t.Errorf("%d threads, and %d with %d that wait", before, most, crowd)
	}
	for _, g := range groups {
		waiting.Add(1)
		go func(g *Group) {
			defer waiting.Done()
			ended <- g.KillAll(within(t))
			_, err := g.Destroy(within(t))
			ended <- err
		}(g)
	}
	waiting.Wait()
	close(ended)
	for err := range ended {
		must(t, err)
	}
	if n := threads(t); n > before+crowd/4 {
		t.Errorf("%d threads before, %d after %d kills at once", before, n, crowd)
	}
}
