/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Measures how long single calls take: first on an idle machine, then while one process moves another one between two
 * cgroups in a loop and a third one makes and removes cgroups in a loop. All of them take locks that every cgroup of the
 * machine shares. The two conditions, and the two sides in each, take turns. */
#include "bench.h"
#include "clone.h"
#include "measure.h"

#include <agentcg.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 10         /* of each condition */
#define MOST_TURNS 1000   /* in a round */

enum condition { IDLE, CONTENDED, CONDITIONS };
enum call { CALL_NEW, CALL_SPAWN, CALL_MOVE, CALL_DESTROY, CALLS };

static const char *const call_names[CALLS] = { "new", "spawn", "move_pid", "destroy" };
static const struct side *const sides[] = { &floor_side, &library_side };
#define SIDES (sizeof(sides) / sizeof(*sides))

static double times_us[CONDITIONS][SIDES][CALLS][ROUNDS * MOST_TURNS];
static size_t counts[CONDITIONS];

static char *program[2];   /* argv: the path of a program that only ends */
static char *no_environment[1];

static pid_t floor_spawn(void *group)
{
	return clone_and_exec(floor_side.fd(group), program, no_environment);
}

static pid_t library_spawn(void *group)
{
	agentcg_error error;
	pid_t pid;

	if (agentcg_spawn(group, program[0], program, no_environment, NULL, 0, &pid, NULL, &error) < 0)
		errx(2, "agentcg_spawn: %s", error.message);
	return pid;
}

static pid_t (*const spawn[SIDES])(void *group) = { floor_spawn, library_spawn };

/* Starts a process that runs work() until it is killed or this process ends. */
static pid_t start(void (*work)(void))
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		err(2, "fork");
	if (pid > 0)
		return pid;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		_exit(2);
	work();
	_exit(2);
}

static void end(pid_t pid)
{
	if (kill(pid, SIGKILL) != 0 || waitpid(pid, NULL, 0) != pid)
		err(2, "the end of a process");
}

static void wait_for_signal(void)
{
	for (;;)
		pause();
}

static int contention;   /* the directory of the cgroups of the other processes */
static int procs[2];     /* cgroup.procs of two cgroups in it */

static void make_and_remove(void)
{
	for (;;) {
		if (mkdirat(contention, "made", 0755) != 0 || unlinkat(contention, "made", AT_REMOVEDIR) != 0)
			err(2, "a cgroup that is made and removed");
	}
}

/* It moves itself. */
static void move_to_and_fro(void)
{
	for (unsigned i = 0;; i++) {
		if (write(procs[i % 2], "0", 1) != 1)
			err(2, "a move");
	}
}

static int open_at(int dir, const char *name, int flags)
{
	int fd = openat(dir, name, flags | O_CLOEXEC);

	if (fd < 0)
		err(2, "%s", name);
	return fd;
}

static void set_up_contention(int ground)
{
	const char *const names[] = { "0", "1" };

	if (mkdirat(ground, "contention", 0755) != 0)
		err(2, "contention");
	contention = open_at(ground, "contention", O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 2; i++) {
		if (mkdirat(contention, names[i], 0755) != 0)
			err(2, "contention/%s", names[i]);
		int dir = open_at(contention, names[i], O_RDONLY | O_DIRECTORY);
		procs[i] = open_at(dir, "cgroup.procs", O_WRONLY);
		close(dir);
	}
}

/* Each call once. member is moved into the new group, and back into home. */
static void one_turn(enum condition condition, size_t side, void *home, pid_t member)
{
	const struct side *s = sides[side];
	double *us[CALLS], start_ns = now_ns();
	int status;

	for (int call = 0; call < CALLS; call++)
		us[call] = &times_us[condition][side][call][counts[condition]];
	void *group = s->make();
	double made_ns = now_ns();
	pid_t pid = spawn[side](home);
	double spawned_ns = now_ns();
	if (waitpid(pid, &status, 0) != pid || status != 0)
		errx(2, "the program ended with wait status %#x", (unsigned)status);
	double before_ns = now_ns();
	s->move(group, member);
	double moved_ns = now_ns();
	s->move(home, member);
	double back_ns = now_ns();
	s->remove(group);
	*us[CALL_DESTROY] = (now_ns() - back_ns) / 1e3;
	*us[CALL_NEW] = (made_ns - start_ns) / 1e3;
	*us[CALL_SPAWN] = (spawned_ns - made_ns) / 1e3;
	*us[CALL_MOVE] = (moved_ns - before_ns) / 1e3;
}

static double percentile(const double *sorted, size_t count, double part)
{
	size_t i = (size_t)(part * (double)count);

	return sorted[i < count ? i : count - 1];
}

int main(int argc, char **argv)
{
	int turns = argc == 4 ? atoi(argv[1]) : 0;
	char agents[4096];
	void *homes[SIDES];

	if (turns < 1 || turns > MOST_TURNS)
		errx(2, "usage: %s TURNS NOTHING CGROUP-DIRECTORY (at most %d turns)", argv[0], MOST_TURNS);
	setvbuf(stdout, NULL, _IOLBF, 0);
	program[0] = argv[2];
	set_up_contention(open_at(AT_FDCWD, argv[3], O_RDONLY | O_DIRECTORY));
	snprintf(agents, sizeof(agents), "%s/floor/agents", argv[3]);
	library_init(argv[3], floor_init(agents));

	pid_t member = start(wait_for_signal);
	for (size_t side = 0; side < SIDES; side++)
		homes[side] = sides[side]->make();
	for (int round = 0; round < 2 * ROUNDS; round++) {
		enum condition condition = round % 2 ? CONTENDED : IDLE;
		pid_t others[2] = { 0 };

		if (condition == CONTENDED) {
			others[0] = start(move_to_and_fro);
			others[1] = start(make_and_remove);
		}
		for (int i = 0; i < turns; i++) {
			for (size_t side = 0; side < SIDES; side++) {
				size_t which = (size_t)(i % 2) ^ side;   /* each side goes first equally often */

				one_turn(condition, which, homes[which], member);
			}
			counts[condition]++;
		}
		for (int i = 0; i < 2 && condition == CONTENDED; i++)
			end(others[i]);
		/* The killed process may have left its last cgroup. */
		if (unlinkat(contention, "made", AT_REMOVEDIR) != 0 && errno != ENOENT)
			err(2, "contention/made");
	}
	end(member);
	for (size_t side = 0; side < SIDES; side++)
		sides[side]->remove(homes[side]);

	double spawn_us[CONDITIONS] = { 0 };
	for (int call = 0; call < CALLS; call++) {
		for (size_t side = 0; side < SIDES; side++) {
			for (int condition = 0; condition < CONDITIONS; condition++) {
				double *us = times_us[condition][side][call];
				size_t count = counts[condition];

				sort(us, count);
				printf("tails, %-8s %-7s %-9s us: 50 %% %.1f, 99 %% %.1f, 99.9 %% %.1f\n", call_names[call],
				       sides[side]->name, condition == IDLE ? "idle" : "contended", percentile(us, count, 0.5),
				       percentile(us, count, 0.99), percentile(us, count, 0.999));
				if (call == CALL_SPAWN && sides[side] == &library_side)
					spawn_us[condition] = percentile(us, count, 0.99);
			}
		}
	}
	double ratio = spawn_us[CONTENDED] / spawn_us[IDLE];
	if (!getenv("LAB_LAYOUT"))
		target("the 99th percentile of spawn under contention, times that on an idle machine, at most 2", ratio,
		       ratio <= 2);
	return missed ? 1 : 0;
}
