#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "clock.h"

/* What a command says would stand in the midst of our table. */
static _Noreturn void become(const char *command)
{
	int null = open("/dev/null", O_RDWR);

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

static int shell(const char *command, double *seconds, struct err *e)
{
	double t = clock_now();
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return err_sys(e, "%s", command);
	if (pid == 0)
		become(command);
	if (waitpid(pid, &status, 0) < 0)
		return err_sys(e, "%s", command);
	*seconds = clock_now() - t;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return err_set(e, ERR_TROUBLE, "'%s' failed", command);
	return 0;
}

int bench_versus(const char *ours, const char *theirs, unsigned repeat, struct bench_row *sum,
                 int (*pair)(void *arg, const struct bench_pair *p, struct err *e), void *arg,
                 struct err *e)
{
	double ratio[BENCH_REPEAT];
	struct bench_pair p;

	if (repeat < 1 || repeat > BENCH_REPEAT)
		return err_set(e, ERR_TROUBLE, "%u runs, expected 1 to %d", repeat, BENCH_REPEAT);
	for (unsigned i = 0; i < repeat; i++) {
		if (shell(ours, &p.ours, e) || shell(theirs, &p.theirs, e))
			return -1;
		ratio[i] = p.ratio = p.theirs / p.ours;
		if (pair(arg, &p, e))
			return -1;
	}
	bench_settle(sum, ratio, repeat);
	return 0;
}
