#include "dtype.h"

#include <strings.h>

#define T(t, id, bs, b)          [DTYPE_##t] = {#t, id, bs, b, 0, 0}
#define TERNARY(t, id, bs, b, p) [DTYPE_##t] = {#t, id, bs, b, p, 1}

/* I2_S, TL1 and TL2 have no blocks that stand alone: 128 x 32 is I2_S's packing unit, the sizes
 * come from dtype_bytes. */
static const struct dtype_info info[DTYPE_COUNT] = {
    T(F32, 0, 1, 4),
    T(F16, 1, 1, 2),
    T(BF16, 30, 1, 2),
    T(F64, 28, 1, 8),
    T(I8, 24, 1, 1),
    T(I16, 25, 1, 2),
    T(I32, 26, 1, 4),
    T(I64, 27, 1, 8),
    T(Q4_0, 2, 32, 18),
    T(Q4_1, 3, 32, 20),
    T(Q5_0, 6, 32, 22),
    T(Q5_1, 7, 32, 24),
    T(Q8_0, 8, 32, 34),
    T(Q8_1, 9, 32, 36),
    T(Q2_K, 10, 256, 84),
    T(Q3_K, 11, 256, 110),
    T(Q4_K, 12, 256, 144),
    T(Q5_K, 13, 256, 176),
    T(Q6_K, 14, 256, 210),
    T(IQ2_XXS, 16, 256, 66),
    T(IQ2_XS, 17, 256, 74),
    T(IQ3_XXS, 18, 256, 98),
    T(IQ1_S, 19, 256, 50),
    T(IQ4_NL, 20, 32, 18),
    T(IQ3_S, 21, 256, 110),
    T(IQ2_S, 22, 256, 82),
    T(IQ4_XS, 23, 256, 136),
    T(IQ1_M, 29, 256, 56),
    TERNARY(TQ1_0, 34, 256, 54, 0),
    TERNARY(TQ2_0, 35, 256, 66, 0),
    TERNARY(I2_S, 36, 128, 32, 0),
    TERNARY(TL1, 38, 4, 1, 0),
    TERNARY(TL2, 39, 4, 1, 0),
    T(MXFP4, 39, 32, 17),
    T(NVFP4, 40, 64, 36),
    T(Q1_0, 41, 128, 18),
    T(Q2_0, 42, 64, 18),
    [DTYPE_Q2_0_G128] = {"PQ2_0", 142, 128, 34, 0, 0},
    TERNARY(PTQ1_0, 143, 128, 28, 0),
    TERNARY(IQ1_BN, 134, 64, 13, 2),
    TERNARY(IQ2_BN, 135, 64, 16, 4),
    TERNARY(IQ2_BN_R4, 335, 64, 16, 4),
    T(Q6_0, 133, 32, 26),
    T(IQ2_K, 137, 256, 76),
    T(IQ3_K, 138, 256, 110),
    T(IQ4_K, 139, 256, 144),
    T(IQ5_K, 140, 256, 176),
    T(IQ4_NL_4_4, 36, 32, 18),
    T(IQ4_NL_4_8, 37, 32, 18),
    T(IQ4_NL_8_8, 38, 32, 18),
};

const struct dtype_info *dtype_get(enum dtype t)
{
	return &info[t];
}

enum dtype dtype_find(const char *name)
{
	for (int t = 1; t < DTYPE_COUNT; t++)
		if (!strcasecmp(info[t].name, name))
			return (enum dtype)t;
	return DTYPE_NONE;
}

int dtype_of_id(uint32_t id, enum dtype out[4])
{
	int n = 0;

	for (int t = 1; t < DTYPE_COUNT; t++)
		if (info[t].id == id)
			out[n++] = (enum dtype)t;
	if (id == 42)
		out[n++] = DTYPE_Q2_0_G128;
	return n;
}

static int too_large(enum dtype t, uint64_t rows, uint64_t cols, struct err *e)
{
	return err_set(e, ERR_TROUBLE, "%s of %llu x %llu elements is too large", info[t].name,
	               (unsigned long long)rows, (unsigned long long)cols);
}

/* Microsoft's size rule, with its integer divisions in its order (ternary-formats.md 3). */
static int tl2_bytes(uint64_t rows, uint64_t cols, uint64_t *bytes, struct err *e)
{
	uint64_t n;

	if (cols < 256)
		return err_set(e, ERR_TROUBLE, "TL2 needs at least 256 columns, found %llu",
		               (unsigned long long)cols);
	if (__builtin_mul_overflow(rows, cols, &n) || n >= UINT64_C(1) << 56)
		return too_large(DTYPE_TL2, rows, cols, e);
	uint64_t d = (cols - 256) * rows / 3 * 5 / 8 + 256 * rows / 2 * 4 / 8;
	*bytes = ((d + 31) & ~UINT64_C(31)) + 32;
	return 0;
}

int dtype_bytes(enum dtype t, uint64_t rows, uint64_t cols, uint64_t *bytes, struct err *e)
{
	const struct dtype_info *d = &info[t];
	uint64_t n, row;

	if (t == DTYPE_TL2)
		return tl2_bytes(rows, cols, bytes, e);
	if (__builtin_mul_overflow(rows, cols, &n) || n >= UINT64_C(1) << 60)
		return too_large(t, rows, cols, e);
	if (t == DTYPE_I2_S || t == DTYPE_TL1) {
		if (n % 4)
			return err_set(e, ERR_TROUBLE,
			               "%s needs a multiple of 4 elements, found %llu", d->name,
			               (unsigned long long)n);
		*bytes = n / 4 + 32;
		return 0;
	}
	if (cols % d->block)
		return err_set(e, ERR_TROUBLE, "%s needs a multiple of %u columns, found %llu",
		               d->name, d->block, (unsigned long long)cols);
	row = d->row_prefix + cols / d->block * d->block_bytes;
	if (__builtin_mul_overflow(rows, row, bytes))
		return too_large(t, rows, cols, e);
	return 0;
}

uint64_t dtype_row_bytes(enum dtype t, uint64_t cols)
{
	const struct dtype_info *d = &info[t];

	if (t == DTYPE_TL1 || t == DTYPE_TL2 || t == DTYPE_IQ2_BN_R4)
		return 0;
	return d->row_prefix + cols / d->block * d->block_bytes;
}
