/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Counts the allocations of this process. */
#include "bench.h"

#include <errno.h>
#include <stddef.h>

/* In symbol resolution the program's malloc precedes libc's, also for the shared library: all of its allocations
 * call these functions. The __libc_ names are glibc's. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

unsigned long allocations;

void *malloc(size_t size)
{
	allocations++;
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	allocations++;
	return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	allocations++;
	return __libc_realloc(old, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	allocations++;
	*ret = __libc_memalign(alignment, size);
	return *ret ? 0 : ENOMEM;
}
