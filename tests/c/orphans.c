/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * agentcg_list() and agentcg_reap(): the array of entries and the numbers that
 * are returned. tests/orphans.rs tests adoption and which agents are reaped.
 */
#include "support.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char uuid[AGENTCG_UUID_SIZE];

static agentcg *new_with_uuid(void)
{
	agentcg *cg = new_group();

	CHECK_EQ(agentcg_uuid(cg, uuid, sizeof(uuid)), AGENTCG_UUID_SIZE - 1);
	return cg;
}

/* The only entry of agentcg_list(). */
static agentcg_entry only_entry(void)
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

static void an_entry_has_the_uuid_owner_and_state_of_its_agent(void)
{
	agentcg *cg = new_with_uuid();
	agentcg_entry entry = only_entry();

	CHECK_EQ(entry.orphan, 0);
	CHECK_EQ(entry.populated, 0);
	CHECK_EQ(entry.owner_pid, getpid());
	CHECK(entry.created_unix_ns > 0);

	pid_t child = pausing_child();

	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_EQ(only_entry().populated, 1);
	destroy_group(cg);
	check_killed(child);
	CHECK_EQ(agentcg_list(NULL, NULL, 0, 0, &why), 0);
}

/* The array of a program that was compiled with a larger agentcg_entry, and of one that asks only for the number. */
static void entries_have_the_size_that_the_caller_passes(void)
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

	/* With room for one entry, the number is that of all. */
	memset(entries, 0xa5, sizeof(entries));
	CHECK_EQ(agentcg_list(NULL, (agentcg_entry *)entries, LARGER, 1, &why), AGENTS);
	CHECK_EQ(entries[LARGER], 0xa5);
	CHECK_ERR(agentcg_list(NULL, (agentcg_entry *)entries, sizeof(agentcg_entry) - 1, 1, &why), -EINVAL);
	for (int i = 0; i < AGENTS; i++)
		destroy_group(cgs[i]);
}

static void make_and_die(void *unused)
{
	(void)unused;
	for (int i = 0; i < 3; i++)
		(void)new_group();
	kill(getpid(), SIGKILL);
}

static void reap_returns_the_number_of_agents_that_it_has_removed(void)
{
	agentcg *cg = new_with_uuid();
	int status = reap(child_that_runs(make_and_die, NULL));

	CHECK(WIFSIGNALED(status));
	CHECK_EQ(agentcg_list(NULL, NULL, 0, 0, &why), 4);
	CHECK_EQ(agentcg_reap(NULL, SOON_MS, &why), 3);
	CHECK_EQ(only_entry().orphan, 0);
	CHECK_EQ(agentcg_reap(NULL, SOON_MS, &why), 0);
	destroy_group(cg);
	CHECK_EQ(agentcg_reap(NULL, 0, NULL), 0);
}

int main(void)
{
	RUN(an_entry_has_the_uuid_owner_and_state_of_its_agent);
	RUN(entries_have_the_size_that_the_caller_passes);
	RUN(reap_returns_the_number_of_agents_that_it_has_removed);
	return 0;
}
