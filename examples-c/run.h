/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The parts of agentcg-run: options, values, environment of the command, measurements and report, signals, terminals. */
#ifndef AGENTCG_RUN_H
#define AGENTCG_RUN_H

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/types.h>
#include <termios.h>

#include <agentcg.h>

#include "shared.h"

#define NEVER UINT64_MAX         /* a time that does not come */

/* The exit statuses of timeout(1), env(1) and the shells. */
#define EXIT_TIME_IS_UP     124
#define EXIT_OWN_FAILURE    125
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND      127

/* run-options.c */

enum report { REPORT_TEXT, REPORT_JSON, REPORT_NONE };

struct run_options {
	agentcg_limits limits;
	uint64_t time_limit_ns;      /* 0: no limit */
	uint64_t grace_ns;           /* from SIGTERM to SIGKILL; NEVER: no SIGKILL */
	uint64_t stats_ns;           /* the interval of the measurements; 0: none are printed */
	const char *parent;          /* NULL: agentcg_new() finds a place */
	const char *label;           /* NULL: none */
	const char *tag;             /* NULL: none */
	const char *directory;       /* NULL: the current one */
	bool contain;
	bool pty;
	bool quiet;
	enum report report;
	int report_fd;               /* of the report and the measurements */
	bool has_uid, has_gid, has_nice;
	uid_t uid;
	gid_t gid;
	gid_t *groups;               /* NULL: the caller's */
	size_t groups_count;
	int nice;
	char **environment;          /* NAME=VALUE, to be added to the command's environment; ends with NULL */
	char **command;              /* ends with NULL */
};

/* Exits with 0 for --help and --version, and with EXIT_OWN_FAILURE for an invalid command line. */
void parse_options(struct run_options *options, int argc, char **argv);

/* Prints what is wrong with the command line, and exits. */
__attribute__((noreturn, format(printf, 1, 2))) void refuse(const char *format, ...);

/* run-values.c. option is the name of the option or the property, for the message. Each function exits if text is not a
 * value. "infinity" and "max" are AGENTCG_UNLIMITED, or NEVER. */

uint64_t parse_size(const char *option, const char *text);
uint64_t parse_memory(const char *option, const char *text);       /* a page or more */
uint64_t parse_cpus(const char *option, const char *text);         /* returns millicpu */
uint64_t parse_cpu_percent(const char *option, const char *text);  /* returns millicpu */
uint64_t parse_tasks(const char *option, const char *text);
uint64_t parse_weight(const char *option, const char *text);
uint64_t parse_time(const char *option, const char *text);         /* returns ns */
int parse_int(const char *option, const char *text, int least, int most);

/* run-properties.c */

/* Sets the property of systemd in text, NAME=VALUE. */
void set_property(struct run_options *options, const char *text);

/* run-user.c */

void set_user(struct run_options *options, const char *text);
void set_group(struct run_options *options, const char *text);
void add_to_environment(struct run_options *options, const char *name, const char *value);

/* run-descriptors.c */

struct descriptors {
	agentcg_spawn_fd *fds;       /* those above 2 that the command gets from the caller of agentcg-run */
	size_t count;
};

/* Keeps 0, 1 and 2 from being used for files of agentcg-run. To be called before any file is opened. */
bool reserve_standard_descriptors(void);

/* Finds the descriptors that a program would inherit that is executed now, except the one of the report. Returns false,
 * with errno set, if it fails. */
bool find_descriptors(struct descriptors *descriptors, int report_fd);

/* run-report.c */

#define FAILURE_SIZE (PATH_MAX + 64)

#define UNKNOWN UINT64_MAX       /* the number could not be read */

struct measurements {
	agentcg_stats stats;
	uint64_t processes;          /* processes in the group, without nested cgroups */
};

struct outcome {
	int wait_status;             /* of the command, as waitpid(2) returns it */
	agentcg_verdict verdict;     /* why it ended; 0 if that could not be found out */
	uint64_t wall_ns;            /* from the command's start to its end */
	bool time_is_up;
	bool interrupted_twice;
	bool killed;                 /* agentcg-run has killed everything before the command had ended */
	int failure_status;          /* not 0: agentcg-run has failed, or has not started the command; its exit status */
	char failure[FAILURE_SIZE];  /* why */
};

/* The label of all messages, NULL for none. */
extern const char *message_label;

/* Prints one line on stderr, which begins with "agentcg-run: ". */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* Returns 0, or the error of agentcg_read_stats(), with reterr filled in. */
int measure(agentcg *cg, struct measurements *ret_measured, agentcg_error *reterr);

void print_report(FILE *file, const struct run_options *options, const struct outcome *outcome,
                  const struct measurements *measured);

/* Appends the live line to line, as far as there is room. */
void append_live_line(char *line, size_t size, const agentcg_limits *limits, uint64_t elapsed_ns,
                      const agentcg_stats *before, const agentcg_stats *now);

/* run-json.c. Each prints one line. */

void print_json_report(FILE *file, const struct run_options *options, const char *uuid,
                       const struct outcome *outcome, const struct measurements *measured);
void print_json_stats(FILE *file, const struct run_options *options, const char *uuid, uint64_t elapsed_ns,
                      const agentcg_stats *stats);

/* run-signals.c */

struct signals {
	int fd;                      /* a signalfd(2), which does not block */
	int terminal;                /* the controlling terminal, or -1 */
	uint64_t inherited_ignored;  /* bit n - 1 is signal n */
	uint64_t inherited_blocked;
};

/* Returns false, with errno set, if it fails. */
bool watch_signals(struct signals *signals);

/* Returns false, with errno set, if it fails. */
bool forward_signal(const struct signalfd_siginfo *signal, pid_t command);

/* Stops agentcg-run. Returns when it has been continued. */
void stop_self(void);

/* Ends agentcg-run by the signal, without a core dump. Returns if the signal does not end it: it is the init of its pid
 * namespace. */
void end_by_signal(int signal);

/* run-terminal.c */

/* The state of the controlling terminal before the command. */
struct terminal_state {
	bool foreground;             /* agentcg-run was in the foreground; else the terminal is not changed */
	struct termios mode;
};

void save_terminal(struct terminal_state *state, int terminal);

/* Gives the terminal its mode back, and takes it back from a process group that is gone: a command that was killed could
 * not do that. */
void restore_terminal(const struct terminal_state *state, int terminal);

/* The pseudo-terminal of the command, and the bytes on their way between it and agentcg-run's own input and output. */
struct stream {
	char bytes[4096];
	size_t start, end;
};

#define PTY_POLLS 3

struct pty {
	int master;                  /* -1: none, or hung up */
	bool raw;                    /* agentcg-run's standard input is a terminal, and is raw */
	bool at_line_start;          /* of the input */
	bool input_ended;
	struct termios mode;         /* of the standard input, before */
	struct stream input, output;
};

/* Returns the command's end, or -1 with errno set. */
int pty_open(struct pty *pty);
void pty_resize(const struct pty *pty);
/* Makes the standard input raw, or gives it its mode back. */
void pty_set_raw(struct pty *pty, bool raw);
void pty_fill_polls(const struct pty *pty, struct pollfd polls[PTY_POLLS]);
void pty_relay(struct pty *pty, const struct pollfd polls[PTY_POLLS]);
/* Writes what the command has printed before it ended. */
void pty_drain(struct pty *pty);

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
