// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * restart LOG: the program of a service that adopts the agents of the process before it, by the lines of docs/restart.md, which
 * tests/lab/restart puts in adopt.inc and status.inc. If there are none, it makes one. It writes a line for each event to LOG.
 */
#include <agentcg.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static agentcg_error error;
static FILE *events_log;
static agentcg *watched;
static int pidfd = -1;
static struct pollfd empty;

static void watch(agentcg *cg)
{
	agentcg_limits limits = { 0 };
	char uuid[AGENTCG_UUID_SIZE];
	pid_t pid = 0;

	if (watched)
		errx(1, "there are two agents");
	watched = cg;
	empty.fd = agentcg_event_fd(cg, AGENTCG_EVENT_EMPTY, &error);
	empty.events = POLLIN;
	if (empty.fd < 0 || agentcg_pids(cg, &pid, 1, &error) != 1 || agentcg_uuid(cg, uuid, sizeof(uuid)) < 0 ||
	    agentcg_get_limits(cg, &limits, sizeof(limits), &error) < 0)
		errx(1, "%s", error.message);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		err(1, "pidfd_open");
	fprintf(events_log, "%s %d pids.max %llu\n", uuid, (int)pid, (unsigned long long)limits.pids_max);
}

static void make(void)
{
	agentcg_limits limits = { .mask = AGENTCG_LIMIT_PIDS_MAX, .pids_max = 17 };
	agentcg_new_options options = { .limits = &limits, .limits_size = sizeof(limits), .tag = "jobs" };
	agentcg_spawn_options spawn = AGENTCG_SPAWN_OPTIONS_INIT;
	char *argv[] = { "/bin/sleep", "infinity", NULL };
	agentcg *cg;

	if (agentcg_new_with(&options, sizeof(options), &cg, &error) < 0 ||
	    agentcg_spawn(cg, argv[0], argv, NULL, &spawn, sizeof(spawn), NULL, NULL, &error) < 0)
		errx(1, "%s", error.message);
	fputs("made ", events_log);
	watch(cg);
}

static void adopt(void)
{
	agentcg_error err;              /* The page names it so. It hides err(3). */
	agentcg *cg;

	fputs("adopted ", events_log);
#include "adopt.inc"
	if (!watched)
		errx(1, "of %d agents none is adopted", count);
}

static void finish(void)
{
	agentcg_stats last = { 0 };
	int status;

#include "status.inc"
	if (agentcg_destroy(watched, 0, 5000, &last, sizeof(last), &error) < 0)
		errx(1, "%s", error.message);
	fprintf(events_log, "ended with %d, measured %s\n", status == AGENTCG_NO_WAIT_STATUS ? -1 : status,
		(last.mask & AGENTCG_STAT_PIDS_PEAK) && last.pids_peak > 0 ? "yes" : "no");
}

int main(int argc, char **argv)
{
	uint64_t events = 0;
	agentcg_entry found;
	int count;

	events_log = argc == 2 ? fopen(argv[1], "ae") : NULL;
	if (!events_log)
		err(1, "usage: restart LOG");
	setvbuf(events_log, NULL, _IOFBF, BUFSIZ);
	count = agentcg_list_tagged(NULL, "jobs", &found, sizeof(found), 1, &error);
	if (count < 0)
		errx(1, "%s", error.message);
	if (count == 0)
		make();
	else
		adopt();
	fflush(events_log);
	while (!(events & AGENTCG_EVENT_EMPTY)) {
		if (poll(&empty, 1, -1) < 0 && errno != EINTR)
			err(1, "poll");
		if (agentcg_next_events(watched, 0, &events, &error) < 0)
			errx(1, "%s", error.message);
	}
	finish();
	fflush(events_log);
	for (;;)
		pause();
}
