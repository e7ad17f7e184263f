// SPDX-License-Identifier: MIT OR Apache-2.0
/* The terminal of agentcg-run, and the pseudo-terminal of a command with --pty. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

void save_terminal(struct terminal_state *state, int terminal)
{
	state->foreground = terminal >= 0 && tcgetpgrp(terminal) == getpgrp() &&
	                    tcgetattr(terminal, &state->mode) == 0;
}

void restore_terminal(const struct terminal_state *state, int terminal)
{
	sigset_t stop, mask;
	pid_t foreground;

	if (!state->foreground)
		return;
	/* Otherwise the kernel would stop a process of the background that changes the terminal. */
	sigemptyset(&stop);
	sigaddset(&stop, SIGTTOU);
	sigprocmask(SIG_BLOCK, &stop, &mask);
	foreground = tcgetpgrp(terminal);
	if (foreground > 0 && foreground != getpgrp() && kill(-foreground, 0) != 0 && errno == ESRCH &&
	    tcsetpgrp(terminal, getpgrp()) == 0)
		foreground = getpgrp();
	if (foreground == getpgrp())
		tcsetattr(terminal, TCSANOW, &state->mode);
	sigprocmask(SIG_SETMASK, &mask, NULL);
}

/* ---- the pseudo-terminal ------------------------------------------------- */

int pty_open(struct pty *pty)
{
	struct termios mode;
	int slave;

	pty->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (pty->master < 0)
		return -1;
	if (grantpt(pty->master) != 0 || unlockpt(pty->master) != 0)
		return -1;
	slave = ioctl(pty->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -1;
	if (tcgetattr(STDIN_FILENO, &mode) == 0 && tcsetattr(slave, TCSANOW, &mode) != 0)
		return -1;
	pty->at_line_start = true;
	pty_resize(pty);
	return slave;
}

void pty_resize(const struct pty *pty)
{
	struct winsize size;

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (ioctl(fd, TIOCGWINSZ, &size) == 0) {
			ioctl(pty->master, TIOCSWINSZ, &size);
			return;
		}
}

void pty_set_raw(struct pty *pty, bool raw)
{
	struct termios mode;

	if (raw && !pty->raw && tcgetattr(STDIN_FILENO, &pty->mode) == 0) {
		mode = pty->mode;
		cfmakeraw(&mode);
		pty->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &mode) == 0;
	} else if (!raw && pty->raw) {
		tcsetattr(STDIN_FILENO, TCSADRAIN, &pty->mode);
		pty->raw = false;
	}
}

static bool is_empty(const struct stream *stream)
{
	return stream->start == stream->end;
}

/* Returns what read(2) does. */
static ssize_t fill(struct stream *stream, int fd)
{
	ssize_t length = read(fd, stream->bytes, sizeof(stream->bytes));

	stream->start = 0;
	stream->end = length > 0 ? (size_t)length : 0;
	return length;
}

/* Returns false, with errno set, if nothing can be written any more. */
static bool empty(struct stream *stream, int fd)
{
	ssize_t length = write(fd, stream->bytes + stream->start, stream->end - stream->start);

	if (length > 0)
		stream->start += (size_t)length;
	return length >= 0 || errno == EAGAIN || errno == EINTR;
}

/* The command's end gets SIGHUP, as from a terminal whose window was closed. */
static void hang_up(struct pty *pty)
{
	close(pty->master);
	pty->master = -1;
}

enum { OWN_INPUT, MASTER, OWN_OUTPUT };

void pty_fill_polls(const struct pty *pty, struct pollfd polls[PTY_POLLS])
{
	bool reads = pty->master >= 0 && !pty->input_ended && is_empty(&pty->input);
	bool prints = !is_empty(&pty->output);

	polls[OWN_INPUT] = (struct pollfd){ .fd = reads ? STDIN_FILENO : -1, .events = POLLIN };
	polls[MASTER] = (struct pollfd){ .fd = pty->master };
	if (!prints)
		polls[MASTER].events |= POLLIN;
	if (!is_empty(&pty->input))
		polls[MASTER].events |= POLLOUT;
	/* With nothing to do at the master, its hangup would make the loop spin. */
	if (!polls[MASTER].events)
		polls[MASTER].fd = -1;
	/* POLLOUT of a pipe or a terminal: a write(2) of this much does not block. */
	polls[OWN_OUTPUT] = (struct pollfd){ .fd = prints ? STDOUT_FILENO : -1, .events = POLLOUT };
}

static void read_input(struct pty *pty)
{
	ssize_t length = fill(&pty->input, STDIN_FILENO);
	struct termios mode;

	if (length > 0) {
		pty->at_line_start = pty->input.bytes[length - 1] == '\n';
		return;
	}
	if (length < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	/* The end of the input. A terminal has no end: its character for it is typed, twice if a line has begun. */
	pty->input_ended = true;
	if (tcgetattr(pty->master, &mode) != 0 || !(mode.c_lflag & ICANON))
		return;
	pty->input.end = pty->at_line_start ? 1 : 2;
	memset(pty->input.bytes, mode.c_cc[VEOF], pty->input.end);
}

void pty_relay(struct pty *pty, const struct pollfd polls[PTY_POLLS])
{
	if (pty->master >= 0 && polls[OWN_INPUT].revents)
		read_input(pty);
	if (pty->master >= 0 && polls[MASTER].revents & POLLOUT && !empty(&pty->input, pty->master))
		pty->input.start = pty->input.end;
	if (pty->master >= 0 && polls[MASTER].revents & (POLLIN | POLLHUP) && is_empty(&pty->output) &&
	    fill(&pty->output, pty->master) < 0 && errno == EIO)
		hang_up(pty);
	if (polls[OWN_OUTPUT].revents && !empty(&pty->output, STDOUT_FILENO)) {
		pty->output.start = pty->output.end;
		if (pty->master >= 0)
			hang_up(pty);
	}
}

void pty_drain(struct pty *pty)
{
	for (;;) {
		while (!is_empty(&pty->output))
			if (!empty(&pty->output, STDOUT_FILENO))
				return;
		if (pty->master < 0 || fill(&pty->output, pty->master) <= 0)
			return;
	}
}
