/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Measures the cost of AGENTCG_NEW_GUARD, and the time until all agents of a killed program are removed. */
#include "measure.h"

#include <agentcg.h>
#include <err.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AGENTS 100
#define PROCESSES 10
#define MOST_ROUNDS 50
#define GIGABYTE ((size_t)1 << 30)

static const char *parent;

static double now_ms(void)
{
	return now_ns() / 1e6;
}

static agentcg *new_guarded(void)
{
	agentcg_error error;
	agentcg *cg;

	if (agentcg_new(parent, NULL, NULL, 0, AGENTCG_NEW_GUARD, &cg, &error) < 0)
		errx(2, "agentcg_new: %s", error.message);
	return cg;
}

static void destroy(agentcg *cg)
{
	agentcg_error error;

	if (agentcg_destroy(cg, 0, 60000, NULL, 0, &error) < 0)
		errx(2, "agentcg_destroy: %s", error.message);
}

/* Each member has the pipe open: the reader sees end of file when the last member has died. */
static void host(int ready)
{
	for (int a = 0; a < AGENTS; a++) {
		agentcg *cg = new_guarded();

		for (int p = 0; p < PROCESSES; p++) {
			pid_t pid = fork();

			if (pid < 0)
				err(2, "fork");
			if (pid > 0)
				continue;
			if (agentcg_move_self(cg) != 0 || write(ready, "", 1) != 1)
				_exit(1);
			for (;;)
				pause();
		}
	}
	for (;;)
		pause();
}

static double one_death_ms(void)
{
	char byte, tree[PATH_MAX];
	int ready[2];

	snprintf(tree, sizeof(tree), "%s/synwire", parent);
	if (pipe(ready) != 0)
		err(2, "pipe");
	pid_t pid = fork();
	if (pid < 0)
		err(2, "fork");
	if (pid == 0) {
		close(ready[0]);
		host(ready[1]);
	}
	close(ready[1]);
	for (int i = 0; i < AGENTS * PROCESSES; i++)
		if (read(ready[0], &byte, 1) != 1)
			errx(2, "a member could not enter its group");

	double start = now_ms();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	while (read(ready[0], &byte, 1) > 0)
		;
	/* No event reports the removal of a directory. */
	while (access(tree, F_OK) == 0) {
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
		if (now_ms() - start > 60000)
			errx(2, "%s is still there after a minute", tree);
	}
	close(ready[0]);
	return now_ms() - start;
}

static void *busy(void *unused)
{
	(void)unused;
	for (;;)
		free(malloc(100));
	return NULL;
}

static double fork_ms(void)
{
	double start = now_ms();
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	double ms = now_ms() - start;
	waitpid(pid, NULL, 0);
	return ms;
}

/* Gives the kernel time for the deferred work of the last round, which must not be part of the next measurement. */
static void rest(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
}

static void end_guard(void)
{
	char procs[PATH_MAX];
	int pid;

	snprintf(procs, sizeof(procs), "%s/synwire/guard-%d/cgroup.procs", parent, (int)getpid());
	FILE *file = fopen(procs, "r");
	if (!file)
		err(2, "%s", procs);
	while (fscanf(file, "%d", &pid) == 1)
		kill(pid, SIGKILL);
	fclose(file);
}

/* In pages of 4 KiB, which is the worst case. */
static void start_with_a_gigabyte(int rounds)
{
	double guard[MOST_ROUNDS], floor[MOST_ROUNDS];
	char *memory = mmap(NULL, GIGABYTE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t thread;

	if (memory == MAP_FAILED)
		err(2, "a gigabyte");
	madvise(memory, GIGABYTE, MADV_NOHUGEPAGE);
	memset(memory, 1, GIGABYTE);
	if (pthread_create(&thread, NULL, busy, NULL) != 0)
		errx(2, "pthread_create");
	for (int i = 0; i < rounds; i++) {
		rest();
		floor[i] = fork_ms();
		rest();
		double start = now_ms();
		agentcg *cg = new_guarded();   /* the first guarded agent, which starts the guard */
		guard[i] = now_ms() - start;
		destroy(cg);
		/* Otherwise the guard would still run in the next round. */
		end_guard();
	}
	sort(floor, (size_t)rounds);
	sort(guard, (size_t)rounds);
	double ms = guard[rounds / 2];
	printf("fork(2) alone, with a gigabyte, ms: %.1f\n", floor[rounds / 2]);
	target("agentcg_new with its guard, with a gigabyte and a busy thread, ms, at most 3", ms, ms <= 3);
	munmap(memory, GIGABYTE);
}

int main(int argc, char **argv)
{
	double deaths[MOST_ROUNDS];
	int rounds = argc == 3 ? atoi(argv[1]) : 0;

	if (rounds < 1 || rounds > MOST_ROUNDS)
		errx(2, "usage: %s ROUNDS CGROUP-DIRECTORY (at most %d rounds)", argv[0], MOST_ROUNDS);
	parent = argv[2];
	for (int i = 0; i < rounds; i++)
		deaths[i] = one_death_ms();
	sort(deaths, (size_t)rounds);
	printf("a killed program with %d guarded agents of %d processes, until nothing is left, ms: median %.1f of %d\n",
	       AGENTS, PROCESSES, deaths[rounds / 2], rounds);
	target("the longest of them, ms, at most 1000", deaths[rounds - 1], deaths[rounds - 1] <= 1000);
	start_with_a_gigabyte(rounds < 15 ? rounds : 15);
	return missed ? 1 : 0;
}
