/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the tests of agentcg_spawn() share. */
#ifndef SPAWNING_H
#define SPAWNING_H

#include "support.h"

#define WORDS(...) ((char *[]){ __VA_ARGS__, NULL })
#define OWN ((agentcg_spawn_options)AGENTCG_SPAWN_OPTIONS_INIT)

/* Start argv[0], which is a path. It is to be waited for. */
pid_t started(agentcg *cg, char *const *argv, char *const *envp, agentcg_spawn_options options);
/* What it writes to its standard output until it ends, with 0. Good until the next call. */
const char *said(agentcg *cg, char *const *argv, char *const *envp, agentcg_spawn_options options);
/* All that comes by a pipe until its other ends are closed. Good until the next call. */
const char *all_of(int pipe_end);
/* A new file in memory, "/memfd:NAME (deleted)" in /proc. */
int file_named(const char *name);
/* No child of any kind, not even one that no plain wait would see, and nobody in the group. */
void check_nothing_is_left(agentcg *cg);
/* From now on the system call fails with ENOSYS in the calling thread and in its children. */
void refuse(int call);

#endif
