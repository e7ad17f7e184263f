/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <sys/types.h>

/* The limits of every group, if the controller is available. */
#define MEMORY_MAX_BYTES (64u << 20)
#define CPU_MAX_MILLICPU 1500u
#define PIDS_MAX         8000u

struct controllers {
	int cpu, memory, pids;
};

/* One of the two implementations of the operations. Each function ends the program if a call fails. */
struct side {
	const char *name;
	void *(*make)(void);             /* makes a group with the limits */
	void (*remove)(void *group);     /* removes an empty group */
	int (*fd)(void *group);          /* the descriptor of its directory */
	void (*move)(void *group, pid_t pid);
	void (*kill)(void *group);       /* returns when the group is empty */
	void (*wait)(void *group, int timeout_ms);   /* waits for the end of a group that does not end */
	uint64_t (*read)(void *group);   /* reads the statistics; returns the CPU time in ns */
	void (*limit)(void *group, unsigned times);   /* sets the limits to a multiple of the initial limits */
	/* Finds the group of a process, which is this one, and the owner that the directory of the group has as an attribute. */
	void (*find)(void *group, pid_t pid);
	void (*find_pidfd)(void *group, int pidfd);
};

/* floor.c: only the system calls that the library must make, by hand. floor_init() returns the controllers of the
 * groups that are made in dir. */
extern const struct side floor_side;
struct controllers floor_init(const char *dir);

/* library.c */
extern const struct side library_side;
void library_init(const char *parent, struct controllers controllers);

/* allocations.c: the number of allocations in this process. */
extern unsigned long allocations;

/* operations.c */
struct operation {
	const char *name;
	unsigned batch;       /* runs between two readings of the clock, which are one block */
	unsigned blocks;      /* blocks of each side, which take turns */
	unsigned processes;   /* in each group */
	int slow;             /* omitted with --quick */
	int repeatable;       /* one setup is sufficient for all blocks; batch is even */
	int limits;           /* needs the three controllers */
	void (*setup)(const struct side *, const struct operation *);
	void (*run)(const struct side *, unsigned i);
	void (*teardown)(const struct side *, const struct operation *);
};
enum { READ, NEW, SET_LIMITS, DESTROY, MOVE, FIND, FIND_PIDFD, KILL_1, KILL_100, KILL_1000, KILL_5000, OPERATIONS };
extern const struct operation operations[OPERATIONS];

/* Returns the CPU time of one second of waiting for a group with a living process, in microseconds. */
double waiting_cpu_us(const struct side *);

/* syscalls.c: counts the system calls of one run of an operation, by tracing a child that runs it. */
#define SYSCALLS_KEPT 64
struct syscalls {
	unsigned total;   /* without clock_gettime */
	unsigned clock;   /* clock_gettime, which is no system call where the vDSO answers it */
	unsigned kept;    /* the number of valid entries in number[], including clock_gettime */
	long number[SYSCALLS_KEPT];
};
void syscalls_count(const struct operation *op, const struct side *side, struct syscalls *ret);
void syscalls_print(const struct syscalls *calls);

#endif
