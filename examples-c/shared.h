/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What agentcg-run and agentcg-top both need: numbers for people, and terminals. */
#ifndef AGENTCG_SHARED_H
#define AGENTCG_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

/* "64.0M", or "512" for less than a kilobyte, in memory of the caller's. */
#define BYTES_TEXT_SIZE 24
const char *format_bytes(char text[BYTES_TEXT_SIZE], uint64_t bytes);

/* fd is a terminal that knows what an escape sequence is. */
bool is_able_terminal(int fd);

/* All of it, and in one piece if the terminal takes it so; `stty tostop` does not stop us. false, errno set: it hung up. */
bool write_terminal(int fd, const char *text, size_t length);

#endif /* AGENTCG_SHARED_H */
