/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the tests share: groups, children, and the kernel's own files read by hand. */
#ifndef SUPPORT_H
#define SUPPORT_H

#include "check.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Run a test and hold it to leaving nothing behind: no descriptor, no child, no agent. */
#define RUN(test) run(#test, test)
void run(const char *name, void (*test)(void));

/* ---- groups ---- */

/* Long enough for any wait that is bound to end. */
#define SOON_MS 20000
#define PATH_SIZE 4096

agentcg *new_group(void);
void destroy_group(agentcg *cg);

/* <parent>/synwire/agents, where agentcg_new(NULL, ...) puts its groups. */
void agents_directory(char *path);
/* How many agents there are below parent, or below agentcg_new(NULL)'s parent. */
int agents_below(const char *parent);

/* A cgroup made by hand beside synwire/, with controllers such as "+pids +cpu" on
 * for its children, to be given as parent. */
void make_parent(char *path, const char *name, const char *controllers);
/* Fails unless what the library made in it is empty again. */
void remove_parent(const char *path);

/* ---- children ---- */

/* A child that waits to be killed. */
pid_t pausing_child(void);
/* A child that adds to cpu.stat until it is killed. */
pid_t spinning_child(void);
/* A child that is a zombie already. Its wait status is 0. */
pid_t zombie_child(void);
/* Wait for it. Returns its wait status. */
int reap(pid_t pid);
/* Wait for a child that the library is to have killed. */
void check_killed(pid_t pid);
/* The same of another signal. */
void check_ended_by(pid_t pid, int signal);
/* Kill it ourselves. */
void kill_and_reap(pid_t pid);
/* A forked child that runs body; its wait status is 0 if all checks in it held. */
pid_t child_that_runs(void (*body)(void *), void *argument);
/* The same, waited for. */
void in_child(void (*body)(void *), void *argument);

/* ---- the kernel's files ---- */

/* The file of the group, whole, as text. Returns its length, or a negative errno value. */
int read_in(int directory, const char *file, char *text, size_t size);
int write_in(int directory, const char *file, const char *text);
/* The same where failing is no answer. */
void write_to(const char *directory, const char *file, const char *text);
uint64_t number_in(agentcg *cg, const char *file);
uint64_t key_in(agentcg *cg, const char *file, const char *key);
/* Is pid listed in the group's own cgroup.procs? */
int holds(agentcg *cg, pid_t pid);

int count_subdirectories(const char *path);
int count_descriptors(void);
/* Asked in /proc: newer valgrinds take fcntl(2) on a descriptor that was closed for a mistake. */
int is_open(int fd);
int is_directory(const char *path);
int64_t now_ms(void);

#ifdef __cplusplus
}
#endif

#endif
