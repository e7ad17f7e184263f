/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Starts the processes of the groups that the adapters move and kill. They are the same for every library. Commands on
 * the standard input, one in a line: "start DIRECTORY COUNT BURN-MS", which answers with the pid of the last process
 * when every process is in the group and has used so much CPU time, and "end", which kills and reaps all of them. */
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 20000

static pid_t pids[MOST];
static unsigned running;

static void burn(long ms)
{
	for (clock_t start = clock(); clock() - start < ms * CLOCKS_PER_SEC / 1000; )
		;
}

static void start(const char *directory, unsigned count, long burn_ms)
{
	int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ready[2];
	int procs = openat(dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	char byte = '+';

	if (dir < 0 || procs < 0 || pipe(ready) != 0 || running + count > MOST)
		err(2, "%s/cgroup.procs and a pipe", directory);
	for (unsigned n = 0; n < count; n++) {
		pid_t pid = fork();
		if (pid < 0)
			err(2, "fork of process %u", n);
		if (pid == 0) {
			if (write(procs, "0", 1) != 1)
				byte = '-';
			burn(burn_ms);
			if (write(ready[1], &byte, 1) != 1 || byte == '-')
				_exit(1);
			for (;;)
				pause();
		}
		pids[running++] = pid;
	}
	for (unsigned n = 0; n < count; n++)
		if (read(ready[0], &byte, 1) != 1 || byte == '-')
			errx(2, "a process could not enter %s", directory);
	close(ready[0]);
	close(ready[1]);
	close(procs);
	close(dir);
	printf("%d\n", (int)pids[running - 1]);
}

static void end(void)
{
	for (unsigned n = 0; n < running; n++)
		kill(pids[n], SIGKILL);
	while (running > 0)
		waitpid(pids[--running], NULL, 0);
	puts("ended");
}

int main(void)
{
	char line[1024], directory[1024];
	unsigned count;
	long burn_ms;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "start %1023s %u %ld", directory, &count, &burn_ms) == 3)
			start(directory, count, burn_ms);
		else
			end();
	}
	end();
	return 0;
}
