/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The library does not allocate in a monitoring loop, which it would slow down,
 * and not between fork and exec, because another thread may have held the
 * allocator's lock when the process was forked.
 *
 * The library uses this program's malloc(3), which replaces glibc's. valgrind
 * replaces malloc(3) too, so this test does not run under valgrind.
 */
#include "support.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's functions, under the names that glibc exports for replacements. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

static unsigned long calls;

void *malloc(size_t size)
{
	calls++;
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	calls++;
	return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
	calls++;
	return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	calls++;
	return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
	calls++;
	*memory = __libc_memalign(alignment, size);
	return *memory ? 0 : ENOMEM;
}

void free(void *memory)
{
	calls += memory != NULL;
	__libc_free(memory);
}

static void the_librarys_allocations_are_counted(void)
{
	unsigned long before = calls;
	agentcg *cg = new_group();

	CHECK(calls > before);
	before = calls;
	destroy_group(cg);
	CHECK(calls > before);
}

static void check_none_after_the_first(agentcg *cg, uint64_t which)
{
	agentcg_stats stats;
	unsigned long before;

	CHECK_OK(agentcg_read_stats(cg, which, &stats, sizeof(stats), &why));
	before = calls;
	for (int i = 0; i < 100; i++)
		CHECK_OK(agentcg_read_stats(cg, which, &stats, sizeof(stats), &why));
	CHECK_EQ(calls - before, 0);
}

static void read_stats_allocates_nothing_after_its_first_call(void)
{
	agentcg *cg = new_group();
	pid_t child = pausing_child();

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	check_none_after_the_first(cg, AGENTCG_STAT_BASIC);
	check_none_after_the_first(cg, AGENTCG_STAT_BASIC | AGENTCG_STAT_PIDS | AGENTCG_STAT_STATE);
	check_none_after_the_first(cg, AGENTCG_STAT_ALL);
	kill_and_reap(child);
	destroy_group(cg);
}

static void calls_between_fork_and_exec_never_allocate(void)
{
	agentcg *cg = new_group(), *removed = new_group();
	char path[PATH_SIZE];
	unsigned long *used = mmap(NULL, sizeof(*used), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child;

	CHECK(used != MAP_FAILED);
	*used = 1;
	agentcg_path(removed, path, sizeof(path));
	CHECK_EQ(rmdir(path), 0);

	/* A success, an invalid handle and a removed group. */
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		unsigned long before = calls;
		int moved = agentcg_move_self(cg), refused = agentcg_move_self(NULL),
		    gone = agentcg_move_self(removed), fd = agentcg_fd(cg);

		*used = calls - before;
		_exit(moved == 0 && refused == -EINVAL && gone == -ENODEV && fd >= 0 ? 0 : 1);
	}
	CHECK_EQ(reap(child), 0);
	CHECK_EQ(*used, 0);
	munmap(used, sizeof(*used));
	agentcg_free(removed);
	destroy_group(cg);
}

int main(void)
{
	RUN(the_librarys_allocations_are_counted);
	RUN(read_stats_allocates_nothing_after_its_first_call);
	RUN(calls_between_fork_and_exec_never_allocate);
	return 0;
}
