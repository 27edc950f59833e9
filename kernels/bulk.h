/*
 * Passes over whole arrays, for conversion of weights: 16-bit floats, surveys of values, rounding
 * to ternary codes, I2_S packing.  One table per instruction set, chosen by what this CPU has.
 *
 * The scalar table is the specification.  All tables give the same bits: float64 sums are kept in
 * BULK_LANES lanes (value i goes to lane i % BULK_LANES), so their order does not depend on the
 * width of a register.
 */
#ifndef BULK_H
#define BULK_H

#include <stddef.h>
#include <stdint.h>

#define BULK_LANES 16

/* What is known of values seen so far.  Start: bulk_survey_init. */
struct bulk_survey {
	double abs[BULK_LANES]; /* sums of |x| */
	uint32_t max_bits;      /* bits of the largest |x|; 0x7f800000 and above: not finite */
	uint32_t min_bits;      /* bits of the smallest |x| but 0; UINT32_MAX: none */
	uint64_t nonzero;
};

/* How far values y are from x. Start: all zero. */
struct bulk_error {
	double xx[BULK_LANES], yy[BULK_LANES]; /* sums of squares */
	double dd[BULK_LANES];                 /* sums of d^2, d = x - y in float32 */
	float max;                             /* largest |d| */
};

/* How many codes are +1 and -1. */
struct bulk_count {
	uint64_t plus, minus;
};

struct bulk {
	const char *name;

	/* n values between float32 and little-endian bytes at any address (see lib/half.h). */
	void (*read_f16)(float *y, const uint8_t *x, size_t n);
	void (*read_bf16)(float *y, const uint8_t *x, size_t n);
	void (*write_f16)(uint8_t *y, const float *x, size_t n);
	void (*write_bf16)(uint8_t *y, const float *x, size_t n);

	/* Adds n values; n must be a multiple of BULK_LANES but in the last call. */
	void (*survey)(struct bulk_survey *s, const float *x, size_t n);

	/* q = clip(round_half_even(x * inverse), -1, 1) for finite x; round: and what error_codes
	 * and count add for these codes, which together with it are what a conversion spends its
	 * time on. */
	void (*codes)(int8_t *q, const float *x, size_t n, float inverse);
	void (*round)(int8_t *q, const float *x, size_t n, float inverse, float scale,
	              struct bulk_error *s, struct bulk_count *c);

	/* Adds the errors of y (n values), and of q * scale (yy goes to lane 0 alone). */
	void (*error)(struct bulk_error *s, const float *x, const float *y, size_t n);
	void (*error_codes)(struct bulk_error *s, const float *x, const int8_t *q, size_t n,
	                    float scale);

	/* Counts codes. */
	void (*count)(const int8_t *q, size_t n, struct bulk_count *c);

	/* I2_S, blocks of 128 codes to 32 bytes (ternary-formats.md 1.1). unpack returns 0, or 1
	 * when a code 3 is among them (which becomes 2). */
	void (*pack_i2s)(uint8_t *y, const int8_t *q, size_t blocks);
	int (*unpack_i2s)(int8_t *q, const uint8_t *x, size_t blocks);

	/* One of the four codes of each byte, the one at bits shift + 1 : shift, minus 1; and the
	 * inverse: or-s the codes into y.  unpack_plane returns as unpack_i2s. */
	int (*unpack_plane)(int8_t *q, const uint8_t *x, size_t n, int shift);
	void (*pack_plane)(uint8_t *y, const int8_t *q, size_t n, int shift);
};

void bulk_survey_init(struct bulk_survey *s);

/* Adds b to a, lane by lane. */
void bulk_survey_join(struct bulk_survey *a, const struct bulk_survey *b);
void bulk_error_join(struct bulk_error *a, const struct bulk_error *b);

/* The sum of the lanes, in one fixed order. */
double bulk_sum(const double lanes[BULK_LANES]);

/* The best table for this CPU, and the ones that were built (NULL past the end, or where this CPU
 * cannot run it *runs is 0). */
const struct bulk *bulk_get(void);
const struct bulk *bulk_at(size_t i, int *runs);

#endif
