/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Measures dlopen(3) of shared libraries in turn, each time in a new process that has loaded only the C library.
 * usage: load ROUNDS LIBRARY...: prints a line for each library: its path and the median in ns. */
#include "../../measure.h"

#include <dlfcn.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_ROUNDS 1001
#define MOST_LIBRARIES 16

static double load_ns(const char *library)
{
	double ns;
	int result[2];

	if (pipe(result) != 0)
		err(2, "pipe");
	pid_t pid = fork();
	if (pid < 0)
		err(2, "fork");
	if (pid == 0) {
		double start_ns = now_ns();
		if (!dlopen(library, RTLD_NOW))
			errx(2, "%s", dlerror());
		ns = now_ns() - start_ns;
		_exit(write(result[1], &ns, sizeof(ns)) == sizeof(ns) ? 0 : 2);
	}
	close(result[1]);
	if (read(result[0], &ns, sizeof(ns)) != sizeof(ns))
		errx(2, "%s cannot be loaded", library);
	close(result[0]);
	if (waitpid(pid, NULL, 0) != pid)
		err(2, "waitpid");
	return ns;
}

int main(int argc, char **argv)
{
	static double ns[MOST_LIBRARIES][MOST_ROUNDS];
	int rounds = argc > 2 ? atoi(argv[1]) : 0, libraries = argc - 2;

	if (rounds < 1 || rounds > MOST_ROUNDS || libraries > MOST_LIBRARIES)
		errx(2, "usage: %s ROUNDS LIBRARY...", argv[0]);
	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < libraries; i++)
			ns[i][round] = load_ns(argv[i + 2]);
	}
	for (int i = 0; i < libraries; i++) {
		sort(ns[i], (size_t)rounds);
		printf("%s %.0f\n", argv[i + 2], ns[i][rounds / 2]);
	}
	return 0;
}
