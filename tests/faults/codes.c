/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The codes that the header's comments list for each function. */
#include "faults.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *header;

void read_header(const char *path)
{
	FILE *file = fopen(path, "re");
	size_t size = 1 << 20, length;

	if (!file || !(header = malloc(size)))
		die("%s: %s", path, strerror(errno));
	length = fread(header, 1, size - 1, file);
	header[length] = 0;
	fclose(file);
}

/* The end of the comment before the function's declaration, and its start. */
static bool comment_of(const char *function, const char **from, const char **to)
{
	size_t length = strlen(function);

	for (const char *at = header; (at = strstr(at, function)); at += length) {
		const char *start = NULL;

		if (at[length] != '(' || (at > header && (isalnum((unsigned char)at[-1]) || at[-1] == '_')))
			continue;
		*to = NULL;
		for (const char *end = header; (end = strstr(end, "*/")) && end < at; end += 2)
			*to = end;
		for (const char *begin = header; (begin = strstr(begin, "/*")) && begin < at; begin += 2)
			start = begin;
		/* Else it stands in a comment. */
		if (start && *to && *to > start && !memchr(*to + 2, ';', (size_t)(at - *to - 2))) {
			*from = start;
			return true;
		}
	}
	return false;
}

static bool listed(const char *function, const char *name, int depth)
{
	const char *from, *to;
	size_t length = strlen(name);

	if (depth > 2)
		return false;
	if (!comment_of(function, &from, &to))
		die("%s is not declared in the header", function);
	for (const char *at = from; (at = strstr(at, name)) && at < to; at += length)
		if (at[-1] == '-' && !isalnum((unsigned char)at[length]))
			return true;
	/* "As agentcg_move_pid(), and", "The codes of agentcg_move_pid()", "as agentcg_new() would", "see agentcg_move_pid(),
	 * whose codes these are". */
	static const char *const words[] = { "As ", "codes of ", "as ", "see " };
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		for (const char *at = from; (at = strstr(at, words[i])) && at < to; at++) {
			char other[64];

			if (sscanf(at + strlen(words[i]), "%63[a-z_]", other) == 1 &&
			    strncmp(other, "agentcg_", 8) == 0 && strcmp(other, function) != 0 &&
			    at[strlen(words[i]) + strlen(other)] == '(' && listed(other, name, depth + 1))
				return true;
		}
	/* "The same by pidfd": the function that is declared before it. */
	if (strstr(from, "/* The same ") == from || strncmp(from, "/* The same by", 14) == 0)
		return listed("agentcg_move_pid", name, depth + 1);
	return false;
}

/* What the conventions at its beginning list for all of them. */
static bool common(const char *name)
{
	const char *from = strstr(header, "every function that can fail may return"), *to, *at;

	to = from ? strstr(from, "-ENOTRECOVERABLE") : NULL;
	if (!to)
		die("the header's conventions list no codes for all functions");
	at = strstr(from, name);
	return at && at < to;
}

bool is_listed(const char *function, int code)
{
	const char *name = errno_name(-code);

	return code >= 0 || common(name) || listed(function, name, 0);
}

const char *errno_name(int error)
{
	static char number[16];
	const char *name = strerrorname_np(error);

	/* The header's names of those that have two. */
	if (error == EOPNOTSUPP)
		return "EOPNOTSUPP";
	if (error == EDEADLK)
		return "EDEADLK";
	if (error == EAGAIN)
		return "EAGAIN";
	if (name)
		return name;
	snprintf(number, sizeof(number), "%d", error);
	return number;
}
