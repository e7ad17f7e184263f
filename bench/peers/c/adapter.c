/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reads commands from the standard input, runs operations, and writes how long they took. See ../README.md. */
#include "adapter.h"
#include "../../measure.h"

#include <err.h>
#include <limits.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_GROUPS 20000

char *const no_environment[] = { NULL };

static const struct side *side;
static void *groups[MOST_GROUPS];
static unsigned count;
static char *program[2];

static void answer(const char *format, ...)
{
	static char text[MOST_GROUPS / 10 * 128];
	va_list values;

	va_start(values, format);
	int length = vsnprintf(text, sizeof(text), format, values);
	va_end(values);
	if (length < 0 || (size_t)length >= sizeof(text) || write(1, text, (size_t)length) != length)
		errx(2, "cannot answer");
}

pid_t fork_and_enter(void *group, char *const *argv, void (*enter)(void *group))
{
	pid_t pid = fork();

	if (pid < 0)
		err(2, "fork");
	if (pid == 0) {
		enter(group);
		execve(argv[0], argv, no_environment);
		_exit(127);
	}
	return pid;
}

static void spawn_and_wait(void)
{
	int status;
	pid_t pid = adapter_spawn(groups[0], program);

	if (waitpid(pid, &status, 0) != pid || status != 0)
		errx(2, "the program ended with wait status %#x", (unsigned)status);
}

static void print_paths(const char *tag)
{
	static char paths[MOST_GROUPS / 10 * 120];
	size_t length = 0;

	paths[0] = '\0';
	for (unsigned i = 0; i < count; i++) {
		char link[64], path[PATH_MAX];
		int fd = side->fd(groups[i]);

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		ssize_t n = readlink(link, path, sizeof(path) - 1);
		if (n < 0 || length + (size_t)n + 2 > sizeof(paths))
			errx(2, "cannot find out the path of a group");
		path[n] = '\0';
		length += (size_t)sprintf(paths + length, "%s%s", i > 0 ? " " : "", path);
	}
	answer("%s ok %s\n", tag, paths);
}

static void run(const char *tag, const char *verb, long first, long second)
{
	uint64_t cpu_ns = 0;
	double start = now_ns();

	if (strcmp(verb, "new") == 0) {
		if (count + first > MOST_GROUPS)
			errx(2, "too many groups");
		for (long i = 0; i < first; i++)
			groups[count++] = side->make();
	} else if (strcmp(verb, "read") == 0) {
		for (long i = 0; i < first; i++)
			cpu_ns = side->read(groups[0]);
	} else if (strcmp(verb, "move") == 0) {
		for (long i = 0; i < second; i++)
			side->move(groups[(i + 1) % 2], (pid_t)first);
	} else if (strcmp(verb, "spawn") == 0) {
		for (long i = 0; i < first; i++)
			spawn_and_wait();
	} else if (strcmp(verb, "kill") == 0) {
		if (!side->kill) {
			answer("%s no the library has no kill\n", tag);
			return;
		}
		for (unsigned i = 0; i < count; i++)
			side->kill(groups[i]);
	} else if (strcmp(verb, "destroy") == 0) {
		for (unsigned i = 0; i < count; i++)
			side->remove(groups[i]);
		count = 0;
	} else if (strcmp(verb, "paths") == 0) {
		print_paths(tag);
		return;
	} else if (strcmp(verb, "allocations") == 0) {
		answer("%s ok %lu\n", tag, allocations);
		return;
	} else if (strcmp(verb, "settle") == 0) {
		malloc_trim(0);
	} else {
		errx(2, "unknown command: %s", verb);
	}
	double end = now_ns();
	answer("%s ok %.0f %llu\n", tag, end - start, (unsigned long long)cpu_ns);
}

int main(int argc, char **argv)
{
	char line[256], tag[32], verb[32];
	ssize_t n;

	if (argc != 4)
		errx(2, "usage: %s GROUPS-DIRECTORY plain|limits PROGRAM", argv[0]);
	side = adapter_side;
	program[0] = argv[3];
	adapter_init(argv[1], strcmp(argv[2], "limits") == 0);
	answer("ready\n");
	/* Without a buffer: the trace of an operation contains only its own system calls between read and write. */
	while ((n = read(0, line, sizeof(line) - 1)) > 0) {
		long first = 0, second = 0;

		line[n] = '\0';
		if (sscanf(line, "%31s %31s %ld %ld", tag, verb, &first, &second) < 2)
			errx(2, "not a command: %s", line);
		run(tag, verb, first, second);
	}
	return 0;
}
