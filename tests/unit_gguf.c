/* GGUF: what is written can be read, whatever is cut or broken is refused with the right status. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gguf.h"
#include "gguf_write.h"
#include "mem.h"
#include "unit.h"

struct bytes {
	uint8_t *p;
	size_t n;
};

static int put(void *arg, const void *p, size_t n, struct err *e)
{
	struct bytes *b = arg;

	(void)e;
	b->p = realloc(b->p, b->n + n + 1);
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	return 0;
}

/* Payload bytes of tensor i are all i + 1. */
static struct bytes part_of(const struct gguf_write *w, unsigned part)
{
	struct bytes b = {0};
	struct err e = {0};

	CHECK(gguf_write_header(w, part, put, &b, &e) == 0);
	CHECK_INT(b.n, w->parts[part].header_size);
	b.p = realloc(b.p, w->parts[part].size);
	memset(b.p + b.n, 0, w->parts[part].size - b.n);
	for (uint64_t i = 0; i < w->n_tensors; i++)
		if (w->tensors[i].part == part)
			memset(b.p + w->tensors[i].offset, (int)i + 1, w->tensors[i].bytes);
	b.n = w->parts[part].size;
	return b;
}

static const uint64_t square[] = {128, 8};

/* A file with one key of every type and four tensors. */
static struct gguf_write example(void)
{
	struct gguf_write w = {0};
	struct err e = {0};
	const struct gguf_str words[] = {{"one", 3}, {"", 0}, {"t\0w", 3}};
	const int8_t i8 = -5;
	const uint16_t u16 = 65535;
	const int16_t i16[] = {-2, 3};
	const int32_t i32 = -70000;
	const uint64_t u64 = UINT64_MAX;
	const int64_t i64 = -1;
	const double f64[] = {0.5, -2};
	const uint8_t yes[] = {1, 0};

	gguf_write_str(&w, "general.architecture", "bitnet", 6, &e);
	gguf_write_numbers(&w, "a.i8", GGUF_I8, 0, &i8, 1, &e);
	gguf_write_numbers(&w, "a.u16", GGUF_U16, 0, &u16, 1, &e);
	gguf_write_numbers(&w, "a.i16", GGUF_I16, 1, i16, 2, &e);
	gguf_write_numbers(&w, "a.i32", GGUF_I32, 0, &i32, 1, &e);
	gguf_write_numbers(&w, "a.u64", GGUF_U64, 0, &u64, 1, &e);
	gguf_write_numbers(&w, "a.i64", GGUF_I64, 0, &i64, 1, &e);
	gguf_write_numbers(&w, "a.f64", GGUF_F64, 1, f64, 2, &e);
	gguf_write_numbers(&w, "a.bools", GGUF_BOOL, 1, yes, 2, &e);
	gguf_write_f32(&w, "a.f32", 0.25F, &e);
	gguf_write_u32(&w, "a.u32", 7, &e);
	gguf_write_bool(&w, "a.bool", 1, &e);
	gguf_write_strs(&w, "a.words", words, 3, &e);
	gguf_write_tensor(&w, "embd", 2, square, DTYPE_F16, &e);
	gguf_write_tensor(&w, "q", 2, square, DTYPE_I2_S, &e);
	gguf_write_tensor(&w, "norm", 1, square, DTYPE_F32, &e);
	gguf_write_tensor(&w, "scalar", 0, NULL, DTYPE_F32, &e);
	CHECK_INT(e.status, 0);
	return w;
}

static struct bytes example_bytes(void)
{
	struct gguf_write w = example();
	struct err e = {0};

	CHECK(gguf_write_layout(&w, 0, &e) == 0);
	struct bytes b = part_of(&w, 0);
	gguf_write_free(&w);
	return b;
}

static void round_trip(void)
{
	struct bytes b = example_bytes();
	struct gguf g;
	struct err e = {0};

	CHECK(gguf_parse(&g, b.p, b.n, 0, &e) == 0);
	CHECK_STR(e.text, "");
	CHECK_INT(g.n_kv, 13);
	CHECK_INT(g.n_tensors, 4);
	CHECK_INT(g.n_warnings, 0);
	const struct gguf_tensor *t = gguf_tensor(&g, "q");
	CHECK(t && t->type == DTYPE_I2_S && t->rows == 8 && t->cols == 128);
	CHECK(t && t->bytes == 128 * 8 / 4 + 32 && t->offset % 32 == 0);
	CHECK(t && t->data && t->data[0] == 2 && t->data[t->bytes - 1] == 2);
	t = gguf_tensor(&g, "scalar");
	CHECK(t && t->n_dims == 0 && t->rows == 1 && t->cols == 1 && t->bytes == 4);
	CHECK(!gguf_tensor(&g, "nothing"));
	gguf_close(&g);
	free(b.p);
}

static void getters(void)
{
	struct bytes b = example_bytes();
	struct gguf g;
	struct err e = {0};
	uint64_t u = 1;
	double d = 0;
	int flag = 0;
	struct gguf_str s;

	CHECK(gguf_parse(&g, b.p, b.n, 0, &e) == 0);
	CHECK_INT(gguf_get_u64(&g, "a.u32", &u, &e), 0);
	CHECK_INT(u, 7);
	CHECK_INT(gguf_get_u64(&g, "a.u64", &u, &e), 0);
	CHECK(u == UINT64_MAX);
	CHECK_INT(gguf_get_u64(&g, "a.nothing", &u, &e), 1);
	CHECK_INT(gguf_get_u64(&g, "a.i8", &u, &e), -1);
	CHECK_STR(e.text, "a.i8 is -5, expected a number from 0");
	CHECK_INT(gguf_get_u64(&g, "a.f32", &u, &e), -1);
	CHECK_STR(e.text, "a.f32 is f32, expected an integer");
	CHECK_INT(gguf_get_u64(&g, "a.i16", &u, &e), -1);
	CHECK_STR(e.text, "a.i16 is an array of i16, expected an integer");
	CHECK_INT(gguf_get_f64(&g, "a.f32", &d, &e), 0);
	CHECK(d == 0.25);
	CHECK_INT(gguf_get_f64(&g, "a.u32", &d, &e), -1);
	CHECK_INT(gguf_get_bool(&g, "a.bool", &flag, &e), 0);
	CHECK_INT(flag, 1);
	CHECK_INT(gguf_get_str(&g, "general.architecture", &s, &e), 0);
	CHECK(s.n == 6 && !memcmp(s.p, "bitnet", 6));
	CHECK(gguf_array_f64(&g, gguf_find(&g, "a.i16"), 0) == -2);
	CHECK(gguf_array_f64(&g, gguf_find(&g, "a.i32"), 0) == -70000);
	CHECK(gguf_array_f64(&g, gguf_find(&g, "a.f64"), 1) == -2);
	CHECK(gguf_array_f64(&g, gguf_find(&g, "a.bools"), 1) == 0);
	gguf_close(&g);
	free(b.p);
}

static void walks(void)
{
	struct bytes b = example_bytes();
	struct gguf g;
	struct err e = {0};
	struct gguf_walk w = {0};
	struct gguf_str s;

	CHECK(gguf_parse(&g, b.p, b.n, 0, &e) == 0);
	const struct gguf_kv *kv = gguf_find(&g, "a.words");
	CHECK_INT(gguf_next_str(&g, kv, &w, &s), 1);
	CHECK(s.n == 3 && !memcmp(s.p, "one", 3));
	CHECK_INT(gguf_next_str(&g, kv, &w, &s), 1);
	CHECK_INT(s.n, 0);
	CHECK_INT(gguf_next_str(&g, kv, &w, &s), 1);
	CHECK(s.n == 3 && !memcmp(s.p, "t\0w", 3));
	CHECK_INT(gguf_next_str(&g, kv, &w, &s), 0);
	CHECK_INT(gguf_next_str(&g, kv, &w, &s), 0);
	gguf_close(&g);
	free(b.p);
}

/* Cut anywhere, a file is short (3), and only its data may be missing for a plan. */
static void cut_anywhere(void)
{
	struct bytes b = example_bytes();
	struct gguf g;
	struct err e = {0};

	CHECK(gguf_parse(&g, b.p, b.n, 0, &e) == 0);
	uint64_t header = g.parts[0].header_size, last = g.tensors[3].offset + 4;
	gguf_close(&g);
	for (size_t n = 0; n < b.n; n++) {
		uint8_t *copy = malloc(n + 1);
		memcpy(copy, b.p, n);
		memset(&e, 0, sizeof e);
		int r = gguf_parse(&g, copy, n, 0, &e);
		CHECK_INT(r, n < last ? -1 : 0);
		CHECK_INT(e.status, n < last ? ERR_SHORT : 0);
		if (!r)
			gguf_close(&g);
		memset(&e, 0, sizeof e);
		r = gguf_parse(&g, copy, n, GGUF_HEADER_ONLY, &e);
		if (n >= header) {
			CHECK_INT(r, 0);
			CHECK((g.data_missing == 0) == (n >= last));
			CHECK((g.n_warnings == 0) == (n >= last));
		}
		if (!r)
			gguf_close(&g);
		free(copy);
	}
	free(b.p);
}

/* Every single byte set to a few values: accepted, or refused with a status (sanitizers look on).
 */
static void changed_anywhere(void)
{
	static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
	struct bytes b = example_bytes();
	struct gguf g;

	for (size_t i = 0; i < b.n; i++)
		for (size_t v = 0; v < sizeof values; v++) {
			struct err e = {0};
			uint8_t old = b.p[i];
			b.p[i] = values[v];
			if (!gguf_parse(&g, b.p, b.n, 0, &e))
				gguf_close(&g);
			else
				CHECK(e.status == ERR_TROUBLE || e.status == ERR_SHORT);
			b.p[i] = old;
		}
	free(b.p);
}

static void write_file(const char *path, struct bytes b)
{
	FILE *f = fopen(path, "wb");

	CHECK(f && fwrite(b.p, 1, b.n, f) == b.n && fclose(f) == 0);
}

/* Of a stream the header is read and not a byte more. */
static void stream(void)
{
	struct bytes b = example_bytes();
	char dir[] = "/tmp/unit_gguf.XXXXXX", fifo[64];
	struct gguf g;
	struct err e = {0};
	uint8_t rest[8192];
	size_t got;

	CHECK(mkdtemp(dir) != NULL);
	snprintf(fifo, sizeof fifo, "%s/fifo", dir);
	CHECK(mkfifo(fifo, 0600) == 0);
	int keep = open(fifo, O_RDWR); /* a writer that does not wait for the reader */
	CHECK(write(keep, b.p, b.n) == (ssize_t)b.n);
	CHECK_INT(gguf_open(&g, fifo, 0, &e), 0);
	CHECK_STR(e.text, "");
	close(keep);
	uint64_t header = g.parts[0].header_size;
	CHECK_INT(g.parts[0].size, 0);
	CHECK(gguf_tensor(&g, "q") && !gguf_tensor(&g, "q")->data);
	CHECK_INT(gguf_tensor(&g, "q")->type, DTYPE_I2_S);
	CHECK(io_read(g.parts[0].fd, rest, sizeof rest, &got, &e) == 0);
	CHECK_INT(got, b.n - header);
	CHECK(!memcmp(rest, b.p + header, got));
	gguf_close(&g);
	unlink(fifo);
	rmdir(dir);
	free(b.p);
}

static void split(void)
{
	struct gguf_write w = example();
	char dir[] = "/tmp/unit_gguf.XXXXXX", path[64], *names[8] = {0};
	struct gguf g;
	struct err e = {0};
	uint64_t v = 0;

	CHECK(mkdtemp(dir) != NULL);
	snprintf(path, sizeof path, "%s/m.gguf", dir);
	CHECK(gguf_write_layout(&w, 1600, &e) == 0);
	CHECK_INT(w.n_parts, 3);
	CHECK_INT(w.parts[0].n, 0);
	for (unsigned i = 0; i < w.n_parts; i++) {
		struct bytes b = part_of(&w, i);
		names[i] = gguf_write_part_name(path, i, w.n_parts, &e);
		write_file(names[i], b);
		free(b.p);
	}
	for (unsigned i = 0; i < w.n_parts; i++) {
		CHECK_INT(gguf_open(&g, names[i], 0, &e), 0);
		CHECK_STR(e.text, "");
		CHECK_INT(g.n_parts, w.n_parts);
		CHECK_INT(g.n_tensors, 4);
		CHECK_INT(gguf_get_u64(&g, "a.u32", &v, &e), 0);
		CHECK_INT(gguf_get_u64(&g, "split.no", &v, &e), 0);
		CHECK_INT(v, 0);
		CHECK(gguf_tensor(&g, "norm")->data[0] == 3);
		gguf_close(&g);
	}
	CHECK_INT(gguf_open(&g, names[2], GGUF_NO_SIBLINGS, &e), 0);
	CHECK_INT(g.n_parts, 1);
	gguf_close(&g);
	if (!names[1] || !names[2])
		return;
	unlink(names[1]);
	CHECK_INT(gguf_open(&g, names[2], 0, &e), -1);
	CHECK_INT(e.status, ERR_SHORT);
	CHECK(strstr(e.text, names[1]) != NULL);
	rename(names[2], names[1]);
	CHECK_INT(gguf_open(&g, names[0], 0, &e), -1);
	CHECK_INT(e.status, ERR_TROUBLE);
	for (unsigned i = 0; i < w.n_parts; i++) {
		unlink(names[i]);
		mem_free(names[i]);
	}
	rmdir(dir);
	gguf_write_free(&w);
}

/* The same pairs and tensors from a file in the other byte order. */
static void other_byte_order(void)
{
	/* one pair k = u16 258, one tensor t of 2 x f32 at offset 0, alignment 32 */
	static const uint8_t file[] =
	    "GGUF\0\0\0\3"
	    "\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1"
	    "\0\0\0\0\0\0\0\1k\0\0\0\2\1\2"
	    "\0\0\0\0\0\0\0\1t\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0"
	    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
	    "\0\0\0\0\0\0\0\0\0\0\0\0";
	struct gguf g;
	struct gguf_write w = {0};
	struct err e = {0};
	uint64_t v = 0;
	uint16_t copied;

	CHECK_INT(gguf_parse(&g, file, sizeof file - 1, 0, &e), 0);
	CHECK_STR(e.text, "");
	CHECK_INT(g.parts[0].swapped, 1);
	CHECK_INT(gguf_get_u64(&g, "k", &v, &e), 0);
	CHECK_INT(v, 258);
	CHECK_INT(g.tensors[0].ne[0], 2);
	CHECK_INT(gguf_write_metadata(&w, &g, &e), 0);
	memcpy(&copied, w.kv[0].data, 2);
	CHECK_INT(copied, 258);
	gguf_write_free(&w);
	gguf_close(&g);
}

/* Type 42 is two types, told apart by the room of the tensors. */
static void shared_ids(void)
{
	static const uint64_t ne[] = {256, 64};
	const enum dtype both[] = {DTYPE_Q2_0, DTYPE_Q2_0_G128};

	for (int i = 0; i < 2; i++) {
		struct gguf_write w = {0};
		struct err e = {0};
		struct gguf g;
		gguf_write_tensor(&w, "a", 2, ne, both[i], &e);
		gguf_write_tensor(&w, "b", 2, ne, both[i], &e);
		CHECK(gguf_write_layout(&w, 0, &e) == 0);
		struct bytes b = part_of(&w, 0);
		/* 142 becomes 42, as in the older files */
		for (size_t at = 0; at < w.parts[0].header_size; at++)
			if (b.p[at] == 142)
				b.p[at] = 42;
		CHECK_INT(gguf_parse(&g, b.p, b.n, 0, &e), 0);
		CHECK_STR(e.text, "");
		CHECK_INT(g.tensors[0].type, both[i]);
		CHECK_INT(g.n_warnings, 1);
		gguf_close(&g);
		gguf_write_free(&w);
		free(b.p);
	}
}

static void edits(void)
{
	struct gguf_write w = example();
	struct err e = {0};

	CHECK_INT(gguf_write_u32(&w, "a.i8", 9, &e), 0);
	CHECK_INT(w.n_kv, 13);
	CHECK_INT(w.kv[1].type, GGUF_U32);
	CHECK_INT(gguf_write_delete(&w, "a.i8"), 0);
	CHECK_INT(gguf_write_delete(&w, "a.i8"), 1);
	CHECK_INT(w.n_kv, 12);
	CHECK_STR(w.kv[1].key, "a.u16");
	CHECK_INT(gguf_write_tensor(&w, "q", 2, square, DTYPE_F32, &e), 0);
	CHECK_INT(gguf_write_layout(&w, 0, &e), -1);
	CHECK_STR(e.text, "tensor q is there twice");
	CHECK_INT(gguf_write_tensor(&w, "odd", 1, (uint64_t[]){100}, DTYPE_Q8_0, &e), -1);
	gguf_write_free(&w);
}

/* tests/data/hostile/manifest.tsv: file, what is wrong, status of running it, status of its plan.
 * What depends on hyperparameters is not decided here and must open. */
static void hostile(void)
{
	static const char *const later[] = {"arch-missing.gguf", "block-count-string.gguf",
	                                    "kv-heads-not-dividing.gguf", "eps-negative.gguf",
	                                    "embd-huge.gguf"};
	FILE *f = fopen("tests/data/hostile/manifest.tsv", "r");
	char line[512], path[300];
	int seen = 0;

	CHECK(f != NULL);
	while (f && fgets(line, sizeof line, f)) {
		char *name = strtok(line, "\t"), *end = strrchr(name, '.');
		strtok(NULL, "\t");
		char *run = strtok(NULL, "\t");
		if (!end || strcmp(end, ".gguf") || !run)
			continue;
		int want = atoi(run), n_later = sizeof later / sizeof *later;
		for (int i = 0; i < n_later; i++)
			if (!strcmp(name, later[i]))
				want = 0;
		struct gguf g;
		struct err e = {0};
		snprintf(path, sizeof path, "tests/data/hostile/%s", name);
		if (!gguf_open(&g, path, 0, &e))
			gguf_close(&g);
		if (e.status != want)
			printf("# %s: %s\n", name, e.text);
		CHECK_INT(e.status, want);
		CHECK((e.text[0] != 0) == (want != 0));
		seen++;
	}
	CHECK(seen >= 25);
	if (f)
		fclose(f);
}

int main(void)
{
	RUN(round_trip);
	RUN(getters);
	RUN(walks);
	RUN(cut_anywhere);
	RUN(changed_anywhere);
	RUN(stream);
	RUN(split);
	RUN(other_byte_order);
	RUN(shared_ids);
	RUN(edits);
	RUN(hostile);
	return unit_end();
}
