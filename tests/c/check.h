/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Checks. The first one that fails prints its place, the expected value and the
 * actual value, and ends the program.
 *
 * Every call gets &why for its error. CHECK_OK and CHECK_ERR also check two
 * promises of all functions: a success does not write to reterr, and a failure
 * writes a complete, readable error.
 */
#ifndef CHECK_H
#define CHECK_H

#include <agentcg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static __thread agentcg_error why __attribute__((unused));

#define CHECK_FAIL(...) \
	do { \
		fprintf(stderr, "%s:%d: ", __FILE__, __LINE__); \
		fprintf(stderr, __VA_ARGS__); \
		fputc('\n', stderr); \
		exit(1); \
	} while (0)

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			CHECK_FAIL("false: %s", #condition); \
	} while (0)

/* For integers of all types. They are compared as uint64_t. */
#define CHECK_EQ(got, expected) \
	do { \
		uint64_t check_got = (uint64_t)(got), check_expected = (uint64_t)(expected); \
		if (check_got != check_expected) \
			CHECK_FAIL("%s is %lld, expected %lld (%s)", #got, (long long)check_got, \
			           (long long)check_expected, #expected); \
	} while (0)

#define CHECK_STR(got, expected) \
	do { \
		const char *check_got = (got), *check_expected = (expected); \
		if (strcmp(check_got, check_expected) != 0) \
			CHECK_FAIL("%s is \"%s\", expected \"%s\"", #got, check_got, check_expected); \
	} while (0)

#define CHECK_OK(call) \
	do { \
		check_poison(&why, sizeof(why)); \
		int check_result = (call); \
		if (check_result < 0) \
			CHECK_FAIL("%s\n\treturned %d (%s), reason %u, file \"%.64s\":\n\t%.184s", #call, \
			           check_result, strerror(-check_result), why.reason, why.file, why.message); \
		if (!check_untouched(&why, sizeof(why))) \
			CHECK_FAIL("%s\n\tsucceeded and wrote to reterr", #call); \
	} while (0)

#define CHECK_ERR(call, expected) \
	do { \
		check_poison(&why, sizeof(why)); \
		int check_result = (call); \
		if (check_result != (expected)) \
			CHECK_FAIL("%s\n\treturned %d (%s), expected %s\n\t%.184s", #call, check_result, \
			           check_result < 0 ? strerror(-check_result) : "success", #expected, \
			           check_result < 0 ? why.message : ""); \
		const char *check_flaw = check_error_flaw(&why, check_result); \
		if (check_flaw) \
			CHECK_FAIL("%s\n\treturned %s as expected, but reterr %s: \"%.184s\"", #call, \
			           #expected, check_flaw, why.message); \
	} while (0)

#define CHECK_POISON 0xa5

static inline void check_poison(void *memory, size_t size)
{
	memset(memory, CHECK_POISON, size);
}

static inline int check_untouched(const void *memory, size_t size)
{
	const unsigned char *byte = (const unsigned char *)memory;

	while (size && byte[size - 1] == CHECK_POISON)
		size--;
	return size == 0;
}

/* What is wrong with the error, or NULL. */
static inline const char *check_error_flaw(const agentcg_error *error, int code)
{
	const char *end = (const char *)memchr(error->message, 0, sizeof(error->message));

	if (error->code != code)
		return "has another code";
	if (error->reason > AGENTCG_WHY_NOT_EXECUTED)
		return "has an unknown reason";
	if (!memchr(error->file, 0, sizeof(error->file)))
		return "has a file name without NUL";
	if (strchr(error->file, '/'))
		return "has a path instead of a file name";
	if (!end)
		return "has a message without NUL";
	if (end == error->message)
		return "has no message";
	if (end == error->message + sizeof(error->message) - 1)
		return "has a truncated message";
	for (const char *c = error->message; c < end; c++)
		if ((unsigned char)*c < ' ')
			return "has a message of more than one line";
	return NULL;
}

#endif
