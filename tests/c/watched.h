/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Threads that call the library at the same time. Each result is checked and
 * counted. A call that does not return is reported with the stacks of all
 * threads.
 */
#ifndef WATCHED_H
#define WATCHED_H

#include "support.h"

#include <pthread.h>

#define THREADS 16

struct worker {
	pthread_t thread;
	pid_t tid;
	uint64_t random;       /* the state of random_below() */
	const char *doing;     /* the text of the call, NULL between two calls */
	int64_t since_ms;
	int ended;
	/* 1: the handle does not own the agent, which may be removed at any moment: each call may return -ENODEV. */
	int guest;
};

extern __thread struct worker *self;

/* A call in the source, and its results. */
struct site {
	const char *text;
	struct site *next;     /* NULL: not in the list yet */
	unsigned long calls;
	unsigned long failures[160];   /* by errno */
};

/* CALL(call, CODE...): the result. It must be 0 or more, or one of the codes. The code 0 stands for none. */
#define CALL(call, ...) \
	__extension__({ \
		static struct site call_site = { #call, NULL, 0, { 0 } }; \
		check_poison(&why, sizeof(why)); \
		call_begins(&call_site); \
		int call_result = (call); \
		call_ends(&call_site, call_result, (const int[]){ __VA_ARGS__, 0 }, &why); \
		call_result; \
	})
void call_begins(struct site *site);
void call_ends(struct site *site, int result, const int *allowed, const agentcg_error *error);

uint64_t random_below(uint64_t bound);

/* THREADS threads run turn() again and again for so many seconds, and then last(). Prints the results of the calls. */
void run_watched(int seconds, uint64_t seed, void (*turn)(void), void (*last)(void));

#endif
