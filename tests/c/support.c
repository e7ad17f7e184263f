/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "support.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void run(const char *name, void (*test)(void))
{
	int descriptors = count_descriptors();
	int agents = agents_below(NULL);
	int children = waitpid(-1, NULL, WNOHANG);
	char sentence[200];

	snprintf(sentence, sizeof(sentence), "%s", name);
	for (char *c = sentence; (c = strchr(c, '_')); )
		*c = ' ';
	fprintf(stderr, "%s\n", sentence);

	test();

	CHECK_EQ(count_descriptors(), descriptors);
	CHECK_EQ(agents_below(NULL), agents);
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), children);   /* 0: there are children; -1: there are none */
}

/* ---- groups ---- */

agentcg *new_group(void)
{
	agentcg *cg = NULL;

	CHECK_OK(agentcg_new(NULL, NULL, NULL, 0, 0, &cg, &why));
	CHECK(cg != NULL);
	return cg;
}

void destroy_group(agentcg *cg)
{
	CHECK_OK(agentcg_destroy(cg, 0, SOON_MS, NULL, 0, &why));
}

void agents_directory(char *path)
{
	int length;

	CHECK_OK(length = agentcg_discover_parent(path, PATH_SIZE, &why));
	CHECK(length < PATH_SIZE - 20);
	strcat(path, "/synwire/agents");
}

int agents_below(const char *parent)
{
	char path[PATH_SIZE + 20];

	if (parent)
		snprintf(path, sizeof(path), "%s/synwire/agents", parent);
	else
		agents_directory(path);
	return count_subdirectories(path);
}

static void enable(const char *directory, const char *controllers)
{
	char one[32];

	/* One per write: the kernel enables all controllers of a list or none. */
	for (int length; sscanf(controllers, " %31s%n", one, &length) == 1; controllers += length)
		write_to(directory, "cgroup.subtree_control", one);
}

void limit_place_briefly(void)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = 5000 };

	CHECK_OK(agentcg_set_place_limits(NULL, &limits, sizeof(limits), 0, &why));
	CHECK_OK(agentcg_get_place_limits(NULL, &limits, sizeof(limits), &why));
	limits = (agentcg_limits){ .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = AGENTCG_UNLIMITED };
	CHECK_OK(agentcg_set_place_limits(NULL, &limits, sizeof(limits), 0, &why));
}

void make_parent(char *path, const char *name, const char *controllers)
{
	size_t length;

	CHECK_OK(agentcg_discover_parent(path, PATH_SIZE, &why));
	enable(path, controllers);
	length = strlen(path);
	snprintf(path + length, PATH_SIZE - length, "/%s", name);
	CHECK_EQ(mkdir(path, 0755), 0);
	enable(path, controllers);
}

void remove_parent(const char *path)
{
	static const char *const inner[] = { "/synwire/agents", "/synwire", "" };
	char directory[PATH_SIZE + 20];

	for (size_t i = 0; i < sizeof(inner) / sizeof(inner[0]); i++) {
		snprintf(directory, sizeof(directory), "%s%s", path, inner[i]);
		if (rmdir(directory) != 0 && errno != ENOENT)
			CHECK_FAIL("rmdir %s: %s", directory, strerror(errno));
	}
}

/* ---- children ---- */

static pid_t fork_or_fail(void)
{
	pid_t pid = fork();

	if (pid < 0)
		CHECK_FAIL("fork: %s", strerror(errno));
	/* A test that fails leaves no process. */
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

pid_t pausing_child(void)
{
	pid_t pid = fork_or_fail();

	while (pid == 0)
		pause();
	return pid;
}

pid_t spinning_child(void)
{
	pid_t pid = fork_or_fail();

	while (pid == 0)
		getppid();
	return pid;
}

/* valgrind reports the handles and descriptors that a child has from its parent if
 * the child ends by _exit(2). It does not if the child calls execve(2). */
static void end_child(void)
{
	execl("/bin/true", "true", (char *)NULL);
	CHECK_FAIL("/bin/true: %s", strerror(errno));
}

pid_t zombie_child(void)
{
	siginfo_t info;
	pid_t pid = fork_or_fail();

	if (pid == 0)
		end_child();
	CHECK_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	return pid;
}

int reap(pid_t pid)
{
	int status = -1;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

void check_ended_by(pid_t pid, int signal)
{
	int status = reap(pid);

	if (!WIFSIGNALED(status) || WTERMSIG(status) != signal)
		CHECK_FAIL("process %d did not end by signal %d: its wait status is %#x", pid, signal, status);
}

void check_killed(pid_t pid)
{
	check_ended_by(pid, SIGKILL);
}

void kill_and_reap(pid_t pid)
{
	CHECK_EQ(kill(pid, SIGKILL), 0);
	check_killed(pid);
}

pid_t child_that_runs(void (*body)(void *), void *argument)
{
	pid_t pid = fork_or_fail();

	if (pid == 0) {
		body(argument);
		end_child();
	}
	return pid;
}

void in_child(void (*body)(void *), void *argument)
{
	CHECK_EQ(reap(child_that_runs(body, argument)), 0);
}
