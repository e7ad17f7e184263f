/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Measures agentcg_spawn() until the program has ended and has been waited for. Compares it with the minimum of system
 * calls, made by hand; and, in a host with a gigabyte resident, with a process that is forked and then moved. */
#include "clone.h"
#include "measure.h"

#include <agentcg.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH 2
#define MOST_BLOCKS 1001
#define GIGABYTE ((size_t)1 << 30)

static agentcg *cg;
static char *program[2];   /* argv: the path of the program, no arguments */
static char *no_environment[1];

static pid_t floor_spawn(void)
{
	return clone_and_exec(agentcg_fd(cg), program, no_environment);
}

static pid_t library_spawn(void)
{
	agentcg_error error;
	pid_t pid;

	if (agentcg_spawn(cg, program[0], program, no_environment, NULL, 0, &pid, NULL, &error) < 0)
		errx(2, "agentcg_spawn: %s", error.message);
	return pid;
}

/* The child waits for a byte from the parent: it must not begin before it has been moved. */
static pid_t fork_and_move(void)
{
	agentcg_error error;
	char byte = 0;
	int go[2];

	if (pipe(go) != 0)
		err(2, "pipe");
	pid_t pid = fork();
	if (pid < 0)
		err(2, "fork");
	if (pid == 0) {
		if (read(go[0], &byte, 1) == 1)
			execve(program[0], program, no_environment);
		_exit(127);
	}
	if (agentcg_move_pid(cg, pid, &error) < 0)
		errx(2, "agentcg_move_pid: %s", error.message);
	if (write(go[1], &byte, 1) != 1)
		err(2, "write to the child");
	close(go[0]);
	close(go[1]);
	return pid;
}

static double one_us(pid_t (*spawn)(void), int times)
{
	double start = now_ns();

	for (int i = 0; i < times; i++) {
		int status;
		pid_t pid = spawn();

		if (waitpid(pid, &status, 0) != pid || status != 0)
			errx(2, "the program ended with wait status %#x", (unsigned)status);
	}
	return (now_ns() - start) / 1e3 / times;
}

/* Prints and returns the median ratio of agentcg_spawn() to other, over pairs of consecutive blocks. */
static double compare(const char *which, pid_t (*other)(void), int times, int blocks)
{
	double other_us[MOST_BLOCKS], library_us[MOST_BLOCKS], ratio[MOST_BLOCKS];

	one_us(other, times);   /* warm-up */
	one_us(library_spawn, times);
	for (int i = 0; i < blocks; i++) {
		if (i % 2 == 0)         /* each side goes first equally often */
			other_us[i] = one_us(other, times);
		library_us[i] = one_us(library_spawn, times);
		if (i % 2 == 1)
			other_us[i] = one_us(other, times);
		ratio[i] = library_us[i] / other_us[i];
	}
	sort(other_us, (size_t)blocks);
	sort(library_us, (size_t)blocks);
	sort(ratio, (size_t)blocks);
	printf("spawn, %s: floor %.1f us, agentcg %.1f us, ratio %.2f (%.2f-%.2f)\n", which, other_us[blocks / 2],
	       library_us[blocks / 2], ratio[blocks / 2], ratio[blocks / 4], ratio[blocks - 1 - blocks / 4]);
	return ratio[blocks / 2];
}

/* In pages of 4 KiB, which is the worst case. */
static void take_a_gigabyte(void)
{
	char *memory = mmap(NULL, GIGABYTE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		err(2, "a gigabyte");
	madvise(memory, GIGABYTE, MADV_NOHUGEPAGE);
	memset(memory, 1, GIGABYTE);
}

int main(int argc, char **argv)
{
	int blocks = argc == 5 ? atoi(argv[1]) : 0;
	/* In the lab each system call costs 10 us: the 62 that reset the signals would dominate the result. */
	int is_native = !getenv("LAB_LAYOUT");
	agentcg_error error;

	if (blocks < 1 || blocks > MOST_BLOCKS)
		errx(2, "usage: %s BLOCKS NOTHING TRIVIAL CGROUP-DIRECTORY (at most %d blocks)", argv[0], MOST_BLOCKS);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (agentcg_new(argv[4], NULL, NULL, 0, 0, &cg, &error) < 0)
		errx(2, "agentcg_new: %s", error.message);

	program[0] = argv[2];
	double times = compare("a program that is one system call", floor_spawn, BATCH, blocks);
	if (is_native)
		target("spawn of one that is one system call, times the floor, at most 1.4", times,
		       times <= 1.4);
	program[0] = argv[3];
	times = compare("a static C program with an empty main", floor_spawn, BATCH, blocks);
	if (is_native)
		target("spawn of a trivial static C program, times the floor, at most 1.2", times,
		       times <= 1.2);

	take_a_gigabyte();
	program[0] = argv[2];
	times = compare("with a gigabyte, floor: fork and move", fork_and_move, 1, blocks < 51 ? blocks : 51);
	target("spawn with a gigabyte, times fork and move, at most 0.33", times, times <= 0.33);

	if (agentcg_destroy(cg, 0, 60000, NULL, 0, &error) < 0)
		errx(2, "agentcg_destroy: %s", error.message);
	return missed ? 1 : 0;
}
