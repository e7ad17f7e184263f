/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The floor of starting a program: x86_64 and aarch64 only. */
#ifndef CLONE_H
#define CLONE_H

#include <sys/types.h>

/* Starts argv[0] in the cgroup of the descriptor. Ends the program on failure. */
pid_t clone_and_exec(int cgroup, char *const *argv, char *const *envp);

#endif
