#include "bench_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gguf_write.h"
#include "io.h"
#include "mem.h"

#define ARCH  "bitnet-b1.58"
#define CTX   65536
#define CHUNK (1 << 20) /* bytes that are written at a time */

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
	return failed || add(w, -1, "output_norm", DTYPE_F32, 1, s->embd, e) ||
	               gguf_write_layout(w, 0, e)
	           ? -1
	           : 0;
}

static int put(void *arg, const void *p, size_t n, struct err *e)
{
	return io_write(*(int *)arg, p, n, e);
}

/* Random words of a chunk (a whole number of blocks), with the scales put in. */
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
static int write_tensor(int fd, const struct gguf_write_tensor *t, uint8_t *chunk, uint64_t *seed,
                        struct err *e)
{
	const struct filling *f = filling_of(t->type);
	float one = t->n_dims == 1 ? 1.0f : 1.0f / 64;
	uint8_t tail[32] = {0};
	uint64_t left = t->bytes - (t->type == DTYPE_I2_S ? sizeof tail : 0);
	size_t block = dtype_get(t->type)->block_bytes * 64, step = CHUNK / block * block;

	memcpy(tail, &one, sizeof one);
	for (size_t n; left; left -= n) {
		n = left < step ? left : step;
		fill(f, chunk, n, seed);
		for (size_t i = 0; t->n_dims == 1 && i < n; i += sizeof one)
			memcpy(chunk + i, &one, sizeof one);
		if (io_write(fd, chunk, n, e))
			return -1;
	}
	return t->type == DTYPE_I2_S ? io_write(fd, tail, sizeof tail, e) : 0;
}

static int write_all(int fd, const struct gguf_write *w, struct err *e)
{
	static const uint8_t zeros[4096];
	uint64_t seed = 88172645463325252u;
	uint8_t *chunk = mem_alloc(MEM_IO, CHUNK, e);
	int failed = !chunk || gguf_write_header(w, 0, put, &fd, e);

	for (uint64_t i = 0; !failed && i < w->n_tensors; i++)
		failed = write_tensor(fd, &w->tensors[i], chunk, &seed, e) ||
		         io_write(fd, zeros, gguf_write_padding(w, i), e);
	mem_free(chunk);
	return failed ? -1 : 0;
}

int bench_model_make(const struct bench_shape *s, int *fd, char path[64], struct err *e)
{
	struct gguf_write w = {0};

	if (!filling_of(s->type) || !filling_of(s->head))
		return err_set(e, ERR_TROUBLE, "random weights of type %s are not made",
		               dtype_get(filling_of(s->type) ? s->head : s->type)->name);
	*fd = memfd_create("bitnet-bench", MFD_CLOEXEC);
	if (*fd < 0)
		return err_sys(e, "memory for the model");
	snprintf(path, 64, "/proc/self/fd/%d", *fd);
	int failed = describe(&w, s, e) || write_all(*fd, &w, e);
	gguf_write_free(&w);
	if (failed) {
		close(*fd);
		*fd = -1;
		return -1;
	}
	return 0;
}
