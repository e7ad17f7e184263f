/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* When agentcg_spawn() fails: the codes, and that nothing is left, however the host handles SIGCHLD and waits. */
#include "spawning.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int spawn_file(agentcg *cg, const char *file)
{
	pid_t pid = -5;
	int pidfd = -5;
	int code = agentcg_spawn(cg, file, WORDS("x"), NULL, NULL, 0, &pid, &pidfd, &why);

	CHECK(pid == -5 && pidfd == -5);
	return code;
}

/* ---- errors of execve(2) ---- */

static void make_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void a_file_that_cannot_be_executed_returns_the_kernels_code(void)
{
	agentcg *cg = new_group();
	char directory[] = "/tmp/agentcg-spawn-XXXXXX", path[64], long_name[300];

	CHECK(mkdtemp(directory) != NULL);
	snprintf(path, sizeof(path), "%s/file", directory);
	CHECK_ERR(spawn_file(cg, path), -ENOENT);
	CHECK_ERR(spawn_file(cg, ""), -ENOENT);
	CHECK_ERR(spawn_file(cg, "true"), -ENOENT);
	CHECK(strstr(why.message, "AGENTCG_SPAWN_SEARCH_PATH") != NULL);
	CHECK_ERR(spawn_file(cg, "/etc/passwd/x"), -ENOTDIR);
	CHECK_ERR(spawn_file(cg, "/etc"), -EACCES);
	make_file(path, "#!/bin/true\n", 0644);
	CHECK_ERR(spawn_file(cg, path), -EACCES);
	CHECK_EQ(unlink(path), 0);
	make_file(path, "neither a program nor a script\n", 0755);
	CHECK_ERR(spawn_file(cg, path), -ENOEXEC);
	CHECK(strstr(why.message, "#!") != NULL);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(symlink("file", path), 0);
	CHECK_ERR(spawn_file(cg, path), -ELOOP);
	CHECK_EQ(unlink(path), 0);
	CHECK_EQ(rmdir(directory), 0);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[0] = '/';
	long_name[sizeof(long_name) - 1] = '\0';
	CHECK_ERR(spawn_file(cg, long_name), -ENAMETOOLONG);
	check_nothing_is_left(cg);
	destroy_group(cg);
}

static void a_busy_file_a_missing_interpreter_and_long_words_return_the_kernels_code(void)
{
	agentcg *cg = new_group();
	char path[] = "/tmp/agentcg-spawn-XXXXXX";
	static char word[200000];
	int writer = mkstemp(path);

	CHECK(writer >= 0);
	CHECK_EQ(write(writer, "#!/nowhere\n", 11), 11);
	CHECK_EQ(fchmod(writer, 0755), 0);
	CHECK_ERR(spawn_file(cg, path), -ETXTBSY);
	close(writer);
	CHECK_ERR(spawn_file(cg, path), -ENOENT);
	CHECK_EQ(unlink(path), 0);
	memset(word, 'x', sizeof(word) - 1);
	CHECK_ERR(agentcg_spawn(cg, "/bin/true", WORDS("x", word), NULL, NULL, 0, NULL, NULL, &why), -E2BIG);
	CHECK_ERR(agentcg_spawn(cg, "/bin/true", WORDS("x"), WORDS(word), NULL, 0, NULL, NULL, &why), -E2BIG);
	check_nothing_is_left(cg);
	destroy_group(cg);
}

/* ---- invalid options ---- */

/* The size of agentcg_spawn_options in the first release. */
#define SIZE_V0 24

static void invalid_options_are_refused(void)
{
	struct {
		agentcg_spawn_options options;
		uint64_t later;
	} longer = { AGENTCG_SPAWN_OPTIONS_INIT, 0 };
	agentcg *cg = new_group();
	agentcg_spawn_options *options = &longer.options;
	int closed = fcntl(0, F_DUPFD, 50);
	pid_t pid;

#define SPAWN(size) agentcg_spawn(cg, "/bin/true", WORDS("x"), NULL, options, size, &pid, NULL, &why)
	CHECK_EQ(close(closed), 0);
	CHECK_ERR(SPAWN(SIZE_V0 - 1), -EINVAL);
	/* A program that was compiled with the first release has no fields behind cwd_fd. */
	options->fds_count = UINT64_MAX;
	CHECK_OK(SPAWN(SIZE_V0));
	CHECK_EQ(reap(pid), 0);
	options->fds_count = 0;
	CHECK_ERR(agentcg_spawn(cg, "/bin/true", WORDS("x"), NULL, NULL, sizeof(*options), NULL, NULL, &why), -EINVAL);
	CHECK_OK(SPAWN(sizeof(longer)));
	CHECK_EQ(reap(pid), 0);
	longer.later = 1;
	CHECK_ERR(SPAWN(sizeof(longer)), -E2BIG);
	options->flags = 1ull << 63;
	CHECK_ERR(SPAWN(sizeof(*options)), -EINVAL);
	*options = OWN;
	options->stdin_fd = AGENTCG_PIPE - 1;
	CHECK_ERR(SPAWN(sizeof(*options)), -EINVAL);
	options->stdin_fd = closed;
	CHECK_ERR(SPAWN(sizeof(*options)), -EBADF);
	*options = OWN;
	options->stderr_fd = closed;
	CHECK_ERR(SPAWN(sizeof(*options)), -EBADF);
	CHECK_ERR(agentcg_spawn(cg, "/bin/true", (char *[]){ NULL }, NULL, NULL, 0, NULL, NULL, &why), -EINVAL);
	check_nothing_is_left(cg);
	destroy_group(cg);
}

/* The lab's standard input is no directory. */
static void uninitialised_options_are_named(void)
{
	agentcg *cg = new_group();
	agentcg_spawn_options options = { .flags = AGENTCG_SPAWN_NEW_SESSION };

	CHECK_ERR(agentcg_spawn(cg, "/bin/true", WORDS("x"), NULL, &options, sizeof(options), NULL, NULL, &why),
	          -ENOTDIR);
	CHECK(strstr(why.message, "AGENTCG_SPAWN_OPTIONS_INIT") != NULL);
	check_nothing_is_left(cg);
	destroy_group(cg);
}

/* ---- what the group does not allow; tests/behaviour/spawn/refusals.rs tests it on each way into a group ---- */

static void a_frozen_group_is_refused_at_once(void)
{
	agentcg *cg = new_group();

	CHECK_OK(agentcg_freeze(cg, SOON_MS, &why));
	CHECK_ERR(spawn_file(cg, "/bin/true"), -EBUSY);
	CHECK_STR(why.file, "cgroup.freeze");
	CHECK_OK(agentcg_thaw(cg, SOON_MS, &why));
	destroy_group(cg);
}

static void a_full_group_is_refused(void)
{
	const agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = 1 };
	agentcg *cg;
	pid_t sleeper;

	CHECK_OK(agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why));
	sleeper = started(cg, WORDS("/bin/sleep", "1000"), NULL, OWN);
	CHECK_ERR(spawn_file(cg, "/bin/true"), -EAGAIN);
	CHECK_STR(why.file, "pids.max");
	kill_and_reap(sleeper);
	destroy_group(cg);
}

static void a_group_that_is_gone_is_refused(void)
{
	agentcg *cg = new_group(), *same;
	char uuid[AGENTCG_UUID_SIZE];

	agentcg_uuid(cg, uuid, sizeof(uuid));
	CHECK_OK(agentcg_open(NULL, uuid, 0, &same, &why));
	CHECK_EQ(reap(started(same, WORDS("/bin/true"), NULL, OWN)), 0);
	destroy_group(cg);
	CHECK_ERR(spawn_file(same, "/bin/true"), -ENODEV);
	CHECK_EQ(why.reason, AGENTCG_WHY_GONE);
	agentcg_free(same);
}

/* ---- nothing is left ---- */

static volatile sig_atomic_t signals;

static void note(int signal)
{
	(void)signal;
	signals++;
}

static void fail_with(agentcg *cg, const struct sigaction *on_child)
{
	CHECK_EQ(sigaction(SIGCHLD, on_child, NULL), 0);
	for (int i = 0; i < 5; i++) {
		CHECK_ERR(spawn_file(cg, "/nowhere"), -ENOENT);
		CHECK_ERR(spawn_file(cg, "/etc/passwd"), -EACCES);
	}
	CHECK_EQ(signals, 0);
	check_nothing_is_left(cg);
	signal(SIGCHLD, SIG_DFL);
}

static void a_failure_sends_no_sigchld(void)
{
	const struct sigaction listening[] = {
		{ .sa_handler = note }, { .sa_handler = SIG_IGN }, { .sa_handler = note, .sa_flags = SA_NOCLDWAIT },
	};
	agentcg *cg = new_group();

	for (size_t i = 0; i < 3; i++)
		fail_with(cg, &listening[i]);
	destroy_group(cg);
}

static void the_end_of_a_started_program_is_a_sigchld(void)
{
	const struct sigaction noting = { .sa_handler = note };
	agentcg *cg = new_group();

	CHECK_EQ(sigaction(SIGCHLD, &noting, NULL), 0);
	CHECK_EQ(reap(started(cg, WORDS("/bin/true"), NULL, OWN)), 0);
	CHECK_EQ(signals, 1);
	signals = 0;
	signal(SIGCHLD, SIG_DFL);
	destroy_group(cg);
}

struct waiter {
	int options;          /* of its waitpid(2) */
	int over;
	int found;            /* how many children it found */
};

static void *wait_for_any(void *argument)
{
	struct waiter *waiter = argument;

	while (!__atomic_load_n(&waiter->over, __ATOMIC_ACQUIRE))
		if (waitpid(-1, NULL, waiter->options) > 0)
			waiter->found++;
	return NULL;
}

static void fail_beside(struct waiter *waiter, int times)
{
	agentcg *cg = new_group();
	pthread_t thread;

	CHECK_EQ(pthread_create(&thread, NULL, wait_for_any, waiter), 0);
	for (int i = 0; i < times; i++) {
		CHECK_ERR(spawn_file(cg, "/nowhere"), -ENOENT);
		CHECK_ERR(spawn_file(cg, "/etc/passwd"), -EACCES);
	}
	__atomic_store_n(&waiter->over, 1, __ATOMIC_RELEASE);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	check_nothing_is_left(cg);
	destroy_group(cg);
}

static void a_failure_is_no_child_for_a_waiting_thread(void)
{
	struct waiter waiter = { WNOHANG, 0, 0 };

	fail_beside(&waiter, 500);
	CHECK_EQ(waiter.found, 0);
}

int main(int argc, char **argv)
{
	RUN(a_file_that_cannot_be_executed_returns_the_kernels_code);
	RUN(invalid_options_are_refused);
	RUN(uninitialised_options_are_named);
	RUN(a_frozen_group_is_refused_at_once);
	RUN(a_full_group_is_refused);
	RUN(a_group_that_is_gone_is_refused);
	RUN(a_failure_sends_no_sigchld);
	RUN(the_end_of_a_started_program_is_a_sigchld);
	/* valgrind cannot continue after most failures of execve(2), and a thread that polls takes all of its time. */
	if (argc == 2 && strcmp(argv[1], "valgrind") == 0)
		return 0;
	RUN(a_busy_file_a_missing_interpreter_and_long_words_return_the_kernels_code);
	RUN(a_failure_is_no_child_for_a_waiting_thread);
	return 0;
}
