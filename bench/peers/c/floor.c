/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The floor: the system calls of each operation, made by hand (../../floor.c). */
#include "../../clone.h"
#include "adapter.h"

const struct side *const adapter_side = &floor_side;

void adapter_init(const char *directory, int limits)
{
	(void)limits;   /* It sets the limits whose controllers are enabled in the directory. */
	floor_init(directory);
}

pid_t adapter_spawn(void *group, char *const *argv)
{
	return clone_and_exec(floor_side.fd(group), argv, no_environment);
}
