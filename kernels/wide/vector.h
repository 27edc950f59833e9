/*
 * One vector of activations in 16 lanes: the arithmetic of scalar/vector.c and
 * scalar/encode.c, bit for bit.  Included by a set's wide.c behind its lanes.h.
 */
#ifndef WIDE_VECTOR_H
#define WIDE_VECTOR_H

#include <math.h>

#include "../load.h"
#include "../kernels.h"

static inline v16 v16_exp(v16 x)
{
	v16 least = v16_set(-87.0f), magic = v16_set(12582912.0f), all = x;

	x = v16_min(x, v16_set(88.0f));
	x = v16_max(x, least); /* what lies below becomes 0 at the end */
	v16 n = v16_sub(v16_add(v16_mul(x, v16_set(0x1.715476p0f)), magic), magic);
	v16 r = v16_sub(v16_sub(x, v16_mul(n, v16_set(0x1.62e4p-1f))),
	                v16_mul(n, v16_set(0x1.7f7d1cp-20f)));
	v16 p = v16_set(0x1.6c16c2p-10f);
	p = v16_add(v16_mul(p, r), v16_set(0x1.111112p-7f));
	p = v16_add(v16_mul(p, r), v16_set(0x1.555556p-5f));
	p = v16_add(v16_mul(p, r), v16_set(0x1.555556p-3f));
	p = v16_add(v16_mul(p, r), v16_set(0.5f));
	p = v16_add(v16_mul(p, r), v16_set(1.0f));
	p = v16_add(v16_mul(p, r), v16_set(1.0f));
	return v16_where_ge(all, least, v16_mul(p, v16_pow2(n)));
}

/* n values, 16 at a time, the rest padded: LINE computes from i with m values. */
#define FOR_LANES(n, i, full, rest)                                                                \
	do {                                                                                       \
		size_t i = 0;                                                                      \
		for (; i + 16 <= (n); i += 16)                                                     \
			full;                                                                      \
		if (i < (n))                                                                       \
			rest;                                                                      \
	} while (0)

static void rms_norm(float *y, const float *x, const float *w, size_t n, float eps)
{
	w16 sum = w16_zero();

	FOR_LANES(n, i, sum = w16_add_square(sum, v16_load(x + i)),
	          sum = w16_add_square(sum, v16_load_n(x + i, n - i)));
	double inv = 1.0 / sqrt(w16_sum(sum) / (double)n + (double)eps);
	FOR_LANES(n, i, v16_store(y + i, v16_scaled(v16_load(x + i), inv, v16_load(w + i))),
	          v16_store_n(y + i,
	                      v16_scaled(v16_load_n(x + i, n - i), inv, v16_load_n(w + i, n - i)),
	                      n - i));
}

static void add(float *y, const float *x, size_t n)
{
	FOR_LANES(
	    n, i, v16_store(y + i, v16_add(v16_load(y + i), v16_load(x + i))),
	    v16_store_n(y + i, v16_add(v16_load_n(y + i, n - i), v16_load_n(x + i, n - i)), n - i));
}

static inline v16 relu2(v16 g, v16 u)
{
	g = v16_max(g, v16_zero());
	return v16_mul(v16_mul(g, g), u);
}

static inline v16 silu(v16 g, v16 u)
{
	v16 e = v16_exp(v16_sub(v16_zero(), g));

	return v16_mul(v16_div(g, v16_add(v16_set(1.0f), e)), u);
}

static void relu2_mul(float *g, const float *u, size_t n)
{
	FOR_LANES(
	    n, i, v16_store(g + i, relu2(v16_load(g + i), v16_load(u + i))),
	    v16_store_n(g + i, relu2(v16_load_n(g + i, n - i), v16_load_n(u + i, n - i)), n - i));
}

static void silu_mul(float *g, const float *u, size_t n)
{
	FOR_LANES(
	    n, i, v16_store(g + i, silu(v16_load(g + i), v16_load(u + i))),
	    v16_store_n(g + i, silu(v16_load_n(g + i, n - i), v16_load_n(u + i, n - i)), n - i));
}

static float largest_abs(const float *x, size_t n)
{
	v16 max = v16_zero();

	FOR_LANES(n, i, max = v16_max(max, v16_abs(v16_load(x + i))),
	          max = v16_max(max, v16_abs(v16_load_n(x + i, n - i))));
	return v16_largest(max);
}

/* Up to 256 values to int8, zeros behind them up to a multiple of 16; returns their sum. */
static int32_t round_part(const float *x, size_t n, v16 s, int8_t *q)
{
	i16 sum = i16_zero();

	for (size_t i = 0; i < n; i += 16) {
		v16 v = i + 16 <= n ? v16_load(x + i) : v16_load_n(x + i, n - i);
		i16 r = i16_round(v16_mul(v, s));

		sum = i16_add(sum, r);
		b16_store(q + i, i16_to_i8(r));
	}
	return i16_sum(sum);
}

/* |x| * s never rounds to more than 127, so sums may be taken before the limit is applied. */
static void quantize_i8(const float *x, size_t k, int8_t *q, float *scale, int32_t *sum,
                        int32_t *sum256)
{
	float max = largest_abs(x, k);
	float s = (float)(127.0 / (max > 1e-5f ? (double)max : 1e-5));
	size_t done = (k + 15) / 16 * 16;

	*sum = 0;
	for (size_t c = 0; c < k; c += 256) {
		size_t n = k - c < 256 ? k - c : 256;

		sum256[c / 256] = round_part(x + c, n, v16_set(s), q + c);
		*sum += sum256[c / 256];
	}
	memset(q + done, 0, (64 - done % 64) % 64);
	*scale = s;
}

static void encode_f16(uint8_t *p, const float *x, size_t k)
{
	size_t i = 0;

	for (; i + 16 <= k; i += 16)
		v16_to_f16(p + 2 * i, v16_load(x + i));
	for (; i < k; i++) {
		uint16_t h = half_from_f32(x[i]);

		memcpy(p + 2 * i, &h, sizeof h);
	}
}

static inline void rotate(float *a, float *b, const float *cos, const float *sin)
{
	v16 x = v16_load(a), y = v16_load(b), c = v16_load(cos), s = v16_load(sin);

	v16_store(a, v16_sub(v16_mul(x, c), v16_mul(y, s)));
	v16_store(b, v16_add(v16_mul(x, s), v16_mul(y, c)));
}

static void rope(float *x, const float *cos, const float *sin, size_t half, int neox)
{
	size_t j = 0, step = neox ? 1 : 2, other = neox ? half : 1;

	for (; neox && j + 16 <= half; j += 16)
		rotate(x + j, x + j + half, cos + j, sin + j);
	for (; j < half; j++) {
		float a = x[j * step], b = x[j * step + other];

		x[j * step] = a * cos[j] - b * sin[j];
		x[j * step + other] = a * sin[j] + b * cos[j];
	}
}

static void wide_vector_init(struct kernels *k)
{
	k->rms_norm = rms_norm;
	k->rope = rope;
	k->add = add;
	k->relu2_mul = relu2_mul;
	k->silu_mul = silu_mul;
	k->quantize_i8 = quantize_i8;
	k->quantize[DTYPE_F16] = encode_f16;
}

#endif
