/*
 * JSON with an array that is read element by element: whatever the text is, what comes out must be
 * what the JSON library makes of it as a whole.
 */
#include <stdlib.h>

#include "json_walk.h"
#include "unit.h"

/* Puts what a walk gives back into its place in root: 0, or -1 with an error. */
static int put_back(struct json_walk *w, json_t *root, const char *key, struct err *e)
{
	json_t *m = json_object_get(root, "m"), *one;
	int array = json_walk_type(w) == JSON_ARRAY, r;
	json_t *list = array ? json_array() : json_object();
	const char *name;
	size_t n;

	while ((r = json_walk_next(w, &name, &n, &one, e)) > 0) {
		CHECK_INT(name != NULL, !array);
		if (array)
			json_array_append_new(list, json_deep_copy(one));
		else if (json_object_getn(list, name, n))
			r = err_set(e, ERR_TROUBLE, "twice"); /* what callers must look for */
		else
			json_object_setn_new(list, name, n, json_deep_copy(one));
		if (r < 0)
			break;
	}
	if (!r && json_walk_type(w) != JSON_NULL && json_is_null(json_object_get(m, key)))
		json_object_set(m, key, list);
	json_decref(list);
	return r;
}

/* Parses text both ways; what was walked is put back into its place.  ahead: by threads. */
static void compare_by(const char *text, size_t n, int ahead)
{
	static const char *const path[] = {"m.l", "m.o"};
	json_t *whole = NULL, *root = NULL;
	struct json_walk w[2];
	struct err e = {0}, f = {0};
	int bad = json_parse(text, n, &whole, &f),
	    r = json_walk_parse(w, path, 2, text, n, &root, &e);

	for (int k = 0; k < 2 && ahead && !r; k++)
		json_walk_ahead(&w[k]);
	if (!r)
		r = put_back(&w[0], root, "l", &e) || put_back(&w[1], root, "o", &e) ? -1 : 0;
	CHECK_INT(r, bad ? -1 : 0);
	CHECK(bad || json_equal(root, whole));
	CHECK_INT(e.status, bad ? ERR_TROUBLE : ERR_OK);
	if (unit_bad)
		printf("# of: %.*s: %s / %s\n", (int)n, text, e.text, f.text);
	json_walk_end(&w[0]);
	json_walk_end(&w[1]);
	json_decref(root);
	json_decref(whole);
}

static void compare(const char *text, size_t n)
{
	compare_by(text, n, 0);
	compare_by(text, n, 1);
}

static void texts_of_all_kinds(void)
{
	static const char *const text[] = {
	    "{\"a\":[1,{\"l\":[]}],\"m\":{\"k\":\"]}\\\"\",\"l\":[\"a\",[\"c\",\"d\"]]},\"z\":{}}",
	    "{\"m\":{\"l\":[{},1,-2.5e3,true,null,\"\\u0041\\\\\"]}}",
	    " { \"m\" : { \"l\" : [ ] } } ",
	    "{\"m\":{\"l\":[1]}}",
	    "{\"m\":{\"l\":[1 ,2]}}",
	    "{\"m\":{\"l\":{}}}",
	    "{\"m\":{\"l\":\"[]\"}}",
	    "{\"m\":[]}",
	    "{\"m\":null}",
	    "{}",
	    "[]",
	    "[[\"m\"]]",
	    "",
	    "x",
	    "{\"\\u006d\":{\"l\":[1,2]}}",
	    "{\"m\":{\"\\u006c\":[1,2]}}",
	    "{\"m\":{\"o\":{\"a\":1,\"b\" : [2,{\"]\":3}] , \"c\":{}},\"l\":[1,{\"o\":{}}]}}",
	    "{\"m\":{\"l\":[1,2],\"o\":{}}}",
	    "{\"m\":{\"o\":[1],\"l\":{\"a\":1}}}",
	    "{\"m\":{\"\\u006f\":{\"a\":1}}}",
	    "{\"m\":{\"o\":{\"\\u0061\\\"\":1}}}",
	    /* broken ones */
	    "{\"m\":{\"o\":{\"a\":1,}}}",
	    "{\"m\":{\"o\":{,\"a\":1}}}",
	    "{\"m\":{\"o\":{\"a\" 1}}}",
	    "{\"m\":{\"o\":{\"a\":}}}",
	    "{\"m\":{\"o\":{\"a\"}}}",
	    "{\"m\":{\"o\":{1:2}}}",
	    "{\"m\":{\"o\":{\"a\":1 \"b\":2}}}",
	    "{\"m\":{\"o\":{\"a\":1,\"a\":1}}}",
	    "{\"m\":{\"o\":{\"a\":1],\"l\":[]}}",
	    "{\"m\":{\"l\":[1,]}}",
	    "{\"m\":{\"l\":[,1]}}",
	    "{\"m\":{\"l\":[1 2]}}",
	    "{\"m\":{\"l\":[1}}",
	    "{\"m\":{\"l\":[1}}}",
	    "{\"m\":{\"l\":[1]]}}",
	    "{\"m\":{\"l\":[1],\"l\":[2]}}",
	    "{\"m\":{\"l\":[\"a]}}",
	    "{\"m\":{\"l\":[{]}]}}",
	    "{\"m\":{\"l\":[1}]}}",
	    "{\"m\":{\"l\":[1]}",
	    "{\"m\":{\"l\":[\"\xff\"]}}",
	    "{\"m\":{\"l\":[nul]}}",
	    "{\"m\" {\"l\":[1]}}",
	    "{\"m\":{\"l\":[1]}}x",
	    "{\"m\":{\"l\":[{\"a\":1,\"a\":2}]}}",
	    "{\"m\":{\"l\":[[}]]}}",
	    "{,\"m\":{\"l\":[1]}}",
	    "{\"a\":1 \"m\":{\"l\":[1]}}",
	};

	for (size_t i = 0; i < sizeof text / sizeof text[0]; i++)
		compare(text[i], strlen(text[i]));
}

/* Random edits of a good text, most of which break it. */
static void texts_with_faults(void)
{
	static const char good[] = "{\"a\":[1,\"]\"],\"m\":{\"o\":{\"l\":[0],\"b\":{}},\"l\":["
				   "\"a\",[\"c\"],{\"x\":[]}]},\"z\":2}";
	static const char put[] = "{}[],:\"\\ a1m\n";
	char text[sizeof good];
	int rounds = getenv("VALGRIND") ? 2000 : 200000;
	unsigned state = 1;

	for (int round = 0; round < rounds && !unit_bad; round++) {
		size_t n = sizeof good - 1;
		memcpy(text, good, n);
		for (int k = 0; k <= round % 3; k++) {
			state = state * 1664525 + 1013904223;
			text[(state >> 8) % n] = put[(state >> 20) % (sizeof put - 1)];
		}
		compare_by(text, n - (round % 7 ? 0 : (state >> 9) % n), round % 32 == 0);
	}
}

/* Deep nesting inside and outside of the array ends at the library's limit. */
static void deep_texts(void)
{
	size_t n = 1000000;
	char *text = malloc(n + 16);

	memset(text, '[', n);
	text[sprintf(text, "{\"m\":{\"l\":[")] = '[';
	compare(text, n);
	memset(text + n / 2, ']', n - n / 2);
	text[n - 2] = text[n - 1] = '}';
	compare(text, n);
	free(text);
}

/* More elements than are parsed at once; a fault in each place. */
static void long_lists(void)
{
	enum { N = 4000 };
	static char text[60 * N];
	size_t n = (size_t)sprintf(text, "{\"m\":{\"l\":[");

	for (int i = 0; i < N; i++)
		n += (size_t)sprintf(text + n, "%s[%d,\"x\"]", i ? " ,\n" : "", i);
	n += (size_t)sprintf(text + n, "],\"o\":{");
	for (int i = 0; i < N; i++)
		n += (size_t)sprintf(text + n, "%s\"k%d\" : %d", i ? "\t, " : "", i, i);
	n += (size_t)sprintf(text + n, " } } }");
	compare(text, n);
	for (size_t i = 0; i < n && !unit_bad; i += 1001) {
		char was = text[i];
		text[i] = ',';
		compare(text, n);
		text[i] = ']';
		compare(text, n);
		text[i] = was;
		compare(text, i);
	}
}

/* Walks that are left before their end, one of them never looked at. */
static void left_early(void)
{
	static const char *const path[] = {"l", "m"};
	enum { N = 9000 };
	static char text[8 * N];
	size_t n = (size_t)sprintf(text, "{\"m\":["), name_n;
	struct json_walk w[2];
	const char *name;
	json_t *root, *one;
	struct err e = {0};

	for (int i = 0; i < N; i++)
		n += (size_t)sprintf(text + n, "1,");
	n += (size_t)sprintf(text + n, "2],\"l\":[");
	for (int i = 0; i < N; i++)
		n += (size_t)sprintf(text + n, "%d,", i % 10);
	n += (size_t)sprintf(text + n, "3]}");
	for (int first = 0; first < N; first = first * 3 + 1) {
		CHECK_INT(json_walk_parse(w, path, 2, text, n, &root, &e), 0);
		json_walk_ahead(&w[0]);
		json_walk_ahead(&w[1]);
		for (int i = 0; i < first; i++) {
			CHECK_INT(json_walk_next(&w[0], &name, &name_n, &one, &e), 1);
			CHECK_INT(json_integer_value(one), i % 10);
		}
		CHECK_INT(json_walk_count(&w[0]), first);
		json_walk_end(&w[0]);
		json_walk_end(&w[1]);
		json_decref(root);
	}
}

int main(void)
{
	RUN(texts_of_all_kinds);
	RUN(texts_with_faults);
	RUN(long_lists);
	RUN(deep_texts);
	RUN(left_early);
	return unit_end();
}
