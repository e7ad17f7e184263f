/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Makes an agent in the place that the library finds, for tests/lab/places.
 * Prints the line "PLACE|CONTROLLERS|OBSTACLE|PARENT", and on a second line the
 * message of the error, if there is one. The agent's limits are read back; it
 * runs a process, and is measured, killed and removed. If limits are refused, an
 * agent without limits is made ("tracking"). Nothing else in the hierarchy may
 * change while the agent lives and after its end. A failure is printed on
 * standard error, with status 1.
 *
 *	places [COMMAND...]	runs COMMAND while the agent lives; the limits
 *				must stay in force after it
 */
#include "places.h"

#include <agentcg.h>

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t living;	/* the agent's process */

void die(const char *format, ...)
{
	va_list args;

	if (living > 0)
		kill(living, SIGKILL); /* it would keep a scope alive */

	va_start(args, format);
	fputs("places: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

/* Fail unless the interface file of the agent has this text. */
static void expect(const char *path, const char *file, const char *want, const char *when)
{
	char name[4200], got[128] = "";
	FILE *stream;

	snprintf(name, sizeof(name), "%s/%s", path, file);
	stream = fopen(name, "re");
	if (!stream)
		die("%s, %s: %s", file, when, strerror(errno));
	if (!fgets(got, sizeof(got), stream))
		die("%s, %s: nothing to read", file, when);
	fclose(stream);
	got[strcspn(got, "\n")] = '\0';
	if (strcmp(got, want) != 0)
		die("%s, %s: \"%s\", expected \"%s\"", file, when, got, want);
}

static void expect_limits(const char *path, uint64_t controllers, const char *when)
{
	expect(path, "memory.max", "67108864", when);
	expect(path, "pids.max", "16", when);
	if (controllers & AGENTCG_CONTROLLER_CPU)
		expect(path, "cpu.max", "50000 100000", when);
}

/*
 * Start a process of the agent. It moves itself into the group. If that is not
 * allowed, as from a login session, it reports the error and is moved.
 */
static pid_t start(agentcg *cg)
{
	agentcg_error error;
	int fds[2];
	char code;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		die("socketpair: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0) {
		code = (char)-agentcg_move_self(cg);
		if (write(fds[1], &code, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(fds[1]);
	if (read(fds[0], &code, 1) != 1)
		die("the agent's process sent nothing");
	close(fds[0]);
	if (code != 0 && code != EACCES)
		die("agentcg_move_self: %s", strerror(code));
	living = pid;
	if (code == EACCES && agentcg_move_pid(cg, pid, &error))
		die("agentcg_move_pid: %s", error.message);
	return pid;
}

static void run(char **command)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0) {
		dup2(STDERR_FILENO, STDOUT_FILENO); /* standard output is for the result */
		execvp(command[0], command);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die("%s ended with wait status %#x", command[0], (unsigned int)status);
}

static const char *obstacle(uint32_t reason)
{
	static const char *const names[] = {
		"-", "NO_CGROUP2", "OUTSIDE_NAMESPACE", "READ_ONLY", "NOT_DELEGATED", "NO_CONTROLLER", "POPULATED",
		"THREADED", "GONE", "NESTING_LIMIT", "NO_SYSTEMD", "SYSTEMD_REFUSED", "CALLER_INSIDE",
	};

	return names[reason < sizeof(names) / sizeof(names[0]) ? reason : 0];
}

static void print_place(const agentcg_info *info, const char *path, const agentcg_error *error)
{
	static const char *const kinds[] = { "?", "GIVEN", "DELEGATED", "SIBLING", "ROOT", "SYSTEMD" };
	static const char *const names[] = { "cpu", "memory", "pids", "io", "cpuset", "hugetlb" };
	const char *end = strstr(path, "/synwire/agents/"), *blank = "";
	unsigned int i;

	if (!end)
		die("the path %s has no synwire/agents", path);
	printf("%s%s|", kinds[info->place <= AGENTCG_PLACE_SYSTEMD ? info->place : 0],
	       info->controllers ? "" : ", tracking");
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!(info->controllers & 1ull << i))
			continue;
		printf("%s%s", blank, names[i]);
		blank = " ";
	}
	printf("%s|%s|%.*s\n%s\n", info->controllers ? "" : "none", obstacle(error->reason), (int)(end - path), path,
	       error->message);
}

/* Compare a diagnosis with agentcg_new(), which has returned err for these limits (NULL: none). */
static void expect_diagnosed(const agentcg_diagnosis *found, const agentcg_limits *limits, int err, uint32_t place,
			     const agentcg_error *error)
{
	if (err ? found->place || found->obstacle != error->reason : found->place != place || found->obstacle)
		die("%s: agentcg_diagnose_new: place %u, obstacle %u; agentcg_new: %d, place %u, reason %u",
		    limits ? "with limits" : "without limits", found->place, found->obstacle, err, place, error->reason);
}

static void diagnose(const agentcg_limits *limits, agentcg_diagnosis *ret)
{
	agentcg_error error;

	if (agentcg_diagnose_new(limits, limits ? sizeof(*limits) : 0, 0, ret, sizeof(*ret), NULL, 0, &error) < 0)
		die("agentcg_diagnose_new: %s", error.message);
	expect_nothing_new("after agentcg_diagnose_new");
}

int main(int argc, char **argv)
{
	agentcg_limits limits = {
		.mask = AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_PIDS_MAX | AGENTCG_LIMIT_CPU_MAX,
		.memory_max_bytes = 64 << 20,
		.pids_max = 16,
		.cpu_max_millicpu = 500,
	};
	agentcg_error refusal = { .code = 0 }, error;
	char parent[4096], path[4096];
	agentcg_diagnosis limited, plain;
	agentcg_stats stats;
	agentcg_info info;
	agentcg *cg = NULL;
	int err, status, found;
	pid_t pid;

	remember();
	found = agentcg_discover_parent(parent, sizeof(parent), &error);
	expect_nothing_new("after agentcg_discover_parent");
	diagnose(&limits, &limited);
	diagnose(NULL, &plain);
	err = agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &refusal);
	if (err) {
		expect_nothing_new("after limits were refused");
		expect_diagnosed(&limited, &limits, err, 0, &refusal);
		limits.mask = 0;
		err = agentcg_new(NULL, NULL, NULL, 0, 0, &cg, &error);
		if (err != found && !(err == 0 && found > 0))
			die("agentcg_new returned %d, agentcg_discover_parent %d", err, found);
	}
	if (err) {
		expect_nothing_new("after agentcg_new was refused");
		expect_diagnosed(&plain, NULL, err, 0, &error);
		printf("none|none|%s|-\n%s\n", obstacle(error.reason), error.message);
		return 0;
	}
	if (agentcg_get_info(cg, &info, sizeof(info), &error))
		die("agentcg_get_info: %s", error.message);
	if (agentcg_path(cg, path, sizeof(path)) < 0)
		die("agentcg_path failed");
	expect_diagnosed(limits.mask ? &limited : &plain, limits.mask ? &limits : NULL, 0, info.place, &refusal);
	/* agentcg_discover_parent() is for an agent without limits, which may be made elsewhere. */
	if (plain.place == info.place &&
	    (found < 0 || strncmp(path, parent, (size_t)found) != 0 || strncmp(path + found, "/synwire/", 9) != 0))
		die("agentcg_discover_parent returned %s, agentcg_new made %s", parent, path);
	print_place(&info, path, &refusal);
	if (limits.mask)
		expect_limits(path, info.controllers, "when it is made");

	pid = start(cg);
	expect_unmoved("with an agent");
	if (argc > 1) {
		run(argv + 1);
		if (limits.mask)
			expect_limits(path, info.controllers, "after the command");
	}
	if (agentcg_read_stats(cg, AGENTCG_STAT_BASIC | AGENTCG_STAT_PIDS | AGENTCG_STAT_STATE, &stats, sizeof(stats),
			       &error))
		die("agentcg_read_stats: %s", error.message);
	if (!stats.populated || (limits.mask && stats.pids_current != 1))
		die("%llu processes, populated %llu, expected 1",
		    (unsigned long long)stats.pids_current, (unsigned long long)stats.populated);
	if (agentcg_kill_all(cg, 30000, &error))
		die("agentcg_kill_all: %s", error.message);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		die("the agent's process was not killed: wait status %#x", (unsigned int)status);
	living = 0;
	if (agentcg_destroy(cg, 0, 30000, NULL, 0, &error))
		die("agentcg_destroy: %s", error.message);
	if (access(path, F_OK) == 0 || errno != ENOENT)
		die("%s is still there after agentcg_destroy", path);
	expect_unmoved("after the agent's end");
	return 0;
}
