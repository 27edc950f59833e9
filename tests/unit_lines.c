/* Lines of a stream, whole, in pieces, too long, and without waiting. */
#include "lines.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

static struct lines l;
static int end; /* where what is read is written */

static void start(size_t limit)
{
	int fd[2];

	CHECK(pipe2(fd, O_CLOEXEC) == 0);
	end = fd[1];
	lines_init(&l, fd[0], limit);
}

static void stop(void)
{
	close(l.fd);
	lines_free(&l);
}

static void put(const char *text)
{
	CHECK(write(end, text, strlen(text)) == (ssize_t)strlen(text));
}

static enum lines_got next(int wait, const char *want)
{
	const char *line = "";
	size_t n = 0;
	struct err e = {0};
	enum lines_got got = lines_next(&l, wait, &line, &n, &e);

	if (want)
		CHECK(got == LINES_ONE && n == strlen(want) && !memcmp(line, want, n));
	return got;
}

static void lines_end_with_a_newline_or_the_stream(void)
{
	start(100);
	put("one\n\nthree");
	close(end);
	next(1, "one");
	next(1, "");
	next(1, "three");
	CHECK(next(1, NULL) == LINES_END);
	CHECK(next(0, NULL) == LINES_END);
	stop();
}

static void a_line_that_has_not_come_whole_is_none_yet(void)
{
	start(100);
	CHECK(next(0, NULL) == LINES_NONE);
	put("ab");
	CHECK(next(0, NULL) == LINES_NONE);
	put("c\nd");
	next(0, "abc");
	CHECK(next(0, NULL) == LINES_NONE);
	put("\n");
	next(0, "d");
	close(end);
	CHECK(next(0, NULL) == LINES_END);
	stop();
}

static void lines_over_the_limit_are_left_out(void)
{
	char *text = malloc(60001);

	memset(text, 'x', 60000);
	text[60000] = 0;
	start(5);
	put("12345\n123456\nok\n");
	next(1, "12345");
	CHECK(next(1, NULL) == LINES_LONG);
	next(1, "ok");
	put(text);
	CHECK(next(0, NULL) == LINES_NONE);
	put(text);
	CHECK(next(0, NULL) == LINES_NONE);
	put("y\nok\n");
	CHECK(next(1, NULL) == LINES_LONG);
	next(1, "ok");
	put(text);
	close(end);
	CHECK(next(1, NULL) == LINES_LONG);
	CHECK(next(1, NULL) == LINES_END);
	CHECK(l.cap < 60000 * 4);
	stop();
	free(text);
}

static void what_cannot_be_read_is_an_error(void)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err e = {0};
	const char *line;
	size_t n;

	lines_init(&l, fd, 10);
	CHECK(lines_next(&l, 1, &line, &n, &e) == LINES_FAILED && e.status == ERR_TROUBLE);
	stop();
}

int main(void)
{
	RUN(lines_end_with_a_newline_or_the_stream);
	RUN(a_line_that_has_not_come_whole_is_none_yet);
	RUN(lines_over_the_limit_are_left_out);
	RUN(what_cannot_be_read_is_an_error);
	return unit_end();
}
