#include "textout.h"

#include <stdlib.h>

#include "unit.h"

static char got[256];

static int append(void *arg, const char *p, size_t n, struct err *e)
{
	(void)arg, (void)e;
	strncat(got, p, n);
	return 0;
}

static int refuse(void *arg, const char *p, size_t n, struct err *e)
{
	(void)arg, (void)p, (void)n;
	return err_set(e, ERR_TROUBLE, "full");
}

/* Pushes the pieces (ended by NULL) and returns what came out. */
static const char *through(const char *const *stop, size_t n_stop, const char *const *pieces)
{
	struct textout t;

	got[0] = 0;
	textout_init(&t, stop, n_stop, append, NULL);
	for (size_t i = 0; pieces[i] && textout_push(&t, pieces[i], strlen(pieces[i]), NULL) == 0;
	     i++)
		;
	textout_end(&t, NULL);
	textout_free(&t);
	return got;
}

static void characters_are_never_cut(void)
{
	struct textout t;

	got[0] = 0;
	textout_init(&t, NULL, 0, append, NULL);
	CHECK_INT(textout_push(&t, "a\xe2", 2, NULL), 0);
	CHECK_STR(got, "a");
	CHECK_INT(textout_push(&t, "\x82", 1, NULL), 0);
	CHECK_STR(got, "a");
	CHECK_INT(textout_push(&t, "\xac!", 2, NULL), 0);
	CHECK_STR(got, "a\xe2\x82\xac!");
	textout_free(&t);
}

static void invalid_bytes_become_a_mark(void)
{
	CHECK_STR(through(NULL, 0, (const char *[]){"a\xff", "b", NULL}), "a\xef\xbf\xbd"
	                                                                  "b");
	CHECK_STR(through(NULL, 0, (const char *[]){"x\xf0\x9f\x98", NULL}), "x\xef\xbf\xbd");
	CHECK_STR(through(NULL, 0, (const char *[]){"\xed\xa0\x80", NULL}),
	          "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	CHECK_STR(through(NULL, 0, (const char *[]){"\xe2", "x", NULL}), "\xef\xbf\xbdx");
}

static void stop_strings_are_found_across_pieces(void)
{
	static const char *const stop[] = {"END", "", "\n\n"};

	CHECK_STR(through(stop, 3, (const char *[]){"one E", "N", "D two", NULL}), "one ");
	CHECK_STR(through(stop, 3, (const char *[]){"one E", "N", "X", NULL}), "one ENX");
	CHECK_STR(through(stop, 3, (const char *[]){"a\n", "b\n", "\nc", NULL}), "a\nb");
	CHECK_STR(through(stop, 3, (const char *[]){"EEND", NULL}), "E");
	CHECK_STR(through(stop, 3, (const char *[]){"EN", NULL}), "EN");
}

static void what_may_begin_a_stop_string_is_held(void)
{
	static const char *const stop[] = {"abcd"};
	struct textout t;

	got[0] = 0;
	textout_init(&t, stop, 1, append, NULL);
	CHECK_INT(textout_push(&t, "xxabc", 5, NULL), 0);
	CHECK_STR(got, "xx");
	CHECK_INT(textout_push(&t, "abc", 3, NULL), 0);
	CHECK_STR(got, "xxabc");
	CHECK_INT(textout_push(&t, "d tail", 6, NULL), 1);
	CHECK_INT(textout_push(&t, "more", 4, NULL), 1);
	CHECK_INT(textout_end(&t, NULL), 0);
	CHECK_STR(got, "xxabc");
	textout_free(&t);
}

static void a_writer_that_fails_is_an_error(void)
{
	struct textout t;
	struct err e = {0};

	textout_init(&t, NULL, 0, refuse, NULL);
	CHECK_INT(textout_push(&t, "a", 1, &e), -1);
	CHECK_STR(e.text, "full");
	textout_free(&t);
}

int main(void)
{
	RUN(characters_are_never_cut);
	RUN(invalid_bytes_become_a_mark);
	RUN(stop_strings_are_found_across_pieces);
	RUN(what_may_begin_a_stop_string_is_held);
	RUN(a_writer_that_fails_is_an_error);
	return unit_end();
}
