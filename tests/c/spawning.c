/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "spawning.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t started(agentcg *cg, char *const *argv, char *const *envp, agentcg_spawn_options options)
{
	pid_t pid = -1;

	CHECK_OK(agentcg_spawn(cg, argv[0], argv, envp, &options, sizeof(options), &pid, NULL, &why));
	CHECK(pid > 0);
	return pid;
}

const char *all_of(int pipe_end)
{
	static char text[PATH_SIZE];
	ssize_t got, length = 0;

	while ((got = read(pipe_end, text + length, sizeof(text) - 1 - (size_t)length)) > 0)
		length += got;
	CHECK_EQ(got, 0);
	text[length] = '\0';
	return text;
}

const char *output_of(agentcg *cg, char *const *argv, char *const *envp, agentcg_spawn_options options)
{
	const char *text;
	int ends[2];
	pid_t pid;

	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	options.stdout_fd = ends[1];
	pid = started(cg, argv, envp, options);
	close(ends[1]);
	text = all_of(ends[0]);
	close(ends[0]);
	CHECK_EQ(reap(pid), 0);
	return text;
}

void check_nothing_is_left(agentcg *cg)
{
	CHECK_EQ(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	CHECK_EQ(errno, ECHILD);
	CHECK_EQ(key_in(cg, "cgroup.events", "populated"), 0);
}

void refuse(int call)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };

	CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
	CHECK_EQ(syscall(call, -1, 0, -1), -1);
	CHECK_EQ(errno, ENOSYS);
}

int memory_file(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}
