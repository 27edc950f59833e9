/* Layouts of plain two-bit codes: I2_S in its three orders, and the packed bytes of checkpoints. */
#include "ternary_codec.h"

#include <string.h>

#include "bulk.h"

int ternary_bad_code(const struct ternary *t, uint64_t row, uint64_t col, int code, struct err *e)
{
	return err_set(e, ERR_TROUBLE, "%s: row %llu, column %llu: code %d is not ternary",
	               ternary_name(t->kind), (unsigned long long)row, (unsigned long long)col,
	               code);
}

/* The bulk loops leave 2 where a code 3 was. */
static int find_bad(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                    struct err *e)
{
	const int8_t *at = memchr(q, 2, (size_t)(n * t->cols));
	uint64_t i = at ? (uint64_t)(at - q) : 0;

	return ternary_bad_code(t, row + i / t->cols, i % t->cols, 3, e);
}

int ternary_unpack_i2s(const struct ternary *t, uint64_t row, uint64_t n,
                       const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales,
                       struct err *e)
{
	(void)scales;
	if (bulk_get()->unpack_i2s(q, in[0], (size_t)(n * t->cols / 128)))
		return find_bad(t, row, n, q, e);
	return 0;
}

void ternary_pack_i2s(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                      const float *scales, uint8_t *const out[TERNARY_SPANS])
{
	(void)row, (void)scales;
	bulk_get()->pack_i2s(out[0], q, (size_t)(n * t->cols / 128));
}

int ternary_unpack_i2s_arm(const struct ternary *t, uint64_t row, uint64_t n,
                           const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales,
                           struct err *e)
{
	const uint8_t *x = in[0];
	int bad = 0;

	(void)scales;
	for (uint64_t b = 0; b < n * t->cols / 64; b++, x += 16)
		for (int i = 0; i < 64; i++) {
			int c = x[i % 16] >> (6 - 2 * (i / 16)) & 3;

			bad |= c == 3;
			q[b * 64 + (uint64_t)i] = (int8_t)(c - 1);
		}
	return bad ? find_bad(t, row, n, q, e) : 0;
}

void ternary_pack_i2s_arm(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                          const float *scales, uint8_t *const out[TERNARY_SPANS])
{
	uint8_t *y = out[0];

	(void)row, (void)scales;
	for (uint64_t b = 0; b < n * t->cols / 64; b++, q += 64, y += 16)
		for (int g = 0; g < 16; g++)
			y[g] = (uint8_t)((q[g] + 1) << 6 | (q[g + 16] + 1) << 4 |
			                 (q[g + 32] + 1) << 2 | (q[g + 48] + 1));
}

int ternary_unpack_i2s_rows4(const struct ternary *t, uint64_t row, uint64_t n,
                             const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales,
                             struct err *e)
{
	int bad = 0;

	(void)scales;
	for (uint64_t r = 0; r < n; r++)
		bad |= bulk_get()->unpack_plane(q + r * t->cols, in[0] + r / 4 * t->cols,
		                                (size_t)t->cols, 6 - 2 * (int)(r % 4));
	return bad ? find_bad(t, row, n, q, e) : 0;
}

void ternary_pack_i2s_rows4(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                            const float *scales, uint8_t *const out[TERNARY_SPANS])
{
	(void)row, (void)scales;
	memset(out[0], 0, (size_t)(n / 4 * t->cols));
	for (uint64_t r = 0; r < n; r++)
		bulk_get()->pack_plane(out[0] + r / 4 * t->cols, q + r * t->cols, (size_t)t->cols,
		                       6 - 2 * (int)(r % 4));
}

int ternary_unpack_hf(const struct ternary *t, uint64_t row, uint64_t n,
                      const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales,
                      struct err *e)
{
	int shift = 2 * (int)(row / ternary_hf_rows(t));

	(void)scales;
	if (bulk_get()->unpack_plane(q, in[0], (size_t)(n * t->cols), shift))
		return find_bad(t, row, n, q, e);
	return 0;
}
