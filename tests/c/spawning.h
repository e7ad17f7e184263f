/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Functions for the tests of agentcg_spawn(). */
#ifndef SPAWNING_H
#define SPAWNING_H

#include "support.h"

#define WORDS(...) ((char *[]){ __VA_ARGS__, NULL })
#define OWN ((agentcg_spawn_options)AGENTCG_SPAWN_OPTIONS_INIT)

/* Start argv[0], which is a path. The caller must wait for it. */
pid_t started(agentcg *cg, char *const *argv, char *const *envp, agentcg_spawn_options options);
/* The program's standard output until it ends with status 0. Valid until the next call. */
const char *output_of(agentcg *cg, char *const *argv, char *const *envp, agentcg_spawn_options options);
/* What is read from a pipe until its other ends are closed. Valid until the next call. */
const char *all_of(int pipe_end);
/* A new file in memory, "/memfd:NAME (deleted)" in /proc. */
int memory_file(const char *name);
/* Fails if there is a child, also one that only __WALL finds, or a process in the group. */
void check_nothing_is_left(agentcg *cg);
/* From now on the system call fails with ENOSYS in the calling thread and in its children. */
void refuse(int call);

#endif
