/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Tables of errors. A row has a function that provokes the error, and its
 * expected code, its reason and a word of its message.
 */
#ifndef REFUSAL_H
#define REFUSAL_H

#include "support.h"

#include <sys/mman.h>
#include <unistd.h>

/* The result of the call. It is shared with forked children, because some of them make the call. */
static struct outcome {
	int code;
	agentcg_error error;
} *outcome;

#define PROVOKE(function, ...) (outcome->code = function(__VA_ARGS__, &outcome->error))

enum who { ANYBODY, NOT_ROOT };   /* root does not get some errors */

struct refusal {
	void (*provoke)(void);
	const char *situation;
	int code;
	uint32_t reason;
	const char *word;   /* that the message must contain */
	enum who who;
};
#define ROW(situation, code, reason, word, who) { situation, #situation, code, reason, word, who }
#define WHY(reason) AGENTCG_WHY_##reason

static const struct refusal *current_refusal;

static void check_refusal(void)
{
	const struct refusal *expected = current_refusal;
	const char *flaw;

	check_poison(outcome, sizeof(*outcome));
	expected->provoke();
	if (outcome->code != expected->code)
		CHECK_FAIL("%d (%s) was returned, expected %d (%s)\n\t%.184s", outcome->code,
		           strerror(abs(outcome->code)), expected->code, strerror(-expected->code),
		           outcome->code < 0 ? outcome->error.message : "");
	/* The log shows all messages. */
	fprintf(stderr, "\t%.184s\n", outcome->error.message);
	flaw = check_error_flaw(&outcome->error, expected->code);
	if (flaw)
		CHECK_FAIL("the error %s", flaw);
	CHECK_EQ(outcome->error.reason, expected->reason);
	if (!strstr(outcome->error.message, expected->word))
		CHECK_FAIL("the message does not contain \"%s\"", expected->word);
}

static void run_refusals(const struct refusal *rows, size_t count)
{
	outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(outcome != MAP_FAILED);
	for (size_t i = 0; i < count; i++) {
		current_refusal = &rows[i];
		if (rows[i].who == ANYBODY || geteuid() != 0)
			run(rows[i].situation, check_refusal);
	}
}

#endif
