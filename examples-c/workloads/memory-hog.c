// SPDX-License-Identifier: MIT OR Apache-2.0
/* memory-hog MIB - allocate MIB mebibytes, one at a time, and print the amount every 8 MiB. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB 1048576ul

int main(int argc, char **argv)
{
	unsigned long wanted = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;

	if (wanted == 0) {
		fprintf(stderr, "usage: memory-hog MIB\n");
		return 2;
	}
	for (unsigned long taken = 1; taken <= wanted; taken++) {
		char *memory = malloc(MIB);

		if (!memory) {
			perror("memory-hog: malloc");
			return 1;
		}
		memset(memory, 1, MIB);         /* the kernel charges a page when it is first written */
		if (taken % 8 == 0 || taken == wanted) {
			printf("memory-hog: %lu MiB\n", taken);
			fflush(stdout);
		}
	}
	return 0;
}
