/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The files of a cgroup, as the floors use them: with one system call for each step. An error ends the program. */
#ifndef FILES_H
#define FILES_H

int open_at(int dir, const char *name, int flags);
/* Opens the file, writes the text, and closes the file. */
void write_at(int dir, const char *name, const char *text);
/* Reads cgroup.events by this descriptor. Returns 1 if no process is in the group. */
int reads_empty(int events);

#endif
