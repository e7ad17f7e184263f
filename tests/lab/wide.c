// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * LD_PRELOAD library for linux.uml, on processors whose registers are more than it has room for.
 *
 * User-Mode Linux saves and restores its processes' floating point registers by ptrace(2), into a struct of
 * 2,696 bytes: as much as there was up to AVX-512. A host with AMX tells of 11 KiB, and takes back nothing less than
 * the whole (-EFAULT), so that every process of the guest, init first, dies of a SIGSEGV. Here the whole goes to
 * and from the host. What lies past the guest's struct is nobody's: the guest lets no process have the tiles.
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
/* Not on the stack, which is a kernel stack of the guest's. One at a time: the guest has one CPU. */
static unsigned char registers[64 << 10];
static size_t size; /* of the host's; 0: not known yet */

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
