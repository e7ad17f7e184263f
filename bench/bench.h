/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <sys/types.h>

/* The limits of every group, where the controller is to be had. */
#define MEMORY_MAX_BYTES (64u << 20)
#define CPU_MAX_MILLICPU 1500u
#define PIDS_MAX         8000u

struct controllers {
	int cpu, memory, pids;
};

/* One of the two ways to do the operations. Each ends the program if a call fails. */
struct side {
	const char *name;
	void *(*make)(void);             /* a new group with the limits */
	void (*remove)(void *group);     /* an empty one */
	int (*fd)(void *group);          /* its directory */
	void (*move)(void *group, pid_t pid);
	void (*kill)(void *group);       /* and wait until empty */
	void (*wait)(void *group, int timeout_ms);   /* for an end that does not come */
	uint64_t (*read)(void *group);   /* measure it; returns its CPU time in ns */
	void (*limit)(void *group, unsigned times);   /* change the limits, to so many times what they were at first */
};

/* floor.c: the same kernel calls as the library has to make, by hand, and nothing around them. Tells which
 * controllers groups made in dir have. */
extern const struct side floor_side;
struct controllers floor_init(const char *dir);

/* library.c */
extern const struct side library_side;
void library_init(const char *parent, struct controllers controllers);
extern unsigned long allocations;   /* how often anything in this process has asked for memory */

/* operations.c */
struct operation {
	const char *name;
	unsigned batch;       /* done in a row between two readings of the clock */
	unsigned blocks;      /* and so often by each side, alternating */
	unsigned processes;   /* in each group */
	int slow;             /* left out where --quick asks for it */
	int repeatable;       /* one setup does for all blocks; batch is even */
	int limits;           /* nothing without the three controllers */
	void (*setup)(const struct side *, const struct operation *);
	void (*run)(const struct side *, unsigned i);
	void (*teardown)(const struct side *, const struct operation *);
};
enum { READ, NEW, SET_LIMITS, DESTROY, MOVE, KILL_1, KILL_100, KILL_1000, KILL_5000, OPERATIONS };
extern const struct operation operations[OPERATIONS];

/* The CPU time that one second of waiting for a group with a living process takes, in microseconds. */
double waiting_cpu_us(const struct side *);

/* syscalls.c: the system calls of one run of an operation, exactly, by tracing a child that does it. */
#define SYSCALLS_KEPT 64
struct syscalls {
	unsigned total;   /* clock_gettime left out */
	unsigned clock;   /* clock_gettime: the vDSO answers it on most kernels, and then it is no call */
	unsigned kept;    /* how many of number[] are filled, clock_gettime among them */
	long number[SYSCALLS_KEPT];
};
void syscalls_count(const struct operation *op, const struct side *side, struct syscalls *ret);
void syscalls_print(const struct syscalls *calls);

#endif
