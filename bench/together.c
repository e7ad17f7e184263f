/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Ends a thousand agents of one process each by agentcg_kill_all_of(), and compares that with the minimum of system calls:
 * the kill is written to all, and then each is read until it is empty. The same agents are used in all rounds. Also shows
 * the memory of a handle, and the time in which the agents are listed and, as orphans, reaped. */
#include "files.h"
#include "measure.h"

#include <agentcg.h>
#include <err.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define AGENTS 1000
#define FEW 100
#define LISTS 9
#define MOST_ROUNDS 51

static agentcg *cgs[AGENTS];
static pid_t members[AGENTS];

/* The children do not return to this program's memory: each only waits to be killed. */
static void populate(void)
{
	agentcg_error error;

	for (int i = 0; i < AGENTS; i++) {
		members[i] = fork();
		if (members[i] < 0)
			err(2, "fork");
		if (members[i] == 0)
			for (;;)
				pause();
		if (agentcg_move_pid(cgs[i], members[i], &error) < 0)
			errx(2, "agentcg_move_pid: %s", error.message);
	}
}

static void by_library(void)
{
	agentcg_error error;

	if (agentcg_kill_all_of(cgs, AGENTS, NULL, 60000, &error) < 0)
		errx(2, "agentcg_kill_all_of: %s", error.message);
}

static void by_hand(void)
{
	for (int i = 0; i < AGENTS; i++)
		write_at(agentcg_fd(cgs[i]), "cgroup.kill", "1");
	for (int i = 0; i < AGENTS; i++) {
		int fd = open_at(agentcg_fd(cgs[i]), "cgroup.events", O_RDONLY);

		while (!reads_empty(fd))
			sched_yield();
		close(fd);
	}
}

static double measured_ms(void (*end)(void))
{
	populate();
	double start = now_ns();
	end();
	double time = (now_ns() - start) / 1e6;
	for (int i = 0; i < AGENTS; i++)
		if (waitpid(members[i], NULL, 0) != members[i])
			err(2, "waitpid");
	return time;
}

/* The least time in which agentcg_list() lists these agents, for each of them. The time of a longer list would include more
 * interruptions. */
static double list_us(const char *parent, int agents)
{
	static agentcg_entry entries[AGENTS];
	double least = 0;
	agentcg_error error;

	for (int i = 0; i < LISTS; i++) {
		double start = now_ns();
		int found = agentcg_list(parent, entries, sizeof(entries[0]), AGENTS, &error);

		double time = (now_ns() - start) / 1e3 / agents;

		least = i == 0 || time < least ? time : least;
		if (found < 0)
			errx(2, "agentcg_list: %s", error.message);
		if (found != agents)
			errx(2, "agentcg_list has found %d of %d agents", found, agents);
	}
	return least;
}

/* Frees all handles, and returns the time in which agentcg_reap() removes the agents, for each of them. */
static double reap_us(const char *parent)
{
	agentcg_error error;

	for (int i = 0; i < AGENTS; i++)
		agentcg_free(cgs[i]);
	double start = now_ns();
	int reaped = agentcg_reap(parent, 60000, &error);
	double time = now_ns() - start;

	if (reaped < 0)
		errx(2, "agentcg_reap: %s", error.message);
	if (reaped != AGENTS)
		errx(2, "agentcg_reap has removed %d of %d agents", reaped, AGENTS);
	return time / 1e3 / AGENTS;
}

int main(int argc, char **argv)
{
	double library[MOST_ROUNDS], hand[MOST_ROUNDS], ratio[MOST_ROUNDS];
	struct rlimit files = { 20000, 20000 };
	agentcg_error error;
	int rounds = argc == 3 ? atoi(argv[1]) : 0;

	if (rounds < 1 || rounds > MOST_ROUNDS)
		errx(2, "usage: agentcg-bench-together ROUNDS PARENT");
	setrlimit(RLIMIT_NOFILE, &files);   /* without the right to raise it fewer descriptors are kept open */
	size_t before = 0;
	double few = 0;
	for (int i = 0; i < AGENTS; i++) {
		if (i == 1)
			before = mallinfo2().uordblks;
		if (i == FEW)
			few = list_us(argv[2], FEW);
		if (agentcg_new(argv[2], NULL, NULL, 0, 0, &cgs[i], &error) < 0)
			errx(2, "agentcg_new: %s", error.message);
	}
	double handle = (double)(mallinfo2().uordblks - before) / (AGENTS - 1);
	target("bytes of the heap for each handle, at most 512", handle, handle <= 512);
	double many = list_us(argv[2], AGENTS);
	printf("list of %d agents: %.1f us for each; of %d: %.1f us\n", FEW, few, AGENTS, many);
	target("list of 1,000 agents, for each the times of 100, at most 2", many / few, many / few <= 2);
	for (int i = 0; i < rounds; i++) {
		double first = measured_ms(i % 2 ? by_hand : by_library), second = measured_ms(i % 2 ? by_library : by_hand);

		library[i] = i % 2 ? second : first;
		hand[i] = i % 2 ? first : second;
		ratio[i] = library[i] / hand[i];
	}
	sort(library, (size_t)rounds);
	sort(hand, (size_t)rounds);
	sort(ratio, (size_t)rounds);
	printf("%d agents of one process ended by one call: floor %.1f ms, agentcg %.1f ms, quartiles of the ratio %.2f-%.2f\n",
	       AGENTS, hand[rounds / 2], library[rounds / 2], ratio[rounds / 4], ratio[rounds * 3 / 4]);
	target("1,000 agents ended by one call, times the floor, at most 1.1", ratio[rounds / 2], ratio[rounds / 2] <= 1.1);
	printf("reap of %d empty orphans: %.1f us for each\n", AGENTS, reap_us(argv[2]));
	return missed > 0;
}
