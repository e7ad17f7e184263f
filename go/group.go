// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <stdlib.h>
// #include <agentcg.h>
import "C"

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"unsafe"
)

// Group is the cgroup of one agent. Use New or Open to get one: the methods of the zero value return EINVAL.
type Group struct {
	h    *handle
	uuid string
	path string
}

// Options are the options of New. The zero value makes a group with a random uuid and without limits, in the best place
// that the library finds.
type Options struct {
	// Parent is the place, a cgroup directory. If it is empty, the library finds a place.
	Parent string
	// UUID is the uuid as text. If it is empty, the group gets a random one.
	UUID string
	// Limits are set before the first process starts.
	Limits Limits
	// Label is a text for people: at most 63 bytes of UTF-8 without control characters. SetLabel changes it.
	Label string
	// Tag is the name of the program that owns the agent, for ListTagged, OpenOptions.Tag and ReapTagged: at most 63
	// characters, which are ASCII letters, digits and any of ._-:/. It cannot be changed. Label and Tag need Linux 5.7.
	Tag string
	// Guard makes the process agentcg-guard kill and remove the group when this program ends without having done so,
	// however it ends (SIGKILL included).
	Guard bool
	// SystemdOnly uses no place but a systemd scope. NoSystemd never asks systemd.
	SystemdOnly, NoSystemd bool
	// KeepCaller forbids moving this process to make room in a cgroup that was delegated to it.
	KeepCaller bool
}

// New makes the cgroup of one agent and sets its limits. If it fails, it leaves nothing behind. Destroy ends the agent.
func New(o Options) (*Group, error) {
	const op = "new"
	return newGroup(op, o, func(options *C.agentcg_new_options, size C.size_t, cg **C.agentcg) error {
		var e C.agentcg_error
		if r := C.agentcg_new_with(options, size, cg, &e); r < 0 {
			return failure(op, r, &e)
		}
		return nil
	})
}

// NewChild makes a group inside this one, which becomes a session. The limits of a session bound all processes in it, and
// its methods are about all of them: Destroy ends the children, too. The session's own processes are moved to a cgroup of
// their own inside it. Of the options, Parent, SystemdOnly, NoSystemd and KeepCaller do not apply: EINVAL.
func (g *Group) NewChild(o Options) (*Group, error) {
	const op = "new child"
	// A Start in progress would fail with EBUSY.
	if g != nil && g.h != nil && !g.isSession() {
		g.h.starting.Lock()
		defer g.h.starting.Unlock()
	}
	return newGroup(op, o, func(options *C.agentcg_new_options, size C.size_t, cg **C.agentcg) error {
		_, err := g.do(op, func(session *C.agentcg, e *C.agentcg_error) C.int {
			return C.agentcg_new_in(session, options, size, cg, e)
		})
		return err
	})
}

// newGroup converts the options and passes them to create.
func newGroup(op string, o Options, create func(*C.agentcg_new_options, C.size_t, **C.agentcg) error) (*Group, error) {
	parent, err := cString(op, "Parent", o.Parent)
	if err != nil {
		return nil, err
	}
	defer free(parent)
	uuid, err := cString(op, "UUID", o.UUID)
	if err != nil {
		return nil, err
	}
	defer free(uuid)
	label, err := cString(op, "Label", o.Label)
	if err != nil {
		return nil, err
	}
	defer free(label)
	tag, err := cString(op, "Tag", o.Tag)
	if err != nil {
		return nil, err
	}
	defer free(tag)
	limits, err := o.Limits.toC(op)
	if err != nil {
		return nil, err
	}
	// A struct for C must not refer to memory of Go.
	copied := (*C.agentcg_limits)(C.malloc(C.size_t(unsafe.Sizeof(limits))))
	defer freeC(unsafe.Pointer(copied))
	*copied = limits
	options := C.agentcg_new_options{
		parent: parent, uuid: uuid, limits: copied, limits_size: C.size_t(unsafe.Sizeof(limits)), flags: o.flags(),
		label: label, tag: tag,
	}
	var cg *C.agentcg
	if err := create(&options, C.size_t(unsafe.Sizeof(options)), &cg); err != nil {
		return nil, err
	}
	return made(cg), nil
}

func (o Options) flags() C.uint64_t {
	var flags C.uint64_t
	for _, flag := range []struct {
		on  bool
		bit C.uint64_t
	}{
		{o.Guard, C.AGENTCG_NEW_GUARD},
		{o.SystemdOnly, C.AGENTCG_NEW_SYSTEMD},
		{o.NoSystemd, C.AGENTCG_NEW_NO_SYSTEMD},
		{o.KeepCaller, C.AGENTCG_NEW_KEEP_CALLER},
	} {
		if flag.on {
			flags |= flag.bit
		}
	}
	return flags
}

// OpenOptions are the options of Open.
type OpenOptions struct {
	// Parent is the place, a cgroup directory. If it is empty, Open searches all places that New may have used.
	Parent string
	// Own makes this process the owner of an orphan. Without it the Group is a non-owner's: it can measure, move and
	// kill, but does not keep the group from being reaped.
	Own bool
	// Tag, if it is not empty, is the tag that the agent must have. An agent of another tag, or without one, is ENOENT.
	Tag string
}

// Open opens an existing group, for example after a restart.
func Open(uuid string, o OpenOptions) (*Group, error) {
	const op = "open"
	parent, err := cString(op, "Parent", o.Parent)
	if err != nil {
		return nil, err
	}
	defer free(parent)
	name, err := cString(op, "the uuid", uuid)
	if err != nil {
		return nil, err
	}
	defer free(name)
	tag, err := cString(op, "Tag", o.Tag)
	if err != nil {
		return nil, err
	}
	defer free(tag)
	var flags C.uint64_t
	if o.Own {
		flags = C.AGENTCG_OPEN_OWN
	}
	var cg *C.agentcg
	var e C.agentcg_error
	var r C.int
	if tag == nil {
		r = C.agentcg_open(parent, name, flags, &cg, &e)
	} else {
		r = C.agentcg_open_tagged(parent, name, tag, flags, &cg, &e)
	}
	if r < 0 {
		return nil, failure(op, r, &e)
	}
	return made(cg), nil
}

func made(cg *C.agentcg) *Group {
	g := &Group{
		h:    &handle{cg: cg},
		uuid: longText(func(p *C.char, n C.size_t) C.int { return C.agentcg_uuid(cg, p, n) }),
		path: longText(func(p *C.char, n C.size_t) C.int { return C.agentcg_path(cg, p, n) }),
	}
	runtime.SetFinalizer(g, func(g *Group) { g.h.close() })
	return g
}

// parent returns the place of the group. New makes another group beside this one if it gets it as Parent.
func (g *Group) parent() string {
	return strings.TrimSuffix(strings.TrimSuffix(g.path, "/"+g.uuid), "/synwire/agents")
}

// place returns the place in which the group is, or the session of which it is a child.
func (g *Group) place() string {
	if i := strings.LastIndex(g.path, "/synwire/agents/"); i >= 0 {
		return g.path[:i]
	}
	return g.path
}

// isSession returns true if the group has the cgroup that takes the processes of a session.
func (g *Group) isSession() bool { return !gone(g.Path() + "/own") }

// gone returns true if there is no such directory.
func gone(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

// longText calls a function that returns text as snprintf(3) does, and calls it again if the text did not fit.
func longText(get func(*C.char, C.size_t) C.int) string {
	buf := make([]byte, 512)
	for {
		n := int(get((*C.char)(unsafe.Pointer(&buf[0])), C.size_t(len(buf))))
		if n < 0 {
			return ""
		}
		if n < len(buf) {
			return string(buf[:n])
		}
		buf = make([]byte, n+1)
	}
}

// UUID returns the uuid of the agent, also after Close.
func (g *Group) UUID() string {
	if g == nil {
		return ""
	}
	return g.uuid
}

// Path returns the absolute path of the group's directory, as mounted in this mount namespace, also after Close.
func (g *Group) Path() string {
	if g == nil {
		return ""
	}
	return g.path
}

// String returns the same as Path.
func (g *Group) String() string { return g.Path() }

// FD returns a descriptor of the group's directory, or -1 if the Group is closed. It belongs to the Group: do not close
// it, and use it only while the Group is open, with a runtime.KeepAlive(g) after the use. Start is safer than
// SysProcAttr.CgroupFD.
func (g *Group) FD() int {
	fd, err := g.do("fd", func(cg *C.agentcg, _ *C.agentcg_error) C.int { return C.agentcg_fd(cg) })
	if err != nil {
		return -1
	}
	return fd
}

// Info contains facts about a Group.
type Info struct {
	// ID is the kernel's id of the cgroup.
	ID uint64
	// Controllers are those that are in force in the group.
	Controllers Controllers
	// Place is the kind of the place in which the group was made.
	Place Place
	// Owned is true if this process owns the agent through this Group.
	Owned bool
	// Guarded is true if the guard kills and removes the group when this program ends. It is false while the guard is
	// stopped.
	Guarded bool
	// Label and Tag are those of Options and SetLabel, or those that an adopted agent has. If this Group is a
	// non-owner's, they are read from the group, where an agent can change both.
	Label, Tag string
	// Session is the uuid of the session of which the agent is a child. It is empty if the agent is no child.
	Session string
}

// Info returns facts about the Group.
func (g *Group) Info() (Info, error) {
	var info C.agentcg_info
	_, err := g.do("info", func(cg *C.agentcg, e *C.agentcg_error) C.int {
		return C.agentcg_get_info(cg, &info, C.size_t(unsafe.Sizeof(info)), e)
	})
	if err != nil {
		return Info{}, err
	}
	return Info{
		ID:          uint64(info.id),
		Controllers: Controllers(info.controllers),
		Place:       Place(info.place),
		Owned:       info.owned != 0,
		Guarded:     info.guarded != 0,
		Label:       text(info.label[:]),
		Tag:         text(info.tag[:]),
		Session:     text(info.session[:]),
	}, nil
}

// SetLabel changes the label of the agent. An empty label removes it. Only the owner may change it: EPERM.
func (g *Group) SetLabel(label string) error {
	const op = "set label"
	c, err := cString(op, "the label", label)
	if err != nil {
		return err
	}
	defer free(c)
	_, err = g.do(op, func(cg *C.agentcg, e *C.agentcg_error) C.int { return C.agentcg_set_label(cg, c, e) })
	return err
}

// Close frees the handle, and leaves the group and its processes as they are. If the Group was the owner's, the agent
// is an orphan from then on: Open can adopt it, and Reap ends it. A second Close, or one after Destroy, returns
// ErrClosed.
func (g *Group) Close() error {
	const op = "close"
	if g == nil || g.h == nil {
		return invalid(op, "the Group is nil, or was not made by New or Open")
	}
	runtime.SetFinalizer(g, nil)
	if !g.h.close() {
		return closedError(op)
	}
	return nil
}

// Destroy kills all processes, waits until they are dead, takes the last measurements, removes the group and every
// cgroup that the agent made inside it, and closes the Group. If it fails, the Group stays open and nothing is lost:
// call it again. It is not an error if another program has removed the group; then there are no measurements.
func (g *Group) Destroy(ctx context.Context) (Stats, error) { return g.destroy(ctx, 0) }

// DestroyIfEmpty is Destroy without the kill. If a process lives in the group, it returns EBUSY.
func (g *Group) DestroyIfEmpty(ctx context.Context) (Stats, error) {
	return g.destroy(ctx, C.AGENTCG_DESTROY_IF_EMPTY)
}

func (g *Group) destroy(ctx context.Context, flags C.uint64_t) (Stats, error) {
	const op = "destroy"
	if g == nil || g.h == nil {
		return Stats{}, invalid(op, "the Group is nil, or was not made by New or Open")
	}
	var final Stats
	_, err := g.wait(ctx, op, growing, func(ms C.int) (n int, err error) {
		final, err = g.h.destroy(op, flags, ms)
		return 0, err
	})
	if err != nil {
		return Stats{}, err
	}
	runtime.SetFinalizer(g, nil)
	return final, nil
}

func (h *handle) destroy(op string, flags C.uint64_t, timeoutMS C.int) (Stats, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cg == nil {
		return Stats{}, closedError(op)
	}
	var final C.agentcg_stats
	var e C.agentcg_error
	r := C.agentcg_destroy(h.cg, flags, timeoutMS, &final, C.size_t(unsafe.Sizeof(final)), &e)
	if r < 0 {
		return Stats{}, failure(op, r, &e)
	}
	h.cg = nil
	return statsFromC(&final), nil
}
