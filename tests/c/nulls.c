/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Invalid arguments are refused and change nothing. */
#include "support.h"

#include <errno.h>
#include <unistd.h>

/* reterr may be NULL in every function. */
#define REFUSED(function, ...) \
	do { \
		CHECK_ERR(function(__VA_ARGS__, &why), -EINVAL); \
		CHECK_EQ(function(__VA_ARGS__, NULL), -EINVAL); \
	} while (0)

static agentcg *cg;          /* a group with a child in it, which must not change */
static agentcg_stats stats;
static agentcg_info info;
static agentcg_limits limits;
static const char some_uuid[] = "01234567-89ab-4def-8123-456789abcdef";
static agentcg_diagnosis diagnosis;
static char text[64];
static char *no_words[] = { NULL };
static pid_t pids[2];
static uint64_t events;
static agentcg_found found;
static agentcg_verdict verdict;

static void poison_outputs(void)
{
	check_poison(&stats, sizeof(stats));
	check_poison(&info, sizeof(info));
	check_poison(&limits, sizeof(limits));
	check_poison(&diagnosis, sizeof(diagnosis));
	check_poison(text, sizeof(text));
	check_poison(pids, sizeof(pids));
	check_poison(&events, sizeof(events));
	check_poison(&found, sizeof(found));
	check_poison(&verdict, sizeof(verdict));
}

static void check_outputs_untouched(void)
{
	CHECK(check_untouched(&stats, sizeof(stats)));
	CHECK(check_untouched(&info, sizeof(info)));
	CHECK(check_untouched(&limits, sizeof(limits)));
	CHECK(check_untouched(&diagnosis, sizeof(diagnosis)));
	CHECK(check_untouched(text, sizeof(text)));
	CHECK(check_untouched(pids, sizeof(pids)));
	CHECK(check_untouched(&events, sizeof(events)));
	CHECK(check_untouched(&found, sizeof(found)));
	CHECK(check_untouched(&verdict, sizeof(verdict)));
}

static void a_null_handle_is_refused_and_outputs_are_untouched(void)
{
	poison_outputs();
	CHECK_EQ(agentcg_uuid(NULL, text, sizeof(text)), -EINVAL);
	CHECK_EQ(agentcg_path(NULL, text, sizeof(text)), -EINVAL);
	CHECK_EQ(agentcg_fd(NULL), -EINVAL);
	CHECK_EQ(agentcg_move_self(NULL), -EINVAL);
	REFUSED(agentcg_get_info, NULL, &info, sizeof(info));
	REFUSED(agentcg_set_label, NULL, "x");
	REFUSED(agentcg_move_pid, NULL, getpid());
	REFUSED(agentcg_move_pidfd, NULL, 0);
	REFUSED(agentcg_move_out, NULL, getpid());
	REFUSED(agentcg_move_out_pidfd, NULL, 0);
	REFUSED(agentcg_spawn, NULL, "/bin/true", no_words, NULL, NULL, 0, pids, NULL);
	REFUSED(agentcg_read_stats, NULL, AGENTCG_STAT_BASIC, &stats, sizeof(stats));
	REFUSED(agentcg_read_file, NULL, "pids.max", text, sizeof(text));
	REFUSED(agentcg_write_file, NULL, "pids.max", "1");
	REFUSED(agentcg_wait_empty, NULL, 0);
	REFUSED(agentcg_kill_all, NULL, 0);
	REFUSED(agentcg_kill_all_of, NULL, 1, pids, 0);
	REFUSED(agentcg_kill_all_of, (agentcg *[]){ NULL }, 1, pids, 0);
	REFUSED(agentcg_freeze, NULL, 0);
	REFUSED(agentcg_thaw, NULL, 0);
	REFUSED(agentcg_signal_all, NULL, 0);
	REFUSED(agentcg_terminate, NULL, 0, 0);
	REFUSED(agentcg_pids, NULL, pids, 2);
	REFUSED(agentcg_spawn_result, NULL, 0);
	REFUSED(agentcg_contains, NULL, getpid());
	REFUSED(agentcg_event_fd, NULL, AGENTCG_EVENT_EMPTY);
	REFUSED(agentcg_next_events, NULL, 0, &events);
	REFUSED(agentcg_new_in, NULL, NULL, 0, &(agentcg *){ NULL });
	REFUSED(agentcg_watch_stall, NULL, AGENTCG_STALL_CPU, AGENTCG_STALL_SOME, 100000, 1000000);
	REFUSED(agentcg_set_limits, NULL, &limits, sizeof(limits), 0);
	REFUSED(agentcg_get_limits, NULL, &limits, sizeof(limits));
	REFUSED(agentcg_explain, NULL, 0, &verdict, sizeof(verdict));
	REFUSED(agentcg_destroy_explained, NULL, 0, 0, 0, &stats, sizeof(stats), &verdict, sizeof(verdict));
	check_outputs_untouched();
}

static void free_and_destroy_accept_null(void)
{
	agentcg_free(NULL);
	CHECK_OK(agentcg_destroy(NULL, 0, 0, NULL, 0, &why));
	CHECK_EQ(agentcg_destroy(NULL, 0, 0, NULL, 0, NULL), 0);
}

static void a_null_output_is_refused(void)
{
	REFUSED(agentcg_new, NULL, NULL, NULL, 0, 0, NULL);
	REFUSED(agentcg_new_with, NULL, 0, NULL);
	REFUSED(agentcg_new_in, cg, NULL, 0, NULL);
	REFUSED(agentcg_open, NULL, some_uuid, 0, NULL);
	REFUSED(agentcg_open_tagged, NULL, some_uuid, "x", 0, NULL);
	REFUSED(agentcg_list, NULL, NULL, sizeof(agentcg_entry), 1);
	REFUSED(agentcg_list_tagged, NULL, "x", NULL, sizeof(agentcg_entry), 1);
	REFUSED(agentcg_get_info, cg, NULL, sizeof(info));
	REFUSED(agentcg_read_stats, cg, AGENTCG_STAT_BASIC, NULL, sizeof(stats));
	REFUSED(agentcg_read_file, cg, "pids.max", NULL, sizeof(text));
	REFUSED(agentcg_read_file, cg, NULL, text, sizeof(text));
	REFUSED(agentcg_write_file, cg, NULL, "1");
	REFUSED(agentcg_write_file, cg, "pids.max", NULL);
	REFUSED(agentcg_discover_parent, NULL, sizeof(text));
	REFUSED(agentcg_pids, cg, NULL, 1);
	REFUSED(agentcg_spawn, cg, NULL, no_words, NULL, NULL, 0, NULL, NULL);
	REFUSED(agentcg_spawn, cg, "/bin/true", NULL, NULL, NULL, 0, NULL, NULL);
	REFUSED(agentcg_spawn, cg, "/bin/true", no_words, NULL, NULL, 0, NULL, NULL);
	REFUSED(agentcg_next_events, cg, 0, NULL);
	REFUSED(agentcg_get_limits, cg, NULL, sizeof(limits));
	REFUSED(agentcg_set_limits, cg, NULL, 0, 0);
	REFUSED(agentcg_get_place_limits, NULL, NULL, sizeof(limits));
	REFUSED(agentcg_set_place_limits, NULL, NULL, 0, 0);
	REFUSED(agentcg_set_place_limits, NULL, NULL, sizeof(limits), 0);
	REFUSED(agentcg_explain, cg, 0, NULL, sizeof(verdict));
	REFUSED(agentcg_destroy_explained, cg, 0, SOON_MS, 0, NULL, 0, NULL, sizeof(verdict));
	poison_outputs();
	CHECK_EQ(agentcg_diagnose(NULL, sizeof(diagnosis), text, sizeof(text)), -EINVAL);
	CHECK_EQ(agentcg_diagnose(&diagnosis, sizeof(diagnosis), NULL, sizeof(text)), -EINVAL);
	REFUSED(agentcg_diagnose_new, NULL, 0, 0, NULL, sizeof(diagnosis), text, sizeof(text));
	REFUSED(agentcg_diagnose_new, NULL, 0, 0, &diagnosis, sizeof(diagnosis), NULL, sizeof(text));
	REFUSED(agentcg_find, getpid(), NULL, sizeof(found), text, sizeof(text));
	REFUSED(agentcg_find, getpid(), &found, sizeof(found), NULL, sizeof(text));
	REFUSED(agentcg_find, 0, &found, sizeof(found), text, sizeof(text));
	REFUSED(agentcg_find_pidfd, 0, NULL, sizeof(found), text, sizeof(text));
	REFUSED(agentcg_find_pidfd, 0, &found, sizeof(found), NULL, sizeof(text));
	check_outputs_untouched();
	CHECK_EQ(agentcg_uuid(cg, NULL, sizeof(text)), -EINVAL);
	CHECK_EQ(agentcg_path(cg, NULL, sizeof(text)), -EINVAL);
}

static void a_missing_or_invalid_uuid_is_refused(void)
{
	static const char *const none[] = { NULL, "", "..", "\xff", "01234567-89AB-4def-8123-456789abcdef ", "synwire" };
	agentcg *fresh = cg;

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		REFUSED(agentcg_open, NULL, none[i], 0, &fresh);
		REFUSED(agentcg_open_tagged, NULL, none[i], "x", 0, &fresh);
	}
	CHECK(fresh == cg);
}

#define TEXT_OF_63 "123456789 123456789 123456789 123456789 123456789 123456789 123"

static void an_invalid_label_is_refused(void)
{
	static const char *const invalid[] = { TEXT_OF_63 "4", "\xff", "a\nb", "\x1b[2J", "\x7f", "\xc2\x85", "\xe2\x80\xae" };
	agentcg *fresh = cg;

	for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
		agentcg_new_options options = { .label = invalid[i] };

		REFUSED(agentcg_new_with, &options, sizeof(options), &fresh);
		REFUSED(agentcg_new_in, cg, &options, sizeof(options), &fresh);
		REFUSED(agentcg_set_label, cg, invalid[i]);
	}
	CHECK(fresh == cg);
}

static void a_missing_or_invalid_tag_is_refused(void)
{
	static const char tag_of_64[] = "0123456789012345678901234567890123456789012345678901234567890123";
	const char *const invalid[] = { "", tag_of_64, "a b", "a=b", "a\n", "\xc3\xa9", NULL };
	agentcg_entry entry;
	agentcg *fresh = cg;

	check_poison(&entry, sizeof(entry));
	for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
		agentcg_new_options options = { .tag = invalid[i] };

		if (invalid[i])
			REFUSED(agentcg_new_with, &options, sizeof(options), &fresh);
		REFUSED(agentcg_open_tagged, NULL, some_uuid, invalid[i], 0, &fresh);
		REFUSED(agentcg_list_tagged, NULL, invalid[i], &entry, sizeof(entry), 1);
		REFUSED(agentcg_reap_tagged, NULL, invalid[i], 0);
	}
	CHECK(fresh == cg);
	CHECK(check_untouched(&entry, sizeof(entry)));
}

static void a_size_without_its_struct_is_refused(void)
{
	agentcg *fresh = cg;

	REFUSED(agentcg_new, NULL, NULL, NULL, sizeof(agentcg_limits), 0, &fresh);
	REFUSED(agentcg_new_with, &(agentcg_new_options){ .limits_size = sizeof(agentcg_limits) }, sizeof(agentcg_new_options),
	        &fresh);
	REFUSED(agentcg_new_with, NULL, sizeof(agentcg_new_options), &fresh);
	REFUSED(agentcg_new_in, cg, NULL, sizeof(agentcg_new_options), &fresh);
	poison_outputs();
	REFUSED(agentcg_diagnose_new, NULL, sizeof(agentcg_limits), 0, &diagnosis, sizeof(diagnosis), text, sizeof(text));
	check_outputs_untouched();
	REFUSED(agentcg_destroy, cg, 0, SOON_MS, NULL, sizeof(stats));
	REFUSED(agentcg_destroy_explained, cg, 0, SOON_MS, 0, NULL, sizeof(stats), &verdict, sizeof(verdict));
	CHECK(fresh == cg);
}

static void a_null_buffer_of_size_0_returns_the_length(void)
{
	char path[PATH_SIZE];
	int length;

	CHECK_EQ(agentcg_uuid(cg, NULL, 0), AGENTCG_UUID_SIZE - 1);
	CHECK_EQ(agentcg_path(cg, NULL, 0), agentcg_path(cg, path, sizeof(path)));
	CHECK_OK(length = agentcg_discover_parent(NULL, 0, &why));
	CHECK_EQ(length, agentcg_discover_parent(path, sizeof(path), NULL));
	CHECK((length = agentcg_diagnose(&diagnosis, sizeof(diagnosis), NULL, 0)) > 0);
	CHECK_EQ(length, agentcg_diagnose(&diagnosis, sizeof(diagnosis), path, sizeof(path)));
	CHECK_EQ(strlen(path), length < PATH_SIZE ? length : PATH_SIZE - 1);
	CHECK_OK(length = agentcg_diagnose_new(NULL, 0, 0, &diagnosis, sizeof(diagnosis), NULL, 0, &why));
	CHECK_EQ(length, agentcg_diagnose_new(NULL, 0, 0, &diagnosis, sizeof(diagnosis), path, sizeof(path), NULL));
	CHECK_EQ(strlen(path), length < PATH_SIZE ? length : PATH_SIZE - 1);
}

/* What only concerns the choice of a place is refused for a child, whose place is its session. */
static void a_place_for_a_child_is_refused(void)
{
	const agentcg_new_options options[] = {
		{ .parent = "/sys/fs/cgroup" }, { .parent = "" }, { .flags = AGENTCG_NEW_SYSTEMD },
		{ .flags = AGENTCG_NEW_NO_SYSTEMD }, { .flags = AGENTCG_NEW_KEEP_CALLER },
	};
	agentcg *fresh = cg;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		REFUSED(agentcg_new_in, cg, &options[i], sizeof(options[i]), &fresh);
	CHECK(fresh == cg);
}

static void an_unknown_flag_is_refused(void)
{
	static const uint64_t unknown[] = { 1ull << 20, 1ull << 32, 1ull << 63, UINT64_MAX };
	agentcg *fresh = cg;

	poison_outputs();
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		agentcg_new_options options = { .flags = unknown[i] };

		REFUSED(agentcg_new, NULL, NULL, NULL, 0, unknown[i], &fresh);
		REFUSED(agentcg_new_with, &options, sizeof(options), &fresh);
		REFUSED(agentcg_new_in, cg, &options, sizeof(options), &fresh);
		REFUSED(agentcg_diagnose_new, NULL, 0, unknown[i], &diagnosis, sizeof(diagnosis), text, sizeof(text));
		REFUSED(agentcg_open, NULL, some_uuid, unknown[i], &fresh);
		REFUSED(agentcg_open_tagged, NULL, some_uuid, "x", unknown[i], &fresh);
		REFUSED(agentcg_set_limits, cg, &limits, sizeof(limits), unknown[i]);
		REFUSED(agentcg_set_place_limits, NULL, &limits, sizeof(limits), unknown[i]);
		REFUSED(agentcg_destroy, cg, unknown[i], SOON_MS, &stats, sizeof(stats));
		REFUSED(agentcg_destroy_explained, cg, unknown[i], SOON_MS, 0, NULL, 0, &verdict, sizeof(verdict));
		REFUSED(agentcg_event_fd, cg, unknown[i]);
	}
	CHECK(fresh == cg);
	check_outputs_untouched();
}

static void a_stall_that_does_not_exist_is_refused(void)
{
	static const uint32_t unknown[] = { 0, 6, UINT32_MAX };

	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		REFUSED(agentcg_watch_stall, cg, unknown[i], AGENTCG_STALL_SOME, 1, 1000000);
		REFUSED(agentcg_watch_stall, cg, AGENTCG_STALL_CPU, unknown[i], 1, 1000000);
	}
	/* exchanged */
	REFUSED(agentcg_watch_stall, cg, AGENTCG_STALL_SOME, AGENTCG_STALL_CPU, 1, 1000000);
	REFUSED(agentcg_watch_stall, cg, AGENTCG_STALL_MEMORY, AGENTCG_STALL_IO, 1, 1000000);
	REFUSED(agentcg_watch_stall, cg, AGENTCG_STALL_CPU, AGENTCG_STALL_SOME, 1, 99999);
	REFUSED(agentcg_watch_stall, cg, AGENTCG_STALL_CPU, AGENTCG_STALL_SOME, 1, 3600000001);
	REFUSED(agentcg_watch_stall, cg, AGENTCG_STALL_CPU, AGENTCG_STALL_SOME, 1, UINT64_MAX);
	REFUSED(agentcg_watch_stall, cg, AGENTCG_STALL_CPU, AGENTCG_STALL_SOME, 1000001, 1000000);
	REFUSED(agentcg_watch_stall, cg, AGENTCG_STALL_CPU, AGENTCG_STALL_SOME, UINT64_MAX, 1000000);
	/* The end of a watch has no window. */
	CHECK_OK(agentcg_watch_stall(cg, AGENTCG_STALL_CPU, AGENTCG_STALL_SOME, 0, 0, &why));
	CHECK_OK(agentcg_watch_stall(cg, AGENTCG_STALL_IO, AGENTCG_STALL_FULL, 0, UINT64_MAX, NULL));
}

static void a_negative_timeout_other_than_forever_is_refused(void)
{
	static const int negative[] = { -2, -1000, INT32_MIN };

	poison_outputs();
	for (size_t i = 0; i < sizeof(negative) / sizeof(negative[0]); i++) {
		REFUSED(agentcg_wait_empty, cg, negative[i]);
		REFUSED(agentcg_kill_all, cg, negative[i]);
		REFUSED(agentcg_kill_all_of, &cg, 1, pids, negative[i]);
		REFUSED(agentcg_reap, NULL, negative[i]);
		REFUSED(agentcg_reap_tagged, NULL, "x", negative[i]);
		REFUSED(agentcg_freeze, cg, negative[i]);
		REFUSED(agentcg_thaw, cg, negative[i]);
		REFUSED(agentcg_terminate, cg, negative[i], 0);
		REFUSED(agentcg_terminate, cg, 0, negative[i]);
		REFUSED(agentcg_next_events, cg, negative[i], &events);
		REFUSED(agentcg_destroy, cg, 0, negative[i], &stats, sizeof(stats));
		REFUSED(agentcg_destroy_explained, cg, 0, negative[i], 0, NULL, 0, &verdict, sizeof(verdict));
	}
	check_outputs_untouched();
}

static void an_invalid_signal_is_refused(void)
{
	REFUSED(agentcg_signal_all, cg, -1);
	REFUSED(agentcg_signal_all, cg, INT32_MIN);
	REFUSED(agentcg_signal_all, cg, 65);
}

static void the_status_of_a_process_that_has_not_ended_is_refused(void)
{
	static const int stopped[] = { 0x137f, 0xffff, 0x10000, -2, INT32_MIN };

	poison_outputs();
	for (size_t i = 0; i < sizeof(stopped) / sizeof(stopped[0]); i++) {
		REFUSED(agentcg_explain, cg, stopped[i], &verdict, sizeof(verdict));
		REFUSED(agentcg_destroy_explained, cg, 0, SOON_MS, stopped[i], &stats, sizeof(stats), &verdict, sizeof(verdict));
	}
	check_outputs_untouched();
}

static void a_pid_below_1_is_refused_and_moves_no_process(void)
{
	/* For the kernel 0 is the caller, and -1 in kill(2) means all processes. */
	REFUSED(agentcg_move_pid, cg, 0);
	REFUSED(agentcg_move_pid, cg, -1);
	REFUSED(agentcg_move_pid, cg, INT32_MIN);
	CHECK(!holds(cg, getpid()));
	REFUSED(agentcg_move_out, cg, 0);
	REFUSED(agentcg_move_out, cg, -1);
	REFUSED(agentcg_contains, cg, 0);
	REFUSED(agentcg_contains, cg, -1);
}

int main(void)
{
	cg = new_group();
	pid_t child = pausing_child();

	CHECK_OK(agentcg_move_pid(cg, child, &why));

	RUN(a_null_handle_is_refused_and_outputs_are_untouched);
	RUN(free_and_destroy_accept_null);
	RUN(a_null_output_is_refused);
	RUN(a_missing_or_invalid_uuid_is_refused);
	RUN(an_invalid_label_is_refused);
	RUN(a_missing_or_invalid_tag_is_refused);
	RUN(a_size_without_its_struct_is_refused);
	RUN(a_null_buffer_of_size_0_returns_the_length);
	RUN(a_place_for_a_child_is_refused);
	RUN(an_unknown_flag_is_refused);
	RUN(a_stall_that_does_not_exist_is_refused);
	RUN(a_negative_timeout_other_than_forever_is_refused);
	RUN(an_invalid_signal_is_refused);
	RUN(the_status_of_a_process_that_has_not_ended_is_refused);
	RUN(a_pid_below_1_is_refused_and_moves_no_process);

	CHECK(holds(cg, child));
	CHECK_EQ(agents_below(NULL), 1);
	kill_and_reap(child);
	destroy_group(cg);
	return 0;
}
