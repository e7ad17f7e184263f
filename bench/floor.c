/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "bench.h"
#include "files.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

struct group {
	int dir;
	int cpu_stat;          /* -1 until the first read, then open */
	int memory_current;
	char name[16];
	unsigned found;        /* how often it was found */
};

static int agents;
static struct controllers have;
static unsigned made;

/* Reads a file from its start by its cached descriptor, which is opened at the first call. */
static void read_cached(int dir, const char *name, int *fd, char *text, size_t size)
{
	if (*fd < 0)
		*fd = open_at(dir, name, O_RDONLY);
	ssize_t n = pread(*fd, text, size - 1, 0);
	if (n < 0)
		err(2, "floor: read %s", name);
	text[n] = '\0';
}

struct controllers floor_init(const char *dir)
{
	char text[256];
	int fd = -1;

	agents = open_at(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY);
	read_cached(agents, "cgroup.subtree_control", &fd, text, sizeof(text));
	close(fd);
	have.cpu = strstr(text, "cpu") != NULL;
	have.memory = strstr(text, "memory") != NULL;
	have.pids = strstr(text, "pids") != NULL;
	return have;
}

static void write_limits(int dir, unsigned times)
{
	char value[32];

	if (have.memory) {
		snprintf(value, sizeof(value), "%u", MEMORY_MAX_BYTES * times);
		write_at(dir, "memory.max", value);
	}
	if (have.cpu) {
		snprintf(value, sizeof(value), "%u 100000", CPU_MAX_MILLICPU * 100 * times);
		write_at(dir, "cpu.max", value);
	}
	if (have.pids) {
		snprintf(value, sizeof(value), "%u", PIDS_MAX * times);
		write_at(dir, "pids.max", value);
	}
}

static void *floor_make(void)
{
	struct group *group = malloc(sizeof(*group));

	if (!group)
		err(2, "malloc");
	group->cpu_stat = group->memory_current = -1;
	group->found = 0;
	snprintf(group->name, sizeof(group->name), "%u", made++);
	if (mkdirat(agents, group->name, 0755) != 0)
		err(2, "floor: mkdir");
	group->dir = open_at(agents, group->name, O_RDONLY | O_DIRECTORY);
	write_limits(group->dir, 1);
	return group;
}

static void floor_remove(void *arg)
{
	struct group *group = arg;

	/* EBUSY for a moment after the last process has died. */
	while (unlinkat(agents, group->name, AT_REMOVEDIR) != 0) {
		if (errno != EBUSY)
			err(2, "floor: rmdir");
		sched_yield();
	}
	if (group->cpu_stat >= 0)
		close(group->cpu_stat);
	if (group->memory_current >= 0)
		close(group->memory_current);
	close(group->dir);
	free(group);
}

static int floor_fd(void *group)
{
	return ((struct group *)group)->dir;
}

static void floor_move(void *group, pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)pid);
	write_at(floor_fd(group), "cgroup.procs", text);
}

/* With few CPUs, reading without a pause takes the CPU from the dying processes: up to twenty times slower. Yielding
 * between two reads is sufficient for one process. After a hundred reads it sleeps instead. */
static void floor_kill(void *group)
{
	const struct timespec nap = { 0, 100000 };
	int events;

	write_at(floor_fd(group), "cgroup.kill", "1");
	events = open_at(floor_fd(group), "cgroup.events", O_RDONLY);
	for (unsigned reads = 0; !reads_empty(events); reads++) {
		if (reads < 100)
			sched_yield();
		else
			nanosleep(&nap, NULL);
	}
	close(events);
}

/* Sleeps until the kernel reports a change. */
static void floor_wait(void *group, int timeout_ms)
{
	char text[128];
	int events = -1;

	read_cached(floor_fd(group), "cgroup.events", &events, text, sizeof(text));
	struct pollfd change = { .fd = events, .events = POLLPRI };
	if (poll(&change, 1, timeout_ms) != 0)
		errx(2, "floor: the kernel reported a change in an idle group");
	close(events);
}

static uint64_t number(const char *text)
{
	uint64_t value = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + (uint64_t)(*text - '0');
	return value;
}

static uint64_t floor_read(void *arg)
{
	/* In the kernel's order: each line is compared with one key only. */
	static const struct {
		const char *name;
		size_t length;
	} keys[] = {
#define KEY(name) { name " ", sizeof(name) }
		KEY("usage_usec"), KEY("user_usec"), KEY("system_usec"),
		KEY("nr_periods"), KEY("nr_throttled"), KEY("throttled_usec"),
#undef KEY
	};
	enum { KEYS = sizeof(keys) / sizeof(keys[0]) };
	static volatile uint64_t measured[KEYS + 2];   /* volatile: computed although nothing reads it */
	struct group *group = arg;
	struct timespec now;
	char text[1024];
	size_t key = 0;

	read_cached(group->dir, "cpu.stat", &group->cpu_stat, text, sizeof(text));
	for (const char *line = text; key < KEYS && *line; line++) {
		if (strncmp(line, keys[key].name, keys[key].length) == 0) {
			measured[key] = number(line + keys[key].length);
			key++;
		}
		line = strchr(line, '\n');
		if (!line)
			break;
	}
	if (have.memory) {
		read_cached(group->dir, "memory.current", &group->memory_current, text, sizeof(text));
		measured[KEYS] = number(text);
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	measured[KEYS + 1] = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	return measured[0] * 1000;
}

/* A memory.max below the memory in use kills processes. Therefore the usage is checked first. */
static void floor_limit(void *arg, unsigned times)
{
	struct group *group = arg;
	char text[32];

	read_cached(group->dir, "memory.current", &group->memory_current, text, sizeof(text));
	if (number(text) > MEMORY_MAX_BYTES * times)
		errx(2, "floor: %s bytes in use", text);
	write_limits(group->dir, times);
}

/* ---- the group of a process ---- */

static char mount_point[PATH_MAX];

static int open_of_process(pid_t pid, const char *file)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	return open_at(AT_FDCWD, path, O_RDONLY);
}

/* Returns the path of the cgroup of a process, which is the last line of its file. */
static char *path_in(int fd, char *text, size_t size)
{
	ssize_t n = pread(fd, text, size - 1, 0);
	char *path;

	if (n <= 0)
		err(2, "floor: read /proc/PID/cgroup");
	text[n - (text[n - 1] == '\n')] = '\0';
	path = strrchr(text, '\n');
	path = path ? path + 1 : text;
	if (strncmp(path, "0::", 3) != 0)
		errx(2, "floor: no cgroup2 in /proc/PID/cgroup");
	return path + 3;
}

/* Finds where the hierarchy is mounted, and gives the group an owner. */
static void prepare_find(struct group *group, int fd)
{
	static const char note[] = "1 4711 123456 1700000000000000000";
	char text[PATH_MAX], link[32];
	char *path = path_in(fd, text, sizeof(text));
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", group->dir);
	length = readlink(link, mount_point, sizeof(mount_point) - 1) - (ssize_t)strlen(path);
	if (length < 0 || strcmp(mount_point + length, path) != 0)
		errx(2, "floor: %s is not the group", path);
	mount_point[length] = '\0';
	if (fsetxattr(group->dir, "user.bench", note, sizeof(note), 0) != 0)
		err(2, "floor: setxattr");
}

/* The file is opened first and read last: if it can be read, the process has had the pid. In between it is seen if the main
 * thread lives, whose cgroup the file shows. */
static void floor_find(void *arg, pid_t pid)
{
	static char text[PATH_MAX], note[256], group[2 * PATH_MAX];
	int fd = open_of_process(pid, "cgroup"), statm = open_of_process(pid, "statm");
	char first = 0;

	if (pread(statm, &first, 1, 0) != 1 || first == '0')
		errx(2, "floor: the main thread has ended");
	close(statm);
	if (((struct group *)arg)->found++ == 0)
		prepare_find(arg, fd);
	snprintf(group, sizeof(group), "%s%s", mount_point, path_in(fd, text, sizeof(text)));
	if (getxattr(group, "user.bench", note, sizeof(note)) <= 0)
		err(2, "floor: getxattr of %s", group);
	close(fd);
}

/* The begin of the kernel's struct pidfd_info, and its ioctl PIDFD_GET_INFO. */
struct pidfd_answer {
	uint64_t mask, cgroup;
	uint32_t pid, others[11];
};
#define ASK_PIDFD _IOWR(0xFF, 11, struct pidfd_answer)

/* Before Linux 6.13 only /proc has the pid, and only a signal shows if it was the pid of the process up to now. */
static pid_t pid_in_proc(int pidfd)
{
	char path[64], text[1024];
	const char *line;
	int fd = -1;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	read_cached(AT_FDCWD, path, &fd, text, sizeof(text));
	close(fd);
	line = strstr(text, "\nPid:");
	if (!line)
		errx(2, "floor: no pid in %s", path);
	return (pid_t)strtol(line + 5, NULL, 10);
}

static void floor_find_pidfd(void *arg, int pidfd)
{
	struct pidfd_answer answer = { 0 };

	if (ioctl(pidfd, ASK_PIDFD, &answer) == 0) {
		floor_find(arg, (pid_t)answer.pid);
		if (ioctl(pidfd, ASK_PIDFD, &answer) != 0)
			err(2, "floor: the process has ended");
		return;
	}
	floor_find(arg, pid_in_proc(pidfd));
	if (syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) != 0)
		err(2, "floor: the process has ended");
}

const struct side floor_side = {
	"floor", floor_make, floor_remove, floor_fd, floor_move, floor_kill, floor_wait, floor_read, floor_limit,
	floor_find, floor_find_pidfd,
};
