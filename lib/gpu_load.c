/*
 * From the model's weights to the device: packed by all threads into one half of the staging memory
 * while the other half is on its way.
 */
#include "gpu_private.h"

#include <math.h>
#include <string.h>

#define HALF (PLAN_DEVICE_LOAD / 2)

struct upload {
	struct gpu *g;
	int half;    /* the next one */
	int used[2]; /* a copy from it was started */
};

/* The next half, when what was copied from it before has arrived. */
static uint8_t *next_half(struct upload *u, struct err *e)
{
	int h = u->half;

	u->half = !h;
	if (u->used[h] && CUDA_CALL(e, EventSynchronize, u->g->event[h]))
		return NULL;
	u->used[h] = 1;
	return u->g->staging + (size_t)h * HALF;
}

static int copy(struct upload *u, cuda_address to, const void *from, size_t bytes, struct err *e)
{
	return bytes ? CUDA_CALL(e, MemcpyHtoDAsync, to, from, bytes, u->g->stream) : 0;
}

/* The half that was handed out last is full. */
static int half_done(struct upload *u, struct err *e)
{
	return CUDA_CALL(e, EventRecord, u->g->event[!u->half], u->g->stream);
}

static int put(struct upload *u, cuda_address to, const void *from, size_t bytes, struct err *e)
{
	for (size_t at = 0; at < bytes; at += HALF) {
		size_t n = bytes - at < HALF ? bytes - at : HALF;
		uint8_t *half = next_half(u, e);

		if (!half)
			return -1;
		memcpy(half, (const uint8_t *)from + at, n);
		if (copy(u, to + at, half, n, e) || half_done(u, e))
			return -1;
	}
	return 0;
}

/* ---- packed matrices ---- */

struct bands {
	const struct cuda_packing *p;
	const uint8_t *data;
	size_t first, count;
	uint8_t *codes;
	float *d;
	uint16_t *block_d;
	int mixed;
};

static void pack_bands(void *arg, int i, int count)
{
	struct bands *b = arg;
	size_t from, to;
	int mixed = 0;

	threads_split(b->count, 1, i, count, &from, &to);
	for (size_t k = from; k < to; k++)
		mixed |= cuda_pack(b->p, b->first + k, b->data, b->codes + k * b->p->band_bytes,
		                   b->p->row_d ? b->d + k * 16 : NULL,
		                   b->p->block_d ? b->block_d + k * 16 * b->p->d_blocks : NULL);
	if (mixed)
		__atomic_store_n(&b->mixed, 1, __ATOMIC_RELAXED);
}

static int put_bands(struct upload *u, struct gpu_matrix *m, struct bands *b, struct err *e)
{
	const struct cuda_packing *p = b->p;
	size_t blocks = 16 * p->d_blocks * sizeof(uint16_t), codes = b->count * p->band_bytes;
	uint8_t *half = next_half(u, e);

	if (!half)
		return -1;
	b->codes = half;
	b->block_d = (uint16_t *)(void *)(half + codes);
	b->d = (float *)(void *)(half + codes + b->count * blocks);
	threads_run(u->g->parts.pool, pack_bands, b);
	if (copy(u, m->data + b->first * p->band_bytes, half, codes, e))
		return -1;
	if (p->row_d && copy(u, m->data + p->row_d + b->first * 16 * sizeof(float), b->d,
	                     b->count * 16 * sizeof(float), e))
		return -1;
	if (p->block_d &&
	    copy(u, m->data + p->block_d + b->first * blocks, b->block_d, b->count * blocks, e))
		return -1;
	return half_done(u, e);
}

static int put_packed(struct upload *u, struct gpu_matrix *m, const uint8_t *data, struct err *e)
{
	const struct cuda_packing *p = &m->packing;
	size_t each = p->band_bytes + 16 * (sizeof(float) + p->d_blocks * sizeof(uint16_t));
	size_t most = HALF / each;
	struct bands b = {.p = p, .data = data};

	if (!most)
		return err_unsupported(e, "tensor %.*s: %u columns are too many for a device",
		                       (int)m->t->name.n, m->t->name.p, m->cols);
	for (; b.first < p->bands; b.first += b.count) {
		b.count = p->bands - b.first < most ? p->bands - b.first : most;
		if (put_bands(u, m, &b, e))
			return -1;
	}
	m->mixed = b.mixed;
	return 0;
}

/* ---- tensors ---- */

static int put_matrix(struct upload *u, struct gpu_matrix *m, const struct weight *w, int packed,
                      struct err *e)
{
	const struct kernel_mat *mat = &w->mat;
	uint64_t bytes = plan_device_matrix(&m->packing, w->t, packed);

	m->t = w->t;
	m->type = mat->type;
	m->rows = (uint32_t)mat->rows;
	m->cols = (uint32_t)w->t->cols;
	m->row_bytes = mat->row_bytes;
	m->scale = mat->scale;
	m->data = gpu_carve(u->g, PLAN_WEIGHTS_MAPPED, bytes);
	if (!m->data)
		return err_set(e, ERR_TROUBLE, "tensor %.*s: the plan has no place for it",
		               (int)w->t->name.n, w->t->name.p);
	if (!m->packing.bytes)
		return put(u, m->data, mat->data, mat->rows * mat->row_bytes, e);
	cuda_packing(&m->packing, m->type, 32, m->rows, m->cols, mat->row_bytes);
	return put_packed(u, m, mat->data, e);
}

static int put_vector(struct upload *u, cuda_address *to, const struct weight *w, struct err *e)
{
	size_t bytes;

	*to = 0;
	if (!w->t)
		return 0;
	bytes = w->t->cols * sizeof(float);
	*to = gpu_carve(u->g, PLAN_WEIGHTS_MAPPED, plan_device_round(bytes));
	if (!*to)
		return err_set(e, ERR_TROUBLE, "tensor %.*s: the plan has no place for it",
		               (int)w->t->name.n, w->t->name.p);
	return put(u, *to, w->v, bytes, e);
}

static int put_layer(struct upload *u, struct gpu_layer *to, const struct weights_layer *l,
                     struct err *e)
{
	return put_matrix(u, &to->q, &l->q, 1, e) || put_matrix(u, &to->k, &l->k, 1, e) ||
	               put_matrix(u, &to->v, &l->v, 1, e) || put_matrix(u, &to->o, &l->o, 1, e) ||
	               put_matrix(u, &to->gate, &l->gate, 1, e) ||
	               put_matrix(u, &to->up, &l->up, 1, e) ||
	               put_matrix(u, &to->down, &l->down, 1, e) ||
	               put_vector(u, &to->attn_norm, &l->attn_norm, e) ||
	               put_vector(u, &to->attn_sub_norm, &l->attn_sub_norm, e) ||
	               put_vector(u, &to->ffn_norm, &l->ffn_norm, e) ||
	               put_vector(u, &to->ffn_sub_norm, &l->ffn_sub_norm, e)
	           ? -1
	           : 0;
}

/* Frequencies of the pairs, as lib/forward.c computes them, and their divisors. */
static int put_angles(struct upload *u, struct err *e)
{
	struct gpu *g = u->g;
	const struct arch *a = g->parts.arch;
	size_t half = a->n_rot / 2;
	double *freq = (double *)(void *)next_half(u, e);

	if (!freq)
		return -1;
	for (size_t j = 0; j < half; j++)
		freq[j] = pow(a->rope_base, -2.0 * (double)j / a->n_rot);
	if (copy(u, g->b.freq, freq, half * sizeof *freq, e) || half_done(u, e))
		return -1;
	const float *divisor = g->parts.w->rope_freqs.v;
	return divisor ? put(u, g->b.divisor, divisor, half * sizeof *divisor, e) : 0;
}

static int put_ends(struct upload *u, struct err *e)
{
	struct gpu *g = u->g;
	const struct weights *w = g->parts.w;

	if (put_matrix(u, &g->output, &w->output, 1, e))
		return -1;
	g->embd = g->output;
	if ((w->embd.t != w->output.t || g->output.packing.bytes) &&
	    put_matrix(u, &g->embd, &w->embd, 0, e))
		return -1;
	return put_vector(u, &g->output_norm, &w->output_norm, e) || put_angles(u, e) ? -1 : 0;
}

int gpu_load(struct gpu *g, struct err *e)
{
	const struct weights *w = g->parts.w;
	struct upload u = {.g = g};

	for (uint32_t i = g->first; i < w->n_layer; i++)
		if (put_layer(&u, &g->layer[i - g->first], &w->layer[i], e))
			return -1;
	if (g->head && put_ends(&u, e))
		return -1;
	if (g->screen && gpu_fill_screen(g, e))
		return -1;
	return CUDA_CALL(e, StreamSynchronize, g->stream);
}
