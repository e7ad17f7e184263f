// SPDX-License-Identifier: MIT OR Apache-2.0

package agentcg

// #include <agentcg.h>
import "C"

import (
	"context"
	"runtime"
	"strings"
	"unsafe"
)

// Group is one agent's cgroup. The zero value is of no use: New and Open make them.
type Group struct {
	h    *handle
	uuid string
	path string
}

// Options say which group New is to make. The zero value is a good one: a fresh uuid in the best place there is,
// no limits.
type Options struct {
	// Parent is a cgroup directory; empty: a place that the library finds.
	Parent string
	// UUID in text; empty: a fresh random one.
	UUID string
	// Limits to set before the first process.
	Limits Limits
	// Guard has the group killed and removed when this program ends without having done so, however it ends,
	// SIGKILL included. A small process sees to it.
	Guard bool
	// SystemdOnly takes no other place than a scope of systemd's; NoSystemd never asks systemd.
	SystemdOnly, NoSystemd bool
	// KeepCaller forbids to move this process, to make room in a cgroup that was delegated to it.
	KeepCaller bool
}

// New makes a cgroup for one agent, with its limits set, or fails and leaves nothing behind. Destroy ends it.
func New(o Options) (*Group, error) {
	const op = "new"
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
	limits, err := o.Limits.toC(op)
	if err != nil {
		return nil, err
	}
	var cg *C.agentcg
	var e C.agentcg_error
	r := C.agentcg_new(parent, uuid, &limits, C.size_t(unsafe.Sizeof(limits)), o.flags(), &cg, &e)
	if r < 0 {
		return nil, failure(op, r, &e)
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

// OpenOptions say how Open is to open.
type OpenOptions struct {
	// Parent is a cgroup directory; empty: all places in which New could have put it.
	Parent string
	// Own takes over a group whose owner has ended. Without it one is a guest, who may measure, move and kill,
	// but whose end nobody waits for.
	Own bool
}

// Open opens a group that is there already, say after a restart.
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
	var flags C.uint64_t
	if o.Own {
		flags = C.AGENTCG_OPEN_OWN
	}
	var cg *C.agentcg
	var e C.agentcg_error
	r := C.agentcg_open(parent, name, flags, &cg, &e)
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

// parent is the directory that New would need to be given to make another one beside it.
func (g *Group) parent() string {
	return strings.TrimSuffix(g.path, "/synwire/agents/"+g.uuid)
}

// longText asks for a text as snprintf(3) gives it, again where it did not fit.
func longText(ask func(*C.char, C.size_t) C.int) string {
	buf := make([]byte, 512)
	for {
		n := int(ask((*C.char)(unsafe.Pointer(&buf[0])), C.size_t(len(buf))))
		if n < 0 {
			return ""
		}
		if n < len(buf) {
			return string(buf[:n])
		}
		buf = make([]byte, n+1)
	}
}

// UUID is its name. It is known after Close too.
func (g *Group) UUID() string {
	if g == nil {
		return ""
	}
	return g.uuid
}

// Path is its directory, absolute, as mounted here. It is known after Close too.
func (g *Group) Path() string {
	if g == nil {
		return ""
	}
	return g.path
}

// String is Path.
func (g *Group) String() string { return g.Path() }

// FD is a descriptor of its directory, or -1 if it is closed. It belongs to the Group: do not close it, and use it
// only while the Group is open, with a runtime.KeepAlive(g) behind. Start is safer than SysProcAttr.CgroupFD.
func (g *Group) FD() int {
	fd, err := g.do("fd", func(cg *C.agentcg, _ *C.agentcg_error) C.int { return C.agentcg_fd(cg) })
	if err != nil {
		return -1
	}
	return fd
}

// Info has facts about a Group.
type Info struct {
	// ID is the kernel's cgroup id.
	ID uint64
	// Controllers are those in force in it.
	Controllers Controllers
	Place       Place
	// Owned: this Group is its owner.
	Owned bool
	// Guarded: it is killed and removed when this program ends.
	Guarded bool
}

// Info tells facts about it.
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
	}, nil
}

// Close lets go of the group and leaves it and its processes be: without an owner from now on, so Open can take it
// over, and Reap ends it. A second Close, or one after Destroy, gives ErrClosed.
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

// Destroy kills all, waits until nothing lives, takes the last measurements, removes the group and every cgroup that
// the agent made inside, and closes the Group. On failure the Group is still open and nothing is lost: try again. It
// is no error if somebody else has removed it; nothing could be measured then.
func (g *Group) Destroy(ctx context.Context) (Stats, error) { return g.destroy(ctx, 0) }

// DestroyIfEmpty is Destroy for a group in which nothing lives any more, else EBUSY.
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
