/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The smallest C program, with what its libc does before and after. */
int main(void)
{
	return 0;
}
