/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "watched.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* No call waits longer than SOON_MS; the rest is for an emulated machine under load. */
#define HANG_MS (SOON_MS + 100000)

__thread struct worker *self;

static struct worker workers[THREADS];
static void (*turn_of_all)(void), (*last_of_all)(void);
static int stopped;

/* ---- the calls ---- */

static struct site end_of_sites;
static struct site *sites = &end_of_sites;
static pthread_mutex_t sites_lock = PTHREAD_MUTEX_INITIALIZER;

static void enlist(struct site *site)
{
	pthread_mutex_lock(&sites_lock);
	if (!site->next) {
		site->next = sites;
		sites = site;
	}
	pthread_mutex_unlock(&sites_lock);
}

void call_begins(struct site *site)
{
	if (!self)
		return;
	__atomic_store_n(&self->since_ms, now_ms(), __ATOMIC_SEQ_CST);
	__atomic_store_n(&self->doing, site->text, __ATOMIC_SEQ_CST);
}

static int is_allowed(int result, const int *allowed)
{
	if (result >= 0 || (result == -ENODEV && self && self->guest))
		return 1;
	while (*allowed && *allowed != result)
		allowed++;
	return *allowed != 0;
}

void call_ends(struct site *site, int result, const int *allowed, const agentcg_error *error)
{
	const char *flaw;

	if (self) {
		__atomic_store_n(&self->since_ms, now_ms(), __ATOMIC_SEQ_CST);
		__atomic_store_n(&self->doing, NULL, __ATOMIC_SEQ_CST);
	}
	enlist(site);
	__atomic_fetch_add(&site->calls, 1, __ATOMIC_RELAXED);
	if (result < 0 && result > -160)
		__atomic_fetch_add(&site->failures[-result], 1, __ATOMIC_RELAXED);
	if (result >= 0 && !check_untouched(error, sizeof(*error)))
		CHECK_FAIL("%s\n\tsucceeded and wrote to reterr", site->text);
	if (!is_allowed(result, allowed))
		CHECK_FAIL("%s\n\treturned %d (%s)%s%.184s", site->text, result, strerror(-result),
		           strstr(site->text, "&why") ? ":\n\t" : "", strstr(site->text, "&why") ? error->message : "");
	if (result >= 0 || !strstr(site->text, "&why"))
		return;
	flaw = check_error_flaw(error, result);
	if (flaw)
		CHECK_FAIL("%s\n\treturned %d, but reterr %s: \"%.184s\"", site->text, result, flaw, error->message);
}

static void print_calls(void)
{
	unsigned long total = 0;

	for (struct site *site = sites; site != &end_of_sites; site = site->next) {
		if (site->calls == 0)
			continue;
		total += site->calls;
		fprintf(stderr, "    %8lu %.60s", site->calls, site->text);
		for (int code = 0; code < 160; code++)
			if (site->failures[code])
				fprintf(stderr, ", %lu: %s", site->failures[code], strerror(code));
		fputc('\n', stderr);
		site->calls = 0;
		memset(site->failures, 0, sizeof(site->failures));
	}
	fprintf(stderr, "    %8lu calls by %d threads\n", total, THREADS);
}

/* ---- the threads ---- */

uint64_t random_below(uint64_t bound)
{
	static uint64_t outside = 1;   /* on the main thread */
	uint64_t *state = self ? &self->random : &outside;
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return x % bound;
}

static void *work(void *worker)
{
	self = worker;
	self->tid = (pid_t)syscall(SYS_gettid);
	while (!__atomic_load_n(&stopped, __ATOMIC_RELAXED))
		turn_of_all();
	last_of_all();
	__atomic_store_n(&self->ended, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* ---- a call that hangs ---- */

static int shown;

/* Runs on the thread that it shows. */
static void show_stack(int signal)
{
	void *frames[64];

	(void)signal;
	backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
	__atomic_store_n(&shown, 1, __ATOMIC_SEQ_CST);
}

static void show_file(pid_t tid, const char *name)
{
	char path[64], text[2000];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", (int)tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (got > 0)
		fprintf(stderr, "  %s: %.*s\n", name, (int)got, text);
}

static void pause_ms(long ms)
{
	struct timespec span = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&span, &span) != 0 && errno == EINTR)
		;
}

static void report_hang(const struct worker *hanging)
{
	fprintf(stderr, "thread %d hangs\n", (int)hanging->tid);
	for (const struct worker *w = workers; w < workers + THREADS; w++) {
		const char *doing = __atomic_load_n(&w->doing, __ATOMIC_SEQ_CST);

		fprintf(stderr, "thread %d, %s for %lld ms: %s\n", (int)w->tid, w->ended ? "ended" : "running",
		        (long long)(now_ms() - w->since_ms), doing ? doing : "between two calls");
		if (w->ended)
			continue;
		show_file(w->tid, "wchan");
		show_file(w->tid, "syscall");
		show_file(w->tid, "stack");
		show_file(w->tid, "children");
		__atomic_store_n(&shown, 0, __ATOMIC_SEQ_CST);
		syscall(SYS_tgkill, getpid(), w->tid, SIGUSR2);
		/* A thread that waits for the child of a vfork(2) does not handle signals. */
		for (int tries = 0; tries < 20 && !__atomic_load_n(&shown, __ATOMIC_SEQ_CST); tries++)
			pause_ms(100);
	}
	fprintf(stderr, "the processes in the cgroups of agents:\n");
	fflush(stderr);
	if (system("grep -s synwire /proc/[0-9]*/cgroup; ps -eo pid,ppid,stat,wchan:32,args") != 0)
		fprintf(stderr, "they could not be listed\n");
	_exit(1);
}

static int all_ended(int64_t now)
{
	int ended = 0;

	for (struct worker *w = workers; w < workers + THREADS; w++) {
		if (__atomic_load_n(&w->ended, __ATOMIC_SEQ_CST))
			ended++;
		else if (now - __atomic_load_n(&w->since_ms, __ATOMIC_SEQ_CST) > HANG_MS)
			report_hang(w);
	}
	return ended == THREADS;
}

void run_watched(int seconds, uint64_t seed, void (*turn)(void), void (*last)(void))
{
	struct sigaction show = { .sa_handler = show_stack, .sa_flags = SA_RESTART }, before;
	int64_t began = now_ms();
	void *frame;

	backtrace(&frame, 1);   /* the first call loads libgcc */
	CHECK_EQ(sigaction(SIGUSR2, &show, &before), 0);
	memset(workers, 0, sizeof(workers));
	stopped = 0;
	turn_of_all = turn;
	last_of_all = last;
	for (int i = 0; i < THREADS; i++) {
		workers[i].since_ms = began;
		workers[i].random = (seed + (uint64_t)i + 1) * 0x9e3779b97f4a7c15u;
		CHECK_EQ(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	while (!all_ended(now_ms())) {
		if (now_ms() - began >= seconds * 1000)
			__atomic_store_n(&stopped, 1, __ATOMIC_RELAXED);
		pause_ms(50);
	}
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(workers[i].thread, NULL), 0);
	CHECK_EQ(sigaction(SIGUSR2, &before, NULL), 0);
	print_calls();
}
