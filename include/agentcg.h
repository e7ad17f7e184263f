/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * agentcg.h - one cgroup v2 per agent: limit it, measure it, kill all of it.
 *
 * Terms
 *
 *   agent             A group and the processes in it, as one unit.
 *   group             The cgroup of an agent, <place>/synwire/agents/<uuid>.
 *                     "Below" the group are cgroups that the agent has made in it.
 *   place             The directory of the cgroup2 hierarchy in which agents are
 *                     made. The caller names it, or the library finds one.
 *   owner             The process that made the agent, or adopted it with
 *                     AGENTCG_OPEN_OWN. It holds a lock on the group's directory,
 *                     which the kernel releases when the owner ends. (A forked
 *                     child holds the same lock until it ends or executes another
 *                     program.) All other users of the agent are non-owners.
 *   orphan            An agent without a living owner.
 *   label             A text for people that an agent has.
 *   tag               The name of the program that owns the agent. Calls can be bound
 *                     to it: agentcg_reap_tagged().
 *   guard             The process agentcg-guard, one for each program. It
 *                     kills and removes agents when their owner has ended, and
 *                     keeps a systemd scope alive.
 *   descriptor cache  Descriptors of interface files that a handle keeps open, so
 *                     that later calls need not open the files. An owner's cache
 *                     begins with cgroup.kill and cgroup.events. It takes only
 *                     descriptors whose number is less than half of RLIMIT_NOFILE.
 *
 * Return values
 *
 *   A function that can fail returns int: 0 or more on success, a negative errno
 *   value (such as -ENOENT) on failure. errno itself is not part of this interface
 *   and may change. The common errors, which every function that can fail may
 *   return unless its comment says otherwise, are:
 *
 *   -EACCES           The kernel denies access to a file or directory of the
 *                     hierarchy.
 *   -EINVAL           An argument is invalid: a NULL handle, a NULL pointer that
 *                     must not be NULL, an unknown flag bit, a size that is less
 *                     than that of the struct's first version, or a negative
 *                     timeout other than AGENTCG_FOREVER.
 *   -EIO              The kernel returned an error that the comment of the function
 *                     does not list. The message names it.
 *   -EMFILE           The process has no descriptor left.
 *   -ENFILE           The system has no descriptor left.
 *   -ENODEV           The group was removed.
 *   -ENOMEM           There is not enough memory.
 *   -ENOTRECOVERABLE  A bug in the library: it caught a panic.
 *
 *   The comment of a function lists the errors that it adds; it returns no others.
 *
 * Arguments
 *
 *   - Arguments named ret_... are written on success only, reterr on failure only.
 *     reterr may be NULL. It is the caller's memory, and nothing has to be freed.
 *   - A timeout is in milliseconds. 0 does not wait; AGENTCG_FOREVER has no end.
 *   - A struct is passed with its size. Structs only grow at their end: an older
 *     program works with a newer library. A newer program works with an older
 *     library unless it sets a field that this library does not know (-E2BIG).
 *   - Strings are NUL-terminated bytes. A function that returns a string follows
 *     snprintf(3): the string is cut to fit size bytes and always terminated, and
 *     its full length is returned. buf may be NULL if size is 0.
 *
 * In the caller's process
 *
 *   - Every file descriptor is close-on-exec, and none is 0, 1 or 2. If the caller
 *     has closed one of these, it may be open as an O_PATH descriptor while a
 *     function runs.
 *   - Nobody else may close a descriptor of the library: a later call would use, or
 *     close, what then has its number. The process has them while it has a handle,
 *     and the guard's and the scope's afterwards, too. A forked child may close all
 *     (closefrom(3)), and makes agents of its own then. It must not use or free its
 *     copies of the handles.
 *   - Several threads may use a handle at the same time. agentcg_destroy() and
 *     agentcg_free() must not run at the same time as another call on the handle.
 *   - A handle works in a forked child. Freeing it there releases nothing that the
 *     parent holds.
 *   - The library starts no thread, installs no signal handler, does not use
 *     SIGCHLD, writes no log, reads no environment variable (except PATH, for
 *     AGENTCG_SPAWN_SEARCH_PATH), and waits for no child of the caller. No function
 *     is a cancellation point.
 *   - A function that is not marked async-signal-safe may allocate memory with
 *     malloc(3). If malloc fails, the function succeeds or returns -ENOMEM, and can
 *     be called again. It uses less than 32 KiB of stack; only a function that
 *     asks systemd uses more.
 *
 * Security
 *
 *   The library is not a security boundary between processes of one uid. An agent
 *   with the caller's uid can undo its limits, unless AGENTCG_SPAWN_CONTAIN or a
 *   sandbox around the agent prevents it.
 */
#ifndef AGENTCG_H
#define AGENTCG_H

/* Made by cbindgen from src/ffi/: edit there, then run `make header`. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The version of this header. */
#define AGENTCG_VERSION_MAJOR 0
#define AGENTCG_VERSION_MINOR 1
#define AGENTCG_VERSION_PATCH 0
#define AGENTCG_VERSION_NUMBER \
	(AGENTCG_VERSION_MAJOR * 1000000 + AGENTCG_VERSION_MINOR * 1000 + AGENTCG_VERSION_PATCH)

/* The compiler warns if the result of such a function is not used. */
#if defined(__GNUC__)
# define AGENTCG_MUST_CHECK __attribute__((warn_unused_result))
#else
# define AGENTCG_MUST_CHECK
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* A timeout that never ends. */
#define AGENTCG_FOREVER (-1)
/* The value of a limit that limits nothing, the kernel's "max". */
#define AGENTCG_UNLIMITED UINT64_MAX
/* The size of a uuid as text, NUL included. */
#define AGENTCG_UUID_SIZE 37
/* The size of a label and of a tag as text, NUL included. */
#define AGENTCG_LABEL_SIZE 64
/* In agentcg_spawn_options: the program gets the caller's own descriptor. */
#define AGENTCG_INHERIT (-1)
/* In agentcg_spawn_options: the program gets /dev/null. */
#define AGENTCG_DEVNULL (-2)
/* In agentcg_spawn_options: the program gets one end of a new pipe. */
#define AGENTCG_PIPE (-3)
/* Initialises agentcg_spawn_options: no flags, and every descriptor is the caller's own. */
#define AGENTCG_SPAWN_OPTIONS_INIT \
	{ 0, AGENTCG_INHERIT, AGENTCG_INHERIT, AGENTCG_INHERIT, AGENTCG_INHERIT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* A handle: one agent's group, held open by descriptor. If the directory is
 * removed and made again under the same name, the handle does not refer to the
 * new one. */
typedef struct agentcg agentcg;

/* These structs are defined below. */
typedef struct agentcg_error agentcg_error;
typedef struct agentcg_diagnosis agentcg_diagnosis;
typedef struct agentcg_limits agentcg_limits;
typedef struct agentcg_entry agentcg_entry;
typedef struct agentcg_found agentcg_found;
typedef struct agentcg_info agentcg_info;
typedef struct agentcg_new_options agentcg_new_options;
typedef struct agentcg_spawn_fd agentcg_spawn_fd;
typedef struct agentcg_spawn_options agentcg_spawn_options;
typedef struct agentcg_spawn_rlimit agentcg_spawn_rlimit;
typedef struct agentcg_stats agentcg_stats;
typedef struct agentcg_verdict agentcg_verdict;

/* ---- errors -------------------------------------------------------------- */

/* Reasons: the values of agentcg_error.reason. */
#define AGENTCG_WHY_NO_CGROUP2        1u   /* No cgroup2 mount contains the caller's own cgroup. */
#define AGENTCG_WHY_OUTSIDE_NAMESPACE 2u   /* The caller's own cgroup is outside its cgroup namespace. */
#define AGENTCG_WHY_READ_ONLY         3u   /* cgroupfs is mounted read-only (common in containers). */
#define AGENTCG_WHY_NOT_DELEGATED     4u   /* The caller may create no cgroups, or may not migrate processes. */
#define AGENTCG_WHY_NO_CONTROLLER     5u   /* A limit needs a controller that is not available. */
#define AGENTCG_WHY_POPULATED         6u   /* The parent holds processes. */
#define AGENTCG_WHY_THREADED          7u   /* The cgroup is threaded, or it is in an invalid domain. */
#define AGENTCG_WHY_GONE              8u   /* Somebody else removed the cgroup while it was in use. */
#define AGENTCG_WHY_NESTING_LIMIT     9u   /* cgroup.max.depth or max.descendants of an ancestor is reached. */
#define AGENTCG_WHY_NO_SYSTEMD        10u  /* systemd is needed and cannot be reached. */
#define AGENTCG_WHY_SYSTEMD_REFUSED   11u  /* systemd refused the request. message contains its reply. */
#define AGENTCG_WHY_CALLER_INSIDE     12u  /* The caller is in the group that it wants to kill or to freeze. */
#define AGENTCG_WHY_NOT_CONTAINED     13u  /* User namespaces are forbidden, or the mount lacks nsdelegate. */
#define AGENTCG_WHY_NO_GUARD          14u  /* agentcg-guard is missing, or not the one of this library. */
#define AGENTCG_WHY_NOT_EXECUTED      15u  /* execve(2) of the program failed. code has its errno. */

/* What went wrong: codes for programs, and text for people and logs. The size
 * is 256 bytes and does not change. */
struct agentcg_error {
	int32_t code;       /* The negative errno value that the function returned. */
	uint32_t reason;    /* AGENTCG_WHY_... if errno is too coarse to say why, else 0. */
	char file[64];      /* The interface file that failed, such as "memory.max", or "". */
	char message[184];  /* One line of text: what failed, on which path, and what to do. */
};

/* ---- version ------------------------------------------------------------- */

/* Return AGENTCG_VERSION_NUMBER of the loaded library. The library may be newer
 * than the header that the program was built with. */
uint32_t agentcg_version_number(void);

/* Return the version of the loaded library as text, such as "0.1.0". The string
 * is static. */
const char *agentcg_version_string(void);

/* ---- 1. is it available? ------------------------------------------------- */

#define AGENTCG_CONTROLLER_CPU     (1ull << 0)  /* The cpu controller: all limits cpu_... */
#define AGENTCG_CONTROLLER_MEMORY  (1ull << 1)  /* The memory controller: memory_..., swap_max, oom_group. */
#define AGENTCG_CONTROLLER_PIDS    (1ull << 2)  /* The pids controller: pids_max. */
#define AGENTCG_CONTROLLER_IO      (1ull << 3)  /* The io controller: io_weight. */
#define AGENTCG_CONTROLLER_CPUSET  (1ull << 4)  /* The cpuset controller. No limit needs it. */
#define AGENTCG_CONTROLLER_HUGETLB (1ull << 5)  /* The hugetlb controller. No limit needs it. */
#define AGENTCG_PLACE_GIVEN        1u           /* The caller named the place. */
#define AGENTCG_PLACE_DELEGATED    2u           /* It was delegated: a unit or container (user.delegate). */
#define AGENTCG_PLACE_SIBLING      3u           /* It is the parent of the caller's own cgroup. */
#define AGENTCG_PLACE_ROOT         4u           /* It is the real root or the root of a cgroup namespace. */
#define AGENTCG_PLACE_SYSTEMD      5u           /* It is a transient scope that systemd made for the caller. */

#define AGENTCG_FEATURE_KILL        (1ull << 0)  /* cgroup.kill is available (Linux 5.14). */
#define AGENTCG_FEATURE_FREEZE      (1ull << 1)  /* cgroup.freeze is available (Linux 5.2). */
#define AGENTCG_FEATURE_CLONE_INTO  (1ull << 2)  /* clone3(CLONE_INTO_CGROUP) works. It was tried. */
#define AGENTCG_FEATURE_MEMORY_PEAK (1ull << 3)  /* memory.peak is available (Linux 5.19). */
#define AGENTCG_FEATURE_PIDS_PEAK   (1ull << 4)  /* pids.peak is available (Linux 6.1). */
#define AGENTCG_FEATURE_PRESSURE    (1ull << 5)  /* cpu.pressure, memory.pressure and io.pressure exist. */
#define AGENTCG_FEATURE_XATTR       (1ull << 6)  /* cgroups take user.* attributes (Linux 5.7). */
#define AGENTCG_FEATURE_NSDELEGATE  (1ull << 7)  /* The hierarchy is mounted nsdelegate. */
#define AGENTCG_FEATURE_SYSTEMD     (1ull << 8)  /* A systemd manager that serves the caller was reached. */

/* What agentcg_new() would do in this process, as agentcg_diagnose() finds it. */
struct agentcg_diagnosis {
	uint32_t obstacle;             /* 0 if agentcg_new() works in place, else AGENTCG_WHY_... */
	uint32_t place;                /* The AGENTCG_PLACE_... that would be used, 0 if there is none. */
	uint64_t controllers;          /* AGENTCG_CONTROLLER_... whose limits would work. */
	uint64_t missing_controllers;  /* Those of cpu, memory and pids whose limits would not work. */
	uint64_t features;             /* AGENTCG_FEATURE_... that were found. */
};

/* Return 1 if the caller's own cgroup is in a mounted cgroup2 hierarchy, else
 * 0. The hierarchy may be mounted at /sys/fs/cgroup, at /sys/fs/cgroup/unified
 * or elsewhere. */
int agentcg_is_available(void);

/* Copy the path of the place that agentcg_new(NULL, ...) would use to buf: the
 * directory that holds, or would hold, "synwire/agents". Nothing is changed.
 *
 * Returns the length of the path. Errors, besides the common ones:
 *   -EBUSY, -EOPNOTSUPP, -EROFS
 *         As agentcg_new() would return. */
AGENTCG_MUST_CHECK int agentcg_discover_parent(char *buf, size_t size, agentcg_error *reterr);

/* Find out what agentcg_new(NULL, ...) without limits would do, and why. size
 * is sizeof(*ret_diagnosis). text receives a report for people: each place that
 * was tried, what prevents its use, and the commands that remedy it (the
 * systemd drop-in, wsl.conf, the container flag). text may be NULL if text_size
 * is 0.
 *
 * If there is a place, an agent is made in it for a moment. Nothing is left
 * behind. If obstacle and place are both 0, the cause is not cgroups (for
 * example, no descriptor is left); see text.
 *
 * Returns the full length of the text. An obstacle is not an error: -EACCES and
 * -ENODEV are never returned. */
AGENTCG_MUST_CHECK
int agentcg_diagnose(agentcg_diagnosis *ret_diagnosis,
		     size_t size,
		     char *text,
		     size_t text_size);

/* Find out what agentcg_new(NULL, NULL, limits, limits_size, flags, ...) would
 * do. This is agentcg_diagnose() with limits and flags: it reports the first
 * place in which an agent with these limits can be made. If there is a place,
 * the limits are set in it for a moment. limits may be NULL if limits_size is
 * 0.
 *
 * Returns the full length of the text. -EACCES and -ENODEV are never returned.
 * Errors, besides the common ones:
 *   -E2BIG   limits has a bit or a field set that this library does not know.
 *   -ERANGE  A limit is out of range. */
AGENTCG_MUST_CHECK
int agentcg_diagnose_new(const agentcg_limits *limits,
			 size_t limits_size,
			 uint64_t flags,
			 agentcg_diagnosis *ret_diagnosis,
			 size_t size,
			 char *text,
			 size_t text_size,
			 agentcg_error *reterr);

/* ---- 2. make, find and end agents ---------------------------------------- */

/* agentcg_new(): kill the group and remove it when the calling process ends
 * without having destroyed or freed the handle, however it ends (SIGKILL
 * included). execve(2) in the calling process counts as its end.
 *
 * The guard does this. It is a small process, one for the whole program, that
 * executes LIBDIR/agentcg/agentcg-guard. It runs until the caller ends, or
 * until it has had nothing to guard for ten seconds. A process with permission
 * to signal the guard can kill or stop it: agentcg_get_info() reports that, and
 * the next agentcg_new() with this flag starts another guard.
 *
 * The guard is not a child of the caller, unless the caller is a subreaper
 * (prctl(2)) or the init of its pid namespace. Then a wait(2) for any child
 * finds the guard, a wait for all children does not end while the guard lives,
 * and after its end the next call of the library waits for it. The guard dies
 * with its pid namespace. If the init of that namespace ends, which may be the
 * caller itself, the empty group is left to agentcg_reap(). */
#define AGENTCG_NEW_GUARD       (1ull << 0)
#define AGENTCG_NEW_SYSTEMD     (1ull << 1)  /* agentcg_new(): use no place but a systemd scope. */
#define AGENTCG_NEW_NO_SYSTEMD  (1ull << 2)  /* agentcg_new(): never ask systemd. */
#define AGENTCG_NEW_KEEP_CALLER (1ull << 3)  /* agentcg_new(): never move the caller to make room. */

/* agentcg_open(): become the owner of an orphan. Without this flag the handle
 * is a non-owner's: it can measure, move and kill, but does not keep the group
 * from being reaped. */
#define AGENTCG_OPEN_OWN (1ull << 0)

/* agentcg_destroy(): do not kill. If a process lives in the group, fail with
 * -EBUSY. */
#define AGENTCG_DESTROY_IF_EMPTY (1ull << 0)

/* What agentcg_new_with() makes. A cleared struct asks for what
 * agentcg_new(NULL, NULL, NULL, 0, 0, ...) makes. */
struct agentcg_new_options {
	const char *parent;            /* The place, as for agentcg_new(), or NULL. */
	const char *uuid;              /* The uuid as text. NULL stands for a new random one. */
	const agentcg_limits *limits;  /* The limits, or NULL if limits_size is 0. */
	size_t limits_size;            /* sizeof(*limits). */
	uint64_t flags;                /* AGENTCG_NEW_... */
	/* A text for people: at most 63 bytes of UTF-8. It has no control characters,
	 * and none that break a line or change the direction of text (U+2028 to U+202E,
	 * U+2066 to U+2069). NULL and "" stand for none. agentcg_set_label() changes it. */
	const char *label;
	/* The name of the program that owns the agent: 1 to 63 characters, which are
	 * ASCII letters, digits and any of ._-:/. NULL stands for none. It cannot be
	 * changed. */
	const char *tag;
};

/* An agent, as agentcg_list() finds it. */
struct agentcg_entry {
	char uuid[AGENTCG_UUID_SIZE];     /* The uuid as text. */
	uint8_t orphan;                   /* 1 if the agent has no living owner. */
	uint8_t populated;                /* 1 if the group holds living processes. */
	uint8_t reserved;                 /* Always 0. */
	/* The pid of the owner in its own pid namespace, 0 if unknown. Do not rely on
	 * it or on created_unix_ns: an agent can change both. They are for people. */
	uint32_t owner_pid;
	uint32_t reserved2;               /* Always 0. */
	uint64_t created_unix_ns;         /* When the agent was made, 0 if unknown. */
	char label[AGENTCG_LABEL_SIZE];   /* The label as text, "" if there is none or it is unknown. */
	char tag[AGENTCG_LABEL_SIZE];     /* The tag of the program that made the agent, in the same way. */
	/* The uuid of the session of which the agent is a child, "" if it is none. */
	char session[AGENTCG_UUID_SIZE];
	uint8_t reserved3[3];             /* Always 0. */
};

/* The agent of a process, as agentcg_find() finds it. */
struct agentcg_found {
	char uuid[AGENTCG_UUID_SIZE];    /* The uuid as text. */
	/* 1 if the process is in a cgroup below the group, 0 if it is in the group or
	 * is a session's own. */
	uint8_t below;
	uint16_t reserved;               /* Always 0. */
	/* The pid of the owner in its own pid namespace, 0 if unknown. As in
	 * agentcg_entry it and created_unix_ns are for people: an agent can change both. */
	uint32_t owner_pid;
	uint32_t reserved2;              /* Always 0. */
	uint64_t created_unix_ns;        /* When the agent was made, 0 if unknown. */
	char label[AGENTCG_LABEL_SIZE];  /* The label as text, "" if there is none or it is unknown. */
	char tag[AGENTCG_LABEL_SIZE];    /* The tag of the program that made the agent, in the same way. */
	/* If the agent is a session, the uuid of the child in which the process is, or
	 * "". An agent that is not contained can make cgroups with such names in its own
	 * group; agentcg_open() shows which belong to the caller. */
	char child[AGENTCG_UUID_SIZE];
	uint8_t reserved3[3];            /* Always 0. */
};

/* Make an agent: make the group <parent>/synwire/agents/<uuid>, enable the cpu,
 * memory, pids and io controllers that are available on the way down, set the
 * limits, and open a handle.
 *
 * parent is the place, a cgroup directory. If it is NULL, the first of these
 * that works is used:
 *   1. a cgroup that was delegated to the caller,
 *   2. the root, or the root of the caller's cgroup namespace,
 *   3. the parent of the caller's own cgroup,
 *   4. a transient systemd scope,
 *   5. the caller's own cgroup, if it belongs to the caller and only processes
 *      in it prevent the use of controllers. Such an agent has no limits, but
 *      it can be killed and waited for, and it reports its CPU time.
 *
 * In a delegated cgroup and in a container's root, the caller is moved to a
 * child cgroup, "supervisor", if no other process is in that cgroup.
 *
 * uuid is a uuid as text; NULL stands for a new random one. limits_size is
 * sizeof(*limits); limits may be NULL if limits_size is 0. flags are
 * AGENTCG_NEW_...
 *
 * The guard keeps a systemd scope alive. The scope ends after the program and
 * its last agent. In a scope, agentcg_move_pid() may need systemd, and
 * agentcg_move_self() may return -EACCES.
 *
 * On failure no directory of this agent is left. Any number of callers, in one
 * process or several, may call this at the same time. The handle is the
 * caller's; agentcg_destroy() or agentcg_free() ends it.
 *
 * Returns 0. Errors, besides the common ones:
 *   -E2BIG       limits has a bit or a field set that this library does not
 *                know.
 *   -EACCES      Also: no place allows it; agentcg-guard may not be executed.
 *   -EAGAIN      A nesting limit is reached; no guard could be started.
 *   -EBUSY       The parent holds processes; it is frozen, so that no guard can
 *                be started in it.
 *   -EEXIST      The uuid is in use, or left over: see agentcg_open() and
 *                agentcg_reap().
 *   -ENODEV      Here: there is no usable cgroup2 hierarchy.
 *   -ENOENT      The parent does not exist; agentcg-guard is missing.
 *   -ENOEXEC     agentcg-guard is not the one of this library.
 *   -ENOSPC      The kernel has no room for another cgroup.
 *   -ENOTCONN    AGENTCG_NEW_SYSTEMD is set and systemd cannot be reached.
 *   -EOPNOTSUPP  The controller of a limit is not available; the parent is
 *                threaded.
 *   -ERANGE      A limit is out of range.
 *   -EROFS       The hierarchy is mounted read-only. */
AGENTCG_MUST_CHECK
int agentcg_new(const char *parent,
		const char *uuid,
		const agentcg_limits *limits,
		size_t limits_size,
		uint64_t flags,
		agentcg **ret_cg,
		agentcg_error *reterr);

/* Make an agent, like agentcg_new(), with a label and a tag. options_size is
 * sizeof(*options). options may be NULL if options_size is 0. The strings and the
 * limits are used only during the call.
 *
 * The tag binds agentcg_list_tagged(), agentcg_open_tagged() and
 * agentcg_reap_tagged() to the agents of one program. Label and tag are kept in
 * an extended attribute of the group's directory, user.agentcg.owner, which needs
 * Linux 5.7. An agent with the caller's uid can change the attribute, also if it
 * is contained: it can hide from a reap that is bound to its tag, and it can take
 * another program's tag. The guard and agentcg_reap() do not depend on it.
 *
 * Returns 0. Errors, as agentcg_new(), and:
 *   -E2BIG       Also: options has a field set that this library does not know.
 *   -EINVAL      Also: the label or the tag is not valid.
 *   -EOPNOTSUPP  Also: a label or a tag is given, and the kernel does not keep
 *                attributes of cgroups. */
AGENTCG_MUST_CHECK
int agentcg_new_with(const agentcg_new_options *options,
		     size_t options_size,
		     agentcg **ret_cg,
		     agentcg_error *reterr);

/* Make an agent whose group is inside the group of another one, which becomes a
 * session; the new agent is a child of it. options and options_size are as for
 * agentcg_new_with(), but parent must be NULL, and AGENTCG_NEW_GUARD is the only
 * flag. A child is an agent like any other. agentcg_get_info() and agentcg_list()
 * report its session.
 *
 * The limits of the session apply to all its processes together, and calls on
 * the session are about all of them: agentcg_kill_all(), agentcg_terminate(),
 * agentcg_freeze(), agentcg_read_stats(), the events and agentcg_destroy(). After
 * a session was destroyed, calls on the handles of its children return -ENODEV,
 * and agentcg_destroy() ends these handles with 0.
 *
 * The group of a session takes no process. With the first child, the session's
 * own processes are moved to a cgroup inside it, "own". agentcg_spawn(),
 * agentcg_move_pid() and agentcg_move_self() put processes there from then on;
 * clone3(2) into agentcg_fd() fails with EBUSY. Their memory from before stays
 * charged to the session's group. If they fork faster than they are moved, the
 * group is frozen for the time of the move. If the call fails, the agent may be a
 * session all the same. A program that was contained in the session before sees
 * the children's cgroups, one that is contained later does not.
 *
 * Any handle of the session will do, also a non-owner's. The child has an owner of
 * its own, the caller. agentcg_reap() ends the children of an orphaned session
 * together with it, whoever owns them. It leaves the children of a session with a
 * living owner alone, unless the path of the session is given as parent.
 * agentcg_open() and agentcg_list() find children in all groups of a place, and
 * take the path of a session as parent, too.
 *
 * max_descendants and max_depth of the session bound its children, too: besides
 * those and the cgroups in them it needs one cgroup for its own processes.
 * memory_low_bytes and memory_min_bytes of a child protect it from the limits of
 * the session. Those of the session protect its children only as far as they have
 * such limits of their own, or cgroup2 is mounted with memory_recursiveprot,
 * as systemd mounts it.
 *
 * Returns 0. Errors, as agentcg_new_with(), and:
 *   -EAGAIN      Also: max_descendants or max_depth of the session is reached.
 *   -EBUSY       The session holds processes that cannot be moved: they are
 *                outside the caller's pid namespace, or fork faster, which needs
 *                a kernel without a freezer.
 *   -EINVAL      Also: parent is not NULL, or another flag is set.
 *   -ENODEV      Also: the session was removed.
 *   -EOPNOTSUPP  Also: the session's group is threaded. */
AGENTCG_MUST_CHECK
int agentcg_new_in(agentcg *session,
		   const agentcg_new_options *options,
		   size_t options_size,
		   agentcg **ret_cg,
		   agentcg_error *reterr);

/* Open the group of an existing agent, for example after a restart. parent is
 * the place, a cgroup directory. If it is NULL, all places are searched in
 * which agentcg_new(NULL, ...) can have made the agent. The children of the
 * sessions of a place are found, too, and parent can be the path of a session.
 * uuid is the agent's uuid. flags is 0 or AGENTCG_OPEN_OWN. The handle is the caller's;
 * agentcg_destroy() or agentcg_free() ends it.
 *
 * systemd removes a scope when its last process has ended, and with it the groups
 * in it. AGENTCG_OPEN_OWN therefore starts a small process, agentcg-guard, if the
 * agent is in a scope that an earlier program has got: it keeps the scope until
 * the handle ends, so that the agent's last statistics can be read.
 *
 * Returns 0. Errors, besides the common ones:
 *   -EACCES      Also: systemd refuses to move that process to the scope.
 *   -EAGAIN      That process could not be started.
 *   -EBUSY       AGENTCG_OPEN_OWN is set and the agent's owner is alive.
 *   -ENODEV      Here: there is no usable cgroup2 hierarchy.
 *   -ENOENT      There is no such agent, or no such parent; agentcg-guard is
 *                missing.
 *   -ENOEXEC     agentcg-guard is not the one of this library.
 *   -ENOTCONN    systemd, which must move that process, cannot be reached.
 *   -EOPNOTSUPP  The caller is in a threaded cgroup. */
AGENTCG_MUST_CHECK
int agentcg_open(const char *parent,
		 const char *uuid,
		 uint64_t flags,
		 agentcg **ret_cg,
		 agentcg_error *reterr);

/* Open an agent, like agentcg_open(), if it has this tag. An agent of another
 * tag, or without one, counts as none. An agent that is adopted keeps its label
 * and its tag.
 *
 * Returns 0. Errors, as agentcg_open(), and:
 *   -EACCES  Also: the tag cannot be read.
 *   -EINVAL  Also: the tag is NULL or not valid.
 *   -ENOENT  Also: the agent does not have the tag. */
AGENTCG_MUST_CHECK
int agentcg_open_tagged(const char *parent,
			const char *uuid,
			const char *tag,
			uint64_t flags,
			agentcg **ret_cg,
			agentcg_error *reterr);

/* List the agents under parent, or, if it is NULL, in all places in which
 * agentcg_new(NULL, ...) can have made them, and the children of those that are
 * sessions. parent can be the path of a session. At most count entries of
 * entry_size bytes are filled, in no particular order. entry_size is
 * sizeof(*entries); entries may be NULL if count is 0. For an agent of another
 * uid, only the uuid is known.
 *
 * Returns the number of agents, which may be more than count. Errors, besides
 * the common ones:
 *   -ENODEV      Here: there is no usable cgroup2 hierarchy.
 *   -ENOENT      The parent does not exist.
 *   -EOPNOTSUPP  The caller is in a threaded cgroup. */
AGENTCG_MUST_CHECK
int agentcg_list(const char *parent,
		 agentcg_entry *entries,
		 size_t entry_size,
		 size_t count,
		 agentcg_error *reterr);

/* List the agents that have this tag, like agentcg_list(). Those of other uids
 * are left out, because their tags are unknown.
 *
 * Returns the number of agents, which may be more than count. Errors, as
 * agentcg_list(), and:
 *   -EINVAL  Also: the tag is NULL or not valid. */
AGENTCG_MUST_CHECK
int agentcg_list_tagged(const char *parent,
			const char *tag,
			agentcg_entry *entries,
			size_t entry_size,
			size_t count,
			agentcg_error *reterr);

/* Kill and remove the orphans under parent, or, if it is NULL, in all places in
 * which agentcg_new(NULL, ...) can have made them. Orphans are what a crashed
 * program has left; agents that were only half made are included. An agent
 * whose owner is alive is never touched, with one exception: the children of an
 * orphaned session end with it, whoever owns them. The children of a session that
 * is no orphan are left alone, unless parent is its path.
 *
 * Without a tag, the orphans of all programs of the caller's uid are meant: those
 * that another program would have adopted are lost. agentcg_reap_tagged() leaves
 * them alone.
 *
 * Returns the number of agents that were removed. On failure, all orphans that
 * could be removed are removed. Errors, besides the common ones:
 *   -EDEADLK     The caller is in one of them.
 *   -ENODEV      Here: there is no usable cgroup2 hierarchy.
 *   -ENOENT      The parent does not exist.
 *   -EOPNOTSUPP  The caller is in a threaded cgroup.
 *   -ETIMEDOUT   Some did not die within timeout_ms. */
AGENTCG_MUST_CHECK int agentcg_reap(const char *parent, int timeout_ms, agentcg_error *reterr);

/* Kill and remove the orphans that have this tag, like agentcg_reap(). An agent
 * with another tag, without one, or whose tag cannot be read, is never touched:
 * its program can adopt it at any time during the call. A child of a session with
 * the tag ends with the session, whatever its own tag is.
 *
 * The exception is an agent that was only half made: its program was killed in
 * agentcg_new() before it wrote the tag. Such a group has no process. It is
 * removed and counted, and nothing is killed. Before Linux 5.7 no agent has a
 * tag, and the call finds none.
 *
 * Returns the number of agents that were removed. On failure, all of these
 * orphans that could be removed are removed. Errors, as agentcg_reap(), and:
 *   -EINVAL  Also: the tag is NULL or not valid. */
AGENTCG_MUST_CHECK
int agentcg_reap_tagged(const char *parent,
			const char *tag,
			int timeout_ms,
			agentcg_error *reterr);

/* Find the agent in which a process is. size is sizeof(*ret_found). place
 * receives the path of the agent's place, which agentcg_open() takes as parent;
 * place may be NULL if place_size is 0. If no mount of the caller shows the
 * group, the path is "" and the owner is unknown.
 *
 * A process in a cgroup below a group is in the agent of that group. An agent
 * may make agents in its own group. Then the result is the outermost agent in
 * which the caller is not, so that an agent cannot pass for another by the
 * names of the cgroups that it makes. Of a process in a child of a session the
 * result is the session, and the child is reported with it. If the caller is in
 * all of them, the result is the innermost.
 *
 * A zombie is in the agent in which it ended. The cgroup's name in
 * /proc/PID/cgroup decides. If pid is reused during the call, the result is
 * that of one of the two processes, or -ESRCH. agentcg_find_pidfd() does not
 * have this problem.
 *
 * Returns the length of the place's path. Errors, besides the common ones:
 *   -EACCES  Also: /proc/PID/cgroup cannot be read, or /proc is not mounted.
 *   -EINVAL  Also: pid is less than 1.
 *   -ENODEV  The process has ended, and its group was removed.
 *   -ENOENT  The process is in no agent, or outside the caller's cgroup
 *            namespace.
 *   -ESRCH   The process does not exist, or is hidden from the caller. */
AGENTCG_MUST_CHECK
int agentcg_find(pid_t pid,
		 agentcg_found *ret_found,
		 size_t size,
		 char *place,
		 size_t place_size,
		 agentcg_error *reterr);

/* Find the agent in which a process is, like agentcg_find(), by its pidfd. The
 * result is never that of a process that reuses the pid. The pidfd can be that of
 * the other end of a socket (SO_PEERPIDFD, Linux 6.5).
 *
 * A process that has ended and was waited for can be found from Linux 6.15 on,
 * as long as its cgroup exists. The kernel reports only the id of the cgroup.
 * The library searches the places of agentcg_list(NULL, ...) for it, which
 * takes longer than that function.
 *
 * Returns the length of the place's path. Errors, as agentcg_find(), and:
 *   -EBADF  pidfd is not a pidfd.
 *   -ESRCH  Also: the process has ended and was waited for, and the kernel does
 *           not report its cgroup, or it is in no agent that was searched. */
AGENTCG_MUST_CHECK
int agentcg_find_pidfd(int pidfd,
		       agentcg_found *ret_found,
		       size_t size,
		       char *place,
		       size_t place_size,
		       agentcg_error *reterr);

/* End an agent: kill all processes, wait until they are dead, take the last
 * measurements, remove the group and every cgroup that the agent made inside
 * it, and free the handle. flags is 0 or AGENTCG_DESTROY_IF_EMPTY. ret_final
 * receives the last measurements, size is sizeof(*ret_final); they may be NULL
 * and 0.
 *
 * 0 means that the directory is gone. On failure the handle stays valid and
 * nothing is lost: call again. A NULL cg is allowed. If somebody else has
 * removed the group, the call succeeds; -ENODEV is never returned.
 *
 * From Linux 6.19.11 to 7.1-rc2, removing a group can hang while its dead
 * processes wait to be reaped. There the call returns -ETIMEDOUT, and the
 * message names the pids to reap.
 *
 * Returns 0. Errors, besides the common ones:
 *   -EBUSY      AGENTCG_DESTROY_IF_EMPTY is set and the group is not empty.
 *   -EDEADLK    The caller is in the group.
 *   -ETIMEDOUT  A process lives, or the group exists, after timeout_ms. */
AGENTCG_MUST_CHECK
int agentcg_destroy(agentcg *cg,
		    uint64_t flags,
		    int timeout_ms,
		    agentcg_stats *ret_final,
		    size_t size,
		    agentcg_error *reterr);

/* Free the handle, and leave the group and its processes as they are. If the
 * handle was the owner's, the agent is an orphan from then on: agentcg_open()
 * can adopt it, and agentcg_reap() ends it. A NULL cg is allowed. */
void agentcg_free(agentcg *cg);

/* ---- 3. facts about a handle --------------------------------------------- */

/* Facts about a handle and its group. */
struct agentcg_info {
	uint64_t id;                      /* The kernel's id of the cgroup. */
	uint64_t controllers;             /* AGENTCG_CONTROLLER_... that are in force in the group. */
	uint32_t place;                   /* AGENTCG_PLACE_...: the kind of its place. */
	uint32_t owned;                   /* 1 if this handle is the owner's. */
	/* 1 if the guard ends it with this process. 0 also while the guard is stopped. */
	uint32_t guarded;
	uint32_t reserved;                /* Always 0. */
	/* The label, "" if there is none or it is unknown. The owner's handle knows the
	 * label and the tag that it has given or adopted. A non-owner's reads them from
	 * the group, where an agent can change both. */
	char label[AGENTCG_LABEL_SIZE];
	char tag[AGENTCG_LABEL_SIZE];     /* The tag of the program that made the agent, in the same way. */
	/* The uuid of the session of which the agent is a child, "" if it is none. */
	char session[AGENTCG_UUID_SIZE];
	uint8_t reserved2[3];             /* Always 0. */
};

/* Copy the agent's uuid, 36 characters, to buf. Returns the length of the uuid.
 * The only error is -EINVAL. */
int agentcg_uuid(agentcg *cg, char *buf, size_t size);

/* Copy the absolute path of the group's directory, as mounted in the caller's
 * mount namespace, to buf. Returns the length of the path. The only error is
 * -EINVAL. */
int agentcg_path(agentcg *cg, char *buf, size_t size);

/* Return the descriptor of the group's directory, for CLONE_INTO_CGROUP, Go's
 * SysProcAttr.CgroupFD and posix_spawnattr_setcgroup_np(3). It belongs to the
 * handle: do not close it. The group of a session takes no process: open "own"
 * in it. The only error is -EINVAL. Async-signal-safe. */
int agentcg_fd(agentcg *cg);

/* Read facts about the handle and its group. size is sizeof(*ret_info).
 *
 * Returns 0. The errors are the common ones. */
AGENTCG_MUST_CHECK
int agentcg_get_info(agentcg *cg,
		     agentcg_info *ret_info,
		     size_t size,
		     agentcg_error *reterr);

/* Change the label of the agent. label is as in agentcg_new_options: NULL and ""
 * remove it. Only the owner may change it.
 *
 * Returns 0. Errors, besides the common ones:
 *   -EACCES      Also: the agent has removed the right to write the attribute, and
 *                does so again.
 *   -EINVAL      Also: the label is not valid.
 *   -ENOSPC      The attributes of the group have no room for it: the agent has
 *                filled them.
 *   -EOPNOTSUPP  The kernel does not keep attributes of cgroups (before Linux 5.7).
 *   -EPERM       The handle is a non-owner's. */
AGENTCG_MUST_CHECK int agentcg_set_label(agentcg *cg, const char *label, agentcg_error *reterr);

/* ---- 4. processes -------------------------------------------------------- */

/* Search file in the caller's PATH, as execvp(3) does. */
#define AGENTCG_SPAWN_SEARCH_PATH          (1ull << 0)
/* Call setsid(2): the program has no terminal and a process group of its own. */
#define AGENTCG_SPAWN_NEW_SESSION          (1ull << 1)
/* Start the program in namespaces of its own, rooted at the group: it cannot
 * leave the group, raise its limits, or see the rest of the hierarchy. This
 * implies AGENTCG_SPAWN_NEW_SESSION and a new session keyring. If Landlock can
 * scope signals (Linux 6.12), the program can signal only processes of its own.
 *
 * The program can make 1,000 cgroups at most, 64 levels deep, unless the caller
 * has set max_descendants or max_depth (AGENTCG_UNLIMITED included), because
 * the memory of cgroups is charged to nobody. The working directory must not be
 * in the hierarchy (-EINVAL). docs/containment.md lists what is contained and
 * what is not.
 *
 * AGENTCG_SPAWN_UID, AGENTCG_SPAWN_GID and AGENTCG_SPAWN_GROUPS are -EINVAL
 * with this flag. The program's user namespace has only the caller's user and
 * group id, because other ids need root, and a program cannot take an id that its
 * namespace does not have. To contain a program of another user, start an
 * uncontained program of that user, which makes an agent and starts the
 * contained program in it. */
#define AGENTCG_SPAWN_CONTAIN              (1ull << 2)
/* Give the program the user id uid, as the real, effective and saved one. The
 * supplementary groups stay the caller's without AGENTCG_SPAWN_GROUPS. */
#define AGENTCG_SPAWN_UID                  (1ull << 3)
/* Give the program the group id gid, as the real, effective and saved one. */
#define AGENTCG_SPAWN_GID                  (1ull << 4)
/* Give the program the supplementary groups in groups, and no other. There may be
 * none. */
#define AGENTCG_SPAWN_GROUPS               (1ull << 5)
/* Give the program the file mode creation mask umask. */
#define AGENTCG_SPAWN_UMASK                (1ull << 6)
#define AGENTCG_SPAWN_NICE                 (1ull << 7)   /* Give the program the niceness nice. */
/* Give the program the oom_score_adj in oom_score_adj, also if it is -1000. */
#define AGENTCG_SPAWN_OOM_SCORE_ADJ        (1ull << 8)
/* Set no_new_privs: execve(2) gives the program and its descendants no privileges. */
#define AGENTCG_SPAWN_NO_NEW_PRIVS         (1ull << 9)
#define AGENTCG_SPAWN_PGROUP               (1ull << 10)  /* Move the program to the process group pgroup. */
/* Make terminal_fd the controlling terminal of the program, with
 * AGENTCG_SPAWN_NEW_SESSION or AGENTCG_SPAWN_CONTAIN. */
#define AGENTCG_SPAWN_CONTROLLING_TERMINAL (1ull << 11)
/* Make the program's process group the foreground group of terminal_fd, with
 * AGENTCG_SPAWN_PGROUP or AGENTCG_SPAWN_CONTROLLING_TERMINAL. */
#define AGENTCG_SPAWN_FOREGROUND           (1ull << 12)
/* Execute file_fd. The argument file must be NULL. A script (#!) is -ENOENT,
 * because its interpreter cannot open the descriptor. */
#define AGENTCG_SPAWN_FILE_FD              (1ull << 13)
/* Return as soon as there is a child in the group. agentcg_spawn_result()
 * returns the result of the start. ret_pidfd must not be NULL. This needs Linux
 * 5.4 (-EOPNOTSUPP). Until the program begins, the child holds copies of the
 * caller's descriptors. A file that the caller closes in the meantime stays
 * open in the child: remove it from epoll by EPOLL_CTL_DEL, and do not expect
 * the end of a pipe before the program begins. */
#define AGENTCG_SPAWN_ASYNC                (1ull << 14)

/* How a program starts. Begin with AGENTCG_SPAWN_OPTIONS_INIT: a cleared struct
 * is not the default, because 0 is a descriptor. The descriptors stay the
 * caller's. An address is in a field of 64 bits, as in the structs of the kernel,
 * so that the layout is the same for every compiler: (uintptr_t)array. The memory
 * is used only during the call.
 *
 * In the group, the child applies the options in this order: containment,
 * session, process group, controlling terminal, foreground, working directory,
 * descriptors, umask, nice, oom_score_adj, resource limits, groups, gid, uid,
 * parent-death signal, no_new_privs, signals, execve(2). The message names the
 * step that fails. An option that is not used costs no system call. */
struct agentcg_spawn_options {
	uint64_t flags;            /* AGENTCG_SPAWN_... */
	int32_t stdin_fd;          /* AGENTCG_INHERIT, AGENTCG_DEVNULL or a descriptor. */
	int32_t stdout_fd;         /* AGENTCG_INHERIT, AGENTCG_DEVNULL or a descriptor. */
	int32_t stderr_fd;         /* AGENTCG_INHERIT, AGENTCG_DEVNULL or a descriptor. */
	int32_t cwd_fd;            /* The working directory: AGENTCG_INHERIT or a descriptor. */
	/* The address of an array of agentcg_spawn_fd, in any order: more descriptors of
	 * the program. A target from 0 to 2 needs AGENTCG_INHERIT in the field above. */
	uint64_t fds;
	uint64_t fds_count;        /* The number of elements of fds. */
	/* The address of an int[3], if a field above is AGENTCG_PIPE: agentcg_spawn()
	 * stores the caller's ends of the pipes there, or -1. The caller closes them. */
	uint64_t ret_pipes;
	uint64_t groups;           /* The address of an array of gid_t, with AGENTCG_SPAWN_GROUPS. */
	uint64_t groups_count;     /* The number of elements of groups. */
	/* The address of an array of agentcg_spawn_rlimit: the resource limits that
	 * differ from the caller's. */
	uint64_t rlimits;
	uint64_t rlimits_count;    /* The number of elements of rlimits. */
	uint32_t uid;              /* With AGENTCG_SPAWN_UID. */
	uint32_t gid;              /* With AGENTCG_SPAWN_GID. */
	uint32_t umask;            /* From 0 to 0777, with AGENTCG_SPAWN_UMASK. */
	int32_t nice;              /* From -20 to 19, with AGENTCG_SPAWN_NICE. */
	int32_t oom_score_adj;     /* From -1000 to 1000, with AGENTCG_SPAWN_OOM_SCORE_ADJ. */
	/* The signal that the program gets when the calling thread ends, or 0. Linux
	 * clears it when a program with more privileges is executed. */
	int32_t parent_death_signal;
	uint64_t ignored_signals;  /* The signals that are ignored in the program: bit n - 1 is signal n. */
	uint64_t blocked_signals;  /* The signals that are blocked in the program. */
	/* A process group of the caller's session or 0, a new one, with
	 * AGENTCG_SPAWN_PGROUP. */
	int32_t pgroup;
	int32_t terminal_fd;       /* With AGENTCG_SPAWN_CONTROLLING_TERMINAL or AGENTCG_SPAWN_FOREGROUND. */
	/* The program's file, with AGENTCG_SPAWN_FILE_FD. It may be open with O_PATH. */
	int32_t file_fd;
	/* How long agentcg_spawn() waits for the program to begin, in milliseconds.
	 * 0 means 10 s, in the groups that the comment of agentcg_spawn() names.
	 * AGENTCG_FOREVER sets no limit. */
	int32_t begin_timeout_ms;
};

/* A descriptor of a program: an element of agentcg_spawn_options.fds. */
struct agentcg_spawn_fd {
	int32_t source_fd;         /* The caller's descriptor, or AGENTCG_DEVNULL. It may also be a target. */
	int32_t target_fd;         /* Its number in the program, which must be below RLIMIT_NOFILE. */
};

/* A resource limit of a program: an element of agentcg_spawn_options.rlimits. */
struct agentcg_spawn_rlimit {
	uint64_t resource;         /* RLIMIT_... */
	uint64_t soft;             /* The soft limit, or AGENTCG_UNLIMITED. */
	uint64_t hard;             /* The hard limit, or AGENTCG_UNLIMITED. */
};

/* Move a process with all its threads into the group, and check that it has
 * arrived. Children that it already has are not moved. pid must be 1 or more;
 * 0, which the kernel takes for the caller, is refused. The process keeps its
 * oom_score_adj: if that is -1000, the OOM killer passes it over, and at
 * memory_max_bytes it uses CPU time instead of being killed.
 *
 * Returns 0. Errors, besides the common ones:
 *   -EBUSY       The group does not take processes, because the agent has
 *                enabled controllers for cgroups of its own.
 *   -EINVAL      Also: a kernel thread; a realtime policy, if the kernel has RT
 *                group scheduling.
 *   -EOPNOTSUPP  The group is in a threaded domain.
 *   -ESRCH       The process does not exist, or is a zombie. */
AGENTCG_MUST_CHECK int agentcg_move_pid(agentcg *cg, pid_t pid, agentcg_error *reterr);

/* Move a process like agentcg_move_pid(), by its pidfd. This needs /proc.
 *
 * Returns 0. Errors, as agentcg_move_pid(), and:
 *   -EBADF  pidfd is not a pidfd.
 *   -ESRCH  Also: the process exited during the call. The message says if a
 *           process that reuses its pid was moved. */
AGENTCG_MUST_CHECK int agentcg_move_pidfd(agentcg *cg, int pidfd, agentcg_error *reterr);

/* Move the calling process into the group. This is for use between fork(2) and
 * execve(2). The process keeps its oom_score_adj: see agentcg_move_pid().
 * Async-signal-safe.
 *
 * In a login session (ssh, su, a text console) this returns -EACCES. The agent is
 * in a scope of the user's systemd, and the directory that the scope and the
 * session have in common belongs to root: only systemd can move a process from one
 * to the other, and a child between fork(2) and execve(2) cannot ask it. The same
 * holds for other callers with a place of the kind AGENTCG_PLACE_SYSTEMD.
 * agentcg_spawn() works there. If the child has to be made by fork(2), the parent
 * moves it with agentcg_move_pid(), which asks systemd, and the child waits:
 *
 *   int go[2];                           // the child reads a byte when it is in the group
 *   if (pipe2(go, O_CLOEXEC) < 0)
 *       return -errno;
 *   pid_t pid = fork();
 *   if (pid == 0) {
 *       char byte;
 *       close(go[1]);                // otherwise it would wait if the parent ends
 *       if (read(go[0], &byte, 1) == 1)
 *           execv(argv[0], argv);
 *       _exit(127);
 *   }
 *   int rc = pid < 0 ? -errno : agentcg_move_pid(cg, pid, &error);
 *   if (rc == 0 && write(go[1], "", 1) != 1)
 *       rc = -errno;                 // go[0] is open here, so that there is no SIGPIPE
 *   close(go[0]);
 *   close(go[1]);                        // after a failure the child ends: wait for it
 *
 * Returns 0. Errors, as agentcg_move_pid(). -ESRCH is never returned. */
AGENTCG_MUST_CHECK int agentcg_move_self(agentcg *cg);

/* Move a process with all its threads out of the agent: from the group, or from
 * a cgroup below it, to the caller's own cgroup. Children that it already has are
 * not moved. A process that is not in the group or below it is not moved.
 *
 * From then on the limits of the caller's cgroup apply to the process instead of
 * the agent's, and it does not end with the agent. The memory that it has used
 * stays charged to the group until it is freed, and the statistics of the group
 * keep what it has used. A process of a frozen group thaws. The process keeps
 * its oom_score_adj, and what AGENTCG_SPAWN_CONTAIN has set. If it was the last
 * one, the group is empty (AGENTCG_EVENT_EMPTY).
 *
 * The caller must be outside the group; in particular no program that is contained
 * by AGENTCG_SPAWN_CONTAIN gets out of its group in this way. The right to write
 * cgroup.procs is needed in the caller's cgroup and in the nearest cgroup that
 * contains both this one and the group. systemd is not asked.
 *
 * The process is looked for in the group immediately before the move. The kernel
 * moves by pid only: if the process ends and is waited for between the two, and a
 * new process gets its pid, that one is moved. The call is -ESRCH, and the message
 * says so.
 *
 * Returns 0. Errors, besides the common ones:
 *   -EACCES      Also: /proc/PID/cgroup cannot be read, or /proc belongs to
 *                another pid namespace.
 *   -EBUSY       The caller was moved during the call, and the cgroup in which it
 *                was takes no processes any more.
 *   -EDEADLK     The calling process is in the group.
 *   -EINVAL      Also: pid is less than 1; a kernel thread; a realtime policy, if
 *                the kernel has RT group scheduling.
 *   -ENODEV      Also: the caller's cgroup is not found in any mount of cgroup2.
 *   -EOPNOTSUPP  The caller's cgroup is threaded.
 *   -ESRCH       The process is not in the group or below it, does not exist, is
 *                a zombie, or is hidden from the caller. */
AGENTCG_MUST_CHECK int agentcg_move_out(agentcg *cg, pid_t pid, agentcg_error *reterr);

/* Move a process out of the agent like agentcg_move_out(), by its pidfd.
 *
 * Returns 0. Errors, as agentcg_move_out(), and:
 *   -EBADF  pidfd is not a pidfd. */
AGENTCG_MUST_CHECK int agentcg_move_out_pidfd(agentcg *cg, int pidfd, agentcg_error *reterr);

/* Return 1 if pid, with any of its threads, is in the group or below it, 0 if
 * it is not. This shows an escape. The cgroup's name in /proc/PID/cgroup
 * decides.
 *
 * Errors, besides the common ones:
 *   -EACCES  Also: /proc/PID/cgroup cannot be read.
 *   -EINVAL  Also: pid is less than 1.
 *   -ESRCH   The process does not exist, is a zombie, or is hidden from the
 *            caller. */
AGENTCG_MUST_CHECK int agentcg_contains(agentcg *cg, pid_t pid, agentcg_error *reterr);

/* List the processes that live in the group and below it, each once, in
 * ascending order. At most count pids are written; pids may be NULL if count is
 * 0. Zombies are left out. Processes outside the caller's pid namespace have no
 * pid in it and are left out, too.
 *
 * Returns the number of processes, which may be more than count. The errors are
 * the common ones. */
AGENTCG_MUST_CHECK
int agentcg_pids(agentcg *cg,
		 pid_t *pids,
		 size_t count,
		 agentcg_error *reterr);

/* Start a program inside the group. It is in the group before its first
 * instruction, and so is everything that it starts. argv and envp end with
 * NULL. If envp is NULL, the program gets the caller's environment, or an empty
 * one if environ is NULL. options_size is sizeof(*options). options may be NULL
 * if options_size is 0: then the program gets the caller's standard descriptors
 * and working directory, and no flags are set.
 *
 * The child belongs to the caller, which waits for it with waitpid(2) or by the
 * pidfd. The pidfd is close-on-exec, and the caller closes it; it is -1 before
 * Linux 5.2. ret_pid and ret_pidfd may be NULL. The child has its three
 * standard descriptors and those of options.fds, and no other. No signal is
 * handled in it, and only those in options are ignored or blocked. A relative
 * file, and a relative directory in PATH, start at cwd_fd. If the kernel cannot
 * run a file (-ENOEXEC), no shell is tried.
 *
 * A failure of execve(2) is returned with its code. Then nothing is left of the
 * child, even if other code waits for the caller's children. The caller's
 * memory is not copied, except in these cases: with memory.oom.group, because
 * the kernel would kill the caller with the group; with AGENTCG_SPAWN_CONTAIN
 * under a seccomp filter before Linux 5.16, because a core dump would kill the
 * caller; with AGENTCG_SPAWN_UID or AGENTCG_SPAWN_GID, because the caller would
 * become not dumpable; with AGENTCG_SPAWN_ASYNC, because the caller goes on.
 * agentcg_fd() with posix_spawn(3) does not make these exceptions.
 *
 * The calling thread is suspended until the program begins. After
 * begin_timeout_ms the child is killed, and the call returns at most a tenth of
 * a second later. If the child has not ended by then, because it gets no CPU
 * time, a later call waits for it; a waitpid(2) without __WALL does not find
 * it. Without begin_timeout_ms the default of 10 s applies only in a group that
 * its cpu.max has throttled, and in one that was seen frozen. A
 * begin_timeout_ms that is set applies in every group. A start then takes two
 * to four times as long, because more processes have to wake each other.
 *
 * If the group is frozen before the program begins, the child is killed and
 * -EBUSY is returned. This holds for every freeze through this handle; for
 * other freezes it holds after one was seen. Until then, the calling thread
 * waits until the group is thawed or killed.
 *
 * If the caller has an oom_score_adj of -1000, the program gets 0 instead, so
 * that its memory_max_bytes is enforced: the OOM killer passes over processes
 * with -1000. agentcg_move_self() and agentcg_move_pid() cannot do this.
 *
 * Returns 0. Errors, as agentcg_move_pid(), and:
 *   -E2BIG         From execve(2); options has a field set that this library
 *                  does not know.
 *   -EACCES        Also: from execve(2); nice or oom_score_adj is lower than the
 *                  caller may set it.
 *   -EAGAIN        pids_max or the user's own limit of processes is reached.
 *   -EBADF         A descriptor in options is not open.
 *   -EBUSY         The group is frozen or is being killed.
 *   -ECANCELED     The child was killed before the program began.
 *   -EDQUOT        AGENTCG_WHY_NOT_CONTAINED: kernel.keys.maxkeys is reached.
 *   -EINVAL        Also: from execve(2); argv is empty; a field is out of range, or
 *                  fields cannot be combined, which the message names.
 *   -ENOMEM        Also, with the file memory.max: the group's limit leaves too
 *                  little memory for the program to begin.
 *   -ENOTDIR       From execve(2); cwd_fd is not a directory.
 *   -EPERM         AGENTCG_WHY_NOT_CONTAINED: user namespaces are forbidden, or
 *                  a seccomp filter kills the child. Without that reason: from
 *                  execve(2); a seccomp filter kills the child at another step;
 *                  the caller may not set uid, gid, groups, rlimits, pgroup or
 *                  terminal_fd, which the message names.
 *   -ENOTTY        terminal_fd is not a terminal, or not that of the session.
 *   -EOPNOTSUPP    AGENTCG_WHY_NOT_CONTAINED: the hierarchy is not mounted
 *                  nsdelegate. Without that reason: the kernel has no
 *                  AGENTCG_SPAWN_ASYNC.
 *   -ETIMEDOUT     The program did not begin in time. It does not begin later.
 *   -EISDIR, -ELIBBAD, -ELOOP, -ENAMETOOLONG, -ENOENT, -ENOEXEC, -ETXTBSY
 *                  From execve(2). */
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

/* Find out the result of a start with AGENTCG_SPAWN_ASYNC. The call does not
 * wait. A child whose start has failed makes its pidfd readable, sends no
 * SIGCHLD, and is not found by a waitpid(2) without __WALL. The caller does not
 * have to wait for it: this function does so. To give up a start, kill the
 * child by pidfd_send_signal(2), or kill the group. The pidfd stays the
 * caller's.
 *
 * Returns 0 if the program has begun, or has begun and ended: from then on the
 * caller waits for the child. Every other value, except -EINPROGRESS, means
 * that the program does not begin, and that nothing is left of the child.
 * Errors, as agentcg_spawn(), and:
 *   -EBADF         pidfd is not an open descriptor.
 *   -ECHILD        The pidfd is not that of a child of the caller, or the child
 *                  was waited for.
 *   -EINPROGRESS   The program has not begun yet. */
AGENTCG_MUST_CHECK int agentcg_spawn_result(agentcg *cg, int pidfd, agentcg_error *reterr);

/* ---- 5. limits ----------------------------------------------------------- */

#define AGENTCG_LIMIT_MEMORY_MAX      (1ull << 0)   /* memory_max_bytes is valid. */
#define AGENTCG_LIMIT_MEMORY_HIGH     (1ull << 1)   /* memory_high_bytes is valid. */
#define AGENTCG_LIMIT_MEMORY_LOW      (1ull << 2)   /* memory_low_bytes is valid. */
#define AGENTCG_LIMIT_MEMORY_MIN      (1ull << 3)   /* memory_min_bytes is valid. */
#define AGENTCG_LIMIT_SWAP_MAX        (1ull << 4)   /* swap_max_bytes is valid. */
#define AGENTCG_LIMIT_OOM_GROUP       (1ull << 5)   /* oom_group is valid. */
#define AGENTCG_LIMIT_CPU_MAX         (1ull << 6)   /* cpu_max_millicpu and cpu_period_us are valid. */
#define AGENTCG_LIMIT_CPU_BURST       (1ull << 7)   /* cpu_burst_us is valid. */
#define AGENTCG_LIMIT_CPU_WEIGHT      (1ull << 8)   /* cpu_weight is valid. */
#define AGENTCG_LIMIT_CPU_IDLE        (1ull << 9)   /* cpu_idle is valid. */
#define AGENTCG_LIMIT_PIDS_MAX        (1ull << 10)  /* pids_max is valid. */
#define AGENTCG_LIMIT_IO_WEIGHT       (1ull << 11)  /* io_weight is valid. */
#define AGENTCG_LIMIT_MAX_DEPTH       (1ull << 12)  /* max_depth is valid. */
#define AGENTCG_LIMIT_MAX_DESCENDANTS (1ull << 13)  /* max_descendants is valid. */
/* agentcg_set_limits(), agentcg_set_place_limits(): enforce memory_max_bytes and
 * memory_high_bytes at once, by reclaiming memory and, for memory_max_bytes, by
 * killing. */
#define AGENTCG_SET_FORCE             (1ull << 0)
#define AGENTCG_LIMITS_SIZE_V0        128           /* The smallest size of agentcg_limits that is accepted. */

/* Limits to set, or limits that were read. To set some, clear the struct, fill
 * in the fields, and set their bits in mask. A field whose bit is clear is left
 * as it is. agentcg_new() refuses a field that is not 0 and whose bit is clear,
 * because a forgotten bit would mean no limit. AGENTCG_UNLIMITED lifts a limit.
 *
 * memory_low_bytes and memory_min_bytes protect against a limit on the
 * directory that the agents share. They protect against pressure from further
 * up only as far as that directory and those above it are protected, too. */
struct agentcg_limits {
	uint64_t mask;               /* AGENTCG_LIMIT_... of the fields that are valid. */
	/* The hard limit of memory: above it the OOM killer acts. One page or more. */
	uint64_t memory_max_bytes;
	uint64_t memory_high_bytes;  /* Above this the group is throttled and its memory is reclaimed. */
	uint64_t memory_low_bytes;   /* Best-effort protection: memory up to this is reclaimed last. */
	uint64_t memory_min_bytes;   /* Hard protection: memory up to this is not reclaimed. */
	/* The limit of swap. With 0 there is none, and memory_max_bytes bounds all. */
	uint64_t swap_max_bytes;
	uint64_t oom_group;          /* With 1 an OOM kills the whole group and never a part of it. */
	uint64_t cpu_max_millicpu;   /* The CPU quota, 1 or more: 500 is half of a CPU, 2000 is two CPUs. */
	/* The period of the quota. 0 means 100000, or longer if the quota of a period
	 * would be less than 1000 us, the minimum of the kernel. */
	uint64_t cpu_period_us;
	uint64_t cpu_burst_us;       /* Unused quota that can be saved up, at most the quota. */
	uint64_t cpu_weight;         /* The share of CPU time, 1 to 10000. The kernel's default is 100. */
	uint64_t cpu_idle;           /* With 1 the group gets only idle CPU time. */
	uint64_t pids_max;           /* The limit of threads. Zombies count, too. */
	uint64_t io_weight;          /* The share of I/O, 1 to 10000. */
	uint64_t max_depth;          /* Levels of cgroups that the agent may make inside its group. */
	uint64_t max_descendants;    /* Cgroups that the agent may make inside its group. */
};

/* Change limits: all of them, or none on failure. size is sizeof(*limits),
 * flags is 0 or AGENTCG_SET_FORCE.
 *
 * A lower memory_high_bytes slows the group down, and a lower pids_max refuses
 * new threads; neither kills a process. A memory_max_bytes that is less than
 * the memory in use is refused (-EBUSY), because the kernel would kill to
 * enforce it; AGENTCG_SET_FORCE allows that.
 *
 * Each value is read back. The kernel rounds memory down to whole pages. Before
 * Linux 6.16, lowering memory_high_bytes takes as long as the reclaim of the
 * memory above it. cpu_burst_us must not exceed the quota, and cpu_weight
 * cannot be set for an idle group; if the same call does not set quota or
 * cpu_idle, the value in force counts. Clearing cpu_idle resets cpu_weight to
 * 100.
 *
 * Concurrent calls, in one process or several, are not serialized: each file
 * ends with one caller's value, and a mismatch on read-back is -ERANGE.
 * agentcg_kill_all() may lift cpu.max while it kills. A new cpu.max that the
 * same process sets in the meantime stays. After one that another process
 * sets, agentcg_kill_all() restores the value that it found.
 *
 * Returns 0. Errors, besides the common ones:
 *   -E2BIG       limits has a bit or a field set that this library does not
 *                know.
 *   -EBUSY       memory_max_bytes is less than the memory in use.
 *   -EINVAL      Also: cpu_weight for an idle group.
 *   -EOPNOTSUPP  The controller of a limit is not available.
 *   -ERANGE      A limit is out of range; a burst exceeds the quota; another
 *                caller's value was read back.
 * If the message says "half set", some old values could not be restored. The
 * next call that uses the limits tries again. */
AGENTCG_MUST_CHECK
int agentcg_set_limits(agentcg *cg,
		       const agentcg_limits *limits,
		       size_t size,
		       uint64_t flags,
		       agentcg_error *reterr);

/* Read the limits that are set in the group. size is sizeof(*ret_limits). The
 * mask has the bits of the limits that exist. AGENTCG_UNLIMITED means no limit.
 * cpu_max_millicpu is rounded up, so that each number that was set is returned
 * unchanged. An idle group has no cpu_weight. The limits in force may be lower,
 * because the limits of the cgroups above apply, too. While another thread of
 * the process kills, cpu_max_millicpu is the limit that applies again after it.
 *
 * Returns 0. The errors are the common ones. */
AGENTCG_MUST_CHECK
int agentcg_get_limits(agentcg *cg,
		       agentcg_limits *ret_limits,
		       size_t size,
		       agentcg_error *reterr);

/* Set limits of all agents of a place together: those of the cgroup
 * <parent>/synwire/agents, which holds the groups of all agents of the place. The
 * limits of each agent apply inside it. All of them are set, or none on failure.
 * size is sizeof(*limits), flags is 0 or AGENTCG_SET_FORCE.
 *
 * parent is the place. If it is NULL, it is the place in which
 * agentcg_new(NULL, ...) with these limits would make an agent. The tree is made
 * as agentcg_new() makes it, if it is missing.
 *
 * The limits stay until they are set to others, also without an agent and after
 * the end of the calling process. The library keeps them by an empty cgroup,
 * "limits", beside the agents. If a call leaves every limit at the kernel's
 * default, it removes that cgroup, and the tree if it holds no agent. The limits
 * end with the place: systemd removes a scope that it has made for the caller
 * when the last process in it has ended, and the cgroups of a service when the
 * service stops.
 *
 * The owner of the directory may set the limits: the uid that has made the tree,
 * which is the uid to which the place is delegated, and root. If root makes the
 * tree in a place of another uid, that uid cannot make agents there. An agent of
 * the same uid can change the limits, too, unless it is contained
 * (AGENTCG_SPAWN_CONTAIN). All hosts of one place have one set of limits, which
 * applies to the agents of all of them. A limit that is not in the mask stays as
 * another host has set it. Calls are serialized, and the last one counts.
 *
 * The fields mean what they mean for one agent, except:
 * - memory_max_bytes: if the agents together are above it, the OOM killer chooses
 *   a process of any of them. agentcg_explain() reports
 *   AGENTCG_CAUSE_MEMORY_LIMIT_ABOVE with levels_up 1 (2 for a child of a
 *   session).
 * - oom_group: with 1 an OOM of the place kills all agents of all hosts of the
 *   place.
 * - cpu_weight, cpu_idle, io_weight: the share of all agents, compared with what
 *   else is in the place, such as the host's own cgroup.
 * - memory_low_bytes, memory_min_bytes: the protection of all agents from what
 *   else is in the place, and from pressure from further up as far as the cgroups
 *   above are protected. It reaches an agent only as far as the agent has such a
 *   limit of its own, or cgroup2 is mounted with memory_recursiveprot, as systemd
 *   mounts it.
 * - pids_max: all threads of all agents. The host's own do not count.
 * - max_descendants, max_depth: the agents count, with the cgroups inside them,
 *   and so does the cgroup "limits". agentcg_new() fails with -EAGAIN when the
 *   limit is reached.
 *
 * Returns 0. Errors, besides the common ones:
 *   -E2BIG       limits has a bit or a field set that this library does not
 *                know.
 *   -EACCES      Also: no place allows it; agentcg-guard may not be executed.
 *   -EAGAIN      A nesting limit is reached; no guard could be started.
 *   -EBUSY       memory_max_bytes is less than the memory in use; the parent
 *                holds processes; another call that sets the limits does not end.
 *   -EINVAL      Also: cpu_weight for an idle group.
 *   -ENODEV      Here: there is no usable cgroup2 hierarchy.
 *   -ENOENT      The parent does not exist; agentcg-guard is missing.
 *   -ENOEXEC     agentcg-guard is not the one of this library.
 *   -ENOSPC      The kernel has no room for another cgroup.
 *   -EOPNOTSUPP  The controller of a limit is not available; the parent is
 *                threaded.
 *   -ERANGE      A limit is out of range; a burst exceeds the quota; another
 *                process has written another value at the same time.
 *   -EROFS       The hierarchy is mounted read-only.
 * If the message says "half set", some old values could not be restored. */
AGENTCG_MUST_CHECK
int agentcg_set_place_limits(const char *parent,
			     const agentcg_limits *limits,
			     size_t size,
			     uint64_t flags,
			     agentcg_error *reterr);

/* Read the limits of all agents of a place together, whoever has set them.
 * parent is the place. If it is NULL, it is the one that agentcg_discover_parent()
 * returns. size is sizeof(*ret_limits). The fields are as for
 * agentcg_get_limits(). A place that has agents and no limits has
 * AGENTCG_UNLIMITED in these fields. Nothing is changed.
 *
 * Returns 0. Errors, besides the common ones:
 *   -EBUSY, -EROFS
 *                As agentcg_discover_parent().
 *   -ENODEV      Here: there is no usable cgroup2 hierarchy.
 *   -ENOENT      The place has no agents and no limits, or does not exist.
 *   -EOPNOTSUPP  The caller is in a threaded cgroup. */
AGENTCG_MUST_CHECK
int agentcg_get_place_limits(const char *parent,
			     agentcg_limits *ret_limits,
			     size_t size,
			     agentcg_error *reterr);

/* ---- 6. interface files -------------------------------------------------- */

/* Read an interface file that has no function of its own, such as io.stat,
 * cpuset.cpus.effective or memory.numa_stat. name is one path component: a
 * letter, then letters, digits, '.', '_' and '-'. The whole file is read,
 * whatever its length, and copied to buf as the kernel returns it: lines that
 * each end with a newline. As snprintf(3), the text is cut to fit and always
 * terminated.
 *
 * Returns the full length, which may differ at the next call. Errors, besides
 * the common ones:
 *   -EACCES      Also: the file can only be written.
 *   -EINVAL      Also: no interface file can have this name; it is a cgroup
 *                that the agent has made; as root, the file can only be
 *                written.
 *   -ENOENT      There is no such file: AGENTCG_WHY_NO_CONTROLLER if its
 *                controller is not in force.
 *   -EOPNOTSUPP  For example, cgroup.procs of a threaded cgroup. */
AGENTCG_MUST_CHECK
int agentcg_read_file(agentcg *cg,
		      const char *name,
		      char *buf,
		      size_t size,
		      agentcg_error *reterr);

/* Write a value to an interface file with one write(2). name is as for
 * agentcg_read_file(). value is 1 to 4095 bytes; a trailing newline is allowed.
 * Read the file back to see the effect. From Linux 6.16 on, a write to
 * memory.max or memory.high does not wait until the memory has been reclaimed.
 *
 * Returns 0. Errors, besides the common ones:
 *   -E2BIG       value has more than 4095 bytes.
 *   -EACCES      Also: the file can only be read.
 *   -EAGAIN      memory.reclaim: not all of it was reclaimed.
 *   -EINVAL      Also: no interface file can have this name; it is a cgroup
 *                that the agent has made; the value is empty, which the kernel
 *                accepts and ignores; the kernel does not understand the value.
 *   -ENODEV      AGENTCG_WHY_GONE: the group was removed. Without that reason:
 *                io.max names a device that does not exist.
 *   -ENOENT      There is no such file: AGENTCG_WHY_NO_CONTROLLER if its
 *                controller is not in force. cgroup.subtree_control: there is
 *                no such controller.
 *   -ENOSPC      cpuset: from the kernel.
 *   -ESRCH       cgroup.procs: there is no such process.
 *   -EBUSY, -EEXIST, -EOPNOTSUPP, -ERANGE
 *                The kernel refuses the value. */
AGENTCG_MUST_CHECK
int agentcg_write_file(agentcg *cg,
		       const char *name,
		       const char *value,
		       agentcg_error *reterr);

/* ---- 7. measurements ----------------------------------------------------- */

/* cpu.stat: cpu_usage_ns, cpu_user_ns, cpu_system_ns. No controller is needed. */
#define AGENTCG_STAT_CPU             (1ull << 0)
/* memory.current: memory_current_bytes. */
#define AGENTCG_STAT_MEMORY          (1ull << 1)
/* cpu.stat with the cpu controller: cpu_nr_periods, cpu_nr_throttled, cpu_throttled_ns. */
#define AGENTCG_STAT_CPU_THROTTLE    (1ull << 2)
/* memory.peak: memory_peak_bytes (Linux 5.19). */
#define AGENTCG_STAT_MEMORY_PEAK     (1ull << 3)
/* memory.swap.current: swap_current_bytes. memory.swap.peak: swap_peak_bytes (Linux 6.5). */
#define AGENTCG_STAT_SWAP            (1ull << 4)
/* memory.events: memory_events_..., of the group and all cgroups below it. */
#define AGENTCG_STAT_MEMORY_EVENTS   (1ull << 5)
/* memory.stat: memory_anon_bytes to memory_shmem_bytes. It may be 2 seconds old. */
#define AGENTCG_STAT_MEMORY_DETAIL   (1ull << 6)
/* pids.current: pids_current. */
#define AGENTCG_STAT_PIDS            (1ull << 7)
/* pids.peak: pids_peak (Linux 6.1). */
#define AGENTCG_STAT_PIDS_PEAK       (1ull << 8)
/* pids.events: pids_events_max. */
#define AGENTCG_STAT_PIDS_EVENTS     (1ull << 9)
/* io.stat: io_..., summed over the devices. */
#define AGENTCG_STAT_IO              (1ull << 10)
/* cpu.pressure: cpu_pressure_some_us. It needs Linux 4.20 with PSI built in and
 * enabled at boot, and no controller. Do not read pressure more often than each
 * 20 ms: the kernel drops the stall time between two reads of a group's pressure
 * files that follow each other within a clock tick (1 to 10 ms). */
#define AGENTCG_STAT_CPU_PRESSURE    (1ull << 11)
/* memory.pressure: memory_pressure_..._us. It needs what cpu.pressure needs. */
#define AGENTCG_STAT_MEMORY_PRESSURE (1ull << 12)
/* io.pressure: io_pressure_..._us. It needs what cpu.pressure needs. */
#define AGENTCG_STAT_IO_PRESSURE     (1ull << 13)
/* cgroup.events and cgroup.stat: populated, frozen, nr_descendants, nr_dying_descendants. */
#define AGENTCG_STAT_STATE           (1ull << 14)
/* The measurements for polling: they cost one read each of two files. */
#define AGENTCG_STAT_BASIC           ((AGENTCG_STAT_CPU | AGENTCG_STAT_MEMORY) | AGENTCG_STAT_CPU_THROTTLE)
/* All measurements, also those that later versions of the library add. */
#define AGENTCG_STAT_ALL             UINT64_MAX
/* The smallest size of agentcg_stats that is accepted. */
#define AGENTCG_STATS_SIZE_V0        296

/* Measurements. A field is 0 if its bit in mask is clear. New fields are only
 * added at the end, each with a bit of its own. */
struct agentcg_stats {
	uint64_t mask;                          /* AGENTCG_STAT_... that were read. */
	uint64_t time_ns;                       /* CLOCK_MONOTONIC at the reading, to compute rates. */
	uint64_t cpu_usage_ns;                  /* CPU time, user and system. */
	uint64_t cpu_user_ns;                   /* CPU time in user mode. */
	uint64_t cpu_system_ns;                 /* CPU time in the kernel. */
	uint64_t cpu_nr_periods;                /* Periods of the CPU quota that have elapsed. */
	uint64_t cpu_nr_throttled;              /* Periods in which the quota throttled the group. */
	uint64_t cpu_throttled_ns;              /* The time for which the quota throttled the group. */
	uint64_t memory_current_bytes;          /* Memory in use. */
	uint64_t memory_peak_bytes;             /* The most memory that was in use. */
	uint64_t swap_current_bytes;            /* Swap in use. */
	uint64_t swap_peak_bytes;               /* The most swap that was in use. It is 0 before Linux 6.5. */
	uint64_t memory_anon_bytes;             /* Anonymous memory. */
	uint64_t memory_file_bytes;             /* Page cache, tmpfs and shared memory included. */
	/* Memory of the kernel. Before Linux 5.18: the sum of the parts that it reports. */
	uint64_t memory_kernel_bytes;
	uint64_t memory_shmem_bytes;            /* tmpfs and shared memory. */
	/* Times that the group was throttled because of memory_high_bytes. */
	uint64_t memory_events_high;
	/* Times that the memory in use was about to exceed memory_max_bytes. */
	uint64_t memory_events_max;
	/* Times that the limit could not be kept. This does not count kills. */
	uint64_t memory_events_oom;
	uint64_t memory_events_oom_kill;        /* Processes that the OOM killer killed. Watch this one. */
	/* Times that an OOM killed a whole group. It is 0 before Linux 5.17. */
	uint64_t memory_events_oom_group_kill;
	uint64_t pids_current;                  /* Threads. Zombies count, too. */
	uint64_t pids_peak;                     /* The most threads that there were. */
	/* Forks that were refused. From Linux 6.11 on: by the limits of the group and
	 * of those below it. Before: in the group itself, by any limit. */
	uint64_t pids_events_max;
	uint64_t io_read_bytes;                 /* Bytes read, summed over the devices. */
	uint64_t io_write_bytes;                /* Bytes written, summed over the devices. */
	uint64_t io_reads;                      /* Read operations, summed over the devices. */
	uint64_t io_writes;                     /* Write operations, summed over the devices. */
	uint64_t cpu_pressure_some_us;          /* Total time in which some process waited for a CPU. */
	uint64_t memory_pressure_some_us;       /* Total time in which some process waited for memory. */
	uint64_t memory_pressure_full_us;       /* Total time in which all busy processes waited for memory. */
	uint64_t io_pressure_some_us;           /* Total time in which some process waited for I/O. */
	uint64_t io_pressure_full_us;           /* Total time in which all busy processes waited for I/O. */
	uint64_t populated;                     /* 1 while a process lives in the group or below it. */
	uint64_t frozen;                        /* 1 while the group is frozen. */
	uint64_t nr_descendants;                /* Cgroups below the group. */
	uint64_t nr_dying_descendants;          /* Removed cgroups for which the kernel holds memory. */
};

/* Measure the group and all cgroups below it. which is a set of
 * AGENTCG_STAT_... bits (AGENTCG_STAT_BASIC for a monitoring loop). size is
 * sizeof(*ret_stats).
 *
 * What the kernel, the place or this version of the library does not offer is
 * not an error: its fields are 0 and its bit in ret_stats->mask is clear. A
 * controller that is enabled later is found by the next call. The fields of one
 * file are one consistent snapshot; those of several files are not.
 *
 * Each file, present or not, costs one system call once its descriptor is in
 * the descriptor cache. This function caches up to 16 descriptors for each
 * group, while descriptors are plentiful.
 *
 * Returns 0. The errors are the common ones. */
AGENTCG_MUST_CHECK
int agentcg_read_stats(agentcg *cg,
		       uint64_t which,
		       agentcg_stats *ret_stats,
		       size_t size,
		       agentcg_error *reterr);

/* ---- 8. events ----------------------------------------------------------- */

#define AGENTCG_EVENT_EMPTY       (1ull << 0)  /* The last process in the group is gone. */
#define AGENTCG_EVENT_POPULATED   (1ull << 1)  /* A process came into the empty group. */
#define AGENTCG_EVENT_FROZEN      (1ull << 2)  /* All processes are frozen. */
#define AGENTCG_EVENT_THAWED      (1ull << 3)  /* The processes run again. */
#define AGENTCG_EVENT_OOM_KILL    (1ull << 4)  /* The OOM killer killed a process in the group or below it. */
#define AGENTCG_EVENT_MEMORY_HIGH (1ull << 5)  /* memory_high_bytes was reached in the group or below it. */
#define AGENTCG_EVENT_MEMORY_MAX  (1ull << 6)  /* memory_max_bytes was reached in the group or below it. */
#define AGENTCG_EVENT_PIDS_MAX    (1ull << 7)  /* A fork was refused in the group or below it. */
#define AGENTCG_EVENT_GONE        (1ull << 8)  /* The group was removed. */
/* Processes have waited for as long as agentcg_watch_stall() says. */
#define AGENTCG_EVENT_STALLED     (1ull << 9)

#define AGENTCG_STALL_CPU    1u  /* cpu.pressure: for a CPU, which others have or cpu_max withholds. */
#define AGENTCG_STALL_MEMORY 2u  /* memory.pressure: for memory that is reclaimed, read again or swapped in. */
#define AGENTCG_STALL_IO     3u  /* io.pressure: for the end of I/O. */
#define AGENTCG_STALL_SOME   4u  /* At least one process that is not idle waits. */
#define AGENTCG_STALL_FULL   5u  /* All processes that are not idle wait. */

/* Return a descriptor for poll(2), epoll or an event loop. which is the set of
 * events to report, of AGENTCG_EVENT_... bits. The descriptor becomes readable
 * (POLLIN) when one of these events may have happened. Then call
 * agentcg_next_events() with timeout 0, which also makes the descriptor
 * unreadable again. Conditions that already hold produce no event.
 *
 * The descriptor belongs to the handle: do not read or close it, and remove it
 * from your epoll set before the handle is freed. A second call replaces the
 * set of events and returns the same descriptor. If which is 0, the library
 * closes the descriptors of the sources of events. A forked child has to call
 * this function itself.
 *
 * The process uses at most one inotify instance, for up to 64 groups. From
 * Linux 7.1 on, the kernel reports the removal of these groups by it without
 * delay.
 *
 * Errors, besides the common ones:
 *   -EBADF       The caller has closed the descriptor.
 *   -ENOSPC      /proc/sys/fs/epoll/max_user_watches, the user's limit, is
 *                reached.
 *   -EOPNOTSUPP  AGENTCG_EVENT_OOM_KILL and AGENTCG_EVENT_MEMORY_... need the
 *                memory controller, AGENTCG_EVENT_PIDS_MAX needs the pids
 *                controller. AGENTCG_EVENT_STALLED needs none; see
 *                agentcg_watch_stall(). */
AGENTCG_MUST_CHECK int agentcg_event_fd(agentcg *cg, uint64_t which, agentcg_error *reterr);

/* Fetch the events since the last call. If there are none, wait up to
 * timeout_ms for one. Each kind of event is reported at most once by a call,
 * and none is lost. Returns 1, or 0 if there was no event; then *ret_events is
 * 0. The descriptor may be readable although there is no event.
 *
 * If the kernel reports a change but the file reads as before, the state may
 * have changed and changed back. Both events are reported: POPULATED and EMPTY
 * for an empty group (EMPTY may repeat), FROZEN and THAWED for a populated one.
 * EMPTY is reported only if the group is empty at that moment.
 *
 * GONE is reported once, together with EMPTY if that was not reported before.
 * The calls after it return -ENODEV, and the descriptor does not become
 * readable again. If agentcg_destroy(), agentcg_reap() or the guard removes the
 * group, its last events are all reported, at once (Linux 5.7). If others
 * remove it, GONE is reported at once from Linux 7.1 on. Before, it is reported
 * within four seconds, or within half of the time since the group became empty.
 *
 * A group is empty if no process lives in it. From Linux 6.19 on, an ended
 * process may have to wait until another is reaped, and until then
 * cgroup.events says that the group is populated. EMPTY is reported at once
 * after agentcg_kill_all() even then (Linux 7.1), else within four seconds.
 *
 * A state that cannot be read (-EMFILE, -ENFILE, -ENOMEM) is reported by a
 * later call: the descriptor becomes readable again within a moment.
 *
 * Errors, besides the common ones:
 *   -EBADF   The caller has closed the descriptor.
 *   -EINVAL  Also: agentcg_event_fd() was not called in this process. */
AGENTCG_MUST_CHECK
int agentcg_next_events(agentcg *cg,
			int timeout_ms,
			uint64_t *ret_events,
			agentcg_error *reterr);

/* Report AGENTCG_EVENT_STALLED when processes of the group, or below it, have
 * waited for a resource for stall_us microseconds within window_us microseconds.
 * resource is AGENTCG_STALL_CPU, AGENTCG_STALL_MEMORY or AGENTCG_STALL_IO. With
 * AGENTCG_STALL_SOME as kind the time counts in which at least one process
 * waited, with AGENTCG_STALL_FULL that in which all that were not idle did. The
 * kernel adds up these times as total in the group's pressure files (PSI).
 *
 * A handle has at most one watch for each resource and kind, and a second call
 * replaces it. If stall_us is 0, the watch ends and window_us is ignored. The
 * event has to be selected by agentcg_event_fd(), before or after this call, and
 * does not say which of several watches it is for: compare the totals
 * (AGENTCG_STAT_..._PRESSURE). A forked child has to call this function itself.
 *
 * There is at most one event for each window, and it comes at most one window
 * after the total has grown by stall_us within a window. What had grown before
 * the watch began does not count. The descriptor of agentcg_event_fd() becomes
 * readable at the time of each look at the total, whether or not there is an
 * event: once for each window, and four times while the group waits. Groups
 * with windows of the same length are looked at at the same moments. A wait that
 * is divided by the only look in a window may not be reported.
 *
 * If the host calls agentcg_next_events() late, the kernel shows only the growth
 * since the last look. There is one event if it follows from it that some window
 * had stall_us, as it does if the total has grown by stall_us for each window
 * since then, and none if it does not. A host that does not look costs no CPU
 * time.
 *
 * The library uses no trigger of PSI: it needs no privilege, no thread of the
 * kernel, and no descriptor for the group besides the descriptor cache.
 *
 * While an agent or its owner has switched accounting off (0 in cgroup.pressure,
 * from Linux 6.1 on), there is no event.
 *
 * The kernel drops the stall time between two reads of a group's pressure files
 * that follow each other within a clock tick (1 to 10 ms). While some process,
 * for example the agent, reads one of them all the time, there is no event.
 *
 * Returns 0. Errors, besides the common ones:
 *   -EINVAL      Also: resource or kind is no such constant, stall_us is greater
 *                than window_us, or window_us is not from 100000 (100 ms) to
 *                3600000000 (an hour).
 *   -ENOSPC      /proc/sys/fs/epoll/max_user_watches, the user's limit, is
 *                reached.
 *   -EOPNOTSUPP  The group has no such pressure file: the kernel lacks PSI or has
 *                it off, or accounting is switched off for the group. Or
 *                cpu.pressure has no full line, as before Linux 5.13. */
AGENTCG_MUST_CHECK
int agentcg_watch_stall(agentcg *cg,
			uint32_t resource,
			uint32_t kind,
			uint64_t stall_us,
			uint64_t window_us,
			agentcg_error *reterr);

/* ---- 9. freeze, signal and kill ------------------------------------------ */

/* Freeze every process in the group and below it, and return when all are
 * frozen. An empty group is frozen at once. If they are not all frozen within
 * timeout_ms, the freeze is undone and the processes run again, unless somebody
 * had requested the freeze before; the call returns -ETIMEDOUT. A frozen group
 * can be killed. A process that is moved into a frozen group is frozen, too.
 *
 * Returns 0. Errors, besides the common ones:
 *   -EDEADLK     The caller is in the group. Nothing was frozen.
 *   -EOPNOTSUPP  There is no cgroup.freeze (before Linux 5.2).
 *   -ETIMEDOUT   For example, a process is in uninterruptible sleep. */
AGENTCG_MUST_CHECK int agentcg_freeze(agentcg *cg, int timeout_ms, agentcg_error *reterr);

/* Undo agentcg_freeze(), and return when the group runs again. A cgroup inside
 * it that the agent has frozen itself stays frozen.
 *
 * Returns 0. Errors, besides the common ones:
 *   -EOPNOTSUPP  There is no cgroup.freeze (before Linux 5.2).
 *   -ETIMEDOUT   The group will thaw later. If a cgroup above it is frozen, the
 *                group stays frozen as long as that one; the message says so. */
AGENTCG_MUST_CHECK int agentcg_thaw(agentcg *cg, int timeout_ms, agentcg_error *reterr);

/* Send a signal to every process in the group and below it, to each once, not
 * to each of its threads. The caller is never signalled, even if it is in the
 * group. Frozen processes receive the signal when they thaw. Signal 0 sends
 * nothing, as with kill(2). Children that are created during the call are
 * signalled, too, but processes that fork all the time are not ended by this:
 * use agentcg_kill_all().
 *
 * Returns the number of processes that received the signal. Zombies do not
 * count. Errors, besides the common ones:
 *   -EACCES  Also: some processes were not signalled, because they have another
 *            uid or are outside the caller's pid namespace. All others were.
 *   -EINVAL  Also: signal is not a signal. */
AGENTCG_MUST_CHECK int agentcg_signal_all(agentcg *cg, int signal, agentcg_error *reterr);

/* Wait until no process lives in the group. Zombies count as dead.
 *
 * Returns 0. Errors, besides the common ones:
 *   -ETIMEDOUT  A process is alive after timeout_ms. */
AGENTCG_MUST_CHECK int agentcg_wait_empty(agentcg *cg, int timeout_ms, agentcg_error *reterr);

/* Kill every process in the group and below it with SIGKILL, and wait until all
 * are dead. Forking, freezing, a main thread that has exited, cgroups and pid
 * namespaces of its own, and closed files do not save a process, with
 * cgroup.kill or without. cgroup.kill is written first: nothing inside the
 * group delays that, and an owner does it even if no descriptor is left. With
 * timeout_ms 0 the kill is sent and not waited for: -ETIMEDOUT if a process is
 * still alive.
 *
 * The group can be used again afterwards. A freeze is undone. Controllers that
 * the agent has enabled for cgroups of its own are disabled, unless a living
 * process owns agents inside. A limit that was lifted for the kill and could
 * not be restored is an error that says so; the next call tries again.
 *
 * From Linux 6.19 on, cgroup.events can say populated because of dead processes
 * that wait for others to be reaped. They count as dead.
 *
 * Returns 0. Errors, besides the common ones:
 *   -EDEADLK    The caller is in the group.
 *   -ETIMEDOUT  For example, a process is in uninterruptible sleep. */
AGENTCG_MUST_CHECK int agentcg_kill_all(agentcg *cg, int timeout_ms, agentcg_error *reterr);

/* Kill the processes of count groups as agentcg_kill_all() does: the kill is
 * sent to all groups before the call waits for the first. cgs is an array of
 * their handles, which may be of several places; it may be NULL if count is 0.
 * timeout_ms is for all of them together. A failure for one group does not keep
 * the others from being killed.
 *
 * If ret_codes is not NULL, the result of each group is stored there, in the
 * order of cgs: 0, or the error that agentcg_kill_all() would have returned.
 *
 * Returns 0 if every group succeeded, else the error of the first group that
 * did not. reterr describes that error. If a handle or an argument is invalid,
 * or there is no memory to begin, ret_codes is not written. Errors, besides the
 * common ones:
 *   -EDEADLK    The caller is in one of the groups.
 *   -EINVAL     Also: a handle is invalid. Nothing was killed.
 *   -ETIMEDOUT  For example, a process is in uninterruptible sleep. */
AGENTCG_MUST_CHECK
int agentcg_kill_all_of(agentcg *const *cgs,
			size_t count,
			int *ret_codes,
			int timeout_ms,
			agentcg_error *reterr);

/* Ask all processes to end, and kill those that do not. Every process gets
 * SIGTERM, stopped ones get SIGCONT, and the group and every cgroup in it are
 * thawed. If a process lives after grace_ms, the call goes on as
 * agentcg_kill_all() with timeout_ms, which counts from then. With grace_ms 0
 * the kill follows at once. Processes that the caller cannot signal are killed
 * after the grace period.
 *
 * Returns 1 if the kill was necessary, 0 if not. Errors, besides the common
 * ones:
 *   -EDEADLK    The caller is in the group. No process was signalled.
 *   -ENOMEM     The processes are killed after grace_ms nevertheless.
 *   -ETIMEDOUT  A process is alive timeout_ms after the kill. */
AGENTCG_MUST_CHECK
int agentcg_terminate(agentcg *cg,
		      int grace_ms,
		      int timeout_ms,
		      agentcg_error *reterr);

/* ---- 10. why an agent ended ---------------------------------------------- */

#define AGENTCG_CAUSE_EXITED                (1ull << 0)  /* The main program exited. */
/* A signal that the kernel sent for a fault or a resource limit of the
 * program, or that a process of the group sent. */
#define AGENTCG_CAUSE_SIGNAL_INSIDE         (1ull << 1)
#define AGENTCG_CAUSE_SIGNAL_OUTSIDE        (1ull << 2)  /* A signal of a process outside the group. */
#define AGENTCG_CAUSE_KILLED                (1ull << 3)  /* A call of this library: AGENTCG_CALL_... */
#define AGENTCG_CAUSE_GUARD                 (1ull << 4)  /* The guard, because the owner ended. */
/* The OOM killer, for a memory limit of the group or of a cgroup below it. */
#define AGENTCG_CAUSE_MEMORY_LIMIT          (1ull << 5)
/* The OOM killer, for a memory limit of a cgroup above the group. */
#define AGENTCG_CAUSE_MEMORY_LIMIT_ABOVE    (1ull << 6)
/* The OOM killer, because the machine had no memory left. */
#define AGENTCG_CAUSE_MACHINE               (1ull << 7)
#define AGENTCG_CAUSE_OOMD                  (1ull << 8)  /* systemd-oomd. */
/* None: the program's end is unknown, and processes live in the group. */
#define AGENTCG_CAUSE_RUNNING               (1ull << 9)
/* A signal. No kernel shows whether its sender was inside the group or outside. */
#define AGENTCG_CAUSE_SIGNAL                6ull
/* In agentcg_verdict.cause: several candidates are possible. */
#define AGENTCG_CAUSE_UNKNOWN               0ull
#define AGENTCG_CALL_NONE                   0            /* No call of this process, or none that is known. */
#define AGENTCG_CALL_KILL_ALL               1            /* agentcg_kill_all() */
#define AGENTCG_CALL_KILL_ALL_OF            2            /* agentcg_kill_all_of() */
#define AGENTCG_CALL_TERMINATE              3            /* agentcg_terminate() */
#define AGENTCG_CALL_DESTROY                4            /* agentcg_destroy() or agentcg_destroy_explained() */
#define AGENTCG_CALL_SIGNAL_ALL             5            /* agentcg_signal_all() */
#define AGENTCG_CALL_REAP                   6            /* agentcg_reap() */
#define AGENTCG_VERDICT_OOM_KILLS           (1ull << 0)  /* oom_kills is known. */
#define AGENTCG_VERDICT_FORKS_REFUSED       (1ull << 1)  /* forks_refused is known. */
#define AGENTCG_VERDICT_FORKS_REFUSED_OWN   (1ull << 2)  /* forks_refused_own is known. */
#define AGENTCG_VERDICT_FORKS_REFUSED_ABOVE (1ull << 3)  /* forks_refused_above is known. */
#define AGENTCG_VERDICT_MEMORY_PEAK         (1ull << 4)  /* memory_peak_bytes is known (Linux 5.19). */
#define AGENTCG_VERDICT_MEMORY_MAX          (1ull << 5)  /* memory_max_bytes is known. */
#define AGENTCG_VERDICT_CPU_THROTTLED       (1ull << 6)  /* cpu_throttled_ns is known. */
/* agentcg_explain(): the wait status of the main program is not known. */
#define AGENTCG_NO_WAIT_STATUS              -1

/* Why an agent ended, as agentcg_explain() finds it. */
struct agentcg_verdict {
	uint64_t mask;                 /* AGENTCG_VERDICT_...: the counts that are known. The others are 0. */
	uint64_t cause;                /* One AGENTCG_CAUSE_..., or AGENTCG_CAUSE_UNKNOWN. */
	uint64_t candidates;           /* All AGENTCG_CAUSE_... that are possible; cause is one of them. */
	uint32_t exit_code;            /* The exit code, if the main program exited. */
	/* The signal that ended the main program, 0 if none did or if it is unknown. */
	uint32_t term_signal;
	/* AGENTCG_CALL_...: the call of this process that sent the signal to all
	 * processes, if AGENTCG_CAUSE_KILLED is a candidate. */
	uint32_t call;
	/* After AGENTCG_CAUSE_MEMORY_LIMIT_ABOVE: how many levels above the group
	 * the cgroup is whose limit was reached. 1 is agents, 2 synwire, 3 the place.
	 * 0 if it is not known. */
	uint32_t levels_up;
	uint64_t oom_kills;            /* Processes of the group and below it that the OOM killer has killed. */
	uint64_t forks_refused;        /* Forks that were refused in the group. */
	/* Those that limits of the group, and of cgroups below it, have refused. */
	uint64_t forks_refused_own;
	uint64_t forks_refused_above;  /* Those that limits of cgroups above the group have refused. */
	uint64_t memory_peak_bytes;    /* The most memory that was in use. */
	uint64_t memory_max_bytes;     /* The group's memory limit, or AGENTCG_UNLIMITED. */
	uint64_t cpu_throttled_ns;     /* The time for which the CPU quota throttled the group. */
	/* The verdict as one English sentence, for a log. It may change. It is cut if
	 * it is too long. */
	char text[512];
};

/* Find out why an agent ended. wait_status is that of waitpid(2) for its main
 * program, or AGENTCG_NO_WAIT_STATUS. size is sizeof(*ret_verdict).
 *
 * The verdict is never a guess. A cause is reported if it is the only one that has
 * left a trace, and if it concerned all processes: a call of this library, the
 * guard, an OOM kill of a group with memory_oom_group (Linux 5.17) or of one
 * that never had a second thread (6.1). In all other cases the cause is
 * AGENTCG_CAUSE_UNKNOWN, and candidates has what is possible. For example, the
 * kernel counts OOM kills, but does not show which process of a group was
 * killed. docs/verdict.md has the rules of each kernel.
 *
 * Call it once for each program that has ended, before the next program is
 * started in the group and before the group is killed: a kill is reported as the
 * cause of every SIGKILL before the call.
 *
 * If the group was removed, only what its remover has left for the watchers of
 * agentcg_event_fd() is known.
 *
 * Returns 0. -ENODEV is never returned. Errors, besides the common ones:
 *   -EINVAL  Also: wait_status is that of a stopped or continued process. */
AGENTCG_MUST_CHECK
int agentcg_explain(agentcg *cg,
		    int wait_status,
		    agentcg_verdict *ret_verdict,
		    size_t size,
		    agentcg_error *reterr);

/* agentcg_destroy(), with the verdict as well. ret_verdict receives what
 * agentcg_explain() finds: with a wait_status before the kill, because the main
 * program has ended already; with AGENTCG_NO_WAIT_STATUS after it, just before
 * the group is removed. verdict_size is sizeof(*ret_verdict).
 *
 * Returns 0. -ENODEV is never returned. Errors, besides the common ones:
 *   -EBUSY      AGENTCG_DESTROY_IF_EMPTY is set and the group is not empty.
 *   -EDEADLK    The caller is in the group.
 *   -EINVAL     Also: wait_status is that of a stopped or continued process.
 *   -ETIMEDOUT  A process lives, or the group exists, after timeout_ms. */
AGENTCG_MUST_CHECK
int agentcg_destroy_explained(agentcg *cg,
			      uint64_t flags,
			      int timeout_ms,
			      int wait_status,
			      agentcg_stats *ret_final,
			      size_t size,
			      agentcg_verdict *ret_verdict,
			      size_t verdict_size,
			      agentcg_error *reterr);

#ifdef __cplusplus
}
#endif

#endif /* AGENTCG_H */
