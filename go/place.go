// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import (
	"context"
	"math"
	"time"
	"unsafe"
)

// Controllers is a set of cgroup controllers.
type Controllers uint64

// The controllers that the library knows.
const (
	ControllerCPU     Controllers = C.AGENTCG_CONTROLLER_CPU
	ControllerMemory  Controllers = C.AGENTCG_CONTROLLER_MEMORY
	ControllerPIDs    Controllers = C.AGENTCG_CONTROLLER_PIDS
	ControllerIO      Controllers = C.AGENTCG_CONTROLLER_IO
	ControllerCPUSet  Controllers = C.AGENTCG_CONTROLLER_CPUSET
	ControllerHugeTLB Controllers = C.AGENTCG_CONTROLLER_HUGETLB
)

// Has returns true if all of these are in the set.
func (c Controllers) Has(which Controllers) bool { return c&which == which }

// Place is the kind of place in which groups are made. 0 means none.
type Place uint32

// The kinds of places.
const (
	PlaceGiven     Place = C.AGENTCG_PLACE_GIVEN     // The caller named the place.
	PlaceDelegated Place = C.AGENTCG_PLACE_DELEGATED // It was delegated: a unit or container (user.delegate).
	PlaceSibling   Place = C.AGENTCG_PLACE_SIBLING   // It is the parent of this process's own cgroup.
	PlaceRoot      Place = C.AGENTCG_PLACE_ROOT      // It is the real root or the root of a cgroup namespace.
	PlaceSystemd   Place = C.AGENTCG_PLACE_SYSTEMD   // It is a transient scope that systemd made for this process.
)

// Features is a set of features of the kernel and the system.
type Features uint64

// The features that Diagnose finds.
const (
	FeatureKill       Features = C.AGENTCG_FEATURE_KILL        // cgroup.kill is available (Linux 5.14).
	FeatureFreeze     Features = C.AGENTCG_FEATURE_FREEZE      // cgroup.freeze is available (Linux 5.2).
	FeatureCloneInto  Features = C.AGENTCG_FEATURE_CLONE_INTO  // clone3(CLONE_INTO_CGROUP) works. It was tried.
	FeatureMemoryPeak Features = C.AGENTCG_FEATURE_MEMORY_PEAK // memory.peak is available (Linux 5.19).
	FeaturePIDsPeak   Features = C.AGENTCG_FEATURE_PIDS_PEAK   // pids.peak is available (Linux 6.1).
	FeaturePressure   Features = C.AGENTCG_FEATURE_PRESSURE    // cpu.pressure, memory.pressure and io.pressure exist.
	FeatureXattr      Features = C.AGENTCG_FEATURE_XATTR       // cgroups take user.* attributes (Linux 5.7).
	FeatureNSDelegate Features = C.AGENTCG_FEATURE_NSDELEGATE  // The hierarchy is mounted nsdelegate.
	FeatureSystemd    Features = C.AGENTCG_FEATURE_SYSTEMD     // A systemd manager that serves this process was reached.
)

// Has returns true if all of these are in the set.
func (f Features) Has(which Features) bool { return f&which == which }

// IsAvailable returns true if the cgroup of this process is in a mounted cgroup2 hierarchy. Diagnose finds out more.
func IsAvailable() bool { return C.agentcg_is_available() != 0 }

// Version returns the version of the loaded library, such as "0.1.0".
func Version() string { return C.GoString(C.agentcg_version_string()) }

// DiscoverParent returns the place that New without a Parent would use: the directory that holds, or would hold,
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

// Diagnosis is what New would do in this process, and why.
type Diagnosis struct {
	// Obstacle is 0 if New works in Place. If both are 0, the cause is not cgroups; see Report.
	Obstacle Reason
	// Place is the kind of place that New would use, or 0.
	Place Place
	// Controllers are those whose limits would work. MissingControllers are those of cpu, memory and pids whose limits
	// would not work.
	Controllers, MissingControllers Controllers
	// Features are the features that were found.
	Features Features
	// Report is a text for people: each place that was tried, what prevents its use, and the commands that remedy it.
	Report string
}

// Diagnose finds out what New would do for a Group without limits, and why. It leaves nothing behind.
func Diagnose() (Diagnosis, error) { return DiagnoseNew(Options{}) }

// DiagnoseNew finds out what New would do with these limits and flags. Parent and UUID are ignored.
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

// Agent is an agent, as List finds it.
type Agent struct {
	// UUID is the uuid of the agent.
	UUID string
	// Orphan is true if the agent has no living owner. Populated is true if the group holds living processes.
	Orphan, Populated bool
	// OwnerPID is the pid of the owner in its own pid namespace, or 0 if unknown. Like Created it is for people: an
	// agent can change both.
	OwnerPID int
	// Created is the time when the agent was made, or zero if unknown.
	Created time.Time
	// Label and Tag are empty if there is none or they are unknown. An agent can change both.
	Label, Tag string
	// Session is the uuid of the session of which the agent is a child. It is empty if the agent is no child.
	Session string
}

// List returns the agents under parent, or, if that is empty, in all places in which New may have made them, and the
// children of those that are sessions, in no particular order. parent can be the path of a session. Of another uid's agents only the uuid is known.
func List(parent string) ([]Agent, error) {
	return list("list", parent, func(c *C.char, entries *C.agentcg_entry, size, room C.size_t, e *C.agentcg_error) C.int {
		return C.agentcg_list(c, entries, size, room, e)
	})
}

// ListTagged returns the agents that have this tag, as List returns all. Those of another uid are left out, because
// their tags are unknown.
func ListTagged(parent, tag string) ([]Agent, error) {
	const op = "list tagged"
	t, err := cString(op, "the tag", tag)
	if err != nil {
		return nil, err
	}
	defer free(t)
	return list(op, parent, func(c *C.char, entries *C.agentcg_entry, size, room C.size_t, e *C.agentcg_error) C.int {
		return C.agentcg_list_tagged(c, t, entries, size, room, e)
	})
}

func list(op, parent string,
	get func(c *C.char, entries *C.agentcg_entry, size, room C.size_t, e *C.agentcg_error) C.int) ([]Agent, error) {
	c, err := cString(op, "the parent", parent)
	if err != nil {
		return nil, err
	}
	defer free(c)
	for room := 32; ; {
		entries := make([]C.agentcg_entry, room)
		var e C.agentcg_error
		r := get(c, &entries[0], C.size_t(unsafe.Sizeof(entries[0])), C.size_t(room), &e)
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
		room = n + n/4 // more agents may be made before the next call
	}
}

func agentFromC(c *C.agentcg_entry) Agent {
	a := Agent{
		UUID:      text(c.uuid[:]),
		Orphan:    c.orphan != 0,
		Populated: c.populated != 0,
		OwnerPID:  int(c.owner_pid),
		Label:     text(c.label[:]),
		Tag:       text(c.tag[:]),
		Session:   text(c.session[:]),
	}
	if c.created_unix_ns != 0 {
		a.Created = time.Unix(0, int64(c.created_unix_ns))
	}
	return a
}

// Found is the agent of a process, as Find finds it.
type Found struct {
	// UUID is the uuid of the agent.
	UUID string
	// Place is the path of the agent's place, for OpenOptions.Parent. It is empty, and the owner unknown, if no mount of
	// this program shows the group.
	Place string
	// Below is true if the process is in a cgroup below the group: neither in the group itself nor, in a session, in the
	// cgroup of its own processes.
	Below bool
	// Child is the uuid of the child in which the process is, if the agent is a session. An agent that is not contained can
	// make cgroups with such names in its own group: Open shows which belong to this program.
	Child string
	// OwnerPID is the pid of the owner in its own pid namespace, or 0 if unknown. Like Created it is for people: an
	// agent can change both.
	OwnerPID int
	// Created is the time when the agent was made, or zero if unknown.
	Created time.Time
	// Label and Tag are empty if there is none or they are unknown. An agent can change both.
	Label, Tag string
}

// Find finds the agent in which a process is. If agents are inside one another, it is the outermost one in which this
// program is not, so that an agent cannot pass for another. Find returns ENOENT if the process is in no agent, and ESRCH
// if there is no such process. Use FindPidfd if the pid may have been reused.
func Find(pid int) (Found, error) {
	const op = "find"
	if err := checkPID(op, pid); err != nil {
		return Found{}, err
	}
	return found(op, func(c *C.agentcg_found, place *C.char, n C.size_t, e *C.agentcg_error) C.int {
		return C.agentcg_find(C.pid_t(pid), c, C.size_t(unsafe.Sizeof(*c)), place, n, e)
	})
}

// FindPidfd is Find by a pidfd, such as that of the other end of a socket (SO_PEERPIDFD). From Linux 6.15 on it also finds
// the agent of a process that has ended and was waited for, as long as its cgroup exists.
func FindPidfd(pidfd int) (Found, error) {
	const op = "find pidfd"
	if pidfd < 0 || pidfd > math.MaxInt32 {
		return Found{}, invalid(op, "the pidfd is not a descriptor")
	}
	return found(op, func(c *C.agentcg_found, place *C.char, n C.size_t, e *C.agentcg_error) C.int {
		return C.agentcg_find_pidfd(C.int(pidfd), c, C.size_t(unsafe.Sizeof(*c)), place, n, e)
	})
}

func found(op string, find func(*C.agentcg_found, *C.char, C.size_t, *C.agentcg_error) C.int) (Found, error) {
	var c C.agentcg_found
	var e C.agentcg_error
	r := C.int(0)
	place := longText(func(p *C.char, n C.size_t) C.int {
		r = find(&c, p, n, &e)
		return r
	})
	if r < 0 {
		return Found{}, failure(op, r, &e)
	}
	f := Found{
		UUID:     text(c.uuid[:]),
		Place:    place,
		Below:    c.below != 0,
		Child:    text(c.child[:]),
		OwnerPID: int(c.owner_pid),
		Label:    text(c.label[:]),
		Tag:      text(c.tag[:]),
	}
	if c.created_unix_ns != 0 {
		f.Created = time.Unix(0, int64(c.created_unix_ns))
	}
	return f, nil
}

// Reap kills and removes the orphans under parent, or, if that is empty, in all places: what a crashed program has
// left. An agent whose owner is alive is never touched, except that the children of an orphaned session end with it. The
// orphans of all programs of this uid are meant: ReapTagged leaves those alone that another program may adopt. Reap returns
// the number of agents that its last attempt removed; those that earlier attempts removed, while others did not die in
// time, are not counted. One attempt is made even if ctx has ended.
func Reap(ctx context.Context, parent string) (int, error) {
	return reap(ctx, "reap", parent, func(c *C.char, ms C.int, e *C.agentcg_error) C.int { return C.agentcg_reap(c, ms, e) })
}

// ReapTagged kills and removes the orphans that have this tag, as Reap does with all. An orphan of another tag, without
// one, or whose tag cannot be read, is never touched. The exception is an agent that was only half made, which has no
// process.
func ReapTagged(ctx context.Context, parent, tag string) (int, error) {
	const op = "reap tagged"
	t, err := cString(op, "the tag", tag)
	if err != nil {
		return 0, err
	}
	defer free(t)
	return reap(ctx, op, parent, func(c *C.char, ms C.int, e *C.agentcg_error) C.int {
		return C.agentcg_reap_tagged(c, t, ms, e)
	})
}

func reap(ctx context.Context, op, parent string, attempt func(*C.char, C.int, *C.agentcg_error) C.int) (int, error) {
	c, err := cString(op, "the parent", parent)
	if err != nil {
		return 0, err
	}
	defer free(c)
	for {
		var e C.agentcg_error
		// No other call waits for this one, so each attempt may take a second.
		r := attempt(c, slice(ctx, 1000), &e)
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
