/*
 * A GGUF header with the keys that are given, and no tensors: for planning models of which nothing
 * but the metadata is known.
 *
 *	gen_header FILE general.architecture=llama llama.block_count=32 llama.f=1,2,3 llama.x=0.5
 *
 * A value of digits is a u32, digits with commas an array of them, one with a point an f32, true
 *and false are bools, anything else is a string.
 */
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { U32 = 4, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9 };

static void put_u32(FILE *f, uint32_t v)
{
	fwrite(&v, 4, 1, f);
}

static void put_u64(FILE *f, uint64_t v)
{
	fwrite(&v, 8, 1, f);
}

static void put_string(FILE *f, const char *s, size_t n)
{
	put_u64(f, n);
	fwrite(s, 1, n, f);
}

static void put_array(FILE *f, const char *v)
{
	uint64_t n = 1;

	for (const char *p = v; *p; p++)
		n += *p == ',';
	put_u32(f, ARRAY);
	put_u32(f, U32);
	put_u64(f, n);
	for (char *end; n; n--, v = end + 1)
		put_u32(f, (uint32_t)strtoul(v, &end, 10));
}

static void put_value(FILE *f, const char *v)
{
	size_t digits = strspn(v, "0123456789");

	if (digits && !v[digits]) {
		put_u32(f, U32);
		put_u32(f, (uint32_t)strtoul(v, NULL, 10));
	} else if (digits && v[strspn(v, "0123456789,")] == 0) {
		put_array(f, v);
	} else if ((digits || *v == '-') && strchr(v, '.')) {
		float x = strtof(v, NULL);
		put_u32(f, F32);
		fwrite(&x, 4, 1, f);
	} else if (!strcmp(v, "true") || !strcmp(v, "false")) {
		put_u32(f, BOOL);
		fputc(*v == 't' ? 1 : 0, f);
	} else {
		put_u32(f, STRING);
		put_string(f, v, strlen(v));
	}
}

int main(int argc, char **argv)
{
	FILE *f = argc > 1 ? fopen(argv[1], "wb") : NULL;

	if (!f) {
		fprintf(stderr, "usage: gen_header FILE KEY=VALUE...\n");
		return 2;
	}
	fwrite("GGUF", 1, 4, f);
	put_u32(f, 3);
	put_u64(f, 0);
	put_u64(f, (uint64_t)(argc - 2));
	for (int i = 2; i < argc; i++) {
		char *eq = strchr(argv[i], '=');
		if (!eq) {
			fprintf(stderr, "gen_header: %s: no value\n", argv[i]);
			return 2;
		}
		put_string(f, argv[i], (size_t)(eq - argv[i]));
		put_value(f, eq + 1);
	}
	return fclose(f) ? 2 : 0;
}
