#include "head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/screen.h"
#include "half.h"

int head_screens(enum dtype t)
{
	return t == DTYPE_F16 || t == DTYPE_BF16 || t == DTYPE_F32;
}

static size_t blocks_of(size_t rows)
{
	return (rows + HEAD_BLOCK - 1) / HEAD_BLOCK;
}

uint64_t head_bytes(size_t rows, size_t cols, size_t inputs)
{
	return arena_round(rows * screen_row_bytes(cols)) + 3 * arena_round(rows * sizeof(float)) +
	       arena_round(inputs * sizeof(struct head_input)) +
	       inputs * (2 * arena_round(blocks_of(rows) * sizeof(float)) +
	                 3 * arena_round(screen_padded(cols)));
}

void head_take(struct head *h, const struct kernel_mat *w, size_t inputs, struct arena *a)
{
	memset(h, 0, sizeof *h);
	h->w = w;
	h->padded = screen_padded(w->cols);
	h->row_bytes = screen_row_bytes(w->cols);
	h->blocks = blocks_of(w->rows);
	h->q = arena_take(a, w->rows * h->row_bytes);
	h->scale = arena_take(a, w->rows * sizeof *h->scale);
	h->lost = arena_take(a, w->rows * sizeof *h->lost);
	h->norm = arena_take(a, w->rows * sizeof *h->norm);
	h->in = arena_take(a, inputs * sizeof *h->in);
	for (size_t i = 0; h->in && i < inputs; i++) {
		struct head_input *in = &h->in[i];

		in->low = arena_take(a, h->blocks * sizeof *in->low);
		in->high = arena_take(a, h->blocks * sizeof *in->high);
		in->h = arena_take(a, h->padded);
		in->l = arena_take(a, h->padded);
		in->excess = arena_take(a, h->padded);
		if (!in->excess)
			h->in = NULL;
	}
	if (!h->in)
		h->q = NULL;
}

/* What float32 rounding may have taken from a norm. */
#define NORM_UP 1.00001f

void head_fill(struct head *h, const struct kernels *k, size_t row0, size_t row1, void *scratch)
{
	float factor = fabsf(h->w->scale);

	for (size_t r = row0; r < row1; r++) {
		k->dequantize[h->w->type](scratch, h->w->data + r * h->w->row_bytes, h->w->cols);
		k->screen_row(scratch, h->w->cols, h->q + r * h->row_bytes, &h->scale[r],
		              &h->lost[r], &h->norm[r]);
		h->scale[r] *= h->w->scale;
		/* w - s q was rounded three times per value, by at most 2^-24 of the value, or to
		 * the least number that there is */
		h->lost[r] = (h->lost[r] + h->norm[r] * 0x1p-22f + 1e-40f) * factor * NORM_UP;
		h->norm[r] *= factor * NORM_UP;
	}
}

/* Values of t x lie within this, so that 256 h + l fits h into a byte. */
#define X_MAX 32000.0

void head_begin(struct head *h, size_t input, const float *x)
{
	struct head_input *in = &h->in[input];
	double max = 0, all = 0, lost = 0;

	for (size_t i = 0; i < h->w->cols; i++)
		max = fmax(max, fabs((double)x[i]));
	double t = max > 0 ? X_MAX / max : 1;
	memset(in->excess, 0, h->padded);
	for (size_t i = 0; i < h->w->cols; i++) {
		long n = lrint((double)x[i] * t);
		long high = (n + 128) >> 8; /* leaves -128..127 */
		double d = (double)x[i] - (double)n / t;

		in->h[i] = (int8_t)high;
		in->l[i] = (int8_t)(n - 256 * high);
		in->excess[i / 4] += (int32_t)(32 * n);
		all += (double)x[i] * (double)x[i];
		lost += d * d;
	}
	in->f = x;
	in->scale = 1 / t;
	in->norm = sqrt(all) * (1 + 1e-9);
	in->lost = sqrt(lost) * (1 + 1e-9);
}

/* Lower and upper bound of the logit of row r, of which dot is the screen's. */
static void bounds(const struct head *h, const struct head_input *in, size_t r, float dot,
                   float *low, float *high)
{
	double rounding = (5 * (double)h->padded / 64 + 32) * 0x1p-24;
	double value = (double)h->scale[r] * in->scale * (double)dot;
	double lost = (double)h->lost[r], norm = (double)h->norm[r];
	double off =
	    lost * in->norm + (norm + lost) * (in->lost + rounding * (in->norm + in->lost));

	off = off * (1 + 1e-5) + fabs(value) * 1e-6;
	*low = (float)(value - off);
	*high = (float)(value + off);
}

void head_bound(struct head *h, const struct kernels *k, size_t input, size_t block, float *logits)
{
	struct head_input *in = &h->in[input];
	const struct kernel_screened x = {in->h, in->l, in->excess};
	size_t first = block * HEAD_BLOCK, n = h->w->rows - first;
	float dots[HEAD_BLOCK], low = -INFINITY, high = -INFINITY;

	n = n < HEAD_BLOCK ? n : HEAD_BLOCK;
	k->screen_dots(h->q + first * h->row_bytes, n, h->w->cols, &x, dots);
	for (size_t i = 0; i < n; i++) {
		float l, u;

		bounds(h, in, first + i, dots[i], &l, &u);
		low = l > low ? l : low;
		/* what is not a number must be computed */
		u = u == u ? u : INFINITY;
		high = u > high ? u : high;
		logits[first + i] = u;
	}
	in->low[block] = low;
	in->high[block] = high;
}

/* Float32 as numbers of the same order. */
static uint32_t ordered(float f)
{
	uint32_t bits = half_f32_bits(f);

	return bits & 1u << 31 ? ~bits : bits | 1u << 31;
}

/* The want-th greatest of n numbers, by halving the range in which it can lie. */
static float nth_greatest(const float *v, size_t n, size_t want)
{
	uint32_t at = 0;

	for (int bit = 31; bit >= 0; bit--) {
		uint32_t half = at | 1u << bit;
		size_t above = 0;

		for (size_t i = 0; i < n; i++)
			above += ordered(v[i]) >= half;
		if (above >= want)
			at = half;
	}
	return half_bits_f32(at & 1u << 31 ? at & ~(1u << 31) : ~at);
}

static float greatest(const float *v, size_t n)
{
	float most = v[0];

	for (size_t i = 1; i < n; i++)
		most = v[i] > most ? v[i] : most;
	return most;
}

/* What at least want rows reach. */
static float limit_of(const struct head *h, const struct head_input *in, size_t want)
{
	return want > 1 ? nth_greatest(in->low, h->blocks, want) : greatest(in->low, h->blocks);
}

static void compute(struct head *h, const struct kernels *k, const struct head_input *in, size_t r,
                    float *logits, void *scratch)
{
	struct kernel_input x = {.n = 1, .k = h->w->cols, .f = in->f, .stride = h->padded};

	k->mul[h->w->type](h->w, &x, r, r + 1, logits, h->w->rows, scratch);
	__atomic_fetch_add(&h->exact, 1, __ATOMIC_RELAXED);
}

/* Computes the row of a block that promises most: its logit bounds itself from both sides. */
static void sharpen(struct head *h, const struct kernels *k, struct head_input *in, size_t block,
                    float *logits, void *scratch)
{
	size_t first = block * HEAD_BLOCK, end = first + HEAD_BLOCK, best = first;

	end = end < h->w->rows ? end : h->w->rows;
	for (size_t r = first; r < end; r++)
		best = logits[r] > logits[best] ? r : best;
	compute(h, k, in, best, logits, scratch);
	in->low[block] = logits[best] > in->low[block] ? logits[best] : in->low[block];
}

void head_limit(struct head *h, const struct kernels *k, size_t input, size_t want, float *logits,
                void *scratch)
{
	struct head_input *in = &h->in[input];
	float limit = limit_of(h, in, want);
	size_t left = want;

	/* A bound of 6 bits is wide: with the best rows themselves far fewer others can win. */
	for (size_t b = 0; b < h->blocks && left; b++)
		if (in->low[b] >= limit) {
			sharpen(h, k, in, b, logits, scratch);
			left--;
		}
	in->limit = limit_of(h, in, want);
}

void head_settle(struct head *h, const struct kernels *k, size_t input, size_t block, float *logits,
                 void *scratch)
{
	const struct head_input *in = &h->in[input];
	size_t first = block * HEAD_BLOCK, end = first + HEAD_BLOCK;

	end = end < h->w->rows ? end : h->w->rows;
	for (size_t r = first; r < end; r++) {
		if (in->high[block] < in->limit || logits[r] < in->limit) {
			logits[r] = -INFINITY;
			continue;
		}
		compute(h, k, in, r, logits, scratch);
	}
}
