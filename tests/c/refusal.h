/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every no has a code to branch on, a reason where the code is too coarse, and
 * words that a person can act on. A table of refusals has one row a situation:
 * what provokes it, and what must be said of it.
 */
#ifndef REFUSAL_H
#define REFUSAL_H

#include "support.h"

#include <sys/mman.h>
#include <unistd.h>

/* What the library said: shared with forked children, who must provoke some of it. */
static struct answer {
	int code;
	agentcg_error error;
} *answer;

#define ASK(function, ...) (answer->code = function(__VA_ARGS__, &answer->error))

enum who { ANYBODY, NOT_ROOT };   /* root is refused less */

struct refusal {
	void (*provoke)(void);
	const char *situation;
	int code;
	uint32_t reason;
	const char *word;   /* that a person needs to hear */
	enum who who;
};
#define ROW(situation, code, reason, word, who) { situation, #situation, code, reason, word, who }
#define WHY(reason) AGENTCG_WHY_##reason

static const struct refusal *refusal_in_turn;

static void check_refusal(void)
{
	const struct refusal *expected = refusal_in_turn;
	const char *flaw;

	check_poison(answer, sizeof(*answer));
	expected->provoke();
	if (answer->code != expected->code)
		CHECK_FAIL("%d (%s) was returned, expected %d (%s)\n\t%.184s", answer->code,
		           strerror(abs(answer->code)), expected->code, strerror(-expected->code),
		           answer->code < 0 ? answer->error.message : "");
	/* For whoever reads the log of the tests to see how they read. */
	fprintf(stderr, "\t%.184s\n", answer->error.message);
	flaw = check_error_flaw(&answer->error, expected->code);
	if (flaw)
		CHECK_FAIL("the error %s", flaw);
	CHECK_EQ(answer->error.reason, expected->reason);
	if (!strstr(answer->error.message, expected->word))
		CHECK_FAIL("\"%s\" is not mentioned", expected->word);
}

static void run_refusals(const struct refusal *rows, size_t count)
{
	answer = mmap(NULL, sizeof(*answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(answer != MAP_FAILED);
	for (size_t i = 0; i < count; i++) {
		refusal_in_turn = &rows[i];
		if (rows[i].who == ANYBODY || geteuid() != 0)
			run(rows[i].situation, check_refusal);
	}
}

#endif
