/*
 * What the fast products of all sets know about ternary layouts: rows are read in units of 256
 * columns; a unit holds two-bit codes in 64 bytes of which bits 2l+1:2l (or counted from the top)
 * belong to part l, or five base-3 digits a byte.
 */
#ifndef TERNARY_H
#define TERNARY_H

#include "load.h"
#include "kernels.h"

enum ternary_d { D_NONE, D_UNIT, D_ROW_F16, D_ROW_F32 };

struct ternary_layout {
	size_t unit_bytes; /* from one unit of 256 columns to the next */
	size_t prefix;     /* bytes in front of the first unit */
	size_t d_at;       /* D_UNIT: where the binary16 d lies in a unit */
	enum ternary_d d;
	int top; /* part 0 lies in the top bits of a byte */
	size_t
	    span; /* columns that neighbouring bytes of a part cover before a part ends: 16 or 32 */
};

/* The layouts of two-bit codes. */
static const struct ternary_layout layout_i2_s = {64, 0, 0, D_NONE, 1, 32};
static const struct ternary_layout layout_tq2_0 = {66, 0, 64, D_UNIT, 0, 32};
static const struct ternary_layout layout_iq2_bn = {64, 4, 0, D_ROW_F32, 0, 16};
/* Base 3; top and span have no meaning. */
static const struct ternary_layout layout_tq1_0 = {54, 0, 52, D_UNIT, 0, 0};

static inline const struct ternary_layout *ternary_layout(enum dtype t)
{
	switch (t) {
	case DTYPE_TQ1_0:
		return &layout_tq1_0;
	case DTYPE_TQ2_0:
		return &layout_tq2_0;
	case DTYPE_IQ2_BN:
		return &layout_iq2_bn;
	default:
		return &layout_i2_s;
	}
}

static inline size_t ternary_units(size_t k)
{
	return (k + 255) / 256;
}

/* The d of unit u. */
static inline float ternary_d(const struct ternary_layout *l, const uint8_t *row, size_t u)
{
	switch (l->d) {
	case D_UNIT:
		return load_f16(row + u * l->unit_bytes + l->d_at);
	case D_ROW_F16:
		return load_f16(row);
	case D_ROW_F32:
		return half_bits_f32(load_u32(row));
	default:
		return 1.0f;
	}
}

/* Whether the whole row is one run of a d that is not 0 (see scalar/ternary.c). */
static inline int ternary_is_run(const struct ternary_layout *l, const uint8_t *row, size_t k)
{
	if (l->d != D_UNIT)
		return 1;
	uint16_t d = load_u16(row + l->d_at);
	if ((d & 0x7fff) == 0)
		return 0;
	for (size_t u = 1; u < ternary_units(k); u++)
		if (load_u16(row + u * l->unit_bytes + l->d_at) != d)
			return 0;
	return 1;
}

/* How many of the rows from row on, at most rows, are one run each; their d. */
static inline size_t ternary_runs(const struct kernel_mat *w, size_t k, size_t row, size_t rows,
                                  float *d)
{
	const struct ternary_layout *l = ternary_layout(w->type);
	size_t n = 0;

	for (; n < rows; n++) {
		const uint8_t *p = w->data + (row + n) * w->row_bytes;

		if (!ternary_is_run(l, p, k))
			break;
		d[n] = ternary_d(l, p, 0);
	}
	return n;
}

static inline void ternary_deal_spans(const int8_t *x, size_t n, size_t span, int8_t out[256])
{
	size_t block = 4 * span;

	for (size_t c = 0; c < n; c += span)
		memcpy(out + 64 * (c % block / span) + c / block * span, x + c, span);
}

/* Copies n <= 256 columns of x (those of a unit) so that part l of byte b, of 64, finds its
 * column at out[64 * l + b]; zeros where there is none. */
static inline void ternary_deal(const struct ternary_layout *l, const int8_t *x, size_t n,
                                int8_t out[256])
{
	memset(out, 0, n < 256 ? 256 : 0);
	/* spans that the compiler knows: copies of one register */
	if (l->span == 32)
		ternary_deal_spans(x, n, 32, out);
	else
		ternary_deal_spans(x, n, 16, out);
}

/* The same for base 3: digit k of byte b finds its column at out[64 * k + b]. */
static inline void ternary_deal3(const int8_t *x, int8_t out[320])
{
	memset(out, 0, 320);
	for (size_t k = 0; k < 5; k++) {
		memcpy(out + 64 * k, x + 32 * k, 32);
		memcpy(out + 64 * k + 32, x + 160 + 16 * k, 16);
		if (k < 4)
			memcpy(out + 64 * k + 48, x + 240 + 4 * k, 4);
	}
}

#endif
