/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* agentcg_open(), agentcg_list(), agentcg_reap(): agents that are there already. */
#include "support.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char uuid[AGENTCG_UUID_SIZE];

static agentcg *new_named(void)
{
	agentcg *cg = new_group();

	CHECK_EQ(agentcg_uuid(cg, uuid, sizeof(uuid)), AGENTCG_UUID_SIZE - 1);
	return cg;
}

/* What agentcg_list() tells of the one that there is. */
static agentcg_entry only_one(void)
{
	agentcg_entry entry;
	int count;

	CHECK_OK(count = agentcg_list(NULL, &entry, sizeof(entry), 1, &why));
	CHECK_EQ(count, 1);
	CHECK_STR(entry.uuid, uuid);
	CHECK_EQ(entry.reserved, 0);
	CHECK_EQ(entry.reserved2, 0);
	return entry;
}

static void an_agent_is_listed_as_it_is(void)
{
	agentcg *cg = new_named();
	agentcg_entry entry = only_one();

	CHECK_EQ(entry.orphan, 0);
	CHECK_EQ(entry.populated, 0);
	CHECK_EQ(entry.owner_pid, getpid());
	CHECK(entry.created_unix_ns > 0);

	pid_t child = pausing_child();

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_EQ(only_one().populated, 1);
	destroy_group(cg);
	check_killed(child);
	CHECK_EQ(agentcg_list(NULL, NULL, 0, 0, &why), 0);
}

/* An array of a newer program, whose entries are larger than ours, and of one that asks for the number alone. */
static void entries_are_as_large_as_the_caller_says(void)
{
	enum { AGENTS = 3, LARGER = sizeof(agentcg_entry) + 13 };
	unsigned char entries[(AGENTS + 1) * LARGER];
	agentcg *cgs[AGENTS];
	int count;

	for (int i = 0; i < AGENTS; i++)
		cgs[i] = new_group();
	CHECK_EQ(agentcg_list(NULL, NULL, 0, 0, &why), AGENTS);
	memset(entries, 0xa5, sizeof(entries));
	CHECK_OK(count = agentcg_list(NULL, (agentcg_entry *)entries, LARGER, AGENTS, &why));
	CHECK_EQ(count, AGENTS);
	for (int i = 0; i < AGENTS; i++) {
		agentcg_entry entry;

		memcpy(&entry, entries + i * LARGER, sizeof(entry));
		CHECK_EQ(strlen(entry.uuid), AGENTCG_UUID_SIZE - 1);
		CHECK_EQ(entry.owner_pid, getpid());
		for (int more = sizeof(entry); more < LARGER; more++)
			CHECK_EQ(entries[i * LARGER + more], 0);
	}
	for (int i = AGENTS * LARGER; i < (AGENTS + 1) * LARGER; i++)
		CHECK_EQ(entries[i], 0xa5);

	/* Room for one alone: the number is told all the same. */
	memset(entries, 0xa5, sizeof(entries));
	CHECK_EQ(agentcg_list(NULL, (agentcg_entry *)entries, LARGER, 1, &why), AGENTS);
	CHECK_EQ(entries[LARGER], 0xa5);
	CHECK_ERR(agentcg_list(NULL, (agentcg_entry *)entries, sizeof(agentcg_entry) - 1, 1, &why), -EINVAL);
	for (int i = 0; i < AGENTS; i++)
		destroy_group(cgs[i]);
}

static void a_freed_agent_is_an_orphan_that_can_be_taken_over(void)
{
	agentcg *cg = new_named(), *other = NULL;
	agentcg_info info;
	pid_t child = pausing_child();

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_ERR(agentcg_open(NULL, uuid, AGENTCG_OPEN_OWN, &other, &why), -EBUSY);
	CHECK(other == NULL);
	agentcg_free(cg);
	CHECK_EQ(only_one().orphan, 1);

	CHECK_OK(agentcg_open(NULL, uuid, AGENTCG_OPEN_OWN, &other, &why));
	CHECK_EQ(only_one().orphan, 0);
	CHECK_OK(agentcg_get_info(other, &info, sizeof(info), &why));
	CHECK_EQ(info.owned, 1);
	CHECK(holds(other, child));
	destroy_group(other);
	check_killed(child);
	CHECK_ERR(agentcg_open(NULL, uuid, 0, &other, &why), -ENOENT);
}

static void a_guest_owns_nothing_and_may_kill(void)
{
	agentcg *cg = new_named(), *guest;
	agentcg_info info;
	pid_t child = pausing_child();

	CHECK_OK(agentcg_open(NULL, uuid, 0, &guest, &why));
	CHECK_OK(agentcg_get_info(guest, &info, sizeof(info), &why));
	CHECK_EQ(info.owned, 0);
	CHECK_OK(agentcg_move_pid(guest, child, &why));
	CHECK_OK(agentcg_kill_all(guest, SOON_MS, &why));
	check_killed(child);
	agentcg_free(guest);
	CHECK_EQ(only_one().orphan, 0);
	destroy_group(cg);
}

static void make_and_die(void *unused)
{
	(void)unused;
	for (int i = 0; i < 3; i++)
		(void)new_group();
	kill(getpid(), SIGKILL);
}

static void what_a_killed_program_leaves_is_reaped_and_nothing_else(void)
{
	agentcg *cg = new_named();
	int status = reap(child_that_runs(make_and_die, NULL));

	CHECK(WIFSIGNALED(status));
	CHECK_EQ(agentcg_list(NULL, NULL, 0, 0, &why), 4);
	CHECK_EQ(agentcg_reap(NULL, SOON_MS, &why), 3);
	CHECK_EQ(only_one().orphan, 0);
	CHECK_EQ(agentcg_reap(NULL, SOON_MS, &why), 0);
	destroy_group(cg);
	CHECK_EQ(agentcg_reap(NULL, 0, NULL), 0);
}

static void a_parent_that_is_none_is_told(void)
{
	agentcg *cg = NULL;

	CHECK_ERR(agentcg_list("/nonexistent", NULL, 0, 0, &why), -ENOENT);
	CHECK_ERR(agentcg_reap("/nonexistent", 0, &why), -ENOENT);
	CHECK_ERR(agentcg_open("/nonexistent", "01234567-89ab-4def-8123-456789abcdef", 0, &cg, &why), -ENOENT);
	CHECK(cg == NULL);
}

int main(void)
{
	RUN(an_agent_is_listed_as_it_is);
	RUN(entries_are_as_large_as_the_caller_says);
	RUN(a_freed_agent_is_an_orphan_that_can_be_taken_over);
	RUN(a_guest_owns_nothing_and_may_kill);
	RUN(what_a_killed_program_leaves_is_reaped_and_nothing_else);
	RUN(a_parent_that_is_none_is_told);
	return 0;
}
