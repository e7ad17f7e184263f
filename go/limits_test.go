// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

import (
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// limited needs the controllers cpu, memory and pids. All layouts in which the tests run have them.
func limited(t testing.TB, l Limits) *Group {
	t.Helper()
	g := group(t, Options{Limits: l})
	info, err := g.Info()
	must(t, err)
	if want := ControllerCPU | ControllerMemory | ControllerPIDs; !info.Controllers.Has(want) {
		t.Fatalf("controllers %b, not %b: the layout is the wrong one", info.Controllers, want)
	}
	return g
}

func TestEachLimitIsWrittenToItsFileAndReadBack(t *testing.T) {
	want := Limits{
		MemoryMaxBytes:  At(64 << 20),
		MemoryHighBytes: At(48 << 20),
		MemoryLowBytes:  At(2 << 20),
		MemoryMinBytes:  At(1 << 20),
		OOMGroup:        On,
		CPUMaxMillicpu:  At(500),
		CPUPeriod:       200 * time.Millisecond,
		CPUWeight:       At(50),
		PIDsMax:         At(32),
		MaxDepth:        At(3),
		MaxDescendants:  At(7),
	}
	files := map[string]string{
		"memory.max": "67108864", "memory.high": "50331648", "memory.low": "2097152", "memory.min": "1048576",
		"memory.oom.group": "1", "cpu.max": "100000 200000", "cpu.weight": "50",
		"pids.max": "32", "cgroup.max.depth": "3", "cgroup.max.descendants": "7",
	}
	if !gone(group(t, Options{}).Path() + "/cpu.max.burst") { // Linux 5.14
		want.CPUBurstMicroseconds, files["cpu.max.burst"] = At(1000), "1000"
	}
	g := limited(t, want)
	for file, value := range files {
		text, err := g.ReadFile(file)
		must(t, err)
		if strings.TrimSpace(string(text)) != value {
			t.Errorf("%s is %q, not %q", file, text, value)
		}
	}
	got, err := g.Limits()
	must(t, err)
	got.SwapMaxBytes, got.IOWeight, got.CPUIdle = Limit{}, Limit{}, Unset // not available everywhere
	if got != want {
		t.Fatalf("%+v\nis not %+v", got, want)
	}
}

func TestAnAbsentLimitDoesNotChangeAndUnlimitedLiftsIt(t *testing.T) {
	g := limited(t, Limits{MemoryMaxBytes: At(64 << 20), PIDsMax: At(10)})
	must(t, g.SetLimits(Limits{PIDsMax: At(Unlimited)}))
	l, err := g.Limits()
	must(t, err)
	if l.PIDsMax != At(Unlimited) || l.MemoryMaxBytes != At(64<<20) || l.PIDsMax.String() != "max" {
		t.Fatalf("%v", l)
	}
	if n, ok := (Limit{}).Get(); ok || n != 0 || (Limit{}).String() != "-" {
		t.Fatal("the zero Limit is one")
	}
}

func TestASwitchCanBeTurnedOff(t *testing.T) {
	g := limited(t, Limits{OOMGroup: On})
	must(t, g.SetLimits(Limits{OOMGroup: Off}))
	if l, err := g.Limits(); err != nil || l.OOMGroup != Off {
		t.Fatalf("%v, %v", l.OOMGroup, err)
	}
	wants(t, g.SetLimits(Limits{OOMGroup: 7}), syscall.EINVAL)
}

func TestLimitsOutOfRangeNameTheirFile(t *testing.T) {
	g := limited(t, Limits{})
	err := g.SetLimits(Limits{CPUWeight: At(10001)})
	wants(t, err, syscall.ERANGE)
	if e := err.(*Error); e.File != "cpu.weight" || e.Op != "set limits" || !strings.Contains(e.Error(), e.Msg) {
		t.Fatalf("%#v", e)
	}
	wants(t, g.SetLimits(Limits{CPUPeriod: time.Second}), syscall.EINVAL)
}

func TestAMemoryMaxBelowTheUsageIsRefusedUnlessForced(t *testing.T) {
	g := limited(t, Limits{OOMGroup: On})
	cmd := run(t, g, "sh", "-c", "{ head -c 30000000 /dev/zero; sleep 1000; } | tail")
	for s, err := g.Stats(StatMemory); s.MemoryCurrentBytes < 20<<20; s, err = g.Stats(StatMemory) {
		must(t, err)
	}
	wants(t, g.SetLimits(Limits{MemoryMaxBytes: At(1 << 20)}), syscall.EBUSY)
	must(t, g.ForceLimits(Limits{MemoryMaxBytes: At(1 << 20)}))
	if got := signalOf(cmd.Wait()); got != syscall.SIGKILL {
		t.Fatalf("it ended by %v", got)
	}
	if s, err := g.Stats(StatAll); err != nil || !s.Has(StatMemoryEvents) || s.MemoryEventsOOMKill == 0 {
		t.Fatalf("%+v, %v", s, err)
	}
}

// The test fails if Limits lacks a field of the C structs, or if a field has the bit of another.
func TestEveryFieldOfTheLibraryIsInLimits(t *testing.T) {
	var l Limits
	c, _ := l.toC("test")
	limits, switches := l.fields(&c)
	bits := map[uint64]bool{}
	for _, f := range limits {
		bits[uint64(f.bit)] = true
	}
	for _, f := range switches {
		bits[uint64(f.bit)] = true
	}
	const withoutBit = 2 // mask and cpu_period_us
	if words := int(unsafe.Sizeof(c) / 8); len(bits) != words-withoutBit {
		t.Fatalf("%d bits for %d fields", len(bits), words-withoutBit)
	}
	if n := reflect.TypeOf(l).NumField(); n != len(bits)+1 {
		t.Fatalf("%d fields for %d bits and the period", n, len(bits))
	}
}

func TestLimitsOfAPlaceAreReadBackAndNeedNoGroup(t *testing.T) {
	_, err := PlaceLimits("")
	wants(t, err, syscall.ENOENT)
	must(t, SetPlaceLimits("", Limits{PIDsMax: At(5000)}))
	must(t, ForcePlaceLimits("", Limits{MemoryMaxBytes: At(1 << 40)}))
	g := group(t, Options{})
	text, err := os.ReadFile(g.Path() + "/../pids.max")
	must(t, err)
	_, err = g.Destroy(within(t))
	must(t, err)
	l, err := PlaceLimits("")
	must(t, err)
	if string(text) != "5000\n" || l.PIDsMax != At(5000) || l.MemoryMaxBytes != At(1<<40) {
		t.Fatalf("%q, %+v", text, l)
	}
	must(t, SetPlaceLimits("", Limits{PIDsMax: At(Unlimited), MemoryMaxBytes: At(Unlimited)}))
	_, err = PlaceLimits("")
	wants(t, err, syscall.ENOENT)
}
