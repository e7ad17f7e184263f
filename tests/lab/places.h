/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What places.c is made of. */
#ifndef PLACES_H
#define PLACES_H

#define PATH_BYTES 4096

void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Look at every cgroup that can be seen, and keep that. */
void remember(void);
/* Each cgroup has the type, and each process but our own the cgroup, that it had; new cgroups have our names. */
void expect_unmoved(const char *when);
/* No cgroup, no enabled controller and no process of ours has come since. */
void expect_nothing_new(const char *when);

#endif /* PLACES_H */
