/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The stack that each function uses. The header names a limit, because threads
 * of servers, of Go and of other runtimes have small stacks. Each call runs in
 * its own thread, on a stack that ends at an inaccessible page.
 *
 * The argument is agentcg.map, the list of exported functions. A function
 * without a call is an error.
 */
#include "calls.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

/* The limit in the header. */
#define LIMIT (32 << 10)
/* More than PTHREAD_STACK_MIN on every architecture. The stack of an empty thread is subtracted. */
#define STACK (256 << 10)

static unsigned char *stack;

/* The page below it is inaccessible. */
static void make_stack(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char *all = mmap(NULL, page + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(all != MAP_FAILED);
	CHECK_EQ(mprotect(all, page, PROT_NONE), 0);
	stack = all + page;
}

struct work {
	const struct call *call;
	agentcg_error error;
	int result;
};

static void *do_work(void *given)
{
	struct work *work = given;

	if (work->call)
		work->result = work->call->act(&work->error);
	return NULL;
}

/* Returns how far the stack was written to. */
static size_t used_by(struct work *work)
{
	pthread_attr_t attributes;
	pthread_t thread;
	size_t untouched = 0;

	check_poison(stack, STACK);
	CHECK_EQ(pthread_attr_init(&attributes), 0);
	CHECK_EQ(pthread_attr_setstack(&attributes, stack, STACK), 0);
	CHECK_EQ(pthread_create(&thread, &attributes, do_work, work), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attributes);
	while (untouched < STACK && stack[untouched] == CHECK_POISON)
		untouched++;
	return STACK - untouched;
}

static void measure_all(void *unused)
{
	struct work nothing = { NULL, { 0 }, 0 };
	size_t threads_own = used_by(&nothing), most = 0;
	const char *by = "";

	(void)unused;
	FOR_EACH_CALL(call) {
		struct work work = { call, { 0 }, 0 };
		size_t used;

		call->before();
		used = used_by(&work) - threads_own;
		if (!is_as_expected(call, work.result))
			CHECK_FAIL("%s returned %d: %.184s", call->name, work.result, work.error.message);
		call->after(work.result);
		if (used >= LIMIT)
			CHECK_FAIL("%s used %zu bytes of stack", call->name, used);
		if (used > most) {
			most = used;
			by = call->name;
		}
		fprintf(stderr, "%6zu %s\n", used, call->name);
	}
	fprintf(stderr, "at most %zu bytes, by %s\n", most, by);
}

/* In a child, whose end is the end of the guard that it starts. */
static void no_call_uses_more_stack_than_the_limit(void)
{
	in_child(measure_all, NULL);
}

/* The name in the table ends after the function, or is followed by how it is called. strchr(3) finds the NUL, too. */
static int has_call(const char *function)
{
	size_t length = strlen(function);

	FOR_EACH_CALL(call)
		if (strncmp(call->name, function, length) == 0 && strchr(" ,", call->name[length]))
			return 1;
	return 0;
}

static const char *exported;

static void every_exported_function_has_a_call(void)
{
	char line[200], name[100];
	FILE *list = fopen(exported, "re");
	int count = 0;

	CHECK(list != NULL);
	while (fgets(line, sizeof(line), list))
		if (sscanf(line, " agentcg_%90[a-z_];", name) == 1) {
			char function[120];

			snprintf(function, sizeof(function), "agentcg_%s", name);
			if (!has_call(function))
				CHECK_FAIL("%s is exported and not called", function);
			count++;
		}
	fclose(list);
	CHECK(count > 30);
}

int main(int count, char **arguments)
{
	CHECK_EQ(count, 2);
	exported = arguments[1];
	make_stack();
	RUN(every_exported_function_has_a_call);
	RUN(no_call_uses_more_stack_than_the_limit);
	return 0;
}
