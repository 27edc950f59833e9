/*
 * The quantization vectors: tests/data/quant holds a part, ../shared/vectors/quant (BITNET_SHARED)
 * the whole.  One line of manifest.tsv is one case; columns that are empty give NULL.
 */
#ifndef QUANT_VECTORS_H
#define QUANT_VECTORS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct vector {
	char file[128], format[64], layout[128];
	uint64_t rows, cols;
	float *input;
	int8_t *codes;
	float *scales;
	uint8_t *packed;
	float *values;
	size_t n_scales, n_packed;
};

static void *vector_load(const char *dir, const char *name, size_t *bytes)
{
	char path[4096];
	FILE *f;
	void *p;

	*bytes = 0;
	if (!*name)
		return NULL;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f) {
		printf("# cannot open %s\n", path);
		return NULL;
	}
	p = malloc(1 << 20);
	*bytes = fread(p, 1, 1 << 20, f);
	fclose(f);
	return p;
}

static void vector_free(struct vector *v)
{
	free(v->input);
	free(v->codes);
	free(v->scales);
	free(v->packed);
	free(v->values);
}

static void vector_parse(struct vector *v, const char *dir, char *line)
{
	char *col[12] = {0};
	size_t n;

	line[strcspn(line, "\n")] = 0;
	for (int i = 0; i < 12; i++)
		col[i] = line ? strsep(&line, "\t") : (char *)"";
	memset(v, 0, sizeof *v);
	snprintf(v->file, sizeof v->file, "%s", col[0]);
	snprintf(v->format, sizeof v->format, "%s", col[1]);
	snprintf(v->layout, sizeof v->layout, "%s", col[5]);
	v->rows = strtoull(col[3], NULL, 10);
	v->cols = strtoull(col[4], NULL, 10);
	v->input = vector_load(dir, col[6], &n);
	v->codes = vector_load(dir, col[7], &n);
	v->scales = vector_load(dir, col[8], &v->n_scales);
	v->n_scales /= 4;
	v->packed = vector_load(dir, col[9], &v->n_packed);
	v->values = vector_load(dir, col[10], &n);
}

/* Calls test for every case of the manifest in dir; returns how many there were. */
static int vector_each(const char *dir, void (*test)(const struct vector *v))
{
	char path[4096], line[4096];
	struct vector v;
	int n = 0;

	snprintf(path, sizeof path, "%s/manifest.tsv", dir);
	FILE *f = fopen(path, "r");
	if (!f)
		return 0;
	if (fgets(line, sizeof line, f))
		while (fgets(line, sizeof line, f)) {
			vector_parse(&v, dir, line);
			test(&v);
			vector_free(&v);
			n++;
		}
	fclose(f);
	return n;
}

/* The directory of the whole set; NULL when it is not there. */
static const char *vector_shared(void)
{
	static char dir[4096];
	const char *shared = getenv("BITNET_SHARED");

	snprintf(dir, sizeof dir, "%s/vectors/quant", shared ? shared : "../shared");
	return access(dir, R_OK) == 0 ? dir : NULL;
}

#endif
