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
#include "calls.h"
#include "spawning.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
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

/* Posted for each attempt: those who are in company measure beside it. */
static sem_t attempts;

/* Returns whether an allocation failed. */
static int survives(const struct call *call, long first)
{
	int result;
	const char *flaw;

	number = first;
	call->before();
	memset(&why, 0, sizeof(why));
	CHECK_EQ(sem_post(&attempts), 0);
	arm(first);
	result = call->act(&why);
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
		if (!call->kills) {
			result = call->act(&why);
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
	FOR_EACH_CALL(call) {
		long first = 1;

		if (!strstr(call->name, wanted))
			continue;
		in_call = call->name;
		/* With other threads some will do: 1, 2, 3, 4, 6, 9, ... */
		while (survives(call, first))
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

	for (;;) {
		while (sem_wait(&attempts) != 0)
			CHECK_EQ(errno, EINTR);
		if (company_ends)
			return NULL;
		result = agentcg_read_stats(group, AGENTCG_STAT_ALL, &stats, sizeof(stats), &error);
		CHECK(result == 0 || result == -ENOMEM);
		result = agentcg_contains(group, -1, &error);
		CHECK(result == -EINVAL || result == -ENOMEM);
		result = agentcg_pids(group, pids, 8, &error);
		CHECK(result == 0 || result == 1 || result == -ENOMEM);
	}
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
	CHECK_EQ(sem_init(&attempts, 0, 0), 0);
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
	CHECK_EQ(sem_post(&attempts), 0);
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
	agentcg *cg = new_group();

	have_company(MOST_WAIT);
	in_call = "one of a hundred calls";
	mode = ALL_FROM_THERE;
	for (int i = 0; i < 200; i++) {
		CHECK_EQ(sem_post(&attempts), 0);
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

/* ---- no call can begin ---- */

/* Whom a call is to kill, or not. */
struct victim {
	agentcg *cg;
	pid_t child;
};

static struct victim a_victim(void)
{
	struct victim one = { new_group(), pausing_child() };

	CHECK_OK(agentcg_move_pid(one.cg, one.child, &why));
	return one;
}

static void end_victim(struct victim one)
{
	CHECK_OK(agentcg_destroy(one.cg, 0, SOON_MS, NULL, 0, &why));
}

static void begins_not(int result)
{
	const char *flaw = check_error_flaw(&why, -ENOMEM);

	disarm();
	CHECK_EQ(result, -ENOMEM);
	if (flaw)
		CHECK_FAIL("reterr %s: %.184s", flaw, why.message);
	/* Where nothing can be allocated nothing is tried. */
	CHECK_EQ(failed, 0);
}

/* The call takes &why for its error. */
#define BEGINS_NOT(call) \
	do { \
		in_call = #call; \
		arm(1); \
		begins_not(call); \
	} while (0)

static void wait_in(agentcg *group, int threads_at_most, pthread_t *waiting, int *count)
{
	pthread_attr_t attributes;
	char text[8];

	CHECK_EQ(pthread_attr_init(&attributes), 0);
	CHECK_EQ(pthread_attr_setstacksize(&attributes, 128 << 10), 0);
	for (*count = 0; agentcg_read_file(group, "no.such_file", text, sizeof(text), NULL) != -ENOMEM; ++*count) {
		CHECK(*count < threads_at_most);
		CHECK_EQ(pthread_create(&waiting[*count], &attributes, wait_long, group), 0);
	}
	pthread_attr_destroy(&attributes);
}

/* As many calls are under way as there are arenas, and no more can be mapped. */
static void where_no_call_can_begin_those_that_kill_send_the_kill_all_the_same(void)
{
	static pthread_t waiting[2000];
	struct victim waited_for = a_victim(), killed = a_victim(), ended = a_victim(), destroyed = a_victim(),
	              measured = a_victim(), spared = a_victim(), left = a_victim();
	agentcg_stats last;
	int64_t start;
	int count, grace_ms = 200;

	agentcg_free(left.cg);
	mode = ALL_FROM_THERE;
	no_mapping = 1;
	wait_in(waited_for.cg, 2000, waiting, &count);

	BEGINS_NOT(agentcg_kill_all(killed.cg, SOON_MS, &why));
	check_killed(killed.child);
	BEGINS_NOT(agentcg_destroy(destroyed.cg, 0, SOON_MS, NULL, 0, &why));
	check_killed(destroyed.child);
	BEGINS_NOT(agentcg_destroy(measured.cg, 0, SOON_MS, &last, sizeof(last), &why));
	check_killed(measured.child);
	start = now_ms();
	BEGINS_NOT(agentcg_terminate(ended.cg, grace_ms, SOON_MS, &why));
	CHECK(now_ms() - start >= grace_ms);
	check_killed(ended.child);

	/* What would be refused kills nobody. */
	BEGINS_NOT(agentcg_destroy(spared.cg, AGENTCG_DESTROY_IF_EMPTY, SOON_MS, NULL, 0, &why));
	BEGINS_NOT(agentcg_destroy(spared.cg, 1ull << 63, SOON_MS, NULL, 0, &why));
	BEGINS_NOT(agentcg_destroy(spared.cg, 0, -2, NULL, 0, &why));
	BEGINS_NOT(agentcg_destroy(spared.cg, 0, SOON_MS, NULL, sizeof(last), &why));
	BEGINS_NOT(agentcg_kill_all(spared.cg, -2, &why));
	BEGINS_NOT(agentcg_terminate(spared.cg, -2, SOON_MS, &why));
	BEGINS_NOT(agentcg_terminate(spared.cg, 0, -2, &why));
	BEGINS_NOT(agentcg_kill_all(NULL, SOON_MS, &why));
	BEGINS_NOT(agentcg_terminate(NULL, 0, SOON_MS, &why));
	BEGINS_NOT(agentcg_destroy(NULL, 0, SOON_MS, NULL, 0, &why));
	/* Of the groups that it looks for it knows nothing yet. */
	BEGINS_NOT(agentcg_reap(NULL, SOON_MS, &why));
	CHECK_EQ(waitpid(spared.child, NULL, WNOHANG), 0);
	CHECK_EQ(waitpid(left.child, NULL, WNOHANG), 0);
	in_call = "no call";

	kill_and_reap(waited_for.child);
	for (int i = 0; i < count; i++)
		CHECK_EQ(pthread_join(waiting[i], NULL), 0);
	no_mapping = 0;
	/* Each handle is as good as before. */
	end_victim(waited_for);
	end_victim(killed);
	end_victim(ended);
	end_victim(destroyed);
	end_victim(measured);
	end_victim(spared);
	check_killed(spared.child);
	CHECK_EQ(agentcg_reap(NULL, SOON_MS, &why), 1);
	check_killed(left.child);
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
	RUN(where_no_call_can_begin_those_that_kill_send_the_kill_all_the_same);
	RUN(a_hundred_calls_at_once_do_not_use_up_the_reserve);
	RUN(a_panic_prints_nothing);
	destroy_group(guarded);
	return 0;
}
