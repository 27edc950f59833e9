/*
 * JSON with an array that is read element by element: whatever the text is, what comes out must be
 * what the JSON library makes of it as a whole.
 */
#include <stdlib.h>

#include "json_walk.h"
#include "unit.h"

/* Parses text both ways; the array that was walked is put back into its place. */
static void compare(const char *text, size_t n)
{
	json_t *whole = NULL, *root = NULL, *one, *list = json_array();
	struct json_walk w;
	struct err e = {0}, f = {0};
	int bad = json_parse(text, n, &whole, &f), r = -1;

	if (!json_walk_parse(&w, text, n, "m.l", &root, &e)) {
		while ((r = json_walk_next(&w, &one, &e)) > 0)
			json_array_append_new(list, one);
		if (!r && json_walk_found(&w) &&
		    json_is_null(json_object_get(json_object_get(root, "m"), "l")))
			json_object_set(json_object_get(root, "m"), "l", list);
	}
	CHECK_INT(r, bad ? -1 : 0);
	CHECK(bad || json_equal(root, whole));
	CHECK_INT(e.status, bad ? ERR_TROUBLE : ERR_OK);
	if (unit_bad)
		printf("# of: %.*s: %s / %s\n", (int)n, text, e.text, f.text);
	json_decref(list);
	json_decref(root);
	json_decref(whole);
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
	    /* broken ones */
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
	static const char good[] =
	    "{\"a\":[1,\"]\"],\"m\":{\"k\":{\"l\":[0]},\"l\":[\"a\",[\"c\"],{\"x\":[]}]},\"z\":2}";
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
		compare(text, n - (round % 7 ? 0 : (state >> 9) % n));
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

int main(void)
{
	RUN(texts_of_all_kinds);
	RUN(texts_with_faults);
	RUN(deep_texts);
	return unit_end();
}
