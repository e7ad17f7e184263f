/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A program whose first act is to fork. It and its child each write the line of cgroup2 in /proc/self/cgroup. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int
main(void)
{
	pid_t child = fork();
	char text[4096], *line, *end;
	int fd = open("/proc/self/cgroup", O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (child < 0 || n < 0)
		return 1;
	text[n] = '\0';
	line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	if (line == NULL)
		return 2;
	line += *line == '\n';
	end = strchr(line, '\n');
	if (end == NULL || write(STDOUT_FILENO, line, (size_t)(end + 1 - line)) != end + 1 - line)
		return 3;
	if (child > 0 && waitpid(child, &fd, 0) == child)
		return fd == 0 ? 0 : 4;
	return 0;
}
