/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A host whose malloc(3) fails. Each allocation of each function fails, alone
 * and together with all later ones, with and without other threads in the
 * library. The function succeeds or returns -ENOMEM, succeeds when it is called
 * again with memory, and the host does not die.
 *
 * The library uses this program's malloc(3), which replaces glibc's. valgrind
 * replaces malloc(3) too, so this test does not run under valgrind.
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

/* glibc's functions, under the names that glibc exports for replacements. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

enum mode { ONLY_THIS, ALL_FROM_THIS, ALL_THREADS };

static __thread int armed;
static __thread long left, failed;
static enum mode mode;
static volatile int all_fail;
static volatile int no_mapping, clock_fails;
static const char *name_part;
static long stride;
static const char *volatile current_call = "no call";
static volatile long number;

static int fails(void)
{
	if (all_fail)
		return 1;
	if (!armed || --left > 0 || (left < 0 && mode == ONLY_THIS))
		return 0;
	failed++;
	all_fail = mode == ALL_THREADS;
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

static void print_where(int signal)
{
	char text[200];
	int length = snprintf(text, sizeof(text), "the host died of signal %d: in %s, allocation %ld, mode %d\n", signal,
	                      current_call, number, mode);

	if (write(STDERR_FILENO, text, (size_t)length) < 0)
		_exit(2);
	_exit(1);
}

/* Posted for each attempt: another thread then calls the library at the same time. */
static sem_t attempts;

/* Returns true if an allocation failed. */
static int survives_failure(const struct call *call, long first)
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
		/* The failure left nothing incomplete. */
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

static void survive_failures(enum mode how)
{
	mode = how;
	FOR_EACH_CALL(call) {
		long first = 1;

		if (!strstr(call->name, name_part))
			continue;
		current_call = call->name;
		/* With other threads only some: 1, 2, 3, 4, 6, 9, ... */
		while (survives_failure(call, first))
			first += how == ALL_THREADS && first > 3 ? first / 2 : stride;
	}
	current_call = "no call";
}

static void any_allocation_may_fail(void)
{
	survive_failures(ONLY_THIS);
}

static void all_allocations_from_any_one_on_may_fail(void)
{
	survive_failures(ALL_FROM_THIS);
}

/* ---- other threads ---- */

static volatile int threads_end;

static void *measure(void *group)
{
	agentcg_stats stats;
	agentcg_error error;
	pid_t pids[8];
	int result;

	for (;;) {
		while (sem_wait(&attempts) != 0)
			CHECK_EQ(errno, EINTR);
		if (threads_end)
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

/* Threads that call the library during the whole test. */
enum { MOST_WAIT = 100 };
static pthread_t threads[MOST_WAIT + 1];
static agentcg *shared_group;
static pid_t shared_child;

static void start_other_threads(int waiting)
{
	pthread_attr_t attributes;

	shared_group = new_group();
	shared_child = pausing_child();
	CHECK_OK(agentcg_move_pid(shared_group, shared_child, &why));
	threads_end = 0;
	CHECK_EQ(sem_init(&attempts, 0, 0), 0);
	CHECK_EQ(pthread_attr_init(&attributes), 0);
	CHECK_EQ(pthread_attr_setstacksize(&attributes, 128 << 10), 0);
	for (int i = 0; i < waiting; i++)
		CHECK_EQ(pthread_create(&threads[i], &attributes, wait_long, shared_group), 0);
	CHECK_EQ(pthread_create(&threads[waiting], &attributes, measure, shared_group), 0);
	pthread_attr_destroy(&attributes);
}

static void end_other_threads(int waiting)
{
	threads_end = 1;
	CHECK_EQ(sem_post(&attempts), 0);
	CHECK_OK(agentcg_kill_all(shared_group, SOON_MS, &why));
	check_killed(shared_child);
	for (int i = 0; i <= waiting; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	destroy_group(shared_group);
}

static void all_allocations_of_all_threads_may_fail(void)
{
	start_other_threads(2);
	survive_failures(ALL_THREADS);
	end_other_threads(2);
}

/* There are more calls than reserves in the library: it maps more reserves, or refuses the call. */
static void a_hundred_concurrent_calls_do_not_exhaust_the_reserve(void)
{
	int result, refused = 0;
	char text[8];
	agentcg *cg = new_group();

	start_other_threads(MOST_WAIT);
	current_call = "one of a hundred calls";
	mode = ALL_FROM_THIS;
	for (int i = 0; i < 200; i++) {
		CHECK_EQ(sem_post(&attempts), 0);
		arm(1);
		result = agentcg_read_file(cg, "no.such_file", text, sizeof(text), &why);
		disarm();
		CHECK_EQ(result, -ENOENT);
	}
	end_other_threads(MOST_WAIT);

	/* The reserves that were mapped are used again without mmap(2). */
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

/* ---- calls that cannot begin ---- */

/* A group with a process, which a call kills or does not kill. */
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

static void check_not_begun(int result)
{
	const char *flaw = check_error_flaw(&why, -ENOMEM);

	disarm();
	CHECK_EQ(result, -ENOMEM);
	if (flaw)
		CHECK_FAIL("reterr %s: %.184s", flaw, why.message);
	/* The call returned before its first allocation. */
	CHECK_EQ(failed, 0);
}

/* The call must pass &why for its error. */
#define CHECK_NOT_BEGUN(call) \
	do { \
		current_call = #call; \
		arm(1); \
		check_not_begun(call); \
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

/* Other calls use all reserves, and no more can be mapped. */
static void calls_that_cannot_begin_kill_nevertheless(void)
{
	static pthread_t waiting[2000];
	struct victim waited_for = a_victim(), killed = a_victim(), ended = a_victim(), destroyed = a_victim(),
	              measured = a_victim(), spared = a_victim(), left = a_victim();
	agentcg_stats last;
	int64_t start;
	int count, grace_ms = 200;

	agentcg_free(left.cg);
	mode = ALL_FROM_THIS;
	no_mapping = 1;
	wait_in(waited_for.cg, 2000, waiting, &count);

	CHECK_NOT_BEGUN(agentcg_kill_all(killed.cg, SOON_MS, &why));
	check_killed(killed.child);
	CHECK_NOT_BEGUN(agentcg_destroy(destroyed.cg, 0, SOON_MS, NULL, 0, &why));
	check_killed(destroyed.child);
	CHECK_NOT_BEGUN(agentcg_destroy(measured.cg, 0, SOON_MS, &last, sizeof(last), &why));
	check_killed(measured.child);
	start = now_ms();
	CHECK_NOT_BEGUN(agentcg_terminate(ended.cg, grace_ms, SOON_MS, &why));
	CHECK(now_ms() - start >= grace_ms);
	check_killed(ended.child);

	/* A call that would be refused kills no process. */
	CHECK_NOT_BEGUN(agentcg_destroy(spared.cg, AGENTCG_DESTROY_IF_EMPTY, SOON_MS, NULL, 0, &why));
	CHECK_NOT_BEGUN(agentcg_destroy(spared.cg, 1ull << 63, SOON_MS, NULL, 0, &why));
	CHECK_NOT_BEGUN(agentcg_destroy(spared.cg, 0, -2, NULL, 0, &why));
	CHECK_NOT_BEGUN(agentcg_destroy(spared.cg, 0, SOON_MS, NULL, sizeof(last), &why));
	CHECK_NOT_BEGUN(agentcg_kill_all(spared.cg, -2, &why));
	CHECK_NOT_BEGUN(agentcg_terminate(spared.cg, -2, SOON_MS, &why));
	CHECK_NOT_BEGUN(agentcg_terminate(spared.cg, 0, -2, &why));
	CHECK_NOT_BEGUN(agentcg_kill_all(NULL, SOON_MS, &why));
	CHECK_NOT_BEGUN(agentcg_terminate(NULL, 0, SOON_MS, &why));
	CHECK_NOT_BEGUN(agentcg_destroy(NULL, 0, SOON_MS, NULL, 0, &why));
	/* It needs memory to find the groups. */
	CHECK_NOT_BEGUN(agentcg_reap(NULL, SOON_MS, &why));
	CHECK_EQ(waitpid(spared.child, NULL, WNOHANG), 0);
	CHECK_EQ(waitpid(left.child, NULL, WNOHANG), 0);
	current_call = "no call";

	kill_and_reap(waited_for.child);
	for (int i = 0; i < count; i++)
		CHECK_EQ(pthread_join(waiting[i], NULL), 0);
	no_mapping = 0;
	/* Each handle is still valid. */
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
	/* std panics if the clock cannot be read. */
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

/* usage: no_memory [NAME-PART [STRIDE]]: for the calls whose names contain NAME-PART, fails every STRIDE-th allocation. */
int main(int count, char **arguments)
{
	struct sigaction action = { .sa_handler = print_where };

	agentcg *guarded;

	name_part = count > 1 ? arguments[1] : "";
	stride = count > 2 ? strtol(arguments[2], NULL, 10) : 1;
	CHECK(stride >= 1);
	CHECK_EQ(sigaction(SIGABRT, &action, NULL), 0);
	CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
	/* This agent keeps the guard and the inotify instance, of which a process has one each. */
	CHECK_OK(agentcg_new(NULL, NULL, NULL, 0, AGENTCG_NEW_GUARD, &guarded, &why));
	CHECK_OK(agentcg_event_fd(guarded, AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_GONE, &why));
	RUN(any_allocation_may_fail);
	RUN(all_allocations_from_any_one_on_may_fail);
	RUN(all_allocations_of_all_threads_may_fail);
	RUN(calls_that_cannot_begin_kill_nevertheless);
	RUN(a_hundred_concurrent_calls_do_not_exhaust_the_reserve);
	RUN(a_panic_prints_nothing);
	destroy_group(guarded);
	return 0;
}
