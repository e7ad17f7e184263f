// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

import (
	"reflect"
	"testing"
	"time"
	"unsafe"
)

func TestStatsAreThoseOfTheGroup(t *testing.T) {
	g := limited(t, Limits{})
	s, err := g.Stats(StatAll)
	must(t, err)
	if !s.Has(StatBasic|StatPIDs|StatState) || s.Populated || s.PIDsCurrent != 0 || s.CPUUsage != 0 {
		t.Fatalf("an empty group: %+v", s)
	}
	run(t, g, "sh", "-c", "while :; do :; done")
	run(t, g, "sleep", "1000")
	for s.CPUUsage < 50*time.Millisecond {
		before := s
		s, err = g.Stats(StatAll)
		must(t, err)
		if s.At <= before.At || s.CPUUsage < before.CPUUsage {
			t.Fatalf("%+v after %+v", s, before)
		}
	}
	if !s.Populated || s.Frozen || s.PIDsCurrent != 2 || s.MemoryCurrentBytes == 0 {
		t.Fatalf("%+v", s)
	}
	if sum := s.CPUUser + s.CPUSystem; sum > s.CPUUsage+time.Millisecond || sum < s.CPUUsage-time.Millisecond {
		t.Fatalf("user %v and system %v are not %v", s.CPUUser, s.CPUSystem, s.CPUUsage)
	}
}

func TestThrottlingIsReported(t *testing.T) {
	g := limited(t, Limits{CPUMaxMillicpu: At(50)})
	run(t, g, "sh", "-c", "while :; do :; done")
	for {
		s, err := g.Stats(StatCPUThrottle)
		must(t, err)
		if s.CPUThrottledPeriods > 0 && s.CPUThrottled > 0 && s.CPUPeriods >= s.CPUThrottledPeriods {
			return
		}
		time.Sleep(10 * time.Millisecond) // the kernel does not report this
	}
}

func TestStatsThatWereNotRequestedAreAbsent(t *testing.T) {
	g := limited(t, Limits{})
	run(t, g, "sleep", "1000")
	s, err := g.Stats(StatCPU)
	must(t, err)
	if !s.Has(StatCPU) || s.Has(StatMemory) || s.MemoryCurrentBytes != 0 || s.Has(StatCPU|StatMemory) {
		t.Fatalf("%+v", s)
	}
	if (Stats{}).Has(StatCPU) {
		t.Fatal("nothing was measured")
	}
}

// Each number of the C struct is in exactly one field, and that field has its name.
func TestEachMeasurementHasItsOwnField(t *testing.T) {
	var none Stats
	c := statsFromC(new(cStats))
	if c != none {
		t.Fatalf("zeros give %+v", c)
	}
	words := int(unsafe.Sizeof(cStats{}) / 8)
	seen := map[string]int{}
	for i := 0; i < words; i++ {
		var raw cStats
		*(*uint64)(unsafe.Add(unsafe.Pointer(&raw), i*8)) = 1
		s := reflect.ValueOf(statsFromC(&raw))
		changed := 0
		for f := 0; f < s.NumField(); f++ {
			if !s.Field(f).IsZero() {
				seen[s.Type().Field(f).Name]++
				changed++
			}
		}
		if changed != 1 {
			t.Errorf("word %d changes %d fields", i, changed)
		}
	}
	if n := reflect.TypeOf(none).NumField(); len(seen) != n || words != n {
		t.Fatalf("%d of %d fields for %d words", len(seen), n, words)
	}
}
