/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A program that forks first. It ends with 0 if it and the child are both in the cgroup whose path ends with
 * its argument. Without a C library, whose start would take longer than all the rest, ten thousand times.
 */
enum { READ = 0, OPEN = 2, FORK = 57, WAIT4 = 61, EXIT_GROUP = 231 };

static long call(long number, long a, long b, long c, long d)
{
	register long fourth __asm__("r10") = d;
	long result;

	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
	                 : "rcx", "r11", "memory");
	return result;
}

static int is_inside(const char *tail)
{
	char text[512];
	long file = call(OPEN, (long)"/proc/self/cgroup", 0, 0, 0);
	long end = call(READ, file, (long)text, sizeof(text), 0) - 1; /* without the newline */
	long length = 0;

	while (tail[length])
		length++;
	if (end < length)
		return 0;
	for (long at = 0; at < length; at++)
		if (text[end - length + at] != tail[at])
			return 0;
	return 1;
}

__attribute__((used)) static void begin(const char **stack)
{
	long child = call(FORK, 0, 0, 0, 0);
	int inside = is_inside(stack[2]); /* argc, argv[0], argv[1] */
	int status = 1;

	if (child != 0)
		call(WAIT4, child, (long)&status, 0, 0);
	call(EXIT_GROUP, inside && (child == 0 || status == 0) ? 0 : 1, 0, 0, 0);
}

__asm__(".globl _start\n"
        "_start:\n"
        "	mov %rsp, %rdi\n"
        "	and $-16, %rsp\n"
        "	call begin\n");
