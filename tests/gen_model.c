/*
 * Random ternary models for tests and timing: the same options and seed give the same bytes.
 *
 *	gen_model --preset=2b-4t -o 2b.gguf          the shape of bitnet-b1.58-2B-4T, 1.2 GB
 *	gen_model --layers=2 --type=tq2_0 -o a.gguf
 *
 * The file is written here without the library's GGUF writer, so that reading it checks the
 * reader against bytes of another origin.  The codes of a matrix depend on the seed and the
 * tensor's name alone: files that differ in --type hold the same codes and, in every type, the same
 * scale.  Nothing larger than one band of rows is held in memory.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dtype.h"
#include "half.h"
#include "io.h"
#include "opt.h"
#include "ternary.h"

#define ALIGN     32
#define SPECIALS  256 /* special tokens of a large vocabulary; a small one has 3 */
#define MAX_NAME  64
#define BAND_ROWS 64

enum { U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9 }; /* value types of GGUF */

struct model {
	const char *arch, *preset, *out;
	int64_t layers, embd, heads, kv_heads, head_dim, ffn, ctx, vocab, merges, seed;
	enum dtype type, embd_type, head_type; /* head_type NONE: tied */
	double rope_base, eps;
	const char *act;
	int header_only, scale_tensors, quiet;
};

enum fill { NORM, TERNARY, TABLE, SCALE };

struct tensor {
	char name[MAX_NAME];
	uint64_t rows, cols;
	int vector; /* one dimension */
	enum dtype type;
	enum fill fill;
	uint64_t offset, bytes;
};

/* ---- random numbers: splitmix64, one stream per tensor ---- */

struct rng {
	uint64_t s;
};

static uint64_t rng_next(struct rng *r)
{
	uint64_t z = r->s += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static double rng_unit(struct rng *r)
{
	return (double)(rng_next(r) >> 11) * 0x1p-53;
}

/* Sum of twelve uniform numbers: close enough to a normal distribution, and the same everywhere. */
static double rng_normal(struct rng *r)
{
	double sum = -6;

	for (int i = 0; i < 12; i++)
		sum += rng_unit(r);
	return sum;
}

static struct rng rng_of(int64_t seed, const char *name)
{
	struct rng r = {(uint64_t)seed * 0x2545f4914f6cdd1du};

	for (; *name; name++)
		r.s = (r.s ^ (uint64_t)(unsigned char)*name) * 0x100000001b3u;
	rng_next(&r);
	return r;
}

/* ---- header ---- */

static void put(FILE *f, const void *p, size_t n)
{
	fwrite(p, 1, n, f);
}

static void put_u32(FILE *f, uint32_t v)
{
	put(f, &v, 4);
}

static void put_u64(FILE *f, uint64_t v)
{
	put(f, &v, 8);
}

static void put_str(FILE *f, const char *s)
{
	put_u64(f, strlen(s));
	put(f, s, strlen(s));
}

static void key(FILE *f, uint64_t *n, uint32_t type, const char *prefix, const char *name)
{
	put_u64(f, strlen(prefix) + strlen(name));
	put(f, prefix, strlen(prefix));
	put(f, name, strlen(name));
	put_u32(f, type);
	++*n;
}

static void array(FILE *f, uint64_t *n, uint32_t element, const char *name, int64_t count)
{
	key(f, n, ARRAY, "tokenizer.ggml.", name);
	put_u32(f, element);
	put_u64(f, (uint64_t)count);
}

/* ---- vocabulary: the 256 bytes, then every string over a small alphabet, short ones first, so
 * that each split of a token is a merge of two tokens ---- */

static const char letters[] = "etaoinshrdlu";
#define LETTERS ((int64_t)sizeof letters - 1)

static int64_t specials_of(const struct model *m)
{
	return m->vocab >= 2 * SPECIALS + 256 ? SPECIALS : 3;
}

/* Token i (from 256 on) as letters: its length, and text in out. */
static int word(int64_t i, char out[16])
{
	int64_t count = LETTERS * LETTERS;
	int n = 2;

	for (i -= 256; i >= count; n++) {
		i -= count;
		count *= LETTERS;
	}
	for (int j = n - 1; j >= 0; j--) {
		out[j] = letters[i % LETTERS];
		i /= LETTERS;
	}
	out[n] = 0;
	return n;
}

/* A byte as byte-level vocabularies write it: itself where printable, else U+0100 and on. */
static void byte_piece(int b, char out[4])
{
	int code = b, next = 256;
	static const int keep[][2] = {{0x21, 0x7e}, {0xa1, 0xac}, {0xae, 0xff}};
	int kept = 0;

	for (int i = 0; i <= b; i++) {
		kept = 0;
		for (size_t k = 0; k < 3; k++)
			kept |= i >= keep[k][0] && i <= keep[k][1];
		if (!kept)
			code = next++;
	}
	if (kept)
		code = b;
	if (code < 0x80) {
		out[0] = (char)code;
		out[1] = 0;
	} else {
		out[0] = (char)(0xc0 | code >> 6);
		out[1] = (char)(0x80 | (code & 0x3f));
		out[2] = 0;
	}
}

/* The token of id i and its type (1 normal, 3 control, 5 unused). */
static int piece(const struct model *m, int64_t i, char out[MAX_NAME])
{
	static const char *const first[] = {"<|begin_of_text|>", "<|end_of_text|>"};
	int64_t specials = specials_of(m), special = i - (m->vocab - specials);
	int64_t eot = specials == SPECIALS ? 9 : 2;

	if (i < 256) {
		byte_piece((int)i, out);
		return 1;
	}
	if (special < 0) {
		word(i, out);
		return 1;
	}
	if (special < 2)
		strcpy(out, first[special]);
	else if (special == eot)
		strcpy(out, "<|eot_id|>");
	else
		snprintf(out, MAX_NAME, "<|reserved_special_token_%d|>", (int)special);
	return 3;
}

static int64_t words_of(const struct model *m)
{
	return m->vocab - specials_of(m) - 256;
}

/* Every token's first split in the order of ids, then the second splits, and so on: the count that
 * was asked for, or as many as there are.  With f NULL only counts. */
static int64_t merges(const struct model *m, FILE *f)
{
	int64_t n = 0;
	char w[16];

	for (int split = 1; split < 12; split++)
		for (int64_t i = 0; i < words_of(m) && n < m->merges; i++) {
			int len = word(256 + i, w);
			if (split >= len)
				continue;
			if (f) {
				put_u64(f, (uint64_t)len + 1);
				fprintf(f, "%.*s %s", split, w, w + split);
			}
			n++;
		}
	return n;
}

static void put_vocab(FILE *f, uint64_t *n, const struct model *m)
{
	char text[MAX_NAME];
	int64_t bos = m->vocab - specials_of(m);

	key(f, n, STRING, "tokenizer.ggml.", "model");
	put_str(f, "gpt2");
	key(f, n, STRING, "tokenizer.ggml.", "pre");
	put_str(f, "llama-bpe");
	array(f, n, STRING, "tokens", m->vocab);
	for (int64_t i = 0; i < m->vocab; i++) {
		piece(m, i, text);
		put_str(f, text);
	}
	array(f, n, I32, "token_type", m->vocab);
	for (int64_t i = 0; i < m->vocab; i++)
		put_u32(f, (uint32_t)piece(m, i, text));
	array(f, n, STRING, "merges", merges(m, NULL));
	merges(m, f);
	key(f, n, U32, "tokenizer.ggml.", "bos_token_id");
	put_u32(f, (uint32_t)bos);
	key(f, n, U32, "tokenizer.ggml.", "eos_token_id");
	put_u32(f, (uint32_t)bos + 1);
	key(f, n, BOOL, "tokenizer.ggml.", "add_bos_token");
	put(f, "\1", 1);
}

static uint32_t file_type(enum dtype t)
{
	return t == DTYPE_F32     ? 0
	       : t == DTYPE_F16   ? 1
	       : t == DTYPE_TQ1_0 ? 36
	       : t == DTYPE_TQ2_0 ? 37
	                          : 40;
}

static void put_number(FILE *f, uint64_t *n, const struct model *m, const char *name, int64_t v)
{
	char k[MAX_NAME];

	snprintf(k, sizeof k, ".%s", name);
	key(f, n, U32, m->arch, k);
	put_u32(f, (uint32_t)v);
}

static void put_real(FILE *f, uint64_t *n, const struct model *m, const char *name, double v)
{
	char k[MAX_NAME];
	float x = (float)v;

	snprintf(k, sizeof k, ".%s", name);
	key(f, n, F32, m->arch, k);
	put(f, &x, 4);
}

static void put_metadata(FILE *f, uint64_t *n, const struct model *m)
{
	char name[MAX_NAME];

	key(f, n, STRING, "general.", "architecture");
	put_str(f, m->arch);
	key(f, n, STRING, "general.", "name");
	snprintf(name, sizeof name, "random %s, seed %lld", m->preset ? m->preset : "model",
	         (long long)m->seed);
	put_str(f, name);
	put_number(f, n, m, "vocab_size", m->vocab);
	put_number(f, n, m, "context_length", m->ctx);
	put_number(f, n, m, "embedding_length", m->embd);
	put_number(f, n, m, "block_count", m->layers);
	put_number(f, n, m, "feed_forward_length", m->ffn);
	put_number(f, n, m, "attention.head_count", m->heads);
	put_number(f, n, m, "attention.head_count_kv", m->kv_heads);
	put_number(f, n, m, "attention.key_length", m->head_dim);
	put_number(f, n, m, "attention.value_length", m->head_dim);
	put_number(f, n, m, "rope.dimension_count", m->head_dim);
	put_real(f, n, m, "attention.layer_norm_rms_epsilon", m->eps);
	put_real(f, n, m, "rope.freq_base", m->rope_base);
	if (m->act) {
		snprintf(name, sizeof name, "%s.hidden_activation", m->arch);
		key(f, n, STRING, "", name);
		put_str(f, m->act);
	}
	key(f, n, U32, "general.", "file_type");
	put_u32(f, file_type(m->type));
	key(f, n, U32, "general.", "quantization_version");
	put_u32(f, 2);
	put_vocab(f, n, m);
}

/* ---- tensors ---- */

struct list {
	struct tensor *v;
	size_t n;
	uint64_t data; /* bytes of the data section so far */
};

static int add(struct list *l, const char *prefix, const char *name, enum dtype type,
               enum fill fill, uint64_t rows, uint64_t cols, struct err *e)
{
	struct tensor *t = &l->v[l->n++];

	*t = (struct tensor){
	    .rows = rows, .cols = cols, .type = type, .vector = fill == NORM || fill == SCALE};
	t->fill = fill;
	snprintf(t->name, sizeof t->name, "%s%s", prefix, name);
	if (dtype_bytes(type, rows, cols, &t->bytes, e))
		return err_in(e, "%s", t->name);
	t->offset = l->data;
	l->data += (t->bytes + ALIGN - 1) / ALIGN * ALIGN;
	return 0;
}

static int add_matrix(struct list *l, const struct model *m, const char *prefix, const char *name,
                      int64_t rows, int64_t cols, struct err *e)
{
	char full[MAX_NAME];

	snprintf(full, sizeof full, "%s.weight", name);
	if (add(l, prefix, full, m->type, TERNARY, (uint64_t)rows, (uint64_t)cols, e))
		return -1;
	snprintf(full, sizeof full, "%s.scale", name);
	return m->scale_tensors ? add(l, prefix, full, DTYPE_F32, SCALE, 1, 1, e) : 0;
}

static int add_norm(struct list *l, const char *prefix, const char *name, int64_t n, struct err *e)
{
	return add(l, prefix, name, DTYPE_F32, NORM, 1, (uint64_t)n, e);
}

static int add_layer(struct list *l, const struct model *m, int64_t i, struct err *e)
{
	int64_t q = m->heads * m->head_dim, kv = m->kv_heads * m->head_dim;
	int sub = strcmp(m->arch, "llama") != 0;
	char b[24];

	snprintf(b, sizeof b, "blk.%d.", (int)i);
	return add_norm(l, b, "attn_norm.weight", m->embd, e) ||
	       add_matrix(l, m, b, "attn_q", q, m->embd, e) ||
	       add_matrix(l, m, b, "attn_k", kv, m->embd, e) ||
	       add_matrix(l, m, b, "attn_v", kv, m->embd, e) ||
	       (sub && add_norm(l, b, "attn_sub_norm.weight", q, e)) ||
	       add_matrix(l, m, b, "attn_output", m->embd, q, e) ||
	       add_norm(l, b, "ffn_norm.weight", m->embd, e) ||
	       add_matrix(l, m, b, "ffn_gate", m->ffn, m->embd, e) ||
	       add_matrix(l, m, b, "ffn_up", m->ffn, m->embd, e) ||
	       (sub && add_norm(l, b, "ffn_sub_norm.weight", m->ffn, e)) ||
	       add_matrix(l, m, b, "ffn_down", m->embd, m->ffn, e);
}

static int add_all(struct list *l, const struct model *m, struct err *e)
{
	l->v = calloc((size_t)(3 + m->layers * 18), sizeof *l->v);
	if (!l->v)
		return err_set(e, ERR_TROUBLE, "no memory for the tensor list");
	if (add(l, "", "token_embd.weight", m->embd_type, TABLE, (uint64_t)m->vocab,
	        (uint64_t)m->embd, e))
		return -1;
	for (int64_t i = 0; i < m->layers; i++)
		if (add_layer(l, m, i, e))
			return -1;
	if (add_norm(l, "", "output_norm.weight", m->embd, e))
		return -1;
	return m->head_type ? add(l, "", "output.weight", m->head_type, TABLE, (uint64_t)m->vocab,
	                          (uint64_t)m->embd, e)
	                    : 0;
}

static void put_infos(FILE *f, const struct list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct tensor *t = &l->v[i];
		put_str(f, t->name);
		put_u32(f, t->vector ? 1 : 2);
		put_u64(f, t->cols);
		if (!t->vector)
			put_u64(f, t->rows);
		put_u32(f, dtype_get(t->type)->id);
		put_u64(f, t->offset);
	}
}

/* ---- tensor data ---- */

/* Scale of a matrix: a value that F16 holds exactly, so that every type holds the same. */
static float scale_of(const struct model *m, const struct tensor *t)
{
	struct rng r = rng_of(m->seed + 1, t->name);

	return half_to_f32(half_from_f32((float)((0.5 + rng_unit(&r)) / sqrt((double)t->cols))));
}

/* Codes of one row, a third of each kind: 4 codes a byte of the stream.  The first of each 256 is
 * never 0, so that block types find the scale in every block. */
static void codes(struct rng *r, int8_t *q, uint64_t n)
{
	static int8_t of_byte[256][4];

	if (!of_byte[0][0])
		for (int b = 0; b < 256; b++)
			for (int i = 0, v = b * 81 / 256; i < 4; i++, v /= 3)
				of_byte[b][i] = (int8_t)(v % 3 - 1);
	for (uint64_t i = 0; i < n; i += 32) {
		uint64_t x = rng_next(r);
		for (uint64_t k = 0; k < 32 && i + k < n; k += 4, x >>= 8)
			memcpy(q + i + k, of_byte[x & 255], n - i - k < 4 ? n - i - k : 4);
	}
	for (uint64_t i = 0; i < n; i += 256)
		if (!q[i])
			q[i] = 1;
}

/* Codes as floats, for the types that are not packed. */
static void write_plain(enum dtype type, const int8_t *q, uint64_t n, float scale, uint8_t *out)
{
	for (uint64_t i = 0; i < n; i++) {
		float v = (float)q[i] * scale;
		if (type == DTYPE_F32)
			memcpy(out + 4 * i, &v, 4);
		else
			half_put(out + 2 * i,
			         type == DTYPE_F16 ? half_from_f32(v) : half_bf16_from_f32(v));
	}
}

struct room {
	int8_t *q;     /* (BAND_ROWS, cols) */
	float *scales; /* for each group of a band */
	uint8_t *out;
};

static int write_plain_matrix(FILE *f, const struct tensor *t, struct rng *r, float scale,
                              struct room *w)
{
	uint64_t row_bytes = dtype_row_bytes(t->type, t->cols);

	for (uint64_t row = 0; row < t->rows; row++) {
		codes(r, w->q, t->cols);
		write_plain(t->type, w->q, t->cols, scale, w->out);
		fwrite(w->out, 1, row_bytes, f);
	}
	return 0;
}

/* The layouts that are written here have one place per band, in the order of the rows. */
static int write_packed(FILE *f, const struct tensor *t, struct rng *r, float scale, struct room *w,
                        struct err *e)
{
	struct ternary layout;
	struct ternary_span span[TERNARY_SPANS];

	if (ternary_init(&layout, ternary_of_dtype(t->type), t->rows, t->cols, NULL, e))
		return err_in(e, "%s", t->name);
	for (uint64_t i = 0; i < BAND_ROWS * t->cols / 64; i++)
		w->scales[i] = scale;
	for (uint64_t row = 0; row < t->rows; row += BAND_ROWS) {
		uint64_t n = t->rows - row < BAND_ROWS ? t->rows - row : BAND_ROWS;
		for (uint64_t i = 0; i < n; i++)
			codes(r, w->q + i * t->cols, t->cols);
		if (ternary_spans(&layout, row, n, span) != 1)
			return err_set(e, ERR_TROUBLE, "%s: %s is not written here", t->name,
			               dtype_get(t->type)->name);
		ternary_pack(&layout, row, n, w->q, w->scales, (uint8_t *[TERNARY_SPANS]){w->out});
		fwrite(w->out, 1, span[0].bytes, f);
	}
	uint64_t tail = ternary_bytes(&layout) - ternary_code_bytes(&layout);
	if (tail) {
		ternary_tail(&layout, scale, w->out);
		fwrite(w->out, 1, tail, f);
	}
	return 0;
}

static int write_ternary(FILE *f, const struct model *m, const struct tensor *t, struct err *e)
{
	struct rng r = rng_of(m->seed, t->name);
	float scale = m->scale_tensors ? 1 : scale_of(m, t);
	struct room w = {malloc(BAND_ROWS * t->cols), malloc(BAND_ROWS * t->cols / 16 + 64),
	                 malloc(BAND_ROWS * t->cols + 4 * t->cols + 64)};
	int failed = -1;

	if (!w.q || !w.scales || !w.out)
		err_set(e, ERR_TROUBLE, "no memory for a band of %s", t->name);
	else if (ternary_of_dtype(t->type))
		failed = write_packed(f, t, &r, scale, &w, e);
	else
		failed = write_plain_matrix(f, t, &r, scale, &w);
	free(w.q);
	free(w.scales);
	free(w.out);
	return failed;
}

/* A row of an embedding table: plain types are normal with deviation 0.3; block types random blocks
 * whose scales give about the same. */
static void table_row(struct rng *r, enum dtype type, uint64_t cols, const uint16_t normal[4096],
                      uint8_t *out)
{
	uint64_t bytes = dtype_row_bytes(type, cols), x = 0;
	const struct dtype_info *d = dtype_get(type);

	if (type == DTYPE_F16 || type == DTYPE_BF16 || type == DTYPE_F32) {
		for (uint64_t i = 0; i < cols; i++, x >>= 12) {
			if (i % 5 == 0)
				x = rng_next(r);
			float v = half_to_f32(normal[x & 4095]);
			if (type == DTYPE_F32)
				memcpy(out + 4 * i, &v, 4);
			else
				half_put(out + 2 * i, type == DTYPE_F16 ? normal[x & 4095]
				                                        : half_bf16_from_f32(v));
		}
		return;
	}
	for (uint64_t i = 0; i < bytes; i += 8) {
		x = rng_next(r);
		memcpy(out + i, &x, bytes - i < 8 ? bytes - i : 8);
	}
	for (uint64_t i = 0; i < bytes; i += d->block_bytes) {
		uint8_t *b = out + i;
		if (type == DTYPE_Q8_0)
			half_put(b, half_from_f32(0.004f));
		else if (type == DTYPE_Q4_0)
			half_put(b, half_from_f32(0.065f));
		else if (type == DTYPE_Q6_K)
			half_put(b + 208, half_from_f32(0.0002f));
		else { /* Q4_K, Q5_K: scale, then minimum */
			half_put(b, half_from_f32(type == DTYPE_Q4_K ? 0.0012f : 0.0006f));
			half_put(b + 2, half_from_f32(0.009f));
		}
	}
}

static int write_table(FILE *f, const struct model *m, const struct tensor *t, struct err *e)
{
	struct rng r = rng_of(m->seed, t->name);
	uint16_t normal[4096];
	uint64_t bytes = dtype_row_bytes(t->type, t->cols);
	uint8_t *row = malloc(bytes + 8);

	if (!row)
		return err_set(e, ERR_TROUBLE, "no memory for a row of %s", t->name);
	for (int i = 0; i < 4096; i++)
		normal[i] = half_from_f32((float)(0.3 * rng_normal(&r)));
	for (uint64_t i = 0; i < t->rows; i++) {
		table_row(&r, t->type, t->cols, normal, row);
		fwrite(row, 1, bytes, f);
	}
	free(row);
	return 0;
}

static int write_vector(FILE *f, const struct model *m, const struct tensor *t)
{
	struct rng r = rng_of(m->seed, t->name);

	for (uint64_t i = 0; i < t->cols; i++) {
		float v = (float)(1 + 0.1 * rng_normal(&r));
		put(f, &v, 4);
	}
	return 0;
}

/* The .scale tensor of a matrix holds what the matrix would hold itself. */
static int write_scale(FILE *f, const struct model *m, const struct tensor *matrix)
{
	float v = scale_of(m, matrix);

	put(f, &v, 4);
	return 0;
}

static int write_tensor(FILE *f, const struct model *m, const struct tensor *t, struct err *e)
{
	static const char zeros[ALIGN];
	int failed = t->fill == NORM      ? write_vector(f, m, t)
	             : t->fill == TABLE   ? write_table(f, m, t, e)
	             : t->fill == TERNARY ? write_ternary(f, m, t, e)
	                                  : write_scale(f, m, t - 1);

	if (!failed)
		put(f, zeros, (ALIGN - t->bytes % ALIGN) % ALIGN);
	return failed;
}

static int write_header(FILE *f, const struct model *m, const struct list *l)
{
	static const char zeros[ALIGN];
	char *text = NULL;
	size_t size = 0;
	uint64_t n_kv = 0;
	FILE *kv = open_memstream(&text, &size);

	if (!kv)
		return -1;
	put_metadata(kv, &n_kv, m);
	fclose(kv);
	put(f, "GGUF", 4);
	put_u32(f, 3);
	put_u64(f, l->n);
	put_u64(f, n_kv);
	put(f, text, size);
	put_infos(f, l);
	put(f, zeros, (size_t)(-ftell(f) & (ALIGN - 1)));
	free(text);
	return 0;
}

static int write_model(const struct model *m, struct err *e)
{
	struct list l = {0};
	FILE *f = NULL;
	int failed = -1;

	if (add_all(&l, m, e))
		goto done;
	f = fopen(m->out, "wb");
	if (!f || write_header(f, m, &l)) {
		err_sys(e, "%s", m->out);
		goto done;
	}
	for (size_t i = 0; i < l.n && !m->header_only; i++)
		if (write_tensor(f, m, &l.v[i], e))
			goto done;
	failed = ferror(f) ? err_sys(e, "%s", m->out) : 0;
done:
	if (f && fclose(f) && !failed)
		failed = err_sys(e, "%s", m->out);
	free(l.v);
	return failed;
}

/* ---- options ---- */

static const struct preset {
	const char *name, *arch;
	int64_t layers, embd, heads, kv_heads, ffn, ctx, vocab, merges;
	double rope_base;
	int untied;
} presets[] = {
    {"tiny", "bitnet-b1.58", 2, 256, 4, 2, 512, 512, 320, 61, 500000, 0},
    {"small", "bitnet-b1.58", 12, 768, 12, 4, 2048, 2048, 32000, 60000, 500000, 0},
    {"large", "bitnet", 24, 1536, 16, 16, 4096, 2048, 32000, 60000, 10000, 0},
    {"3b", "bitnet", 26, 3200, 32, 32, 8640, 2048, 32000, 60000, 10000, 0},
    {"2b-4t", "bitnet-b1.58", 30, 2560, 20, 5, 6912, 4096, 128256, 280147, 500000, 0},
    {"falcon3-1b", "llama", 18, 2048, 8, 4, 8192, 8192, 131072, 280147, 1000042, 1},
    {"llama3-8b", "llama", 32, 4096, 32, 8, 14336, 8192, 128256, 280147, 500000, 1},
};

static int use_preset(void *to, const char *name, struct err *e)
{
	struct model *m = to;

	for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
		const struct preset *p = &presets[i];
		if (strcmp(p->name, name) != 0)
			continue;
		m->preset = p->name;
		m->arch = p->arch;
		m->layers = p->layers;
		m->embd = p->embd;
		m->heads = p->heads;
		m->kv_heads = p->kv_heads;
		m->head_dim = 0;
		m->ffn = p->ffn;
		m->ctx = p->ctx;
		m->vocab = p->vocab;
		m->merges = p->merges;
		m->rope_base = p->rope_base;
		m->head_type = p->untied ? DTYPE_F16 : DTYPE_NONE;
		return 0;
	}
	return err_set(e, ERR_TROUBLE,
	               "'%s' is not one of tiny, small, large, 3b, 2b-4t, falcon3-1b, llama3-8b",
	               name);
}

static int one_of(enum dtype *out, const char *name, const enum dtype *may, size_t n, struct err *e)
{
	enum dtype t = dtype_find(name);

	for (size_t i = 0; i < n; i++)
		if (t == may[i]) {
			*out = t;
			return 0;
		}
	return err_set(e, ERR_TROUBLE, "type '%s' is not written here", name);
}

static int use_type(void *to, const char *name, struct err *e)
{
	static const enum dtype may[] = {DTYPE_I2_S,   DTYPE_TQ1_0,  DTYPE_TQ2_0,
	                                 DTYPE_F16,    DTYPE_BF16,   DTYPE_F32,
	                                 DTYPE_IQ1_BN, DTYPE_IQ2_BN, DTYPE_Q2_0};
	return one_of(to, name, may, sizeof may / sizeof *may, e);
}

static int use_table(void *to, const char *name, struct err *e)
{
	static const enum dtype may[] = {DTYPE_F16,  DTYPE_BF16, DTYPE_F32,  DTYPE_Q8_0,
	                                 DTYPE_Q6_K, DTYPE_Q4_0, DTYPE_Q4_K, DTYPE_Q5_K};
	return one_of(to, name, may, sizeof may / sizeof *may, e);
}

static int use_arch(void *to, const char *name, struct err *e)
{
	static const char *const known[] = {"bitnet", "bitnet-25", "bitnet-b1.58", "llama"};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (!strcmp(known[i], name)) {
			*(const char **)to = known[i];
			return 0;
		}
	return err_set(e, ERR_TROUBLE, "'%s' is not one of bitnet, bitnet-25, bitnet-b1.58, llama",
	               name);
}

static int complete(struct model *m, struct err *e)
{
	if (!m->head_dim)
		m->head_dim = m->embd / m->heads;
	if (m->vocab < 259)
		return err_set(e, ERR_TROUBLE, "--vocab: %lld, expected at least 259",
		               (long long)m->vocab);
	if (m->head_dim < 2)
		return err_set(e, ERR_TROUBLE, "--heads: %lld heads in %lld values",
		               (long long)m->heads, (long long)m->embd);
	return m->out ? 0 : err_set(e, ERR_TROUBLE, "-o FILE is needed (see --help)");
}

int main(int argc, char **argv)
{
	struct model m = {.seed = 1, .type = DTYPE_I2_S, .embd_type = DTYPE_F16, .eps = 1e-5};
	struct err e = {0};
	int first;

	use_preset(&m, "tiny", &e);
	m.preset = NULL;
	const struct opt options[] = {
	    {.kind = OPT_CALL,
	     .letter = 'p',
	     .name = "preset",
	     .to = &m,
	     .arg = "NAME",
	     .call = use_preset,
	     .help = "a shape to start from: tiny (the default), small, large, 3b, 2b-4t, "
	             "falcon3-1b, llama3-8b; options after it change it"},
	    {.kind = OPT_STRING,
	     .letter = 'o',
	     .name = "output",
	     .to = &m.out,
	     .arg = "FILE",
	     .help = "the file to write"},
	    {.kind = OPT_INT,
	     .name = "seed",
	     .to = &m.seed,
	     .arg = "N",
	     .help = "of all random numbers (1)"},
	    {.kind = OPT_CALL,
	     .name = "arch",
	     .to = &m.arch,
	     .arg = "NAME",
	     .call = use_arch,
	     .help = "bitnet, bitnet-25, bitnet-b1.58 or llama"},
	    {.kind = OPT_INT,
	     .name = "layers",
	     .to = &m.layers,
	     .arg = "N",
	     .help = "layers",
	     .min = 1,
	     .max = 1024},
	    {.kind = OPT_INT,
	     .name = "embd",
	     .to = &m.embd,
	     .arg = "N",
	     .help = "width",
	     .min = 2,
	     .max = 1 << 20},
	    {.kind = OPT_INT,
	     .name = "heads",
	     .to = &m.heads,
	     .arg = "N",
	     .help = "query heads",
	     .min = 1,
	     .max = 65536},
	    {.kind = OPT_INT,
	     .name = "kv-heads",
	     .to = &m.kv_heads,
	     .arg = "N",
	     .help = "key/value heads",
	     .min = 1,
	     .max = 65536},
	    {.kind = OPT_INT,
	     .name = "head-dim",
	     .to = &m.head_dim,
	     .arg = "N",
	     .help = "values per head (0: width / heads)",
	     .min = 0,
	     .max = 65536},
	    {.kind = OPT_INT,
	     .name = "ffn",
	     .to = &m.ffn,
	     .arg = "N",
	     .help = "feed-forward width",
	     .min = 1,
	     .max = 1 << 20},
	    {.kind = OPT_INT,
	     .name = "ctx",
	     .to = &m.ctx,
	     .arg = "N",
	     .help = "context_length",
	     .min = 1,
	     .max = 1 << 30},
	    {.kind = OPT_INT,
	     .name = "vocab",
	     .to = &m.vocab,
	     .arg = "N",
	     .help = "tokens: the 256 bytes, words, special ones",
	     .min = 259,
	     .max = 1 << 22},
	    {.kind = OPT_INT,
	     .name = "merges",
	     .to = &m.merges,
	     .arg = "N",
	     .help = "merges, at most as many as the words have splits",
	     .min = 0,
	     .max = 1 << 23},
	    {.kind = OPT_CALL,
	     .letter = 't',
	     .name = "type",
	     .to = &m.type,
	     .arg = "TYPE",
	     .call = use_type,
	     .help = "of the ternary matrices: i2_s (the default), tq1_0, tq2_0, q2_0, iq1_bn, "
	             "iq2_bn, f16, bf16, f32"},
	    {.kind = OPT_CALL,
	     .name = "embd-type",
	     .to = &m.embd_type,
	     .arg = "TYPE",
	     .call = use_table,
	     .help = "of the embedding table: f16 (the default), bf16, f32, q8_0, q6_k, q4_0, "
	             "q4_k, q5_k"},
	    {.kind = OPT_CALL,
	     .name = "output-type",
	     .to = &m.head_type,
	     .arg = "TYPE",
	     .call = use_table,
	     .help = "writes output.weight, in this type"},
	    {.kind = OPT_REAL,
	     .name = "rope-base",
	     .to = &m.rope_base,
	     .arg = "X",
	     .help = "rope.freq_base"},
	    {.kind = OPT_REAL,
	     .name = "eps",
	     .to = &m.eps,
	     .arg = "X",
	     .help = "of the norms (1e-5)"},
	    {.kind = OPT_STRING,
	     .name = "act",
	     .to = &m.act,
	     .arg = "NAME",
	     .help = "writes ARCH.hidden_activation"},
	    {.kind = OPT_FLAG,
	     .name = "scale-tensors",
	     .to = &m.scale_tensors,
	     .help = "scales in .scale tensors; the matrices hold 1"},
	    {.kind = OPT_FLAG,
	     .name = "header-only",
	     .to = &m.header_only,
	     .help = "stop in front of the tensor data"},
	    {.kind = OPT_END},
	};
	const struct opt_program program = {
	    "gen_model", "[--preset=NAME] [OPTION...] -o FILE",
	    "Writes a random ternary model; the same options and seed give the same bytes.",
	    "  gen_model --preset=2b-4t -o 2b.gguf\n", options};

	int run = opt_parse(&program, argc, argv, &first, &e);
	if (run == OPT_HELP)
		return opt_help(&program, stdout) ? ERR_TROUBLE : 0;
	if (run == OPT_VERSION)
		return opt_version(&program, stdout) ? ERR_TROUBLE : 0;
	if (run < 0 || complete(&m, &e) || write_model(&m, &e)) {
		fprintf(stderr, "gen_model: %s\n", e.text);
		return e.status;
	}
	return 0;
}
