/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Snapshots of cgroups, descriptors and locks, as text for comparison. */
#include "faults.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	text[0] = 0;
	if (fd < 0)
		return -errno;
	length = read(fd, text, size - 1);
	if (length < 0)
		length = -errno;
	else
		text[length] = 0;
	close(fd);
	return (int)length;
}

static void write_text(const char *directory, const char *file, const char *text)
{
	char path[4400];
	int fd;
	ssize_t ignored;

	snprintf(path, sizeof(path), "%s/%s", directory, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ignored = write(fd, text, strlen(text));
	(void)ignored;
	close(fd);
}

static void add(char *text, size_t size, const char *more)
{
	size_t length = strlen(text);

	snprintf(text + length, size - length, "%s", more);
}

/* Replace uuids and numbers, which differ between runs. */
static void normalize(const char *name, char *text, size_t size)
{
	if (strlen(name) == 36 && name[8] == '-' && name[13] == '-') {
		snprintf(text, size, "UUID");
		return;
	}
	size_t at = 0;
	for (; *name && at + 1 < size; name++) {
		if (isdigit((unsigned char)*name)) {
			if (at == 0 || text[at - 1] != '#')
				text[at++] = '#';
		} else {
			text[at++] = *name;
		}
	}
	text[at] = 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of the cgroups in the directory, sorted. The caller frees them. */
static size_t children_of(const char *directory, char **names, size_t room)
{
	DIR *open_directory = opendir(directory);
	size_t count = 0;

	if (!open_directory)
		return 0;
	for (struct dirent *entry; (entry = readdir(open_directory)) && count < room;)
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			names[count++] = strdup(entry->d_name);
	closedir(open_directory);
	qsort(names, count, sizeof(*names), by_text);
	return count;
}

static bool skipped(const char *name, int depth, bool guards)
{
	/* Cgroups of the lab. */
	if (depth == 0)
		return strcmp(name, "synwire") != 0 && strcmp(name, "supervisor") != 0 && strncmp(name, "agentcg-", 8) != 0;
	/* The own processes of a session count as those of its group. */
	return strcmp(name, "own") == 0 || (!guards && strncmp(name, "guard", 5) == 0);
}

static void add_cgroup(struct snapshot *snapshot, const char *directory, const char *shown, int depth, bool alive, bool guards)
{
	static const char *const files[] = { "cgroup.freeze", "cpu.max", "pids.max", "memory.max", "memory.high" };
	char *names[64], path[4400], text[4096], line[9000];
	size_t count = children_of(directory, names, sizeof(names) / sizeof(names[0]));

	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", directory);
	read_text(path, text, sizeof(text));
	snprintf(line, sizeof(line), "%s: %s%s", shown, text, *text ? "" : "\n");
	add(snapshot->soft, sizeof(snapshot->soft), line);
	if (depth > 0) {
		struct stat state;

		snprintf(line, sizeof(line), "%s:", shown);
		if (stat(directory, &state) == 0)
			snprintf(line, sizeof(line), "%s: mode %o", shown, state.st_mode & 07777);
		snprintf(path, sizeof(path), "%s/cgroup.events", directory);
		read_text(path, text, sizeof(text));
		if (alive)
			add(line, sizeof(line), strstr(text, "populated 1") ? ", populated" : ", empty");
		for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
			snprintf(path, sizeof(path), "%s/%s", directory, files[i]);
			if (read_text(path, text, sizeof(text)) <= 0)
				continue;
			text[strcspn(text, "\n")] = 0;
			if (strcmp(text, "max") == 0)
				continue;
			add(line, sizeof(line), ", ");
			add(line, sizeof(line), files[i]);
			add(line, sizeof(line), " ");
			add(line, sizeof(line), text);
		}
		add(line, sizeof(line), "\n");
		add(snapshot->text, sizeof(snapshot->text), line);
	}
	for (size_t i = 0; i < count; i++) {
		char normal[256], below[4400], name[1024];

		if (!skipped(names[i], depth, guards)) {
			normalize(names[i], normal, sizeof(normal));
			snprintf(below, sizeof(below), "%s/%s", directory, names[i]);
			snprintf(name, sizeof(name), "%s%s%s", depth ? shown : "", depth ? "/" : "", normal);
			add_cgroup(snapshot, below, name, depth + 1, alive, guards);
		}
		free(names[i]);
	}
}

static void add_descriptors(struct snapshot *snapshot, pid_t host)
{
	char path[300], target[256];
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/fd", host);
	directory = opendir(path);
	if (!directory)
		return;
	for (struct dirent *entry; (entry = readdir(directory));) {
		ssize_t length;

		if (entry->d_name[0] == '.')
			continue;
		snapshot->descriptor_count++;
		snprintf(path, sizeof(path), "/proc/%d/fd/%s", host, entry->d_name);
		length = readlink(path, target, sizeof(target) - 2);
		if (length < 0)
			continue;
		target[length] = '\n';
		target[length + 1] = 0;
		add(snapshot->descriptors, sizeof(snapshot->descriptors), target);
	}
	closedir(directory);
}

static void add_locks(struct snapshot *snapshot, pid_t host)
{
	static char text[1 << 16];

	read_text("/proc/locks", text, sizeof(text));
	for (char *line = text; line && *line; line = strchr(line, '\n')) {
		int pid = 0;

		line += *line == '\n';
		if (sscanf(line, "%*d: FLOCK %*s %*s %d", &pid) == 1 && pid == host)
			snapshot->lock_count++;
	}
}

/* Sort the lines: agents are listed in the order of their uuids. */
static void sort_lines(char *text)
{
	static char *lines[400], copy[sizeof(((struct snapshot *)0)->text)];
	size_t count = 0;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *line = strtok(copy, "\n"); line && count < sizeof(lines) / sizeof(lines[0]); line = strtok(NULL, "\n"))
		lines[count++] = line;
	qsort(lines, count, sizeof(*lines), by_text);
	for (size_t i = 0; i < count; i++)
		text += sprintf(text, "%s\n", lines[i]);
}

void take_snapshot(struct snapshot *snapshot, const char *root, pid_t host, bool alive, bool guards)
{
	snapshot->text[0] = snapshot->soft[0] = snapshot->descriptors[0] = 0;
	snapshot->descriptor_count = snapshot->lock_count = 0;
	add_cgroup(snapshot, root, ".", 0, alive, guards);
	sort_lines(snapshot->text);
	sort_lines(snapshot->soft);
	if (host) {
		add_descriptors(snapshot, host);
		add_locks(snapshot, host);
	}
}

static void wipe_one(const char *directory)
{
	char *names[256], path[4400], text[4096];
	size_t count;

	write_text(directory, "cgroup.freeze", "0");
	write_text(directory, "cpu.max", "max");
	write_text(directory, "cgroup.kill", "1");
	chmod(directory, 0755);
	count = children_of(directory, names, sizeof(names) / sizeof(names[0]));
	for (size_t i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		wipe_one(path);
		free(names[i]);
	}
	snprintf(path, sizeof(path), "%s/cgroup.procs", directory);
	if (read_text(path, text, sizeof(text)) > 0)
		for (char *at = text, *end; *at; at = end + strspn(end, "\n")) {
			long pid = strtol(at, &end, 10);

			if (end == at)
				break;
			if (pid > 1)
				kill((pid_t)pid, SIGKILL);
		}
	for (int tries = 0; rmdir(directory) != 0 && errno == EBUSY && tries < 500; tries++)
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

void wipe(const char *root)
{
	char *names[256], path[4400];
	size_t count = children_of(root, names, sizeof(names) / sizeof(names[0]));

	for (size_t i = 0; i < count; i++) {
		if (!skipped(names[i], 0, true)) {
			snprintf(path, sizeof(path), "%s/%s", root, names[i]);
			wipe_one(path);
		}
		free(names[i]);
	}
}
