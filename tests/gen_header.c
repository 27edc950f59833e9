/*
 * A GGUF header with the keys and tensors that are given, and no data: for planning models of which
 * nothing but the header is known.
 *
 *	gen_header FILE general.architecture=llama llama.block_count=32 llama.f=1,2,3 llama.x=0.5
 *	gen_header FILE general.architecture=x @blk.0.attn_q.weight=36,256,64,0
 *
 * A value of digits is a u32, digits with commas an array of them, one with a point an f32, true
 * and false are bools, anything else is a string.  @NAME=TYPE,COLUMNS,ROWS,OFFSET is a tensor.
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

/* "@NAME=TYPE,COLUMNS,ROWS,OFFSET" */
static void put_tensor(FILE *f, const char *name, const char *eq)
{
	uint64_t n[4] = {0};
	char *end = NULL;

	for (int i = 0; i < 4; i++, eq = end)
		n[i] = strtoull(eq + 1, &end, 10);
	put_string(f, name, strcspn(name, "="));
	put_u32(f, 2);
	put_u64(f, n[1]);
	put_u64(f, n[2]);
	put_u32(f, (uint32_t)n[0]);
	put_u64(f, n[3]);
}

static void put_all(FILE *f, char **arg, int n, int tensors)
{
	for (int i = 0; i < n; i++) {
		char *eq = strchr(arg[i], '=');
		if ((*arg[i] == '@') != tensors)
			continue;
		if (tensors) {
			put_tensor(f, arg[i] + 1, eq);
		} else {
			put_string(f, arg[i], (size_t)(eq - arg[i]));
			put_value(f, eq + 1);
		}
	}
}

int main(int argc, char **argv)
{
	FILE *f = argc > 1 ? fopen(argv[1], "wb") : NULL;
	uint64_t tensors = 0;

	if (!f) {
		fprintf(stderr,
		        "usage: gen_header FILE KEY=VALUE... @NAME=TYPE,COLUMNS,ROWS,OFFSET...\n");
		return 2;
	}
	for (int i = 2; i < argc; i++) {
		tensors += *argv[i] == '@';
		if (!strchr(argv[i], '=')) {
			fprintf(stderr, "gen_header: %s: no value\n", argv[i]);
			return 2;
		}
	}
	fwrite("GGUF", 1, 4, f);
	put_u32(f, 3);
	put_u64(f, tensors);
	put_u64(f, (uint64_t)(argc - 2) - tensors);
	put_all(f, argv + 2, argc - 2, 0);
	put_all(f, argv + 2, argc - 2, 1);
	while (tensors && ftell(f) % 32)
		fputc(0, f);
	return fclose(f) ? 2 : 0;
}
