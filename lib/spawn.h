/*
 * Starting a command to be watched: the preloaded ledger, the step descriptor, and, when its
 * output is looked at, a pipe or terminal in between that passes every byte on.
 */
#ifndef SPAWN_H
#define SPAWN_H

#include <signal.h>
#include <sys/types.h>

#include "err.h"

/* What signals did to us before we changed it. */
struct spawn_signals {
	sigset_t blocked;
	struct sigaction pipe, size; /* SIGPIPE, SIGXFSZ */
};

/* Blocks those of the set, and ignores the two that a failing write sends; *before has what a
 * command shall find.  spawn_signals_restore: in the child. */
void spawn_signals_hold(struct spawn_signals *before, const sigset_t *set);
void spawn_signals_restore(const struct spawn_signals *before);

struct spawn;
struct spawn_options {
	char *const *argv;
	/* Called before the command runs, when all but its pid is known; NULL: nothing. */
	void (*prepare)(const struct spawn *s, void *arg);
	void *arg;
	const char *preload;                 /* path of the library; NULL: none */
	const char *ledger;                  /* value of $BITNET_LEDGER; NULL: none */
	int steps;                           /* make the step descriptor */
	int look;                            /* standard output and error pass through us */
	int null_input;                      /* standard input is /dev/null */
	int to_stderr;                       /* standard output goes to our standard error */
	const struct spawn_signals *signals; /* as they shall be in the command; NULL: as now */
};

struct spawn {
	pid_t pid;
	int step;        /* read end of the step pipe; -1: none */
	int step_number; /* the descriptor's number in the command */
	ino_t step_pipe;
	int out[2]; /* what the command writes to 1 and 2; -1: not looked at, or at its end */
};

/* Starts it.  Status 127 in e->status: there is no such command; 126: it may not run. */
int spawn_start(struct spawn *s, struct spawn_options o, struct err *e);

/* Copies what is there from out[i] to our own output, at most once; buf holds *n bytes of it
 * after.  0: goes on, 1: at its end (closed). */
int spawn_relay(struct spawn *s, int i, char *buf, size_t cap, size_t *n);

/* What the command left running may still write: a copy of us goes on relaying it, so that we can
 * end.  Closes the pipes. */
void spawn_leave(struct spawn *s);

/* The file of a command as execvp would find it; NULL when there is none.  Owner: the caller
 * (mem_free). */
char *spawn_find(const char *command, struct err *e);

#endif
