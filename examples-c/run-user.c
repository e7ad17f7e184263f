// SPDX-License-Identifier: MIT OR Apache-2.0
/* The user, the group and the environment of agentcg-run's command. */
#include "run.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

/* Returns true if text is an id: digits, and not (uid_t)-1, which means "unchanged" to the kernel. */
static bool parse_id(const char *text, uint32_t *ret_id)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || value >= UINT32_MAX)
		return false;
	*ret_id = (uint32_t)value;
	return true;
}

static void *allocate(void *old, size_t count, size_t size)
{
	void *memory = reallocarray(old, count, size);

	if (!memory)
		refuse("out of memory");
	return memory;
}

void add_to_environment(struct run_options *options, const char *name, const char *value)
{
	size_t count = 0;
	char *text = allocate(NULL, strlen(name) + strlen(value) + 2, 1);

	sprintf(text, "%s=%s", name, value);
	while (options->environment && options->environment[count])
		count++;
	options->environment = allocate(options->environment, count + 2, sizeof(char *));
	options->environment[count] = text;
	options->environment[count + 1] = NULL;
}

/* --setenv counts more than the user, in whatever order they are given. */
static void add_unless_set(struct run_options *options, const char *name, const char *value)
{
	size_t length = strlen(name);

	for (char **at = options->environment; at && *at; at++)
		if (strncmp(*at, name, length) == 0 && (*at)[length] == '=')
			return;
	add_to_environment(options, name, value);
}

void set_user(struct run_options *options, const char *text)
{
	const struct passwd *user = getpwnam(text);
	uint32_t id;
	int count = 0;

	if (!user && parse_id(text, &id))
		user = getpwuid((uid_t)id);
	if (!user && !parse_id(text, &id))
		refuse("--uid %s: there is no such user", text);
	options->has_uid = true;
	if (!user) {                    /* an id without a name: it is in no group */
		options->uid = (uid_t)id;
		options->groups = allocate(NULL, 1, sizeof(gid_t));
		options->groups_count = 0;
		return;
	}
	options->uid = user->pw_uid;
	if (!options->has_gid)
		options->gid = user->pw_gid;
	options->has_gid = true;
	getgrouplist(user->pw_name, user->pw_gid, NULL, &count);
	options->groups = allocate(NULL, (size_t)count + 1, sizeof(gid_t));
	if (getgrouplist(user->pw_name, user->pw_gid, options->groups, &count) < 0)
		refuse("--uid %s: cannot find out the groups of the user", text);
	options->groups_count = (size_t)count;
	add_unless_set(options, "USER", user->pw_name);
	add_unless_set(options, "LOGNAME", user->pw_name);
	add_unless_set(options, "HOME", user->pw_dir);
	add_unless_set(options, "SHELL", *user->pw_shell ? user->pw_shell : "/bin/sh");
}

void set_group(struct run_options *options, const char *text)
{
	const struct group *group = getgrnam(text);
	uint32_t id;

	if (!group && !parse_id(text, &id))
		refuse("--gid %s: there is no such group", text);
	options->has_gid = true;
	options->gid = group ? group->gr_gid : (gid_t)id;
}
