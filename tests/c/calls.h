/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A call of each function of the library, for tests of rules that hold for all functions. */
#ifndef CALLS_H
#define CALLS_H

#include "support.h"

struct call {
	/* The function. If it has several entries: also how it is called. */
	const char *name;
	void (*before)(void);
	int (*act)(agentcg_error *error);
	/* Undoes what before and act have done. The result is 0 or more, or -ENOMEM. */
	void (*after)(int result);
	/* The expected error, 0 for success. */
	int expected;
	/* It kills. It is not called again after a failure. */
	int kills;
};

extern const struct call calls[];
extern const size_t calls_count;
#define FOR_EACH_CALL(call) for (const struct call *call = calls; call < calls + calls_count; call++)

int is_as_expected(const struct call *call, int result);

#endif
