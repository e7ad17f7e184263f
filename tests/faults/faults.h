/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Declarations for the parts of the fault matrix. README.md describes it. */
#ifndef FAULTS_H
#define FAULTS_H

#include <agentcg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- acts: acts.c ---- */

enum {
	ENDS = 1 << 0,       /* success ends the handle */
	MAKES = 1 << 1,      /* success makes a handle: it is not called a second time */
	KILLS = 1 << 2,      /* a failure may have killed or removed a part */
	GUARDED = 1 << 3,    /* a guard's cgroup may be beside the agents */
	FOUND = 1 << 4,      /* parent is NULL: the library finds the place */
	CHILDREN = 1 << 5,   /* the faults are in the processes that the call starts */
	SYSTEMD = 1 << 6,    /* needs a systemd manager */
	VARIES = 1 << 7,     /* success may have another result under a fault */
	WAITS = 1 << 8,      /* the number of its system calls depends on time */
	SESSION = 1 << 9,    /* after a failure the group may be a session that has controllers for its children */
	LIMITS_PLACE = 1 << 10,   /* the place has limits afterwards, which the host lifts */
};

/* One call of the interface, in one typical state of its group. */
struct act {
	const char *name;        /* "kill_all/nested" */
	const char *function;    /* "agentcg_kill_all" */
	void (*prepare)(void);   /* in the host: makes the state */
	int (*call)(agentcg_error *error);
	unsigned flags;
};
extern const struct act acts[];
extern const size_t act_count;

/* What a host reports about itself. Shared with the process that started it. */
struct report {
	int stage;               /* which of the STAGEs it has reached */
	int code;                /* of the call with the fault */
	int again;               /* of the same call without one */
	int end;                 /* of the destroy after it */
	int children;            /* children that the host has not forked itself */
	uint64_t result;         /* the results of a successful call, as one number */
	uint64_t again_result;
	agentcg_error error, again_error, end_error;
	char failure[400];       /* a state that could not be made, or "" */
};
enum { STAGE_START, STAGE_READY, STAGE_DONE, STAGE_END };
extern struct report *report;
extern const char *scratch;      /* the parent that acts pass */
extern const char *host_cgroup;  /* the cgroup of the hosts */

/* Run an act as a host that its tracer stops before the call, after it and at the end. Does not return. */
void run_host(const struct act *act);

/* ---- system calls and the errors that they can have: errnos.c ---- */

/* What a system call is about. */
enum target { CGROUPFS, PROCFS, FILES, ANONYMOUS, NOTHING };

struct call {
	long number;
	unsigned long arguments[6];
	enum target target;
	char file[160];          /* the path, or the file of the descriptor, or "" */
};
const char *call_name(long number);
/* The errors that the call can have here, ended by 0. NULL if the table lacks the call. */
const int *call_errnos(const struct call *call);

/* ---- the tracer: tracer.c ---- */

struct fault {
	unsigned at;             /* which system call, from 1; 0 for none */
	int error;
	bool lasting;            /* all later calls of the same number fail, too */
};
struct traced {
	unsigned calls;          /* system calls until the end of the act, or until the fault */
	bool injected;
	struct call call;        /* the one that failed */
	struct call *list;       /* with fault.at 0: all of them */
};
enum outcome { REACHED, ENDED, HUNG };

/* Let the host run until it stops itself. running: it runs already. */
enum outcome run_to_stop(pid_t host, bool running, int seconds);
/* The same from before the call until after it, with a fault. */
enum outcome run_with_fault(pid_t host, bool children, struct fault fault, struct traced *traced, int seconds);

/* For a process that is stopped at a system call: read the call, skip it, and set its result at its exit. */
struct call call_of(pid_t pid);
long number_of(pid_t pid);
void skip_call(pid_t pid);
void set_result(pid_t pid, long result);

/* ---- faults in the guard's process: guard.c ---- */

/* The injections to make. */
struct choice {
	int only_errno;          /* or 0 */
	unsigned part, parts, most_repeats;
	bool lasting, listing, verbose;
};
struct totals {
	unsigned rows, injections, missed;
};
extern const size_t guard_act_count;
const char *guard_act_name(size_t number);
struct totals run_guard_act(size_t number, const struct choice *choice);

/* ---- the place: main.c ---- */

/* Make the parent that acts pass anew. */
void fresh_scratch(void);
/* Kill the processes that a host has left. */
void kill_left(void);

/* ---- cgroups, descriptors and locks: snapshot.c ---- */

struct snapshot {
	char text[16000];        /* a line per cgroup */
	char soft[8000];         /* the same for state that may differ after a success */
	char descriptors[6000];
	int descriptor_count;
	int lock_count;
};
/* With host 0 only the cgroups. alive: include whether they are populated. */
void take_snapshot(struct snapshot *snapshot, const char *root, pid_t host, bool alive, bool guards);
/* Kill all that is in the cgroups below root, and remove them. */
void wipe(const char *root);
int read_text(const char *path, char *text, size_t size);

/* ---- the codes that the header lists: codes.c ---- */

void read_header(const char *path);
bool is_listed(const char *function, int code);
const char *errno_name(int error);

void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
