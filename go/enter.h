/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef AGENTCG_GO_ENTER_H
#define AGENTCG_GO_ENTER_H

#include <stdint.h>

/* The variable that makes a program the stand-in: its value is the descriptor that it is told by. */
#define AGENTCG_GO_FD "AGENTCG_GO_STAND_IN_FD"

#define AGENTCG_GO_OK         0
#define AGENTCG_GO_SECURE     1  /* the set-user-ID bit, file capabilities: variables are not to be trusted */
#define AGENTCG_GO_NOT_MAIN   2  /* we are in a shared library, whose constructors run late or never */
#define AGENTCG_GO_LITTLE     (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)

/* What the stand-in is to become: then come path, arguments and environment, each with its NUL. */
struct agentcg_go_order {
	uint32_t bytes;
	uint32_t args;
	uint32_t env;
};

/* Whether this program could be executed as a stand-in: AGENTCG_GO_... */
int agentcg_go_stand_in(void);

#endif
