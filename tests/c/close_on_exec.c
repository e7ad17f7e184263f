/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every descriptor is created with close-on-exec: a host with threads may fork
 * and exec at any moment, and a cgroup.procs that an agent inherits has the
 * rights of the process that opened it. A seccomp filter kills this process at
 * the first system call that creates a descriptor without close-on-exec.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(verdict) BPF_STMT(BPF_RET | BPF_K, verdict)
#define KILL RETURN(SECCOMP_RET_KILL_PROCESS)
/* The process is killed unless this argument of the call has the flag. */
#define NEEDS(call, argument, flag) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 4), LOAD(args[argument]), \
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, flag, 0, 1), RETURN(SECCOMP_RET_ALLOW), KILL
/* The call has no flag for close-on-exec. */
#define NEVER(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), KILL

/* A filter cannot check openat2(2), whose flags are in memory. fcntl(F_DUPFD) is not checked. */
static void forbid_descriptors_without_close_on_exec(void)
{
	struct sock_filter filter[] = {
		LOAD(nr),
		NEEDS(openat, 2, O_CLOEXEC),
		NEEDS(pipe2, 1, O_CLOEXEC),
		NEEDS(dup3, 2, O_CLOEXEC),
		NEEDS(socket, 1, SOCK_CLOEXEC),
		NEEDS(eventfd2, 1, O_CLOEXEC),
		NEEDS(epoll_create1, 0, O_CLOEXEC),
		NEEDS(inotify_init1, 0, O_CLOEXEC),
		NEEDS(memfd_create, 1, MFD_CLOEXEC),
		NEVER(dup),
#ifdef SYS_open   /* x86-64; newer architectures have only the above */
		NEEDS(open, 1, O_CLOEXEC),
		NEVER(creat), NEVER(pipe), NEVER(dup2), NEVER(eventfd), NEVER(epoll_create), NEVER(inotify_init),
#endif
		RETURN(SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };

	CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void open_without_close_on_exec(void *unused)
{
	(void)unused;
	forbid_descriptors_without_close_on_exec();
	open("/dev/null", O_RDONLY);
}

static void the_filter_kills_a_process_that_opens_one_without_close_on_exec(void)
{
	int status = reap(child_that_runs(open_without_close_on_exec, NULL));

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void use_the_library(void *unused)
{
	uint64_t events;
	const agentcg_limits limits = {
		.mask = AGENTCG_LIMIT_MEMORY_MAX | AGENTCG_LIMIT_CPU_MAX | AGENTCG_LIMIT_PIDS_MAX,
		.memory_max_bytes = 64 << 20, .cpu_max_millicpu = 500, .pids_max = 32,
	};
	char path[PATH_SIZE];
	agentcg_stats stats;
	agentcg_info info;
	agentcg *cg;
	pid_t child;

	(void)unused;
	forbid_descriptors_without_close_on_exec();
	CHECK(agentcg_is_available() == 1);
	CHECK_OK(agentcg_discover_parent(path, sizeof(path), &why));
	limit_place_briefly();
	CHECK_ERR(agentcg_new("/dev/shm", NULL, NULL, 0, 0, &cg, &why), -ENODEV);
	CHECK_OK(agentcg_new(NULL, NULL, &limits, sizeof(limits), 0, &cg, &why));
	child = pausing_child();
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_OK(agentcg_read_stats(cg, AGENTCG_STAT_ALL, &stats, sizeof(stats), &why));
	CHECK_OK(agentcg_get_info(cg, &info, sizeof(info), &why));
	CHECK_ERR(agentcg_wait_empty(cg, 120, &why), -ETIMEDOUT);
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
	child = pausing_child();
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_OK(agentcg_kill_all(cg, SOON_MS, &why));
	check_killed(child);

	child = pausing_child();
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_EQ(mkdirat(agentcg_fd(cg), "inner", 0755), 0);
	CHECK_OK(agentcg_destroy(cg, 0, SOON_MS, &stats, sizeof(stats), &why));
	check_killed(child);
}

/* agentcg_move_self() runs in another child, because that child stays in the group. */
static void move_in(void *cg)
{
	forbid_descriptors_without_close_on_exec();
	CHECK_EQ(agentcg_move_self(cg), 0);
}

static void the_library_creates_only_close_on_exec_descriptors(void)
{
	agentcg *cg = new_group();

	in_child(use_the_library, NULL);
	in_child(move_in, cg);
	destroy_group(cg);
}

int main(void)
{
	RUN(the_filter_kills_a_process_that_opens_one_without_close_on_exec);
	RUN(the_library_creates_only_close_on_exec_descriptors);
	return 0;
}
