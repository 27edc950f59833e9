/* Safetensors and JSON: what is written can be read, what contradicts itself is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hash.h"
#include "mem.h"
#include "safetensors.h"
#include "unit.h"

static void write_file(const char *path, const void *p, size_t n)
{
	FILE *f = fopen(path, "wb");

	CHECK(f && fwrite(p, 1, n, f) == n && fclose(f) == 0);
}

/* A file with this header and data bytes of zeros; its status when opened. */
static int status_of(const char *json, size_t data)
{
	char path[] = "/tmp/unit_safetensors.XXXXXX", bytes[4096] = {0};
	size_t n = strlen(json);
	struct safetensors s;
	struct err e = {0};
	uint64_t le = n;

	close(mkstemp(path));
	memcpy(bytes, &le, 8);
	memcpy(bytes + 8, json, n);
	write_file(path, bytes, 8 + n + data);
	if (!safetensors_open(&s, path, &e))
		safetensors_close(&s);
	unlink(path);
	CHECK((e.text[0] != 0) == (e.status != 0));
	CHECK(!strchr(e.text, '\n'));
	return e.status;
}

static void headers(void)
{
	CHECK_INT(status_of("{}", 0), 0);
	CHECK_INT(status_of("{\"__metadata__\":{\"a\":\"b\"}}", 0), 0);
	CHECK_INT(status_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8),
	          0);
	CHECK_INT(status_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4),
	          0);
	CHECK_INT(status_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7),
	          3);
	CHECK_INT(status_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9),
	          2);
	CHECK_INT(status_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8),
	          2);
	CHECK_INT(status_of("{\"a\":{\"dtype\":\"X\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8),
	          2);
	CHECK_INT(status_of("{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,8]}}", 8),
	          2);
	CHECK_INT(status_of("{\"a\":{\"dtype\":\"U8\",\"shape\":[1.5],\"data_offsets\":[0,8]}}", 8),
	          2);
	CHECK_INT(status_of("{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0]}}", 8), 2);
	CHECK_INT(status_of("{\"a\":7}", 0), 2);
	CHECK_INT(status_of("[]", 0), 2);
	CHECK_INT(status_of("{\"__metadata__\":{\"format\":\"pt\"}}", 0), 0);
	CHECK_INT(status_of("{\"__metadata__\":5}", 0), 2);
	CHECK_INT(status_of("{\"__metadata__\":{\"format\":5}}", 0), 2);
	CHECK_INT(status_of("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
	                    "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
	                    3),
	          2);
	CHECK_INT(status_of("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
	                    "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
	                    4),
	          2);
}

static void round_trip(void)
{
	char path[] = "/tmp/unit_safetensors.XXXXXX", *header, file[1024] = {0};
	struct safetensors_write w = {0};
	struct safetensors s;
	struct err e = {0};
	const uint64_t shape[] = {2, 4};
	uint64_t bytes;
	size_t n;

	CHECK(!safetensors_write_tensor(&w, "b", safetensors_type_of(DTYPE_BF16), 2, shape, &bytes,
	                                &e));
	CHECK_INT(bytes, 16);
	CHECK(
	    !safetensors_write_tensor(&w, "a", safetensors_type_find("U8"), 1, shape, &bytes, &e));
	CHECK(!safetensors_write_header(&w, &header, &n, &e));
	CHECK_INT(n % 64, 0);
	memcpy(file, header, n);
	close(mkstemp(path));
	write_file(path, file, n + w.data);
	CHECK(!safetensors_open(&s, path, &e));
	CHECK_STR(e.text, "");
	const struct safetensors_tensor *t = safetensors_find(&s, "a");
	CHECK(t && t->offset == n + 16 && t->bytes == 2 && t->type->type == DTYPE_NONE);
	CHECK(!safetensors_find(&s, "c"));
	safetensors_close(&s);
	safetensors_write_free(&w);
	mem_free(header);
	unlink(path);
}

static void hostile(void)
{
	FILE *f = fopen("tests/data/hostile/manifest.tsv", "r");
	char line[512], path[300];
	int seen = 0;

	CHECK(f != NULL);
	while (f && fgets(line, sizeof line, f)) {
		char *status = strrchr(line, '\t'), *name = strtok(line, "\t");
		struct safetensors s;
		struct err e = {0};
		if (!strstr(name, ".safetensors"))
			continue;
		snprintf(path, sizeof path, "tests/data/hostile/%s", name);
		if (!safetensors_open(&s, path, &e))
			safetensors_close(&s);
		if (e.status != atoi(status))
			printf("# %s: %s\n", name, e.text);
		CHECK_INT(e.status, atoi(status));
		seen++;
	}
	CHECK(seen >= 7);
	if (f)
		fclose(f);
}

static void values(void)
{
	static const char text[] =
	    "{\"a\":{\"b\":3,\"n\":null},\"r\":0.5,\"s\":\"x\",\"t\":true,\"m\":-1}";
	json_t *root;
	struct err e = {0};
	uint64_t u = 0;
	double d = 0;
	int flag = 0;
	const char *s = NULL;

	CHECK(!json_parse(text, sizeof text - 1, &root, &e));
	CHECK_INT(json_get_u64(root, "a.b", &u, &e), 0);
	CHECK_INT(u, 3);
	CHECK_INT(json_get_u64(root, "a.n", &u, &e), 1);
	CHECK_INT(json_get_u64(root, "a.c.d", &u, &e), 1);
	CHECK_INT(json_get_u64(root, "m", &u, &e), -1);
	CHECK_STR(e.text, "m is -1, expected a number from 0");
	CHECK_INT(json_get_u64(root, "a", &u, &e), -1);
	CHECK_STR(e.text, "a is an object, expected an integer");
	CHECK_INT(json_get_f64(root, "r", &d, &e), 0);
	CHECK(d == 0.5);
	CHECK_INT(json_get_bool(root, "t", &flag, &e), 0);
	CHECK_INT(flag, 1);
	CHECK_INT(json_get_str(root, "s", &s, &e), 0);
	CHECK_STR(s, "x");
	json_decref(root);
	CHECK_INT(json_parse("{\"a\":1,\"a\":2}", 13, &root, &e), -1);
	CHECK(!strncmp(e.text, "not JSON: line 1 column", 23));
}

/* 10 MB of opening brackets end in an error, not in the stack. */
static void nested(void)
{
	size_t n = 10 << 20;
	char *text = malloc(n);
	json_t *root;
	struct err e = {0};

	memset(text, '[', n);
	CHECK_INT(json_parse(text, n, &root, &e), -1);
	CHECK_INT(e.status, 2);
	free(text);
}

static void checksums(void)
{
	struct hash h;
	char text[HASH_TEXT];

	hash_begin(&h);
	CHECK_STR(hash_text(text, hash_value(&h)), "ef46db3751d8e999");
	hash_add(&h, "ab", 2);
	hash_add(&h, "c", 1);
	CHECK_STR(hash_text(text, hash_value(&h)), "44bc2cf5ad770999");
}

int main(void)
{
	RUN(headers);
	RUN(round_trip);
	RUN(hostile);
	RUN(values);
	RUN(nested);
	RUN(checksums);
	return unit_end();
}
