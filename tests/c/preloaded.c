/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A library for LD_PRELOAD: it replaces libc's write(2), and keeps its state on the heap. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long *count;
static ssize_t (*next)(int, const void *, size_t);

__attribute__((constructor)) static void find_next(void)
{
	void *found = dlsym(RTLD_NEXT, "write");

	memcpy(&next, &found, sizeof(found));
	count = calloc(1, sizeof(*count));
}

ssize_t write(int fd, const void *bytes, size_t size)
{
	++*count;
	return next(fd, bytes, size);
}
