/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The smallest program: its only system call is exit_group(2). */
#include <sys/syscall.h>

void _start(void);

void _start(void)
{
#if defined(__x86_64__)
	__asm__ volatile("syscall" : : "a"(SYS_exit_group), "D"(0) : "rcx", "r11", "memory");
#else
	register long number __asm__("x8") = SYS_exit_group, status __asm__("x0") = 0;
	__asm__ volatile("svc #0" : : "r"(number), "r"(status) : "memory");
#endif
	__builtin_unreachable();
}
