/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef ADAPTER_H
#define ADAPTER_H

#include "../../bench.h"

/* Each adapter defines these: adapter.c has the protocol (../README.md), which is common to them. */

/* The operations of struct side that the protocol uses: make, remove, fd, move, kill and read. An operation that the
 * library does not have is NULL. */
extern const struct side *const adapter_side;
/* Called once. Groups are made in the directory, with three limits or without. */
void adapter_init(const char *directory, int limits);
/* Starts the program in the group and returns its pid. */
pid_t adapter_spawn(void *group, char *const *argv);

/* The environment of the programs. */
extern char *const no_environment[];
/* For libraries that start no program: forks a child, which calls enter() and then execve(2). */
pid_t fork_and_enter(void *group, char *const *argv, void (*enter)(void *group));

#endif
