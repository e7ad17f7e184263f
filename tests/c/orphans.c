/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * agentcg_list() and agentcg_reap(), with and without a tag: the array of entries,
 * the numbers that are returned, labels and tags. tests/behaviour/orphans.rs tests adoption and which agents are reaped.
 */
#include "support.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
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
	CHECK_ERR(agentcg_list(NULL, (agentcg_entry *)entries, offsetof(agentcg_entry, label) - 1, 1, &why), -EINVAL);
	for (int i = 0; i < AGENTS; i++)
		destroy_group(cgs[i]);
}

/* An entry, and the facts of a handle, of a program that was compiled before there were labels. */
static void structs_without_a_label_are_filled_as_before(void)
{
	enum { OLD_ENTRY = offsetof(agentcg_entry, label), OLD_INFO = offsetof(agentcg_info, label) };
	unsigned char old[2 * OLD_ENTRY], info[OLD_INFO + 1];
	agentcg_new_options options = { .label = "a label", .tag = "orphans" };
	agentcg *cg, *second;
	agentcg_entry entry;

	CHECK_OK(agentcg_new_with(&options, sizeof(options), &cg, &why));
	CHECK_OK(agentcg_new_with(&options, sizeof(options), &second, &why));
	CHECK_EQ(agentcg_list(NULL, (agentcg_entry *)old, OLD_ENTRY, 2, &why), 2);
	for (int i = 0; i < 2; i++) {
		memcpy(&entry, old + i * OLD_ENTRY, OLD_ENTRY);
		CHECK_EQ(strlen(entry.uuid), AGENTCG_UUID_SIZE - 1);
		CHECK_EQ(entry.owner_pid, getpid());
	}
	memset(info, 0xa5, sizeof(info));
	CHECK_OK(agentcg_get_info(cg, (agentcg_info *)info, OLD_INFO, &why));
	CHECK_EQ(info[OLD_INFO], 0xa5);
	destroy_group(cg);
	destroy_group(second);
}

static void check_label(agentcg *cg, const char *label)
{
	agentcg_info info;
	agentcg_entry entry;

	CHECK_OK(agentcg_get_info(cg, &info, sizeof(info), &why));
	CHECK_STR(info.label, label);
	CHECK_STR(info.tag, "orphans");
	CHECK_EQ(agentcg_list_tagged(NULL, "orphans", &entry, sizeof(entry), 1, &why), 1);
	CHECK_STR(entry.label, label);
	CHECK_STR(entry.tag, "orphans");
}

/* 63 bytes. */
#define LONGEST "123456789 123456789 123456789 123456789 123456789 123456789 \xe2\x82\xac"

static void a_label_is_in_each_struct_and_can_be_changed(void)
{
	agentcg_new_options options = { .label = "pull request 7", .tag = "orphans" };
	agentcg *cg;
	agentcg_found found;
	pid_t child = pausing_child();

	CHECK_OK(agentcg_new_with(&options, sizeof(options), &cg, &why));
	check_label(cg, "pull request 7");
	CHECK_OK(agentcg_move_pid(cg, child, &why));
	CHECK_OK(agentcg_find(child, &found, sizeof(found), NULL, 0, &why));
	CHECK_STR(found.label, "pull request 7");
	CHECK_STR(found.tag, "orphans");

	CHECK_OK(agentcg_set_label(cg, LONGEST, &why));
	check_label(cg, LONGEST);
	CHECK_ERR(agentcg_set_label(cg, LONGEST "x", &why), -EINVAL);
	check_label(cg, LONGEST);
	CHECK_OK(agentcg_set_label(cg, "", &why));
	check_label(cg, "");
	CHECK_OK(agentcg_set_label(cg, "again", NULL));
	CHECK_OK(agentcg_set_label(cg, NULL, &why));
	check_label(cg, "");
	destroy_group(cg);
	check_killed(child);
}

static void only_the_owner_changes_the_label(void)
{
	agentcg_new_options options = { .label = "the owner's", .tag = "orphans" };
	agentcg *cg, *guest;

	CHECK_OK(agentcg_new_with(&options, sizeof(options), &cg, &why));
	CHECK_EQ(agentcg_uuid(cg, uuid, sizeof(uuid)), AGENTCG_UUID_SIZE - 1);
	CHECK_OK(agentcg_open(NULL, uuid, 0, &guest, &why));
	check_label(guest, "the owner's");
	CHECK_ERR(agentcg_set_label(guest, "the guest's", &why), -EPERM);
	check_label(guest, "the owner's");
	agentcg_free(guest);
	destroy_group(cg);
}

static void a_call_that_is_bound_to_a_tag_finds_no_agent_of_another(void)
{
	agentcg_new_options options = { .tag = "mine" };
	agentcg *cg, *same;
	agentcg_entry entry;

	CHECK_OK(agentcg_new_with(&options, sizeof(options), &cg, &why));
	CHECK_EQ(agentcg_uuid(cg, uuid, sizeof(uuid)), AGENTCG_UUID_SIZE - 1);
	agentcg_free(cg);
	check_poison(&entry, sizeof(entry));
	CHECK_EQ(agentcg_list_tagged(NULL, "other", &entry, sizeof(entry), 1, &why), 0);
	CHECK(check_untouched(&entry, sizeof(entry)));
	CHECK_ERR(agentcg_open_tagged(NULL, uuid, "other", AGENTCG_OPEN_OWN, &same, &why), -ENOENT);
	CHECK_ERR(agentcg_open_tagged(NULL, uuid, "mine2", 0, &same, &why), -ENOENT);
	CHECK_EQ(agentcg_reap_tagged(NULL, "other", SOON_MS, &why), 0);
	CHECK_OK(agentcg_open_tagged(NULL, uuid, "mine", AGENTCG_OPEN_OWN, &same, &why));
	CHECK_ERR(agentcg_open_tagged(NULL, uuid, "mine", AGENTCG_OPEN_OWN, &cg, &why), -EBUSY);
	CHECK_EQ(agentcg_reap_tagged(NULL, "mine", SOON_MS, &why), 0);
	agentcg_free(same);
	CHECK_EQ(agentcg_reap_tagged(NULL, "mine", SOON_MS, &why), 1);
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
	RUN(structs_without_a_label_are_filled_as_before);
	RUN(a_label_is_in_each_struct_and_can_be_changed);
	RUN(only_the_owner_changes_the_label);
	RUN(a_call_that_is_bound_to_a_tag_finds_no_agent_of_another);
	RUN(reap_returns_the_number_of_agents_that_it_has_removed);
	return 0;
}
