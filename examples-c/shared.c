// SPDX-License-Identifier: MIT OR Apache-2.0
/* Functions of both agentcg-run and agentcg-top. */
#include "shared.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *format_bytes(char text[BYTES_TEXT_SIZE], uint64_t bytes)
{
	const char *unit = "KMGTPE";
	double value = (double)bytes / 1024;

	if (bytes < 1024) {
		snprintf(text, BYTES_TEXT_SIZE, "%" PRIu64, bytes);
		return text;
	}
	for (; value >= 1024; value /= 1024)
		unit++;
	snprintf(text, BYTES_TEXT_SIZE, "%.1f%c", value, *unit);
	return text;
}

bool is_able_terminal(int fd)
{
	const char *term = getenv("TERM");

	return isatty(fd) && !(term && strcmp(term, "dumb") == 0);
}

bool write_terminal(int fd, const char *text, size_t length)
{
	sigset_t stop, mask;
	ssize_t written = 0;

	/* While SIGTTOU is blocked, a process in the background can write to the terminal even with `stty tostop`. */
	sigemptyset(&stop);
	sigaddset(&stop, SIGTTOU);
	sigprocmask(SIG_BLOCK, &stop, &mask);
	for (; length > 0 && written >= 0; text += written, length -= (size_t)written) {
		written = write(fd, text, length);
		if (written < 0 && errno == EINTR)
			written = 0;
	}
	sigprocmask(SIG_SETMASK, &mask, NULL);
	return written >= 0;
}
