/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Functions for the tests: groups, children, and the kernel's files without the library. */
#ifndef SUPPORT_H
#define SUPPORT_H

#include "check.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Run a test, and check that it leaves no descriptor, no child and no agent. */
#define RUN(test) run(#test, test)
void run(const char *name, void (*test)(void));

/* ---- groups ---- */

/* Longer than any wait that ends. */
#define SOON_MS 20000
#define PATH_SIZE 4096

agentcg *new_group(void);
void destroy_group(agentcg *cg);

/* <parent>/synwire/agents, in which agentcg_new(NULL, ...) makes groups. */
void agents_directory(char *path);
/* The number of agents below parent; if it is NULL, below that of agentcg_new(NULL). */
int agents_below(const char *parent);

/* Set limits of the place of agentcg_new(NULL), read them, and lift them. */
void limit_place_briefly(void);

/* Make a cgroup beside synwire/, to be passed as parent. It enables controllers such as
 * "+pids +cpu" for its children. */
void make_parent(char *path, const char *name, const char *controllers);
/* Remove it and the library's directories in it. Fails if an agent is left. */
void remove_parent(const char *path);

/* ---- children ---- */

/* A child that sleeps until it is killed. */
pid_t pausing_child(void);
/* A child that adds to cpu.stat until it is killed. */
pid_t spinning_child(void);
/* A child that is a zombie. Its wait status is 0. */
pid_t zombie_child(void);
/* Wait for it. Returns its wait status. */
int reap(pid_t pid);
/* Wait for a child, which must have been killed by SIGKILL. */
void check_killed(pid_t pid);
/* Wait for a child, which must have ended by this signal. */
void check_ended_by(pid_t pid, int signal);
/* Kill a child and wait for it. */
void kill_and_reap(pid_t pid);
/* A forked child that runs body. Its wait status is 0 if all checks succeeded. */
pid_t child_that_runs(void (*body)(void *), void *argument);
/* Run body in a forked child, and wait for its success. */
void in_child(void (*body)(void *), void *argument);

/* ---- the kernel's files ---- */

/* Read a whole file, relative to the directory. Returns its length, or a negative errno value. */
int read_in(int directory, const char *file, char *text, size_t size);
int write_in(int directory, const char *file, const char *text);
/* Write a file, or fail the test. */
void write_to(const char *directory, const char *file, const char *text);
uint64_t number_in(agentcg *cg, const char *file);
uint64_t key_in(agentcg *cg, const char *file, const char *key);
/* Returns true if the group's cgroup.procs lists pid. */
int holds(agentcg *cg, pid_t pid);

int count_subdirectories(const char *path);
int count_descriptors(void);
/* Looks in /proc: newer versions of valgrind report fcntl(2) of a closed descriptor as an error. */
int is_open(int fd);
int is_directory(const char *path);
int64_t now_ms(void);

#ifdef __cplusplus
}
#endif

#endif
