/* Whole files: which tensor becomes what, folded scales, marks, names; memory that runs out. */
#include "requantize.h"

#include <stdlib.h>

#include "fail_alloc.h"
#include "requantize_report.h"
#include "unit.h"

#define ROWS 64
#define COLS 256

struct sink {
	uint8_t *p;
	size_t n, cap;
};

static int sink_put(void *arg, const void *p, size_t n, struct err *e)
{
	struct sink *s = arg;

	(void)e;
	while (s->n + n > s->cap) {
		s->cap = 2 * s->cap + n;
		s->p = realloc(s->p, s->cap);
	}
	if (n)
		memcpy(s->p + s->n, p, n);
	s->n += n;
	return 0;
}

static void add(struct gguf_write *w, const char *name, uint64_t cols, uint64_t rows)
{
	uint64_t ne[2] = {cols, rows};

	CHECK_INT(gguf_write_tensor(w, name, rows > 1 ? 2 : 1, ne, DTYPE_F32, NULL), 0);
}

static void put_tensor(struct gguf_write *w, uint64_t i, struct sink *s, const float *x)
{
	static const uint8_t zeros[64];

	sink_put(s, x, w->tensors[i].bytes, NULL);
	sink_put(s, zeros, gguf_write_padding(w, i), NULL);
}

/* A model of four tensors: an embedding, a matrix of codes with its scale beside it, a norm. */
static struct sink model(void)
{
	static float x[ROWS * COLS];
	struct gguf_write w = {0};
	struct sink s = {0};
	float scale = 0.3f;

	CHECK_INT(gguf_write_str(&w, "general.architecture", "llama", 5, NULL), 0);
	CHECK_INT(gguf_write_u32(&w, "general.file_type", 0, NULL), 0);
	CHECK_INT(gguf_write_u32(&w, "split.count", 1, NULL), 0);
	add(&w, "token_embd.weight", COLS, ROWS);
	add(&w, "blk.0.ffn_up.weight", COLS, ROWS);
	add(&w, "blk.0.ffn_up.scale", 1, 1);
	add(&w, "blk.0.ffn_norm.weight", COLS, 1);
	CHECK_INT(gguf_write_layout(&w, 0, NULL), 0);
	CHECK_INT(gguf_write_header(&w, 0, sink_put, &s, NULL), 0);
	for (int i = 0; i < ROWS * COLS; i++)
		x[i] = (float)(i * 7919 % 1000 - 500) / 1000;
	put_tensor(&w, 0, &s, x);
	for (int i = 0; i < ROWS * COLS; i++)
		x[i] = (float)((i * 31 + i / 5) % 3 - 1);
	put_tensor(&w, 1, &s, x);
	put_tensor(&w, 2, &s, &scale);
	put_tensor(&w, 3, &s, x);
	gguf_write_free(&w);
	return s;
}

/* The model, and what options make of it, parsed. */
struct result {
	struct sink in, out;
	struct gguf from, g;
	struct requantize q;
};

static int make(struct result *r, const struct requantize_options *o, struct err *e)
{
	if (requantize_plan(&r->q, &r->from, o, e))
		return -1;
	r->out.n = 0;
	if (requantize_write(&r->q, NULL, sink_put, &r->out, NULL, NULL, e) ||
	    gguf_parse(&r->g, r->out.p, r->out.n, 0, e)) {
		requantize_close(&r->q);
		return -1;
	}
	return 0;
}

static void unmake(struct result *r)
{
	gguf_close(&r->g);
	requantize_close(&r->q);
}

static void result_open(struct result *r)
{
	memset(r, 0, sizeof *r);
	r->in = model();
	CHECK_INT(gguf_parse(&r->from, r->in.p, r->in.n, 0, NULL), 0);
}

static void result_close(struct result *r)
{
	gguf_close(&r->from);
	free(r->in.p);
	free(r->out.p);
}

static enum dtype type_of(const struct result *r, const char *name)
{
	const struct gguf_tensor *t = gguf_tensor(&r->g, name);

	return t ? t->type : DTYPE_NONE;
}

static struct requantize_options want(const char *type)
{
	struct requantize_options o = {.rule = QUANTIZE_ABSMEAN};

	CHECK_INT(requantize_type_parse(&o.matrices, type, NULL), 0);
	return o;
}

/* A scale of 32 bits takes the scale beside the matrix in; one of 16 bits leaves it there. */
static void folding(void)
{
	struct result r;
	struct requantize_options o = want("i2_s");
	float scale;

	result_open(&r);
	CHECK_INT(make(&r, &o, NULL), 0);
	CHECK_INT(type_of(&r, "blk.0.ffn_up.weight"), DTYPE_I2_S);
	CHECK(gguf_tensor(&r.g, "blk.0.ffn_up.scale") == NULL);
	memcpy(&scale, gguf_tensor(&r.g, "blk.0.ffn_up.weight")->data + ROWS * COLS / 4, 4);
	CHECK(scale == 0.3f);
	CHECK(r.q.tensors[1].folded && r.q.tensors[1].report.loss == 0);
	unmake(&r);
	o = want("tq2_0");
	CHECK_INT(make(&r, &o, NULL), 0);
	CHECK_INT(type_of(&r, "blk.0.ffn_up.weight"), DTYPE_TQ2_0);
	CHECK_INT(type_of(&r, "blk.0.ffn_up.scale"), DTYPE_F32);
	CHECK(r.q.tensors[1].report.scale_error == 0 && r.q.tensors[1].report.scale == 1);
	unmake(&r);
	o = want("f32");
	CHECK_INT(make(&r, &o, NULL), 0); /* nothing changes, so nothing is folded */
	CHECK_INT(r.g.n_tensors, 4);
	unmake(&r);
	o = want("bf16");
	CHECK_INT(make(&r, &o, NULL), 0);
	CHECK_INT(r.g.n_tensors, 3);
	unmake(&r);
	result_close(&r);
}

static uint64_t number(const struct result *r, const char *key)
{
	uint64_t v = UINT64_MAX;

	gguf_get_u64(&r->g, key, &v, NULL);
	return v;
}

static void metadata(void)
{
	struct result r;
	struct requantize_options o = want("tl1");
	struct gguf_str s;
	uint64_t v = 0;

	result_open(&r);
	CHECK_INT(make(&r, &o, NULL), 0);
	CHECK_INT(number(&r, "general.file_type"), 38);
	CHECK(gguf_find(&r.g, "split.count") == NULL);
	CHECK(gguf_find(&r.g, TERNARY_KEY_TL1)->count == 5);
	CHECK_INT(gguf_array_u64(&r.g, gguf_find(&r.g, TERNARY_KEY_TL1), 1, &v, NULL), 0);
	CHECK_INT(v, COLS);
	CHECK(gguf_find(&r.g, TERNARY_KEY_I2S) == NULL);
	unmake(&r);
	o = want("i2_s_arm");
	CHECK_INT(make(&r, &o, NULL), 0);
	CHECK_INT(number(&r, "general.file_type"), 40);
	CHECK_INT(gguf_get_str(&r.g, TERNARY_KEY_I2S, &s, NULL), 0);
	CHECK(s.n == 3 && !memcmp(s.p, "arm", 3));
	CHECK(gguf_find(&r.g, TERNARY_KEY_TL1) == NULL);
	unmake(&r);
	result_close(&r);
}

static void rules(void)
{
	struct result r;
	struct requantize_options o = want("i2_s");

	result_open(&r);
	CHECK_INT(requantize_rule_add(&o, "blk.?.ffn_norm.*=f16", NULL), 0);
	CHECK_INT(requantize_rule_add(&o, "*=q8_0", NULL), 0);
	CHECK_INT(make(&r, &o, NULL), -1); /* one value is no block of 32 */
	o.n_rules = 0;
	CHECK_INT(requantize_rule_add(&o, "blk.?.ffn_norm.*=f16", NULL), 0);
	CHECK_INT(requantize_rule_add(&o, "blk.0.*.weight=q8_0", NULL), 0);
	CHECK_INT(make(&r, &o, NULL), 0);
	CHECK_INT(type_of(&r, "blk.0.ffn_norm.weight"), DTYPE_F16);
	CHECK_INT(type_of(&r, "blk.0.ffn_up.weight"), DTYPE_Q8_0);
	CHECK_INT(type_of(&r, "token_embd.weight"), DTYPE_F32);
	unmake(&r);
	CHECK_INT(requantize_rule_add(&o, "=f16", NULL), -1);
	CHECK_INT(requantize_rule_add(&o, "x=q5_k", NULL), -1);
	CHECK_INT(requantize_rule_add(&o, "x", NULL), -1);
	result_close(&r);
}

static void tilings(void)
{
	struct retype_hints h = {0};
	static const char *const bad[] = {"",        "1",      "1,",   "1,2,", "a,b",
	                                  "1,2,3,4", "3x:1,2", "1,2x", "-1,2"};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (!retype_hints_tile(&h, bad[i], NULL)) {
			printf("# '%s' is taken\n", bad[i]);
			unit_bad++;
		}
	CHECK_INT(retype_hints_tile(&h, "256,96", NULL), 0);
	CHECK_INT(retype_hints_tile(&h, "2560x6912:128,64,64", NULL), 0);
	CHECK_INT(h.n_tiles, 2);
	CHECK_INT(retype_hints_find(&h, 1, 1)->step, 32);
	CHECK_INT(retype_hints_find(&h, 2560, 6912)->step, 64);
	CHECK_INT(retype_hints_find(&h, 2560, 6912)->cols, 64);
}

static void roles(void)
{
	static const struct {
		const char *name;
		int ternary;
	} names[] = {{"blk.0.attn_q.weight", 1},       {"blk.12.ffn_down_exps.weight", 1},
	             {"blk.0.attn_q.bias", 0},         {"blk.0.attn_q_norm.weight", 0},
	             {"token_embd.weight", 0},         {"output.weight", 0},
	             {"blk.0.ffn_gate_inp.weight", 0}, {"blk.x.attn_q.weight", 0},
	             {"blk.0.attn_q.weight.extra", 0}, {"xblk.0.attn_q.weight", 0}};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct gguf_tensor t = {.name = {names[i].name, strlen(names[i].name)},
		                        .n_dims = 2};

		CHECK_INT(retype_gguf_is_ternary_role(&t), names[i].ternary);
		t.n_dims = 1;
		CHECK_INT(retype_gguf_is_ternary_role(&t), 0);
	}
}

struct failing {
	struct result r;
	struct requantize_options o;
};

static int convert(void *arg, struct err *e)
{
	struct failing *f = arg;

	if (make(&f->r, &f->o, e))
		return -1;
	unmake(&f->r);
	return 0;
}

static void memory_runs_out(void)
{
	struct failing f = {.o = want("tl1")};

	f.o.embed = (struct requantize_type){DTYPE_Q6_K, TERNARY_NONE};
	result_open(&f.r);
	CHECK(fail_alloc(convert, NULL, &f) > 30);
	result_close(&f.r);
}

/* Any byte of the header changed: a result or an error, never a crash; what is refused is told. */
static void mutations(void)
{
	struct requantize_options o = want("tq1_0");
	struct result r;
	size_t header;
	uint32_t seed = 3;

	result_open(&r);
	header = r.from.parts[0].header_size;
	for (int i = 0; i < 4000; i++) {
		struct sink copy = {0};
		struct result m = {0};
		struct err e = {0};

		sink_put(&copy, r.in.p, r.in.n, NULL);
		seed = seed * 1664525 + 1013904223;
		if (copy.p)
			copy.p[seed / 7 % header] = (uint8_t)(seed >> 24);
		if (!gguf_parse(&m.from, copy.p, copy.n, 0, &e)) {
			if (!make(&m, &o, &e))
				unmake(&m);
			else
				CHECK(*e.text && e.status);
			gguf_close(&m.from);
		}
		free(m.out.p);
		free(copy.p);
	}
	result_close(&r);
}

int main(void)
{
	RUN(folding);
	RUN(metadata);
	RUN(rules);
	RUN(tilings);
	RUN(roles);
	RUN(memory_runs_out);
	RUN(mutations);
	return unit_end();
}
