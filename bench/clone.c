/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "clone.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The arguments of clone3(2) in Linux 5.7. */
struct clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
#define CLONE_FLAGS (0x100ull /* VM */ | 0x4000ull /* VFORK */ | 0x200000000ull /* INTO_CGROUP */)

/* The child uses the stack of the stopped parent, and must not change it: three system calls, without a frame. */
static long clone3_and_exec(const struct clone_args *args, const char *file, char *const *argv, char *const *envp)
{
#if defined(__x86_64__)
	long pid = SYS_clone3;

	__asm__ volatile(
		"syscall\n\t"
		"test %%rax, %%rax\n\t"
		"jnz 1f\n\t"
		"mov %[file], %%rdi\n\t"
		"mov %[argv], %%rsi\n\t"
		"mov %[envp], %%rdx\n\t"
		"mov %[execve], %%eax\n\t"
		"syscall\n\t"
		"mov $127, %%edi\n\t"
		"mov %[exit], %%eax\n\t"
		"syscall\n"
		"1:"
		: "+a"(pid)
		: "D"(args), "S"(sizeof(*args)), [file] "r"(file), [argv] "r"(argv), [envp] "r"(envp),
		  [execve] "i"(SYS_execve), [exit] "i"(SYS_exit_group)
		: "rcx", "r11", "rdx", "memory");
	return pid;
#else
	register long x0 __asm__("x0") = (long)args;
	register long x1 __asm__("x1") = sizeof(*args);
	register long x8 __asm__("x8") = SYS_clone3;

	__asm__ volatile(
		"svc #0\n\t"
		"cbnz x0, 1f\n\t"
		"mov x0, %[file]\n\t"
		"mov x1, %[argv]\n\t"
		"mov x2, %[envp]\n\t"
		"mov x8, %[execve]\n\t"
		"svc #0\n\t"
		"mov x0, #127\n\t"
		"mov x8, %[exit]\n\t"
		"svc #0\n"
		"1:"
		: "+r"(x0)
		: "r"(x1), "r"(x8), [file] "r"(file), [argv] "r"(argv), [envp] "r"(envp),
		  [execve] "i"(SYS_execve), [exit] "i"(SYS_exit_group)
		: "x2", "memory");
	return x0;
#endif
}

pid_t clone_and_exec(int cgroup, char *const *argv, char *const *envp)
{
	const struct clone_args args = {
		.flags = CLONE_FLAGS, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup,
	};
	long pid = clone3_and_exec(&args, argv[0], argv, envp);

	if (pid < 0) {
		errno = (int)-pid;
		err(2, "floor: clone3");
	}
	return (pid_t)pid;
}
