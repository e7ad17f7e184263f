/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Sixteen threads call all functions that may be called at the same time, in
 * random order: first on one handle, then on two hundred, which are made and
 * destroyed meanwhile. Every result must be possible in such a race, and nothing
 * is left at the end: no process, no descriptor, no cgroup, no freeze.
 *
 * usage: stress [SECONDS [guard [SEED]]]: SECONDS for each of the two; "guard"
 * makes all agents with AGENTCG_NEW_GUARD.
 */
#include "spawning.h"
#include "watched.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define HANDLES 200
#define CHILDREN 6   /* of each thread at a time */

static int seconds = 3, with_guard;
static uint64_t seed;
static int can_contain;
static uint64_t limits_here;   /* the limits whose controllers are available */

/* Calls on a handle run while the lock is held for reading. agentcg_destroy() and agentcg_free(), during which no other
 * call may run, are called while it is held for writing. */
struct slot {
	pthread_rwlock_t lock;
	agentcg *cg;      /* NULL: none at the moment */
	int has_events;   /* agentcg_event_fd() was called */
};

static struct slot slots[HANDLES];
static size_t in_use;   /* the number of slots */

/* ---- children ---- */

static __thread pid_t children[CHILDREN];

/* SIGKILL ends a child in every state of its group. */
static void end_one(size_t number)
{
	int status;

	if (children[number] == 0)
		return;
	CHECK_EQ(kill(children[number], SIGKILL), 0);
	CHECK_EQ(waitpid(children[number], &status, 0), children[number]);
	CHECK(WIFSIGNALED(status));
	children[number] = 0;
}

static void end_children(void)
{
	for (size_t i = 0; i < CHILDREN; i++)
		end_one(i);
}

/* A slot for a new child. The child that was in it is ended. */
static pid_t *room_for_child(void)
{
	size_t number = random_below(CHILDREN);

	end_one(number);
	return &children[number];
}

/* ---- functions of a handle ---- */

static void move_by_pid(agentcg *cg)
{
	pid_t *child = room_for_child();

	*child = pausing_child();
	if (CALL(agentcg_move_pid(cg, *child, &why), -ESRCH) == 0)
		CALL(agentcg_contains(cg, *child, &why), -ESRCH);
}

static void move_by_pidfd(agentcg *cg)
{
	pid_t *child = room_for_child();
	int pidfd;

	*child = pausing_child();
	pidfd = (int)syscall(SYS_pidfd_open, *child, 0);
	CHECK(pidfd >= 0);
	CALL(agentcg_move_pidfd(cg, pidfd, &why), -ESRCH);
	close(pidfd);
}

/* It is in this group, in another one, or in none, or another thread ends it. */
static void move_out(agentcg *cg)
{
	pid_t child = children[random_below(CHILDREN)];
	int pidfd;

	if (child == 0)
		return;
	CALL(agentcg_move_out(cg, child, &why), -ESRCH);
	pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	if (pidfd < 0)
		return;
	CALL(agentcg_move_out_pidfd(cg, pidfd, &why), -ESRCH);
	close(pidfd);
}

static void move_itself(agentcg *cg)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0)
		_exit(agentcg_move_self(cg) == 0 ? 0 : 1);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 0 || self->guest);
}

static void ask_about_child(agentcg *cg)
{
	pid_t child = children[random_below(CHILDREN)];

	if (child != 0)
		CALL(agentcg_contains(cg, child, &why), -ESRCH);
	CHECK(CALL(agentcg_contains(cg, getpid(), &why), 0) == 0 || self->guest);
}

static void find_child(agentcg *cg)
{
	pid_t child = children[random_below(CHILDREN)];
	agentcg_found found;
	int pidfd;

	(void)cg;
	if (child == 0)
		return;
	if (CALL(agentcg_find(child, &found, sizeof(found), NULL, 0, &why), -ENOENT, -ESRCH, -ENODEV) >= 0)
		CHECK_EQ(strlen(found.uuid), 36);
	pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	if (pidfd < 0)
		return;
	if (CALL(agentcg_find_pidfd(pidfd, &found, sizeof(found), NULL, 0, &why), -ENOENT, -ESRCH, -ENODEV) >= 0)
		CHECK_EQ(strlen(found.uuid), 36);
	close(pidfd);
}

/* Frozen or being killed; killed at once; more processes than pids_max. */
#define RACES_OF_SPAWN -EBUSY, -ECANCELED, -EAGAIN

static void spawn(agentcg *cg)
{
	agentcg_spawn_options options = OWN;
	pid_t *child = room_for_child();
	int pidfd = -1;
	int result;

	if (random_below(2))
		options.flags |= AGENTCG_SPAWN_NEW_SESSION;
	if (can_contain && random_below(3) == 0)
		options.flags |= AGENTCG_SPAWN_CONTAIN;
	options.stdout_fd = options.stdin_fd = AGENTCG_DEVNULL;
	result = CALL(agentcg_spawn(cg, "/bin/sleep", WORDS("sleep", "1000"), NULL, &options, sizeof(options), child, &pidfd, &why),
	              RACES_OF_SPAWN);
	if (result < 0) {
		CHECK_EQ(*child, 0);
		CHECK_EQ(pidfd, -1);
		return;
	}
	CHECK(*child > 0);
	CHECK(fcntl(pidfd, F_GETFD) & FD_CLOEXEC);
	close(pidfd);
}

static void spawn_without_waiting(agentcg *cg)
{
	agentcg_spawn_options options = OWN;
	pid_t pid;
	int pidfd, result;

	options.flags = AGENTCG_SPAWN_ASYNC;
	if (CALL(agentcg_spawn(cg, "/bin/true", WORDS("true"), NULL, &options, sizeof(options), &pid, &pidfd, &why),
	         RACES_OF_SPAWN, -ESRCH) < 0)
		return;
	/* The pidfd is readable when the child has failed, was killed, or its program has ended. */
	while ((result = CALL(agentcg_spawn_result(cg, pidfd, &why), -EINPROGRESS, RACES_OF_SPAWN)) == -EINPROGRESS)
		poll(&(struct pollfd){ .fd = pidfd, .events = POLLIN }, 1, -1);
	if (result == 0)
		CHECK_EQ(waitpid(pid, NULL, 0), pid);
	close(pidfd);
}

static void spawn_missing_program(agentcg *cg)
{
	CHECK(CALL(agentcg_spawn(cg, "/nowhere/nothing", WORDS("nothing"), NULL, NULL, 0, NULL, NULL, &why),
	           -ENOENT, RACES_OF_SPAWN) < 0);
}

static void spawn_and_wait(agentcg *cg)
{
	agentcg_spawn_options options = OWN;
	int status;
	pid_t pid;

	if (CALL(agentcg_spawn(cg, "/bin/true", WORDS("true"), NULL, &options, sizeof(options), &pid, NULL, &why),
	         RACES_OF_SPAWN) < 0)
		return;
	/* In a frozen group the program does not end by itself. */
	if (waitpid(pid, &status, WNOHANG) == 0) {
		kill(pid, SIGKILL);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
	}
	CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
}

static void list_processes(agentcg *cg)
{
	pid_t pids[THREADS * CHILDREN];
	int count = CALL(agentcg_pids(cg, pids, THREADS * CHILDREN, &why), 0);

	for (int i = 1; i < count && i < THREADS * CHILDREN; i++)
		CHECK(pids[i - 1] < pids[i]);
}

static void measure(agentcg *cg)
{
	static const uint64_t selections[] = { AGENTCG_STAT_BASIC, AGENTCG_STAT_ALL, AGENTCG_STAT_STATE };
	agentcg_stats first, second;
	uint64_t which = selections[random_below(3)];

	if (CALL(agentcg_read_stats(cg, which, &first, sizeof(first), &why), 0) < 0 ||
	    CALL(agentcg_read_stats(cg, which, &second, sizeof(second), &why), 0) < 0)
		return;
	CHECK(second.time_ns >= first.time_ns);
	CHECK(second.cpu_usage_ns >= first.cpu_usage_ns || !(second.mask & AGENTCG_STAT_CPU));
	CHECK_EQ(first.mask & AGENTCG_STAT_CPU, which & AGENTCG_STAT_CPU);
}

/* Other threads kill and start programs meanwhile. */
static void explain(agentcg *cg)
{
	static const int statuses[] = { AGENTCG_NO_WAIT_STATUS, 0, 137 << 8, SIGSEGV, SIGKILL };
	agentcg_verdict verdict;
	int status = statuses[random_below(5)];

	if (CALL(agentcg_explain(cg, status, &verdict, sizeof(verdict), &why), 0) < 0)
		return;
	CHECK_EQ(verdict.cause & ~verdict.candidates, 0);
	CHECK(verdict.candidates != 0 && *verdict.text != '\0');
	if (status == 137 << 8)
		CHECK(verdict.cause == AGENTCG_CAUSE_EXITED && verdict.exit_code == 137);
}

static void look(agentcg *cg)
{
	agentcg_info info;
	char uuid[AGENTCG_UUID_SIZE], path[PATH_SIZE];

	if (CALL(agentcg_get_info(cg, &info, sizeof(info), &why), 0) == 0) {
		CHECK_EQ(info.owned, !self->guest);
		CHECK_EQ(info.guarded, with_guard && !self->guest);
	}
	if (self->guest)
		CHECK_ERR(agentcg_set_label(cg, "a guest's", &why), -EPERM);
	else
		CALL(agentcg_set_label(cg, "used", &why), 0);
	CHECK_EQ(CALL(agentcg_uuid(cg, uuid, sizeof(uuid)), 0), 36);
	CALL(agentcg_path(cg, path, sizeof(path)), 0);
	CHECK(strstr(path, uuid) != NULL);
	CALL(agentcg_fd(cg), 0);
}

static agentcg_limits some_limits(uint64_t mask)
{
	agentcg_limits limits = { .mask = mask };

	if (mask & AGENTCG_LIMIT_PIDS_MAX)
		limits.pids_max = 40 + random_below(80);
	if (mask & AGENTCG_LIMIT_MEMORY_MAX)
		limits.memory_max_bytes = (128 + random_below(64)) << 20;
	if (mask & AGENTCG_LIMIT_MEMORY_HIGH)
		limits.memory_high_bytes = (96 + random_below(32)) << 20;
	if (mask & AGENTCG_LIMIT_CPU_MAX)
		limits.cpu_max_millicpu = 500 + random_below(1500);
	if (mask & AGENTCG_LIMIT_CPU_WEIGHT)
		limits.cpu_weight = 50 + random_below(100);
	if (mask & AGENTCG_LIMIT_MAX_DEPTH)
		limits.max_depth = 8 + random_below(8);
	return limits;
}

/* The limits are those of some_limits(): limits that a kill has lifted are restored. */
static void check_limits(agentcg *cg)
{
	agentcg_limits limits;

	CHECK_OK(agentcg_get_limits(cg, &limits, sizeof(limits), &why));
	if (limits.mask & AGENTCG_LIMIT_PIDS_MAX)
		CHECK(limits.pids_max >= 40 && limits.pids_max < 120);
	if (limits.mask & AGENTCG_LIMIT_MEMORY_MAX)
		CHECK(limits.memory_max_bytes >= 128 << 20 && limits.memory_max_bytes < 192 << 20);
	if (limits.mask & AGENTCG_LIMIT_CPU_MAX)
		CHECK(limits.cpu_max_millicpu >= 500 && limits.cpu_max_millicpu < 2000);
}

/* -ERANGE: another thread's value was read back. */
static void change_limits(agentcg *cg)
{
	agentcg_limits limits = some_limits(limits_here);

	CALL(agentcg_set_limits(cg, &limits, sizeof(limits), 0, &why), -ERANGE);
}

static void read_limits(agentcg *cg)
{
	agentcg_limits limits;

	if (CALL(agentcg_get_limits(cg, &limits, sizeof(limits), &why), 0) == 0)
		CHECK(limits.mask & AGENTCG_LIMIT_MAX_DEPTH);
}

static void use_files(agentcg *cg)
{
	static const char *const files[] = { "cgroup.events", "cgroup.procs", "cpu.stat", "cgroup.stat" };
	char text[PATH_SIZE];

	CALL(agentcg_read_file(cg, files[random_below(4)], text, sizeof(text), &why), 0);
	CALL(agentcg_write_file(cg, "cgroup.max.descendants", "100", &why), 0);
}

/* As an agent does: make a nested cgroup and move a process into it. */
static void nest(agentcg *cg)
{
	pid_t *child;
	char name[32], file[64], pid[16];

	snprintf(name, sizeof(name), "inner-%d", (int)self->tid);
	snprintf(file, sizeof(file), "%s/cgroup.procs", name);
	if (mkdirat(agentcg_fd(cg), name, 0755) != 0)
		CHECK(self->guest || errno == EEXIST);
	child = room_for_child();
	*child = pausing_child();
	snprintf(pid, sizeof(pid), "%d", (int)*child);
	write_in(agentcg_fd(cg), file, pid);
	if (random_below(2)) {
		end_one((size_t)(child - children));
		if (unlinkat(agentcg_fd(cg), name, AT_REMOVEDIR) != 0)
			CHECK(self->guest || errno == EBUSY || errno == ENOENT);
	}
}

static void signal_processes(agentcg *cg)
{
	static const int signals[] = { 0, SIGCONT, SIGTERM };

	CALL(agentcg_signal_all(cg, signals[random_below(3)], &why), 0);
}

static void freeze_and_thaw(agentcg *cg)
{
	CALL(agentcg_freeze(cg, (int)random_below(100), &why), -ETIMEDOUT);
	/* Another thread may freeze the group again during the wait. */
	while (CALL(agentcg_thaw(cg, 100, &why), -ETIMEDOUT) == -ETIMEDOUT)
		;
}

static void kill_and_wait(agentcg *cg)
{
	CALL(agentcg_kill_all(cg, SOON_MS, &why), 0);
}

static void kill_with_others(agentcg *cg)
{
	int codes[2];

	if (CALL(agentcg_kill_all_of((agentcg *[]){ cg, cg }, 2, codes, SOON_MS, &why), 0) == 0)
		CHECK_EQ(codes[0] + codes[1], 0);
}

static void kill_without_waiting(agentcg *cg)
{
	CALL(agentcg_kill_all(cg, 0, &why), -ETIMEDOUT);
}

static void ask_to_end(agentcg *cg)
{
	CALL(agentcg_terminate(cg, (int)random_below(20), SOON_MS, &why), 0);
}

static void wait_a_moment(agentcg *cg)
{
	CALL(agentcg_wait_empty(cg, (int)random_below(5), &why), -ETIMEDOUT);
}

static void take_events(agentcg *cg)
{
	static const uint64_t always = AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_POPULATED | AGENTCG_EVENT_GONE;
	uint64_t events = 0;
	int fd = CALL(agentcg_event_fd(cg, always | (random_below(2) ? AGENTCG_EVENT_FROZEN : AGENTCG_EVENT_STALLED), &why), 0);
	int result;

	if (fd < 0)
		return;
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CALL(agentcg_watch_stall(cg, AGENTCG_STALL_CPU + random_below(3), AGENTCG_STALL_SOME, random_below(2), 100000, &why),
	     -EOPNOTSUPP);
	result = CALL(agentcg_next_events(cg, (int)random_below(5), &events, &why), 0);
	if (result == 1)
		CHECK(events != 0);
	if (result == 1 && !self->guest)
		CHECK(!(events & AGENTCG_EVENT_GONE));
}

/* Calls that end no process are frequent. Calls that end or stop all processes are rare. */
static void use(agentcg *cg)
{
	static void (*const often[])(agentcg *) = {
		move_by_pid, move_by_pidfd, move_out, move_itself, ask_about_child, find_child, spawn, spawn, spawn, spawn_missing_program,
		spawn_without_waiting,
		spawn_and_wait, list_processes, measure, measure, explain, look, change_limits, read_limits, use_files, nest,
		take_events, wait_a_moment,
	};
	static void (*const rarely[])(agentcg *) = {
		signal_processes, freeze_and_thaw, kill_and_wait, kill_with_others, kill_without_waiting, ask_to_end,
	};

	if (random_below(8))
		often[random_below(sizeof(often) / sizeof(often[0]))](cg);
	else
		rarely[random_below(sizeof(rarely) / sizeof(rarely[0]))](cg);
}

/* ---- functions of all agents ---- */

static void list_agents(void)
{
	static __thread agentcg_entry entries[2 * HANDLES];
	int count = CALL(agentcg_list(NULL, entries, sizeof(entries[0]), 2 * HANDLES, &why), 0);

	for (int i = 0; i < count && i < 2 * HANDLES; i++)
		CHECK_EQ(strlen(entries[i].uuid), 36);
	count = CALL(agentcg_list_tagged(NULL, "stress", entries, sizeof(entries[0]), 2 * HANDLES, &why), 0);
	for (int i = 0; i < count && i < 2 * HANDLES; i++)
		CHECK_STR(entries[i].tag, "stress");
}

/* How many times threads have begun and ended a diagnosis, which makes an agent for a moment. */
static long diagnoses_begun, diagnoses_ended;

static void reap_orphans(void)
{
	long ended = __atomic_load_n(&diagnoses_ended, __ATOMIC_SEQ_CST);
	int reaped = random_below(2) ? CALL(agentcg_reap(NULL, SOON_MS, &why), 0)
	                             : CALL(agentcg_reap_tagged(NULL, "stress", SOON_MS, &why), 0);
	long at_the_same_time = __atomic_load_n(&diagnoses_begun, __ATOMIC_SEQ_CST) - ended;

	/* All agents of the first test have a living owner. The agent of a diagnosis may be reaped before it is locked, and is
	 * then made again. */
	CHECK(reaped == 0 || in_use > 1 || at_the_same_time > 0);
}

/* Limits that bound no agent of this test. -EBUSY: the other threads keep removing the tree. */
static void limit_the_place(void)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_MAX_DESCENDANTS };

	limits.max_descendants = random_below(2) ? AGENTCG_UNLIMITED : 1000000 + random_below(1000);
	CALL(agentcg_set_place_limits(NULL, &limits, sizeof(limits), 0, &why), -EBUSY);
	/* Without an agent and a limit there is nothing. */
	if (CALL(agentcg_get_place_limits(NULL, &limits, sizeof(limits), &why), -ENOENT) == 0)
		CHECK(limits.max_descendants == AGENTCG_UNLIMITED || limits.max_descendants >= 1000000);
}

static void lift_the_limits_of_the_place(void)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_MAX_DESCENDANTS, .max_descendants = AGENTCG_UNLIMITED };

	CHECK_OK(agentcg_set_place_limits(NULL, &limits, sizeof(limits), 0, &why));
}

static void call_without_a_handle(void)
{
	agentcg_limits limits = some_limits(limits_here);
	agentcg_diagnosis diagnosis;
	char path[PATH_SIZE], text[PATH_SIZE];

	CHECK_EQ(CALL(agentcg_is_available(), 0), 1);
	CALL(agentcg_discover_parent(path, sizeof(path), &why), 0);
	limit_the_place();
	if (random_below(8))
		return;
	__atomic_add_fetch(&diagnoses_begun, 1, __ATOMIC_SEQ_CST);
	CALL(agentcg_diagnose(&diagnosis, sizeof(diagnosis), text, sizeof(text)), 0);
	CHECK(diagnosis.place != 0);
	CALL(agentcg_diagnose_new(&limits, sizeof(limits), 0, &diagnosis, sizeof(diagnosis), text, sizeof(text), &why), 0);
	CHECK(diagnosis.place != 0);
	__atomic_add_fetch(&diagnoses_ended, 1, __ATOMIC_SEQ_CST);
}

/* Use another handle, which does not own the agent: the group may be removed at any moment. */
static void visit(const char *uuid)
{
	agentcg *guest;

	if (random_below(2)) {
		if (CALL(agentcg_open(NULL, uuid, 0, &guest, &why), -ENOENT) < 0)
			return;
	} else if (CALL(agentcg_open_tagged(NULL, uuid, "stress", 0, &guest, &why), -ENOENT) < 0) {
		return;
	}
	self->guest = 1;
	for (int i = 0; i < 5; i++)
		use(guest);
	self->guest = 0;
	agentcg_free(guest);
}

/* Make a child and use it. Other threads kill the session, and the child's processes with it. */
static void use_child(agentcg *session)
{
	agentcg_limits limits = some_limits(limits_here);
	agentcg_new_options options = {
		.limits = &limits, .limits_size = sizeof(limits), .flags = with_guard ? AGENTCG_NEW_GUARD : 0,
		.label = "child", .tag = "stress",
	};
	agentcg *child;

	/* A nesting limit; forks during the move of the processes. */
	if (CALL(agentcg_new_in(session, &options, sizeof(options), &child, &why), -EAGAIN, -EBUSY) < 0)
		return;
	for (int i = 0; i < 3; i++)
		use(child);
	CALL(agentcg_destroy(child, 0, SOON_MS, NULL, 0, &why), 0);
}

/* ---- one handle, and two hundred ---- */

static agentcg *made(void)
{
	agentcg_limits limits = some_limits(limits_here);
	agentcg_new_options options = {
		.limits = &limits, .limits_size = sizeof(limits), .flags = with_guard ? AGENTCG_NEW_GUARD : 0,
		.label = "made", .tag = "stress",
	};
	agentcg *cg = NULL;

	if (random_below(2))
		CALL(agentcg_new_with(&options, sizeof(options), &cg, &why), 0);
	else
		CALL(agentcg_new(NULL, NULL, &limits, sizeof(limits), options.flags, &cg, &why), 0);
	return cg;
}

/* The agent becomes an orphan, which this thread adopts unless another thread reaps it first. */
static agentcg *free_and_adopt(agentcg *cg)
{
	char uuid[AGENTCG_UUID_SIZE];
	agentcg *again = NULL;

	CHECK_EQ(agentcg_uuid(cg, uuid, sizeof(uuid)), 36);
	agentcg_free(cg);
	if (with_guard || random_below(2))
		return NULL;
	if (CALL(agentcg_open(NULL, uuid, AGENTCG_OPEN_OWN, &again, &why), -ENOENT, -EBUSY) < 0)
		return NULL;
	return again;
}

static agentcg *ended(agentcg *cg)
{
	agentcg_stats final;
	agentcg_verdict verdict;

	switch (random_below(5)) {
	case 0:
		return free_and_adopt(cg);
	case 1:
		return CALL(agentcg_destroy(cg, AGENTCG_DESTROY_IF_EMPTY, SOON_MS, NULL, 0, &why), -EBUSY) == 0 ? NULL : cg;
	case 2:
		CALL(agentcg_destroy(cg, 0, SOON_MS, NULL, 0, &why), 0);
		return NULL;
	case 3:
		CALL(agentcg_destroy_explained(cg, 0, SOON_MS, AGENTCG_NO_WAIT_STATUS, NULL, 0, &verdict, sizeof(verdict), &why), 0);
		CHECK(!(verdict.candidates & AGENTCG_CAUSE_RUNNING));
		return NULL;
	default:
		CALL(agentcg_destroy(cg, 0, SOON_MS, &final, sizeof(final), &why), 0);
		CHECK(final.mask & AGENTCG_STAT_CPU);
		return NULL;
	}
}

static void turn_with_one_handle(void)
{
	if (random_below(20))
		use(slots[0].cg);
	else if (random_below(3) == 0)
		use_child(slots[0].cg);
	else if (random_below(2))
		list_agents();
	else if (random_below(2))
		call_without_a_handle();
	else
		reap_orphans();
}

static void turn_with_many_handles(void)
{
	struct slot *slot = &slots[random_below(in_use)];
	char uuid[AGENTCG_UUID_SIZE] = "";

	switch (random_below(8)) {
	case 0:
		pthread_rwlock_wrlock(&slot->lock);
		slot->cg = slot->cg ? ended(slot->cg) : made();
		pthread_rwlock_unlock(&slot->lock);
		return;
	case 1:
		pthread_rwlock_rdlock(&slot->lock);
		if (slot->cg)
			CHECK_EQ(agentcg_uuid(slot->cg, uuid, sizeof(uuid)), 36);
		pthread_rwlock_unlock(&slot->lock);
		if (*uuid)
			visit(uuid);
		return;
	case 2:
		if (random_below(4))
			list_agents();
		else if (random_below(2))
			call_without_a_handle();
		else
			reap_orphans();
		return;
	default:
		pthread_rwlock_rdlock(&slot->lock);
		for (int i = 0; slot->cg && i < 5; i++)
			use(slot->cg);
		pthread_rwlock_unlock(&slot->lock);
	}
}

static void fill_slots(size_t count)
{
	in_use = count;
	for (size_t i = 0; i < count; i++) {
		CHECK_EQ(pthread_rwlock_init(&slots[i].lock, NULL), 0);
		slots[i].cg = made();
	}
}

static void empty_slots(void)
{
	for (size_t i = 0; i < in_use; i++) {
		agentcg *cg = slots[i].cg;

		if (cg) {
			CHECK_EQ(key_in(cg, "cgroup.events", "frozen"), 0);
			CHECK_EQ(number_in(cg, "cgroup.freeze"), 0);
			check_limits(cg);
			CHECK_OK(agentcg_wait_empty(cg, SOON_MS, &why));
			destroy_group(cg);
		}
		CHECK_EQ(pthread_rwlock_destroy(&slots[i].lock), 0);
	}
	CHECK_OK(agentcg_reap(NULL, SOON_MS, &why));
	lift_the_limits_of_the_place();
}

static void sixteen_threads_use_one_handle(void)
{
	fill_slots(1);
	run_watched(seconds, seed, turn_with_one_handle, end_children);
	empty_slots();
}

static void sixteen_threads_use_two_hundred_handles_that_come_and_go(void)
{
	fill_slots(HANDLES);
	run_watched(seconds, seed, turn_with_many_handles, end_children);
	empty_slots();
}

/* ---- before it begins ---- */

/* Two hundred handles cache many descriptors. */
static void allow_descriptors(void)
{
	struct rlimit limit;

	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max < 16384 ? limit.rlim_max : 16384;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static uint64_t limits_that_work(agentcg *cg)
{
	uint64_t mask = AGENTCG_LIMIT_MAX_DEPTH;
	agentcg_info info;

	CHECK_OK(agentcg_get_info(cg, &info, sizeof(info), &why));
	if (info.controllers & AGENTCG_CONTROLLER_PIDS)
		mask |= AGENTCG_LIMIT_PIDS_MAX;
	if (info.controllers & AGENTCG_CONTROLLER_MEMORY)
		mask |= AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_MEMORY_HIGH;
	if (info.controllers & AGENTCG_CONTROLLER_CPU)
		mask |= AGENTCG_LIMIT_CPU_MAX | AGENTCG_LIMIT_CPU_WEIGHT;
	return mask;
}

/* Descriptors that a process has only once are opened before descriptors are counted. */
static void warm_up(void)
{
	agentcg_spawn_options options = OWN;
	agentcg *cg = made();
	pid_t pid;
	int result;

	limits_here = limits_that_work(cg);
	CHECK_EQ(reap(started(cg, WORDS("/bin/true"), NULL, options)), 0);
	options.flags = AGENTCG_SPAWN_CONTAIN;
	result = agentcg_spawn(cg, "/bin/true", WORDS("true"), NULL, &options, sizeof(options), &pid, NULL, &why);
	CHECK(result == 0 || result == -EPERM || result == -EOPNOTSUPP);
	can_contain = result == 0;
	if (can_contain)
		CHECK_EQ(reap(pid), 0);
	CHECK_OK(agentcg_event_fd(cg, AGENTCG_EVENT_GONE, &why));
	CHECK_OK(agentcg_kill_all(cg, SOON_MS, &why));
	destroy_group(cg);
}

/* As RUN(), but one descriptor fewer is allowed: the library closes the inotify instance of the process when it has
 * detected that this kernel does not report removals. */
static void run_alone(const char *name, void (*test)(void))
{
	int descriptors = count_descriptors(), agents = agents_below(NULL);

	fprintf(stderr, "%s\n", name);
	test();
	CHECK(count_descriptors() == descriptors || count_descriptors() == descriptors - 1);
	CHECK_EQ(agents_below(NULL), agents);
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
}

/*
 * An agent with cpu_max, for as long as the program runs. The kernel changes its
 * instructions when the first cpu.max is set and when the last one is removed,
 * and QEMU with two CPUs does not always notice it: tests/lab/README.md.
 */
static agentcg *hold_a_cpu_limit(void)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_CPU_MAX, .cpu_max_millicpu = 1000 };
	agentcg *cg = NULL;

	if (limits_here & AGENTCG_LIMIT_CPU_MAX)
		CHECK_OK(agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why));
	return cg;
}

int main(int argc, char **argv)
{
	agentcg *limited;

	if (argc > 1)
		seconds = atoi(argv[1]);
	with_guard = argc > 2 && strcmp(argv[2], "guard") == 0;
	seed = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)now_ms();
	CHECK(seconds > 0);
	allow_descriptors();
	warm_up();
	limited = hold_a_cpu_limit();
	fprintf(stderr, "seed %llu, %s, %s\n", (unsigned long long)seed, with_guard ? "guarded" : "not guarded",
	        can_contain ? "contained programs, too" : "no contained programs here");
	run_alone("sixteen threads use one handle", sixteen_threads_use_one_handle);
	run_alone("sixteen threads use two hundred handles that come and go",
	          sixteen_threads_use_two_hundred_handles_that_come_and_go);
	if (limited)
		destroy_group(limited);
	return 0;
}
