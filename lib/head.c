#include "head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/screen.h"
#include "half.h"

_Static_assert(HEAD_STEP == SCREEN_ROWS && HEAD_BLOCK % HEAD_STEP == 0, "strips of the screen");

int head_screens(enum dtype t)
{
	return t == DTYPE_F16 || t == DTYPE_BF16 || t == DTYPE_F32;
}

static size_t blocks_of(size_t rows)
{
	return (rows + HEAD_BLOCK - 1) / HEAD_BLOCK;
}

static size_t strips_of(size_t rows)
{
	return (rows + SCREEN_ROWS - 1) / SCREEN_ROWS;
}

uint64_t head_bytes(size_t rows, size_t cols, size_t inputs)
{
	return arena_round(strips_of(rows) * screen_strip_bytes(cols)) +
	       arena_round(rows * screen_last_bytes(cols)) + 4 * arena_round(rows * sizeof(float)) +
	       arena_round(inputs * sizeof(struct head_input)) +
	       inputs * (arena_round(blocks_of(rows) * sizeof(float)) +
	                 2 * arena_round(screen_padded(cols)) +
	                 arena_round(screen_blocks(cols) * sizeof(int32_t)));
}

uint64_t head_reads(size_t rows, size_t cols)
{
	/* strips; scale, norm and what the upper bits lost */
	return strips_of(rows) * screen_strip_bytes(cols) + 3 * rows * sizeof(float);
}

void head_take(struct head *h, const struct kernel_mat *w, size_t inputs, struct arena *a)
{
	memset(h, 0, sizeof *h);
	h->w = w;
	h->padded = screen_padded(w->cols);
	h->strip = screen_strip_bytes(w->cols);
	h->blocks = blocks_of(w->rows);
	h->q = arena_take(a, strips_of(w->rows) * h->strip);
	h->last = arena_take(a, w->rows * screen_last_bytes(w->cols));
	h->scale = arena_take(a, w->rows * sizeof *h->scale);
	h->rough = arena_take(a, w->rows * sizeof *h->rough);
	h->lost = arena_take(a, w->rows * sizeof *h->lost);
	h->norm = arena_take(a, w->rows * sizeof *h->norm);
	h->in = arena_take(a, inputs * sizeof *h->in);
	for (size_t i = 0; h->in && i < inputs; i++) {
		struct head_input *in = &h->in[i];

		in->low = arena_take(a, h->blocks * sizeof *in->low);
		in->h = arena_take(a, h->padded);
		in->l = arena_take(a, h->padded);
		in->sum = arena_take(a, screen_blocks(w->cols) * sizeof *in->sum);
		if (!in->sum)
			h->in = NULL;
	}
	if (!h->in)
		h->q = NULL;
}

/* What float32 rounding may have taken from a norm. */
#define NORM_UP 1.00001f

void head_fill(struct head *h, const struct kernels *k, size_t row0, size_t row1, void *scratch)
{
	size_t cols = h->w->cols, blocks = screen_blocks(cols);
	uint8_t *codes = scratch, *factors = codes + SCREEN_ROWS * h->padded;
	float *w = (float *)(void *)(codes + SCREEN_ROWS * (h->padded + (blocks + 63) / 64 * 64));
	float factor = fabsf(h->w->scale), lost[2];

	for (size_t r = row0; r < row1; r++) {
		size_t i = r % SCREEN_ROWS;

		if (i == 0) { /* rows that are not there are zeros */
			memset(codes, 32, SCREEN_ROWS * h->padded);
			memset(factors, 0, SCREEN_ROWS * blocks);
		}
		k->dequantize[h->w->type](w, h->w->data + r * h->w->row_bytes, cols);
		k->screen_row(w, cols, codes + i * h->padded, factors + i * blocks, &h->scale[r],
		              lost, &h->norm[r]);
		screen_pack_last(h->last + r * screen_last_bytes(cols), codes + i * h->padded,
		                 factors + i * blocks, cols);
		h->scale[r] *= h->w->scale;
		/* w - s q was rounded three times per value, by at most 2^-24 of the value, or to
		 * the least number that there is */
		h->lost[r] = (lost[0] + h->norm[r] * 0x1p-22f + 1e-40f) * factor * NORM_UP;
		h->rough[r] = (lost[1] + h->norm[r] * 0x1p-22f + 1e-40f) * factor * NORM_UP;
		h->norm[r] *= factor * NORM_UP;
		if (i + 1 == SCREEN_ROWS || r + 1 == row1)
			screen_pack_strip(h->q + r / SCREEN_ROWS * h->strip, codes, factors, cols);
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
	memset(in->sum, 0, screen_blocks(h->w->cols) * sizeof *in->sum);
	for (size_t i = 0; i < h->w->cols; i++) {
		long n = lrint((double)x[i] * t);
		long high = (n + 128) >> 8; /* leaves -128..127 */
		double d = (double)x[i] - (double)n / t;

		in->h[i] = (int8_t)high;
		in->l[i] = (int8_t)(n - 256 * high);
		in->sum[i / SCREEN_BLOCK] += (int32_t)n;
		all += (double)x[i] * (double)x[i];
		lost += d * d;
	}
	in->f = x;
	in->scale = 1 / t;
	in->norm = sqrt(all) * (1 + 1e-9);
	in->lost = sqrt(lost) * (1 + 1e-9);
}

/* How far the logit of a row may be from value: the screen, which lost so much of the row, gives
 * that.  weight is at least the norm of what was multiplied, all that was added up. */
static double off(const struct head *h, const struct head_input *in, double value, double lost,
                  double weight)
{
	double rounding = (5 * (double)h->padded / 64 + 32) * 0x1p-24;
	double most = lost * in->norm + weight * (in->lost + rounding * (in->norm + in->lost));

	return most * (1 + 1e-5) + fabs(value) * 1e-6;
}

/* The same by the upper bits. */
static double rough_off(const struct head *h, const struct head_input *in, size_t r, double value)
{
	double lost = (double)h->rough[r];

	return off(h, in, value, lost, (double)h->norm[r] + lost);
}

static double unit_of(const struct head *h, const struct head_input *in, size_t r)
{
	return 0.5 * (double)h->scale[r] * in->scale;
}

static struct kernel_screened numbers(const struct head_input *in)
{
	return (struct kernel_screened){in->h, in->l, in->sum};
}

/* The upper bound by all bits, of a row whose bound by the upper ones is rough.  That was rounded
 * to float32: by less than what its own slack for roundings leaves, so it gives the value back. */
static float fine_bound(const struct head *h, const struct kernels *k, const struct head_input *in,
                        size_t r, float rough)
{
	const struct kernel_screened x = numbers(in);
	size_t cols = h->w->cols;
	double more = (double)k->screen_last(h->last + r * screen_last_bytes(cols), cols, &x);
	double lost = (double)h->lost[r], most = rough_off(h, in, r, (double)rough);
	double value = (double)rough - most + unit_of(h, in, r) * more;

	/* multiplied was what the upper bits keep, and what the last ones change */
	most = off(h, in, value, lost, (double)h->norm[r] + 2 * (double)h->rough[r] + lost) +
	       (fabs((double)rough) + most) * 1e-5;
	return (float)(value + most);
}

static size_t rows_of(const struct head *h, size_t block)
{
	size_t left = h->w->rows - block * HEAD_BLOCK;

	return left < HEAD_BLOCK ? left : HEAD_BLOCK;
}

void head_bound(struct head *h, const struct kernels *k, size_t input, size_t block, float *logits)
{
	struct head_input *in = &h->in[input];
	const struct kernel_screened x = numbers(in);
	size_t first = block * HEAD_BLOCK, n = rows_of(h, block);
	float dots[HEAD_BLOCK], low = -INFINITY;

	k->screen_dots(h->q + first / SCREEN_ROWS * h->strip, strips_of(n), h->w->cols, &x, dots);
	for (size_t i = 0; i < n; i++) {
		double value = unit_of(h, in, first + i) * (double)dots[i];
		double most = rough_off(h, in, first + i, value);
		float l = (float)(value - most), u = (float)(value + most);

		low = l > low ? l : low;
		/* what is not a number must be computed */
		logits[first + i] = u == u ? u : INFINITY;
	}
	in->low[block] = low;
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
	size_t first = block * HEAD_BLOCK, best = first;

	for (size_t r = first; r < first + rows_of(h, block); r++)
		best = logits[r] > logits[best] ? r : best;
	float bound = logits[best];
	compute(h, k, in, best, logits, scratch);
	in->low[block] = logits[best] > in->low[block] ? logits[best] : in->low[block];
	logits[best] = bound;
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

void head_settle(struct head *h, const struct kernels *k, size_t input, size_t first, size_t end,
                 float *logits, void *scratch)
{
	const struct head_input *in = &h->in[input];
	size_t bytes = screen_last_bytes(h->w->cols);
	size_t last = end < h->blocks ? end * HEAD_BLOCK : h->w->rows;

	/* Few rows need more, anywhere: their bits are asked for before the first is looked at. */
	for (size_t r = first * HEAD_BLOCK; r < last; r++)
		if (logits[r] < in->limit)
			logits[r] = -INFINITY;
		else
			for (size_t i = 0; i < bytes; i += 64)
				__builtin_prefetch(h->last + r * bytes + i);
	for (size_t r = first * HEAD_BLOCK; r < last; r++) {
		if (logits[r] < in->limit)
			continue;
		if (fine_bound(h, k, in, r, logits[r]) < in->limit)
			logits[r] = -INFINITY;
		else
			compute(h, k, in, r, logits, scratch);
	}
}
