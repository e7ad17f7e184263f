// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * agentcg-run's live line. The command writes to the same terminal whenever it likes, so a line that is redrawn where
 * the cursor happens to be would cut its output to pieces. The scrolling region is made one line shorter instead, and
 * the line that is left over at the bottom is ours: what apt does with its progress bar.
 */
#include "run.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define SAVE_CURSOR    "\0337"
#define RESTORE_CURSOR "\0338"
#define DOWN_OR_SCROLL "\033D"
#define UP             "\033[A"
#define ERASE_LINE     "\033[2K"

__attribute__((format(printf, 2, 3))) static void put(struct screen *screen, const char *format, ...)
{
	char text[512];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* One write, so that nothing of the command's comes in between. A terminal that hung up needs no line. */
	if (length < 0 || (size_t)length >= sizeof(text) || !write_terminal(STDERR_FILENO, text, (size_t)length))
		screen->usable = false;
}

struct screen screen_open(void)
{
	return (struct screen){ .usable = is_able_terminal(STDERR_FILENO) };
}

/*
 * In the background the terminal is somebody else's. So it is while a program in the foreground has turned off line
 * editing: an editor, a pager, a shell at its prompt.
 */
static bool is_ours(void)
{
	struct termios mode;

	return tcgetpgrp(STDERR_FILENO) == getpgrp() && tcgetattr(STDERR_FILENO, &mode) == 0 &&
	       (mode.c_lflag & ICANON);
}

/* Keep the cursor, and what it stands on, out of the bottom line before taking that out of the region. */
static void reserve_bottom_line(struct screen *screen)
{
	put(screen, DOWN_OR_SCROLL UP SAVE_CURSOR "\033[1;%ur" RESTORE_CURSOR, screen->rows - 1);
}

void screen_draw(struct screen *screen, const char *line)
{
	struct winsize size;

	if (!screen->usable)
		return;
	if (!is_ours() || ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0) {
		screen_clear(screen);
		return;
	}
	if (screen->shown && (size.ws_row != screen->rows || size.ws_col != screen->columns))
		screen_clear(screen);
	if (!screen->shown) {
		screen->rows = size.ws_row > 2 ? size.ws_row : 0;
		screen->columns = size.ws_col;
		screen->shown = true;
		if (screen->rows)
			reserve_bottom_line(screen);
	}
	/* One column is left free: a character in the last one makes some terminals wrap. */
	int width = screen->columns > 1 && screen->columns <= 256 ? (int)screen->columns - 1 : 79;

	if (screen->rows)
		put(screen, SAVE_CURSOR "\033[%u;1H" ERASE_LINE "%.*s" RESTORE_CURSOR, screen->rows, width, line);
	else
		put(screen, "\r" ERASE_LINE "%.*s", width, line);
}

void screen_clear(struct screen *screen)
{
	if (!screen->shown)
		return;
	screen->shown = false;
	if (screen->rows)
		put(screen, SAVE_CURSOR "\033[r\033[%u;1H" ERASE_LINE RESTORE_CURSOR, screen->rows);
	else
		put(screen, "\r" ERASE_LINE);
}
