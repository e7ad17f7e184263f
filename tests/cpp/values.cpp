// SPDX-License-Identifier: MIT OR Apache-2.0
// Conversions that need no kernel: durations, limits, text, errors.
#include "throwing.hpp"

#include <limits>
#include <type_traits>

namespace {

using agentcgpp::timeout;
using agentcgpp::zstring;
using seconds = std::chrono::duration<double>;

static_assert(!std::is_copy_constructible_v<group> && !std::is_copy_assignable_v<group>);
static_assert(std::is_nothrow_move_constructible_v<group> && std::is_nothrow_move_assignable_v<group>);
static_assert(std::is_nothrow_copy_constructible_v<agentcgpp::error>, "an exception may be caught by value");
static_assert(sizeof(agentcgpp::stats) == sizeof(agentcg_stats), "its size is passed to C");
static_assert(timeout(2s).c() == 2000, "a constant");

void a_timeout_is_rounded_up_to_milliseconds()
{
	CHECK_EQ(timeout(0s).c(), 0);
	CHECK_EQ(timeout(1ms).c(), 1);
	CHECK_EQ(timeout(1ns).c(), 1);
	CHECK_EQ(timeout(1000us).c(), 1);
	CHECK_EQ(timeout(1001us).c(), 2);
	CHECK_EQ(timeout(1min).c(), 60000);
	CHECK_EQ(timeout(1.5s).c(), 1500);
	CHECK_EQ(timeout(seconds(1e-9)).c(), 1);
}

void a_negative_timeout_is_0()
{
	CHECK_EQ(timeout(-1ns).c(), 0);
	CHECK_EQ(timeout(-1ms).c(), 0);   // AGENTCG_FOREVER in C
	CHECK_EQ(timeout(std::chrono::hours::min()).c(), 0);
	CHECK_EQ(timeout(seconds(std::numeric_limits<double>::quiet_NaN())).c(), 0);
}

void a_timeout_that_is_too_long_for_C_is_infinite()
{
	CHECK_EQ(timeout(std::chrono::milliseconds(INT_MAX)).c(), INT_MAX);
	CHECK_EQ(timeout(std::chrono::milliseconds(INT_MAX) + 1ns).c(), AGENTCG_FOREVER);
	CHECK_EQ(timeout(std::chrono::hours::max()).c(), AGENTCG_FOREVER);
	CHECK_EQ(timeout(std::chrono::nanoseconds::max()).c(), AGENTCG_FOREVER);
	CHECK_EQ(timeout(seconds(std::numeric_limits<double>::infinity())).c(), AGENTCG_FOREVER);
	CHECK_EQ(agentcgpp::infinite.c(), AGENTCG_FOREVER);
}

// All fields of C's struct except the mask and the period have a bit. HOLDS must cover each of them.
constexpr std::size_t with_a_bit = sizeof(agentcg_limits) / sizeof(std::uint64_t) - 2;

void each_limit_has_its_own_field_and_bit_in_both_directions()
{
	std::size_t seen = 0;
#define HOLDS(field, flag) \
	do { \
		agentcgpp::limits one; \
		agentcg_limits expected{}; \
		one.field = expected.field = 1000 + seen++; \
		expected.mask = AGENTCG_LIMIT_##flag; \
		agentcg_limits c = one.c(); \
		CHECK(memcmp(&c, &expected, sizeof(c)) == 0); \
		agentcgpp::limits back = agentcgpp::limits::of(c); \
		CHECK(back.field == one.field); \
		back.field.reset(); \
		CHECK_EQ(back.c().mask, 0); \
	} while (0)
	HOLDS(memory_max_bytes, MEMORY_MAX);
	HOLDS(memory_high_bytes, MEMORY_HIGH);
	HOLDS(memory_low_bytes, MEMORY_LOW);
	HOLDS(memory_min_bytes, MEMORY_MIN);
	HOLDS(swap_max_bytes, SWAP_MAX);
	HOLDS(oom_group, OOM_GROUP);
	HOLDS(cpu_max_millicpu, CPU_MAX);
	HOLDS(cpu_burst_us, CPU_BURST);
	HOLDS(cpu_weight, CPU_WEIGHT);
	HOLDS(cpu_idle, CPU_IDLE);
	HOLDS(pids_max, PIDS_MAX);
	HOLDS(io_weight, IO_WEIGHT);
	HOLDS(max_depth, MAX_DEPTH);
	HOLDS(max_descendants, MAX_DESCENDANTS);
#undef HOLDS
	CHECK_EQ(seen, with_a_bit);
}

void the_period_belongs_to_the_limit_of_cpu_time()
{
	agentcgpp::limits limits;
	limits.cpu_max_millicpu = 0;
	limits.cpu_period_us = 50000;
	CHECK_EQ(limits.c().mask, AGENTCG_LIMIT_CPU_MAX);
	CHECK_EQ(limits.c().cpu_period_us, 50000);
	CHECK_EQ(agentcgpp::limits::of(limits.c()).cpu_period_us, 50000);
}

void an_unset_limit_is_not_in_the_mask()
{
	agentcg_limits none = agentcgpp::limits{}.c(), zero{};
	CHECK(memcmp(&none, &zero, sizeof(none)) == 0);
	agentcg_limits unasked{};
	unasked.pids_max = 7;
	CHECK(!agentcgpp::limits::of(unasked).pids_max);
}

void has_returns_true_if_all_bits_are_in_the_mask()
{
	agentcgpp::stats stats{};
	stats.mask = AGENTCG_STAT_CPU | AGENTCG_STAT_MEMORY;
	CHECK(stats.has(AGENTCG_STAT_CPU));
	CHECK(stats.has(AGENTCG_STAT_CPU | AGENTCG_STAT_MEMORY));
	CHECK(!stats.has(AGENTCG_STAT_BASIC));
	CHECK(!stats.has(AGENTCG_STAT_PIDS));
}

void text_with_a_NUL_is_refused()
{
	CHECK(zstring(nullptr).c() == nullptr);
	CHECK_STR(zstring("memory.max").c(), "memory.max");
	CHECK_STR(zstring(std::string("memory.max")).c(), "memory.max");
	THROWN_BY(zstring(std::string("memory.max\0.odd", 15)), invalid_argument);
}

void an_error_has_all_fields_of_C()
{
	agentcg_error c{};
	c.code = -EBUSY;
	c.reason = AGENTCG_WHY_POPULATED;
	strcpy(c.file, "cgroup.procs");
	strcpy(c.message, "cannot, since");
	try {
		throw agentcgpp::error(c);
	} catch (const std::system_error &e) {
		CHECK(e.code() == std::errc::device_or_resource_busy);
		CHECK(e.code() == std::error_code(EBUSY, std::generic_category()));
		CHECK_STR(e.what(), "cannot, since");   // without the text of the code
		const auto &error = dynamic_cast<const agentcgpp::error &>(e);
		CHECK(error.reason() == agentcgpp::why::populated);
		CHECK_STR(error.file(), "cgroup.procs");
		CHECK_EQ(error.c().code, -EBUSY);
	}
}

void an_error_of_the_wrapper_is_cut_to_fit()
{
	agentcgpp::error e(-EINVAL, std::string(1000, 'x').c_str());
	CHECK_EQ(strlen(e.what()), sizeof(e.c().message) - 1);
	CHECK(e.reason() == agentcgpp::why::unsaid);
	CHECK_STR(e.file(), "");
}

#define RUN_HERE(test) (fprintf(stderr, "%s\n", #test), test())

}

int main()
{
	RUN_HERE(a_timeout_is_rounded_up_to_milliseconds);
	RUN_HERE(a_negative_timeout_is_0);
	RUN_HERE(a_timeout_that_is_too_long_for_C_is_infinite);
	RUN_HERE(each_limit_has_its_own_field_and_bit_in_both_directions);
	RUN_HERE(the_period_belongs_to_the_limit_of_cpu_time);
	RUN_HERE(an_unset_limit_is_not_in_the_mask);
	RUN_HERE(has_returns_true_if_all_bits_are_in_the_mask);
	RUN_HERE(text_with_a_NUL_is_refused);
	RUN_HERE(an_error_has_all_fields_of_C);
	RUN_HERE(an_error_of_the_wrapper_is_cut_to_fit);
}
