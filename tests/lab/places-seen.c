/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Records the state of the hierarchy, and compares it with a later state. */
#include "places.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The type, the enabled controllers and the processes of each cgroup, one per line. */
struct line {
	char what;	/* 't'ype, 'e'nabled, 'p'rocess */
	char *path;
	char *value;
};
struct seen {
	struct line *lines;
	size_t count;
};

static struct seen before;

static char *copy(const char *text)
{
	char *made = strdup(text);

	if (!made)
		die("no memory");
	return made;
}

static void add(struct seen *seen, char what, const char *path, const char *value)
{
	/* In steps of 64: a guest has 100 to 200 lines. */
	if (seen->count % 64 == 0) {
		seen->lines = realloc(seen->lines, (seen->count + 64) * sizeof(*seen->lines));
		if (!seen->lines)
			die("no memory");
	}
	seen->lines[seen->count++] = (struct line){ what, copy(path), copy(value) };
}

/* Add all lines of a file. The file is missing or unreadable in the real root, in a cgroup that is being removed, and in a
 * threaded one. */
static void add_file(struct seen *seen, char what, const char *path, const char *file)
{
	char name[PATH_BYTES + 64], text[256];
	FILE *stream;

	snprintf(name, sizeof(name), "%s/%s", path, file);
	stream = fopen(name, "re");
	if (!stream)
		return;
	while (fgets(text, sizeof(text), stream)) {
		text[strcspn(text, "\n")] = '\0';
		add(seen, what, path, text);
	}
	fclose(stream);
}

static void walk(struct seen *seen, const char *path)
{
	char below[PATH_BYTES];
	struct dirent *entry;
	DIR *dir = opendir(path);

	if (!dir) {
		if (errno != ENOENT)
			die("%s: %s", path, strerror(errno));
		return;
	}
	add_file(seen, 't', path, "cgroup.type");
	add_file(seen, 'e', path, "cgroup.subtree_control");
	add_file(seen, 'p', path, "cgroup.procs");
	while ((entry = readdir(dir))) {
		if (entry->d_type != DT_DIR || !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) >= (int)sizeof(below))
			die("%s: too long", path);
		walk(seen, below);
	}
	closedir(dir);
}

/* Returns the mount point in a line of mountinfo, with \040 and other escapes resolved; NULL for another type of mount. */
static char *cgroup2_point(char *text)
{
	char *field = text, *to;
	int i;

	if (!strstr(text, " - cgroup2 "))
		return NULL;
	for (i = 0; i < 4; i++)
		field = strchr(field, ' ') + 1;
	field[strcspn(field, " ")] = '\0';
	for (text = to = field; *text; to++) {
		unsigned int byte;

		if (sscanf(text, "\\%3o", &byte) == 1) {
			*to = (char)byte;
			text += 4;
		} else {
			*to = *text++;
		}
	}
	*to = '\0';
	return field;
}

static struct seen look(void)
{
	FILE *stream = fopen("/proc/self/mountinfo", "re");
	char text[2 * PATH_BYTES];
	struct seen seen = { NULL, 0 };

	if (!stream)
		die("/proc/self/mountinfo: %s", strerror(errno));
	while (fgets(text, sizeof(text), stream)) {
		char *point = cgroup2_point(text);

		if (point)
			walk(&seen, point);
	}
	fclose(stream);
	return seen;
}

static void forget(struct seen *seen)
{
	while (seen->count) {
		free(seen->lines[--seen->count].path);
		free(seen->lines[seen->count].value);
	}
	free(seen->lines);
}

static const struct line *find(const struct seen *seen, char what, const char *path, const char *value)
{
	size_t i;

	for (i = 0; i < seen->count; i++) {
		const struct line *line = &seen->lines[i];

		if (line->what == what && (!path || !strcmp(line->path, path)) && (!value || !strcmp(line->value, value)))
			return line;
	}
	return NULL;
}

void remember(void)
{
	before = look();
}

/* Returns true for a cgroup that the library makes. */
static int is_of_library(const char *path)
{
	return strstr(path, "/synwire") || !fnmatch("*/supervisor", path, 0) || !fnmatch("*/agentcg-*.scope*", path, 0);
}

static void check(const struct seen *after, const char *when, int anew)
{
	size_t i;

	for (i = 0; i < before.count; i++) {
		const struct line *was = &before.lines[i], *is;

		if (was->what == 'e' || (was->what == 'p' && atol(was->value) == getpid()))
			continue;
		/* Cgroups and processes may have ended by themselves. */
		is = was->what == 't' ? find(after, 't', was->path, NULL) : find(after, 'p', NULL, was->value);
		if (is && was->what == 't' && strcmp(is->value, was->value) != 0)
			die("%s: %s has become %s", when, was->path, is->value);
		if (is && was->what == 'p' && !find(after, 'p', was->path, was->value))
			die("%s: process %s was moved from %s to %s", when, was->value, was->path, is->path);
	}
	for (i = 0; anew && i < after->count; i++) {
		const struct line *is = &after->lines[i];

		if (is->what == 't' && !is_of_library(is->path) && !find(&before, 't', is->path, NULL))
			die("%s: %s is new", when, is->path);
	}
}

void expect_unmoved(const char *when)
{
	struct seen after = look();

	/* Later, new cgroups may belong to other units. */
	check(&after, when, !strcmp(when, "with an agent"));
	forget(&after);
}

/* Fail if another process runs this program: a forked child without execve(2). */
static void expect_no_other_process(const char *when)
{
	char own[PATH_MAX], name[64], exe[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", own, sizeof(own));
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	if (length <= 0 || !dir)
		die("/proc: %s", strerror(errno));
	while ((entry = readdir(dir))) {
		long pid = strtol(entry->d_name, NULL, 10);

		snprintf(name, sizeof(name), "/proc/%ld/exe", pid);
		/* The link of another user's process cannot be read. */
		if (pid > 0 && pid != getpid() && readlink(name, exe, sizeof(exe)) == length &&
		    !memcmp(own, exe, (size_t)length))
			die("%s: process %ld runs this program", when, pid);
	}
	closedir(dir);
}

void expect_nothing_new(const char *when)
{
	struct seen after = look();
	size_t i;

	check(&after, when, 0);
	for (i = 0; i < after.count; i++) {
		const struct line *is = &after.lines[i];

		if (is->what == 't' && !find(&before, 't', is->path, NULL))
			die("%s: %s is new", when, is->path);
		if (is->what == 'e' && !find(&before, 'e', is->path, is->value))
			die("%s: %s has enabled \"%s\"", when, is->path, is->value);
	}
	expect_no_other_process(when);
	forget(&after);
}
