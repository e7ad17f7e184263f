/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The stand-in of Group.Start in start.go: the program, executed a second time, up to the constructors of its
 * executable. It reports that it runs, waits until it was moved into the group, receives what to execute, and
 * executes it. It never returns into the program.
 */
#define _GNU_SOURCE
#include "enter.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <unistd.h>

/* The exit status of Go's own child if it fails before its exec. */
#define FAILED 253

static int constructed;
static struct rlimit nofile_at_start;

static int
read_all(int fd, void *to, size_t size)
{
	char *at = to;

	while (size > 0) {
		ssize_t n = read(fd, at, size);
		if (n == 0 || (n < 0 && errno != EINTR))
			return -1;
		if (n > 0) {
			at += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

/* Fill array with count strings from *at on, and NULL. *at moves to the end of the strings. */
static char **
next_texts(char **array, char **at, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		array[i] = *at;
		*at += strlen(*at) + 1;
	}
	array[count] = NULL;
	return array;
}

static void
become(int fd)
{
	struct agentcg_go_order order;
	char *texts, *at, *path, **args, **env;
	int error;

	/* End of file means that the program has ended, or could not move this process. Then nothing may run: it would run
	 * outside the group. */
	if (send(fd, "", 1, MSG_NOSIGNAL) != 1 || read_all(fd, &order, sizeof(order)) < 0)
		return;
	texts = malloc(order.bytes);
	args = calloc((size_t)order.args + 1, sizeof(*args));
	env = calloc((size_t)order.env + 1, sizeof(*env));
	if (texts == NULL || args == NULL || env == NULL) {
		error = ENOMEM;
	} else {
		if (read_all(fd, texts, order.bytes) < 0)
			return;
		at = path = texts;
		at += strlen(path) + 1;
		next_texts(args, &at, order.args);
		next_texts(env, &at, order.env);
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0)
			execve(path, args, env);
		error = errno;
	}
	if (send(fd, &error, sizeof(error), MSG_NOSIGNAL) < 0)
		_exit(FAILED);
}

__attribute__((constructor)) static void
stand_in(void)
{
	const char *fd = getenv(AGENTCG_GO_FD);

	constructed = 1;
	/* Before Go begins. */
	if (getrlimit(RLIMIT_NOFILE, &nofile_at_start) != 0)
		nofile_at_start.rlim_max = 0;
	if (fd == NULL)
		return;
	/* A user who sets the variables of a set-user-ID program must not choose what it executes. The variable says that
	 * this is not a usual start either, so the program does not go on. */
	if (getauxval(AT_SECURE) == 0)
		become(atoi(fd));
	_exit(FAILED);
}

/* dl_iterate_phdr(3) reports the executable first: look whether this code is in it. */
static int
contains_this_code(struct dl_phdr_info *object, size_t size, void *unused)
{
	(void)size;
	(void)unused;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];
		uintptr_t start = object->dlpi_addr + part->p_vaddr, here = (uintptr_t)&constructed;
		if (part->p_type == PT_LOAD && here >= start && here - start < part->p_memsz)
			return 1;
	}
	return -1;
}

int
agentcg_go_stand_in(void)
{
	if (getauxval(AT_SECURE) != 0)
		return AGENTCG_GO_SECURE;
	return constructed && dl_iterate_phdr(contains_this_code, NULL) == 1 ? AGENTCG_GO_OK : AGENTCG_GO_NOT_MAIN;
}

int
agentcg_go_raised_nofile(struct rlimit *ret_before)
{
	struct rlimit now;

	/* Newer versions of Go leave one, to tell their own change from that of others. */
	if (!constructed || getrlimit(RLIMIT_NOFILE, &now) != 0 || now.rlim_max != nofile_at_start.rlim_max ||
	    (now.rlim_cur != now.rlim_max && now.rlim_cur + 1 != now.rlim_max) ||
	    nofile_at_start.rlim_cur >= now.rlim_cur)
		return 0;
	*ret_before = nofile_at_start;
	return 1;
}
