/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Structs are passed with their size and grow only at the end. The library works
 * with older programs, whose structs are smaller, and with newer ones, whose
 * structs have fields that it does not know.
 */
#include "support.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

/* The bytes that a newer program's struct has more. */
#define MORE 64

/*
 * Returns size bytes in front of an inaccessible page: an access behind them is a
 * SIGSEGV. The bytes in front of them are poisoned and checked afterwards.
 */
static unsigned char *page;
static size_t page_size;

static void *at_page_end(size_t size)
{
	if (!page) {
		page_size = (size_t)sysconf(_SC_PAGESIZE);
		page = mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(page != MAP_FAILED);
		CHECK_EQ(mprotect(page + page_size, page_size, PROT_NONE), 0);
	}
	check_poison(page, page_size);
	return page + page_size - size;
}

static void check_only_written(size_t size)
{
	CHECK(check_untouched(page, page_size - size));
}

static void check_all_zero(const void *memory, size_t size)
{
	for (size_t i = 0; i < size; i++)
		CHECK_EQ(((const unsigned char *)memory)[i], 0);
}

static agentcg_limits *limits_at_page_end(size_t size)
{
	agentcg_limits *limits = at_page_end(size);

	memset(limits, 0, size);
	limits->mask = AGENTCG_LIMIT_PIDS_MAX;
	limits->pids_max = 7;
	return limits;
}

static agentcg *const untouched = (agentcg *)&page;

static int new_with(const agentcg_limits *limits, size_t size, agentcg **ret)
{
	*ret = untouched;
	return agentcg_new(NULL, NULL, limits, size, 0, ret, &why);
}

static int diagnose_with(const agentcg_limits *limits, size_t size)
{
	agentcg_diagnosis found;

	return agentcg_diagnose_new(limits, size, 0, &found, sizeof(found), NULL, 0, &why);
}

/* ---- input ---- */

static void limits_of_the_first_release_work(void)
{
	agentcg *cg;

	CHECK_OK(new_with(limits_at_page_end(AGENTCG_LIMITS_SIZE_V0), AGENTCG_LIMITS_SIZE_V0, &cg));
	CHECK_EQ(number_in(cg, "pids.max"), 7);
	destroy_group(cg);
	CHECK_OK(diagnose_with(limits_at_page_end(AGENTCG_LIMITS_SIZE_V0), AGENTCG_LIMITS_SIZE_V0));
}

static void limits_smaller_than_those_of_the_first_release_are_refused(void)
{
	static const size_t sizes[] = { 0, 1, sizeof(uint64_t), AGENTCG_LIMITS_SIZE_V0 - 1 };
	agentcg *cg;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		CHECK_ERR(new_with(limits_at_page_end(AGENTCG_LIMITS_SIZE_V0), sizes[i], &cg), -EINVAL);
		CHECK(cg == untouched);
		CHECK_ERR(diagnose_with(limits_at_page_end(AGENTCG_LIMITS_SIZE_V0), sizes[i]), -EINVAL);
	}
}

static void larger_limits_whose_new_fields_are_zero_work(void)
{
	agentcg *cg;

	CHECK_OK(new_with(limits_at_page_end(sizeof(agentcg_limits) + MORE), sizeof(agentcg_limits) + MORE, &cg));
	CHECK_EQ(number_in(cg, "pids.max"), 7);
	destroy_group(cg);
	CHECK_OK(diagnose_with(limits_at_page_end(sizeof(agentcg_limits) + MORE), sizeof(agentcg_limits) + MORE));
}

static void larger_limits_with_a_new_field_set_are_e2big(void)
{
	agentcg *cg;

	for (size_t i = 0; i < MORE; i++) {
		agentcg_limits *limits = limits_at_page_end(sizeof(*limits) + MORE);

		((unsigned char *)(limits + 1))[i] = 1;
		CHECK_ERR(new_with(limits, sizeof(*limits) + MORE, &cg), -E2BIG);
		CHECK(cg == untouched);
		CHECK_ERR(diagnose_with(limits, sizeof(*limits) + MORE), -E2BIG);
	}
}

static void an_unknown_bit_in_the_mask_is_e2big(void)
{
	for (int bit = 20; bit < 64; bit++) {
		agentcg_limits *limits = limits_at_page_end(sizeof(*limits));
		agentcg *cg;

		limits->mask |= UINT64_C(1) << bit;
		CHECK_ERR(new_with(limits, sizeof(*limits), &cg), -E2BIG);
		CHECK(cg == untouched);
	}
}

static void limits_are_not_written_to(void)
{
	agentcg_limits *limits = limits_at_page_end(sizeof(*limits)), before = *limits;
	agentcg *cg;

	CHECK_OK(new_with(limits, sizeof(*limits), &cg));
	CHECK_EQ(memcmp(limits, &before, sizeof(before)), 0);
	destroy_group(cg);
}

/* The size of agentcg_new_options in the first release that has it: its fields up to the tag. */
#define OPTIONS_V0 (offsetof(agentcg_new_options, tag) + sizeof(char *))

static agentcg_new_options *options_at_page_end(size_t size)
{
	agentcg_new_options *options = at_page_end(size);

	memset(options, 0, size);
	options->tag = "sizes";
	return options;
}

static int new_by(const agentcg_new_options *options, size_t size, agentcg **ret)
{
	*ret = untouched;
	return agentcg_new_with(options, size, ret, &why);
}

static void check_tag(agentcg *cg, const char *tag)
{
	agentcg_info info;

	CHECK_OK(agentcg_get_info(cg, &info, sizeof(info), &why));
	CHECK_STR(info.tag, tag);
	destroy_group(cg);
}

static void options_of_each_size_from_the_first_release_on_work(void)
{
	agentcg *cg;

	CHECK_OK(new_by(NULL, 0, &cg));
	check_tag(cg, "");
	CHECK_OK(new_by(options_at_page_end(OPTIONS_V0), OPTIONS_V0, &cg));
	check_tag(cg, "sizes");
	CHECK_OK(new_by(options_at_page_end(sizeof(agentcg_new_options) + MORE), sizeof(agentcg_new_options) + MORE, &cg));
	check_tag(cg, "sizes");
}

static void smaller_options_and_options_with_a_new_field_set_are_refused(void)
{
	static const size_t sizes[] = { 0, 1, sizeof(void *), OPTIONS_V0 - 1 };
	agentcg *cg;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		CHECK_ERR(new_by(options_at_page_end(OPTIONS_V0), sizes[i], &cg), -EINVAL);
		CHECK(cg == untouched);
	}
	for (size_t i = 0; i < MORE; i++) {
		agentcg_new_options *options = options_at_page_end(sizeof(*options) + MORE);

		((unsigned char *)(options + 1))[i] = 1;
		CHECK_ERR(new_by(options, sizeof(*options) + MORE, &cg), -E2BIG);
		CHECK(cg == untouched);
	}
}

/* ---- output ---- */

/* The functions that fill a struct, with the same arguments. */
static agentcg *shared;
static pid_t member;           /* a process in it */
static int member_pidfd;

static int read_stats(void *ret, size_t size)
{
	return agentcg_read_stats(shared, AGENTCG_STAT_ALL, ret, size, &why);
}

static int get_info(void *ret, size_t size)
{
	return agentcg_get_info(shared, ret, size, &why);
}

static int get_limits(void *ret, size_t size)
{
	return agentcg_get_limits(shared, ret, size, &why);
}

static int get_place_limits(void *ret, size_t size)
{
	return agentcg_get_place_limits(NULL, ret, size, &why);
}

static int find(void *ret, size_t size)
{
	return agentcg_find(member, ret, size, NULL, 0, &why);
}

static int find_pidfd(void *ret, size_t size)
{
	return agentcg_find_pidfd(member_pidfd, ret, size, NULL, 0, &why);
}

static int diagnose(void *ret, size_t size)
{
	int length = agentcg_diagnose(ret, size, NULL, 0);

	/* It has no reterr: another function's -EINVAL fills why instead. */
	CHECK(length > 0 || length == -EINVAL);
	return length > 0 ? 0 : agentcg_get_info(NULL, NULL, 0, &why);
}

static int diagnose_new(void *ret, size_t size)
{
	return agentcg_diagnose_new(NULL, 0, 0, ret, size, NULL, 0, &why);
}

static int destroy(void *ret, size_t size)
{
	agentcg *cg = new_group();
	int result = agentcg_destroy(cg, 0, SOON_MS, ret, size, &why);

	if (result < 0) {
		agentcg_error error = why;

		destroy_group(cg);   /* the handle must still be valid */
		why = error;
	}
	return result;
}

static int explain(void *ret, size_t size)
{
	return agentcg_explain(shared, AGENTCG_NO_WAIT_STATUS, ret, size, &why);
}

static int destroy_explained(void *ret, size_t size)
{
	agentcg *cg = new_group();
	int result = agentcg_destroy_explained(cg, 0, SOON_MS, AGENTCG_NO_WAIT_STATUS, NULL, 0, ret, size, &why);

	if (result < 0) {
		agentcg_error error = why;

		destroy_group(cg);
		why = error;
	}
	return result;
}

static const struct output {
	int (*fill)(void *ret, size_t size);
	size_t size;         /* what this library knows */
	size_t size_v0;      /* what the first release knew */
} outputs[] = {
	{ read_stats, sizeof(agentcg_stats), AGENTCG_STATS_SIZE_V0 },
	{ get_info, sizeof(agentcg_info), 32 },
	{ get_limits, sizeof(agentcg_limits), AGENTCG_LIMITS_SIZE_V0 },
	{ get_place_limits, sizeof(agentcg_limits), AGENTCG_LIMITS_SIZE_V0 },
	{ find, sizeof(agentcg_found), 56 },
	{ find_pidfd, sizeof(agentcg_found), 56 },
	{ diagnose, sizeof(agentcg_diagnosis), 32 },
	{ diagnose_new, sizeof(agentcg_diagnosis), 32 },
	{ destroy, sizeof(agentcg_stats), AGENTCG_STATS_SIZE_V0 },
	{ explain, sizeof(agentcg_verdict), 608 },
	{ destroy_explained, sizeof(agentcg_verdict), 608 },
};
#define FOR_EACH_OUTPUT(o) \
	for (const struct output *o = outputs; o < outputs + sizeof(outputs) / sizeof(outputs[0]); o++)

static void an_output_of_the_first_release_is_filled_and_the_memory_around_it_is_untouched(void)
{
	FOR_EACH_OUTPUT(o) {
		unsigned char *ret = at_page_end(o->size_v0);

		CHECK_OK(o->fill(ret, o->size_v0));
		CHECK(!check_untouched(ret, o->size_v0));
		check_only_written(o->size_v0);
	}
}

static void an_output_smaller_than_that_of_the_first_release_is_refused_and_untouched(void)
{
	FOR_EACH_OUTPUT(o) {
		const size_t sizes[] = { 0, 1, sizeof(uint64_t), o->size_v0 - 1 };

		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			void *ret = at_page_end(sizes[i]);

			CHECK_ERR(o->fill(ret, sizes[i]), -EINVAL);
			check_only_written(0);
		}
	}
}

static void the_unknown_part_of_a_larger_output_is_zeroed(void)
{
	FOR_EACH_OUTPUT(o) {
		unsigned char *ret = at_page_end(o->size + MORE);

		CHECK_OK(o->fill(ret, o->size + MORE));
		CHECK(!check_untouched(ret, o->size));
		check_all_zero(ret + o->size, MORE);
		check_only_written(o->size + MORE);
	}
}

static void the_error_is_written_within_its_256_bytes(void)
{
	agentcg_error *error = at_page_end(sizeof(*error));

	CHECK_EQ(agentcg_kill_all(shared, -2, error), -EINVAL);
	CHECK(!check_error_flaw(error, -EINVAL));
	check_only_written(sizeof(*error));
}

/* ---- an array ---- */

static void pids_are_filled_to_their_count_and_all_are_counted(void)
{
	agentcg *cg = new_group();
	pid_t children[3];

	for (int i = 0; i < 3; i++) {
		children[i] = pausing_child();
		CHECK_OK(agentcg_move_pid(cg, children[i], &why));
	}
	for (size_t count = 0; count <= 3; count++) {
		pid_t *pids = at_page_end(count * sizeof(*pids));

		CHECK_EQ(agentcg_pids(cg, pids, count, &why), 3);
		for (size_t i = 0; i < count; i++)
			CHECK(holds(cg, pids[i]) && (i == 0 || pids[i - 1] < pids[i]));
		check_only_written(count * sizeof(*pids));
	}
	for (int i = 0; i < 3; i++)
		kill_and_reap(children[i]);
	destroy_group(cg);
}

/* ---- a string ---- */

static void a_files_text_is_cut_to_its_size_and_ends_with_nul(void)
{
	for (size_t size = 1; size <= 8; size++) {
		char *text = at_page_end(size);

		CHECK_EQ(agentcg_read_file(shared, "pids.max", text, size, &why), 4);   /* "max" and a newline */
		CHECK_EQ(strlen(text), size <= 4 ? size - 1 : 4);
		check_only_written(size);
	}
	CHECK_EQ(agentcg_read_file(shared, "pids.max", at_page_end(0), 0, &why), 4);
	check_only_written(0);
}

static void the_path_of_a_place_is_cut_to_its_size_and_ends_with_nul(void)
{
	char path[PATH_SIZE];
	agentcg_found found;
	int length;

	CHECK_OK(length = agentcg_find(member, &found, sizeof(found), path, sizeof(path), &why));
	CHECK_EQ(strlen(path), length);
	CHECK_EQ(agentcg_find(member, &found, sizeof(found), NULL, 0, &why), length);
	for (size_t size = 1; size <= (size_t)length + 2; size++) {
		char *place = at_page_end(size);
		size_t fits = size <= (size_t)length ? size - 1 : (size_t)length;

		CHECK_EQ(agentcg_find(member, &found, sizeof(found), place, size, &why), length);
		CHECK_EQ(strlen(place), fits);
		CHECK(memcmp(place, path, fits) == 0);
		check_only_written(size);
	}
}

int main(void)
{
	RUN(limits_of_the_first_release_work);
	RUN(limits_smaller_than_those_of_the_first_release_are_refused);
	RUN(larger_limits_whose_new_fields_are_zero_work);
	RUN(larger_limits_with_a_new_field_set_are_e2big);
	RUN(an_unknown_bit_in_the_mask_is_e2big);
	RUN(limits_are_not_written_to);
	RUN(options_of_each_size_from_the_first_release_on_work);
	RUN(smaller_options_and_options_with_a_new_field_set_are_refused);

	shared = new_group();
	CHECK_OK(agentcg_spawn(shared, "/bin/sleep", (char *const[]){ "sleep", "1000", NULL }, NULL, NULL, 0, &member, &member_pidfd, &why));
	/* From here on its descriptors are cached, and RUN() counts the same number. */
	CHECK_OK(read_stats(at_page_end(sizeof(agentcg_stats)), sizeof(agentcg_stats)));
	RUN(an_output_of_the_first_release_is_filled_and_the_memory_around_it_is_untouched);
	RUN(an_output_smaller_than_that_of_the_first_release_is_refused_and_untouched);
	RUN(the_unknown_part_of_a_larger_output_is_zeroed);
	RUN(the_error_is_written_within_its_256_bytes);
	RUN(a_files_text_is_cut_to_its_size_and_ends_with_nul);
	RUN(the_path_of_a_place_is_cut_to_its_size_and_ends_with_nul);
	kill_and_reap(member);
	close(member_pidfd);
	destroy_group(shared);
	RUN(pids_are_filled_to_their_count_and_all_are_counted);
	return 0;
}
