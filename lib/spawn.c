#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "io.h"
#include "ledger_abi.h"
#include "mem.h"

#define STEP_FD   9  /* or the next lower one: dash knows descriptors of one digit only */
#define HIGH_FD   20 /* ours, while the child is prepared */
#define NOT_FOUND 127
#define CANNOT    126

void spawn_signals_hold(struct spawn_signals *before, const sigset_t *set)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	sigprocmask(SIG_BLOCK, set, &before->blocked);
	sigaction(SIGPIPE, &ignore, &before->pipe);
	sigaction(SIGXFSZ, &ignore, &before->size);
}

void spawn_signals_restore(const struct spawn_signals *before)
{
	sigaction(SIGPIPE, &before->pipe, NULL);
	sigaction(SIGXFSZ, &before->size, NULL);
	sigprocmask(SIG_SETMASK, &before->blocked, NULL);
}

char *spawn_find(const char *command, struct err *e)
{
	const char *path = getenv("PATH");
	char try[4096];

	if (strchr(command, '/'))
		return mem_strndup(MEM_OTHER, command, strlen(command), e);
	for (const char *p = path ? path : "/bin:/usr/bin"; *p;) {
		size_t n = strcspn(p, ":");
		snprintf(try, sizeof try, "%.*s/%s", n ? (int)n : 1, n ? p : ".", command);
		if (access(try, X_OK) == 0)
			return mem_strndup(MEM_OTHER, try, strlen(try), e);
		p += n + (p[n] == ':');
	}
	err_set(e, NOT_FOUND, "%s: not found", command);
	return NULL;
}

/* A terminal that shows through to ours: same size, bytes unchanged. */
static int terminal(int *master, int *slave)
{
	struct termios t;
	struct winsize w;
	char name[128];

	*master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*master < 0)
		return -1;
	if (grantpt(*master) || unlockpt(*master) || ptsname_r(*master, name, sizeof name) ||
	    (*slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0) {
		close(*master);
		return -1;
	}
	if (tcgetattr(*slave, &t) == 0) {
		t.c_oflag &= ~(tcflag_t)OPOST;
		tcsetattr(*slave, TCSANOW, &t);
	}
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0)
		ioctl(*slave, TIOCSWINSZ, &w);
	return 0;
}

/* Both ends of what stands between the command and our descriptor fd. */
static int between(int fd, int *ours, int *theirs, struct err *e)
{
	int p[2];

	if (isatty(fd) && terminal(ours, theirs) == 0)
		return 0;
	if (pipe2(p, O_CLOEXEC))
		return err_sys(e, "cannot make a pipe");
	*ours = p[0];
	*theirs = p[1];
	return 0;
}

static int same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* Out of the way of the numbers that the command gets. */
static int move_up(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);

	if (high < 0)
		return fd;
	close(fd);
	return high;
}

/* A pipe of one packet: a writer can be at most one step ahead of us. */
static int step_pipe(int p[2], struct err *e)
{
	if (pipe2(p, O_CLOEXEC | O_DIRECT) && pipe2(p, O_CLOEXEC))
		return err_sys(e, "cannot make a pipe for steps");
	p[1] = move_up(p[1]);
	fcntl(p[1], F_SETPIPE_SZ, 4096);
	return 0;
}

/* A number that the command does not get from us already; -1: keep the pipe's own. */
static int step_number(void)
{
	for (int n = STEP_FD; n > STDERR_FILENO; n--) {
		int flags = fcntl(n, F_GETFD);
		if (flags < 0 || flags & FD_CLOEXEC)
			return n;
	}
	return -1;
}

static void set_environment(const struct spawn_options *o, int pipe, int step)
{
	const char *before = getenv("LD_PRELOAD");
	char text[8192];

	if (step >= 0) {
		snprintf(text, sizeof text, "%d", step);
		setenv(LEDGER_STEP_FD, text, 1);
		if (step != pipe)
			dup2(pipe, step);
		else
			fcntl(step, F_SETFD, 0);
	}
	if (o->ledger)
		setenv(LEDGER_ENV, o->ledger, 1);
	if (o->preload) {
		snprintf(text, sizeof text, "%s%s%s", o->preload, before && *before ? ":" : "",
		         before ? before : "");
		setenv("LD_PRELOAD", text, 1);
	}
}

static _Noreturn void child(const struct spawn_options *o, const int theirs[2], int pipe, int step,
                            int tell)
{
	if (o->null_input) {
		int null = open("/dev/null", O_RDONLY);
		dup2(null, STDIN_FILENO);
		close(null);
	}
	if (o->to_stderr)
		dup2(STDERR_FILENO, STDOUT_FILENO);
	for (int i = 0; i < 2; i++)
		if (theirs[i] >= 0)
			dup2(theirs[i], STDOUT_FILENO + i);
	set_environment(o, pipe, step);
	if (o->signals)
		spawn_signals_restore(o->signals);
	execvp(o->argv[0], o->argv);
	int failed = errno;
	ssize_t n = write(tell, &failed, sizeof failed);
	_exit(n == sizeof failed ? CANNOT : NOT_FOUND);
}

static void close_all(int *fd, int n)
{
	for (int i = 0; i < n; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

int spawn_start(struct spawn *s, struct spawn_options o, struct err *e)
{
	int tell[2] = {-1, -1}, steps[2] = {-1, -1}, theirs[2] = {-1, -1}, failed = 0;
	struct stat st;

	*s = (struct spawn){.pid = -1, .step = -1, .out = {-1, -1}};
	if (pipe2(tell, O_CLOEXEC))
		return err_sys(e, "cannot make a pipe");
	if (o.steps && step_pipe(steps, e))
		goto fail;
	if (o.look && between(STDOUT_FILENO, &s->out[0], &theirs[0], e))
		goto fail;
	if (o.look && same_file(STDOUT_FILENO, STDERR_FILENO))
		theirs[1] = fcntl(theirs[0], F_DUPFD_CLOEXEC, 3);
	else if (o.look && between(STDERR_FILENO, &s->out[1], &theirs[1], e))
		goto fail;
	tell[1] = move_up(tell[1]);
	s->step = steps[0];
	s->step_pipe = fstat(steps[0], &st) == 0 ? st.st_ino : 0;
	s->step_number = steps[1] < 0 || step_number() < 0 ? steps[1] : step_number();
	if (o.prepare)
		o.prepare(s, o.arg);
	s->pid = fork();
	if (s->pid < 0) {
		err_sys(e, "cannot fork");
		goto fail;
	}
	if (s->pid == 0)
		child(&o, theirs, steps[1], s->step_number, tell[1]);
	close_all((int[]){tell[1], steps[1], theirs[0], theirs[1]}, 4);
	ssize_t n = read(tell[0], &failed, sizeof failed);
	close(tell[0]);
	if (n != (ssize_t)sizeof failed)
		return 0;
	close_all((int[]){s->step, s->out[0], s->out[1]}, 3);
	errno = failed;
	err_sys(e, "%s", o.argv[0]);
	e->status = failed == ENOENT || failed == ENOTDIR ? NOT_FOUND : CANNOT;
	return -1;
fail:
	close_all((int[]){tell[0], tell[1], steps[0], steps[1], s->out[0], theirs[0], s->out[1],
	                  theirs[1]},
	          8);
	return -1;
}

int spawn_relay(struct spawn *s, int i, char *buf, size_t cap, size_t *n)
{
	ssize_t got = read(s->out[i], buf, cap);

	*n = got > 0 ? (size_t)got : 0;
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	/* Nobody reads us any more: the command shall see that too. */
	if (got <= 0 || io_write(STDOUT_FILENO + i, buf, *n, NULL)) {
		close(s->out[i]);
		s->out[i] = -1;
		return 1;
	}
	return 0;
}

/* For as long as anybody writes. */
static _Noreturn void go_on(struct spawn *s)
{
	char buf[4096];
	size_t n;

	setsid();
	for (int i = 0; i < 2; i++)
		if (s->out[i] >= 0 && (i || fork() == 0))
			while (!spawn_relay(s, i, buf, sizeof buf, &n))
				;
	_exit(0);
}

void spawn_leave(struct spawn *s)
{
	if ((s->out[0] >= 0 || s->out[1] >= 0) && fork() == 0)
		go_on(s);
	close_all((int[]){s->out[0], s->out[1], s->step}, 3);
	s->out[0] = s->out[1] = s->step = -1;
}
