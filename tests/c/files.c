/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reading and writing the kernel's files without the library. */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int read_in(int directory, const char *file, char *text, size_t size)
{
	int fd = openat(directory, file, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (fd < 0)
		return -errno;
	length = read(fd, text, size - 1);
	if (length < 0)
		length = -errno;
	else
		text[length] = '\0';
	close(fd);
	return (int)length;
}

int write_in(int directory, const char *file, const char *text)
{
	int fd = openat(directory, file, O_WRONLY | O_CLOEXEC);
	int result = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		result = -errno;
	close(fd);
	return result;
}

void write_to(const char *directory, const char *file, const char *text)
{
	char path[PATH_SIZE + 32];
	int result;

	snprintf(path, sizeof(path), "%s/%s", directory, file);
	result = write_in(AT_FDCWD, path, text);
	if (result != 0)
		CHECK_FAIL("writing %s to %s: %s", text, path, strerror(-result));
}

static void read_of(agentcg *cg, const char *file, char *text, size_t size)
{
	int length = read_in(agentcg_fd(cg), file, text, size);

	if (length < 0)
		CHECK_FAIL("reading %s: %s", file, strerror(-length));
}

uint64_t number_in(agentcg *cg, const char *file)
{
	char text[64], *end;
	uint64_t number;

	read_of(cg, file, text, sizeof(text));
	number = strtoull(text, &end, 10);
	CHECK(end != text && *end == '\n');
	return number;
}

uint64_t key_in(agentcg *cg, const char *file, const char *key)
{
	char text[4096], name[64];
	uint64_t number;
	int length;

	read_of(cg, file, text, sizeof(text));
	for (const char *line = text; sscanf(line, "%63s %" SCNu64 "%n", name, &number, &length) == 2;
	     line += length)
		if (strcmp(name, key) == 0)
			return number;
	CHECK_FAIL("%s has no %s", file, key);
}

int holds(agentcg *cg, pid_t pid)
{
	char text[65536];
	int member, length;

	read_of(cg, "cgroup.procs", text, sizeof(text));
	for (const char *line = text; sscanf(line, "%d%n", &member, &length) == 1; line += length)
		if (member == pid)
			return 1;
	return 0;
}

static int count_entries(const char *path, unsigned char type)
{
	DIR *directory = opendir(path);
	int count = 0;

	/* It may be removed at any moment. */
	if (!directory && errno == ENOENT)
		return 0;
	if (!directory)
		CHECK_FAIL("%s: %s", path, strerror(errno));
	for (struct dirent *entry; (entry = readdir(directory)); )
		count += entry->d_name[0] != '.' && entry->d_type == type;
	closedir(directory);
	return count;
}

int count_subdirectories(const char *path)
{
	return count_entries(path, DT_DIR);
}

int count_descriptors(void)
{
	return count_entries("/proc/self/fd", DT_LNK) - 1;   /* without that of opendir(3) */
}

int is_open(int fd)
{
	char path[32];
	struct stat status;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return lstat(path, &status) == 0;
}

int is_directory(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
