/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The library does not print, changes nothing of its host's process, and waits for none of the host's children. */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* State of the host that the library must not change. */
struct host {
	struct sigaction actions[NSIG];
	sigset_t blocked;
	mode_t umask;
	char directory[PATH_SIZE];
	char **environment;
	char limits[4096];       /* /proc/self/limits */
	int threads;
	unsigned alarm_seconds;
};

static struct host look_at_host(void)
{
	struct host host;
	char status[4096];

	memset(&host, 0, sizeof(host));
	for (int signal = 1; signal < NSIG; signal++)
		sigaction(signal, NULL, &host.actions[signal]);
	sigprocmask(SIG_SETMASK, NULL, &host.blocked);
	host.umask = umask(0);
	umask(host.umask);
	CHECK(getcwd(host.directory, sizeof(host.directory)) != NULL);
	host.environment = environ;
	CHECK(read_in(AT_FDCWD, "/proc/self/limits", host.limits, sizeof(host.limits)) > 0);
	CHECK(read_in(AT_FDCWD, "/proc/self/status", status, sizeof(status)) > 0);
	CHECK_EQ(sscanf(strstr(status, "Threads:"), "Threads: %d", &host.threads), 1);
	host.alarm_seconds = alarm(0);
	return host;
}

static int children_ended;

static void count_children(int signal)
{
	(void)signal;
	children_ended++;
}

/* Functions that succeed and that fail, with processes that live and die. */
static void use_the_library_in_many_ways(void)
{
	uint64_t events;
	const agentcg_limits limits = {
		.mask = AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_PIDS_MAX,
		.memory_max_bytes = 64 << 20, .pids_max = 32,
	};
	agentcg *cg, *none = NULL;
	char text[PATH_SIZE];
	agentcg_stats stats;
	agentcg_info info;
	pid_t child = pausing_child(), second = pausing_child(), zombie = zombie_child();

	agentcg_version_number();
	agentcg_version_string();
	CHECK(agentcg_is_available());
	CHECK_OK(agentcg_discover_parent(text, sizeof(text), &why));
	limit_place_briefly();
	CHECK_ERR(agentcg_new("/dev/shm", NULL, NULL, 0, 0, &none, &why), -ENODEV);
	CHECK_OK(agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why));
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_OK(agentcg_move_pid(cg, second, &why));
	CHECK_ERR(agentcg_move_pid(cg, zombie, &why), -ESRCH);
	CHECK(agentcg_uuid(cg, text, sizeof(text)) > 0);
	CHECK(agentcg_path(cg, text, sizeof(text)) > 0);
	CHECK(agentcg_fd(cg) >= 0);
	CHECK_OK(agentcg_get_info(cg, &info, sizeof(info), &why));
	CHECK_OK(agentcg_read_stats(cg, AGENTCG_STAT_ALL, &stats, sizeof(stats), &why));
	CHECK_ERR(agentcg_wait_empty(cg, 120, &why), -ETIMEDOUT);

	/* The host waits for the processes that the library kills. */
	CHECK_OK(agentcg_event_fd(cg, AGENTCG_EVENT_FROZEN | AGENTCG_EVENT_GONE, &why));
	CHECK_OK(agentcg_freeze(cg, SOON_MS, &why));
	CHECK_OK(agentcg_thaw(cg, SOON_MS, &why));
	CHECK_EQ(agentcg_next_events(cg, SOON_MS, &events, &why), 1);
	CHECK(agentcg_signal_all(cg, 0, &why) > 0);
	CHECK(agentcg_pids(cg, NULL, 0, &why) > 0);
	CHECK_EQ(agentcg_contains(cg, child, &why), 1);
	CHECK_OK(agentcg_move_out(cg, child, &why));
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_EQ(agentcg_terminate(cg, SOON_MS, SOON_MS, &why), 0);
	check_ended_by(child, SIGTERM);
	check_ended_by(second, SIGTERM);
	child = pausing_child();
	second = pausing_child();
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_OK(agentcg_move_pid(cg, second, &why));
	CHECK_OK(agentcg_kill_all(cg, SOON_MS, &why));
	check_killed(child);
	CHECK_OK(agentcg_destroy(cg, 0, SOON_MS, &stats, sizeof(stats), &why));
	check_killed(second);
	CHECK_EQ(reap(zombie), 0);
}

static void nothing_of_the_host_changes(void)
{
	struct sigaction mine = { .sa_handler = count_children, .sa_flags = SA_RESTART }, old;
	sigset_t some, before_mask;
	struct host before, after;

	/* Not the defaults, which the library could restore by accident. */
	sigemptyset(&some);
	sigaddset(&some, SIGUSR2);
	CHECK_EQ(sigprocmask(SIG_BLOCK, &some, &before_mask), 0);
	CHECK_EQ(sigaction(SIGCHLD, &mine, &old), 0);
	children_ended = 0;

	before = look_at_host();
	use_the_library_in_many_ways();
	after = look_at_host();

	for (int signal = 1; signal < NSIG; signal++) {
		CHECK(before.actions[signal].sa_handler == after.actions[signal].sa_handler);
		CHECK_EQ(before.actions[signal].sa_flags, after.actions[signal].sa_flags);
		CHECK_EQ(sigismember(&before.blocked, signal), sigismember(&after.blocked, signal));
	}
	CHECK_EQ(before.umask, after.umask);
	CHECK_STR(after.directory, before.directory);
	CHECK(before.environment == after.environment);
	CHECK_STR(after.limits, before.limits);
	CHECK_EQ(after.threads, before.threads);
	CHECK_EQ(after.alarm_seconds, before.alarm_seconds);
	CHECK(children_ended > 0);
	CHECK_EQ(sigaction(SIGCHLD, &old, NULL), 0);
	CHECK_EQ(sigprocmask(SIG_SETMASK, &before_mask, NULL), 0);
}

/* The kernel reaps the children of such a host. */
static void it_works_if_sigchld_is_ignored(void)
{
	agentcg *cg = new_group();
	pid_t child = pausing_child();

	signal(SIGCHLD, SIG_IGN);
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	destroy_group(cg);
	CHECK(waitpid(child, NULL, 0) == -1 && errno == ECHILD);
	signal(SIGCHLD, SIG_DFL);
}

/*
 * getrandom(2) is always EAGAIN. A call that would wait kills the process. The
 * vDSO has a getrandom() of its own, which makes such a call only when the kernel
 * has randomness, so that it does not wait.
 */
static void make_agents_without_randomness(void *unused)
{
	const uint64_t vdso = getauxval(AT_SYSINFO_EHDR);
	const uint32_t begin = (uint32_t)vdso, end = begin + 0x10000;
	const uint32_t pointer = offsetof(struct seccomp_data, instruction_pointer);
	const uint32_t high_half = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 4 : 0;
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, pointer + high_half),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(vdso >> 32), 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, pointer + 4 - high_half),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, begin, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, end, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getrandom, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, GRND_NONBLOCK | 4 /* GRND_INSECURE */, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };
	agentcg *one = NULL, *other = NULL;

	(void)unused;
	CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
	CHECK_OK(agentcg_new(NULL, NULL, NULL, 0, 0, &one, &why));
	CHECK_OK(agentcg_new(NULL, NULL, NULL, 0, 0, &other, &why));
	destroy_group(one);
	destroy_group(other);
}

static void it_does_not_wait_for_randomness(void)
{
	in_child(make_agents_without_randomness, NULL);
}

static void nothing_is_printed(void)
{
	int output = memfd_create("output", MFD_CLOEXEC), out, err;
	struct stat status;

	CHECK(output >= 0);
	out = dup(STDOUT_FILENO);
	err = dup(STDERR_FILENO);
	CHECK(dup2(output, STDOUT_FILENO) >= 0 && dup2(output, STDERR_FILENO) >= 0);
	use_the_library_in_many_ways();
	CHECK(dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0);
	CHECK_EQ(fstat(output, &status), 0);
	CHECK_EQ(status.st_size, 0);
	close(out);
	close(err);
	close(output);
}

/* The number of processes that run this program. */
static int count_own_processes(void)
{
	char own[PATH_SIZE] = "", other[PATH_SIZE], link[300];
	DIR *processes = opendir("/proc");
	int count = 0;

	CHECK(processes != NULL);
	CHECK(readlink("/proc/self/exe", own, sizeof(own) - 1) > 0);
	for (struct dirent *process; (process = readdir(processes)); ) {
		snprintf(link, sizeof(link), "/proc/%s/exe", process->d_name);
		memset(other, 0, sizeof(other));
		if (strspn(process->d_name, "0123456789") == strlen(process->d_name) &&
		    readlink(link, other, sizeof(other) - 1) > 0 && strcmp(own, other) == 0)
			count++;
	}
	closedir(processes);
	return count;
}

static void no_process_of_the_library_is_left(void)
{
	int before = count_own_processes();

	use_the_library_in_many_ways();
	CHECK_EQ(count_own_processes(), before);
}

int main(void)
{
	RUN(nothing_of_the_host_changes);
	RUN(it_works_if_sigchld_is_ignored);
	RUN(it_does_not_wait_for_randomness);
	RUN(nothing_is_printed);
	RUN(no_process_of_the_library_is_left);
	return 0;
}
