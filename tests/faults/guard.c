/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The acts in which the faults are in the guard's process: when it starts, when
 * it handles messages, and when it ends the agents of a host that has ended.
 * Host and guard are traced from the host's start. Only the system calls of the
 * guard are counted.
 */
#include "faults.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Without a fault it takes some milliseconds, with one several attempts of the guard. */
#define GUARD_SECONDS 30
#define REAP_MS 3000
/* Slower runs are printed. */
#define SLOW_SECONDS 2
#define MEMBERS 3
#define MAX_GUARDS 8
/* The machine may be too slow: the host does not wait long for a guard, and a traced guard is slow. */
#define MOST_FAILURES 10

enum phase { AT_START, AT_MESSAGES, AT_END };

struct guard_act {
	const char *name;
	enum phase phase;
	const char *below[MEMBERS];     /* the cgroups of the members, below the group */
};

static const struct guard_act guard_acts[] = {
	{ "guard_start", AT_START, { NULL } },
	{ "guard_messages", AT_MESSAGES, { "" } },
	{ "guard_end/empty", AT_END, { NULL } },
	{ "guard_end/member", AT_END, { "" } },
	{ "guard_end/nested", AT_END, { "/a", "/a/b", "/c" } },
};
const size_t guard_act_count = sizeof(guard_acts) / sizeof(guard_acts[0]);

const char *guard_act_name(size_t number)
{
	return guard_acts[number].name;
}

/* Shared with the host, which must not be stopped by a signal. */
static struct shared {
	volatile int go;                /* the host does the next step */
	volatile int done;              /* it has done so many steps */
	volatile int code, again;       /* of the step with the fault, and of the same one after it */
	volatile int reaped;
	char message[200];
	char failure[200];
} *shared;

/* ---- the host ---- */

static void step_done(void)
{
	int next = shared->done + 1;

	shared->done = next;
	while (shared->go <= next)
		nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
}

static int make(agentcg **group)
{
	agentcg_error error;
	int code = agentcg_new(scratch, NULL, NULL, 0, AGENTCG_NEW_NO_SYSTEMD | AGENTCG_NEW_GUARD, group, &error);

	if (code < 0)
		snprintf(shared->message, sizeof(shared->message), "%s", error.message);
	return code;
}

/* Make and destroy another agent: the guard gets a message for each. */
static int make_and_destroy(void)
{
	agentcg_error error;
	agentcg *group;
	int code = make(&group);

	if (code < 0)
		return code;
	code = agentcg_destroy(group, 0, REAP_MS, NULL, 0, &error);
	if (code < 0)
		snprintf(shared->message, sizeof(shared->message), "destroy: %s", error.message);
	return code;
}

/* The process lives on when the host ends. */
static void add_member(agentcg *group, const char *below)
{
	char path[4400];
	int length = agentcg_path(group, path, sizeof(path)), ready[2];
	char byte;

	snprintf(path + length, sizeof(path) - (size_t)length, "%s", below);
	if ((mkdir(path, 0755) != 0 && errno != EEXIST) || pipe(ready) != 0) {
		snprintf(shared->failure, sizeof(shared->failure), "%s: %s", path, strerror(errno));
		_exit(1);
	}
	if (fork() == 0) {
		FILE *procs;

		strcat(path, "/cgroup.procs");
		procs = fopen(path, "w");
		if (!procs || fputs("0", procs) < 0 || fclose(procs) != 0)
			_exit(1);
		for (int fd = 3; fd < 64; fd++)
			if (fd != ready[1])
				close(fd);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		close(ready[1]);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1) {
		snprintf(shared->failure, sizeof(shared->failure), "no member in %s", path);
		_exit(1);
	}
	close(ready[0]);
}

static void live(const struct guard_act *act)
{
	agentcg *group = NULL, *other = NULL;
	char path[4200];
	FILE *procs;

	snprintf(path, sizeof(path), "%s/cgroup.procs", host_cgroup);
	procs = fopen(path, "w");
	if (!procs || fputs("0", procs) < 0 || fclose(procs) != 0)
		_exit(1);
	step_done();
	if (act->phase != AT_START) {
		shared->code = make(&group);
		if (shared->code < 0) {
			snprintf(shared->failure, sizeof(shared->failure), "%s", shared->message);
			_exit(1);
		}
		for (size_t i = 0; i < MEMBERS && act->below[i]; i++)
			add_member(group, act->below[i]);
	}
	step_done();
	if (act->phase == AT_START)
		shared->code = make(&group);
	if (act->phase == AT_MESSAGES)
		shared->code = make_and_destroy();
	step_done();
	/* Without a fault. */
	if (act->phase == AT_START)
		shared->again = make(&other);
	if (act->phase == AT_MESSAGES)
		shared->again = make_and_destroy();
	step_done();
	for (;;)
		pause();
}

/* ---- its tracer ---- */

static struct {
	pid_t host, guards[MAX_GUARDS];
	size_t guard_count;
	bool host_ended, guard_ended[MAX_GUARDS];
	bool arm_at_start, armed;       /* the system calls of guards are traced */
	bool counting;                  /* from the guard's first sleep on: before, it may still work for the step before */
	bool host_held;                 /* the host is stopped, so that it does not see the guard stopped by the tracer */
	bool in_call, failing, listing, sleeps;
	struct fault fault;
	long number;                    /* of the system call that fails; fault.at counts only these */
	struct traced *traced;
	size_t room;
} watched;

static size_t guard_number(pid_t pid)
{
	size_t i = 0;

	while (i < watched.guard_count && watched.guards[i] != pid)
		i++;
	return i;
}

static bool guards_ended(void)
{
	for (size_t i = 0; i < watched.guard_count; i++)
		if (!watched.guard_ended[i])
			return false;
	return true;
}

static void hold_host(bool hold)
{
	if (hold == watched.host_held || watched.host_ended)
		return;
	watched.host_held = hold;
	if (hold)
		ptrace(PTRACE_INTERRUPT, watched.host, NULL, NULL);
	else
		ptrace(PTRACE_CONT, watched.host, NULL, 0);
}

static bool is_guard(pid_t pid)
{
	char path[64], name[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	return read_text(path, name, sizeof(name)) > 0 && strcmp(name, "agentcg-guard\n") == 0;
}

static void on_call(pid_t pid)
{
	struct traced *traced = watched.traced;
	long call_number;

	watched.in_call = !watched.in_call;
	if (!watched.in_call) {
		if (watched.sleeps) {
			watched.sleeps = false;
			hold_host(true);
		}
		if (watched.failing) {
			watched.failing = false;
			set_result(pid, -watched.fault.error);
		}
		return;
	}
	call_number = number_of(pid);
	watched.sleeps = call_number == SYS_pselect6;
	watched.counting |= watched.sleeps;
	if (!watched.counting)
		return;
	if (watched.listing) {
		if (traced->calls == watched.room) {
			watched.room = watched.room ? 2 * watched.room : 256;
			traced->list = realloc(traced->list, watched.room * sizeof(*traced->list));
			if (!traced->list)
				die("no memory");
		}
		traced->list[traced->calls++] = call_of(pid);
		return;
	}
	if (call_number != watched.number)
		return;
	bool again = traced->injected;
	if (again || ++traced->calls == watched.fault.at) {
		struct call call = call_of(pid);
		const int *errnos = call_errnos(&call);
		bool possible = again;

		for (; !again && errnos && *errnos; errnos++)
			possible |= *errnos == watched.fault.error;
		if (!possible)
			return;
		if (!again)
			traced->call = call;
		traced->injected = watched.failing = true;
		skip_call(pid);
	}
}

static bool is_traced(pid_t pid)
{
	return watched.armed && guard_number(pid) == 0 && watched.guard_count > 0 &&
	       (!watched.counting || watched.listing || watched.failing || watched.fault.lasting || watched.traced->calls < watched.fault.at);
}

/* Handle an event of a traced process, or the end of a child. Returns false if there is none. */
static bool take_event(void)
{
	int status;
	pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);

	if (pid <= 0)
		return false;
	if (!WIFSTOPPED(status)) {
		if (pid == watched.host)
			watched.host_ended = true;
		if (guard_number(pid) < watched.guard_count) {
			watched.guard_ended[guard_number(pid)] = true;
			hold_host(false);
		}
		return true;
	}
	int event = status >> 16, signal = WSTOPSIG(status);

	if (event == PTRACE_EVENT_EXEC && is_guard(pid) && guard_number(pid) == watched.guard_count) {
		if (watched.guard_count == MAX_GUARDS)
			die("more than %d guards", MAX_GUARDS);
		watched.guards[watched.guard_count] = pid;
		watched.guard_ended[watched.guard_count++] = false;
		if (watched.arm_at_start && watched.guard_count == 1) {
			watched.armed = watched.counting = watched.in_call = true;
			hold_host(true);
		}
	}
	if (signal == (SIGTRAP | 0x80)) {
		on_call(pid);
		signal = 0;
	} else if (event) {
		signal = 0;
	}
	if (pid == watched.host && watched.host_held && event == PTRACE_EVENT_STOP)
		return true;
	bool traced = is_traced(pid);

	ptrace(traced ? PTRACE_SYSCALL : PTRACE_CONT, pid, NULL, signal);
	/* The process is not stopped any more, or is being killed. */
	if (guard_number(pid) == 0 && watched.guard_count > 0 && (!traced || watched.sleeps))
		hold_host(false);
	return true;
}

static double seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Let all processes run until the condition is true. Returns false after a timeout. */
static bool until(bool (*condition)(void))
{
	double now = seconds(), last = now, end = now + GUARD_SECONDS;

	for (; !condition() && now < end; now = seconds()) {
		if (take_event())
			last = now;
		else if (now - last < 0.02)
			sched_yield(); /* a sleep may last until the next tick of the clock */
		else
			nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
	}
	return condition();
}

static bool step_is_done(void)
{
	return shared->done >= shared->go || watched.host_ended;
}

static bool take_step(void)
{
	shared->go++;
	return until(step_is_done) && !watched.host_ended;
}

static bool all_have_ended(void)
{
	return watched.host_ended && guards_ended();
}

static bool guard_sleeps(void)
{
	return watched.sleeps || guards_ended();
}

/* Count from the guard's next sleep on. It sleeps before the host inspects it. */
static void arm(void)
{
	watched.armed = true;
	ptrace(PTRACE_INTERRUPT, watched.guards[0], NULL, NULL);
	if (!until(guard_sleeps)) {
		char path[64], state[512];

		snprintf(path, sizeof(path), "/proc/%d/stat", watched.guards[0]);
		read_text(path, state, sizeof(state));
		die("the guard does not sleep; /proc/PID/stat: %.40s", state);
	}
}

static int reap_in_a_child(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		agentcg_error error;

		shared->reaped = agentcg_reap(scratch, REAP_MS, &error);
		if (shared->reaped < 0)
			snprintf(shared->message, sizeof(shared->message), "%s", error.message);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && status == 0 ? shared->reaped : -ECHILD;
}

static bool is_left(const char *what)
{
	char path[4400];

	snprintf(path, sizeof(path), "%s/synwire%s", scratch, what);
	return access(path, F_OK) == 0;
}

/* Returns true if an agent is left. Directories above agents and the guard's cgroup do not count. */
static bool agents_are_left(void)
{
	struct stat agents;
	char path[4400];

	snprintf(path, sizeof(path), "%s/synwire/agents", scratch);
	/* Each directory in it adds a link. */
	return stat(path, &agents) == 0 && agents.st_nlink > 2;
}

/* Returns what was wrong, or NULL. */
static const char *run_once(const struct guard_act *act, struct fault fault, long number, struct traced *traced, bool *left_to_reap)
{
	static char text[400];
	static unsigned failures;
	long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
		       PTRACE_O_TRACEEXEC;
	const char *wrong = NULL;

	fresh_scratch();
	memset(shared, 0, sizeof(*shared));
	memset(&watched, 0, sizeof(watched));
	traced->calls = 0;
	traced->injected = false;
	*left_to_reap = false;
	watched.fault = fault;
	watched.number = number;
	watched.traced = traced;
	watched.listing = fault.at == 0;
	fflush(stdout);
	watched.host = fork();
	if (watched.host < 0)
		die("fork: %s", strerror(errno));
	if (watched.host == 0)
		live(act);
	if (!take_step() || ptrace(PTRACE_SEIZE, watched.host, NULL, options) != 0)
		die("%s: no host: %s %s", act->name, strerror(errno), shared->failure);
	/* A host whose guard the tracer has stopped would start another guard. */
	if (!take_step()) {
		kill_left();
		wipe(scratch);
		if (++failures > MOST_FAILURES)
			die("%s: its state cannot be make: %s", act->name, shared->failure);
		return run_once(act, fault, number, traced, left_to_reap);
	}
	watched.arm_at_start = act->phase == AT_START;
	if (act->phase != AT_START)
		arm();
	if (act->phase != AT_END && !take_step())
		wrong = watched.host_ended ? "the host was killed by it" : "the host hangs";
	if (act->phase != AT_END)
		watched.armed = watched.arm_at_start = false;
	if (!wrong && shared->code == -ENOTRECOVERABLE)
		wrong = "ENOTRECOVERABLE";
	if (!wrong && !is_listed("agentcg_new", shared->code))
		wrong = "the code is not listed";
	if (!wrong && act->phase != AT_END && !take_step())
		wrong = "then the host ends or hangs";
	if (!wrong && shared->again < 0) {
		snprintf(text, sizeof(text), "the same call without a fault then is %s: %s", errno_name(-shared->again), shared->message);
		wrong = text;
	}
	hold_host(false);
	kill(watched.host, SIGKILL);
	if (!until(all_have_ended) && !wrong)
		wrong = "the guard does not end after its host";
	for (size_t i = 0; i < watched.guard_count; i++)
		if (!watched.guard_ended[i])
			kill(watched.guards[i], SIGKILL);
	if (!wrong && agents_are_left() && !fault.lasting && act->phase == AT_END)
		wrong = "the agent outlives its host";
	if (is_left("")) {
		int reaped;

		*left_to_reap = true;
		reaped = reap_in_a_child();
		if (!wrong && reaped < 0) {
			snprintf(text, sizeof(text), "agentcg_reap then is %s: %s", errno_name(-reaped), shared->message);
			wrong = text;
		}
		if (!wrong && is_left(""))
			wrong = "something is left that agentcg_reap does not remove";
	}
	kill_left();
	wipe(scratch);
	return wrong;
}

/* The number of times that the guard has make this call so far, on any file or on the same one. */
static unsigned occurrence(const struct traced *traced, unsigned at, bool same_file)
{
	const struct call *call = &traced->list[at - 1];
	unsigned count = 1;

	for (unsigned i = 0; i + 1 < at; i++)
		count += traced->list[i].number == call->number && (!same_file || strcmp(traced->list[i].file, call->file) == 0);
	return count;
}

struct totals run_guard_act(size_t number, const struct choice *choice)
{
	const struct guard_act *act = &guard_acts[number];
	struct traced reference = { 0 }, faulty = { 0 };
	struct totals totals = { 0 };
	unsigned left = 0, turn = 0;
	bool left_to_reap;
	double start = seconds();
	const char *wrong = NULL;

	if (!shared)
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("%s", strerror(errno));
	for (int tries = 0; tries < MOST_FAILURES && (tries == 0 || shared->code == -EAGAIN); tries++)
		wrong = run_once(act, (struct fault){ 0 }, 0, &reference, &left_to_reap);
	if (wrong || shared->code < 0 || left_to_reap)
		die("%s without a fault: %s, %d (%s)%s", act->name, wrong ? wrong : "", shared->code, shared->message,
		    left_to_reap ? ", something is left" : "");
	for (unsigned at = 1; at <= reference.calls; at++) {
		const struct call *call = &reference.list[at - 1];
		const int *errnos = call_errnos(call);

		if (choice->listing)
			printf("  %3u %s(%s)\n", at, call_name(call->number), call->file);
		if (!errnos) {
			printf("ROW %s: errnos.c lacks system call %ld\n", act->name, call->number);
			totals.rows++;
			continue;
		}
		if (choice->listing || occurrence(&reference, at, true) > choice->most_repeats)
			continue;
		for (; *errnos; errnos++) {
			struct fault fault = { .at = occurrence(&reference, at, false), .error = *errnos, .lasting = choice->lasting };

			if ((choice->only_errno && *errnos != choice->only_errno) || turn++ % choice->parts != choice->part)
				continue;
			/* A permanent EINTR is a stop, and the guard waits as long as something is busy. */
			if (fault.lasting && (*errnos == EINTR || *errnos == EAGAIN || *errnos == EBUSY))
				continue;
			double begin = seconds();

			wrong = run_once(act, fault, call->number, &faulty, &left_to_reap);
			if (choice->verbose && seconds() - begin > SLOW_SECONDS)
				printf("    slow: call %u, %s(%s) %s: %d, %.1f s\n", at, call_name(call->number), call->file, errno_name(*errnos),
				       shared->code, seconds() - begin);
			if (!faulty.injected) {
				totals.missed++;
				continue;
			}
			totals.injections++;
			left += left_to_reap;
			if (left_to_reap && choice->verbose)
				printf("    left to reap: call %u, %s(%s) %s\n", at, call_name(faulty.call.number), faulty.call.file,
				       errno_name(*errnos));
			if (!wrong)
				continue;
			totals.rows++;
			printf("ROW %s: call %u, %s(%s) %s%s: %s\n", act->name, at, call_name(faulty.call.number), faulty.call.file,
			       errno_name(*errnos), fault.lasting ? " for ever" : "", wrong);
		}
	}
	printf("%-26s %4u system calls, %5u injections, %4u rows, %u left to reap, %.0f s\n", act->name, reference.calls,
	       totals.injections, totals.rows, left, seconds() - start);
	free(reference.list);
	return totals;
}
