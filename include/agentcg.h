/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * agentcg.h - one cgroup v2 per agent: limit it, measure it, kill all of it.
 *
 * Conventions, which hold for every function unless it says otherwise:
 *
 *  - Functions that can fail return int: 0 or more on success, a negative
 *    errno value (such as -ENOENT) on failure. Each lists the codes that it can
 *    return. Besides those, every function that can fail may return -EMFILE and
 *    -ENFILE (the process, or the system, has no descriptor left), -ENOMEM, and
 *    -EIO: an error of the kernel that the function does not list, which the
 *    message names. -ENOTRECOVERABLE means a bug in the library: it caught a
 *    panic. errno itself is not part of this interface and may change.
 *  - Arguments named ret_... are written on success only, reterr on failure
 *    only. reterr may be NULL; it is the caller's memory, nothing to free.
 *  - A NULL handle, a NULL pointer that must not be one, an unknown flag bit
 *    and a negative timeout other than AGENTCG_FOREVER give -EINVAL.
 *  - Structs are passed with their size and only ever grow at the end: an
 *    older program works with a newer library. A newer program works with an
 *    older one unless it sets a field that one does not know: -E2BIG.
 *  - Strings are NUL-terminated bytes. Strings out follow snprintf(3): cut to
 *    fit, always terminated, the full length returned.
 *  - Every file descriptor is close-on-exec, and none is 0, 1 or 2. Where the
 *    caller has closed one of these, it may look open, for nothing but O_PATH,
 *    while a function runs.
 *  - A handle may be used from several threads at once, but agentcg_destroy()
 *    and agentcg_free() must not run beside another call on the same handle.
 *    No threads, no signal handlers, no SIGCHLD, no logging, no environment
 *    variables (but PATH where agentcg_spawn() is to search it), and no child of
 *    the caller is ever waited for. A handle works in a forked child, where
 *    freeing it gives up nothing the parent holds. No function is a
 *    cancellation point.
 *  - Unless marked async-signal-safe, a function may allocate memory, by malloc(3).
 *    While malloc fails it succeeds or fails with -ENOMEM, and can be called again.
 *    It uses less than 32 KiB of stack, and more only where systemd is asked.
 *
 * What it is not: a security boundary between processes of one uid. An agent
 * with the caller's uid can undo its limits, unless AGENTCG_SPAWN_CONTAIN (or
 * the sandbox around it) keeps it inside.
 */
#ifndef AGENTCG_H
#define AGENTCG_H

/* Made by cbindgen from src/ffi/: edit there, then run `make header`. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define AGENTCG_VERSION_MAJOR 0
#define AGENTCG_VERSION_MINOR 1
#define AGENTCG_VERSION_PATCH 0
#define AGENTCG_VERSION_NUMBER \
	(AGENTCG_VERSION_MAJOR * 1000000 + AGENTCG_VERSION_MINOR * 1000 + AGENTCG_VERSION_PATCH)

#if defined(__GNUC__)
# define AGENTCG_MUST_CHECK __attribute__((warn_unused_result))
#else
# define AGENTCG_MUST_CHECK
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* For a timeout: wait as long as it takes. */
#define AGENTCG_FOREVER (-1)
/* For a limit: none. The kernel's "max". */
#define AGENTCG_UNLIMITED UINT64_MAX
/* Bytes for a uuid as text, NUL included. */
#define AGENTCG_UUID_SIZE 37
/* For a descriptor in agentcg_spawn_options: the caller's own, or /dev/null. */
#define AGENTCG_INHERIT (-1)
#define AGENTCG_DEVNULL (-2)
/* agentcg_spawn_options options = AGENTCG_SPAWN_OPTIONS_INIT; all of it is the caller's own. */
#define AGENTCG_SPAWN_OPTIONS_INIT \
	{ 0, AGENTCG_INHERIT, AGENTCG_INHERIT, AGENTCG_INHERIT, AGENTCG_INHERIT }

typedef struct agentcg agentcg;
typedef struct agentcg_error agentcg_error;
typedef struct agentcg_diagnosis agentcg_diagnosis;
typedef struct agentcg_limits agentcg_limits;
typedef struct agentcg_entry agentcg_entry;
typedef struct agentcg_info agentcg_info;
typedef struct agentcg_spawn_options agentcg_spawn_options;
typedef struct agentcg_stats agentcg_stats;

/* ---- errors -------------------------------------------------------------- */

/* Reasons: agentcg_error.reason. */
#define AGENTCG_WHY_NO_CGROUP2        1u   /* No cgroup2 mount holds our own cgroup. */
#define AGENTCG_WHY_OUTSIDE_NAMESPACE 2u   /* Our cgroup is outside our cgroup namespace. */
#define AGENTCG_WHY_READ_ONLY         3u   /* cgroupfs is mounted read-only (containers). */
/* No directory that we may create in, or no right to migrate. */
#define AGENTCG_WHY_NOT_DELEGATED     4u
#define AGENTCG_WHY_NO_CONTROLLER     5u   /* A limit needs a controller that is not to be had. */
#define AGENTCG_WHY_POPULATED         6u   /* The parent holds processes. */
#define AGENTCG_WHY_THREADED          7u   /* A threaded or invalid domain. */
#define AGENTCG_WHY_GONE              8u   /* The cgroup was removed under us. */
#define AGENTCG_WHY_NESTING_LIMIT     9u   /* cgroup.max.depth / max.descendants of an ancestor. */
#define AGENTCG_WHY_NO_SYSTEMD        10u  /* systemd was needed and could not be reached. */
#define AGENTCG_WHY_SYSTEMD_REFUSED   11u  /* systemd said no; message carries its words. */
/* The caller itself is in the cgroup that it wants killed. */
#define AGENTCG_WHY_CALLER_INSIDE     12u
/* User namespaces are forbidden, or the hierarchy is not mounted nsdelegate. */
#define AGENTCG_WHY_NOT_CONTAINED     13u
/* The guard's program is missing, or is not the one of this library. */
#define AGENTCG_WHY_NO_GUARD          14u

/* What went wrong, in words for people and logs. 256 bytes, for ever. */
struct agentcg_error {
	int32_t code;       /* the negative errno value that was returned */
	uint32_t reason;    /* AGENTCG_WHY_..., or 0: why, where errno is too coarse */
	char file[64];      /* the interface file at fault ("memory.max"), or "" */
	char message[184];  /* one line: what failed, on which path, and what to do */
};

/* ---- handles ------------------------------------------------------------- */

/* AGENTCG_VERSION_NUMBER of the library that is loaded, which may be newer
 * than the header that the program was built with. */
uint32_t agentcg_version_number(void);

/* The same as text, such as "0.1.0". */
const char *agentcg_version_string(void);

/* ---- 1. would it work here? ---------------------------------------------- */

#define AGENTCG_CONTROLLER_CPU     (1ull << 0)
#define AGENTCG_CONTROLLER_MEMORY  (1ull << 1)
#define AGENTCG_CONTROLLER_PIDS    (1ull << 2)
#define AGENTCG_CONTROLLER_IO      (1ull << 3)
#define AGENTCG_CONTROLLER_CPUSET  (1ull << 4)
#define AGENTCG_CONTROLLER_HUGETLB (1ull << 5)
#define AGENTCG_PLACE_GIVEN        1u  /* The caller named the parent. */
#define AGENTCG_PLACE_DELEGATED    2u  /* A unit or container delegated to us (user.delegate). */
#define AGENTCG_PLACE_SIBLING      3u  /* The parent of our own cgroup. */
#define AGENTCG_PLACE_ROOT         4u  /* The real root or a namespace root. */
#define AGENTCG_PLACE_SYSTEMD      5u  /* A transient scope that systemd made for us. */

#define AGENTCG_FEATURE_KILL        (1ull << 0)  /* cgroup.kill (5.14) */
#define AGENTCG_FEATURE_FREEZE      (1ull << 1)  /* cgroup.freeze (5.2) */
#define AGENTCG_FEATURE_CLONE_INTO  (1ull << 2)  /* clone3(CLONE_INTO_CGROUP) works here (tried) */
#define AGENTCG_FEATURE_MEMORY_PEAK (1ull << 3)  /* memory.peak (5.19) */
#define AGENTCG_FEATURE_PIDS_PEAK   (1ull << 4)  /* pids.peak (6.1) */
#define AGENTCG_FEATURE_PRESSURE    (1ull << 5)  /* cpu.pressure and its like */
#define AGENTCG_FEATURE_XATTR       (1ull << 6)  /* user.* attributes on cgroups (5.7) */
#define AGENTCG_FEATURE_NSDELEGATE  (1ull << 7)  /* the hierarchy is mounted nsdelegate */
#define AGENTCG_FEATURE_SYSTEMD     (1ull << 8)  /* a systemd manager that would serve us was reached */

struct agentcg_diagnosis {
	uint32_t obstacle;             /* 0 with a place: agentcg_new() works; else AGENTCG_WHY_... */
	uint32_t place;                /* AGENTCG_PLACE_... it would use, 0 if none */
	uint64_t controllers;          /* limits that would work: AGENTCG_CONTROLLER_... */
	uint64_t missing_controllers;  /* of cpu, memory and pids, those that would not */
	uint64_t features;             /* AGENTCG_FEATURE_... */
};

/* 1 if the caller's own cgroup is found in a mounted cgroup2 hierarchy, be it
 * at /sys/fs/cgroup, at /sys/fs/cgroup/unified or elsewhere; else 0. */
int agentcg_is_available(void);

/* Where agentcg_new(NULL, ...) would put its tree: the directory that holds,
 * or would hold, "synwire/agents". Changes nothing.
 *
 * -EINVAL, and -EACCES, -EBUSY, -EMFILE, -ENFILE, -ENODEV, -ENOMEM, -EOPNOTSUPP,
 * -EROFS as agentcg_new() would. */
AGENTCG_MUST_CHECK int agentcg_discover_parent(char *buf, size_t size, agentcg_error *reterr);

/* Find out what agentcg_new() would do here and why, leaving nothing behind.
 * text, which may be NULL with text_size 0, gets a report for people: each
 * place tried, what stopped it, and the commands that mend it (the systemd
 * drop-in, wsl.conf, the container flag). Neither an obstacle nor a place: what
 * stopped it has to do with no place, such as want of descriptors; see text.
 * Where a place is there an agent is made in it for a moment.
 * Returns the text's full length; -EINVAL, -ENOMEM. */
AGENTCG_MUST_CHECK
int agentcg_diagnose(agentcg_diagnosis *ret_diagnosis,
		     size_t size,
		     char *text,
		     size_t text_size);

/* The same for agentcg_new(NULL, NULL, limits, limits_size, flags, ...): the first
 * place is told in which an agent with these limits can be made. Where a place is
 * there they are set in it for a moment. limits may be NULL with limits_size 0;
 * without them, and with flags 0, it is agentcg_diagnose().
 *
 * Returns the text's full length; -E2BIG, -EINVAL, -ENOMEM, -ERANGE (a limit out of
 * range). */
AGENTCG_MUST_CHECK
int agentcg_diagnose_new(const agentcg_limits *limits,
			 size_t limits_size,
			 uint64_t flags,
			 agentcg_diagnosis *ret_diagnosis,
			 size_t size,
			 char *text,
			 size_t text_size,
			 agentcg_error *reterr);

/* ---- 2. limits ----------------------------------------------------------- */

#define AGENTCG_LIMIT_MEMORY_MAX      (1ull << 0)
#define AGENTCG_LIMIT_MEMORY_HIGH     (1ull << 1)
#define AGENTCG_LIMIT_MEMORY_LOW      (1ull << 2)
#define AGENTCG_LIMIT_MEMORY_MIN      (1ull << 3)
#define AGENTCG_LIMIT_SWAP_MAX        (1ull << 4)
#define AGENTCG_LIMIT_OOM_GROUP       (1ull << 5)
#define AGENTCG_LIMIT_CPU_MAX         (1ull << 6)
#define AGENTCG_LIMIT_CPU_BURST       (1ull << 7)
#define AGENTCG_LIMIT_CPU_WEIGHT      (1ull << 8)
#define AGENTCG_LIMIT_CPU_IDLE        (1ull << 9)
#define AGENTCG_LIMIT_PIDS_MAX        (1ull << 10)
#define AGENTCG_LIMIT_IO_WEIGHT       (1ull << 11)
#define AGENTCG_LIMIT_MAX_DEPTH       (1ull << 12)
#define AGENTCG_LIMIT_MAX_DESCENDANTS (1ull << 13)
#define AGENTCG_LIMITS_SIZE_V0        128

/* Zero it, fill in fields, set their bits in mask. A field whose bit is clear
 * is left as it is; agentcg_new() refuses one that is not 0, since a forgotten
 * bit would mean no limit. AGENTCG_UNLIMITED lifts a limit. memory_low and memory_min
 * protect from a limit on the directory that the agents share; from pressure
 * further up only as far as that directory and those above it have them, too. */
struct agentcg_limits {
	uint64_t mask;               /* AGENTCG_LIMIT_... */
	uint64_t memory_max_bytes;   /* hard limit: over it the OOM killer acts. At least one page */
	uint64_t memory_high_bytes;  /* over it the group is throttled and reclaimed */
	uint64_t memory_low_bytes;   /* best-effort protection */
	uint64_t memory_min_bytes;   /* hard protection */
	uint64_t swap_max_bytes;     /* 0: no swap, so that memory_max bounds it all */
	uint64_t oom_group;          /* 1: an OOM kills the whole group, never half of it */
	uint64_t cpu_max_millicpu;   /* 500 = half of one CPU, 2000 = two; 1 or more */
	/* 0: 100000, made longer where the quota would fall under the kernel's 1000 us */
	uint64_t cpu_period_us;
	uint64_t cpu_burst_us;
	uint64_t cpu_weight;         /* 1 to 10000, the kernel's default is 100 */
	uint64_t cpu_idle;           /* 1: only idle CPU time */
	uint64_t pids_max;           /* threads, and zombies not yet waited for, count */
	uint64_t io_weight;          /* 1 to 10000 */
	uint64_t max_depth;          /* levels of cgroups the agent may make inside */
	uint64_t max_descendants;    /* cgroups the agent may make inside */
};

/* ---- 3. life ------------------------------------------------------------- */

/* agentcg_new(): kill the group and remove it when the calling process ends
 * without having destroyed or freed it, however it ends, SIGKILL included. The
 * guard does that: a small process, one for the whole program, that executes
 * LIBDIR/agentcg/agentcg-guard. It stays until the caller ends, or until it has
 * had nothing to guard for ten seconds. Somebody with the right to do so may
 * kill or stop it: agentcg_get_info() says that, and the next agentcg_new() of
 * this kind starts another. It is not a child of the caller, unless that is a
 * subreaper (prctl(2)) or the init of its pid namespace: there a wait(2) for
 * any child finds it, and after its end the next call of the library waits for
 * it. A program that replaces itself by execve(2) has ended, too. */
#define AGENTCG_NEW_GUARD       (1ull << 0)
/* agentcg_new(): take no other place than a systemd scope. */
#define AGENTCG_NEW_SYSTEMD     (1ull << 1)
#define AGENTCG_NEW_NO_SYSTEMD  (1ull << 2)  /* Never ask systemd. */
/* Never move the calling process to make room in a delegated cgroup. */
#define AGENTCG_NEW_KEEP_CALLER (1ull << 3)

/* agentcg_open(): take over a group whose owner has ended; without it, open as
 * a guest, who may measure, move and kill but whose end nobody waits for. */
#define AGENTCG_OPEN_OWN (1ull << 0)

/* agentcg_destroy(): do not kill: -EBUSY if anything lives in it. */
#define AGENTCG_DESTROY_IF_EMPTY (1ull << 0)

/* One agent, as agentcg_list() finds it. */
struct agentcg_entry {
	char uuid[AGENTCG_UUID_SIZE];
	uint8_t orphan;            /* 1: no living owner */
	uint8_t populated;         /* 1: holds living processes */
	uint8_t reserved;
	/* as its owner saw itself; 0 if not known. Like created_unix_ns for people
 * alone: an agent can change both */
	uint32_t owner_pid;
	uint32_t reserved2;
	uint64_t created_unix_ns;  /* 0 if not known */
};

/* Make <parent>/synwire/agents/<uuid>, enable the cpu, memory, pids and io
 * controllers that are to be had on the way down, set the limits, open it.
 *
 * parent is a cgroup directory, or NULL: the first of these that works is
 * taken - a cgroup delegated to us, the parent of the caller's own cgroup, the
 * root, a transient systemd scope. uuid is its text, or NULL for a fresh
 * random one. limits may be NULL with limits_size 0. In a delegated cgroup, and
 * in a container's root, the caller is moved to a child of it, "supervisor", if
 * nobody else is in there. A systemd scope lives by a small process, of which
 * there is one a program, and ends after the program and its last agent; there
 * agentcg_move_pid() may need systemd, and agentcg_move_self() give -EACCES.
 * Where no place with controllers is found an agent without limits is still
 * made beside the processes of a cgroup that is ours: it can be killed and
 * waited for, and tells its CPU time.
 *
 * All or nothing: on failure no directory of this agent is left. Any two
 * callers, in one process or several, can do this at once.
 *
 * -E2BIG, -EACCES (nowhere allowed; the guard's program may not be executed),
 * -EAGAIN (nesting limit; no guard could be started), -EBUSY (the parent holds
 * processes; it is frozen, so that no guard can be started in it), -EEXIST
 * (that uuid is in use, or left over: see agentcg_open() and agentcg_reap()),
 * -EINVAL, -EMFILE, -ENFILE, -ENODEV (no cgroup2), -ENOENT (the parent does not
 * exist; the guard's program is missing), -ENOEXEC (that is not the one of this
 * library), -ENOMEM, -ENOSPC, -ENOTCONN (AGENTCG_NEW_SYSTEMD, and none is
 * reached), -EOPNOTSUPP (a limit's controller is not to be had; a threaded
 * parent), -ERANGE (a limit out of range), -EROFS. */
AGENTCG_MUST_CHECK
int agentcg_new(const char *parent,
		const char *uuid,
		const agentcg_limits *limits,
		size_t limits_size,
		uint64_t flags,
		agentcg **ret_cg,
		agentcg_error *reterr);

/* Open an agent's cgroup that is already there, say after a restart. parent is
 * a cgroup directory, or NULL: all the places are looked at in which
 * agentcg_new(NULL, ...) could have put it.
 *
 * -EACCES, -EBUSY (AGENTCG_OPEN_OWN, and its owner lives), -EINVAL, -EMFILE,
 * -ENFILE, -ENODEV (no cgroup2), -ENOENT (no such agent, or parent), -ENOMEM, -EOPNOTSUPP (we ourselves are
 * in a threaded cgroup). */
AGENTCG_MUST_CHECK
int agentcg_open(const char *parent,
		 const char *uuid,
		 uint64_t flags,
		 agentcg **ret_cg,
		 agentcg_error *reterr);

/* List the agents under parent (or NULL, as above), in no order. Fills at most
 * count entries of entry_size bytes; returns how many there are. Of another
 * uid's agents the uuid alone is known.
 *
 * -EACCES, -EINVAL, -EMFILE, -ENFILE, -ENODEV, -ENOENT (the parent does not
 * exist), -ENOMEM, -EOPNOTSUPP. */
AGENTCG_MUST_CHECK
int agentcg_list(const char *parent,
		 agentcg_entry *entries,
		 size_t entry_size,
		 size_t count,
		 agentcg_error *reterr);

/* Kill and remove every agent under parent (or NULL, as above) whose owner has
 * ended: what a crash left, half-made ones too. Never touches one whose owner
 * lives. Returns how many were removed; on failure all that could be are.
 *
 * -EACCES, -EDEADLK (we ourselves are in one), -EINVAL, -EMFILE, -ENFILE,
 * -ENODEV, -ENOENT (the parent does not exist), -ENOMEM, -EOPNOTSUPP, -ETIMEDOUT
 * (some would not die in time). */
AGENTCG_MUST_CHECK int agentcg_reap(const char *parent, int timeout_ms, agentcg_error *reterr);

/* Kill all, wait, take the last measurements (ret_final may be NULL with size
 * 0), remove the group and every cgroup the agent made inside it, free the
 * handle. On failure the handle stays valid and nothing is lost: try again.
 * 0 means that the directory is gone. On kernels from 6.19.11 to 7.1-rc2
 * removing a group can hang while its dead wait to be reaped: there that is
 * -ETIMEDOUT, and the message names the pids to reap.
 * NULL is fine, and so is a group that somebody else has removed.
 *
 * -EACCES, -EBUSY (AGENTCG_DESTROY_IF_EMPTY, and it is not), -EDEADLK (the
 * caller is inside), -EINVAL, -EMFILE, -ENFILE, -ENOMEM, -ETIMEDOUT. */
AGENTCG_MUST_CHECK
int agentcg_destroy(agentcg *cg,
		    uint64_t flags,
		    int timeout_ms,
		    agentcg_stats *ret_final,
		    size_t size,
		    agentcg_error *reterr);

/* Free the handle, leave the cgroup and its processes be: without an owner from
 * now on, so agentcg_open() can take it over, and agentcg_reap() ends it. NULL
 * is fine. */
void agentcg_free(agentcg *cg);

/* ---- 4. facts about a handle --------------------------------------------- */

struct agentcg_info {
	uint64_t id;           /* the kernel's cgroup id */
	uint64_t controllers;  /* AGENTCG_CONTROLLER_... in force in it */
	uint32_t place;        /* AGENTCG_PLACE_... */
	uint32_t owned;        /* 1: this handle is its owner */
	/* 1: it is killed and removed when this process ends; 0 too while the guard is stopped */
	uint32_t guarded;
	uint32_t reserved;
};

/* Its uuid, 36 characters. Returns their number; -EINVAL. */
int agentcg_uuid(agentcg *cg, char *buf, size_t size);

/* Its path, absolute, as mounted here. Returns the length; -EINVAL. */
int agentcg_path(agentcg *cg, char *buf, size_t size);

/* The directory, for CLONE_INTO_CGROUP, Go's SysProcAttr.CgroupFD and
 * posix_spawnattr_setcgroup_np(3). Belongs to the handle: do not close it.
 * Async-signal-safe. -EINVAL. */
int agentcg_fd(agentcg *cg);

/* Facts. -EACCES, -EINVAL, -EMFILE, -ENFILE, -ENODEV (the group was removed), -ENOMEM. */
AGENTCG_MUST_CHECK
int agentcg_get_info(agentcg *cg,
		     agentcg_info *ret_info,
		     size_t size,
		     agentcg_error *reterr);

/* ---- 5. processes -------------------------------------------------------- */

/* agentcg_spawn(): look file up in the caller's PATH, as execvp(3) does. */
#define AGENTCG_SPAWN_SEARCH_PATH (1ull << 0)
/* setsid(2): no terminal, and a process group of its own. */
#define AGENTCG_SPAWN_NEW_SESSION (1ull << 1)
/* Namespaces of its own, rooted at the group: it cannot leave it, raise its
 * limits or see the rest of the hierarchy any more. Implies NEW_SESSION and a
 * new session keyring; where Landlock scopes signals (Linux 6.12) it signals
 * only processes of its own. It makes 1,000 cgroups at most, 64 deep, unless the
 * caller has set max_descendants or max_depth, AGENTCG_UNLIMITED included: the
 * memory of cgroups is charged to nobody. docs/containment.md tells what all
 * that stops and what not. */
#define AGENTCG_SPAWN_CONTAIN     (1ull << 2)

/* How a program starts. 0 in each field is not the default: see
 * AGENTCG_SPAWN_OPTIONS_INIT. */
struct agentcg_spawn_options {
	uint64_t flags;     /* AGENTCG_SPAWN_... */
	int32_t stdin_fd;   /* AGENTCG_INHERIT, AGENTCG_DEVNULL or a descriptor */
	int32_t stdout_fd;  /* the same */
	int32_t stderr_fd;  /* the same */
	int32_t cwd_fd;     /* AGENTCG_INHERIT or a directory */
};

/* Move a process, all its threads, into the group, and make sure that it is
 * there. Children it has already stay where they are. pid must be 1 or more:
 * 0 would mean the caller. It keeps its oom_score_adj: over one with -1000 the
 * OOM killer passes, so that at its memory_max it uses CPU time and is not killed.
 *
 * -EACCES, -EBUSY, -EINVAL (a kernel thread too; a realtime policy, where the
 * kernel has RT group scheduling), -EMFILE, -ENFILE, -ENODEV
 * (group gone), -ENOMEM, -EOPNOTSUPP, -ESRCH (gone, or a zombie). */
AGENTCG_MUST_CHECK int agentcg_move_pid(agentcg *cg, pid_t pid, agentcg_error *reterr);

/* The same by pidfd, which needs /proc: no other process that was given the pid
 * meanwhile is taken for it without -ESRCH saying so. -EBADF: no pidfd. */
AGENTCG_MUST_CHECK int agentcg_move_pidfd(agentcg *cg, int pidfd, agentcg_error *reterr);

/* Move the calling process, for use between fork(2) and execve(2).
 * Async-signal-safe. It keeps its oom_score_adj: see agentcg_move_pid(), whose
 * codes these are. */
AGENTCG_MUST_CHECK int agentcg_move_self(agentcg *cg);

/* 1 if pid is in the group or below it, with any of its threads, 0 if it is not:
 * an escape shows here. Goes by the cgroup's name in /proc/PID/cgroup.
 *
 * -EACCES (/proc does not let us read it), -EINVAL (pid is below 1), -EMFILE,
 * -ENFILE, -ENODEV (group gone), -ENOMEM, -ESRCH (gone, a zombie, or hidden from
 * us). */
AGENTCG_MUST_CHECK int agentcg_contains(agentcg *cg, pid_t pid, agentcg_error *reterr);

/* The processes that live in the group and below it, each once, in ascending
 * order. Fills at most count; returns how many there are, which may be more. pids
 * may be NULL with count 0. Those outside the caller's pid namespace have no pid
 * here and are left out, and so are zombies.
 *
 * -EACCES, -EINVAL, -EMFILE, -ENFILE, -ENODEV, -ENOMEM. */
AGENTCG_MUST_CHECK
int agentcg_pids(agentcg *cg,
		 pid_t *pids,
		 size_t count,
		 agentcg_error *reterr);

/* Start a program inside the group: it is there before its first instruction,
 * and so is everything that it ever starts. argv and envp end with NULL; envp
 * NULL is the caller's environment, empty if environ is NULL. options may be NULL with options_size 0:
 * the caller's descriptors and directory, no flags.
 *
 * The child is the caller's to wait for, by waitpid(2) or by the pidfd, which
 * is close-on-exec (-1 before Linux 5.2); ret_pid and ret_pidfd may be NULL. It
 * has its three standard descriptors and no other, no signal blocked, ignored or handled. A relative
 * file, and a relative directory in PATH, start at cwd_fd. No shell is asked
 * where the kernel cannot run a file (-ENOEXEC).
 *
 * A failure of execve(2) is reported here, as the code that it gave; nothing is
 * left of the child then, whoever waits for the caller's children. The calling
 * thread stands still until the program begins; it copies nothing of the
 * caller's memory, save with memory.oom.group, where the kernel would kill the
 * caller with the group, and with AGENTCG_SPAWN_CONTAIN under a seccomp filter
 * before Linux 5.16. agentcg_fd() and posix_spawn(3) do not look at that.
 *
 * If the group is frozen before the program begins, the child is killed and
 * -EBUSY returned: always by a freeze through this handle, and for other
 * freezes once one was seen. Until then the thread waits for the thaw or a kill.
 *
 * A caller with an oom_score_adj of -1000, over which the OOM killer passes,
 * does not hand that down: the program has 0, so that its memory_max is
 * enforced. agentcg_move_self() and agentcg_move_pid() cannot do that.
 *
 * As agentcg_move_pid(), and -E2BIG, -EACCES, -EAGAIN (pids_max, or the user's
 * own limit of processes), -EBADF, -EBUSY (frozen, or being killed), -ECANCELED
 * (killed before it began), -EDQUOT (AGENTCG_WHY_NOT_CONTAINED:
 * kernel.keys.maxkeys), -EINVAL, -EIO, -EISDIR, -ELIBBAD, -ELOOP,
 * -ENAMETOOLONG, -ENOENT, -ENOEXEC, -ENOMEM (file memory.max: the group's limit
 * leaves too little to begin in), -ENOTDIR, -EPERM (AGENTCG_WHY_NOT_CONTAINED:
 * no user namespaces here, or a seccomp filter kills; without that reason a
 * filter kills at another step), -EOPNOTSUPP (AGENTCG_WHY_NOT_CONTAINED: not
 * mounted nsdelegate), -ETXTBSY.
 * With AGENTCG_SPAWN_CONTAIN its directory must not lie in the hierarchy: -EINVAL. */
AGENTCG_MUST_CHECK
int agentcg_spawn(agentcg *cg,
		  const char *file,
		  char *const *argv,
		  char *const *envp,
		  const agentcg_spawn_options *options,
		  size_t options_size,
		  pid_t *ret_pid,
		  int *ret_pidfd,
		  agentcg_error *reterr);

/* ---- 6. limits and files of a living group ------------------------------- */

/* agentcg_set_limits(): enforce memory_max and memory_high on the spot, by
 * reclaiming and, for memory_max, by killing. */
#define AGENTCG_SET_FORCE (1ull << 0)

/* Change limits: all of them, or, on failure, none. A memory_max under what is
 * in use now is -EBUSY, since the kernel would kill to enforce it; with
 * AGENTCG_SET_FORCE it does. A lower memory_high slows the group down, a lower
 * pids_max refuses new threads: neither ends any.
 *
 * Each value is read back. The kernel keeps whole pages, rounded down. Before
 * Linux 6.16 the call may take as long as it takes to reclaim what is over a
 * lower memory_high. cpu_burst_us may not be more than the quota, and an idle
 * group has no cpu_weight: what is in force counts where the other is not set
 * with it. A group that is idle no more has a weight of 100.
 *
 * Calls that overlap, in one program or several, are not kept apart: a file
 * ends with the value of one of them, and one that reads back another's may
 * give -ERANGE. Nor from agentcg_kill_all(), which may lift cpu_max for as
 * long as it kills and puts back what it found.
 *
 * -E2BIG, -EACCES, -EBUSY, -EINVAL (also: a weight for an idle group), -EMFILE,
 * -ENFILE, -ENODEV (the group was removed), -ENOMEM, -EOPNOTSUPP (a limit's
 * controller is not to be had), -ERANGE (a limit out of range; a burst over the
 * quota). Where the message says "half set" the old values could not all be put
 * back; the next call that uses the limits tries again. */
AGENTCG_MUST_CHECK
int agentcg_set_limits(agentcg *cg,
		       const agentcg_limits *limits,
		       size_t size,
		       uint64_t flags,
		       agentcg_error *reterr);

/* The limits as the kernel has them; mask says which exist. AGENTCG_UNLIMITED
 * is no limit. cpu_max_millicpu is rounded up, which gives back each number
 * that was set. An idle group has no cpu_weight. What is in force may be less:
 * the limits of cgroups above count too.
 *
 * -EACCES, -EINVAL, -EMFILE, -ENFILE, -ENODEV (the group was removed), -ENOMEM. */
AGENTCG_MUST_CHECK
int agentcg_get_limits(agentcg *cg,
		       agentcg_limits *ret_limits,
		       size_t size,
		       agentcg_error *reterr);

/* Any interface file, for what has no function here: io.stat, cpuset.cpus.effective,
 * memory.numa_stat ... name is one component: a letter, then letters, digits, '.',
 * '_' and '-'. The whole of it, however long, as the kernel gives it: lines that
 * each end with a newline. As snprintf(3): cut to fit, always terminated. Returns
 * the full length, which may be another one the next time.
 *
 * -EACCES (it can only be written, or not by us), -EINVAL (no such name can be; a
 * cgroup that the agent has made; as root, one that can only be written), -EIO (what
 * has no code here: the message has it), -EMFILE, -ENFILE, -ENODEV (the group was
 * removed), -ENOENT (no such file: AGENTCG_WHY_NO_CONTROLLER where its controller is
 * not in force), -ENOMEM, -EOPNOTSUPP (say, cgroup.procs of a threaded cgroup). */
AGENTCG_MUST_CHECK
int agentcg_read_file(agentcg *cg,
		      const char *name,
		      char *buf,
		      size_t size,
		      agentcg_error *reterr);

/* Write a value to an interface file, in one write(2). A newline at its end may be.
 * What the kernel makes of it is for it to say; reading the file back tells.
 * memory.max and its like do not wait until memory has been reclaimed (Linux 6.16).
 *
 * -E2BIG (more than 4095 bytes), -EINVAL (no such name can be; a cgroup that the
 * agent has made; an empty value, to which the kernel says yes and does nothing).
 * The kernel's own refusals: -EACCES (it can only be read, or is not ours to write),
 * -EAGAIN (memory.reclaim: not all), -EBUSY, -EEXIST, -EINVAL (it makes no sense of
 * the value), -EIO (what has no code here: the message has it), -EMFILE, -ENFILE,
 * -ENODEV (AGENTCG_WHY_GONE: the group was removed; else io.max: no such device),
 * -ENOENT (no such file, and AGENTCG_WHY_NO_CONTROLLER where its controller is not
 * in force; cgroup.subtree_control: no such controller), -ENOMEM, -ENOSPC (cpuset),
 * -EOPNOTSUPP, -ERANGE, -ESRCH (cgroup.procs: no such process). */
AGENTCG_MUST_CHECK
int agentcg_write_file(agentcg *cg,
		       const char *name,
		       const char *value,
		       agentcg_error *reterr);

/* ---- 7. measuring -------------------------------------------------------- */

/* cpu.stat: there even with no controller. */
#define AGENTCG_STAT_CPU             (1ull << 0)
/* memory.current. */
#define AGENTCG_STAT_MEMORY          (1ull << 1)
/* cpu.stat, with the controller. */
#define AGENTCG_STAT_CPU_THROTTLE    (1ull << 2)
/* memory.peak: Linux 5.19. */
#define AGENTCG_STAT_MEMORY_PEAK     (1ull << 3)
/* memory.swap.current, and .peak: Linux 6.5. */
#define AGENTCG_STAT_SWAP            (1ull << 4)
/* memory.events: of the group and all below it. */
#define AGENTCG_STAT_MEMORY_EVENTS   (1ull << 5)
/* memory.stat: may be 2 s old. */
#define AGENTCG_STAT_MEMORY_DETAIL   (1ull << 6)
/* pids.current. */
#define AGENTCG_STAT_PIDS            (1ull << 7)
/* pids.peak: Linux 6.1. */
#define AGENTCG_STAT_PIDS_PEAK       (1ull << 8)
/* pids.events. */
#define AGENTCG_STAT_PIDS_EVENTS     (1ull << 9)
/* io.stat. */
#define AGENTCG_STAT_IO              (1ull << 10)
/* cpu.pressure: Linux 4.20, built with PSI and booted with it on; no controller needed. */
#define AGENTCG_STAT_CPU_PRESSURE    (1ull << 11)
/* memory.pressure: as cpu.pressure. */
#define AGENTCG_STAT_MEMORY_PRESSURE (1ull << 12)
/* io.pressure: as cpu.pressure. */
#define AGENTCG_STAT_IO_PRESSURE     (1ull << 13)
/* cgroup.events, cgroup.stat. */
#define AGENTCG_STAT_STATE           (1ull << 14)
/* The cheap pair, for polling: one read of each of two files. */
#define AGENTCG_STAT_BASIC           ((AGENTCG_STAT_CPU | AGENTCG_STAT_MEMORY) | AGENTCG_STAT_CPU_THROTTLE)
#define AGENTCG_STAT_ALL             UINT64_MAX
#define AGENTCG_STATS_SIZE_V0        296

/* Measurements. `mask` says which were really read; the rest is 0.
 *
 * New fields are only ever added at the end, each with a bit of its own. */
struct agentcg_stats {
	uint64_t mask;                          /* AGENTCG_STAT_... that were really read */
	uint64_t time_ns;                       /* CLOCK_MONOTONIC of the reading, for rates */
	uint64_t cpu_usage_ns;                  /* CPU time, user and system */
	uint64_t cpu_user_ns;
	uint64_t cpu_system_ns;
	uint64_t cpu_nr_periods;                /* periods of cpu_max */
	uint64_t cpu_nr_throttled;              /* those in which it held the group back */
	uint64_t cpu_throttled_ns;
	uint64_t memory_current_bytes;
	uint64_t memory_peak_bytes;
	uint64_t swap_current_bytes;
	uint64_t swap_peak_bytes;               /* 0 before Linux 6.5 */
	uint64_t memory_anon_bytes;
	uint64_t memory_file_bytes;
	/* before Linux 5.18 the sum of the parts that were told */
	uint64_t memory_kernel_bytes;
	uint64_t memory_shmem_bytes;
	uint64_t memory_events_high;
	uint64_t memory_events_max;
	/* times that the limit could not be kept; no count of kills */
	uint64_t memory_events_oom;
	uint64_t memory_events_oom_kill;        /* processes killed: the one to watch */
	uint64_t memory_events_oom_group_kill;  /* 0 before Linux 5.17 */
	uint64_t pids_current;                  /* threads, zombies not yet waited for included */
	uint64_t pids_peak;
	/* forks refused: since Linux 6.11 by limits in it or below it, before in itself by any limit */
	uint64_t pids_events_max;
	uint64_t io_read_bytes;                 /* io: summed over devices */
	uint64_t io_write_bytes;
	uint64_t io_reads;
	uint64_t io_writes;
	uint64_t cpu_pressure_some_us;          /* pressure: total stall time */
	uint64_t memory_pressure_some_us;
	uint64_t memory_pressure_full_us;
	uint64_t io_pressure_some_us;
	uint64_t io_pressure_full_us;
	uint64_t populated;                     /* 1 while a process lives in the group or below */
	uint64_t frozen;
	uint64_t nr_descendants;                /* cgroups below */
	/* removed, but the kernel still holds memory for them */
	uint64_t nr_dying_descendants;
};

/* Read what which asks for (AGENTCG_STAT_BASIC for a monitoring loop). What
 * this kernel, this placement or this version of the library does not offer
 * is left 0, its bit clear: not an error. A controller that is enabled later is
 * found by the next reading. One file is one consistent snapshot; several are
 * not. Each costs one system call, there or not, once its descriptor is kept,
 * which it is while there are many left: at most 16 a group.
 *
 * -EACCES, -EINVAL, -EMFILE, -ENFILE, -ENODEV (the group was removed), -ENOMEM. */
AGENTCG_MUST_CHECK
int agentcg_read_stats(agentcg *cg,
		       uint64_t which,
		       agentcg_stats *ret_stats,
		       size_t size,
		       agentcg_error *reterr);

/* ---- 8. events ----------------------------------------------------------- */

#define AGENTCG_EVENT_EMPTY       (1ull << 0)  /* the last process is gone */
#define AGENTCG_EVENT_POPULATED   (1ull << 1)
#define AGENTCG_EVENT_FROZEN      (1ull << 2)
#define AGENTCG_EVENT_THAWED      (1ull << 3)
#define AGENTCG_EVENT_OOM_KILL    (1ull << 4)  /* a process was killed for want of memory */
/* memory_high was reached, memory_max was, a fork was refused: in the group or below */
#define AGENTCG_EVENT_MEMORY_HIGH (1ull << 5)
#define AGENTCG_EVENT_MEMORY_MAX  (1ull << 6)
#define AGENTCG_EVENT_PIDS_MAX    (1ull << 7)
#define AGENTCG_EVENT_GONE        (1ull << 8)  /* the group was removed */

/* One descriptor for poll(2), epoll or an event loop, readable (POLLIN) when any
 * event of which may have happened: ask agentcg_next_events(), with timeout 0,
 * which also makes it unreadable again. What is so already when this is called is
 * no event. The process uses one inotify instance at most: it reports the removal
 * of up to 64 watched groups at once (Linux 7.1). Belongs to the handle: do not
 * read or close it, and take it out of your epoll set before the handle ends.
 * Asked again, the new set replaces the old, the descriptor stays; 0 gives the
 * descriptors behind it back.
 * A forked child asks for one of its own. Returns the descriptor.
 *
 * -EACCES, -EBADF (the caller has closed the descriptor), -EINVAL, -EMFILE, -ENFILE,
 * -ENODEV, -ENOMEM, -ENOSPC (the user's limit,
 * /proc/sys/fs/epoll/max_user_watches), -EOPNOTSUPP (OOM_KILL and MEMORY_... need
 * the memory controller, PIDS_MAX the pids controller). */
AGENTCG_MUST_CHECK int agentcg_event_fd(agentcg *cg, uint64_t which, agentcg_error *reterr);

/* The events since the last call, waiting up to timeout_ms for one; each at most
 * once a call, none lost. Returns 1, or 0 when none came, and then *ret_events is 0:
 * the descriptor may be readable for nothing.
 *
 * Where the kernel notifies and nothing has changed, what may have come and gone is
 * told: POPULATED and EMPTY of an empty group, which may so have EMPTY told again,
 * FROZEN and THAWED of a populated one. EMPTY is only told of a group that is empty
 * at that moment. GONE comes once, with EMPTY if that was not told before, and after
 * it -ENODEV; the descriptor is quiet then. Of the last moments of a group that
 * agentcg_destroy(), agentcg_reap() or the guard removes all is told, at once (Linux
 * 5.7). Removed by others, GONE comes at once from Linux 7.1 on; before within four
 * seconds, or within half of the time since the group became empty.
 *
 * Empty is a group in which nothing lives. From Linux 6.19 on a process that has
 * ended may have to wait for another to be reaped, and cgroup.events calls its group
 * populated until then. EMPTY is told at once after agentcg_kill_all() all the same
 * (Linux 7.1), else within four seconds.
 *
 * What cannot be read now (-EMFILE, -ENFILE, -ENOMEM) is told by a later call: the
 * descriptor is readable again in a moment.
 *
 * -EACCES, -EBADF (the caller has closed the descriptor), -EINVAL (agentcg_event_fd()
 * was not called in this process, too), -EMFILE, -ENFILE, -ENODEV, -ENOMEM. */
AGENTCG_MUST_CHECK
int agentcg_next_events(agentcg *cg,
			int timeout_ms,
			uint64_t *ret_events,
			agentcg_error *reterr);

/* ---- 9. stopping --------------------------------------------------------- */

/* Park every process in the group and below it, and return when all are parked
 * (an empty group is at once). At the deadline the freeze is undone: -ETIMEDOUT,
 * and all run on, unless somebody had asked for the freeze before. A frozen
 * group can be killed; a process moved into it is parked too.
 *
 * -EACCES, -EDEADLK (the caller is inside: nothing was frozen), -EINVAL, -EMFILE,
 * -ENFILE, -ENODEV, -ENOMEM, -EOPNOTSUPP (no cgroup.freeze: before Linux 5.2),
 * -ETIMEDOUT (say, a process in uninterruptible sleep). */
AGENTCG_MUST_CHECK int agentcg_freeze(agentcg *cg, int timeout_ms, agentcg_error *reterr);

/* Undo agentcg_freeze(), and return when the group goes on. A cgroup inside that
 * the agent has frozen itself stays frozen. -ETIMEDOUT: it will thaw later, or,
 * as the message then says, not before a frozen cgroup above it does.
 *
 * -EACCES, -EINVAL, -EMFILE, -ENFILE, -ENODEV, -ENOMEM, -EOPNOTSUPP (no
 * cgroup.freeze: before Linux 5.2), -ETIMEDOUT. */
AGENTCG_MUST_CHECK int agentcg_thaw(agentcg *cg, int timeout_ms, agentcg_error *reterr);

/* Signal every process in the group and below it, once each: never each thread,
 * never the caller, should it be inside. Children born meanwhile are signalled
 * too, but this is no way to be rid of those that fork for ever: see
 * agentcg_kill_all(). Frozen processes take it when they thaw. signal 0 sends
 * nothing, as with kill(2). Returns how many took it. Zombies do not count.
 *
 * -EACCES (all were signalled but some: they are of another uid, or outside the
 * caller's pid namespace), -EINVAL (no such signal), -EMFILE, -ENFILE, -ENODEV,
 * -ENOMEM. */
AGENTCG_MUST_CHECK int agentcg_signal_all(agentcg *cg, int signal, agentcg_error *reterr);

/* Wait until no process lives in it. Zombies count as gone.
 *
 * -EACCES, -EINVAL, -EMFILE, -ENFILE, -ENODEV, -ENOMEM, -ETIMEDOUT. */
AGENTCG_MUST_CHECK int agentcg_wait_empty(agentcg *cg, int timeout_ms, agentcg_error *reterr);

/* SIGKILL for every process in the group and below it, whatever it does to get
 * away: forking, freezing, a main thread that has exited, cgroups of its own,
 * closed files, pid namespaces; with cgroup.kill or without. cgroup.kill is
 * written first, which nothing inside the group delays, and which an owner does
 * with no descriptor left. Waits until none lives; timeout_ms 0 sends and does
 * not wait: -ETIMEDOUT if any still lives.
 *
 * The group can be used again after. A freeze is undone. Controllers that the
 * agent has enabled for cgroups of its own are disabled, unless a living process
 * owns agents inside. A limit that was lifted meanwhile and could not be put
 * back is an error that says so, and the next call tries again.
 *
 * From Linux 6.19 on cgroup.events can say populated for processes that are dead
 * and wait for others to be reaped. They count as gone.
 *
 * -EACCES, -EDEADLK (the caller is inside), -EINVAL, -EMFILE, -ENFILE, -ENODEV,
 * -ENOMEM, -ETIMEDOUT (say, a process in uninterruptible sleep). */
AGENTCG_MUST_CHECK int agentcg_kill_all(agentcg *cg, int timeout_ms, agentcg_error *reterr);

/* Ask all to end: SIGTERM for every process, SIGCONT for those that are stopped,
 * and a thaw of the group and of every cgroup in it. Up to grace_ms for them to
 * go; then as agentcg_kill_all() with timeout_ms, which counts from there. With
 * grace_ms 0 the kill follows at once. Whom no signal of ours reaches is killed
 * after the grace. Returns 1 if it came to the kill, 0 if not.
 *
 * -EACCES, -EDEADLK (the caller is inside: nobody was signalled), -EINVAL, -EMFILE,
 * -ENFILE, -ENODEV, -ENOMEM, -ETIMEDOUT (after the kill). */
AGENTCG_MUST_CHECK
int agentcg_terminate(agentcg *cg,
		      int grace_ms,
		      int timeout_ms,
		      agentcg_error *reterr);

#ifdef __cplusplus
}
#endif

#endif /* AGENTCG_H */
