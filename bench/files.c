/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "files.h"

#include <err.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int open_at(int dir, const char *name, int flags)
{
	int fd = openat(dir, name, flags | O_CLOEXEC);

	if (fd < 0)
		err(2, "floor: open %s", name);
	return fd;
}

void write_at(int dir, const char *name, const char *text)
{
	int fd = open_at(dir, name, O_WRONLY);

	if (write(fd, text, strlen(text)) < 0)
		err(2, "floor: write '%s' to %s", text, name);
	close(fd);
}

int reads_empty(int events)
{
	char text[128];
	ssize_t length = pread(events, text, sizeof(text) - 1, 0);

	if (length < 0)
		err(2, "floor: read cgroup.events");
	text[length] = '\0';
	return strstr(text, "populated 0") != NULL;
}
