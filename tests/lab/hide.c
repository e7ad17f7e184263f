// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * LD_PRELOAD library for `tests/lab/run --hide`: a file whose base name is in
 * $LAB_HIDE (separated by spaces or commas) does not exist, as on a kernel that
 * lacks the interface. This holds for lookups; a listing still shows the file.
 *
 * It replaces functions of the C library, syscall(3) included. It therefore works
 * in C, C++ and Rust, but not in static programs or for direct system calls.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

static int separates(char c)
{
	return c == ' ' || c == ',' || c == '\0';
}

static char list[256], release[64];

/* Read once. Nothing is hidden from the library's guard, which is a program without an environment. */
__attribute__((constructor)) static void remember_list(void)
{
	const char *value = getenv("LAB_HIDE");

	if (value)
		snprintf(list, sizeof(list), "%s", value);
	value = getenv("LAB_RELEASE");
	if (value)
		snprintf(release, sizeof(release), "%s", value);
}

static int hidden(const char *path)
{
	const char *name, *at;
	size_t length;

	if (!list[0] || !path)
		return 0;
	name = strrchr(path, '/');
	name = name ? name + 1 : path;
	length = strlen(name);
	for (at = list; length && (at = strstr(at, name)); at += length) {
		if ((at == list || separates(at[-1])) && separates(at[length])) {
			errno = ENOENT;
			return 1;
		}
	}
	return 0;
}

/* memcpy, because ISO C has no cast from void * to a function. The function is looked up at the start, or at the first
 * call if a library that starts earlier makes it. */
#define NEXT(name) \
static __typeof__(&name) next_##name; \
__attribute__((constructor)) static void find_##name(void) \
{ \
	void *found = dlsym(RTLD_NEXT, #name); \
\
	memcpy(&next_##name, &found, sizeof(found)); \
} \
static __typeof__(&name) next_of_##name(void) \
{ \
	if (!next_##name) \
		find_##name(); \
	return next_##name; \
}

#define MODE(mode, flags) \
	mode_t mode = 0; \
	if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) { \
		va_list args; \
		va_start(args, flags); \
		mode = va_arg(args, mode_t); \
		va_end(args); \
	}

#define HIDE_OPEN(name) \
NEXT(name) \
int name(const char *path, int flags, ...) \
{ \
	MODE(mode, flags) \
	return hidden(path) ? -1 : next_of_##name()(path, flags, mode); \
}

#define HIDE_OPENAT(name) \
NEXT(name) \
int name(int dir, const char *path, int flags, ...) \
{ \
	MODE(mode, flags) \
	return hidden(path) ? -1 : next_of_##name()(dir, path, flags, mode); \
}

#define HIDE(type, missing, name, parameters, ...) \
NEXT(name) \
type name parameters \
{ \
	return hidden(path) ? missing : next_of_##name()(__VA_ARGS__); \
}

HIDE_OPEN(open)
HIDE_OPEN(open64)
HIDE_OPENAT(openat)
HIDE_OPENAT(openat64)
HIDE(FILE *, NULL, fopen, (const char *path, const char *mode), path, mode)
HIDE(FILE *, NULL, fopen64, (const char *path, const char *mode), path, mode)
HIDE(int, -1, access, (const char *path, int mode), path, mode)
HIDE(int, -1, faccessat, (int dir, const char *path, int mode, int flags), dir, path, mode, flags)
HIDE(int, -1, stat, (const char *path, struct stat *st), path, st)
HIDE(int, -1, stat64, (const char *path, struct stat64 *st), path, st)
HIDE(int, -1, lstat, (const char *path, struct stat *st), path, st)
HIDE(int, -1, lstat64, (const char *path, struct stat64 *st), path, st)
HIDE(int, -1, fstatat, (int dir, const char *path, struct stat *st, int flags), dir, path, st, flags)
HIDE(int, -1, fstatat64, (int dir, const char *path, struct stat64 *st, int flags), dir, path, st, flags)
HIDE(int, -1, statx, (int dir, const char *path, int flags, unsigned int mask, struct statx *st),
     dir, path, flags, mask, st)

static int takes_path_second(long number)
{
	switch (number) {
	case SYS_openat:
	case SYS_openat2:
	case SYS_faccessat:
	case SYS_faccessat2:
	case SYS_newfstatat:
	case SYS_statx:
		return 1;
	default:
		return 0;
	}
}

NEXT(syscall)
long syscall(long number, ...)
{
	long arg[6];
	va_list args;
	int i;

	/* The kernel ignores arguments that a call does not have. */
	va_start(args, number);
	for (i = 0; i < 6; i++)
		arg[i] = va_arg(args, long);
	va_end(args);
	if (takes_path_second(number) && hidden((const char *)arg[1]))
		return -1;
	return next_of_syscall()(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

/* $LAB_RELEASE replaces the kernel's release in uname(2). */
NEXT(uname)
int uname(struct utsname *name)
{
	int result = next_of_uname()(name);

	if (result == 0 && release[0])
		snprintf(name->release, sizeof(name->release), "%s", release);
	return result;
}
