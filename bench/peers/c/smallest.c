/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The floor of loading a library: a shared library with one function. */
int smallest(void);

int smallest(void)
{
	return 0;
}
