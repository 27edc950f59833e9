/*
 * Arithmetic that several kernels share: what kernels.h and kernels/scalar define, once more for
 * the device.
 */
#ifndef CUDA_NUMBERS_H
#define CUDA_NUMBERS_H

#include "grid.h"

/* A number as a float and what is missing to it: 2^-47 of it or so, where the device has few units
 * for float64.  Sums of squares stay below 2^127: values up to 2^60. */
struct pair {
	float hi, lo;
};

/* a + v + lo, where v may be the larger one. */
DEVICE struct pair pair_add(struct pair a, float v, float lo)
{
	struct pair s;
	float b;

	s.hi = a.hi + v;
	b = s.hi - a.hi;
	s.lo = a.lo + lo + ((a.hi - (s.hi - b)) + (v - b));
	return s;
}

DEVICE struct pair pair_add_square(struct pair a, float v)
{
	float p = v * v;

	return pair_add(a, p, fmaf(v, v, -p));
}

/* x * w * f, rounded once. */
DEVICE float pair_scale(float x, float w, struct pair f)
{
	float p = x * w, e = fmaf(x, w, -p);
	float r = p * f.hi;

	return r + (fmaf(p, f.hi, -r) + (p * f.lo + e * f.hi));
}

DEVICE struct pair pair_of(double v)
{
	struct pair p;

	p.hi = (float)v;
	p.lo = (float)(v - (double)p.hi);
	return p;
}

/* a / b: the nearest float, and the rest by b. */
DEVICE struct pair pair_quotient(float a, float b)
{
	struct pair q;

	q.hi = a / b;
	q.lo = fmaf(-q.hi, b, a) / b;
	return q;
}

DEVICE struct pair pair_times(struct pair a, struct pair b)
{
	struct pair p;

	p.hi = a.hi * b.hi;
	p.lo = fmaf(a.hi, b.hi, -p.hi) + (a.hi * b.lo + a.lo * b.hi);
	return p;
}

/* 1 / sqrt(a): a float, and two terms of the series for what is missing. */
DEVICE struct pair pair_inverse_root(struct pair a)
{
	struct pair y, square, one;
	float rest, more;

	y.hi = 1.0f / sqrtf(a.hi);
	y.lo = 0;
	square = pair_times(y, y);
	one = pair_times(a, square);
	rest = (1.0f - one.hi) - one.lo;
	more = y.hi * (rest * (0.5f + 0.375f * rest));
	rest = y.hi + more;
	y.lo = (y.hi - rest) + more;
	y.hi = rest;
	return y;
}

/* kernel_factor and kernel_rescale of kernels.h. */
DEVICE struct pair rescale_factor(float w_scale, float x_scale)
{
	return pair_quotient(w_scale, x_scale);
}

DEVICE float rescale(float acc, struct pair factor)
{
	return fmaf(acc, factor.hi, acc * factor.lo);
}

/* scalar_exp of kernels/scalar. */
DEVICE float exp_float(float x)
{
	float n, r, p;

	if (!(x >= -87.0f))
		return 0.0f;
	x = x < 88.0f ? x : 88.0f;
	n = (x * 0x1.715476p0f + 12582912.0f) - 12582912.0f;
	r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
	p = 0x1.6c16c2p-10f;
	p = p * r + 0x1.111112p-7f;
	p = p * r + 0x1.555556p-5f;
	p = p * r + 0x1.555556p-3f;
	p = p * r + 0.5f;
	p = p * r + 1.0f;
	p = p * r + 1.0f;
	return p * bits_float((uint32_t)((int32_t)n + 127) << 23);
}

DEVICE float act_float(uint32_t then, float g, float u)
{
	float v;

	if (then == CUDA_SILU)
		return g / (1.0f + exp_float(-g)) * u;
	v = g > 0 ? g : 0.0f;
	return v * v * u;
}

/* Bits that are ordered as the floats are, and back; what is no number counts as the least. */
DEVICE uint32_t float_rank(float f)
{
	uint32_t u = float_bits(f);

	if (f != f)
		return 0;
	return u & 0x80000000u ? ~u : u | 0x80000000u;
}

DEVICE float rank_float(uint32_t r)
{
	return bits_float(r & 0x80000000u ? r & 0x7fffffffu : ~r);
}

DEVICE float max_float(float a, float b)
{
	return a > b ? a : b;
}

#endif
