/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "bench.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* Marks the begin and the end of the operation. It has no effect, takes no pointer, and no other code calls it. */
#define MARKER SYS_sched_get_priority_max

static void tracee(struct operation op, const struct side *side)
{
	/* The library keeps some facts about the process, which a forked child has to find out anew. */
	op.batch = 2;
	op.setup(side, &op);
	op.run(side, 0);
	if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
		err(2, "PTRACE_TRACEME");
	raise(SIGSTOP);
	syscall(MARKER, 0);
	op.run(side, 1);
	syscall(MARKER, 0);
	op.teardown(side, &op);
	_exit(0);
}

static long number_at_entry(pid_t pid)
{
	struct __ptrace_syscall_info info = { 0 };

	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0)
		return (long)info.entry.nr;
#ifdef __x86_64__
	/* User-Mode Linux has no PTRACE_GET_SYSCALL_INFO, other kernels only from 5.3 on. */
	errno = 0;
	long nr = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, orig_rax), 0);
	if (errno == 0)
		return nr;
#endif
	err(2, "cannot read the number of the traced system call");
}

/* Continues to the next system call stop, and delivers the signals that come before it. */
static void next_stop(pid_t pid)
{
	int status, signal = 0;

	do {
		if (ptrace(PTRACE_SYSCALL, pid, 0, signal) != 0)
			err(2, "PTRACE_SYSCALL");
		if (waitpid(pid, &status, 0) != pid)
			err(2, "waitpid for the traced child");
		if (!WIFSTOPPED(status))
			errx(2, "the traced child ended early, wait status 0x%x", (unsigned)status);
		signal = WSTOPSIG(status);
	} while (signal != (SIGTRAP | 0x80));
}

void syscalls_count(const struct operation *op, const struct side *side, struct syscalls *ret)
{
	int status, inside = 0;

	*ret = (struct syscalls){ 0 };
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0)
		err(2, "fork");
	if (pid == 0)
		tracee(*op, side);
	if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
		errx(2, "the child to be traced ended before its operation");
	if (ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) != 0)
		err(2, "PTRACE_SETOPTIONS");

	for (;;) {
		next_stop(pid);
		long nr = number_at_entry(pid);
		next_stop(pid);
		if (nr == MARKER && inside)
			break;
		if (nr == MARKER)
			inside = 1;
		else if (inside) {
			*(nr == SYS_clock_gettime ? &ret->clock : &ret->total) += 1;
			if (ret->kept < SYSCALLS_KEPT)
				ret->number[ret->kept++] = nr;
		}
	}
	if (ptrace(PTRACE_DETACH, pid, 0, 0) != 0)
		err(2, "PTRACE_DETACH");
	if (waitpid(pid, &status, 0) != pid || status != 0)
		errx(2, "the traced child failed after its operation, wait status 0x%x", (unsigned)status);
}

static const struct {
	long number;
	const char *name;
} names[] = {
#define CALL(name) { SYS_##name, #name }
	CALL(read), CALL(pread64), CALL(write), CALL(pwrite64), CALL(openat), CALL(openat2), CALL(close),
	CALL(mkdirat), CALL(unlinkat), CALL(getdents64), CALL(lseek), CALL(newfstatat), CALL(fstat), CALL(statx), CALL(getsid),
	CALL(fstatfs), CALL(getxattr), CALL(ioctl), CALL(statfs), CALL(faccessat), CALL(faccessat2), CALL(readlinkat), CALL(flock), CALL(fcntl),
	CALL(fsetxattr), CALL(fgetxattr), CALL(name_to_handle_at), CALL(getrandom), CALL(getpid), CALL(getppid),
	CALL(gettid), CALL(geteuid), CALL(getrlimit), CALL(prlimit64), CALL(kill), CALL(tgkill), CALL(pidfd_open),
	CALL(pidfd_send_signal), CALL(ppoll), CALL(clock_gettime), CALL(clock_nanosleep), CALL(nanosleep),
	CALL(sched_yield), CALL(brk), CALL(mmap), CALL(munmap), CALL(mremap), CALL(mprotect), CALL(madvise),
	CALL(futex), CALL(rt_sigprocmask), CALL(restart_syscall),
#ifdef SYS_poll   /* the older architectures only */
	CALL(poll), CALL(open), CALL(readlink), CALL(stat), CALL(mkdir), CALL(rmdir), CALL(unlink),
#endif
#undef CALL
};

/* Prints "openat write close"; a call without a name in the table by its number, repeated calls as "pread64 x 12". */
void syscalls_print(const struct syscalls *calls)
{
	for (unsigned i = 0, run; i < calls->kept; i += run) {
		const char *name = NULL;

		for (run = 1; i + run < calls->kept && calls->number[i + run] == calls->number[i]; run++)
			;
		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
			if (names[k].number == calls->number[i])
				name = names[k].name;
		if (name)
			printf(" %s", name);
		else
			printf(" #%ld", calls->number[i]);
		if (run > 1)
			printf(" x %u", run);
	}
	if (calls->kept == SYSCALLS_KEPT)
		printf(" ...");
	putchar('\n');
}
