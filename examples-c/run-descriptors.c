// SPDX-License-Identifier: MIT OR Apache-2.0
/* The descriptors that agentcg-run's command gets. */
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

bool reserve_standard_descriptors(void)
{
	int fd;

	/* A file of agentcg-run's own at 0, 1 or 2 would be the command's. agentcg_spawn() takes a close-on-exec O_PATH
	 * descriptor there for a closed one, and the command has none, as without agentcg-run. */
	do {
		fd = open("/", O_PATH | O_CLOEXEC);
	} while (fd >= 0 && fd <= 2);
	return fd >= 0 && close(fd) == 0;
}

static bool add(struct descriptors *descriptors, int fd)
{
	agentcg_spawn_fd *fds;
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0 || flags & FD_CLOEXEC)
		return true;
	fds = reallocarray(descriptors->fds, descriptors->count + 1, sizeof(*fds));
	if (!fds)
		return false;
	fds[descriptors->count] = (agentcg_spawn_fd){ .source_fd = fd, .target_fd = fd };
	descriptors->fds = fds;
	descriptors->count++;
	return true;
}

/* For a system without /proc. */
static bool find_by_number(struct descriptors *descriptors, int report_fd)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return false;
	for (int fd = 3; fd < 65536 && (rlim_t)fd < limit.rlim_cur; fd++)
		if (fd != report_fd && !add(descriptors, fd))
			return false;
	return true;
}

bool find_descriptors(struct descriptors *descriptors, int report_fd)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;
	bool complete = true;

	*descriptors = (struct descriptors){ NULL, 0 };
	if (!directory)
		return find_by_number(descriptors, report_fd);
	while (complete && (errno = 0, entry = readdir(directory))) {
		int fd = atoi(entry->d_name);           /* 0 for "." and ".." */

		if (fd > 2 && fd != dirfd(directory) && fd != report_fd)
			complete = add(descriptors, fd);
	}
	complete = complete && errno == 0;
	closedir(directory);
	return complete;
}
