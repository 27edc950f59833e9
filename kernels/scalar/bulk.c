/* Bulk passes in plain C: the specification of bulk.h. */
#include "../bulk.h"

#include <math.h>
#include <string.h>

#include "../../lib/half.h"

static void read_f16(float *y, const uint8_t *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] = half_to_f32(half_get(x + 2 * i));
}

static void read_bf16(float *y, const uint8_t *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] = half_bf16_to_f32(half_get(x + 2 * i));
}

static void write_f16(uint8_t *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		half_put(y + 2 * i, half_from_f32(x[i]));
}

static void write_bf16(uint8_t *y, const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		half_put(y + 2 * i, half_bf16_from_f32(x[i]));
}

static void survey(struct bulk_survey *s, const float *x, size_t n)
{
	uint32_t max = s->max_bits, min = s->min_bits;
	uint64_t nonzero = 0;

	for (size_t i = 0; i < n; i++) {
		uint32_t a = half_f32_bits(x[i]) & 0x7fffffffu;

		s->abs[i % BULK_LANES] += (double)half_bits_f32(a);
		max = a > max ? a : max;
		if (a) {
			min = a < min ? a : min;
			nonzero++;
		}
	}
	s->max_bits = max;
	s->min_bits = min;
	s->nonzero += nonzero;
}

static void add_error(struct bulk_error *s, size_t lane, float x, float y)
{
	float d = x - y;

	s->xx[lane] += (double)x * (double)x;
	s->dd[lane] += (double)d * (double)d;
	s->max = fabsf(d) > s->max ? fabsf(d) : s->max;
}

static void error(struct bulk_error *s, const float *x, const float *y, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		add_error(s, i % BULK_LANES, x[i], y[i]);
		s->yy[i % BULK_LANES] += (double)y[i] * (double)y[i];
	}
}

static void error_codes(struct bulk_error *s, const float *x, const int8_t *q, size_t n,
                        float scale)
{
	uint64_t nonzero = 0;

	for (size_t i = 0; i < n; i++) {
		add_error(s, i % BULK_LANES, x[i], (float)q[i] * scale);
		nonzero += q[i] != 0;
	}
	s->yy[0] += (double)nonzero * ((double)scale * (double)scale);
}

static void count(const int8_t *q, size_t n, struct bulk_count *c)
{
	uint64_t plus = 0, minus = 0;

	for (size_t i = 0; i < n; i++) {
		plus += q[i] > 0;
		minus += q[i] < 0;
	}
	c->plus += plus;
	c->minus += minus;
}

static void codes(int8_t *q, const float *x, size_t n, float inverse)
{
	/* Of the numbers that round to 0, +-0.5 are the largest: a tie goes to the even one. */
	for (size_t i = 0; i < n; i++) {
		float z = x[i] * inverse;

		q[i] = (int8_t)((z > 0.5f) - (z < -0.5f));
	}
}

static void round_codes(int8_t *q, const float *x, size_t n, float inverse, float scale,
                        struct bulk_error *s, struct bulk_count *c)
{
	codes(q, x, n, inverse);
	error_codes(s, x, q, n, scale);
	count(q, n, c);
}

static void pack_i2s(uint8_t *y, const int8_t *q, size_t blocks)
{
	for (size_t b = 0; b < blocks; b++, q += 128, y += 32)
		for (int g = 0; g < 32; g++)
			y[g] = (uint8_t)((q[g] + 1) << 6 | (q[g + 32] + 1) << 4 |
			                 (q[g + 64] + 1) << 2 | (q[g + 96] + 1));
}

static int unpack_i2s(int8_t *q, const uint8_t *x, size_t blocks)
{
	int bad = 0;

	for (size_t b = 0; b < blocks; b++, q += 128, x += 32)
		for (int g = 0; g < 32; g++) {
			bad |= x[g] & x[g] >> 1 & 0x55;
			q[g] = (int8_t)((x[g] >> 6) - 1);
			q[g + 32] = (int8_t)((x[g] >> 4 & 3) - 1);
			q[g + 64] = (int8_t)((x[g] >> 2 & 3) - 1);
			q[g + 96] = (int8_t)((x[g] & 3) - 1);
		}
	return bad != 0;
}

static int unpack_plane(int8_t *q, const uint8_t *x, size_t n, int shift)
{
	int bad = 0;

	for (size_t i = 0; i < n; i++) {
		int c = x[i] >> shift & 3;

		bad |= c == 3;
		q[i] = (int8_t)(c - 1);
	}
	return bad;
}

static void pack_plane(uint8_t *y, const int8_t *q, size_t n, int shift)
{
	for (size_t i = 0; i < n; i++)
		y[i] = (uint8_t)(y[i] | (q[i] + 1) << shift);
}

const struct bulk bulk_scalar = {
    .name = "scalar",
    .read_f16 = read_f16,
    .read_bf16 = read_bf16,
    .write_f16 = write_f16,
    .write_bf16 = write_bf16,
    .survey = survey,
    .codes = codes,
    .round = round_codes,
    .error = error,
    .error_codes = error_codes,
    .count = count,
    .pack_i2s = pack_i2s,
    .unpack_i2s = unpack_i2s,
    .unpack_plane = unpack_plane,
    .pack_plane = pack_plane,
};
