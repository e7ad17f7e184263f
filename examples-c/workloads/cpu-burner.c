// SPDX-License-Identifier: MIT OR Apache-2.0
/* cpu-burner SECONDS - use CPU time for SECONDS, and print every half second how much it was. */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	double wanted = argc == 2 ? strtod(argv[1], NULL) : 0;
	double start = seconds(CLOCK_MONOTONIC), next_print = 0.5, gone;

	if (!(wanted > 0)) {
		fprintf(stderr, "usage: cpu-burner SECONDS\n");
		return 2;
	}
	do {
		gone = seconds(CLOCK_MONOTONIC) - start;
		if (gone >= next_print) {
			printf("cpu-burner: %.2f s of CPU in %.2f s\n", seconds(CLOCK_PROCESS_CPUTIME_ID), gone);
			fflush(stdout);
			next_print = gone + 0.5;
		}
	} while (gone < wanted);
	return 0;
}
