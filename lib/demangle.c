#include "demangle.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef char *demangle_fn(const char *, char *, size_t *, int *);

static demangle_fn *runtime(void)
{
	static demangle_fn *fn;
	static int asked;
	void *lib;

	if (asked++)
		return fn;
	lib = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
	if (!lib)
		lib = dlopen("libc++abi.so.1", RTLD_NOW | RTLD_LOCAL);
	if (lib)
		*(void **)&fn = dlsym(lib, "__cxa_demangle");
	return fn;
}

static int begins(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

/* Behind the bracket that closes the one at s. */
static const char *behind(const char *s, char open, char close)
{
	int depth = 0;

	for (; *s; s++) {
		depth += *s == open;
		depth -= *s == close;
		if (!depth)
			return s + 1;
	}
	return s;
}

/* How much of s is one word to be kept as it is: "operator()", "operator new", the name of a
 * namespace without name; 0: none begins here. */
static size_t word(const char *s)
{
	if (begins(s, "(anonymous namespace)"))
		return strlen("(anonymous namespace)");
	if (!begins(s, "operator") || strchr("abcdefghijklmnopqrstuvwxyz0123456789_", s[8]))
		return 0;
	return begins(s, "operator()") ? 10 : strcspn(s, "(");
}

/* Takes parameters, template arguments and the type of the result out of a whole declaration. */
static void shorten(const char *s, char *out, size_t cap)
{
	size_t n = 0, k;

	while (*s && n + 1 < cap) {
		if ((k = word(s))) {
			for (; k && n + 1 < cap; k--)
				out[n++] = *s++;
		} else if (*s == '<') {
			s = behind(s, '<', '>');
		} else if (*s == '(' && n) {
			s = behind(s, '(', ')');
			/* A function's own classes and closures go on. */
			if (*s != ':' && *s != '#')
				break;
		} else if (*s == ' ') {
			n = 0;
			s++;
		} else {
			out[n++] = *s++;
		}
	}
	out[n] = 0;
}

/* Cuts off what is no part of the name. */
static void cut(char *s)
{
	static const char *const tail[] = {"@",      ".isra.", ".constprop.",
	                                   ".part.", ".cold",  ".lto_"};

	for (size_t i = 0; i < sizeof tail / sizeof *tail; i++) {
		char *at = strstr(s, tail[i]);
		if (at && at > s)
			*at = 0;
	}
}

void demangle(const char *symbol, char *out, size_t cap)
{
	int status = -1;
	char *whole = NULL;

	if (begins(symbol, "_Z") && runtime())
		whole = runtime()(symbol, NULL, NULL, &status);
	if (whole && status == 0)
		shorten(whole, out, cap);
	else
		snprintf(out, cap, "%s", symbol);
	free(whole);
	cut(out);
}
