#include "bench_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "gguf_write.h"

#define ARCH     "bitnet-b1.58"
#define CTX      65536
#define I2S_TAIL 32 /* bytes behind the codes, the scale first */

static const struct {
	const char *name;
	struct bench_shape shape;
} shapes[] = {
    {"tiny", {.embd = 256, .layers = 4, .ffn = 768, .heads = 4, .kv_heads = 2, .vocab = 512}},
    {"large",
     {.embd = 1536, .layers = 24, .ffn = 4096, .heads = 16, .kv_heads = 16, .vocab = 32002}},
    {"2b-4t",
     {.embd = 2560, .layers = 30, .ffn = 6912, .heads = 20, .kv_heads = 5, .vocab = 128256}},
    {"3b", {.embd = 3200, .layers = 26, .ffn = 8704, .heads = 25, .kv_heads = 25, .vocab = 32002}},
};

int bench_shape_parse(struct bench_shape *s, const char *text, struct err *e)
{
	enum dtype type = s->type, head = s->head;
	char end;
	int n;

	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		if (!strcmp(text, shapes[i].name)) {
			*s = shapes[i].shape;
			s->type = type;
			s->head = head;
			return 0;
		}
	n = sscanf(text, "%u,%u,%u,%u,%u,%u%c", &s->embd, &s->layers, &s->ffn, &s->heads,
	           &s->kv_heads, &s->vocab, &end);
	if (n != 6 || !s->embd || !s->layers || !s->ffn || !s->heads || !s->kv_heads || !s->vocab ||
	    s->embd % s->heads || s->heads % s->kv_heads)
		return err_set(e, ERR_TROUBLE,
		               "'%s' is not a shape (width,layers,ffn,heads,kv-heads,vocabulary)",
		               text);
	return 0;
}

/* Bytes of a type that any value of may stand in a block, but for the binary16 at f16_at. */
static const struct filling {
	enum dtype type;
	int f16_at;    /* -1: none */
	uint16_t d;    /* what stands there */
	uint64_t keep; /* these bits of random words are kept */
	uint64_t set;  /* these are set */
} fillings[] = {
    /* codes 0 and 2 (I2_S and TQ2_0: -1 and 1) */
    {DTYPE_I2_S, -1, 0, 0xaaaaaaaaaaaaaaaa, 0},
    {DTYPE_TQ2_0, 64, 0x2400, 0xaaaaaaaaaaaaaaaa, 0},
    {DTYPE_TQ1_0, 52, 0x2400, ~0ull, 0},
    /* plus and minus 1/32 to 1/16 */
    {DTYPE_F16, -1, 0, 0x83ff83ff83ff83ff, 0x2800280028002800},
    {DTYPE_BF16, -1, 0, 0x807f807f807f807f, 0x3d003d003d003d00},
    {DTYPE_F32, -1, 0, 0x807fffff807fffff, 0x3d0000003d000000},
    {DTYPE_Q8_0, 0, 0x0c00, ~0ull, 0},
    {DTYPE_Q4_0, 0, 0x1c00, ~0ull, 0},
    {DTYPE_Q6_K, 208, 0x0400, ~0ull, 0},
};

static const struct filling *filling_of(enum dtype t)
{
	for (size_t i = 0; i < sizeof fillings / sizeof *fillings; i++)
		if (fillings[i].type == t)
			return &fillings[i];
	return NULL;
}

static int add(struct gguf_write *w, int layer, const char *name, enum dtype t, uint64_t rows,
               uint64_t cols, struct err *e)
{
	uint64_t ne[2] = {cols, rows};
	char full[64];

	if (layer < 0)
		snprintf(full, sizeof full, "%s.weight", name);
	else
		snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
	return gguf_write_tensor(w, full, rows == 1 ? 1 : 2, ne, t, e);
}

static int add_layer(struct gguf_write *w, const struct bench_shape *s, int i, struct err *e)
{
	uint64_t kv = (uint64_t)s->embd / s->heads * s->kv_heads;

	return add(w, i, "attn_norm", DTYPE_F32, 1, s->embd, e) ||
	       add(w, i, "attn_q", s->type, s->embd, s->embd, e) ||
	       add(w, i, "attn_k", s->type, kv, s->embd, e) ||
	       add(w, i, "attn_v", s->type, kv, s->embd, e) ||
	       add(w, i, "attn_sub_norm", DTYPE_F32, 1, s->embd, e) ||
	       add(w, i, "attn_output", s->type, s->embd, s->embd, e) ||
	       add(w, i, "ffn_norm", DTYPE_F32, 1, s->embd, e) ||
	       add(w, i, "ffn_gate", s->type, s->ffn, s->embd, e) ||
	       add(w, i, "ffn_up", s->type, s->ffn, s->embd, e) ||
	       add(w, i, "ffn_sub_norm", DTYPE_F32, 1, s->ffn, e) ||
	       add(w, i, "ffn_down", s->type, s->embd, s->ffn, e);
}

static int describe(struct gguf_write *w, const struct bench_shape *s, struct err *e)
{
	int failed = gguf_write_str(w, "general.architecture", ARCH, strlen(ARCH), e) ||
	             gguf_write_u32(w, ARCH ".context_length", CTX, e) ||
	             gguf_write_u32(w, ARCH ".embedding_length", s->embd, e) ||
	             gguf_write_u32(w, ARCH ".block_count", s->layers, e) ||
	             gguf_write_u32(w, ARCH ".feed_forward_length", s->ffn, e) ||
	             gguf_write_u32(w, ARCH ".attention.head_count", s->heads, e) ||
	             gguf_write_u32(w, ARCH ".attention.head_count_kv", s->kv_heads, e) ||
	             gguf_write_f32(w, ARCH ".attention.layer_norm_rms_epsilon", 1e-5f, e) ||
	             gguf_write_f32(w, ARCH ".rope.freq_base", 500000, e) ||
	             gguf_write_u32(w, "general.file_type", 40, e) ||
	             add(w, -1, "token_embd", s->head, s->vocab, s->embd, e);

	for (uint32_t i = 0; !failed && i < s->layers; i++)
		failed = add_layer(w, s, (int)i, e);
	return failed || add(w, -1, "output_norm", DTYPE_F32, 1, s->embd, e) ? -1 : 0;
}

/* Random words (a whole number of blocks), with the scales put in. */
static void fill(const struct filling *f, uint8_t *p, size_t n, uint64_t *seed)
{
	const struct dtype_info *t = dtype_get(f->type);

	for (size_t i = 0; i + 8 <= n; i += 8) {
		*seed ^= *seed << 13;
		*seed ^= *seed >> 7;
		*seed ^= *seed << 17;
		uint64_t v = (*seed & f->keep) | f->set;
		memcpy(p + i, &v, 8);
	}
	for (size_t i = 0; f->f16_at >= 0 && i < n; i += t->block_bytes)
		memcpy(p + i + f->f16_at, &f->d, 2);
}

/* Norms are ones; I2_S ends with its scale. */
static void fill_tensor(uint8_t *p, const struct gguf_write_tensor *t, uint64_t *seed)
{
	float one = t->n_dims == 1 ? 1.0f : 1.0f / 64;
	uint64_t tail = t->type == DTYPE_I2_S ? I2S_TAIL : 0, n = t->bytes - tail;

	if (t->n_dims == 1 && t->type == DTYPE_F32)
		for (uint64_t i = 0; i < n; i += sizeof one)
			memcpy(p + i, &one, sizeof one);
	else
		fill(filling_of(t->type), p, n, seed);
	if (tail)
		memcpy(p + n, &one, sizeof one);
}

static int put(void *arg, const void *p, size_t n, struct err *e)
{
	uint8_t **at = arg;

	(void)e;
	memcpy(*at, p, n);
	*at += n;
	return 0;
}

/* In pages of 2 MiB where the system gives them, like the memory whose read rate is the ceiling. */
static int take(struct bench_model *m, uint64_t bytes, struct err *e)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return err_sys(e, "%llu bytes for the model", (unsigned long long)bytes);
	madvise(p, bytes, MADV_HUGEPAGE);
	m->memory = p;
	m->bytes = bytes;
	return 0;
}

static int check_types(const struct gguf_write *w, struct err *e)
{
	for (uint64_t i = 0; i < w->n_tensors; i++)
		if (!filling_of(w->tensors[i].type))
			return err_set(e, ERR_TROUBLE, "random weights of type %s are not made",
			               dtype_get(w->tensors[i].type)->name);
	return 0;
}

/* The file that w describes, its layout known, with random weights. */
static int build(struct bench_model *m, const struct gguf_write *w, struct err *e)
{
	uint64_t seed = 88172645463325252u;
	uint8_t *at;

	if (check_types(w, e) || take(m, w->parts[0].size, e))
		return -1;
	at = m->memory;
	if (gguf_write_header(w, 0, put, &at, e))
		return -1;
	for (uint64_t i = 0; i < w->n_tensors; i++)
		fill_tensor(m->memory + w->tensors[i].offset, &w->tensors[i], &seed);
	return gguf_parse(&m->gguf, m->memory, m->bytes, 0, e);
}

static int finish(struct bench_model *m, struct gguf_write *w, int failed, struct err *e)
{
	failed = failed || gguf_write_layout(w, 0, e) || build(m, w, e);
	gguf_write_free(w);
	if (failed)
		bench_model_close(m);
	return failed ? -1 : 0;
}

int bench_model_make(struct bench_model *m, const struct bench_shape *s, struct err *e)
{
	struct gguf_write w = {0};

	memset(m, 0, sizeof *m);
	return finish(m, &w, describe(&w, s, e), e);
}

/* What the header of g says, but for how its file was split. */
static int copy_header(struct gguf_write *w, const struct gguf *g, struct err *e)
{
	if (gguf_write_metadata(w, g, e))
		return -1;
	for (uint64_t i = 0; i < g->n_tensors; i++) {
		const struct gguf_tensor *t = &g->tensors[i];
		char name[64];

		snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
		if (gguf_write_tensor(w, name, t->n_dims, t->ne, t->type, e))
			return -1;
	}
	return 0;
}

int bench_model_fill(struct bench_model *m, const struct gguf *described, struct err *e)
{
	struct gguf_write w = {0};

	memset(m, 0, sizeof *m);
	return finish(m, &w, copy_header(&w, described, e), e);
}

void bench_model_close(struct bench_model *m)
{
	gguf_close(&m->gguf);
	if (m->memory)
		munmap(m->memory, m->bytes);
	memset(m, 0, sizeof *m);
}
