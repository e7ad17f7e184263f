/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What agentcg makes of the place that it runs in, for tests/lab/units: one
 * line that says where an agent came to be, with which controllers, or why
 * not. An agent that came to be has its limits read back, runs a process, is
 * measured, killed and removed; whatever of that does not hold is said on
 * standard error, with status 1.
 *
 *	units [COMMAND...]	COMMAND is run while the agent lives, and the
 *				limits must hold after it, too
 */
#include <agentcg.h>

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("units: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

/* The interface file as it must be, in the agent's directory. */
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
		die("%s, %s: \"%s\" and not \"%s\"", file, when, got, want);
}

static void expect_limits(const char *path, uint64_t controllers, const char *when)
{
	expect(path, "memory.max", "67108864", when);
	expect(path, "pids.max", "16", when);
	if (controllers & AGENTCG_CONTROLLER_CPU)
		expect(path, "cpu.max", "50000 100000", when);
}

/* A process of the agent's, which says on the pipe that it has entered. */
static pid_t start(agentcg *cg)
{
	int pipe_fds[2];
	char code = 1;
	pid_t pid;

	if (pipe(pipe_fds))
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0) {
		code = agentcg_move_self(cg) ? 1 : 0;
		if (write(pipe_fds[1], &code, 1) != 1 || code)
			_exit(1);
		for (;;)
			pause();
	}
	close(pipe_fds[1]);
	if (read(pipe_fds[0], &code, 1) != 1 || code)
		die("agentcg_move_self failed in the child");
	close(pipe_fds[0]);
	return pid;
}

static void run(char **command)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0) {
		dup2(STDERR_FILENO, STDOUT_FILENO); /* standard output is the one line's */
		execvp(command[0], command);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die("%s ended with wait status %#x", command[0], (unsigned int)status);
}

/* kind=KIND parent=DIR controllers=NAME,NAME,... */
static void print_place(const agentcg_info *info, const char *path)
{
	static const char *const kinds[] = { "?", "GIVEN", "DELEGATED", "SIBLING", "ROOT" };
	static const char *const names[] = { "cpu", "memory", "pids", "io", "cpuset", "hugetlb" };
	const char *end = strstr(path, "/synwire/agents/"), *comma = "";
	unsigned int i;

	if (!end)
		die("the path %s has no synwire/agents", path);
	printf("kind=%s parent=%.*s controllers=", kinds[info->place <= AGENTCG_PLACE_ROOT ? info->place : 0],
	       (int)(end - path), path);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!(info->controllers & 1ull << i))
			continue;
		printf("%s%s", comma, names[i]);
		comma = ",";
	}
	putchar('\n');
}

int main(int argc, char **argv)
{
	agentcg_limits limits = {
		.mask = AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_PIDS_MAX | AGENTCG_LIMIT_CPU_MAX,
		.memory_max_bytes = 64 << 20,
		.pids_max = 16,
		.cpu_max_millicpu = 500,
	};
	agentcg_error error;
	agentcg_stats stats;
	agentcg_info info;
	agentcg *cg = NULL;
	char path[4096];
	int err, status;
	pid_t pid;

	err = agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &error);
	if (err == -EOPNOTSUPP && error.reason == AGENTCG_WHY_NO_CONTROLLER) {
		/* systemd delegates cpu to users since version 244 only. */
		limits.mask &= ~AGENTCG_LIMIT_CPU_MAX;
		err = agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &error);
	}
	if (err) {
		printf("errno=%d reason=%u %s\n", -err, error.reason, error.message);
		return 0;
	}
	if (agentcg_get_info(cg, &info, sizeof(info), &error))
		die("agentcg_get_info: %s", error.message);
	if (agentcg_path(cg, path, sizeof(path)) < 0)
		die("agentcg_path failed");
	print_place(&info, path);
	expect_limits(path, info.controllers, "when it is made");

	pid = start(cg);
	if (argc > 1) {
		run(argv + 1);
		expect_limits(path, info.controllers, "after the command");
	}
	if (agentcg_read_stats(cg, AGENTCG_STAT_BASIC | AGENTCG_STAT_PIDS | AGENTCG_STAT_STATE, &stats, sizeof(stats),
			       &error))
		die("agentcg_read_stats: %s", error.message);
	if (stats.pids_current != 1 || !stats.populated)
		die("%llu processes, populated %llu, and not one",
		    (unsigned long long)stats.pids_current, (unsigned long long)stats.populated);
	if (agentcg_kill_all(cg, 30000, &error))
		die("agentcg_kill_all: %s", error.message);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		die("the agent's process was not killed: wait status %#x", (unsigned int)status);
	if (agentcg_destroy(cg, 0, 30000, NULL, 0, &error))
		die("agentcg_destroy: %s", error.message);
	if (access(path, F_OK) == 0 || errno != ENOENT)
		die("%s is still there after agentcg_destroy", path);
	return 0;
}
