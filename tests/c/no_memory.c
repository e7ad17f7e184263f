/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A host whose malloc(3) fails. Each allocation of each function is made to
 * fail, alone and with all that follow it, while other threads are in the
 * library and while they are not: the function succeeds or fails with -ENOMEM,
 * succeeds when it is called again with memory, and the host lives.
 *
 * This program's malloc and its like stand before glibc's for the library too.
 * valgrind puts its own there, so that this test is not run under it.
 */
#include "spawning.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- memory ---- */

/* glibc's own, by the names that it keeps for this. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

enum mode { ALONE, ALL_FROM_THERE, OF_EVERY_THREAD };

static __thread int armed;
static __thread long left, failed;
static enum mode mode;
static volatile int all_fail;
static volatile int no_mapping, clock_fails;
static const char *wanted;
static const char *volatile in_call = "no call";
static volatile long number;

static int fails(void)
{
	if (all_fail)
		return 1;
	if (!armed || --left > 0 || (left < 0 && mode == ALONE))
		return 0;
	failed++;
	all_fail = mode == OF_EVERY_THREAD;
	return 1;
}

void *malloc(size_t size)
{
	if (!fails())
		return __libc_malloc(size);
	errno = ENOMEM;
	return NULL;
}

void *calloc(size_t count, size_t size)
{
	if (!fails())
		return __libc_calloc(count, size);
	errno = ENOMEM;
	return NULL;
}

void *realloc(void *memory, size_t size)
{
	if (!fails())
		return __libc_realloc(memory, size);
	errno = ENOMEM;
	return NULL;
}

void *aligned_alloc(size_t alignment, size_t size)
{
	if (!fails())
		return __libc_memalign(alignment, size);
	errno = ENOMEM;
	return NULL;
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
	if (fails())
		return ENOMEM;
	*memory = __libc_memalign(alignment, size);
	return *memory ? 0 : ENOMEM;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	if (no_mapping) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	if (clock_fails) {
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_clock_gettime, clock, time);
}

static void arm(long first)
{
	left = first;
	failed = 0;
	armed = 1;
}

static void disarm(void)
{
	armed = 0;
	all_fail = 0;
}

static void say_where(int signal)
{
	char text[200];
	int length = snprintf(text, sizeof(text), "the host died of signal %d: in %s, allocation %ld, mode %d\n", signal,
	                      in_call, number, mode);

	if (write(STDERR_FILENO, text, (size_t)length) < 0)
		_exit(2);
	_exit(1);
}

/* ---- the calls ---- */

static agentcg *cg;
static pid_t child;
static char uuid[AGENTCG_UUID_SIZE];
static int child_pidfd;

struct call {
	const char *name;
	void (*before)(void);
	int (*act)(void);
	/* Whatever act returned: 0 or more, or -ENOMEM. */
	void (*after)(int result);
	/* Where it is to fail. */
	int expected;
};

static void nothing(void)
{
}

static void a_group(void)
{
	cg = new_group();
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

/* With cgroups of the agent's own. */
static void a_nested_group(void)
{
	int fd;

	a_populated_group();
	fd = agentcg_fd(cg);
	CHECK_EQ(mkdirat(fd, "a", 0755), 0);
	CHECK_EQ(mkdirat(fd, "a/b", 0755), 0);
	CHECK_EQ(mkdirat(fd, "c", 0755), 0);
}

static void a_group_of_nobody(void)
{
	a_populated_group();
	CHECK_EQ(agentcg_uuid(cg, uuid, sizeof(uuid)), AGENTCG_UUID_SIZE - 1);
	agentcg_free(cg);
	cg = NULL;
}

static void a_watched_group(void)
{
	a_populated_group();
	CHECK_OK(agentcg_event_fd(cg, AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_GONE, &why));
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

/* The kill goes out before anything else is tried. */
static void is_killed_at_once(int result)
{
	check_killed(child);
	child = 0;
	end(result);
}

/* By SIGTERM or SIGKILL, whichever came first. */
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

static int call_new(void)
{
	return agentcg_new(NULL, NULL, NULL, 0, 0, &cg, &why);
}

static int call_new_guarded(void)
{
	return agentcg_new(NULL, NULL, NULL, 0, AGENTCG_NEW_GUARD, &cg, &why);
}

static int call_new_limited(void)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = 50 };

	return agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why);
}

static int call_destroy(void)
{
	return agentcg_destroy(cg, 0, SOON_MS, NULL, 0, &why);
}

static int call_destroy_measuring(void)
{
	agentcg_stats last;

	return agentcg_destroy(cg, 0, SOON_MS, &last, sizeof(last), &why);
}

static int call_open(void)
{
	return agentcg_open(NULL, uuid, 0, &cg, &why);
}

static int call_take_over(void)
{
	return agentcg_open(NULL, uuid, AGENTCG_OPEN_OWN, &cg, &why);
}

static int call_list(void)
{
	agentcg_entry entries[4];

	return agentcg_list(NULL, entries, sizeof(*entries), 4, &why);
}

static int call_reap(void)
{
	return agentcg_reap(NULL, SOON_MS, &why);
}

static int call_diagnose(void)
{
	static char text[8192];
	agentcg_diagnosis diagnosis;

	return agentcg_diagnose(&diagnosis, sizeof(diagnosis), text, sizeof(text));
}

static int call_discover_parent(void)
{
	static char text[PATH_SIZE];

	return agentcg_discover_parent(text, sizeof(text), &why);
}

static int call_is_available(void)
{
	return agentcg_is_available();
}

static int call_get_info(void)
{
	agentcg_info info;

	return agentcg_get_info(cg, &info, sizeof(info), &why);
}

static int call_move_pid(void)
{
	return agentcg_move_pid(cg, child, &why);
}

static int call_move_pidfd(void)
{
	return agentcg_move_pidfd(cg, child_pidfd, &why);
}

static int call_contains(void)
{
	return agentcg_contains(cg, child, &why);
}

static int call_contains_nobody(void)
{
	return agentcg_contains(cg, -1, &why);
}

static int call_pids(void)
{
	pid_t pids[8];

	return agentcg_pids(cg, pids, 8, &why);
}

static int call_spawn(void)
{
	return agentcg_spawn(cg, "/bin/true", WORDS("true"), NULL, NULL, 0, &child, NULL, &why);
}

static int call_spawn_searching(void)
{
	agentcg_spawn_options options = OWN;

	options.flags = AGENTCG_SPAWN_SEARCH_PATH | AGENTCG_SPAWN_NEW_SESSION;
	return agentcg_spawn(cg, "true", WORDS("true", "1", "2", "3", "4", "5", "6", "7", "8", "9"), NULL, &options,
	                     sizeof(options), &child, NULL, &why);
}

static int call_spawn_nothing(void)
{
	return agentcg_spawn(cg, "/no/such/program", WORDS("x"), NULL, NULL, 0, NULL, NULL, &why);
}

static int call_set_limits(void)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX | AGENTCG_LIMIT_MAX_DEPTH, .pids_max = 60, .max_depth = 9 };

	return agentcg_set_limits(cg, &limits, sizeof(limits), 0, &why);
}

static int call_get_limits(void)
{
	agentcg_limits limits;

	return agentcg_get_limits(cg, &limits, sizeof(limits), &why);
}

static int call_read_file(void)
{
	char text[PATH_SIZE];

	return agentcg_read_file(cg, "cpu.stat", text, sizeof(text), &why);
}

static int call_read_no_file(void)
{
	char text[8];

	return agentcg_read_file(cg, "cpu.no_such_file", text, sizeof(text), &why);
}

static int call_write_file(void)
{
	return agentcg_write_file(cg, "cgroup.max.depth", "7", &why);
}

static int call_read_stats(void)
{
	agentcg_stats stats;

	return agentcg_read_stats(cg, AGENTCG_STAT_ALL, &stats, sizeof(stats), &why);
}

static int call_event_fd(void)
{
	return agentcg_event_fd(cg, AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_PIDS_MAX, &why);
}

static int call_next_events(void)
{
	uint64_t events;

	return agentcg_next_events(cg, 0, &events, &why);
}

static int call_freeze(void)
{
	return agentcg_freeze(cg, SOON_MS, &why);
}

static int call_thaw(void)
{
	return agentcg_thaw(cg, SOON_MS, &why);
}

static int call_signal_all(void)
{
	return agentcg_signal_all(cg, SIGCONT, &why);
}

static int call_wait_empty(void)
{
	return agentcg_wait_empty(cg, 0, &why);
}

static int call_kill_all(void)
{
	return agentcg_kill_all(cg, SOON_MS, &why);
}

static int call_terminate(void)
{
	return agentcg_terminate(cg, 0, SOON_MS, &why);
}

static int call_free(void)
{
	agentcg_free(cg);
	cg = NULL;
	return 0;
}

static void is_freed(int result)
{
	(void)result;
	CHECK_EQ(agentcg_reap(NULL, SOON_MS, &why), 1);
}

static const struct call calls[] = {
	{ "agentcg_new", nothing, call_new, end_made, 0 },
	{ "agentcg_new with a guard", nothing, call_new_guarded, end_made, 0 },
	{ "agentcg_new with limits", nothing, call_new_limited, end_made, 0 },
	{ "agentcg_destroy", a_group, call_destroy, is_destroyed, 0 },
	{ "agentcg_destroy of a nested group", a_nested_group, call_destroy, is_destroyed, 0 },
	{ "agentcg_destroy with statistics", a_populated_group, call_destroy_measuring, is_destroyed, 0 },
	{ "agentcg_free", a_group, call_free, is_freed, 0 },
	{ "agentcg_open", a_group_of_nobody, call_open, end_opened, 0 },
	{ "agentcg_open as the owner", a_group_of_nobody, call_take_over, end_opened, 0 },
	{ "agentcg_list", a_populated_group, call_list, end, 0 },
	{ "agentcg_reap", a_group_of_nobody, call_reap, is_reaped, 0 },
	{ "agentcg_diagnose", nothing, call_diagnose, end_made, 0 },
	{ "agentcg_discover_parent", nothing, call_discover_parent, end_made, 0 },
	{ "agentcg_is_available", nothing, call_is_available, end_made, 0 },
	{ "agentcg_get_info", a_group, call_get_info, end, 0 },
	{ "agentcg_move_pid", a_group_and_a_child, call_move_pid, end_child_too, 0 },
	{ "agentcg_move_pidfd", a_group_and_a_child, call_move_pidfd, end_child_too, 0 },
	{ "agentcg_contains", a_populated_group, call_contains, end, 0 },
	{ "agentcg_contains of no pid", a_group, call_contains_nobody, end, -EINVAL },
	{ "agentcg_pids", a_nested_group, call_pids, end, 0 },
	{ "agentcg_spawn", a_group, call_spawn, end_spawned, 0 },
	{ "agentcg_spawn, searching", a_group, call_spawn_searching, end_spawned, 0 },
	{ "agentcg_spawn of nothing", a_group, call_spawn_nothing, end, -ENOENT },
	{ "agentcg_set_limits", a_group, call_set_limits, end, 0 },
	{ "agentcg_get_limits", a_group, call_get_limits, end, 0 },
	{ "agentcg_read_file", a_group, call_read_file, end, 0 },
	{ "agentcg_read_file of no file", a_group, call_read_no_file, end, -ENOENT },
	{ "agentcg_write_file", a_group, call_write_file, end, 0 },
	{ "agentcg_read_stats", a_group, call_read_stats, end, 0 },
	{ "agentcg_event_fd", a_group, call_event_fd, end, 0 },
	{ "agentcg_next_events", a_watched_group, call_next_events, end, 0 },
	{ "agentcg_freeze", a_populated_group, call_freeze, end, 0 },
	{ "agentcg_thaw", a_populated_group, call_thaw, end, 0 },
	{ "agentcg_signal_all", a_populated_group, call_signal_all, end, 0 },
	{ "agentcg_wait_empty", a_populated_group, call_wait_empty, end, -ETIMEDOUT },
	{ "agentcg_kill_all", a_nested_group, call_kill_all, is_killed_at_once, 0 },
	{ "agentcg_terminate", a_populated_group, call_terminate, is_terminated_at_once, 0 },
};

static int is_as_expected(const struct call *call, int result)
{
	return call->expected < 0 ? result == call->expected : result >= 0;
}

/* Returns whether an allocation failed. */
static int survives(const struct call *call, long first)
{
	int result;
	const char *flaw;

	number = first;
	child = 0;
	cg = NULL;
	call->before();
	memset(&why, 0, sizeof(why));
	arm(first);
	result = call->act();
	disarm();
	if (!is_as_expected(call, result)) {
		if (result != -ENOMEM)
			CHECK_FAIL("%s, allocation %ld, mode %d: returned %d, %.184s", call->name, first, mode, result,
			           why.message);
		/* agentcg_diagnose() has no reterr. */
		flaw = why.code == 0 ? NULL : check_error_flaw(&why, -ENOMEM);
		if (flaw)
			CHECK_FAIL("%s, allocation %ld: reterr %s: %.184s", call->name, first, flaw, why.message);
		/* Nothing is half done. */
		if (call->act != call_kill_all && call->act != call_terminate && call->act != call_reap) {
			result = call->act();
			if (!is_as_expected(call, result))
				CHECK_FAIL("%s, after allocation %ld failed: returned %d, %.184s", call->name, first, result,
				           why.message);
		}
	}
	call->after(result);
	return failed > 0;
}

static void survive_all(enum mode how)
{
	mode = how;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		long first = 1;

		if (!strstr(calls[i].name, wanted))
			continue;
		in_call = calls[i].name;
		/* With other threads some will do: 1, 2, 3, 4, 6, 9, ... */
		while (survives(&calls[i], first))
			first += how == OF_EVERY_THREAD && first > 3 ? first / 2 : 1;
	}
	in_call = "no call";
}

static void any_allocation_may_fail(void)
{
	survive_all(ALONE);
}

static void all_allocations_may_fail_from_any_on(void)
{
	survive_all(ALL_FROM_THERE);
}

/* ---- other threads ---- */

static volatile int company_ends;

static void *measure(void *group)
{
	agentcg_stats stats;
	agentcg_error error;
	pid_t pids[8];
	int result;

	while (!company_ends) {
		result = agentcg_read_stats(group, AGENTCG_STAT_ALL, &stats, sizeof(stats), &error);
		CHECK(result == 0 || result == -ENOMEM);
		result = agentcg_contains(group, -1, &error);
		CHECK(result == -EINVAL || result == -ENOMEM);
		result = agentcg_pids(group, pids, 8, &error);
		CHECK(result == 0 || result == 1 || result == -ENOMEM);
		usleep(1000);
	}
	return NULL;
}

static void *wait_long(void *group)
{
	int result = agentcg_wait_empty(group, AGENTCG_FOREVER, NULL);

	CHECK(result == 0 || result == -ENOMEM);
	return NULL;
}

/* Threads that are in the library all the while. */
enum { MOST_WAIT = 100 };
static pthread_t threads[MOST_WAIT + 1];
static agentcg *company;
static pid_t companion;

static void have_company(int waiting)
{
	pthread_attr_t attributes;

	company = new_group();
	companion = pausing_child();
	CHECK_OK(agentcg_move_pid(company, companion, &why));
	company_ends = 0;
	CHECK_EQ(pthread_attr_init(&attributes), 0);
	CHECK_EQ(pthread_attr_setstacksize(&attributes, 128 << 10), 0);
	for (int i = 0; i < waiting; i++)
		CHECK_EQ(pthread_create(&threads[i], &attributes, wait_long, company), 0);
	CHECK_EQ(pthread_create(&threads[waiting], &attributes, measure, company), 0);
	pthread_attr_destroy(&attributes);
}

static void end_company(int waiting)
{
	company_ends = 1;
	CHECK_OK(agentcg_kill_all(company, SOON_MS, &why));
	check_killed(companion);
	for (int i = 0; i <= waiting; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	destroy_group(company);
}

static void so_they_may_for_all_threads_at_once(void)
{
	have_company(2);
	survive_all(OF_EVERY_THREAD);
	end_company(2);
}

/* More calls at once than there are arenas in the library itself: the next are mapped, or the call is refused. */
static void a_hundred_calls_at_once_do_not_use_up_the_reserve(void)
{
	int result, refused = 0;
	char text[8];

	a_group();
	have_company(MOST_WAIT);
	in_call = "one of a hundred calls";
	mode = ALL_FROM_THERE;
	for (int i = 0; i < 200; i++) {
		arm(1);
		result = agentcg_read_file(cg, "no.such_file", text, sizeof(text), &why);
		disarm();
		CHECK_EQ(result, -ENOENT);
	}
	end_company(MOST_WAIT);

	/* The next region is not there yet in a fresh process; here it is, and mmap(2) is not asked again. */
	no_mapping = 1;
	for (int i = 0; i < 200; i++) {
		arm(1);
		result = agentcg_read_file(cg, "no.such_file", text, sizeof(text), &why);
		disarm();
		refused += result != -ENOENT;
	}
	no_mapping = 0;
	CHECK_EQ(refused, 0);
	destroy_group(cg);
}

/* ---- what is printed ---- */

static void panic(void *pipe_end)
{
	agentcg *group = new_group();
	int result;

	CHECK_EQ(dup2(*(int *)pipe_end, STDERR_FILENO), STDERR_FILENO);
	clock_fails = 1;
	result = agentcg_kill_all(group, SOON_MS, &why);
	clock_fails = 0;
	/* std panics where the clock cannot be read. */
	if (result != -ENOTRECOVERABLE || why.code != -ENOTRECOVERABLE)
		_exit(3);
	if (agentcg_destroy(group, 0, SOON_MS, NULL, 0, &why) != 0)
		_exit(4);
}

static void a_panic_prints_nothing(void)
{
	int ends[2];
	pid_t panicking;

	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	panicking = child_that_runs(panic, &ends[1]);
	close(ends[1]);
	CHECK_STR(all_of(ends[0]), "");
	close(ends[0]);
	CHECK_EQ(reap(panicking), 0);
}

/* An argument: only the calls whose names hold it. */
int main(int count, char **arguments)
{
	struct sigaction action = { .sa_handler = say_where };

	agentcg *guarded;

	wanted = count > 1 ? arguments[1] : "";
	CHECK_EQ(sigaction(SIGABRT, &action, NULL), 0);
	CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
	/* What the library has once for a process, its guard and what wakes the watchers, stays as long as this does. */
	CHECK_OK(agentcg_new(NULL, NULL, NULL, 0, AGENTCG_NEW_GUARD, &guarded, &why));
	CHECK_OK(agentcg_event_fd(guarded, AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_GONE, &why));
	RUN(any_allocation_may_fail);
	RUN(all_allocations_may_fail_from_any_on);
	RUN(so_they_may_for_all_threads_at_once);
	RUN(a_hundred_calls_at_once_do_not_use_up_the_reserve);
	RUN(a_panic_prints_nothing);
	destroy_group(guarded);
	return 0;
}
