/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A host may have closed its standard descriptors. No descriptor of the library has one of their numbers, not even
 * between two system calls: the host's output would be written to a file of a cgroup, and a program that another thread
 * starts would inherit the descriptor as its input. A tracer stops the process before and after each system call of
 * every function, and checks the three numbers.
 * Usage: stdio_closed [BITS]   with these numbers closed, 7 for all three; without BITS each combination
 */
#include "spawning.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the host: it opens its own descriptors before it closes the standard ones ---- */

struct host {
	int closed;        /* the numbers, as bits */
	pid_t children[4];
	int pidfd;
};

static void start_programs(agentcg *cg)
{
	const uint64_t flags[] = { 0, AGENTCG_SPAWN_SEARCH_PATH, AGENTCG_SPAWN_CONTAIN | AGENTCG_SPAWN_NEW_SESSION };

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		agentcg_spawn_options options = OWN;
		int pidfd = -1;
		pid_t pid;

		options.flags = flags[i];
		if (i == 0)
			options.stdin_fd = options.stdout_fd = options.stderr_fd = AGENTCG_DEVNULL;
		/* Containment may be unavailable. */
		if (agentcg_spawn(cg, "/bin/true", WORDS("true"), NULL, &options, sizeof(options), &pid, &pidfd, &why) == 0) {
			CHECK(pidfd > 2);
			CHECK_EQ(reap(pid), 0);
			close(pidfd);
		} else {
			CHECK(flags[i] & AGENTCG_SPAWN_CONTAIN);
		}
	}
	CHECK_ERR(agentcg_spawn(cg, "/nowhere", WORDS("x"), NULL, NULL, 0, NULL, NULL, &why), -ENOENT);
}

static void watch_events(agentcg *cg)
{
	uint64_t events;

	CHECK(agentcg_event_fd(cg, AGENTCG_EVENT_FROZEN | AGENTCG_EVENT_GONE | AGENTCG_EVENT_OOM_KILL, &why) > 2);
	CHECK_OK(agentcg_freeze(cg, SOON_MS, &why));
	CHECK_OK(agentcg_thaw(cg, SOON_MS, &why));
	CHECK_EQ(agentcg_next_events(cg, SOON_MS, &events, &why), 1);
}

static void call_without_a_handle(void)
{
	static agentcg_diagnosis diagnosis;
	agentcg_entry entries[4];
	char text[PATH_SIZE];
	agentcg *cg = NULL;

	CHECK(agentcg_version_number() > 0 && agentcg_version_string() != NULL);
	CHECK_EQ(agentcg_is_available(), 1);
	CHECK_OK(agentcg_discover_parent(text, sizeof(text), &why));
	CHECK(agentcg_diagnose(&diagnosis, sizeof(diagnosis), text, sizeof(text)) >= 0);
	CHECK_OK(agentcg_list(NULL, entries, sizeof(entries[0]), 4, &why));
	CHECK_OK(agentcg_reap(NULL, SOON_MS, &why));
	CHECK_ERR(agentcg_new("/dev/shm", NULL, NULL, 0, 0, &cg, &why), -ENODEV);
	/* The library looks for a manager, also if there is none. */
	if (agentcg_new(NULL, NULL, NULL, 0, AGENTCG_NEW_SYSTEMD, &cg, &why) == 0)
		destroy_group(cg);
}

static void call_every_function(struct host *host)
{
	const agentcg_limits limits = {
		.mask = AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_PIDS_MAX, .memory_max_bytes = 64 << 20, .pids_max = 32,
	};
	agentcg_limits found;
	char text[PATH_SIZE];
	agentcg_stats stats;
	agentcg_info info;
	agentcg *cg, *guest;

	call_without_a_handle();
	CHECK_OK(agentcg_new(NULL, NULL, &limits, sizeof(limits), AGENTCG_NEW_GUARD, &cg, &why));
	CHECK(agentcg_path(cg, text, sizeof(text)) > 0);
	CHECK(agentcg_uuid(cg, text, sizeof(text)) > 0);
	CHECK(agentcg_fd(cg) > 2);
	CHECK_OK(agentcg_open(NULL, text, 0, &guest, &why));
	agentcg_free(guest);
	CHECK_OK(agentcg_get_info(cg, &info, sizeof(info), &why));
	CHECK_EQ(info.guarded, 1);
	CHECK_OK(agentcg_read_stats(cg, AGENTCG_STAT_ALL, &stats, sizeof(stats), &why));
	CHECK_OK(agentcg_set_limits(cg, &limits, sizeof(limits), 0, &why));
	CHECK_OK(agentcg_get_limits(cg, &found, sizeof(found), &why));
	limit_place_briefly();
	CHECK_OK(agentcg_write_file(cg, "pids.max", "40", &why));
	CHECK_OK(agentcg_read_file(cg, "pids.max", text, sizeof(text), &why));
	CHECK_OK(agentcg_move_pid(cg, host->children[0], &why));
	if (agentcg_move_pidfd(cg, host->pidfd, &why) < 0)   /* Linux 5.3 */
		CHECK_OK(agentcg_move_pid(cg, host->children[1], &why));
	CHECK_EQ(agentcg_pids(cg, NULL, 0, &why), 2);
	CHECK_EQ(agentcg_contains(cg, host->children[0], &why), 1);
	CHECK_OK(agentcg_move_out(cg, host->children[0], &why));
	CHECK_OK(agentcg_move_pid(cg, host->children[0], &why));
	CHECK_EQ(agentcg_signal_all(cg, 0, &why), 2);
	CHECK_ERR(agentcg_wait_empty(cg, 1, &why), -ETIMEDOUT);
	watch_events(cg);
	CHECK_EQ(agentcg_terminate(cg, SOON_MS, SOON_MS, &why), 0);
	CHECK_OK(agentcg_move_pid(cg, host->children[2], &why));
	CHECK_OK(agentcg_kill_all(cg, SOON_MS, &why));
	for (int i = 0; i < 3; i++)
		reap(host->children[i]);
	start_programs(cg);
	CHECK_OK(agentcg_move_pid(cg, host->children[3], &why));
	CHECK_OK(agentcg_destroy(cg, 0, SOON_MS, &stats, sizeof(stats), &why));
	reap(host->children[3]);

	/* This is last, because the process stays in the group. */
	cg = new_group();
	CHECK_EQ(agentcg_move_self(cg), 0);
}

static void run_with_some_closed(void *argument)
{
	struct host *host = argument;
	FILE *report = fdopen(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 50), "w");

	CHECK(report != NULL);
	stderr = report;
	setvbuf(stderr, NULL, _IOLBF, 0);
	for (int i = 0; i < 4; i++)
		host->children[i] = pausing_child();
	host->pidfd = fcntl((int)syscall(SYS_pidfd_open, host->children[1], 0), F_DUPFD_CLOEXEC, 51);
	for (int fd = 0; fd < 3; fd++)
		if (host->closed >> fd & 1)
			close(fd);
	CHECK_EQ(ptrace(PTRACE_TRACEME, 0, NULL, NULL), 0);
	raise(SIGSTOP);
	call_every_function(host);
	_exit(0);
}

/* ---- the tracer ---- */

/* The file that this descriptor of the process is open on; "" if it is closed. */
static void read_link_of(pid_t pid, int fd, char text[PATH_SIZE])
{
	char path[64];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
	length = readlink(path, text, PATH_SIZE - 1);
	text[length < 0 ? 0 : length] = '\0';
}

static int is_path_only(pid_t pid, int fd)
{
	unsigned int flags = 0;
	char path[64], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)pid, fd);
	file = fopen(path, "re");
	CHECK(file != NULL);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "flags: %o", &flags);
	fclose(file);
	return (flags & O_PATH) && (flags & O_CLOEXEC);
}

static void check_standard_ones(pid_t pid, char before[3][PATH_SIZE])
{
	char now[PATH_SIZE];

	for (int fd = 0; fd < 3; fd++) {
		read_link_of(pid, fd, now);
		if (strcmp(now, before[fd]) == 0)
			continue;
		if (before[fd][0] != '\0' || !is_path_only(pid, fd))
			CHECK_FAIL("descriptor %d is \"%s\" now, and was \"%s\" before", fd, now, before[fd]);
	}
}

/* Run the process to its end, and stop it at each system call. Returns the number of stops. */
static int watch_each_system_call(pid_t pid)
{
	char before[3][PATH_SIZE];
	int status, stops = 0;
	intptr_t signal = 0;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	CHECK_EQ(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL), 0);
	for (int fd = 0; fd < 3; fd++)
		read_link_of(pid, fd, before[fd]);
	for (;;) {
		CHECK_EQ(ptrace(PTRACE_SYSCALL, pid, NULL, signal), 0);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		if (!WIFSTOPPED(status)) {
			CHECK_EQ(status, 0);
			return stops;
		}
		signal = WSTOPSIG(status) == (SIGTRAP | 0x80) ? 0 : WSTOPSIG(status);
		check_standard_ones(pid, before);
		stops++;
	}
}

static int first = 1, last = 7;

static void no_descriptor_has_a_standard_number(void)
{
	for (int closed = first; closed <= last; closed++) {
		struct host host = { .closed = closed };
		int stops = watch_each_system_call(child_that_runs(run_with_some_closed, &host));

		CHECK(stops > 1000);
		/* The group in which the process has ended. */
		CHECK_EQ(agentcg_reap(NULL, SOON_MS, &why), 1);
	}
}

int main(int argc, char **argv)
{
	if (argc > 1)
		first = last = atoi(argv[1]);
	CHECK(first >= 0 && last <= 7);
	RUN(no_descriptor_has_a_standard_number);
	return 0;
}
