/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef AGENTCG_GO_ENTER_H
#define AGENTCG_GO_ENTER_H

#include <stdint.h>
#include <sys/resource.h>

/* The environment variable that makes the program a stand-in. Its value is the descriptor of the socket to the program
 * that has started it. */
#define AGENTCG_GO_FD "AGENTCG_GO_STAND_IN_FD"

#define AGENTCG_GO_OK         0
#define AGENTCG_GO_SECURE     1  /* the set-user-ID bit or file capabilities: environment variables cannot be trusted */
#define AGENTCG_GO_NOT_MAIN   2  /* this code is in a shared library, whose constructors run late or never */
#define AGENTCG_GO_LITTLE     (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)

/* The message that tells the stand-in what to execute. Path, arguments and environment follow, each with its NUL. */
struct agentcg_go_order {
	uint32_t bytes;
	uint32_t args;
	uint32_t env;
};

/* Returns 1 and the former limit if RLIMIT_NOFILE of this process has been raised to its hard limit since it began, as
 * Go does, else 0. */
int agentcg_go_raised_nofile(struct rlimit *ret_before);

/* Returns AGENTCG_GO_OK if this program can be executed as a stand-in, else the reason, AGENTCG_GO_... */
int agentcg_go_stand_in(void);

#endif
