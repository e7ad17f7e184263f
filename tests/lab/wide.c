// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * LD_PRELOAD library for linux.uml, on processors with more registers than it supports.
 *
 * User-Mode Linux saves and restores the floating point registers of its processes by ptrace(2), in a struct of
 * 2,696 bytes, which is enough up to AVX-512. A host with AMX returns 11 KiB, and accepts only the whole (-EFAULT
 * otherwise), so that every process of the guest, init first, dies of SIGSEGV. This library transfers the whole to and
 * from the host. The part behind the guest's struct is unused, because processes of the guest cannot use the tiles.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

static long (*host_ptrace)(int request, ...);
/* Not on the stack, which is a small kernel stack of the guest. One buffer is enough: the guest has one CPU. */
static unsigned char registers[64 << 10];
static size_t size; /* of the host's registers; 0: not known yet */

__attribute__((constructor)) static void find_ptrace(void)
{
	*(void **)&host_ptrace = dlsym(RTLD_NEXT, "ptrace");
}

static long get(pid_t pid)
{
	struct iovec whole = { registers, sizeof(registers) };
	long got = host_ptrace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &whole);

	if (got == 0)
		size = whole.iov_len;
	return got;
}

static long get_part(pid_t pid, struct iovec *part)
{
	long got = get(pid);

	if (got == 0) {
		if (part->iov_len > size)
			part->iov_len = size;
		memcpy(part->iov_base, registers, part->iov_len);
	}
	return got;
}

static long set_part(pid_t pid, const struct iovec *part)
{
	struct iovec whole = { registers, size };

	if (size == 0) {
		long got = get(pid);

		if (got != 0)
			return got;
		whole.iov_len = size;
	}
	memset(registers, 0, size);
	memcpy(registers, part->iov_base, part->iov_len < size ? part->iov_len : size);
	return host_ptrace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list more;
	pid_t pid;
	void *address, *data;

	va_start(more, request);
	pid = va_arg(more, pid_t);
	address = va_arg(more, void *);
	data = va_arg(more, void *);
	va_end(more);
	if (request == PTRACE_GETREGSET && address == (void *)NT_X86_XSTATE)
		return get_part(pid, data);
	if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE)
		return set_part(pid, data);
	return host_ptrace((int)request, pid, address, data);
}
