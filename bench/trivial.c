/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The smallest C program, with the startup and exit code of its libc. */
int main(void)
{
	return 0;
}
