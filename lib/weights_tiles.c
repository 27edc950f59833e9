#include "weights_tiles.h"

#include <string.h>

#include "bulk.h"
#include "io.h"
#include "retype_gguf.h"

#define BLOCK 128 /* codes of an I2_S unit */

int weights_tiles_is(enum dtype t)
{
	return t == DTYPE_TL1 || t == DTYPE_TL2;
}

static int untold(const struct gguf_tensor *matrix, const char *what, struct err *e)
{
	return err_unsupported(e,
	                       "%s of %s for %llu x %llu, and the file does not say "
	                       "(bitnet-quantize --tl turns it into "
	                       "another type)",
	                       what, dtype_get(matrix->type)->name,
	                       (unsigned long long)matrix->rows, (unsigned long long)matrix->cols);
}

int weights_tiles_find(struct ternary *t, const struct gguf *g, const struct gguf_tensor *matrix,
                       struct err *e)
{
	static const struct retype_hints none;
	enum ternary_kind kind = ternary_of_dtype(matrix->type);
	const char *key = kind == TERNARY_TL1 ? TERNARY_KEY_TL1 : TERNARY_KEY_TL2;
	struct ternary_tile known[2];
	struct retype_form form;
	int assumed = 0;

	if (!gguf_find(g, key) && !ternary_presets(kind, matrix->rows, matrix->cols, known))
		return untold(matrix, "no tiling is known", e);
	if (retype_gguf_form(&form, g, matrix, &none, &assumed, e))
		return -1;
	if (assumed & RETYPE_ASSUMED_ONE_OF)
		return untold(matrix, "two tilings are in use", e);
	*t = form.ternary;
	return 0;
}

static void pack_row(uint8_t *out, const int8_t *q, uint64_t cols)
{
	int8_t last[BLOCK] = {0};
	uint64_t whole = cols / BLOCK;

	bulk_get()->pack_i2s(out, q, whole);
	if (cols % BLOCK) {
		memcpy(last, q + whole * BLOCK, cols % BLOCK);
		bulk_get()->pack_i2s(out + whole * (BLOCK / 4), last, 1);
	}
}

static int one_band(const struct ternary *t, uint64_t row, uint64_t n, const uint8_t *payload,
                    int8_t *q, struct err *e)
{
	struct ternary_span span[TERNARY_SPANS];
	const uint8_t *in[TERNARY_SPANS] = {NULL};
	int spans = ternary_spans(t, row, n, span);

	for (int i = 0; i < spans; i++)
		in[i] = payload + span[i].offset;
	return ternary_unpack(t, row, n, in, q, NULL, e);
}

int weights_tiles_load(uint8_t *out, uint64_t row_bytes, const struct ternary *t,
                       const uint8_t *payload, struct err *e)
{
	uint64_t band = ternary_band(t);
	int8_t *q = io_grow(NULL, 0, band * t->cols, e); /* gone for good afterwards */
	int failed = !q;

	for (uint64_t row = 0; !failed && row < t->rows; row += band) {
		uint64_t n = t->rows - row < band ? t->rows - row : band;

		failed = one_band(t, row, n, payload, q, e);
		for (uint64_t r = 0; !failed && r < n; r++)
			pack_row(out + (row + r) * row_bytes, q + r * t->cols, t->cols);
	}
	io_drop(q, band * t->cols);
	memcpy(out + t->rows * row_bytes, payload + ternary_scale_offset(t), sizeof(float));
	return failed ? -1 : 0;
}
