// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import (
	"context"
	"time"
	"unsafe"
)

// Controllers is a set of cgroup controllers.
type Controllers uint64

// The controllers.
const (
	ControllerCPU     Controllers = C.AGENTCG_CONTROLLER_CPU
	ControllerMemory  Controllers = C.AGENTCG_CONTROLLER_MEMORY
	ControllerPIDs    Controllers = C.AGENTCG_CONTROLLER_PIDS
	ControllerIO      Controllers = C.AGENTCG_CONTROLLER_IO
	ControllerCPUSet  Controllers = C.AGENTCG_CONTROLLER_CPUSET
	ControllerHugeTLB Controllers = C.AGENTCG_CONTROLLER_HUGETLB
)

// Has tells whether all of these are in the set.
func (c Controllers) Has(which Controllers) bool { return c&which == which }

// Place is the kind of place in which groups are made. 0 is none.
type Place uint32

// The places.
const (
	PlaceGiven     Place = C.AGENTCG_PLACE_GIVEN     // The caller named the parent.
	PlaceDelegated Place = C.AGENTCG_PLACE_DELEGATED // A unit or container delegated to us.
	PlaceSibling   Place = C.AGENTCG_PLACE_SIBLING   // The parent of our own cgroup.
	PlaceRoot      Place = C.AGENTCG_PLACE_ROOT      // The real root or a namespace's.
	PlaceSystemd   Place = C.AGENTCG_PLACE_SYSTEMD   // A transient scope that systemd made for us.
)

// Features is a set of what a kernel may have.
type Features uint64

// The features.
const (
	FeatureKill       Features = C.AGENTCG_FEATURE_KILL        // cgroup.kill: Linux 5.14
	FeatureFreeze     Features = C.AGENTCG_FEATURE_FREEZE      // cgroup.freeze: 5.2
	FeatureCloneInto  Features = C.AGENTCG_FEATURE_CLONE_INTO  // clone3(CLONE_INTO_CGROUP) works here
	FeatureMemoryPeak Features = C.AGENTCG_FEATURE_MEMORY_PEAK // memory.peak: 5.19
	FeaturePIDsPeak   Features = C.AGENTCG_FEATURE_PIDS_PEAK   // pids.peak: 6.1
	FeaturePressure   Features = C.AGENTCG_FEATURE_PRESSURE    // cpu.pressure and its like
	FeatureXattr      Features = C.AGENTCG_FEATURE_XATTR       // user.* attributes on cgroups: 5.7
	FeatureNSDelegate Features = C.AGENTCG_FEATURE_NSDELEGATE  // the hierarchy is mounted nsdelegate
	FeatureSystemd    Features = C.AGENTCG_FEATURE_SYSTEMD     // a systemd manager that would serve us was reached
)

// Has tells whether all of these are in the set.
func (f Features) Has(which Features) bool { return f&which == which }

// IsAvailable tells whether our own cgroup is found in a mounted cgroup2 hierarchy. Diagnose says more.
func IsAvailable() bool { return C.agentcg_is_available() != 0 }

// Version is that of the library that is loaded, such as "0.1.0".
func Version() string { return C.GoString(C.agentcg_version_string()) }

// DiscoverParent is where New without a Parent would put its tree: the directory that holds, or would hold,
// synwire/agents. It changes nothing.
func DiscoverParent() (string, error) {
	var e C.agentcg_error
	var r C.int
	path := longText(func(p *C.char, n C.size_t) C.int {
		r = C.agentcg_discover_parent(p, n, &e)
		return r
	})
	if r < 0 {
		return "", failure("discover parent", r, &e)
	}
	return path, nil
}

// Diagnosis is what New would do here and why.
type Diagnosis struct {
	// Obstacle is 0 with a Place: New works.
	Obstacle Reason
	// Place that New would use, or 0.
	Place Place
	// Controllers whose limits would work; MissingControllers are those of cpu, memory and pids that would not.
	Controllers, MissingControllers Controllers
	Features                        Features
	// Report is for people: each place tried, what stopped it, and the commands that mend it.
	Report string
}

// Diagnose finds out what New would do here and why, for a Group without limits, leaving nothing behind.
func Diagnose() (Diagnosis, error) { return DiagnoseNew(Options{}) }

// DiagnoseNew finds out what New would do with these limits and flags. Parent and UUID are of no account.
func DiagnoseNew(o Options) (Diagnosis, error) {
	const op = "diagnose"
	limits, err := o.Limits.toC(op)
	if err != nil {
		return Diagnosis{}, err
	}
	var d C.agentcg_diagnosis
	var e C.agentcg_error
	var r C.int
	report := longText(func(p *C.char, n C.size_t) C.int {
		r = C.agentcg_diagnose_new(&limits, C.size_t(unsafe.Sizeof(limits)), o.flags(), &d, C.size_t(unsafe.Sizeof(d)), p, n, &e)
		return r
	})
	if r < 0 {
		return Diagnosis{}, failure(op, r, &e)
	}
	return Diagnosis{
		Obstacle:           Reason(d.obstacle),
		Place:              Place(d.place),
		Controllers:        Controllers(d.controllers),
		MissingControllers: Controllers(d.missing_controllers),
		Features:           Features(d.features),
		Report:             report,
	}, nil
}

// Agent is one group as List finds it.
type Agent struct {
	UUID string
	// Orphan: no living owner. Populated: it holds living processes.
	Orphan, Populated bool
	// OwnerPID is as its owner saw itself; 0 if not known.
	OwnerPID int
	// Created is zero if not known.
	Created time.Time
}

// List finds the agents under parent, or, if that is empty, in all the places where New may put them; in no order. Of
// another uid's agents the uuid alone is known.
func List(parent string) ([]Agent, error) {
	const op = "list"
	c, err := cString(op, "the parent", parent)
	if err != nil {
		return nil, err
	}
	defer free(c)
	for room := 32; ; {
		entries := make([]C.agentcg_entry, room)
		var e C.agentcg_error
		r := C.agentcg_list(c, &entries[0], C.size_t(unsafe.Sizeof(entries[0])), C.size_t(room), &e)
		if r < 0 {
			return nil, failure(op, r, &e)
		}
		n := int(r)
		if n <= room {
			agents := make([]Agent, n)
			for i := range agents {
				agents[i] = agentFromC(&entries[i])
			}
			return agents, nil
		}
		room = n + n/4 // more are made meanwhile
	}
}

func agentFromC(c *C.agentcg_entry) Agent {
	a := Agent{
		UUID:      text(c.uuid[:]),
		Orphan:    c.orphan != 0,
		Populated: c.populated != 0,
		OwnerPID:  int(c.owner_pid),
	}
	if c.created_unix_ns != 0 {
		a.Created = time.Unix(0, int64(c.created_unix_ns))
	}
	return a
}

// Reap kills and removes every agent under parent, or in all places, whose owner has ended: what a crash left. It
// never touches one whose owner lives. It tells how many were removed at the last, successful, try: those that went
// while others would not die in time are not counted. One try is made even where ctx has ended already.
func Reap(ctx context.Context, parent string) (int, error) {
	const op = "reap"
	c, err := cString(op, "the parent", parent)
	if err != nil {
		return 0, err
	}
	defer free(c)
	for {
		var e C.agentcg_error
		// Nobody waits for it to let go, so a second at once.
		r := C.agentcg_reap(c, slice(ctx, 1000), &e)
		if r >= 0 {
			return int(r), nil
		}
		err := failure(op, r, &e)
		if !timedOut(err) {
			return 0, err
		}
		if ctx.Err() != nil {
			return 0, ended(err, ctx.Err())
		}
	}
}
