/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The acts: every function in its typical states, and the host that calls it. */
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Longer than any wait that ends, and short enough for many runs. */
#define SOON_MS 3000

struct report *report;
const char *scratch, *host_cgroup;

static agentcg *cg, *other;      /* of the state, and of the call */
static char uuid[AGENTCG_UUID_SIZE];
static pid_t members[8];         /* children that the host has forked */
static size_t member_count;
static pid_t started;            /* by the call */
static int pidfd = -1;
static int terminal = -1, program = -1;
static int own_procs = -1;       /* cgroup.procs of the host's cgroup */
static const struct act *act;
static agentcg_error ignored;

#define FAIL(...) \
	do { \
		snprintf(report->failure, sizeof(report->failure), __VA_ARGS__); \
		_exit(1); \
	} while (0)
#define MUST(call) \
	do { \
		int must_result = (call); \
		if (must_result < 0) \
			FAIL("%s: %s: %s", #call, errno_name(-must_result), ignored.message); \
	} while (0)
#define REQUIRE(condition) \
	do { \
		if (!(condition)) \
			FAIL("%s is false: %s", #condition, strerror(errno)); \
	} while (0)

/* ---- states ---- */

static const char *parent(void)
{
	return act->flags & FOUND ? NULL : scratch;
}

static agentcg_limits all_limits(void)
{
	agentcg_limits limits = {
		.mask = AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_MEMORY_HIGH | AGENTCG_LIMIT_CPU_MAX | AGENTCG_LIMIT_CPU_WEIGHT |
			AGENTCG_LIMIT_PIDS_MAX | AGENTCG_LIMIT_MAX_DESCENDANTS,
		.memory_max_bytes = 64 << 20,
		.memory_high_bytes = 48 << 20,
		.cpu_max_millicpu = 500,
		.cpu_weight = 50,
		.pids_max = 40,
		.max_descendants = 10,
	};
	return limits;
}

static void group_with(const agentcg_limits *limits, uint64_t flags)
{
	MUST(agentcg_new(parent(), NULL, limits, limits ? sizeof(*limits) : 0, flags, &cg, &ignored));
	MUST(agentcg_uuid(cg, uuid, sizeof(uuid)));
}

static void nothing(void)
{
}

static void group(void)
{
	group_with(NULL, AGENTCG_NEW_NO_SYSTEMD);
}

static void guarded_group(void)
{
	group_with(NULL, AGENTCG_NEW_NO_SYSTEMD | AGENTCG_NEW_GUARD);
}

static void systemd_group(void)
{
	group_with(NULL, AGENTCG_NEW_SYSTEMD);
}

static void limited_group(void)
{
	agentcg_limits limits = all_limits();

	group_with(&limits, AGENTCG_NEW_NO_SYSTEMD);
}

static void join_group(const char *below)
{
	char path[4400];
	int length = agentcg_path(cg, path, sizeof(path)), fd;

	snprintf(path + length, sizeof(path) - (size_t)length, "%s/cgroup.procs", below);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		_exit(98);
	close(fd);
}

enum life { SLEEPS, SPINS, ENDS_SOON, LEADER_ENDS, OUTSIDE, STUBBORN };

static void *sleeps(void *unused)
{
	for (;;)
		pause();
	return unused;
}

/* A process in a cgroup below the group ("": in the group). It is there when this returns. */
static pid_t member(const char *below, enum life life)
{
	int ready[2];
	char byte;
	pid_t pid;
	pthread_t thread;

	REQUIRE(pipe2(ready, O_CLOEXEC) == 0);
	pid = fork();
	REQUIRE(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGUSR1, SIG_IGN);
		if (life == STUBBORN)
			signal(SIGTERM, SIG_IGN);
		if (life != OUTSIDE)
			join_group(below);
		if (life == LEADER_ENDS)
			pthread_create(&thread, NULL, sleeps, NULL);
		if (write(ready[1], "", 1) != 1)
			_exit(97);
		close(ready[0]);
		close(ready[1]);
		if (life == LEADER_ENDS)
			syscall(SYS_exit, 0);
		while (life == SPINS)
			;
		if (life == ENDS_SOON) {
			usleep(30000);
			_exit(0);
		}
		sleeps(NULL);
	}
	close(ready[1]);
	REQUIRE(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	members[member_count++] = pid;
	return pid;
}

static void make_nested(const char *name)
{
	char path[4400];
	int length = agentcg_path(cg, path, sizeof(path));

	snprintf(path + length, sizeof(path) - (size_t)length, "%s", name);
	REQUIRE(mkdir(path, 0755) == 0);
}

static void one_member(void)
{
	group();
	member("", SLEEPS);
}

/* A session with a process of its own and a child without an owner. */
static void session(void)
{
	group();
	member("", SLEEPS);
	MUST(agentcg_new_in(cg, NULL, 0, &other, &ignored));
	agentcg_free(other);
	other = NULL;
}

/* The same with an unlimited child that has a process. */
static void session_member(void)
{
	char uuid_of_child[AGENTCG_UUID_SIZE], below[64];

	group();
	MUST(agentcg_new_in(cg, NULL, 0, &other, &ignored));
	MUST(agentcg_uuid(other, uuid_of_child, sizeof(uuid_of_child)));
	agentcg_free(other);
	other = NULL;
	snprintf(below, sizeof(below), "/%s", uuid_of_child);
	member(below, SLEEPS);
	member("/own", SLEEPS);
}

static void stubborn_member(void)
{
	group();
	member("", STUBBORN);
}

static void short_member(void)
{
	group();
	member("", ENDS_SOON);
}

static void guarded_member(void)
{
	guarded_group();
	member("", SLEEPS);
}

static void nested_members(void)
{
	group();
	make_nested("/a");
	make_nested("/a/b");
	make_nested("/c");
	member("/a", SLEEPS);
	member("/a/b", SLEEPS);
	member("/c", SLEEPS);
}

static void throttled_members(void)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_CPU_MAX, .cpu_max_millicpu = 20 };

	group_with(&limits, AGENTCG_NEW_NO_SYSTEMD);
	member("", SPINS);
}

static void leaderless_member(void)
{
	group();
	make_nested("/a");
	member("/a", LEADER_ENDS);
}

static void frozen_member(void)
{
	one_member();
	MUST(agentcg_freeze(cg, SOON_MS, &ignored));
}

static void outside_member(void)
{
	group();
	member("", OUTSIDE);
	pidfd = (int)syscall(SYS_pidfd_open, members[0], 0);
	REQUIRE(pidfd >= 0);
}

static void nested_member_by_pidfd(void)
{
	nested_members();
	pidfd = (int)syscall(SYS_pidfd_open, members[0], 0);
	REQUIRE(pidfd >= 0);
}

static void limited_member(void)
{
	limited_group();
	member("", SLEEPS);
}

static void oom_group(void)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_OOM_GROUP | AGENTCG_LIMIT_MEMORY_MAX, .oom_group = 1, .memory_max_bytes = 64 << 20 };

	group_with(&limits, AGENTCG_NEW_NO_SYSTEMD);
}

/* A member whose start was not waited for, and which has begun. */
static void begun_member(void)
{
	static char *const words[] = { "sleep", "100", NULL };
	agentcg_spawn_options options = AGENTCG_SPAWN_OPTIONS_INIT;
	int code;

	group();
	options.flags = AGENTCG_SPAWN_ASYNC;
	MUST(agentcg_spawn(cg, "/bin/sleep", words, NULL, &options, sizeof(options), &members[member_count], &pidfd, &ignored));
	member_count++;
	while ((code = agentcg_spawn_result(cg, pidfd, NULL)) == -EINPROGRESS)
		usleep(1000);
	REQUIRE(code == 0);
}

/* The terminal and the program of the host, opened before the call. */
static void group_with_terminal(void)
{
	int pty = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), unlocked = 0;

	REQUIRE(pty >= 0 && ioctl(pty, TIOCSPTLCK, &unlocked) == 0);
	terminal = ioctl(pty, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	program = open("/bin/sleep", O_PATH | O_CLOEXEC);
	REQUIRE(terminal >= 0 && program >= 0);
	group();
}

static void events_group(void)
{
	group();
	MUST(agentcg_event_fd(cg, AGENTCG_EVENT_POPULATED | AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_OOM_KILL | AGENTCG_EVENT_GONE, &ignored));
}

static void events_pending(void)
{
	events_group();
	member("", SLEEPS);
}

static void warm_stats(void)
{
	agentcg_stats stats;

	one_member();
	MUST(agentcg_read_stats(cg, AGENTCG_STAT_ALL, &stats, sizeof(stats), &ignored));
}

/* The process that made the agent has ended. */
static void orphan_with(bool member_too)
{
	int end[2], inside[2];
	char byte;
	pid_t pid;

	REQUIRE(pipe2(end, O_CLOEXEC) == 0 && pipe2(inside, O_CLOEXEC) == 0);
	pid = fork();
	REQUIRE(pid >= 0);
	if (pid == 0) {
		agentcg_new_options options = { .parent = parent(), .flags = AGENTCG_NEW_NO_SYSTEMD, .tag = "faults" };

		if (agentcg_new_with(&options, sizeof(options), &cg, &ignored) < 0)
			_exit(1);
		agentcg_uuid(cg, uuid, sizeof(uuid));
		if (write(end[1], uuid, sizeof(uuid)) != sizeof(uuid))
			_exit(1);
		if (member_too && fork() == 0) {
			join_group("");
			/* The kernel closes the pipe after the directory, and thereby after the lock. */
			for (int fd = 63; fd > 2; fd--)
				close(fd);
			sleeps(NULL);
		}
		close(inside[1]);
		if (member_too && read(inside[0], &byte, 1) != 0)
			_exit(1);
		_exit(0);
	}
	close(end[1]);
	close(inside[0]);
	close(inside[1]);
	REQUIRE(read(end[0], uuid, sizeof(uuid)) == sizeof(uuid));
	close(end[0]);
	int status;
	REQUIRE(waitpid(pid, &status, 0) == pid && status == 0);
}

static void orphan(void)
{
	orphan_with(false);
}

static void populated_orphan(void)
{
	orphan_with(true);
}

static void orphan_and_own(void)
{
	group();
	orphan_with(true);
}

/* ---- calls ---- */

#define RESULT(value) report->result = (uint64_t)(value)

static int is_available(agentcg_error *error)
{
	(void)error;
	RESULT(agentcg_is_available());
	return 0;
}

static int discover_parent(agentcg_error *error)
{
	char path[4096];

	return agentcg_discover_parent(path, sizeof(path), error);
}

static int diagnose(agentcg_error *error)
{
	agentcg_diagnosis diagnosis;
	char text[8000];

	(void)error;
	int code = agentcg_diagnose(&diagnosis, sizeof(diagnosis), text, sizeof(text));
	return code < 0 ? code : 0;
}

static int diagnose_new(agentcg_error *error)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = 40 };
	agentcg_diagnosis diagnosis;
	int code = agentcg_diagnose_new(&limits, sizeof(limits), AGENTCG_NEW_NO_SYSTEMD, &diagnosis, sizeof(diagnosis), NULL, 0,
					error);

	return code < 0 ? code : 0;
}

static int new_given(agentcg_error *error)
{
	return agentcg_new(scratch, NULL, NULL, 0, 0, &other, error);
}

static int new_limited(agentcg_error *error)
{
	agentcg_limits limits = all_limits();

	return agentcg_new(scratch, NULL, &limits, sizeof(limits), 0, &other, error);
}

static int new_guarded(agentcg_error *error)
{
	return agentcg_new(scratch, NULL, NULL, 0, AGENTCG_NEW_GUARD, &other, error);
}

static int new_found(agentcg_error *error)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = 40 };

	return agentcg_new(NULL, NULL, &limits, sizeof(limits), AGENTCG_NEW_NO_SYSTEMD, &other, error);
}

static int new_systemd(agentcg_error *error)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = 40 };

	return agentcg_new(NULL, NULL, &limits, sizeof(limits), AGENTCG_NEW_SYSTEMD, &other, error);
}

static int new_labelled(agentcg_error *error)
{
	agentcg_new_options options = { .parent = scratch, .label = "a label", .tag = "faults" };

	return agentcg_new_with(&options, sizeof(options), &other, error);
}

static int new_in_session(agentcg_error *error)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = 40 };
	agentcg_new_options options = { .limits = &limits, .limits_size = sizeof(limits), .tag = "faults" };

	return agentcg_new_in(cg, &options, sizeof(options), &other, error);
}

static int new_in_guarded(agentcg_error *error)
{
	agentcg_new_options options = { .flags = AGENTCG_NEW_GUARD };

	return agentcg_new_in(cg, &options, sizeof(options), &other, error);
}

static int open_guest(agentcg_error *error)
{
	return agentcg_open(parent(), uuid, 0, &other, error);
}

static int open_own(agentcg_error *error)
{
	return agentcg_open(parent(), uuid, AGENTCG_OPEN_OWN, &other, error);
}

static int open_tagged(agentcg_error *error)
{
	return agentcg_open_tagged(parent(), uuid, "faults", AGENTCG_OPEN_OWN, &other, error);
}

static int list_tagged(agentcg_error *error)
{
	agentcg_entry entries[8];
	int code = agentcg_list_tagged(parent(), "faults", entries, sizeof(entries[0]), 8, error);

	RESULT(code);
	return code;
}

static int reap_tagged(agentcg_error *error)
{
	int code = agentcg_reap_tagged(parent(), "faults", SOON_MS, error);

	RESULT(code);
	return code;
}

static int set_label(agentcg_error *error)
{
	return agentcg_set_label(cg, "a label", error);
}

static int list(agentcg_error *error)
{
	agentcg_entry entries[8];
	int code = agentcg_list(parent(), entries, sizeof(entries[0]), 8, error);
	uint64_t orphans = 0, populated = 0, known = 0;

	for (int i = 0; i < code; i++) {
		orphans += entries[i].orphan;
		populated += entries[i].populated;
		known += entries[i].owner_pid != 0;
	}
	RESULT(code * 1000 + orphans * 100 + populated * 10 + known);
	return code;
}

static int reap(agentcg_error *error)
{
	int code = agentcg_reap(parent(), SOON_MS, error);

	RESULT(code);
	return code;
}

static int destroy(agentcg_error *error)
{
	return agentcg_destroy(cg, 0, SOON_MS, NULL, 0, error);
}

static int destroy_measured(agentcg_error *error)
{
	agentcg_stats stats;
	int code = agentcg_destroy(cg, 0, SOON_MS, &stats, sizeof(stats), error);

	RESULT(stats.mask);
	return code;
}

static int destroy_if_empty(agentcg_error *error)
{
	return agentcg_destroy(cg, AGENTCG_DESTROY_IF_EMPTY, SOON_MS, NULL, 0, error);
}

static int explain(agentcg_error *error)
{
	agentcg_verdict verdict = { 0 };
	int code = agentcg_explain(cg, SIGKILL, &verdict, sizeof(verdict), error);

	RESULT(verdict.candidates * 256 + verdict.mask);
	return code;
}

static int destroy_explained(agentcg_error *error)
{
	agentcg_stats stats = { 0 };
	agentcg_verdict verdict = { 0 };
	int code = agentcg_destroy_explained(cg, 0, SOON_MS, AGENTCG_NO_WAIT_STATUS, &stats, sizeof(stats), &verdict,
					     sizeof(verdict), error);

	RESULT(verdict.candidates);
	return code;
}

static int destroy_explained_with_status(agentcg_error *error)
{
	agentcg_verdict verdict = { 0 };
	int code = agentcg_destroy_explained(cg, 0, SOON_MS, SIGKILL, NULL, 0, &verdict, sizeof(verdict), error);

	RESULT(verdict.candidates);
	return code;
}

static int free_it(agentcg_error *error)
{
	(void)error;
	agentcg_free(cg);
	return 0;
}

static int version(agentcg_error *error)
{
	(void)error;
	RESULT(agentcg_version_number());
	return 0;
}

static int version_text(agentcg_error *error)
{
	(void)error;
	RESULT(strlen(agentcg_version_string()));
	return 0;
}

static int uuid_of(agentcg_error *error)
{
	char text[AGENTCG_UUID_SIZE];

	(void)error;
	return agentcg_uuid(cg, text, sizeof(text));
}

static int path_of(agentcg_error *error)
{
	char text[4096];

	(void)error;
	return agentcg_path(cg, text, sizeof(text)) > 0 ? 0 : -EINVAL;
}

static int fd_of(agentcg_error *error)
{
	(void)error;
	return agentcg_fd(cg) >= 0 ? 0 : -EINVAL;
}

static int get_info(agentcg_error *error)
{
	agentcg_info info;
	int code = agentcg_get_info(cg, &info, sizeof(info), error);

	RESULT(info.controllers * 1000 + info.place * 100 + info.owned * 10 + info.guarded);
	return code;
}

static int move_pid(agentcg_error *error)
{
	return agentcg_move_pid(cg, members[0], error);
}

static int move_pidfd(agentcg_error *error)
{
	return agentcg_move_pidfd(cg, pidfd, error);
}

static int move_out(agentcg_error *error)
{
	return agentcg_move_out(cg, members[0], error);
}

static int move_out_pidfd(agentcg_error *error)
{
	return agentcg_move_out_pidfd(cg, pidfd, error);
}

static int move_self(agentcg_error *error)
{
	(void)error;
	return agentcg_move_self(cg);
}

static int contains(agentcg_error *error)
{
	int code = agentcg_contains(cg, members[0], error);

	RESULT(code);
	return code;
}

static int find_with(int code, const agentcg_found *found, const char *place)
{
	char own[AGENTCG_UUID_SIZE] = "";

	agentcg_uuid(cg, own, sizeof(own));
	RESULT((uint64_t)code * 1000 + (strcmp(found->uuid, own) == 0) * 100 + (strcmp(place, scratch) == 0) * 10 + found->below);
	return code;
}

static int find(agentcg_error *error)
{
	agentcg_found found = { 0 };
	char place[4400] = "";
	int code = agentcg_find(members[0], &found, sizeof(found), place, sizeof(place), error);

	return find_with(code, &found, place);
}

static int find_pidfd(agentcg_error *error)
{
	agentcg_found found = { 0 };
	char place[4400] = "";
	int code = agentcg_find_pidfd(pidfd, &found, sizeof(found), place, sizeof(place), error);

	return find_with(code, &found, place);
}

static int pids(agentcg_error *error)
{
	pid_t found[16];
	int code = agentcg_pids(cg, found, 16, error);

	RESULT(code);
	return code;
}

static int spawn_with(const char *file, const agentcg_spawn_options *options, bool with_pidfd, agentcg_error *error)
{
	static char *const words[] = { "sleep", "100", NULL };
	static char *const environment[] = { "PATH=/bin", NULL };
	int fd = -1, code;

	started = 0;
	code = agentcg_spawn(cg, file, words, environment, options, options ? sizeof(*options) : 0, &started,
			     with_pidfd ? &fd : NULL, error);
	if (fd >= 0)
		close(fd);
	return code;
}

static int spawn(agentcg_error *error)
{
	return spawn_with("/bin/sleep", NULL, false, error);
}

static int spawn_pidfd(agentcg_error *error)
{
	return spawn_with("/bin/sleep", NULL, true, error);
}

static int spawn_options(agentcg_error *error)
{
	agentcg_spawn_options options = AGENTCG_SPAWN_OPTIONS_INIT;

	options.flags = AGENTCG_SPAWN_SEARCH_PATH | AGENTCG_SPAWN_NEW_SESSION;
	options.stdin_fd = options.stdout_fd = AGENTCG_DEVNULL;
	return spawn_with("sleep", &options, true, error);
}

static int spawn_descriptors(agentcg_error *error)
{
	static const agentcg_spawn_fd fds[] = { { 1, 9 }, { 2, 1 }, { AGENTCG_DEVNULL, 7 } };
	agentcg_spawn_options options = AGENTCG_SPAWN_OPTIONS_INIT;
	int ends[3] = { -1, -1, -1 }, code;

	options.fds = (uintptr_t)fds;
	options.fds_count = 3;
	options.stdin_fd = AGENTCG_PIPE;
	options.ret_pipes = (uintptr_t)ends;
	code = spawn_with("/bin/sleep", &options, false, error);
	if (ends[0] >= 0)
		close(ends[0]);
	return code;
}

/* Root's acts have the ids; a user may set no others than its own. */
static int spawn_attributes(agentcg_error *error)
{
	static const agentcg_spawn_rlimit rlimits[] = { { RLIMIT_CORE, 0, 0 } };
	agentcg_spawn_options options = AGENTCG_SPAWN_OPTIONS_INIT;

	options.flags = AGENTCG_SPAWN_UID | AGENTCG_SPAWN_GID | AGENTCG_SPAWN_UMASK | AGENTCG_SPAWN_NICE |
			AGENTCG_SPAWN_OOM_SCORE_ADJ | AGENTCG_SPAWN_NO_NEW_PRIVS;
	if (geteuid() == 0)
		options.flags |= AGENTCG_SPAWN_GROUPS;
	options.uid = geteuid();
	options.gid = getegid();
	options.umask = 077;
	options.nice = 10;
	options.oom_score_adj = 900;
	options.rlimits = (uintptr_t)rlimits;
	options.rlimits_count = 1;
	options.parent_death_signal = SIGTERM;
	return spawn_with("/bin/sleep", &options, false, error);
}

static int spawn_job(agentcg_error *error)
{
	agentcg_spawn_options options = AGENTCG_SPAWN_OPTIONS_INIT;

	options.flags = AGENTCG_SPAWN_PGROUP | AGENTCG_SPAWN_FILE_FD;
	options.file_fd = program;
	options.ignored_signals = options.blocked_signals = 1;
	return spawn_with(NULL, &options, false, error);
}

static int spawn_terminal(agentcg_error *error)
{
	agentcg_spawn_options options = AGENTCG_SPAWN_OPTIONS_INIT;

	options.flags = AGENTCG_SPAWN_NEW_SESSION | AGENTCG_SPAWN_CONTROLLING_TERMINAL | AGENTCG_SPAWN_FOREGROUND;
	options.terminal_fd = terminal;
	return spawn_with("/bin/sleep", &options, false, error);
}

static int spawn_supervised(agentcg_error *error)
{
	agentcg_spawn_options options = AGENTCG_SPAWN_OPTIONS_INIT;

	options.begin_timeout_ms = 60000;
	return spawn_with("/bin/sleep", &options, true, error);
}

static int spawn_async(agentcg_error *error)
{
	agentcg_spawn_options options = AGENTCG_SPAWN_OPTIONS_INIT;

	options.flags = AGENTCG_SPAWN_ASYNC;
	return spawn_with("/bin/sleep", &options, true, error);
}

static int spawn_async_and_wait(agentcg_error *error)
{
	static char *const words[] = { "sleep", "100", NULL };
	agentcg_spawn_options options = AGENTCG_SPAWN_OPTIONS_INIT;
	int fd = -1, code;

	started = 0;
	options.flags = AGENTCG_SPAWN_ASYNC;
	code = agentcg_spawn(cg, "/bin/sleep", words, NULL, &options, sizeof(options), &started, &fd, error);
	if (code < 0)
		return code;
	while ((code = agentcg_spawn_result(cg, fd, error)) == -EINPROGRESS)
		usleep(1000);
	if (code < 0)
		started = 0;
	close(fd);
	return code;
}

static int spawn_result(agentcg_error *error)
{
	int code = agentcg_spawn_result(cg, pidfd, error);

	RESULT(code);
	return code;
}

static int spawn_contained(agentcg_error *error)
{
	agentcg_spawn_options options = AGENTCG_SPAWN_OPTIONS_INIT;

	options.flags = AGENTCG_SPAWN_CONTAIN;
	return spawn_with("/bin/sleep", &options, true, error);
}

static int set_limits(agentcg_error *error)
{
	agentcg_limits limits = all_limits();

	limits.mask &= ~(uint64_t)AGENTCG_LIMIT_MAX_DESCENDANTS;
	limits.memory_max_bytes = 32 << 20;
	limits.memory_high_bytes = 16 << 20;
	limits.cpu_max_millicpu = 700;
	limits.pids_max = 30;
	return agentcg_set_limits(cg, &limits, sizeof(limits), 0, error);
}

static int set_limits_forced(agentcg_error *error)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_MEMORY_MAX, .memory_max_bytes = 32 << 20 };

	return agentcg_set_limits(cg, &limits, sizeof(limits), AGENTCG_SET_FORCE, error);
}

static int get_limits(agentcg_error *error)
{
	agentcg_limits limits;
	int code = agentcg_get_limits(cg, &limits, sizeof(limits), error);

	RESULT(limits.mask);
	return code;
}

/* As after every failure, the place then has the limits from before. */
static int set_place_limits(agentcg_error *error)
{
	agentcg_limits limits = all_limits();

	limits.mask &= ~(uint64_t)(AGENTCG_LIMIT_MAX_DESCENDANTS | AGENTCG_LIMIT_MAX_DEPTH);
	return agentcg_set_place_limits(parent(), &limits, sizeof(limits), 0, error);
}

static int set_place_limits_forced(agentcg_error *error)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_MEMORY_MAX, .memory_max_bytes = 64 << 20 };

	return agentcg_set_place_limits(parent(), &limits, sizeof(limits), AGENTCG_SET_FORCE, error);
}

static int lift_place_limits(agentcg_error *error)
{
	agentcg_limits limits = {
		.mask = AGENTCG_LIMIT_PIDS_MAX | AGENTCG_LIMIT_CPU_WEIGHT,
		.pids_max = AGENTCG_UNLIMITED,
		.cpu_weight = 100,
	};

	return agentcg_set_place_limits(parent(), &limits, sizeof(limits), 0, error);
}

static int get_place_limits(agentcg_error *error)
{
	agentcg_limits limits;
	int code = agentcg_get_place_limits(parent(), &limits, sizeof(limits), error);

	RESULT(limits.mask);
	return code;
}

/* At the end of the host. */
static int lift_all_place_limits(agentcg_error *error)
{
	agentcg_limits limits = all_limits();

	limits.mask &= ~(uint64_t)AGENTCG_LIMIT_MAX_DESCENDANTS;
	limits.memory_max_bytes = limits.memory_high_bytes = AGENTCG_UNLIMITED;
	limits.cpu_max_millicpu = limits.pids_max = AGENTCG_UNLIMITED;
	limits.cpu_weight = 100;
	return agentcg_set_place_limits(parent(), &limits, sizeof(limits), 0, error);
}

static void limited_place(void)
{
	agentcg_limits limits = {
		.mask = AGENTCG_LIMIT_PIDS_MAX | AGENTCG_LIMIT_CPU_WEIGHT,
		.pids_max = 500,
		.cpu_weight = 50,
	};

	MUST(agentcg_set_place_limits(parent(), &limits, sizeof(limits), 0, &ignored));
}

static int read_file(agentcg_error *error)
{
	char text[4096];

	return agentcg_read_file(cg, "cgroup.events", text, sizeof(text), error);
}

static int write_file(agentcg_error *error)
{
	return agentcg_write_file(cg, "pids.max", "25", error);
}

static int read_all(agentcg_error *error)
{
	agentcg_stats stats;
	int code = agentcg_read_stats(cg, AGENTCG_STAT_ALL, &stats, sizeof(stats), error);

	RESULT(stats.mask);
	return code;
}

static int read_basic(agentcg_error *error)
{
	agentcg_stats stats;
	int code = agentcg_read_stats(cg, AGENTCG_STAT_BASIC, &stats, sizeof(stats), error);

	RESULT(stats.mask);
	return code;
}

static int event_fd(agentcg_error *error)
{
	int code = agentcg_event_fd(cg, AGENTCG_EVENT_POPULATED | AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_FROZEN |
				    AGENTCG_EVENT_OOM_KILL | AGENTCG_EVENT_PIDS_MAX | AGENTCG_EVENT_GONE, error);

	return code < 0 ? code : 0;
}

static int event_fd_less(agentcg_error *error)
{
	int code = agentcg_event_fd(cg, AGENTCG_EVENT_EMPTY, error);

	return code < 0 ? code : 0;
}

static int next_events(agentcg_error *error)
{
	uint64_t events = 0;
	int code = agentcg_next_events(cg, 0, &events, error);

	/* The second call finds none. */
	if (report->stage == STAGE_READY)
		RESULT(events);
	return code < 0 ? code : 0;
}

static int watch_stall(agentcg_error *error)
{
	int code = agentcg_watch_stall(cg, AGENTCG_STALL_MEMORY, AGENTCG_STALL_FULL, 100000, 1000000, error);

	/* Without PSI it is refused. */
	return code == -EOPNOTSUPP ? 0 : code;
}

static int next_events_waiting(agentcg_error *error)
{
	uint64_t events = 0;
	int code = agentcg_next_events(cg, 20, &events, error);

	return code < 0 ? code : 0;
}

static int freeze(agentcg_error *error)
{
	return agentcg_freeze(cg, SOON_MS, error);
}

static int thaw(agentcg_error *error)
{
	return agentcg_thaw(cg, SOON_MS, error);
}

static int signal_all(agentcg_error *error)
{
	int code = agentcg_signal_all(cg, SIGUSR1, error);

	RESULT(code);
	return code;
}

static int wait_empty(agentcg_error *error)
{
	return agentcg_wait_empty(cg, SOON_MS, error);
}

static int kill_all(agentcg_error *error)
{
	return agentcg_kill_all(cg, SOON_MS, error);
}

static int kill_all_of(agentcg_error *error)
{
	return agentcg_kill_all_of((agentcg *[]){ cg }, 1, NULL, SOON_MS, error);
}

static int terminate(agentcg_error *error)
{
	return agentcg_terminate(cg, SOON_MS, SOON_MS, error);
}

static int terminate_at_once(agentcg_error *error)
{
	int code = agentcg_terminate(cg, 30, SOON_MS, error);

	return code < 0 ? code : 0;
}

/* ---- the table ---- */

#define ACT(name, prepare, call, flags) { #name, NULL, prepare, call, flags }
#define OF(function, state, prepare, call, flags) { #function "/" state, "agentcg_" #function, prepare, call, flags }

const struct act acts[] = {
	OF(version_number, "", nothing, version, 0),
	OF(version_string, "", nothing, version_text, 0),
	OF(is_available, "", nothing, is_available, VARIES),
	OF(discover_parent, "", nothing, discover_parent, FOUND),
	OF(diagnose, "", nothing, diagnose, FOUND),
	OF(diagnose_new, "", nothing, diagnose_new, FOUND),
	OF(new, "given", nothing, new_given, MAKES),
	OF(new, "limits", nothing, new_limited, MAKES),
	OF(new, "second", group, new_given, MAKES),
	OF(new, "guarded", nothing, new_guarded, MAKES | GUARDED),
	OF(new, "second_guarded", guarded_group, new_guarded, MAKES | GUARDED),
	OF(new, "found", nothing, new_found, MAKES | FOUND),
	OF(new, "systemd", nothing, new_systemd, MAKES | FOUND | SYSTEMD | GUARDED | WAITS),
	OF(new, "second_systemd", systemd_group, new_systemd, MAKES | FOUND | SYSTEMD | GUARDED | WAITS),
	OF(new_with, "labelled", nothing, new_labelled, MAKES),
	OF(new_in, "first", one_member, new_in_session, MAKES | SESSION),
	OF(new_in, "second", session, new_in_session, MAKES),
	OF(new_in, "guarded", session, new_in_guarded, MAKES | GUARDED),
	OF(open, "guest", group, open_guest, MAKES),
	OF(open, "found", group, open_guest, MAKES | FOUND),
	OF(open, "own", orphan, open_own, MAKES),
	OF(open, "own_populated", populated_orphan, open_own, MAKES),
	OF(open_tagged, "own", populated_orphan, open_tagged, MAKES),
	OF(list_tagged, "two", orphan_and_own, list_tagged, 0),
	OF(list, "none", nothing, list, 0),
	OF(list, "two", orphan_and_own, list, 0),
	OF(list, "found", orphan_and_own, list, FOUND),
	OF(list, "session", session, list, 0),
	OF(reap, "none", nothing, reap, 0),
	OF(reap, "orphan", populated_orphan, reap, KILLS),
	OF(reap, "beside_own", orphan_and_own, reap, KILLS),
	OF(reap, "found", populated_orphan, reap, KILLS | FOUND),
	OF(reap_tagged, "orphan", populated_orphan, reap_tagged, KILLS),
	OF(reap_tagged, "beside_own", orphan_and_own, reap_tagged, KILLS),
	OF(destroy, "empty", group, destroy, ENDS),
	OF(destroy, "measured", limited_group, destroy_measured, ENDS | KILLS),
	OF(destroy, "if_empty", group, destroy_if_empty, ENDS),
	OF(destroy, "populated", one_member, destroy, ENDS | KILLS | WAITS),
	OF(destroy, "nested", nested_members, destroy_measured, ENDS | KILLS | WAITS),
	OF(destroy, "session", session_member, destroy, ENDS | KILLS | WAITS),
	OF(destroy, "guarded", guarded_member, destroy, ENDS | KILLS | GUARDED | WAITS),
	OF(destroy, "watched", events_pending, destroy, ENDS | KILLS | WAITS),
	OF(destroy, "systemd", systemd_group, destroy, ENDS | KILLS | FOUND | SYSTEMD | GUARDED),
	OF(explain, "", limited_member, explain, VARIES),
	OF(explain, "nested", nested_members, explain, VARIES),
	OF(destroy_explained, "populated", one_member, destroy_explained, ENDS | KILLS | WAITS | VARIES),
	OF(destroy_explained, "status", one_member, destroy_explained_with_status, ENDS | KILLS | WAITS | VARIES),
	OF(free, "", group, free_it, ENDS),
	OF(free, "guarded", guarded_group, free_it, ENDS | GUARDED),
	OF(uuid, "", group, uuid_of, 0),
	OF(path, "", group, path_of, 0),
	OF(fd, "", group, fd_of, 0),
	OF(get_info, "", limited_group, get_info, 0),
	OF(get_info, "guarded", guarded_group, get_info, GUARDED),
	OF(set_label, "", group, set_label, 0),
	OF(move_pid, "", outside_member, move_pid, 0),
	OF(move_pidfd, "", outside_member, move_pidfd, 0),
	OF(move_out, "", one_member, move_out, 0),
	OF(move_out, "nested", nested_members, move_out, 0),
	OF(move_out, "leaderless", leaderless_member, move_out, 0),
	OF(move_out_pidfd, "nested", nested_member_by_pidfd, move_out_pidfd, 0),
	OF(move_self, "", group, move_self, 0),
	OF(move_self, "session", session, move_self, 0),
	OF(find, "inside", nested_members, find, 0),
	OF(find, "leaderless", leaderless_member, find, 0),
	OF(find_pidfd, "inside", nested_member_by_pidfd, find_pidfd, 0),
	OF(contains, "inside", nested_members, contains, 0),
	OF(contains, "outside", outside_member, contains, 0),
	OF(pids, "nested", nested_members, pids, 0),
	OF(pids, "leaderless", leaderless_member, pids, 0),
	OF(spawn, "plain", group, spawn, WAITS),
	OF(spawn, "session", session, spawn, WAITS),
	OF(spawn, "pidfd", limited_group, spawn_pidfd, WAITS),
	OF(spawn, "options", group, spawn_options, WAITS),
	OF(spawn, "descriptors", group, spawn_descriptors, WAITS),
	OF(spawn, "attributes", group, spawn_attributes, WAITS),
	OF(spawn, "job", group_with_terminal, spawn_job, WAITS),
	OF(spawn, "terminal", group_with_terminal, spawn_terminal, WAITS),
	OF(spawn, "supervised", group, spawn_supervised, WAITS),
	OF(spawn, "async", group, spawn_async, WAITS | VARIES),
	OF(spawn, "oom_group", oom_group, spawn, WAITS),
	OF(spawn, "contained", group, spawn_contained, WAITS),
	OF(spawn, "plain_child", group, spawn, CHILDREN | WAITS),
	OF(spawn, "options_child", group, spawn_options, CHILDREN | WAITS),
	OF(spawn, "descriptors_child", group, spawn_descriptors, CHILDREN | WAITS),
	OF(spawn, "attributes_child", group, spawn_attributes, CHILDREN | WAITS),
	OF(spawn, "job_child", group_with_terminal, spawn_job, CHILDREN | WAITS),
	OF(spawn, "terminal_child", group_with_terminal, spawn_terminal, CHILDREN | WAITS),
	OF(spawn, "supervised_child", group, spawn_supervised, CHILDREN | WAITS),
	OF(spawn, "oom_group_child", oom_group, spawn, CHILDREN | WAITS),
	OF(spawn, "contained_child", group, spawn_contained, CHILDREN | WAITS),
	OF(spawn_result, "", begun_member, spawn_result, 0),
	OF(spawn_result, "child", group, spawn_async_and_wait, CHILDREN | WAITS),
	OF(set_limits, "", limited_member, set_limits, 0),
	OF(set_limits, "forced", limited_member, set_limits_forced, 0),
	OF(get_limits, "", limited_group, get_limits, 0),
	OF(set_place_limits, "first", nothing, set_place_limits, LIMITS_PLACE),
	OF(set_place_limits, "again", limited_place, set_place_limits, LIMITS_PLACE),
	OF(set_place_limits, "beside_an_agent", group, set_place_limits_forced, LIMITS_PLACE),
	OF(set_place_limits, "found", nothing, set_place_limits_forced, LIMITS_PLACE | FOUND),
	OF(set_place_limits, "lifted", limited_place, lift_place_limits, LIMITS_PLACE),
	OF(get_place_limits, "", limited_place, get_place_limits, LIMITS_PLACE),
	OF(get_place_limits, "found", limited_place, get_place_limits, LIMITS_PLACE | FOUND),
	OF(read_file, "", group, read_file, 0),
	OF(write_file, "", group, write_file, 0),
	OF(read_stats, "fresh", limited_member, read_all, 0),
	OF(read_stats, "kept", warm_stats, read_all, 0),
	OF(read_stats, "basic", group, read_basic, 0),
	OF(event_fd, "", group, event_fd, 0),
	OF(event_fd, "again", events_group, event_fd_less, 0),
	OF(next_events, "none", events_group, next_events, 0),
	OF(next_events, "pending", events_pending, next_events, VARIES),
	OF(next_events, "waiting", events_group, next_events_waiting, WAITS),
	OF(watch_stall, "", group, watch_stall, 0),
	OF(watch_stall, "again", events_group, watch_stall, 0),
	OF(freeze, "", nested_members, freeze, WAITS),
	OF(thaw, "", frozen_member, thaw, WAITS),
	OF(signal_all, "", nested_members, signal_all, 0),
	OF(signal_all, "leaderless", leaderless_member, signal_all, 0),
	OF(wait_empty, "empty", group, wait_empty, 0),
	OF(wait_empty, "soon", short_member, wait_empty, WAITS | KILLS),
	OF(kill_all, "empty", group, kill_all, KILLS | WAITS),
	OF(kill_all, "one", one_member, kill_all, KILLS | WAITS),
	OF(kill_all, "nested", nested_members, kill_all, KILLS | WAITS),
	OF(kill_all, "session", session_member, kill_all, KILLS | WAITS),
	OF(kill_all, "throttled", throttled_members, kill_all, KILLS | WAITS),
	OF(kill_all, "leaderless", leaderless_member, kill_all, KILLS | WAITS),
	OF(kill_all, "frozen", frozen_member, kill_all, KILLS | WAITS),
	OF(kill_all_of, "empty", group, kill_all_of, KILLS | WAITS),
	OF(kill_all_of, "nested", nested_members, kill_all_of, KILLS | WAITS),
	OF(terminate, "willing", nested_members, terminate, KILLS | WAITS | VARIES),
	OF(terminate, "stubborn", stubborn_member, terminate_at_once, KILLS | WAITS),
};
const size_t act_count = sizeof(acts) / sizeof(acts[0]);

/* ---- the host ---- */

static void stop(int stage)
{
	report->stage = stage;
	/* The library never calls kill(2) for itself: the tracer recognizes this call. */
	syscall(SYS_kill, getpid(), SIGSTOP);
}

static void leave_group(void)
{
	REQUIRE(write(own_procs, "0", 1) == 1);
}

static void end_started(void)
{
	if (started > 0) {
		kill(started, SIGKILL);
		waitpid(started, NULL, __WALL);
		started = 0;
	}
}

static void check_children(void)
{
	siginfo_t info;

	/* The children that the host has forked are waited for by their pids. */
	for (size_t i = 0; i < member_count; i++) {
		kill(members[i], SIGKILL);
		waitpid(members[i], NULL, 0);
	}
	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 || errno != ECHILD)
		report->children = 1;
}

static void end_group(agentcg *group)
{
	if (report->end >= 0)
		report->end = agentcg_destroy(group, 0, SOON_MS, NULL, 0, &report->end_error);
}

void run_host(const struct act *chosen)
{
	char procs[4200];

	act = chosen;
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", host_cgroup);
	own_procs = open(procs, O_WRONLY | O_CLOEXEC);
	REQUIRE(own_procs >= 0);
	leave_group();
	REQUIRE(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
	act->prepare();
	stop(STAGE_READY);
	report->code = act->call(&report->error);
	stop(STAGE_DONE);

	if (act->call == move_self)
		leave_group();
	end_started();
	if (report->code >= 0 && (act->flags & ENDS))
		cg = NULL;
	report->again_result = report->result;
	if (!(report->code >= 0 && (act->flags & (ENDS | MAKES)))) {
		uint64_t result = report->result;

		report->again = act->call(&report->again_error);
		report->again_result = report->result;
		report->result = result;
		if (act->call == move_self)
			leave_group();
		end_started();
		if (report->again >= 0 && (act->flags & ENDS))
			cg = NULL;
	}
	if (act->call == open_guest)
		agentcg_free(other);
	else
		end_group(other);
	end_group(cg);
	if (report->end >= 0 && (act->flags & LIMITS_PLACE))
		report->end = lift_all_place_limits(&report->end_error);
	/* Agents without a handle: an orphan, or a freed one. */
	if (report->end >= 0 && agentcg_reap(parent(), SOON_MS, &report->end_error) < 0)
		report->end = report->end_error.code;
	check_children();
	stop(STAGE_END);
	_exit(0);
}
