/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "bench.h"

#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_BATCH     20
#define MAX_PROCESSES 5000
#define BURN_MS       10
#define WAIT_MS       3000

/* The groups and processes of each side. */
static struct state {
	void *groups[MAX_BATCH];
	pid_t pids[2 * MAX_PROCESSES]; /* syscalls.c kills two groups */
	unsigned running;
} states[2];

static struct state *state_of(const struct side *side)
{
	return &states[side == &library_side];
}

static void read_file(int dir, const char *name, char *text, size_t size)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n, length = 0;

	if (fd < 0)
		err(2, "open %s", name);
	while ((n = read(fd, text + length, size - 1 - (size_t)length)) > 0)
		length += n;
	if (n < 0)
		err(2, "read %s", name);
	text[length] = '\0';
	close(fd);
}

static void expect_members(int dir, unsigned expected)
{
	static char text[16 * MAX_PROCESSES];
	unsigned found = 0;

	read_file(dir, "cgroup.procs", text, sizeof(text));
	for (const char *c = text; *c; c++)
		found += *c == '\n';
	if (found != expected)
		errx(2, "the group holds %u processes, not %u", found, expected);
}

/* Starts processes that only wait in the side's group i. Returns when every one of them is in the group. */
static void start(const struct side *side, unsigned i, unsigned count)
{
	struct state *state = state_of(side);
	int dir = side->fd(state->groups[i]);
	int procs = openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC), ready[2];
	char answer = '+';

	if (state->running + count > sizeof(state->pids) / sizeof(state->pids[0]))
		errx(2, "more than %zu processes at once", sizeof(state->pids) / sizeof(state->pids[0]));
	if (procs < 0 || pipe(ready) != 0)
		err(2, "open cgroup.procs and a pipe");
	for (unsigned n = 0; n < count; n++) {
		pid_t pid = fork();
		if (pid < 0)
			err(2, "fork of process %u", n);
		if (pid == 0) {
			if (write(procs, "0", 1) != 1)
				answer = '-';
			if (write(ready[1], &answer, 1) != 1 || answer == '-')
				_exit(1);
			for (;;)
				pause();
		}
		state->pids[state->running++] = pid;
	}
	for (unsigned n = 0; n < count; n++)
		if (read(ready[0], &answer, 1) != 1 || answer == '-')
			errx(2, "a process could not enter its group");
	close(ready[0]);
	close(ready[1]);
	close(procs);
	expect_members(dir, count);
}

static void reap(struct state *state)
{
	while (state->running > 0) {
		int status;
		if (waitpid(state->pids[--state->running], &status, 0) < 0 || !WIFSIGNALED(status))
			errx(2, "a process was not ended by a signal");
	}
}

static void nothing(const struct side *side, const struct operation *op)
{
	(void)side;
	(void)op;
}

static void setup_groups(const struct side *side, const struct operation *op)
{
	for (unsigned i = 0; i < op->batch; i++) {
		state_of(side)->groups[i] = side->make();
		if (op->processes > 0)
			start(side, i, op->processes);
	}
}

static void teardown_groups(const struct side *side, const struct operation *op)
{
	for (unsigned i = 0; i < op->batch; i++)
		side->remove(state_of(side)->groups[i]);
}

static void teardown_killed(const struct side *side, const struct operation *op)
{
	char text[128];

	for (unsigned i = 0; i < op->batch; i++) {
		read_file(side->fd(state_of(side)->groups[i]), "cgroup.events", text, sizeof(text));
		if (!strstr(text, "populated 0"))
			errx(2, "%s: kill returned before all processes were dead", side->name);
	}
	reap(state_of(side));
	teardown_groups(side, op);
}

static void run_make(const struct side *side, unsigned i)
{
	state_of(side)->groups[i] = side->make();
}

static void run_remove(const struct side *side, unsigned i)
{
	side->remove(state_of(side)->groups[i]);
}

static void run_kill(const struct side *side, unsigned i)
{
	side->kill(state_of(side)->groups[i]);
}

/* Makes a group that has used some CPU time, which both sides must report. */
static void setup_read(const struct side *side, const struct operation *op)
{
	void *group = state_of(side)->groups[0] = side->make();

	(void)op;
	start(side, 0, 1);
	pid_t pid = fork();
	if (pid < 0)
		err(2, "fork");
	if (pid == 0) {
		side->move(group, getpid());
		for (clock_t start = clock(); clock() - start < BURN_MS * CLOCKS_PER_SEC / 1000; )
			;
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	if (side->read(group) < BURN_MS * 1000000 / 2)   /* also opens the cached descriptors */
		errx(2, "%s: does not report the CPU time used", side->name);
}

static void run_read(const struct side *side, unsigned i)
{
	(void)i;
	side->read(state_of(side)->groups[0]);
}

static void teardown_read(const struct side *side, const struct operation *op)
{
	struct state *state = state_of(side);

	(void)op;
	kill(state->pids[0], SIGKILL);
	reap(state);
	side->remove(state->groups[0]);
}

/* The limits are raised and lowered in turn. */
static unsigned times(unsigned i)
{
	return 2 - i % 2;
}

static void setup_limit(const struct side *side, const struct operation *op)
{
	(void)op;
	state_of(side)->groups[0] = side->make();
	start(side, 0, 1);
	side->read(state_of(side)->groups[0]);   /* opens the cached descriptors */
}

static void run_limit(const struct side *side, unsigned i)
{
	side->limit(state_of(side)->groups[0], times(i));
}

static void expect_limit(const struct side *side, const char *file, unsigned long expected)
{
	char text[64];

	read_file(side->fd(state_of(side)->groups[0]), file, text, sizeof(text));
	if (strtoul(text, NULL, 10) != expected)
		errx(2, "%s: %s is %s and not %lu", side->name, file, text, expected);
}

static void teardown_limit(const struct side *side, const struct operation *op)
{
	unsigned last = times(op->batch - 1);

	expect_limit(side, "memory.max", (unsigned long)MEMORY_MAX_BYTES * last);
	expect_limit(side, "cpu.max", CPU_MAX_MILLICPU * 100 * last);
	expect_limit(side, "pids.max", PIDS_MAX * last);
	teardown_read(side, op);
}

/* One process is moved between two groups. The kernel delays the first move after a pause by milliseconds for any
 * caller: the start of the process has just been a move. The process runs on the caller's CPU. On another CPU the
 * kernel would have to send an interrupt (perf_cgroup_attach), which takes four times as long as the rest of the
 * move and would hide it. */
static cpu_set_t all_cpus;

static void setup_move(const struct side *side, const struct operation *op)
{
	struct state *state = state_of(side);
	cpu_set_t current;

	(void)op;
	if (CPU_COUNT(&all_cpus) == 0 && sched_getaffinity(0, sizeof(all_cpus), &all_cpus) != 0)
		err(2, "sched_getaffinity");
	CPU_ZERO(&current);
	CPU_SET(sched_getcpu(), &current);
	if (sched_setaffinity(0, sizeof(current), &current) != 0)
		err(2, "sched_setaffinity");
	state->groups[0] = side->make();
	state->groups[1] = side->make();
	start(side, 0, 1);
}

static void run_move(const struct side *side, unsigned i)
{
	struct state *state = state_of(side);

	side->move(state->groups[(i + 1) % 2], state->pids[0]);
}

static void teardown_move(const struct side *side, const struct operation *op)
{
	struct state *state = state_of(side);

	if (sched_setaffinity(0, sizeof(all_cpus), &all_cpus) != 0)
		err(2, "sched_setaffinity");
	expect_members(side->fd(state->groups[op->batch % 2]), 1);
	teardown_read(side, op);
	side->remove(state->groups[1]);
}

/* Each side finds its own group. The first call finds out what a process has to find out once. */
static int pidfds[2];

static void setup_find(const struct side *side, const struct operation *op)
{
	struct state *state = state_of(side);
	int *pidfd = &pidfds[side == &library_side];

	(void)op;
	state->groups[0] = side->make();
	start(side, 0, 1);
	*pidfd = (int)syscall(SYS_pidfd_open, state->pids[0], 0);
	if (*pidfd < 0)
		err(2, "pidfd_open");
	side->find(state->groups[0], state->pids[0]);
	side->find_pidfd(state->groups[0], *pidfd);
}

static void run_find(const struct side *side, unsigned i)
{
	struct state *state = state_of(side);

	(void)i;
	side->find(state->groups[0], state->pids[0]);
}

static void run_find_pidfd(const struct side *side, unsigned i)
{
	(void)i;
	side->find_pidfd(state_of(side)->groups[0], pidfds[side == &library_side]);
}

static void teardown_find(const struct side *side, const struct operation *op)
{
	close(pidfds[side == &library_side]);
	teardown_read(side, op);
}

static double cpu_time_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

double waiting_cpu_us(const struct side *side)
{
	struct state *state = state_of(side);

	state->groups[0] = side->make();
	start(side, 0, 1);
	double before_us = cpu_time_us();
	side->wait(state->groups[0], WAIT_MS);
	double used_us = cpu_time_us() - before_us;
	kill(state->pids[0], SIGKILL);
	reap(state);
	side->remove(state->groups[0]);
	return used_us * 1000 / WAIT_MS;
}

const struct operation operations[OPERATIONS] = {
	[READ] =       { "read_stats", 200, 501, 0, 0, 1, 0, setup_read, run_read, teardown_read },
	[NEW] =        { "new", 20, 51, 0, 0, 0, 0, nothing, run_make, teardown_groups },
	[SET_LIMITS] = { "set_limits", 100, 101, 0, 0, 1, 1, setup_limit, run_limit, teardown_limit },
	[DESTROY] =    { "destroy, empty", 20, 51, 0, 0, 0, 0, setup_groups, run_remove, nothing },
	[MOVE] =       { "move_pid", 100, 101, 0, 0, 1, 0, setup_move, run_move, teardown_move },
	[FIND] =       { "find", 100, 201, 0, 0, 1, 0, setup_find, run_find, teardown_find },
	[FIND_PIDFD] = { "find_pidfd", 100, 201, 0, 0, 1, 0, setup_find, run_find_pidfd, teardown_find },
	[KILL_1] =     { "kill_all of 1", 10, 101, 1, 0, 0, 0, setup_groups, run_kill, teardown_killed },
	[KILL_100] =   { "kill_all of 100", 2, 51, 100, 0, 0, 0, setup_groups, run_kill, teardown_killed },
	[KILL_1000] =  { "kill_all of 1000", 1, 15, 1000, 0, 0, 0, setup_groups, run_kill, teardown_killed },
	[KILL_5000] =  { "kill_all of 5000", 1, 11, 5000, 1, 0, 0, setup_groups, run_kill, teardown_killed },
};
