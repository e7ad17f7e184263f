/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Each function of the library, called with all that it needs, for tests of what holds for every one. */
#ifndef CALLS_H
#define CALLS_H

#include "support.h"

struct call {
	/* The function, and where it stands here more than once how it is called. */
	const char *name;
	void (*before)(void);
	int (*act)(agentcg_error *error);
	/* Undoes what before and act have done. For a result of 0 or more, or of -ENOMEM. */
	void (*after)(int result);
	/* Where it is to fail. */
	int expected;
	/* It kills. When it has failed it is not called again. */
	int kills;
};

extern const struct call calls[];
extern const size_t calls_count;
#define FOR_EACH_CALL(call) for (const struct call *call = calls; call < calls + calls_count; call++)

int is_as_expected(const struct call *call, int result);

#endif
