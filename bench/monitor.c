/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Measures the cost of monitoring a thousand and ten thousand agents, and the time until their ends are reported. */
#include "measure.h"

#include <agentcg.h>
#include <dirent.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define AGENTS 1000
#define MANY_AGENTS 10000
/* Each agent has at most five: the directory, cgroup.kill, cgroup.events, and the two files that BASIC reads. */
#define MANY_DESCRIPTORS (2 * 5 * MANY_AGENTS)
#define POLLING_S 5
#define REPORTED_WITHIN_MS 50
#define END_TIMEOUT_MS 10000

static const char *parent;
static agentcg *agents[MANY_AGENTS], *watchers[AGENTS];
static agentcg_error error;

static void or_die(int result, const char *what)
{
	if (result < 0)
		errx(2, "%s: %s", what, error.message);
}

static double cpu_ms(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e3 +
	       (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e3;
}

/* The library caches descriptors only while half of the soft limit is left to the host. Returns the limit. */
static rlim_t make_room_for_descriptors(void)
{
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	if (files.rlim_max < MANY_DESCRIPTORS) {
		struct rlimit more = { MANY_DESCRIPTORS, MANY_DESCRIPTORS };

		/* Only root may do that. */
		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			files = more;
	}
	if (setrlimit(RLIMIT_NOFILE, &files) != 0)
		err(2, "setrlimit");
	printf("with %lu descriptors\n", (unsigned long)files.rlim_cur);
	return files.rlim_cur;
}

static void expire_each_second(int timer)
{
	struct itimerspec second = { { 1, 0 }, { 1, 0 } };

	if (timer < 0 || timerfd_settime(timer, 0, &second, NULL) != 0)
		err(2, "timerfd");
}

/* Returns the CPU time of the polling of this many agents in thousandths of a core. */
static double polling(int count, uint64_t which)
{
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	double began_cpu = 0, began = 0;
	uint64_t expired;

	expire_each_second(timer);
	for (int second = 0; second <= POLLING_S; second++) {
		/* The first round opens the files. */
		if (second == 1) {
			began_cpu = cpu_ms();
			began = now_ns();
		}
		for (int i = 0; i < count; i++) {
			agentcg_stats stats;

			or_die(agentcg_read_stats(agents[i], which, &stats, sizeof(stats), &error), "read_stats");
		}
		if (read(timer, &expired, sizeof(expired)) < 0)
			err(2, "timerfd");
	}
	close(timer);
	return (cpu_ms() - began_cpu) / ((now_ns() - began) / 1e9);
}

static int watch(uint64_t which)
{
	int set = epoll_create1(EPOLL_CLOEXEC);

	for (int i = 0; i < AGENTS; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.u32 = (uint32_t)i };
		char uuid[AGENTCG_UUID_SIZE];
		int fd;

		agentcg_uuid(agents[i], uuid, sizeof(uuid));
		or_die(agentcg_open(parent, uuid, 0, &watchers[i], &error), "open");
		or_die(fd = agentcg_event_fd(watchers[i], which, &error), "event_fd");
		if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) != 0)
			err(2, "epoll_ctl");
	}
	return set;
}

/* Runs the loop until the given time, or until all wanted events of the agent have been reported. */
static void run_loop(int set, double until_ns, int agent, uint64_t wanted)
{
	static uint64_t reported[AGENTS];
	struct epoll_event ready[64];

	while (now_ns() < until_ns && (agent < 0 || (reported[agent] & wanted) != wanted)) {
		int count = epoll_wait(set, ready, 64, 1 + (int)((until_ns - now_ns()) / 1e6));

		for (int i = 0; i < count; i++) {
			uint64_t events;
			int one = (int)ready[i].data.u32;
			int came = agentcg_next_events(watchers[one], 0, &events, &error);

			or_die(came, "next_events");
			if (came)
				reported[one] |= events;
		}
	}
	if (agent >= 0 && (reported[agent] & wanted) != wanted)
		errx(1, "an end was not reported within %d ms", END_TIMEOUT_MS);
}

static double end_reported_within_ms(int set, int agent)
{
	pid_t pid = fork();

	if (pid < 0)
		err(2, "fork");
	if (pid == 0) {
		if (agentcg_move_self(agents[agent]) != 0)
			_exit(1);
		_exit(0);
	}
	int status;

	if (waitpid(pid, &status, 0) != pid || status != 0)
		errx(2, "a child could not enter its agent");
	double ended = now_ns();

	or_die(agentcg_destroy(agents[agent], 0, END_TIMEOUT_MS, NULL, 0, &error), "destroy");
	run_loop(set, ended + END_TIMEOUT_MS * 1e6, agent, AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_GONE);
	return (now_ns() - ended) / 1e6;
}

static void make(int count)
{
	for (int i = 0; i < count; i++)
		or_die(agentcg_new(parent, NULL, NULL, 0, 0, &agents[i], &error), "new");
}

static int open_descriptors(void)
{
	DIR *list = opendir("/proc/self/fd");
	int count = 0;

	if (!list)
		err(2, "/proc/self/fd");
	while (readdir(list))
		count++;
	closedir(list);
	return count;
}

static void many_agents(void)
{
	int before = open_descriptors();

	make(MANY_AGENTS);
	double basic = polling(MANY_AGENTS, AGENTCG_STAT_BASIC);
	double descriptors = (double)(open_descriptors() - before) / MANY_AGENTS;

	target("BASIC of 10,000 agents takes at most 50/1000 of a core", basic, basic <= 50);
	/* One more is the place. */
	target("descriptors of each, at most 5", descriptors, descriptors < 5.01);
	for (int i = 0; i < MANY_AGENTS; i++)
		or_die(agentcg_destroy(agents[i], 0, 0, NULL, 0, &error), "destroy");
}

int main(int argc, char **argv)
{
	static double ends[AGENTS];
	int late = 0;

	if (argc != 2)
		errx(2, "usage: %s PARENT", argv[0]);
	parent = argv[1];
	rlim_t descriptors = make_room_for_descriptors();

	make(AGENTS);
	printf("a thousand agents, statistics read once a second for %d s:\n", POLLING_S);
	double basic = polling(AGENTS, AGENTCG_STAT_BASIC);

	target("BASIC of 1,000 agents takes at most 10/1000 of a core", basic, basic <= 10);
	printf("        ALL of them takes %.3g/1000\n", polling(AGENTS, AGENTCG_STAT_ALL));

	int set = watch(AGENTCG_EVENT_EMPTY | AGENTCG_EVENT_GONE);

	/* The library reads the files of a new watch again at growing intervals. After three seconds these are long. */
	run_loop(set, now_ns() + 3e9, -1, 0);
	double cpu = cpu_ms();

	run_loop(set, now_ns() + POLLING_S * 1e9, -1, 0);
	printf("        watching 1,000 empty agents takes %.3g/1000 of a core\n", (cpu_ms() - cpu) / POLLING_S);
	for (int i = 0; i < AGENTS; i++) {
		ends[i] = end_reported_within_ms(set, i);
		late += ends[i] > REPORTED_WITHIN_MS;
	}
	sort(ends, AGENTS);
	printf("1,000 agents, each destroyed immediately after the end of its process:\n"
	       "        ends reported after %.3g ms (median), %.3g (990th), %.3g (longest)\n",
	       ends[AGENTS / 2], ends[989], ends[AGENTS - 1]);
	target("ends reported later than 50 ms", late, late == 0);
	for (int i = 0; i < AGENTS; i++)
		agentcg_free(watchers[i]);
	if (descriptors >= MANY_DESCRIPTORS)
		many_agents();
	else
		printf("10,000 agents are not measured: that needs %d descriptors\n", MANY_DESCRIPTORS);
	return missed != 0;
}
