/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The parts of agentcg-run: what was asked, what was measured, what is shown. */
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
	uint64_t time_limit_ns;      /* 0: none */
	const char *parent;          /* NULL: agentcg_new() finds a place */
	bool quiet;
	char **command;              /* ends with NULL */
};

/* Does not return from --help and --version (exit 0) and from what makes no sense (exit 2). */
void parse_options(struct run_options *options, int argc, char **argv);

/* run-report.c */

#define UNKNOWN UINT64_MAX       /* it could not be read */

struct measurements {
	agentcg_stats stats;
	uint64_t processes;          /* alive in the group itself, not in groups nested in it */
};

struct outcome {
	int wait_status;             /* of the command, as waitpid(2) gives it */
	uint64_t wall_ns;            /* until it ended */
	bool time_is_up;
	bool interrupted_twice;
};

/* One line on stderr: "agentcg-run: " and the words. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* 0, or what agentcg_read_stats() returned, reterr filled in. */
int measure(agentcg *cg, struct measurements *ret_measured, agentcg_error *reterr);

void print_report(const struct run_options *options, const struct outcome *outcome,
                  const struct measurements *measured);

/* To what is in line, as much as there is room for. */
void append_live_line(char *line, size_t size, const agentcg_limits *limits, uint64_t elapsed_ns,
                      const agentcg_stats *before, const agentcg_stats *now);

/* run-signals.c */

struct signals {
	int fd;                      /* readable when one came; gives struct signalfd_siginfo, never blocks */
	bool has_terminal;
	sigset_t inherited_mask;
	void (*inherited_sigchld)(int);
	void (*inherited_sigpipe)(int);
};

/* false, errno set: no descriptor to be had. */
bool watch_signals(struct signals *signals);

/* In the child, before execve(2): as if we had not been there. */
void restore_signals(const struct signals *signals);

/* In the parent and in the child, since neither knows which one runs first. */
void place_in_process_group(const struct signals *signals, pid_t command);

/* false, errno set. */
bool forward_signal(const struct signalfd_siginfo *signal, pid_t command);

/* Returns when somebody has continued us. */
void stop_ourselves(void);

/* run-screen.c */

/* The live line: the terminal's bottom line, which scrolling text leaves alone. */
struct screen {
	bool usable;                 /* stderr is a terminal that can do this */
	bool shown;
	unsigned int rows;           /* 0: the terminal does not tell its size */
	unsigned int columns;
};

struct screen screen_open(void);
void screen_draw(struct screen *screen, const char *line);
void screen_clear(struct screen *screen);

#endif /* AGENTCG_RUN_H */
