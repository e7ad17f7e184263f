/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* ptrace(2): counts a host's system calls and makes one of them fail. The kernel does not run that call. */
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define OFFSET(name) offsetof(struct user_regs_struct, name)
#define SYSCALL_STOP (SIGTRAP | 0x80)

static long get(pid_t pid, size_t offset)
{
	long value;

	errno = 0;
	value = ptrace(PTRACE_PEEKUSER, pid, offset, NULL);
	return errno ? -1 : value;
}

static void set(pid_t pid, size_t offset, long value)
{
	if (ptrace(PTRACE_POKEUSER, pid, offset, value) != 0)
		die("ptrace: %s", strerror(errno));
}

static void string_of(pid_t pid, unsigned long at, char *text, size_t size)
{
	size_t length = 0;

	while (length + sizeof(long) < size) {
		long word;

		errno = 0;
		word = ptrace(PTRACE_PEEKDATA, pid, at + length, NULL);
		if (errno)
			break;
		memcpy(text + length, &word, sizeof(word));
		if (memchr(&word, 0, sizeof(word)))
			return;
		length += sizeof(word);
	}
	text[length] = 0;
}

static void descriptor_of(pid_t pid, long fd, char *text, size_t size)
{
	char path[64];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%d/%s%.0ld", pid, fd == AT_FDCWD ? "cwd" : "fd/", fd == AT_FDCWD ? 0 : fd);
	if (fd == 0)
		snprintf(path, sizeof(path), "/proc/%d/fd/0", pid);
	length = readlink(path, text, size - 1);
	text[length < 0 ? 0 : length] = 0;
}

/* Find the target and the file of a call. A row has the positions of its path and of its descriptor; -1 for none. */
static void what(struct call *call, pid_t pid)
{
	int path = -1, fd = -1;
	char at[160] = "";

	switch (call->number) {
	case SYS_open: case SYS_stat: case SYS_lstat: case SYS_access: case SYS_mkdir: case SYS_rmdir: case SYS_readlink:
	case SYS_getxattr: case SYS_setxattr: case SYS_statfs: case SYS_chdir: case SYS_execve: case SYS_removexattr:
		path = 0;
		break;
	case SYS_openat: case SYS_newfstatat: case SYS_faccessat: case SYS_faccessat2: case SYS_mkdirat: case SYS_unlinkat:
	case SYS_readlinkat: case SYS_fchmodat: case SYS_statx: case SYS_execveat:
		fd = 0;
		path = 1;
		break;
	case SYS_read: case SYS_pread64: case SYS_write: case SYS_pwrite64: case SYS_getdents64: case SYS_fstat: case SYS_fchmod:
	case SYS_flock: case SYS_fgetxattr: case SYS_fsetxattr: case SYS_fremovexattr: case SYS_fstatfs: case SYS_fchdir:
	case SYS_epoll_wait: case SYS_epoll_pwait: case SYS_connect: case SYS_sendto: case SYS_sendmsg: case SYS_recvfrom:
	case SYS_recvmsg: case SYS_dup: case SYS_fcntl: case SYS_inotify_add_watch:
		fd = 0;
		break;
	case SYS_epoll_ctl:
		fd = 2;
		break;
	default:
		break;
	}
	call->file[0] = 0;
	if (path >= 0)
		string_of(pid, call->arguments[path], call->file, sizeof(call->file));
	if (fd >= 0 && call->file[0] != '/') {
		descriptor_of(pid, (int)call->arguments[fd], at, sizeof(at) - 1);
		if (call->file[0]) {
			char whole[2 * sizeof(at)];

			snprintf(whole, sizeof(whole), "%s/%s", at, call->file);
			memcpy(call->file, whole, sizeof(call->file) - 1);
			call->file[sizeof(call->file) - 1] = 0;
		} else {
			memcpy(call->file, at, sizeof(at));
		}
	}
	call->target = strncmp(call->file, "/sys/fs/cgroup", 14) == 0 ? CGROUPFS :
		       strncmp(call->file, "/proc", 5) == 0         ? PROCFS :
		       call->file[0] == '/'                           ? FILES :
		       call->file[0]                                  ? ANONYMOUS : NOTHING;
}

struct call call_of(pid_t pid)
{
	struct call call = { .number = get(pid, OFFSET(orig_rax)) };

	call.arguments[0] = (unsigned long)get(pid, OFFSET(rdi));
	call.arguments[1] = (unsigned long)get(pid, OFFSET(rsi));
	call.arguments[2] = (unsigned long)get(pid, OFFSET(rdx));
	what(&call, pid);
	return call;
}

long number_of(pid_t pid)
{
	return get(pid, OFFSET(orig_rax));
}

void skip_call(pid_t pid)
{
	set(pid, OFFSET(orig_rax), -1);
}

void set_result(pid_t pid, long result)
{
	set(pid, OFFSET(rax), result);
}

/* The host marks a stage with a SIGSTOP that it sends itself by kill(2), which the library never does. */
static bool is_marker(pid_t pid, pid_t host)
{
	return pid == host && get(pid, OFFSET(orig_rax)) == SYS_kill && get(pid, OFFSET(rdi)) == host &&
	       get(pid, OFFSET(rsi)) == SIGSTOP;
}

static volatile sig_atomic_t alarmed;

static void on_alarm(int signal)
{
	(void)signal;
	alarmed = 1;
}

static void set_alarm(int seconds)
{
	struct sigaction action = { .sa_handler = on_alarm };

	sigaction(SIGALRM, &action, NULL);
	alarmed = 0;
	alarm((unsigned)seconds);
}

enum outcome run_to_stop(pid_t host, bool running, int seconds)
{
	int status, signal = 0;

	set_alarm(seconds);
	for (;; running = false) {
		if (!running && ptrace(PTRACE_CONT, host, NULL, signal) != 0)
			die("ptrace: %s", strerror(errno));
		while (waitpid(host, &status, __WALL) != host)
			if (alarmed)
				return HUNG;
		if (!WIFSTOPPED(status) || WSTOPSIG(status) == SIGSTOP)
			break;
		signal = WSTOPSIG(status);
	}
	alarm(0);
	return WIFSTOPPED(status) ? REACHED : ENDED;
}

#define MAX_TASKS 32
struct tasks {
	struct task { pid_t pid; bool in_call, failing, gone; } all[MAX_TASKS];
	size_t count;
};

static struct task *task_of(struct tasks *tasks, pid_t pid)
{
	for (size_t i = 0; i < tasks->count; i++)
		if (tasks->all[i].pid == pid)
			return &tasks->all[i];
	if (tasks->count == MAX_TASKS)
		die("more than %d processes are traced", MAX_TASKS);
	tasks->all[tasks->count] = (struct task){ .pid = pid };
	return &tasks->all[tasks->count++];
}

/* Returns true if the host is the only process that is still traced. */
static bool alone(const struct tasks *tasks)
{
	for (size_t i = 1; i < tasks->count; i++)
		if (!tasks->all[i].gone)
			return false;
	return true;
}

static void detach(struct task *task)
{
	ptrace(PTRACE_DETACH, task->pid, NULL, 0);
	task->gone = true;
}

enum outcome run_with_fault(pid_t host, bool children, struct fault fault, struct traced *traced, int seconds)
{
	struct tasks tasks = { .count = 0 };
	int options = PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL, status;
	enum outcome outcome = ENDED;
	size_t room = 0;
	bool listing = fault.at == 0, marked = false;

	if (children)
		options |= PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;
	if (ptrace(PTRACE_SETOPTIONS, host, NULL, options) != 0)
		die("ptrace: %s", strerror(errno));
	traced->calls = 0;
	traced->injected = false;
	task_of(&tasks, host);
	set_alarm(seconds);
	ptrace(PTRACE_SYSCALL, host, NULL, 0);
	/* A child that is about to execute its program may be slower than the host. */
	while (outcome != REACHED || !alone(&tasks)) {
		pid_t pid = waitpid(-1, &status, __WALL);
		struct task *task;
		int signal = 0;
		/* If the faults are in its children, the host's own calls are not counted. */
		bool watched;

		if (pid < 0) {
			if (errno == EINTR && !alarmed)
				continue;
			outcome = HUNG;
			break;
		}
		if (!WIFSTOPPED(status)) {
			if (pid == host)
				break;
			task_of(&tasks, pid)->gone = true;
			continue;
		}
		task = task_of(&tasks, pid);
		watched = children ? pid != host : pid == host;
		if (WSTOPSIG(status) == SYSCALL_STOP) {
			task->in_call = !task->in_call;
			if (task->in_call && is_marker(pid, host)) {
				marked = true;
			} else if (task->in_call && watched && (listing || traced->calls < fault.at ||
				   (fault.lasting && traced->injected))) {
				bool again = traced->injected;

				if (!again)
					traced->calls++;
				if (listing) {
					if (traced->calls > room) {
						room = room ? 2 * room : 256;
						traced->list = realloc(traced->list, room * sizeof(*traced->list));
						if (!traced->list)
							die("no memory");
					}
					traced->list[traced->calls - 1] = call_of(pid);
				} else if (again ? get(pid, OFFSET(orig_rax)) == traced->call.number
						 : traced->calls == fault.at) {
					struct call call = call_of(pid);
					const int *errnos = call_errnos(&call);
					bool possible = again;

					for (; !again && errnos && *errnos; errnos++)
						possible |= *errnos == fault.error;
					if (possible) {
						if (!again)
							traced->call = call;
						traced->injected = task->failing = true;
						skip_call(pid);
					}
				}
			} else if (!task->in_call && task->failing) {
				task->failing = false;
				set_result(pid, -fault.error);
				if (children && !fault.lasting) {
					detach(task);
					continue;
				}
			}
		} else if (status >> 16) {
			/* An event. After execve(2) the child does not run the library's code. */
			if (status >> 16 == PTRACE_EVENT_EXEC && pid != host) {
				detach(task);
				continue;
			}
		} else if (WSTOPSIG(status) == SIGSTOP) {
			if (pid == host) {
				outcome = REACHED;
				continue;
			}
			/* The first stop of a new task. */
		} else {
			signal = WSTOPSIG(status);
		}
		/* Tasks that are not counted any more continue without stops. */
		bool more = !marked && (!traced->injected || task->failing || fault.lasting) &&
			    (watched || (children && pid == host)) && (listing || traced->injected || traced->calls < fault.at || task->failing);
		ptrace(more ? PTRACE_SYSCALL : PTRACE_CONT, pid, NULL, signal);
		if (!more)
			task->in_call = false;
	}
	alarm(0);
	if (outcome == REACHED)
		ptrace(PTRACE_SETOPTIONS, host, NULL, PTRACE_O_EXITKILL);
	return outcome;
}
