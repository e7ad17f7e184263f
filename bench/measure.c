/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int missed;

double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void sort(double *figures, size_t count)
{
	qsort(figures, count, sizeof(*figures), compare);
}

void target(const char *what, double figure, int met)
{
	printf("%-7s %s: %.5g\n", met ? "met" : "MISSED", what, figure);
	missed += !met;
}
