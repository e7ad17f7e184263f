// SPDX-License-Identifier: MIT OR Apache-2.0
/* A program of agentcg_spawn() finds what one of posix_spawn(3) finds for the same request, but for its cgroup. */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawning.h"

static char script[] =
	"for fd in /proc/$$/fd/*; do echo \"${fd##*/} $(readlink $fd | tr -d 0-9)\"; done\n"
	"pwd; umask; id; nice; env | sort\n"
	"grep -E '^(Sig(Blk|Ign|Cgt)|Cap|NoNewPrivs|Seccomp|Cpus_allowed)' /proc/$$/status\n"
	"cat /proc/$$/limits /proc/$$/oom_score_adj\n"
	"set -- $(cat /proc/$$/stat); echo $(( $5 == $1 )) $(( $6 == $1 ))\n"
	"cat <&7\n";

static char *const argv_of_both[] = { "sh", "-c", script, NULL };
static char *const envp_of_both[] = { "A=b", "PATH=/usr/bin:/bin", NULL };

/* A descriptor that is to be 7 in the program, and that is not close-on-exec. */
static int open_extra(void)
{
	int fd = open("/proc/version", O_RDONLY);

	CHECK(fd >= 0);
	return fd;
}

static const char *by_posix(short flags)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t set;
	int ends[2], extra = open_extra(), status;
	const char *seen;
	pid_t pid;

	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	CHECK_EQ(posix_spawn_file_actions_init(&actions), 0);
	CHECK_EQ(posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0), 0);
	CHECK_EQ(posix_spawn_file_actions_adddup2(&actions, ends[1], 1), 0);
	CHECK_EQ(posix_spawn_file_actions_adddup2(&actions, extra, 7), 0);
	CHECK_EQ(posix_spawn_file_actions_addclose(&actions, extra), 0);
	CHECK_EQ(posix_spawn_file_actions_addchdir_np(&actions, "/usr"), 0);
	CHECK_EQ(posix_spawnattr_init(&attributes), 0);
	CHECK_EQ(posix_spawnattr_setflags(&attributes, (short)(flags | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK)), 0);
	CHECK_EQ(posix_spawnattr_setpgroup(&attributes, 0), 0);
	/* What agentcg_spawn() does without being asked: no signal is ignored or blocked. */
	sigfillset(&set);
	CHECK_EQ(posix_spawnattr_setsigdefault(&attributes, &set), 0);
	sigemptyset(&set);
	CHECK_EQ(posix_spawnattr_setsigmask(&attributes, &set), 0);
	CHECK_EQ(posix_spawn(&pid, "/bin/sh", &actions, &attributes, argv_of_both, envp_of_both), 0);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	CHECK_EQ(close(ends[1]), 0);
	CHECK_EQ(close(extra), 0);
	seen = all_of(ends[0]);
	CHECK_EQ(close(ends[0]), 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	return seen;
}

static const char *by_agentcg(agentcg *cg, uint64_t flags)
{
	agentcg_spawn_options options = OWN;
	agentcg_spawn_fd extra = { .source_fd = open_extra(), .target_fd = 7 };
	int ends[2], status;
	const char *seen;
	pid_t pid;

	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	options.flags = flags;
	options.stdin_fd = AGENTCG_DEVNULL;
	options.stdout_fd = ends[1];
	options.fds = (uintptr_t)&extra;
	options.fds_count = 1;
	options.cwd_fd = open("/usr", O_PATH | O_DIRECTORY | O_CLOEXEC);
	CHECK_OK(agentcg_spawn(cg, "/bin/sh", argv_of_both, envp_of_both, &options, sizeof(options), &pid, NULL, &why));
	CHECK_EQ(close(options.cwd_fd), 0);
	CHECK_EQ(close(ends[1]), 0);
	CHECK_EQ(close(extra.source_fd), 0);
	seen = all_of(ends[0]);
	CHECK_EQ(close(ends[0]), 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	return seen;
}

/* The C library ignores the two signals that it uses itself, 32 and 33, in the child of posix_spawn(3), and leaves that to
 * the program. */
static void forget_internal_signals(char *seen)
{
	static const char with[] = "SigIgn:\t0000000180000000", without[] = "SigIgn:\t0000000000000000";
	char *at = strstr(seen, with);

	if (at)
		memcpy(at, without, sizeof(without) - 1);
}

static void it_finds_what_a_program_of_posix_spawn_finds(void)
{
	static const struct {
		short posix;
		uint64_t agentcg;
	} requests[] = {
		{ 0, 0 },
		{ POSIX_SPAWN_SETPGROUP, AGENTCG_SPAWN_PGROUP },
		{ POSIX_SPAWN_SETSID, AGENTCG_SPAWN_NEW_SESSION },
	};
	agentcg *cg = new_group();

	/* These must not reach the program. */
	CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		char *expected = strdup(by_posix(requests[i].posix));

		CHECK(expected && strstr(expected, "Linux version"));
		forget_internal_signals(expected);
		CHECK_STR(by_agentcg(cg, requests[i].agentcg), expected);
		free(expected);
	}
	CHECK(signal(SIGUSR1, SIG_DFL) != SIG_ERR);
	destroy_group(cg);
}

int main(void)
{
	RUN(it_finds_what_a_program_of_posix_spawn_finds);
	return 0;
}
