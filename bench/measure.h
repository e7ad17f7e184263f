/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Common functions of the benchmarks: the clock, sorting, and the check of targets. */
#ifndef MEASURE_H
#define MEASURE_H

#include <stddef.h>

double now_ns(void);
/* Sorts in ascending order. */
void sort(double *figures, size_t count);
/* Prints a target, its figure, and if it is met. */
void target(const char *what, double figure, int met);
/* The number of missed targets. */
extern int missed;

#endif
