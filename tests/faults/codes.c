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

/* Find the comment before the declaration of the function. */
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
		/* Otherwise the name is in a comment. */
		if (start && *to && *to > start && !memchr(*to + 2, ';', (size_t)(at - *to - 2))) {
			*from = start;
			return true;
		}
	}
	return false;
}

/* Returns true if the text between the two contains -name. */
static bool names(const char *from, const char *to, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = from; (at = strstr(at, name)) && at < to; at += length)
		if (at[-1] == '-' && !isalnum((unsigned char)at[length]))
			return true;
	return false;
}

/* Returns true if the comment says that the function does not return the code: "-EACCES and -ENODEV are never returned",
 * "The only error is -EINVAL". */
static bool denied(const char *from, const char *to, const char *name)
{
	static const char never[] = "never returned", only[] = "error is -";
	const char *at, *sentence;

	if ((at = strstr(from, never)) && at < to) {
		for (sentence = at; sentence > from && *sentence != '.'; sentence--)
			;
		if (names(sentence, at, name))
			return true;
	}
	return (at = strstr(from, only)) && at < to && !names(from, to, name);
}

/* Returns true if the comment of the function lists the code, or refers to the comment of another that does: "Errors, as agentcg_move_pid(), and:". */
static bool listed(const char *function, const char *name, int depth)
{
	static const char as[] = "Errors, as ";
	const char *from, *to, *at;
	char other[64];

	if (depth > 2)
		return false;
	if (!comment_of(function, &from, &to))
		die("%s is not declared in the header", function);
	if (denied(from, to, name))
		return false;
	if (names(from, to, name))
		return true;
	at = strstr(from, as);
	return at && at < to && sscanf(at + strlen(as), "%63[a-z_]", other) == 1 && listed(other, name, depth + 1);
}

/* Returns true if the conventions of the header list the code for all functions. */
static bool common(const char *name)
{
	const char *from = strstr(header, "The common errors"), *to = from ? strstr(from, "-ENOTRECOVERABLE") : NULL;

	if (!to)
		die("the header's conventions list no common errors");
	return names(from, to, name);
}

bool is_listed(const char *function, int code)
{
	const char *name = errno_name(-code), *from, *to;

	if (code >= 0 || listed(function, name, 0))
		return true;
	return comment_of(function, &from, &to) && !denied(from, to, name) && common(name);
}

const char *errno_name(int error)
{
	static char number[16];
	const char *name = strerrorname_np(error);

	/* The header's name, where an error has two. */
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
