/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the benchmarks have in common: the clock, the order of figures, and whether they are what they are to be. */
#ifndef MEASURE_H
#define MEASURE_H

#include <stddef.h>

double now_ns(void);
/* The least first: the median is in the middle. */
void sort(double *figures, size_t count);
/* Tell whether a target is met. */
void target(const char *what, double figure, int met);
/* How many were not. */
extern int missed;

#endif
