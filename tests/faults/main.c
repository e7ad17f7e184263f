/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * faults [-H HEADER] [-m MAP] [-p PART/PARTS] [-e ERRNO] [-d] [-l] [-L] [-s] [-v] [ACT...]
 *
 * Calls every function in every state of acts.c (or those whose names begin with
 * an ACT), and makes each of its system calls fail in turn with each error that
 * it can have (or with ERRNO). A wrong outcome is a row of the output. Exit
 * status 0: no rows. README.md describes the rest.
 */
#include "faults.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../c/check.h"

/* A host that takes longer hangs. */
#define HANG_SECONDS 20
/* The most injections into repetitions of one system call on one file in an act. */
#define MOST_REPEATS 6
#define MOUNT "/sys/fs/cgroup"

static char scratch_path[4096], own_parent[4096], own[4096];
static unsigned rows, injections, missed, part, parts = 1;
static int only_errno;
static bool verbose, lasting, with_systemd, delegated;

void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("faults: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(2);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---- the place ---- */

static void write_or_not(const char *directory, const char *file, const char *text)
{
	char path[4400];
	FILE *open_file;

	snprintf(path, sizeof(path), "%s/%s", directory, file);
	open_file = fopen(path, "we");
	if (!open_file)
		return;
	fputs(text, open_file);
	fclose(open_file);
}

static void find_place(void)
{
	char text[8192], *group;

	read_text("/proc/self/cgroup", text, sizeof(text));
	group = strstr(text, "0::/");
	if (!group)
		die("no cgroup2 hierarchy");
	group[strcspn(group, "\n")] = 0;
	snprintf(own, sizeof(own), MOUNT "%s", strcmp(group + 3, "/") == 0 ? "" : group + 3);
	snprintf(own_parent, sizeof(own_parent), "%s", own);
	if (strcmp(own, MOUNT) != 0)
		*strrchr(own_parent, '/') = 0;
	if (delegated) {
		/* The host must be alone in its cgroup. */
		char outside[4200];

		snprintf(own_parent, sizeof(own_parent), "%s", own);
		snprintf(outside, sizeof(outside), "%s/faults", own);
		if (mkdir(outside, 0755) != 0 && errno != EEXIST)
			die("mkdir %s: %s", outside, strerror(errno));
		write_or_not(outside, "cgroup.procs", "0");
	}
	host_cgroup = own;
	snprintf(scratch_path, sizeof(scratch_path), "%s/faults", own_parent);
	scratch = scratch_path;
}

void fresh_scratch(void)
{
	static const char *const controllers[] = { "+cpu", "+memory", "+pids", "+io" };

	if (delegated) {
		static const char *const off[] = { "-cpu", "-memory", "-pids", "-io" };

		for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++)
			write_or_not(own_parent, "cgroup.subtree_control", off[i]);
		return;
	}
	if (rmdir(scratch) != 0 && errno != ENOENT)
		die("rmdir %s: %s", scratch, strerror(errno));
	for (size_t i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++)
		write_or_not(own_parent, "cgroup.subtree_control", controllers[i]);
	if (mkdir(scratch, 0755) != 0)
		die("mkdir %s: %s", scratch, strerror(errno));
}

static const char *root_of(const struct act *act)
{
	return act->flags & FOUND ? own_parent : scratch;
}

/* Wait for the processes that a host has left. Returns false if one still lives. */
static bool all_ended(double seconds)
{
	double end = now() + seconds;

	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG | __WALL);

		if (pid < 0)
			return true;
		if (pid == 0) {
			if (now() > end)
				return false;
			nanosleep(&(struct timespec){ .tv_nsec = 300000 }, NULL);
		}
	}
}

void kill_left(void)
{
	DIR *processes;

	/* Orphaned processes become children of this process, which is a subreaper, when their parents end. */
	do {
		processes = opendir("/proc");
		if (!processes)
			die("/proc: %s", strerror(errno));
		for (struct dirent *entry; (entry = readdir(processes));) {
			char path[300], text[512], *name;
			int pid = atoi(entry->d_name), parent = 0;

			snprintf(path, sizeof(path), "/proc/%d/stat", pid);
			if (pid < 1 || read_text(path, text, sizeof(text)) <= 0)
				continue;
			name = strrchr(text, ')');
			if (name && sscanf(name, ") %*c %d", &parent) == 1 && parent == getpid())
				kill(pid, SIGKILL);
		}
		closedir(processes);
	} while (!all_ended(2));
}

/* ---- one injection ---- */

struct run {
	struct traced traced;
	enum outcome outcome;            /* of the call */
	struct snapshot before, after, end, left;
	bool ended, survivors;
	double seconds;
	struct report report;
};

static struct run reference, faulty;

/* Waits a while for two changes: a guard closes its copy of an agent's directory, which holds the lock, a moment after the
 * agent was destroyed; and after a failed call systemd may still make a scope, which it removes when the guard has ended. */
static void take_settled_snapshot(struct snapshot *snapshot, const struct act *act, const char *root, pid_t host,
				  const struct snapshot *expected, bool failed)
{
	bool guarded = act->flags & GUARDED, with_scope = failed && (act->flags & SYSTEMD);

	take_snapshot(snapshot, root, host, !guarded, !guarded);
	for (int tries = 0; tries < 500; tries++) {
		/* The reference itself has nothing to compare with. It has one lock less after an agent has ended. */
		int most = snapshot == expected && !failed && (act->flags & ENDS) ? reference.before.lock_count - 1
										  : expected->lock_count;
		bool has_locks = guarded && most >= 0 && snapshot->lock_count > most;

		if (!has_locks && !(with_scope && strcmp(snapshot->text, expected->text) != 0))
			return;
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
		take_snapshot(snapshot, root, host, !guarded, !guarded);
	}
}

static void run_once(const struct act *act, struct fault fault, struct run *run, bool without)
{
	const char *root = root_of(act);
	double start;
	pid_t host;

	memset(report, 0, sizeof(*report));
	run->ended = run->survivors = false;
	fresh_scratch();
	fflush(stdout);
	host = fork();
	if (host < 0)
		die("fork: %s", strerror(errno));
	if (host == 0)
		run_host(act);
	if (run_to_stop(host, true, HANG_SECONDS) != REACHED)
		die("%s: the state could not be made: %s", act->name, report->failure);
	if (without)
		take_snapshot(&run->before, root, host, !(act->flags & GUARDED), !(act->flags & GUARDED));
	start = now();
	run->outcome = run_with_fault(host, act->flags & CHILDREN, fault, &run->traced, HANG_SECONDS);
	run->seconds = now() - start;
	if (run->outcome == REACHED) {
		bool failed = report->code < 0;
		take_settled_snapshot(&run->after, act, root, host, failed ? &reference.before : &reference.after, failed);
		run->ended = run_to_stop(host, false, HANG_SECONDS) == REACHED;
		if (run->ended)
			take_settled_snapshot(&run->end, act, root, host, &reference.end, false);
	}
	run->report = *report;
	kill(host, SIGKILL);
	waitpid(host, NULL, __WALL);
	run->survivors = !all_ended(10);
	if (run->survivors)
		kill_left();
	take_snapshot(&run->left, root, 0, true, true);
	/* systemd removes a scope a moment after its last process has ended. */
	for (int tries = 0; (act->flags & SYSTEMD) && *run->left.text && tries < 500; tries++) {
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
		take_snapshot(&run->left, root, 0, true, true);
	}
}

static void indented(const char *title, const char *text)
{
	printf("    %s\n", title);
	for (const char *end; *text; text = *end ? end + 1 : end) {
		end = text + strcspn(text, "\n");
		printf("      %.*s\n", (int)(end - text), text);
	}
}

static const char *last_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

/* Print a row: what was wrong after an injection. */
static void row(const struct act *act, const struct fault *fault, const char *what, const char *expected, const char *got)
{
	const struct run *run = &faulty;

	rows++;
	printf("ROW %s: call %u, %s(%s) %s: %s\n", act->name, fault->at, call_name(run->traced.call.number),
	       last_of(run->traced.call.file), errno_name(fault->error), what);
	if (verbose) {
		printf("    on %s, in %.3f s\n", run->traced.call.file, run->seconds);
		printf("    the call: %d %.*s\n", run->report.code, 184, run->report.code < 0 ? run->report.error.message : "");
	} else if (run->report.code < 0) {
		printf("    %s: %.*s\n", errno_name(-run->report.code), 184, run->report.error.message);
	}
	if (expected) {
		indented("expected:", expected);
		indented("is:", got);
	}
}

/* A guard that may not leave its cgroup cannot remove it: it is left, empty, for agentcg_reap(). */
static bool leaves_guard_cgroup(const struct fault *fault)
{
	const char *left = faulty.left.text;

	return fault->error == EACCES && strstr(left, "synwire/guard-") && !strstr(left, "synwire/agents");
}

/* Ignore directories above agents without an agent: the end of another agent removes them. */
static const char *without_levels(const char *text)
{
	return strstr(text, "UUID") ? text : "";
}

static bool same_cgroups(const struct traced *traced, const char *expected, const char *got)
{
	bool removal = strcmp(call_name(traced->call.number), "unlinkat") == 0 || strcmp(call_name(traced->call.number), "rmdir") == 0;

	if (!removal)
		return strcmp(expected, got) == 0;
	return strcmp(without_levels(expected), without_levels(got)) == 0;
}

/* Returns true if a success may leave a file out: it may not be read, or its controller was disabled. */
static bool is_refusal(const struct call *call, int error)
{
	return error == EACCES || error == ENODEV || (call->number == SYS_flock && error == EAGAIN);
}

/* The code for a fault must be its errno, or -EIO if the function does not list it. Other codes need a reason here. */
static bool is_allowed_code(const struct act *act, const struct call *call, int error, int code)
{
	if (code >= 0 || -code == error || -code == EIO)
		return true;
	switch (-code) {
	case EBUSY:      /* another process holds the lock */
		return call->number == SYS_flock;
	case EOPNOTSUPP: /* the controller was disabled */
	case ENOENT:
		return error == ENODEV;
	case EAGAIN:     /* no guard, for any reason */
		return act->flags & GUARDED;
	case EACCES:     /* moved neither by the library nor by systemd */
	case ENOTCONN:   /* systemd was not reached, for any reason */
		return act->flags & SYSTEMD;
	case EPERM:      /* not contained: a limit of namespaces, a security module, another mount */
		return error == ENOSPC || error == EACCES || error == EBUSY;
	default:
		return false;
	}
}

static void check_outcome(const struct act *act, const struct fault *fault)
{
	const struct run *run = &faulty;
	const struct report *got = &run->report;
	bool failed = got->code < 0, has_error = strcmp(act->function, "agentcg_move_self") != 0;
	char text[500];

#define ROW(...) \
	do { \
		snprintf(text, sizeof(text), __VA_ARGS__); \
		row(act, fault, text, NULL, NULL); \
	} while (0)

	if (run->outcome == HUNG) {
		ROW("it hangs");
		return;
	}
	if (run->outcome == ENDED) {
		ROW("the host was killed");
		return;
	}
	if (failed && got->code == -ENOTRECOVERABLE)
		ROW("ENOTRECOVERABLE");
	else if (!is_listed(act->function, got->code))
		ROW("%s is not listed", errno_name(-got->code));
	if (failed && fault->error == EINTR && reference.report.code >= 0)
		ROW("EINTR is not retried: %s", errno_name(-got->code));
	if (failed && got->code != -ETIMEDOUT && fault->error != EINTR && !is_allowed_code(act, &run->traced.call, fault->error, got->code))
		ROW("the code is %s", errno_name(-got->code));
	if (failed && got->code == -ETIMEDOUT && reference.report.code != -ETIMEDOUT)
		ROW("ETIMEDOUT, but nothing timed out");
	if (failed && has_error) {
		const char *flaw = check_error_flaw(&got->error, got->code);

		if (flaw)
			ROW("reterr %s: %.184s", flaw, got->error.message);
	}
	if (!failed && got->code == reference.report.code && got->result != reference.report.result && !(act->flags & VARIES) &&
	    !is_refusal(&run->traced.call, fault->error))
		ROW("it succeeds with the result %llu instead of %llu", (unsigned long long)got->result,
		    (unsigned long long)reference.report.result);
	if (!failed && got->code != reference.report.code && !(act->flags & VARIES) && !is_refusal(&run->traced.call, fault->error))
		ROW("it returns %d instead of %d", got->code, reference.report.code);
	bool left_out = !failed && is_refusal(&run->traced.call, fault->error) && got->code != reference.report.code;
	if (!failed && !left_out && !same_cgroups(&run->traced, reference.after.text, run->after.text))
		row(act, fault, "after success the cgroups differ", reference.after.text, run->after.text);
	if (failed && !(act->flags & KILLS)) {
		if (!same_cgroups(&run->traced, reference.before.text, run->after.text))
			row(act, fault, "after failure the cgroups differ", reference.before.text, run->after.text);
		/* A guard that has not ended yet keeps the directories above it, and their controllers. */
		else if (!(act->flags & (SYSTEMD | GUARDED | SESSION)) && strcmp(run->after.soft, reference.before.soft) != 0)
			row(act, fault, "after failure the controllers differ", reference.before.soft, run->after.soft);
		if (run->after.lock_count != reference.before.lock_count)
			ROW("after failure %d locks instead of %d", run->after.lock_count, reference.before.lock_count);
	}
	if (!failed && run->after.lock_count != reference.after.lock_count)
		ROW("after success %d locks instead of %d", run->after.lock_count, reference.after.lock_count);
	int most = reference.before.descriptor_count > reference.after.descriptor_count ? reference.before.descriptor_count
										: reference.after.descriptor_count;
	/* A handle that could not be destroyed keeps the descriptors of its cache. */
	if (failed && (act->flags & ENDS))
		most = reference.before.descriptor_count + 16;
	if (run->after.descriptor_count > most)
		row(act, fault, "descriptors are left after the call", reference.after.descriptors, run->after.descriptors);
	if (!run->ended) {
		ROW("afterwards the host hangs or ends%s%s", *got->failure ? ": " : "", got->failure);
		return;
	}
	if (got->again < 0 && got->again != reference.report.again)
		ROW("the repeated call without a fault returns %s: %.184s", errno_name(-got->again), got->again_error.message);
	else if (got->again >= 0 && got->again_result != reference.report.again_result && !(act->flags & (VARIES | KILLS)) &&
		 !(act->flags & (ENDS | MAKES)))
		ROW("the repeated call without a fault has the result %llu instead of %llu", (unsigned long long)got->again_result,
		    (unsigned long long)reference.report.again_result);
	if (got->end < 0)
		ROW("agentcg_destroy then returns %s: %.184s", errno_name(-got->end), got->end_error.message);
	if (got->children != reference.report.children)
		ROW("a child is left");
	if (run->end.lock_count > reference.end.lock_count)
		ROW("at the end %d locks instead of %d", run->end.lock_count, reference.end.lock_count);
	if (run->end.descriptor_count > reference.end.descriptor_count)
		row(act, fault, "descriptors are left at the end", reference.end.descriptors, run->end.descriptors);
	if (run->survivors)
		ROW("a process is left after the host");
	if (strcmp(run->left.text, reference.left.text) != 0 && !leaves_guard_cgroup(fault))
		row(act, fault, "cgroups are left", reference.left.text, run->left.text);
#undef ROW
}

/* ---- an act ---- */

static bool report_missing_rows(const struct act *act, const struct traced *traced)
{
	bool missing = false;

	for (unsigned i = 0; i < traced->calls; i++)
		if (!call_errnos(&traced->list[i])) {
			printf("ROW %s: errnos.c lacks system call %ld\n", act->name, traced->list[i].number);
			rows++;
			missing = true;
		}
	return missing;
}

/* The number of times that the act has made this call on this file so far. */
static unsigned occurrence(const struct traced *traced, unsigned at)
{
	const struct call *call = &traced->list[at];
	unsigned count = 1;

	for (unsigned i = 0; i < at; i++)
		count += traced->list[i].number == call->number && strcmp(traced->list[i].file, call->file) == 0;
	return count;
}

static void run_act(const struct act *act)
{
	static unsigned turn;
	unsigned before_rows = rows, before = injections;
	double start = now();

	memset(&reference, 0, sizeof(reference));
	run_once(act, (struct fault){ 0 }, &reference, true);
	if (reference.outcome != REACHED || !reference.ended || reference.report.code < 0 || reference.report.end < 0 ||
	    reference.survivors || (*reference.left.text && !delegated))
		die("%s without a fault: outcome %d, %d (%s), again %d (%s), end %d (%s), survivors %d, left: %s %s", act->name,
		    reference.outcome, reference.report.code, reference.report.error.message, reference.report.again,
		    reference.report.again_error.message, reference.report.end, reference.report.end_error.message,
		    reference.survivors, reference.left.text, reference.report.failure);
	if (*reference.left.text)
		wipe(root_of(act));
	report_missing_rows(act, &reference.traced);
	for (unsigned at = 1; at <= reference.traced.calls; at++) {
		const int *errnos = call_errnos(&reference.traced.list[at - 1]);

		/* The act repeats this call until an event. */
		if (occurrence(&reference.traced, at - 1) > MOST_REPEATS)
			continue;
		for (; errnos && *errnos; errnos++) {
			struct fault fault = { .at = at, .error = *errnos, .lasting = lasting };

			if ((only_errno && *errnos != only_errno) || turn++ % parts != part)
				continue;
			memset(&faulty.report, 0, sizeof(faulty.report));
			run_once(act, fault, &faulty, false);
			if (faulty.traced.injected) {
				injections++;
				check_outcome(act, &fault);
			} else {
				missed++;
			}
			if (*faulty.left.text)
				wipe(root_of(act));
		}
	}
	printf("%-26s %4u system calls, %5u injections, %4u rows, %.0f s\n", act->name, reference.traced.calls,
	       injections - before, rows - before_rows, now() - start);
	free(reference.traced.list);
}

static void list_act(const struct act *act)
{
	memset(&reference, 0, sizeof(reference));
	run_once(act, (struct fault){ 0 }, &reference, true);
	printf("%s: %d, result %llu\n", act->name, reference.report.code, (unsigned long long)reference.report.result);
	for (unsigned i = 0; i < reference.traced.calls; i++) {
		const struct call *call = &reference.traced.list[i];
		const int *errnos = call_errnos(call);

		printf("  %3u %s(%s)", i + 1, call_name(call->number), call->file);
		for (; errnos && *errnos; errnos++)
			printf(" %s", errno_name(*errnos));
		putchar('\n');
	}
	printf("before:\n%s%safter:\n%s%send:\n%s%sleft:\n%s", reference.before.text, reference.before.soft, reference.after.text,
	       reference.after.soft, reference.end.text, reference.end.soft, reference.left.text);
	printf("descriptors: %s| %s| %s\n", reference.before.descriptors, reference.after.descriptors, reference.end.descriptors);
	free(reference.traced.list);
}

static void check_all_functions(const char *map)
{
	char text[8192];

	if (read_text(map, text, sizeof(text)) <= 0)
		die("cannot read %s", map);
	for (char *at = text; (at = strstr(at, "\tagentcg_")); at++) {
		char name[64];
		bool found = false;

		if (sscanf(at, " %63[a-z_0-9]", name) != 1)
			continue;
		for (size_t i = 0; i < act_count; i++)
			found |= strcmp(acts[i].function, name) == 0;
		if (!found) {
			printf("ROW %s: no act calls it\n", name);
			rows++;
		}
	}
}

static bool is_chosen(const char *name, char **words, int count)
{
	bool chosen = count == 0;

	for (int word = 0; word < count; word++)
		chosen |= strncmp(name, words[word], strlen(words[word])) == 0;
	return chosen;
}

int main(int count, char **words)
{
	const char *header = "include/agentcg.h", *map = "agentcg.map";
	bool listing = false;
	unsigned done = 0;
	double start = now();
	int option;

	while ((option = getopt(count, words, "H:m:p:e:dlLvs")) != -1)
		switch (option) {
		case 'H': header = optarg; break;
		case 'm': map = optarg; break;
		case 'p':
			if (sscanf(optarg, "%u/%u", &part, &parts) != 2 || part >= parts)
				die("-p PART/PARTS, PART from 0");
			break;
		case 'e':
			for (int error = 1; error < 134; error++)
				if (strcmp(errno_name(error), optarg) == 0)
					only_errno = error;
			if (!only_errno)
				die("no such error: %s", optarg);
			break;
		case 'd': delegated = true; break;
		case 'l': listing = true; break;
		case 'L': lasting = true; break;
		case 'v': verbose = true; break;
		case 's': with_systemd = true; break;
		default: die("usage: faults [-H HEADER] [-m MAP] [-p PART/PARTS] [-e ERRNO] [-d] [-l] [-L] [-s] [-v] [ACT...]");
		}
	setvbuf(stdout, NULL, _IOLBF, 0);
	read_header(header);
	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (report == MAP_FAILED || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
		die("%s", strerror(errno));
	find_place();
	if (optind == count)
		check_all_functions(map);
	for (size_t i = 0; i < act_count; i++) {
		if (!is_chosen(acts[i].name, words + optind, count - optind) || (bool)(acts[i].flags & SYSTEMD) != with_systemd || (delegated && !(acts[i].flags & FOUND)))
			continue;
		done++;
		(listing ? list_act : run_act)(&acts[i]);
	}
	for (size_t i = 0; i < guard_act_count && !delegated && !with_systemd; i++) {
		struct choice choice = { only_errno, part, parts, MOST_REPEATS, lasting, listing, verbose };
		struct totals totals;

		if (!is_chosen(guard_act_name(i), words + optind, count - optind))
			continue;
		done++;
		totals = run_guard_act(i, &choice);
		rows += totals.rows;
		injections += totals.injections;
		missed += totals.missed;
	}
	rmdir(scratch);
	printf("faults: %u acts, %u injections (%u not reached), %u rows, in %.0f s\n", done, injections, missed, rows, now() - start);
	return rows || !done ? 1 : 0;
}
