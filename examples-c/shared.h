/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Functions of both agentcg-run and agentcg-top: formatting of numbers, and terminals. */
#ifndef AGENTCG_SHARED_H
#define AGENTCG_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

/* Writes "64.0M", or "512" for less than a kilobyte, to text. Returns text. */
#define BYTES_TEXT_SIZE 24
const char *format_bytes(char text[BYTES_TEXT_SIZE], uint64_t bytes);

/* Returns true if fd is a terminal that understands escape sequences. */
bool is_able_terminal(int fd);

/* Writes all of text, with one write(2) if the terminal accepts it. `stty tostop` does not stop the process. Returns
 * false, with errno set, after a hangup. */
bool write_terminal(int fd, const char *text, size_t length);

#endif /* AGENTCG_SHARED_H */
