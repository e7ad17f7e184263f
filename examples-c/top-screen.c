// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * agentcg-top's terminal. It uses the alternate screen, which restores the old contents at the end. Keys are read one
 * by one, and the cursor is hidden. A table overwrites the previous one line by line, with a single write(2), which
 * avoids flicker.
 */
#include "top.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define ENTER   "\033[?1049h\033[?25l"
#define LEAVE   "\033[?25h\033[?1049l"
#define REVERSE "\033[7m"
#define BOLD    "\033[1m"
#define PLAIN   "\033[m"
#define ERASE_REST_OF_LINE   "\033[K"
#define ERASE_REST_OF_SCREEN "\033[J"

static bool taken, has_keyboard;
static struct termios as_it_was;

bool take_terminal(void)
{
	struct termios mode;

	if (!is_able_terminal(STDOUT_FILENO))
		return false;
	if (!taken)
		has_keyboard = tcgetattr(STDIN_FILENO, &as_it_was) == 0;
	taken = write_terminal(STDOUT_FILENO, ENTER, strlen(ENTER));
	if (taken && has_keyboard) {
		mode = as_it_was;
		mode.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		mode.c_cc[VMIN] = 1;
		mode.c_cc[VTIME] = 0;
		tcsetattr(STDIN_FILENO, TCSADRAIN, &mode);      /* if this fails, q needs Return */
	}
	return taken;
}

void give_terminal_back(void)
{
	if (!taken)
		return;
	taken = false;
	/* A failure means a hangup, after which there is nothing to restore. */
	write_terminal(STDOUT_FILENO, LEAVE, strlen(LEAVE));
	if (has_keyboard)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &as_it_was);
}

/* No character takes more columns than bytes. */
static void put_line(FILE *screen, unsigned int row, unsigned int columns, const char *style, const char *text)
{
	size_t length = strnlen(text, columns);

	/* Do not cut a character of UTF-8: the bytes behind its first one are 10xxxxxx. */
	while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
		length--;
	fprintf(screen, "\033[%u;1H%s%.*s" PLAIN ERASE_REST_OF_LINE, row, style, (int)length, text);
}

bool draw_table(const struct agents *agents, const char *problem)
{
	char line[LINE_SIZE], *text = NULL;
	size_t length = 0, unwatched = count_unwatched(agents), shown;
	FILE *screen = open_memstream(&text, &length);
	struct winsize size = { 0 };
	unsigned int rows, columns, row = 1;
	bool drawn;

	if (!screen)
		return false;
	/* If the terminal does not report its size, 80x24 is assumed. The last column is not used: some terminals
	 * wrap. */
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	rows = size.ws_row ? size.ws_row : 24;
	columns = (size.ws_col ? size.ws_col : 80) - 1;
	/* Two lines are above the agents. If not all agents fit, there is one line below. */
	shown = agents->count + 2 <= rows ? agents->count : rows > 3 ? rows - 3 : 0;
	if (agents->count == 0)
		snprintf(line, sizeof(line), "no agents");
	else
		snprintf(line, sizeof(line), "%zu agent%s", agents->count, agents->count == 1 ? "" : "s");
	if (unwatched > 0)
		snprintf(line + strlen(line), sizeof(line) - strlen(line), ", %zu without events", unwatched);
	snprintf(line + strlen(line), sizeof(line) - strlen(line), ", q ends.  %s", problem);
	put_line(screen, row++, columns, "", line);
	format_heading(line, agents, SHORT_UUID_WIDTH);
	if (rows > 1)
		put_line(screen, row++, columns, BOLD, line);
	for (size_t i = 0; i < shown; i++) {
		format_row(line, agents, agents->list[i], SHORT_UUID_WIDTH);
		put_line(screen, row++, columns, agents->list[i]->oom_ticks > 0 ? REVERSE : "", line);
	}
	if (shown < agents->count && row <= rows) {
		snprintf(line, sizeof(line), "and %zu more", agents->count - shown);
		put_line(screen, row++, columns, "", line);
	}
	if (row <= rows)
		fprintf(screen, "\033[%u;1H" ERASE_REST_OF_SCREEN, row);
	drawn = fclose(screen) == 0 && write_terminal(STDOUT_FILENO, text, length);
	free(text);
	return drawn;
}
