// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * agentcg-run's live line. The command can write to the same terminal at any time. A line that is redrawn at the cursor
 * would break up the command's output. Therefore the scrolling region is made one line shorter, and the live line uses
 * the line below it, as apt does with its progress bar.
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
	/* A single write keeps the command's output out of the sequence. After a hangup the line is not needed. */
	if (length < 0 || (size_t)length >= sizeof(text) || !write_terminal(STDERR_FILENO, text, (size_t)length))
		screen->usable = false;
}

struct screen screen_open(void)
{
	return (struct screen){ .usable = is_able_terminal(STDERR_FILENO) };
}

/*
 * Returns false if another program uses the terminal: if agentcg-run is in the background, or if a program in the
 * foreground has turned off line editing, as an editor, a pager or a shell at its prompt does.
 */
static bool owns_terminal(void)
{
	struct termios mode;

	return tcgetpgrp(STDERR_FILENO) == getpgrp() && tcgetattr(STDERR_FILENO, &mode) == 0 &&
	       (mode.c_lflag & ICANON);
}

/* Moves the cursor and the text at it out of the bottom line, then removes that line from the scrolling region. */
static void reserve_bottom_line(struct screen *screen)
{
	put(screen, DOWN_OR_SCROLL UP SAVE_CURSOR "\033[1;%ur" RESTORE_CURSOR, screen->rows - 1);
}

void screen_draw(struct screen *screen, const char *line)
{
	struct winsize size;

	if (!screen->usable)
		return;
	if (!owns_terminal() || ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0) {
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
	/* The last column is not used: a character in it makes some terminals wrap. */
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
