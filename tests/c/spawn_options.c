/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* agentcg_spawn(): what the program has by the fields of agentcg_spawn_options, and the fields that are refused. */
#include "spawning.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *output_of_sh(agentcg *cg, const char *script, agentcg_spawn_options options)
{
	return output_of(cg, WORDS("/bin/sh", "-c", (char *)script), NULL, options);
}

/* Refused with this code, and with the name of the field in the message. */
static void check_refused(agentcg *cg, const agentcg_spawn_options *options, int code, const char *field)
{
	CHECK_ERR(agentcg_spawn(cg, "/bin/true", WORDS("x"), NULL, options, sizeof(*options), NULL, NULL, &why), code);
	if (!strstr(why.message, field))
		CHECK_STR(why.message, field);
	check_nothing_is_left(cg);
}

/* ---- attributes of the process ---- */

static void it_has_the_given_umask_niceness_and_limits(void)
{
	static const char script[] = "umask; nice; cat /proc/$$/oom_score_adj; ulimit -Sn; ulimit -Hn; ulimit -c; "
	                             "grep NoNewPrivs /proc/$$/status";
	const agentcg_spawn_rlimit rlimits[] = { { RLIMIT_NOFILE, 50, 60 }, { RLIMIT_CORE, 0, 0 } };
	agentcg *cg = new_group();
	agentcg_spawn_options options = OWN;

	options.flags = AGENTCG_SPAWN_UMASK | AGENTCG_SPAWN_NICE | AGENTCG_SPAWN_OOM_SCORE_ADJ | AGENTCG_SPAWN_NO_NEW_PRIVS;
	options.umask = 0027;
	options.nice = 11;
	options.oom_score_adj = 500;
	options.rlimits = (uintptr_t)rlimits;
	options.rlimits_count = 2;
	CHECK_STR(output_of_sh(cg, script, options), "0027\n11\n500\n50\n60\n0\nNoNewPrivs:\t1\n");
	destroy_group(cg);
}

static void it_has_the_given_ids(void)
{
	static const uint32_t groups[] = { 5, 6 };
	static const char script[] = "sed -n 's/^[UG]id:\\t\\|^Groups:\\t//p' /proc/$$/status";
	agentcg *cg = new_group();
	agentcg_spawn_options options = OWN;

	options.flags = AGENTCG_SPAWN_UID | AGENTCG_SPAWN_GID;
	options.uid = geteuid();
	options.gid = getegid();
	if (geteuid() == 0) {
		options.flags |= AGENTCG_SPAWN_GROUPS;
		options.uid = 1001;
		options.gid = 1002;
		options.groups = (uintptr_t)groups;
		options.groups_count = 2;
		CHECK_STR(output_of_sh(cg, script, options), "1001\t1001\t1001\t1001\n1002\t1002\t1002\t1002\n5 6 \n");
		options.groups_count = 0;
		CHECK_STR(output_of_sh(cg, script, options), "1001\t1001\t1001\t1001\n1002\t1002\t1002\t1002\n \n");
	} else {
		options.flags |= AGENTCG_SPAWN_NO_NEW_PRIVS;
		CHECK_STR(output_of_sh(cg, "id -u; id -g", options), output_of_sh(cg, "id -u; id -g", OWN));
		options.uid = 0;
		check_refused(cg, &options, -EPERM, "uid");
	}
	destroy_group(cg);
}

/* The caller is a child that starts a program and ends. */
static void spawn_and_end(void *cg)
{
	agentcg_spawn_options options = OWN;

	options.parent_death_signal = SIGKILL;
	started(cg, WORDS("/bin/sleep", "1000"), NULL, options);
}

static void it_is_signalled_when_its_parent_ends(void)
{
	agentcg *cg = new_group();

	in_child(spawn_and_end, cg);
	CHECK_OK(agentcg_wait_empty(cg, SOON_MS, &why));
	destroy_group(cg);
}

/* ---- signals, process group and terminal: tests/behaviour/spawn/options.rs tests them on each way into a group ---- */

static void it_has_the_given_signals_and_process_group(void)
{
	char *const words[] = { "/bin/sed", "-n", "s/^Sig[IB][gl][nk]:\t//p", "/proc/self/status", NULL };
	agentcg *cg = new_group();
	agentcg_spawn_options options = OWN;

	CHECK_STR(output_of(cg, words, NULL, options), "0000000000000000\n0000000000000000\n");
	options.blocked_signals = 1ull << (SIGUSR1 - 1);
	options.ignored_signals = 1ull << (SIGHUP - 1);
	CHECK_STR(output_of(cg, words, NULL, options), "0000000000000200\n0000000000000001\n");
	options = OWN;
	options.flags = AGENTCG_SPAWN_PGROUP;
	CHECK_STR(output_of_sh(cg, "set -- $(cat /proc/$$/stat); [ $1 = $5 ] && echo leads", options), "leads\n");
	destroy_group(cg);
}

/* ---- the program by a descriptor ---- */

static void it_is_executed_by_a_descriptor(void)
{
	agentcg *cg = new_group();
	agentcg_spawn_options options = OWN;
	pid_t pid = -1;

	options.flags = AGENTCG_SPAWN_FILE_FD;
	options.file_fd = open("/bin/true", O_PATH | O_CLOEXEC);
	CHECK_OK(agentcg_spawn(cg, NULL, WORDS("any name"), NULL, &options, sizeof(options), &pid, NULL, &why));
	CHECK_EQ(reap(pid), 0);
	CHECK_ERR(agentcg_spawn(cg, "/bin/true", WORDS("x"), NULL, &options, sizeof(options), NULL, NULL, &why), -EINVAL);
	close(options.file_fd);
	CHECK_ERR(agentcg_spawn(cg, NULL, WORDS("x"), NULL, &options, sizeof(options), NULL, NULL, &why), -EBADF);
	CHECK(strstr(why.message, "file_fd") != NULL);
	check_nothing_is_left(cg);
	destroy_group(cg);
}

/* ---- the time until it begins: tests/behaviour/spawn/timeout.rs tests what happens after that ---- */

static void it_begins_in_the_given_time(void)
{
	static const int32_t times[] = { 0, 60000, AGENTCG_FOREVER };
	const agentcg_limits limits = { .mask = AGENTCG_LIMIT_CPU_MAX, .cpu_max_millicpu = 900 };
	agentcg *cg;

	CHECK_OK(agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why));
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		agentcg_spawn_options options = OWN;

		options.begin_timeout_ms = times[i];
		CHECK_STR(output_of(cg, WORDS("/bin/echo", "begun"), NULL, options), "begun\n");
		CHECK_ERR(agentcg_spawn(cg, "/nowhere", WORDS("x"), NULL, &options, sizeof(options), NULL, NULL, &why), -ENOENT);
		check_nothing_is_left(cg);
	}
	destroy_group(cg);
}

/* ---- without waiting: tests/behaviour/spawn/asynchronous.rs tests more ---- */

static void a_start_may_be_asked_for_its_result(void)
{
	agentcg *cg = new_group();
	agentcg_spawn_options options = OWN;
	int pidfd = -1, result;
	pid_t pid = -1;

	options.flags = AGENTCG_SPAWN_ASYNC;
	CHECK_OK(agentcg_spawn(cg, "/bin/true", WORDS("x"), NULL, &options, sizeof(options), &pid, &pidfd, &why));
	CHECK(fcntl(pidfd, F_GETFD) == FD_CLOEXEC && pidfd > 2);
	/* The program ends at once, which makes its pidfd readable. */
	while ((result = agentcg_spawn_result(cg, pidfd, NULL)) == -EINPROGRESS)
		poll(&(struct pollfd){ .fd = pidfd, .events = POLLIN }, 1, SOON_MS);
	CHECK_EQ(result, 0);
	CHECK_EQ(reap(pid), 0);
	CHECK_ERR(agentcg_spawn_result(cg, pidfd, &why), -ECHILD);
	close(pidfd);
	CHECK_ERR(agentcg_spawn_result(cg, pidfd, &why), -EBADF);
	CHECK_ERR(agentcg_spawn_result(cg, 0, &why), -EINVAL);

	CHECK_OK(agentcg_spawn(cg, "/nowhere", WORDS("x"), NULL, &options, sizeof(options), &pid, &pidfd, &why));
	/* A child that fails makes its pidfd readable. */
	poll(&(struct pollfd){ .fd = pidfd, .events = POLLIN }, 1, SOON_MS);
	CHECK_ERR(agentcg_spawn_result(cg, pidfd, &why), -ENOENT);
	close(pidfd);
	check_nothing_is_left(cg);

	CHECK_ERR(agentcg_spawn(cg, "/bin/true", WORDS("x"), NULL, &options, sizeof(options), &pid, NULL, &why), -EINVAL);
	CHECK(strstr(why.message, "ret_pidfd") != NULL);
	options.begin_timeout_ms = 1;
	CHECK_ERR(agentcg_spawn(cg, "/bin/true", WORDS("x"), NULL, &options, sizeof(options), &pid, &pidfd, &why), -EINVAL);
	CHECK(strstr(why.message, "begin_timeout_ms") != NULL);
	destroy_group(cg);
}

/* ---- what is refused ---- */

static void a_field_without_its_flag_is_refused_by_name(void)
{
	agentcg *cg = new_group();
	agentcg_spawn_options options;

#define WITHOUT_FLAG(field, value, name) \
	options = OWN; \
	options.field = (value); \
	check_refused(cg, &options, -EINVAL, name " is set")
	WITHOUT_FLAG(uid, 1, "uid");
	WITHOUT_FLAG(gid, 1, "gid");
	WITHOUT_FLAG(groups_count, 1, "groups");
	WITHOUT_FLAG(umask, 1, "umask");
	WITHOUT_FLAG(nice, 1, "nice");
	WITHOUT_FLAG(oom_score_adj, 1, "oom_score_adj");
	WITHOUT_FLAG(pgroup, 1, "pgroup");
	WITHOUT_FLAG(terminal_fd, 1, "terminal_fd");
	WITHOUT_FLAG(file_fd, 1, "file_fd");
	destroy_group(cg);
}

static void a_value_out_of_range_is_refused_by_name(void)
{
	static const agentcg_spawn_rlimit unknown[] = { { 0, 1, 1 }, { 16, 1, 1 } }, reversed[] = { { RLIMIT_CPU, 2, 1 } };
	agentcg *cg = new_group();
	agentcg_spawn_options options;

#define OUT_OF_RANGE(flag, field, value) OUT_OF_RANGE_AS(flag, field, value, #field)
#define OUT_OF_RANGE_AS(flag, field, value, name) \
	options = OWN; \
	options.flags = (flag); \
	options.field = (value); \
	check_refused(cg, &options, -EINVAL, name)
	OUT_OF_RANGE(AGENTCG_SPAWN_UID, uid, UINT32_MAX);
	OUT_OF_RANGE(AGENTCG_SPAWN_GID, gid, UINT32_MAX);
	OUT_OF_RANGE(AGENTCG_SPAWN_UMASK, umask, 01000);
	OUT_OF_RANGE(AGENTCG_SPAWN_NICE, nice, 20);
	OUT_OF_RANGE(AGENTCG_SPAWN_NICE, nice, -21);
	OUT_OF_RANGE(AGENTCG_SPAWN_OOM_SCORE_ADJ, oom_score_adj, 1001);
	OUT_OF_RANGE(AGENTCG_SPAWN_OOM_SCORE_ADJ, oom_score_adj, -1001);
	OUT_OF_RANGE_AS(AGENTCG_SPAWN_GROUPS, groups_count, 65537, "groups");
	OUT_OF_RANGE(AGENTCG_SPAWN_GROUPS, groups_count, 1);   /* without an address */
	OUT_OF_RANGE(0, rlimits_count, 1);
	OUT_OF_RANGE(0, parent_death_signal, 65);
	OUT_OF_RANGE(0, parent_death_signal, -1);
	OUT_OF_RANGE(0, ignored_signals, 1ull << (SIGKILL - 1));
	OUT_OF_RANGE(0, blocked_signals, 1ull << (SIGSTOP - 1));
	OUT_OF_RANGE(AGENTCG_SPAWN_PGROUP, pgroup, -1);
	OUT_OF_RANGE(0, begin_timeout_ms, -2);
	options = OWN;
	options.rlimits = (uintptr_t)unknown;
	options.rlimits_count = 2;
	check_refused(cg, &options, -EINVAL, "rlimits[1]");
	options.rlimits = (uintptr_t)reversed;
	options.rlimits_count = 1;
	check_refused(cg, &options, -EINVAL, "rlimits[0]");
	destroy_group(cg);
}

static void what_cannot_be_combined_is_refused_by_name(void)
{
	static const struct {
		uint64_t flags;
		const char *field;
	} rows[] = {
		{ AGENTCG_SPAWN_CONTAIN | AGENTCG_SPAWN_UID, "uid" },
		{ AGENTCG_SPAWN_CONTAIN | AGENTCG_SPAWN_GID, "gid" },
		{ AGENTCG_SPAWN_CONTAIN | AGENTCG_SPAWN_GROUPS, "groups" },
		{ AGENTCG_SPAWN_CONTAIN | AGENTCG_SPAWN_PGROUP, "pgroup" },
		{ AGENTCG_SPAWN_NEW_SESSION | AGENTCG_SPAWN_PGROUP, "pgroup" },
		{ AGENTCG_SPAWN_CONTROLLING_TERMINAL, "terminal_fd" },
		{ AGENTCG_SPAWN_FOREGROUND, "terminal_fd" },
		{ AGENTCG_SPAWN_NEW_SESSION | AGENTCG_SPAWN_FOREGROUND, "terminal_fd" },
		{ AGENTCG_SPAWN_FILE_FD | AGENTCG_SPAWN_SEARCH_PATH, "file_fd" },
	};
	agentcg *cg = new_group();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		agentcg_spawn_options options = OWN;

		options.flags = rows[i].flags;
		check_refused(cg, &options, -EINVAL, rows[i].field);
	}
	destroy_group(cg);
}

int main(void)
{
	RUN(it_has_the_given_umask_niceness_and_limits);
	RUN(it_has_the_given_ids);
	RUN(it_is_signalled_when_its_parent_ends);
	RUN(it_has_the_given_signals_and_process_group);
	RUN(it_is_executed_by_a_descriptor);
	RUN(it_begins_in_the_given_time);
	RUN(a_start_may_be_asked_for_its_result);
	RUN(a_field_without_its_flag_is_refused_by_name);
	RUN(a_value_out_of_range_is_refused_by_name);
	RUN(what_cannot_be_combined_is_refused_by_name);
	return 0;
}
