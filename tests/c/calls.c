/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "calls.h"
#include "spawning.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static agentcg *cg;
static pid_t child;
static char uuid[AGENTCG_UUID_SIZE];
static int child_pidfd;

static void nothing(void)
{
}

static void a_group(void)
{
	cg = new_group();
	child = 0;
}

static char own_cgroup[PATH_SIZE];   /* of the caller */

static void a_group_to_be_in(void)
{
	static const char prefix[] = "0::";
	char line[PATH_SIZE - 20];
	FILE *own = fopen("/proc/self/cgroup", "re");

	a_group();
	CHECK(own != NULL);
	do
		CHECK(fgets(line, sizeof(line), own) != NULL);
	while (strncmp(line, prefix, strlen(prefix)) != 0);
	fclose(own);
	line[strcspn(line, "\n")] = '\0';
	snprintf(own_cgroup, sizeof(own_cgroup), "/sys/fs/cgroup%s", line + strlen(prefix));
}

static void move_back(int result)
{
	char pid[16];

	if (result == 0) {
		snprintf(pid, sizeof(pid), "%d", getpid());
		write_to(own_cgroup, "cgroup.procs", pid);
	}
	destroy_group(cg);
	cg = NULL;
}

static void a_populated_group(void)
{
	a_group();
	child = pausing_child();
	CHECK_OK(agentcg_move_pid(cg, child, &why));
}

static void a_group_and_a_child(void)
{
	a_group();
	child = pausing_child();
	child_pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	CHECK(child_pidfd >= 0);
}

static void a_group_and_a_member(void)
{
	a_group_and_a_child();
	CHECK_OK(agentcg_move_pid(cg, child, &why));
}

/* With cgroups below the group. */
static void a_nested_group(void)
{
	int fd;

	a_populated_group();
	fd = agentcg_fd(cg);
	CHECK_EQ(mkdirat(fd, "a", 0755), 0);
	CHECK_EQ(mkdirat(fd, "a/b", 0755), 0);
	CHECK_EQ(mkdirat(fd, "c", 0755), 0);
}

static void an_orphan(void)
{
	a_populated_group();
	CHECK_EQ(agentcg_uuid(cg, uuid, sizeof(uuid)), AGENTCG_UUID_SIZE - 1);
	agentcg_free(cg);
	cg = NULL;
}

static int new_labelled(agentcg_error *error)
{
	agentcg_new_options options = { .label = "a label", .tag = "calls" };

	return agentcg_new_with(&options, sizeof(options), &cg, error);
}

static void a_labelled_group(void)
{
	CHECK_OK(new_labelled(&why));
	child = 0;
}

static void a_tagged_orphan(void)
{
	a_labelled_group();
	child = pausing_child();
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_EQ(agentcg_uuid(cg, uuid, sizeof(uuid)), AGENTCG_UUID_SIZE - 1);
	agentcg_free(cg);
	cg = NULL;
}

static void a_watched_group(void)
{
	a_populated_group();
	CHECK_OK(agentcg_event_fd(cg, AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_GONE, &why));
}

static void no_cleanup(int result)
{
	(void)result;
}

static void end(int result)
{
	(void)result;
	destroy_group(cg);
	cg = NULL;
	if (child) {
		check_killed(child);
		child = 0;
	}
}

static void end_child_too(int result)
{
	(void)result;
	close(child_pidfd);
	kill(child, SIGKILL);
	check_killed(child);
	child = 0;
	end(result);
}

static void end_spawned(int result)
{
	if (result >= 0)
		reap(child);
	child = 0;
	end(result);
}

/* The process is killed also if the call then fails. */
static void is_killed_at_once(int result)
{
	check_killed(child);
	child = 0;
	end(result);
}

/* SIGTERM or SIGKILL has ended the process, also if the call failed. */
static void is_terminated_at_once(int result)
{
	CHECK(WIFSIGNALED(reap(child)));
	child = 0;
	end(result);
}

static void is_destroyed(int result)
{
	if (result < 0)
		destroy_group(cg);
	cg = NULL;
	if (child)
		check_killed(child);
	child = 0;
}

static void end_made(int result)
{
	if (result >= 0)
		destroy_group(cg);
	cg = NULL;
}

static void is_reaped(int result)
{
	if (result < 0)
		CHECK_EQ(agentcg_reap(NULL, SOON_MS, &why), 1);
	check_killed(child);
	child = 0;
}

static void end_opened(int result)
{
	if (result >= 0)
		agentcg_free(cg);
	cg = NULL;
	CHECK_EQ(agentcg_reap(NULL, SOON_MS, &why), 1);
	check_killed(child);
	child = 0;
}

static int call_new(agentcg_error *error)
{
	return agentcg_new(NULL, NULL, NULL, 0, 0, &cg, error);
}

static int call_new_guarded(agentcg_error *error)
{
	return agentcg_new(NULL, NULL, NULL, 0, AGENTCG_NEW_GUARD, &cg, error);
}

static int call_new_limited(agentcg_error *error)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = 50 };

	return agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, error);
}

static int call_new_in_no_cgroup(agentcg_error *error)
{
	return agentcg_new("/dev/shm", NULL, NULL, 0, 0, &cg, error);
}

static int call_new_with(agentcg_error *error)
{
	return new_labelled(error);
}

static agentcg *a_child;

static int call_new_in(agentcg_error *error)
{
	return agentcg_new_in(cg, NULL, 0, &a_child, error);
}

/* The session ends its child. Only the handle is left. */
static void end_session(int result)
{
	end(0);
	if (result >= 0)
		agentcg_free(a_child);
}

static int call_destroy(agentcg_error *error)
{
	return agentcg_destroy(cg, 0, SOON_MS, NULL, 0, error);
}

static int call_destroy_measuring(agentcg_error *error)
{
	agentcg_stats last;

	return agentcg_destroy(cg, 0, SOON_MS, &last, sizeof(last), error);
}

static int call_destroy_explained(agentcg_error *error)
{
	agentcg_stats last;
	agentcg_verdict verdict;

	return agentcg_destroy_explained(cg, 0, SOON_MS, AGENTCG_NO_WAIT_STATUS, &last, sizeof(last), &verdict,
	                                 sizeof(verdict), error);
}

static int call_explain(agentcg_error *error)
{
	agentcg_verdict verdict;

	return agentcg_explain(cg, SIGKILL, &verdict, sizeof(verdict), error);
}

static int call_open(agentcg_error *error)
{
	return agentcg_open(NULL, uuid, 0, &cg, error);
}

static int call_take_over(agentcg_error *error)
{
	return agentcg_open(NULL, uuid, AGENTCG_OPEN_OWN, &cg, error);
}

static int call_list(agentcg_error *error)
{
	agentcg_entry entries[4];

	return agentcg_list(NULL, entries, sizeof(*entries), 4, error);
}

static int call_take_over_tagged(agentcg_error *error)
{
	return agentcg_open_tagged(NULL, uuid, "calls", AGENTCG_OPEN_OWN, &cg, error);
}

static int call_list_tagged(agentcg_error *error)
{
	agentcg_entry entries[4];

	return agentcg_list_tagged(NULL, "calls", entries, sizeof(*entries), 4, error);
}

static int call_reap_tagged(agentcg_error *error)
{
	return agentcg_reap_tagged(NULL, "calls", SOON_MS, error);
}

static int call_set_label(agentcg_error *error)
{
	return agentcg_set_label(cg, "another label", error);
}

static int call_reap(agentcg_error *error)
{
	return agentcg_reap(NULL, SOON_MS, error);
}

static int call_diagnose(agentcg_error *error)
{
	static char text[8192];
	agentcg_diagnosis diagnosis;

	(void)error;
	return agentcg_diagnose(&diagnosis, sizeof(diagnosis), text, sizeof(text));
}

static int call_diagnose_new(agentcg_error *error)
{
	static char text[8192];
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = 50 };
	agentcg_diagnosis diagnosis;

	return agentcg_diagnose_new(&limits, sizeof(limits), AGENTCG_NEW_KEEP_CALLER, &diagnosis, sizeof(diagnosis), text,
	                            sizeof(text), error);
}

static int call_uuid(agentcg_error *error)
{
	(void)error;
	return agentcg_uuid(cg, uuid, sizeof(uuid));
}

static int call_path(agentcg_error *error)
{
	static char path[PATH_SIZE];

	(void)error;
	return agentcg_path(cg, path, sizeof(path));
}

static int call_fd(agentcg_error *error)
{
	(void)error;
	return agentcg_fd(cg);
}

static int call_version_number(agentcg_error *error)
{
	(void)error;
	return (int)agentcg_version_number();
}

static int call_version_string(agentcg_error *error)
{
	(void)error;
	return agentcg_version_string() ? 0 : -EINVAL;
}

static int call_move_self(agentcg_error *error)
{
	(void)error;
	return agentcg_move_self(cg);
}

static int call_discover_parent(agentcg_error *error)
{
	static char text[PATH_SIZE];

	return agentcg_discover_parent(text, sizeof(text), error);
}

static int call_is_available(agentcg_error *error)
{
	(void)error;
	return agentcg_is_available();
}

static int call_get_info(agentcg_error *error)
{
	agentcg_info info;

	return agentcg_get_info(cg, &info, sizeof(info), error);
}

static int call_move_pid(agentcg_error *error)
{
	return agentcg_move_pid(cg, child, error);
}

static int call_move_pidfd(agentcg_error *error)
{
	return agentcg_move_pidfd(cg, child_pidfd, error);
}

static int call_move_out(agentcg_error *error)
{
	return agentcg_move_out(cg, child, error);
}

static int call_move_out_pidfd(agentcg_error *error)
{
	return agentcg_move_out_pidfd(cg, child_pidfd, error);
}

static int call_find(agentcg_error *error)
{
	char place[PATH_SIZE];
	agentcg_found found;

	return agentcg_find(child, &found, sizeof(found), place, sizeof(place), error);
}

static int call_find_pidfd(agentcg_error *error)
{
	agentcg_found found;

	return agentcg_find_pidfd(child_pidfd, &found, sizeof(found), NULL, 0, error);
}

static int call_contains(agentcg_error *error)
{
	return agentcg_contains(cg, child, error);
}

static int call_contains_nobody(agentcg_error *error)
{
	return agentcg_contains(cg, -1, error);
}

static int call_pids(agentcg_error *error)
{
	pid_t pids[8];

	return agentcg_pids(cg, pids, 8, error);
}

static int call_spawn(agentcg_error *error)
{
	return agentcg_spawn(cg, "/bin/true", WORDS("true"), NULL, NULL, 0, &child, NULL, error);
}

static int call_spawn_searching(agentcg_error *error)
{
	agentcg_spawn_options options = OWN;

	options.flags = AGENTCG_SPAWN_SEARCH_PATH | AGENTCG_SPAWN_NEW_SESSION;
	return agentcg_spawn(cg, "true", WORDS("true", "1", "2", "3", "4", "5", "6", "7", "8", "9"), NULL, &options,
	                     sizeof(options), &child, NULL, error);
}

static int call_spawn_contained(agentcg_error *error)
{
	agentcg_spawn_options options = OWN;

	options.flags = AGENTCG_SPAWN_CONTAIN;
	return agentcg_spawn(cg, "/bin/true", WORDS("true"), NULL, &options, sizeof(options), &child, NULL, error);
}

static int call_spawn_with_arrays(agentcg_error *error)
{
	static const agentcg_spawn_fd fds[] = { { 0, 3 }, { 1, 4 }, { 2, 5 }, { 0, 6 }, { 0, 7 } };
	static const agentcg_spawn_rlimit rlimits[] = { { 4, 0, 0 } };
	agentcg_spawn_options options = OWN;
	int ends[3];
	int result;

	options.fds = (uintptr_t)fds;
	options.fds_count = sizeof(fds) / sizeof(fds[0]);
	options.rlimits = (uintptr_t)rlimits;
	options.rlimits_count = 1;
	options.stdin_fd = AGENTCG_PIPE;
	options.ret_pipes = (uintptr_t)ends;
	result = agentcg_spawn(cg, "/bin/true", WORDS("true"), NULL, &options, sizeof(options), &child, NULL, error);
	if (result == 0)
		close(ends[0]);
	return result;
}

static int call_spawn_result(agentcg_error *error)
{
	agentcg_spawn_options options = OWN;
	int pidfd, result;

	options.flags = AGENTCG_SPAWN_ASYNC;
	result = agentcg_spawn(cg, "/bin/true", WORDS("true"), NULL, &options, sizeof(options), &child, &pidfd, error);
	if (result != 0)
		return result;
	/* The program ends at once, which makes the pidfd readable. */
	while ((result = agentcg_spawn_result(cg, pidfd, error)) == -EINPROGRESS)
		poll(&(struct pollfd){ .fd = pidfd, .events = POLLIN }, 1, -1);
	close(pidfd);
	return result;
}

static int call_spawn_nothing(agentcg_error *error)
{
	return agentcg_spawn(cg, "/no/such/program", WORDS("x"), NULL, NULL, 0, NULL, NULL, error);
}

static int call_set_limits(agentcg_error *error)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX | AGENTCG_LIMIT_MAX_DEPTH, .pids_max = 60, .max_depth = 9 };

	return agentcg_set_limits(cg, &limits, sizeof(limits), 0, error);
}

static int call_get_limits(agentcg_error *error)
{
	agentcg_limits limits;

	return agentcg_get_limits(cg, &limits, sizeof(limits), error);
}

/* The place has these limits before the call, and none after it. */
static const agentcg_limits of_place = { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = 5000 };

static void a_place_with_limits(void)
{
	CHECK_OK(agentcg_set_place_limits(NULL, &of_place, sizeof(of_place), 0, &why));
}

static void lift_place_limits(int result)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = AGENTCG_UNLIMITED };
	int read;

	(void)result;
	CHECK_OK(agentcg_set_place_limits(NULL, &limits, sizeof(limits), 0, &why));
	limits.pids_max = 0;
	read = agentcg_get_place_limits(NULL, &limits, sizeof(limits), &why);
	/* Other agents keep the tree. */
	CHECK(read == -ENOENT || (read == 0 && limits.pids_max == AGENTCG_UNLIMITED));
}

static int call_set_place_limits(agentcg_error *error)
{
	return agentcg_set_place_limits(NULL, &of_place, sizeof(of_place), 0, error);
}

static int call_get_place_limits(agentcg_error *error)
{
	agentcg_limits limits;

	return agentcg_get_place_limits(NULL, &limits, sizeof(limits), error);
}

static int call_read_file(agentcg_error *error)
{
	char text[PATH_SIZE];

	return agentcg_read_file(cg, "cpu.stat", text, sizeof(text), error);
}

static int call_read_no_file(agentcg_error *error)
{
	char text[8];

	return agentcg_read_file(cg, "cpu.no_such_file", text, sizeof(text), error);
}

static int call_write_file(agentcg_error *error)
{
	return agentcg_write_file(cg, "cgroup.max.depth", "7", error);
}

static int call_read_stats(agentcg_error *error)
{
	agentcg_stats stats;

	return agentcg_read_stats(cg, AGENTCG_STAT_ALL, &stats, sizeof(stats), error);
}

static int call_event_fd(agentcg_error *error)
{
	return agentcg_event_fd(cg, AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_PIDS_MAX, error);
}

static int call_next_events(agentcg_error *error)
{
	uint64_t events;

	return agentcg_next_events(cg, 0, &events, error);
}

/* Without PSI it is refused. */
static int call_watch_stall(agentcg_error *error)
{
	int result = agentcg_watch_stall(cg, AGENTCG_STALL_MEMORY, AGENTCG_STALL_FULL, 100000, 1000000, error);

	return result == -EOPNOTSUPP ? 0 : result;
}

static int call_freeze(agentcg_error *error)
{
	return agentcg_freeze(cg, SOON_MS, error);
}

static int call_thaw(agentcg_error *error)
{
	return agentcg_thaw(cg, SOON_MS, error);
}

static int call_signal_all(agentcg_error *error)
{
	return agentcg_signal_all(cg, SIGCONT, error);
}

static int call_wait_empty(agentcg_error *error)
{
	return agentcg_wait_empty(cg, 0, error);
}

static int call_kill_all(agentcg_error *error)
{
	return agentcg_kill_all(cg, SOON_MS, error);
}

static int call_kill_all_of(agentcg_error *error)
{
	return agentcg_kill_all_of((agentcg *[]){ cg, cg }, 2, NULL, SOON_MS, error);
}

static int call_terminate(agentcg_error *error)
{
	return agentcg_terminate(cg, 0, SOON_MS, error);
}

static int call_free(agentcg_error *error)
{
	(void)error;
	agentcg_free(cg);
	cg = NULL;
	return 0;
}

static void is_freed(int result)
{
	(void)result;
	CHECK_EQ(agentcg_reap(NULL, SOON_MS, &why), 1);
}

const struct call calls[] = {
	{ "agentcg_new", nothing, call_new, end_made, 0, 0 },
	{ "agentcg_new with a guard", nothing, call_new_guarded, end_made, 0, 0 },
	{ "agentcg_new with limits", nothing, call_new_limited, end_made, 0, 0 },
	{ "agentcg_new_with", nothing, call_new_with, end_made, 0, 0 },
	{ "agentcg_new_in", a_populated_group, call_new_in, end_session, 0, 0 },
	{ "agentcg_new in no cgroup", nothing, call_new_in_no_cgroup, no_cleanup, -ENODEV, 0 },
	{ "agentcg_destroy", a_group, call_destroy, is_destroyed, 0, 0 },
	{ "agentcg_destroy of a nested group", a_nested_group, call_destroy, is_destroyed, 0, 0 },
	{ "agentcg_destroy with statistics", a_populated_group, call_destroy_measuring, is_destroyed, 0, 0 },
	{ "agentcg_destroy_explained", a_populated_group, call_destroy_explained, is_destroyed, 0, 0 },
	{ "agentcg_explain", a_populated_group, call_explain, end, 0, 0 },
	{ "agentcg_free", a_group, call_free, is_freed, 0, 0 },
	{ "agentcg_open", an_orphan, call_open, end_opened, 0, 0 },
	{ "agentcg_open as the owner", an_orphan, call_take_over, end_opened, 0, 0 },
	{ "agentcg_open_tagged", a_tagged_orphan, call_take_over_tagged, end_opened, 0, 0 },
	{ "agentcg_list_tagged", a_labelled_group, call_list_tagged, end, 0, 0 },
	{ "agentcg_list", a_populated_group, call_list, end, 0, 0 },
	{ "agentcg_reap", an_orphan, call_reap, is_reaped, 0, 1 },
	{ "agentcg_reap_tagged", a_tagged_orphan, call_reap_tagged, is_reaped, 0, 1 },
	{ "agentcg_set_label", a_labelled_group, call_set_label, end, 0, 0 },
	{ "agentcg_diagnose", nothing, call_diagnose, no_cleanup, 0, 0 },
	{ "agentcg_diagnose_new", nothing, call_diagnose_new, no_cleanup, 0, 0 },
	{ "agentcg_discover_parent", nothing, call_discover_parent, no_cleanup, 0, 0 },
	{ "agentcg_is_available", nothing, call_is_available, no_cleanup, 0, 0 },
	{ "agentcg_get_info", a_group, call_get_info, end, 0, 0 },
	{ "agentcg_uuid", a_group, call_uuid, end, 0, 0 },
	{ "agentcg_path", a_group, call_path, end, 0, 0 },
	{ "agentcg_fd", a_group, call_fd, end, 0, 0 },
	{ "agentcg_version_number", nothing, call_version_number, no_cleanup, 0, 0 },
	{ "agentcg_version_string", nothing, call_version_string, no_cleanup, 0, 0 },
	{ "agentcg_move_self", a_group_to_be_in, call_move_self, move_back, 0, 0 },
	{ "agentcg_move_pid", a_group_and_a_child, call_move_pid, end_child_too, 0, 0 },
	{ "agentcg_move_pidfd", a_group_and_a_child, call_move_pidfd, end_child_too, 0, 0 },
	{ "agentcg_move_out", a_group_and_a_member, call_move_out, end_child_too, 0, 0 },
	{ "agentcg_move_out_pidfd", a_group_and_a_member, call_move_out_pidfd, end_child_too, 0, 0 },
	{ "agentcg_find", a_populated_group, call_find, end, 0, 0 },
	{ "agentcg_find_pidfd", a_group_and_a_child, call_find_pidfd, end_child_too, -ENOENT, 0 },
	{ "agentcg_contains", a_populated_group, call_contains, end, 0, 0 },
	{ "agentcg_contains of no pid", a_group, call_contains_nobody, end, -EINVAL, 0 },
	{ "agentcg_pids", a_nested_group, call_pids, end, 0, 0 },
	{ "agentcg_spawn", a_group, call_spawn, end_spawned, 0, 0 },
	{ "agentcg_spawn, searching", a_group, call_spawn_searching, end_spawned, 0, 0 },
	{ "agentcg_spawn, contained", a_group, call_spawn_contained, end_spawned, 0, 0 },
	{ "agentcg_spawn, with arrays", a_group, call_spawn_with_arrays, end_spawned, 0, 0 },
	{ "agentcg_spawn_result", a_group, call_spawn_result, end_spawned, 0, 0 },
	{ "agentcg_spawn of nothing", a_group, call_spawn_nothing, end, -ENOENT, 0 },
	{ "agentcg_set_limits", a_group, call_set_limits, end, 0, 0 },
	{ "agentcg_get_limits", a_group, call_get_limits, end, 0, 0 },
	{ "agentcg_set_place_limits", nothing, call_set_place_limits, lift_place_limits, 0, 0 },
	{ "agentcg_get_place_limits", a_place_with_limits, call_get_place_limits, lift_place_limits, 0, 0 },
	{ "agentcg_read_file", a_group, call_read_file, end, 0, 0 },
	{ "agentcg_read_file of no file", a_group, call_read_no_file, end, -ENOENT, 0 },
	{ "agentcg_write_file", a_group, call_write_file, end, 0, 0 },
	{ "agentcg_read_stats", a_group, call_read_stats, end, 0, 0 },
	{ "agentcg_event_fd", a_group, call_event_fd, end, 0, 0 },
	{ "agentcg_next_events", a_watched_group, call_next_events, end, 0, 0 },
	{ "agentcg_watch_stall", a_watched_group, call_watch_stall, end, 0, 0 },
	{ "agentcg_freeze", a_populated_group, call_freeze, end, 0, 0 },
	{ "agentcg_thaw", a_populated_group, call_thaw, end, 0, 0 },
	{ "agentcg_signal_all", a_populated_group, call_signal_all, end, 0, 0 },
	{ "agentcg_wait_empty", a_populated_group, call_wait_empty, end, -ETIMEDOUT, 0 },
	{ "agentcg_kill_all", a_nested_group, call_kill_all, is_killed_at_once, 0, 1 },
	{ "agentcg_kill_all_of", a_nested_group, call_kill_all_of, is_killed_at_once, 0, 1 },
	{ "agentcg_terminate", a_populated_group, call_terminate, is_terminated_at_once, 0, 1 },
};

const size_t calls_count = sizeof(calls) / sizeof(calls[0]);

int is_as_expected(const struct call *call, int result)
{
	return call->expected < 0 ? result == call->expected : result >= 0;
}
