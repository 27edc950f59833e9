/*
 * Ternary products in vectors of 32 bytes: a unit of 256 columns is unpacked to codes 0..3 once and
 * multiplied with up to 8 tokens.  Included by a set's ternary.c behind its bytes.h, which names
 *
 *	v32   32 bytes: v32_load, v32_load_n, v32_part (two bits), v32_digit and v32_times3 (base 3)
 *	sums  sums of products: sums_zero, sums_add, sums_unit_end (after each unit), sums_total
 *
 * scratch: activations of the tokens in the order of the codes.
 */
#ifndef WIDE_TERNARY_H
#define WIDE_TERNARY_H

#include "../scalar/scalar.h"
#include "../ternary.h"

#define TOKENS 8

/* Vectors of codes in a unit: of two halves and four parts, or of five digits twice. */
#define TWO_BITS 8
#define BASE3    10

static inline size_t vectors_of(const struct ternary_layout *l)
{
	return l->span ? TWO_BITS : BASE3;
}

/* The columns (n of them are there) of a unit, vector by vector. */
static void deal_two_bits(const struct ternary_layout *l, const int8_t *x, size_t n, int8_t *out)
{
	size_t block = 4 * l->span;

	memset(out, 0, n < 256 ? 256 : 0);
	for (size_t c = 0; c < n; c += l->span) {
		size_t part = c % block / l->span, byte = c / block * l->span;

		memcpy(out + byte / 32 * 128 + 32 * part + byte % 32, x + c, l->span);
	}
}

/* The second vector of a unit begins at its byte 20: 12 bytes come twice, with zeros here. */
static void deal_base3(const int8_t *x, int8_t *out)
{
	for (size_t k = 0; k < 5; k++, out += 64) {
		memcpy(out, x + 32 * k, 32);
		memset(out + 32, 0, 32);
		memcpy(out + 44, x + 160 + 16 * k, 16);
		if (k < 4)
			memcpy(out + 60, x + 240 + 4 * k, 4);
	}
}

static void deal(const struct ternary_layout *l, const int8_t *x, size_t k, int8_t *out)
{
	for (size_t c = 0; c < k; c += 256, out += 32 * vectors_of(l)) {
		if (l->span)
			deal_two_bits(l, x + c, k - c < 256 ? k - c : 256, out);
		else
			deal_base3(x + c, out);
	}
}

/* Codes of a unit of which n columns are there. */
static inline void codes_two_bits(const uint8_t *p, size_t n, int top, v32 c[TWO_BITS])
{
	v32 w[2];

	w[0] = n >= 128 ? v32_load(p) : v32_load_n(p, n / 4);
	w[1] = n >= 256 ? v32_load(p + 32) : v32_load_n(p + 32, n > 128 ? (n - 128) / 4 : 0);
	for (int h = 0; h < 2; h++)
		for (int l = 0; l < 4; l++)
			c[4 * h + l] = v32_part(w[h], top ? 3 - l : l);
}

static inline void codes_base3(const uint8_t *p, v32 c[BASE3])
{
	v32 a = v32_load(p), b = v32_load(p + 20);

	for (int k = 0; k < 5; k++) {
		c[2 * k] = v32_digit(a);
		c[2 * k + 1] = v32_digit(b);
		a = v32_times3(a);
		b = v32_times3(b);
	}
}

static inline void codes_of(const struct ternary_layout *l, const uint8_t *p, size_t n,
                            v32 c[BASE3])
{
	if (!l->span)
		codes_base3(p, c);
	else if (l->top)
		codes_two_bits(p, n, 1, c);
	else
		codes_two_bits(p, n, 0, c);
}

/* One row, one run, with one token; every second vector goes to sums of its own, which hides the
 * latency of a sum. */
static inline int32_t row_dot(const struct ternary_layout *l, const uint8_t *row, size_t k,
                              const int8_t *x)
{
	size_t vectors = vectors_of(l);
	const uint8_t *p = row + l->prefix;
	sums even = sums_zero(), odd = sums_zero();
	v32 c[BASE3];

	for (size_t u = 0; u < k; u += 256, p += l->unit_bytes, x += 32 * vectors) {
		codes_of(l, p, k - u, c);
		__builtin_prefetch(p + 1024);
		for (size_t i = 0; i < vectors; i += 2) {
			even = sums_add(even, c[i], v32_load((const uint8_t *)x + 32 * i));
			odd = sums_add(odd, c[i + 1], v32_load((const uint8_t *)x + 32 * i + 32));
		}
		even = sums_unit_end(even);
		odd = sums_unit_end(odd);
	}
	return sums_total(even) + sums_total(odd);
}

/* The same with n tokens whose dealt activations lie step bytes apart. */
static inline void row_dots(const struct ternary_layout *l, const uint8_t *row, size_t k,
                            const int8_t *x, size_t step, size_t n, int32_t *dots)
{
	size_t vectors = vectors_of(l);
	const uint8_t *p = row + l->prefix;
	v32 c[BASE3];
	sums s[TOKENS];

	for (size_t t = 0; t < n; t++)
		s[t] = sums_zero();
	for (size_t u = 0; u < k; u += 256, p += l->unit_bytes, x += 32 * vectors) {
		codes_of(l, p, k - u, c);
		for (size_t t = 0; t < n; t++) {
			const uint8_t *at = (const uint8_t *)x + t * step;

			for (size_t i = 0; i < vectors; i++)
				s[t] = sums_add(s[t], c[i], v32_load(at + 32 * i));
			s[t] = sums_unit_end(s[t]);
		}
	}
	for (size_t t = 0; t < n; t++)
		dots[t] = sums_total(s[t]);
}

/* With what is constant in a layout made known to the compiler. */
static inline void layout_dots(const struct ternary_layout *l, const uint8_t *row, size_t k,
                               const int8_t *x, size_t step, size_t n, int32_t *dots)
{
	if (n == 1)
		dots[0] = row_dot(l, row, k, x);
	else if (n == TOKENS)
		row_dots(l, row, k, x, step, TOKENS, dots);
	else
		row_dots(l, row, k, x, step, n, dots);
}

static void run_dots(enum dtype type, const uint8_t *row, size_t k, const int8_t *x, size_t step,
                     size_t n, int32_t *dots)
{
	switch (type) {
	case DTYPE_TQ1_0:
		layout_dots(&layout_tq1_0, row, k, x, step, n, dots);
		break;
	case DTYPE_TQ2_0:
		layout_dots(&layout_tq2_0, row, k, x, step, n, dots);
		break;
	case DTYPE_IQ2_BN:
		layout_dots(&layout_iq2_bn, row, k, x, step, n, dots);
		break;
	default:
		layout_dots(&layout_i2_s, row, k, x, step, n, dots);
	}
}

/* One row of any runs with one token: the rule of scalar/ternary.c. */
static float row_runs(enum dtype type, const uint8_t *row, size_t k, const int8_t *x,
                      const int32_t *sum256)
{
	const struct ternary_layout *l = ternary_layout(type);
	float acc = 0, run_d = 0;
	int32_t run = 0;

	for (size_t u = 0; u < ternary_units(k); u++, x += 32 * vectors_of(l)) {
		float d = ternary_d(l, row, u);

		if (d == 0.0f)
			continue;
		if (half_f32_bits(d) != half_f32_bits(run_d)) {
			acc += (float)run * run_d;
			run = 0;
		}
		run_d = d;
		run += row_dot(l, row + u * l->unit_bytes, 256, x) - sum256[u];
	}
	return acc + (float)run * run_d;
}

/* One row with tokens t0..t0 + n - 1, whose activations were dealt to x, step bytes each. */
static void row_times(const struct kernel_mat *w, const struct kernel_input *in, size_t row,
                      size_t t0, size_t n, const int8_t *x, size_t step, float *y, size_t y_stride)
{
	const struct ternary_layout *l = ternary_layout(w->type);
	const uint8_t *p = w->data + row * w->row_bytes;
	int run = ternary_is_run(l, p, in->k);
	int32_t dots[TOKENS];
	float acc;

	if (run)
		run_dots(w->type, p, in->k, x, step, n, dots);
	for (size_t t = 0; t < n; t++) {
		if (run)
			acc = 0.0f + (float)(dots[t] - in->sum[t0 + t]) * ternary_d(l, p, 0);
		else
			acc = row_runs(w->type, p, in->k, x + t * step,
			               in->sum256 + (t0 + t) * in->stride256);
		y[(t0 + t) * y_stride + row] = kernel_rescale(acc, w->scale, in->scale[t0 + t]);
	}
}

static void mul(const struct kernel_mat *w, const struct kernel_input *x, size_t row0, size_t row1,
                float *y, size_t y_stride, void *scratch)
{
	const struct ternary_layout *l = ternary_layout(w->type);
	size_t step = ternary_units(x->k) * 32 * vectors_of(l), most = KERNELS_SCRATCH / step, n;

	if (most == 0) {
		scalar_mul_ternary(w, x, row0, row1, y, y_stride, scratch);
		return;
	}
	most = most < TOKENS ? most : TOKENS;
	for (size_t t = 0; t < x->n; t += n) {
		n = x->n - t < most ? x->n - t : most;
		for (size_t i = 0; i < n; i++)
			deal(l, x->q + (t + i) * x->stride, x->k, (int8_t *)scratch + i * step);
		for (size_t r = row0; r < row1; r++)
			row_times(w, x, r, t, n, scratch, step, y, y_stride);
	}
}

/* Codes and activations change with each round, so that nothing can be computed once for all. */
static uint64_t probe_int8(uint64_t rounds)
{
	static uint8_t codes[9 * 32] = {1, 2, 0, 1};
	sums s[TOKENS];
	int32_t total = 0;

	for (size_t i = 0; i < TOKENS; i++)
		s[i] = sums_zero();
	for (uint64_t r = 0; r < rounds; r++) {
		v32 c = v32_load(codes + (r & 7) * 32);

		for (size_t i = 0; i < TOKENS; i++)
			s[i] = sums_add(s[i], c, c);
	}
	for (size_t i = 0; i < TOKENS; i++)
		total += sums_total(sums_unit_end(s[i]));
	__asm__ volatile("" : : "r"(total)); /* somebody wants the sum */
	return rounds * TOKENS * 32;
}

static void wide_ternary_init(struct kernels *k)
{
	k->mul[DTYPE_I2_S] = mul;
	k->mul[DTYPE_TQ1_0] = mul;
	k->mul[DTYPE_TQ2_0] = mul;
	k->mul[DTYPE_IQ2_BN] = mul;
	k->probe_int8 = probe_int8;
}

#endif
