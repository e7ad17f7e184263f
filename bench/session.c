/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Makes, kills and destroys a child of a session, and ends a session of a thousand processes in a hundred children. Compares
 * both with the minimum of system calls: those of the floor of new, kill and destroy, and one write of cgroup.kill and the
 * readings until the session is empty. */
#include "files.h"
#include "measure.h"

#include <agentcg.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN 100
#define EACH 10
#define LIVES_PER_ROUND 20
#define MOST_ROUNDS 51

static agentcg *session, *children[CHILDREN];
static pid_t members[CHILDREN * EACH];
static agentcg_error error;

static void check(int code)
{
	if (code < 0)
		errx(2, "%s (%d)", error.message, code);
}

/* Returns when the process has run: otherwise its death would begin with that. */
static pid_t waiting_process(void)
{
	int ready[2];
	char byte = 0;
	pid_t pid;

	if (pipe(ready) != 0)
		err(2, "pipe");
	pid = fork();
	if (pid < 0)
		err(2, "fork");
	if (pid == 0) {
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	if (read(ready[0], &byte, 1) != 1)
		err(2, "a process did not begin");
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void kill_by_hand(int dir)
{
	int events;

	write_at(dir, "cgroup.kill", "1");
	events = open_at(dir, "cgroup.events", O_RDONLY);
	while (!reads_empty(events))
		sched_yield();
	close(events);
}

/* ---- one child ---- */

static double life_by_hand(void)
{
	char pid[16];
	double ns = now_ns();
	int within = agentcg_fd(session), dir;
	pid_t member;

	if (mkdirat(within, "floor", 0755) != 0)
		err(2, "mkdir");
	dir = open_at(within, "floor", O_RDONLY | O_DIRECTORY);
	ns = now_ns() - ns;
	member = waiting_process();
	snprintf(pid, sizeof(pid), "%d", (int)member);
	write_at(dir, "cgroup.procs", pid);
	ns -= now_ns();
	kill_by_hand(dir);
	ns += now_ns();
	if (waitpid(member, NULL, 0) != member)
		err(2, "waitpid");
	ns -= now_ns();
	/* EBUSY for a moment after the last process has died. */
	while (unlinkat(within, "floor", AT_REMOVEDIR) != 0) {
		if (errno != EBUSY)
			err(2, "rmdir");
		sched_yield();
	}
	close(dir);
	return ns + now_ns();
}

static double life_by_library(void)
{
	agentcg *child;
	double ns = now_ns();
	pid_t member;

	check(agentcg_new_in(session, NULL, 0, &child, &error));
	ns = now_ns() - ns;
	member = waiting_process();
	check(agentcg_move_pid(child, member, &error));
	ns -= now_ns();
	check(agentcg_kill_all(child, 60000, &error));
	ns += now_ns();
	if (waitpid(member, NULL, 0) != member)
		err(2, "waitpid");
	ns -= now_ns();
	check(agentcg_destroy(child, 0, 60000, NULL, 0, &error));
	return ns + now_ns();
}

/* The median: on a busy machine a process dies in 20 us or in milliseconds, on either side. */
static double lives_us(double (*life)(void))
{
	double ns[LIVES_PER_ROUND];

	for (int i = 0; i < LIVES_PER_ROUND; i++)
		ns[i] = life();
	sort(ns, LIVES_PER_ROUND);
	return ns[LIVES_PER_ROUND / 2] / 1000;
}

/* ---- the whole session ---- */

static void populate(void)
{
	for (int i = 0; i < CHILDREN * EACH; i++) {
		members[i] = waiting_process();
		check(agentcg_move_pid(children[i / EACH], members[i], &error));
	}
}

static double whole_ms(int by_library)
{
	double ns;

	populate();
	ns = now_ns();
	if (by_library)
		check(agentcg_kill_all(session, 60000, &error));
	else
		kill_by_hand(agentcg_fd(session));
	ns = now_ns() - ns;
	for (int i = 0; i < CHILDREN * EACH; i++)
		if (waitpid(members[i], NULL, 0) != members[i])
			err(2, "waitpid");
	return ns / 1e6;
}

static double life_by(int by_library)
{
	return lives_us(by_library ? life_by_library : life_by_hand);
}

/* Measures both sides in turn, prints the medians and returns the median of the ratios. */
static double compared(const char *what, const char *unit, int rounds, double (*measured)(int by_library))
{
	double times[2][MOST_ROUNDS], ratio[MOST_ROUNDS];

	measured(0);   /* warm-up */
	measured(1);
	for (int i = 0; i < rounds; i++) {
		times[i % 2][i] = measured(i % 2);
		times[!(i % 2)][i] = measured(!(i % 2));
		ratio[i] = times[1][i] / times[0][i];
	}
	for (int side = 0; side < 2; side++)
		sort(times[side], (size_t)rounds);
	sort(ratio, (size_t)rounds);
	printf("%s: floor %.1f %s, agentcg %.1f %s, quartiles of the ratio %.2f-%.2f\n", what, times[0][rounds / 2], unit,
	       times[1][rounds / 2], unit, ratio[rounds / 4], ratio[rounds * 3 / 4]);
	return ratio[rounds / 2];
}

int main(int argc, char **argv)
{
	int rounds = argc == 3 ? atoi(argv[1]) : 0;
	double ratio;

	if (rounds < 1 || rounds > MOST_ROUNDS)
		errx(2, "usage: agentcg-bench-session ROUNDS PARENT");
	check(agentcg_new(argv[2], NULL, NULL, 0, 0, &session, &error));
	check(agentcg_new_in(session, NULL, 0, &children[0], &error));
	ratio = compared("new, kill and destroy of a child of a session", "us", rounds, life_by);
	target("new, kill and destroy of a child, times the floor, at most 1.3", ratio, ratio <= 1.3);
	for (int i = 1; i < CHILDREN; i++)
		check(agentcg_new_in(session, NULL, 0, &children[i], &error));
	ratio = compared("1,000 processes in 100 children ended by a kill of the session", "ms", rounds, whole_ms);
	target("a session of 1,000 processes in 100 children ended, times the floor, at most 1.1", ratio, ratio <= 1.1);
	check(agentcg_destroy(session, 0, 60000, NULL, 0, &error));
	for (int i = 0; i < CHILDREN; i++)
		agentcg_free(children[i]);
	return missed > 0;
}
