/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The errors that Linux can return from each system call, by what the call is
 * about. Only EINTR, EAGAIN, ENOMEM, EMFILE, ENFILE, EIO, EACCES, ENOSPC, ENODEV
 * and EBUSY are considered.
 */
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

#define MAX_ERRNOS 10
struct row {
	long number;
	const char *name;
	/* controller: for interface files that are removed with their controller. For them a living group can have ENODEV. */
	int controller[MAX_ERRNOS], other[MAX_ERRNOS];
};

/* The same errors for all targets. */
#define ANY(call, ...) { SYS_##call, #call, { __VA_ARGS__ }, { __VA_ARGS__ } }
#define ALL(...) { __VA_ARGS__ }
#define BY(call, controller, other) { SYS_##call, #call, controller, other }
/* No errors: the call cannot fail with valid arguments, or the library can do nothing about a failure. */
#define NEVER(call) { SYS_##call, #call, { 0 }, { 0 } }

static const struct row rows[] = {
	/* The attributes of a program. */
	ANY(setpriority, EACCES),
	ANY(setgroups, ENOMEM),
	ANY(setresgid, ENOMEM),
	ANY(setresuid, ENOMEM, EAGAIN),
	ANY(setpgid, EACCES),
	ANY(ioctl, EIO),
	/* Descriptors. */
	BY(openat, ALL(EINTR, EMFILE, ENFILE, ENOMEM, EACCES, EIO, ENODEV),
	   ALL(EINTR, EMFILE, ENFILE, ENOMEM, EACCES, EIO)),
	BY(open, ALL(EINTR, EMFILE, ENFILE, ENOMEM, EACCES, EIO, ENODEV),
	   ALL(EINTR, EMFILE, ENFILE, ENOMEM, EACCES, EIO)),
	ANY(dup, EMFILE),
	ANY(dup2, EINTR, EBUSY),
	ANY(dup3, EINTR, EBUSY),
	ANY(pipe2, EMFILE, ENFILE, ENOMEM),
	ANY(socket, EMFILE, ENFILE, ENOMEM, EACCES),
	ANY(socketpair, EMFILE, ENFILE, ENOMEM, EACCES),
	ANY(epoll_create1, EMFILE, ENFILE, ENOMEM),
	ANY(eventfd2, EMFILE, ENFILE, ENOMEM, ENODEV),
	ANY(timerfd_create, EMFILE, ENFILE, ENOMEM, ENODEV),
	ANY(signalfd4, EMFILE, ENFILE, ENOMEM, ENODEV),
	ANY(inotify_init1, EMFILE, ENFILE, ENOMEM),
	ANY(memfd_create, EMFILE, ENFILE, ENOMEM),
	ANY(pidfd_open, EMFILE, ENFILE, ENOMEM),
	ANY(close_range, EMFILE, ENOMEM),
	/* Files. */
	BY(read, ALL(EINTR, EIO, ENOMEM, ENODEV), ALL(EINTR, EIO, ENOMEM)),
	BY(pread64, ALL(EINTR, EIO, ENOMEM, ENODEV), ALL(EINTR, EIO, ENOMEM)),
	BY(write, ALL(EINTR, EIO, ENOMEM, ENODEV, EBUSY, EAGAIN, ENOSPC, EACCES),
	   ALL(EINTR, EIO, ENOMEM, EBUSY, EAGAIN, ENOSPC, EACCES)),
	BY(pwrite64, ALL(EINTR, EIO, ENOMEM, ENODEV, EBUSY, EAGAIN, ENOSPC, EACCES),
	   ALL(EINTR, EIO, ENOMEM, EBUSY, EAGAIN, ENOSPC, EACCES)),
	ANY(getdents64, EINTR, EIO, ENOMEM),
	ANY(stat, EACCES, EIO, ENOMEM),
	ANY(lstat, EACCES, EIO, ENOMEM),
	ANY(fstat, EIO, ENOMEM),
	ANY(newfstatat, EACCES, EIO, ENOMEM),
	ANY(statx, EACCES, EIO, ENOMEM),
	ANY(statfs, EINTR, EACCES, EIO, ENOMEM),
	ANY(fstatfs, EINTR, EIO, ENOMEM),
	ANY(access, EACCES, EIO, ENOMEM),
	ANY(faccessat, EACCES, EIO, ENOMEM),
	ANY(faccessat2, EACCES, EIO, ENOMEM),
	ANY(readlink, EACCES, EIO, ENOMEM),
	ANY(readlinkat, EACCES, EIO, ENOMEM),
	ANY(mkdir, EACCES, EAGAIN, EIO, ENODEV, ENOMEM, ENOSPC),
	ANY(mkdirat, EACCES, EAGAIN, EIO, ENODEV, ENOMEM, ENOSPC),
	ANY(rmdir, EACCES, EBUSY, EIO, ENOMEM),
	ANY(unlinkat, EACCES, EBUSY, EIO, ENOMEM),
	ANY(fchmod, EACCES, EIO, ENOMEM),
	ANY(fchmodat, EACCES, EIO, ENOMEM),
	ANY(flock, EINTR, EAGAIN, ENOMEM),
	ANY(getxattr, EACCES, EIO, ENOMEM),
	ANY(fgetxattr, EACCES, EIO, ENOMEM),
	ANY(setxattr, EACCES, EIO, ENOMEM, ENOSPC),
	ANY(fsetxattr, EACCES, EIO, ENOMEM, ENOSPC),
	ANY(removexattr, EACCES, EIO, ENOMEM),
	ANY(fremovexattr, EACCES, EIO, ENOMEM),
	ANY(chdir, EACCES, EIO, ENOMEM),
	ANY(fchdir, EACCES, EIO),
	ANY(mount, EACCES, EBUSY, EIO, ENOMEM, ENOSPC),
	ANY(umount2, EBUSY, EAGAIN, ENOMEM),
	/* Waiting. */
	ANY(poll, EINTR, ENOMEM),
	ANY(ppoll, EINTR, ENOMEM),
	ANY(pselect6, EINTR, ENOMEM),
	ANY(epoll_wait, EINTR),
	ANY(epoll_pwait, EINTR),
	ANY(epoll_ctl, ENOMEM, ENOSPC),
	ANY(inotify_add_watch, EACCES, ENOMEM, ENOSPC),
	ANY(clock_nanosleep, EINTR),
	ANY(nanosleep, EINTR),
	ANY(wait4, EINTR),
	ANY(waitid, EINTR),
	ANY(futex, EINTR, EAGAIN),
	ANY(connect, EINTR, EAGAIN, EACCES, ENOMEM),
	ANY(sendto, EINTR, EAGAIN, ENOMEM),
	ANY(sendmsg, EINTR, EAGAIN, ENOMEM),
	ANY(recvfrom, EINTR, EAGAIN, ENOMEM),
	ANY(recvmsg, EINTR, EAGAIN, ENOMEM),
	ANY(getrandom, EINTR, EAGAIN),
	/* Processes. */
	ANY(clone, EAGAIN, ENOMEM, ENOSPC),
	ANY(clone3, EAGAIN, ENOMEM, ENOSPC, EBUSY, EACCES, EMFILE, ENFILE, ENODEV),
	ANY(fork, EAGAIN, ENOMEM),
	ANY(vfork, EAGAIN, ENOMEM),
	ANY(execve, EACCES, EAGAIN, EIO, EMFILE, ENFILE, ENOMEM),
	ANY(execveat, EACCES, EAGAIN, EIO, EMFILE, ENFILE, ENOMEM),
	ANY(unshare, EMFILE, ENOMEM, ENOSPC),
	ANY(setns, ENOMEM),
	ANY(pidfd_getfd, EMFILE, ENFILE),
	ANY(setuid, EAGAIN),
	ANY(setgid, EAGAIN),
	ANY(add_key, EACCES, EINTR, ENOMEM),
	ANY(keyctl, EACCES, EINTR, ENOMEM),
	/* Memory. brk(2) reports a failure by its value; malloc(3) then calls mmap(2). */
	ANY(mmap, ENOMEM, EAGAIN),
	ANY(mremap, ENOMEM, EAGAIN),
	ANY(mprotect, ENOMEM),
	ANY(madvise, EAGAIN, ENOMEM),

	NEVER(brk), NEVER(munmap),
	NEVER(close), NEVER(exit), NEVER(exit_group), NEVER(lseek),
	NEVER(getpid), NEVER(gettid), NEVER(getppid), NEVER(getuid), NEVER(geteuid), NEVER(getgid), NEVER(getegid),
	NEVER(getresuid), NEVER(getresgid), NEVER(getsid), NEVER(getpgid), NEVER(setsid), NEVER(umask),
	NEVER(getgroups), NEVER(capget), NEVER(capset),
	NEVER(rt_sigaction), NEVER(rt_sigprocmask), NEVER(rt_sigpending), NEVER(rt_sigreturn), NEVER(rt_sigtimedwait),
	NEVER(sigaltstack), NEVER(kill), NEVER(tgkill),
	NEVER(pidfd_send_signal), /* it needs memory only for a realtime signal */
	NEVER(clock_gettime), NEVER(gettimeofday), NEVER(timerfd_settime), NEVER(timerfd_gettime),
	NEVER(setitimer), NEVER(sched_yield), NEVER(sched_getaffinity), NEVER(sched_setaffinity),
	NEVER(sched_getscheduler), NEVER(sched_setscheduler), NEVER(getpriority),
	NEVER(prctl), NEVER(arch_prctl), NEVER(set_robust_list), NEVER(set_tid_address), NEVER(rseq),
	NEVER(prlimit64), NEVER(getrlimit), NEVER(setrlimit), NEVER(sysinfo), NEVER(uname), NEVER(getcpu), NEVER(membarrier),
	NEVER(getsockopt), NEVER(setsockopt), NEVER(getsockname), NEVER(getpeername), NEVER(shutdown), NEVER(bind),
	NEVER(landlock_create_ruleset), NEVER(landlock_restrict_self), NEVER(landlock_add_rule), NEVER(seccomp),
	NEVER(inotify_rm_watch), NEVER(ptrace), NEVER(personality), NEVER(fadvise64), NEVER(sethostname),
};

static const struct row *row_of(long number)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].number == number)
			return &rows[i];
	return NULL;
}

const char *call_name(long number)
{
	const struct row *row = number == SYS_fcntl ? NULL : row_of(number);

	if (number == SYS_fcntl)
		return "fcntl";
	return row ? row->name : "?";
}

/* Returns true for a file such as memory.max. The files cgroup.* exist as long as the cgroup. */
static bool is_controllers(const struct call *call)
{
	static const char *const controllers[] = { "/cpu.", "/memory.", "/pids.", "/io." };
	const char *name = strrchr(call->file, '/');

	for (size_t i = 0; name && call->target == CGROUPFS && i < sizeof(controllers) / sizeof(controllers[0]); i++)
		if (strncmp(name, controllers[i], strlen(controllers[i])) == 0)
			return true;
	return false;
}

const int *call_errnos(const struct call *call)
{
	static const int none[] = { 0 }, duplicate[] = { EMFILE, 0 }, anonymous[] = { EINTR, 0 };
	static const int library[] = { EMFILE, ENFILE, ENOMEM, EACCES, EIO, 0 };
	const struct row *row;

	/* Only its commands that create a descriptor can fail. */
	if (call->number == SYS_fcntl)
		return call->arguments[1] == F_DUPFD || call->arguments[1] == F_DUPFD_CLOEXEC ? duplicate : none;
	row = row_of(call->number);
	if (!row)
		return NULL;
	/* The dynamic linker opens and reads these. Reads of a file on a disk are not interrupted. */
	if (call->target == FILES && strstr(call->file, ".so") && (call->number == SYS_read || call->number == SYS_openat))
		return library;
	if (call->target == ANONYMOUS && (call->number == SYS_read || call->number == SYS_write))
		return anonymous;
	return is_controllers(call) ? row->controller : row->other;
}
