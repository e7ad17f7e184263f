/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The parts of agentcg-run: options, measurements and report, signals, live line. */
#ifndef AGENTCG_RUN_H
#define AGENTCG_RUN_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/signalfd.h>
#include <sys/types.h>

#include <agentcg.h>

#include "shared.h"

/* run-options.c */

struct run_options {
	agentcg_limits limits;
	uint64_t time_limit_ns;      /* 0: no limit */
	const char *parent;          /* NULL: agentcg_new() finds a place */
	bool quiet;
	char **command;              /* ends with NULL */
};

/* Exits with 0 for --help and --version, and with 2 for an invalid command line. */
void parse_options(struct run_options *options, int argc, char **argv);

/* run-report.c */

#define UNKNOWN UINT64_MAX       /* the number could not be read */

struct measurements {
	agentcg_stats stats;
	uint64_t processes;          /* processes in the group, without nested cgroups */
};

struct outcome {
	int wait_status;             /* of the command, as waitpid(2) returns it */
	uint64_t wall_ns;            /* from the command's start to its end */
	bool time_is_up;
	bool interrupted_twice;
};

/* Prints one line on stderr, which begins with "agentcg-run: ". */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* Returns 0, or the error of agentcg_read_stats(), with reterr filled in. */
int measure(agentcg *cg, struct measurements *ret_measured, agentcg_error *reterr);

void print_report(const struct run_options *options, const struct outcome *outcome,
                  const struct measurements *measured);

/* Appends the live line to line, as far as there is room. */
void append_live_line(char *line, size_t size, const agentcg_limits *limits, uint64_t elapsed_ns,
                      const agentcg_stats *before, const agentcg_stats *now);

/* run-signals.c */

struct signals {
	int fd;                      /* a signalfd(2), which does not block */
	bool has_terminal;
	sigset_t inherited_mask;
	void (*inherited_sigchld)(int);
	void (*inherited_sigpipe)(int);
};

/* Returns false, with errno set, if it fails. */
bool watch_signals(struct signals *signals);

/* Restores the inherited signal state, in the child before execve(2). */
void restore_signals(const struct signals *signals);

/* To be called in the parent and in the child, since either may run first. */
void place_in_process_group(const struct signals *signals, pid_t command);

/* Returns false, with errno set, if it fails. */
bool forward_signal(const struct signalfd_siginfo *signal, pid_t command);

/* Stops agentcg-run. Returns when it has been continued. */
void stop_self(void);

/* run-screen.c */

/* The live line: the bottom line of the terminal, which does not scroll. */
struct screen {
	bool usable;                 /* stderr is a terminal that can do this */
	bool shown;
	unsigned int rows;           /* 0: the terminal does not report its size */
	unsigned int columns;
};

struct screen screen_open(void);
void screen_draw(struct screen *screen, const char *line);
void screen_clear(struct screen *screen);

#endif /* AGENTCG_RUN_H */
