/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Functions for places.c. */
#ifndef PLACES_H
#define PLACES_H

#define PATH_BYTES 4096

void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Record all visible cgroups. */
void remember(void);
/* Fail unless each cgroup has the same type, each other process is in the same cgroup, and new cgroups are the library's. */
void expect_unmoved(const char *when);
/* Fail if there is a new cgroup, a newly enabled controller or another process of this program. */
void expect_nothing_new(const char *when);

#endif /* PLACES_H */
