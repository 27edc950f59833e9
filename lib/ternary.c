/* Layouts by table: what a kind is called, where its bytes lie, who packs it. */
#include "ternary.h"

#include <string.h>
#include <strings.h>

#include "bulk.h"
#include "half.h"
#include "ternary_codec.h"

struct kind {
	const char *name;
	enum dtype type;
	uint32_t block;     /* cols must be a multiple of this */
	uint32_t group;     /* columns with one scale; 0: the tensor's; 1: a row's */
	uint32_t band;      /* rows that belong together */
	int f16;            /* scales are stored as F16 */
	int tail;           /* the tensor's scale lies behind the codes */
	const char *layout; /* I2_S: value of TERNARY_KEY_I2S */
	ternary_unpack_fn *unpack;
	ternary_pack_fn *pack;
};

static const struct kind kinds[TERNARY_KINDS] = {
    [TERNARY_NONE] = {"none", DTYPE_NONE, 1, 0, 1, 0, 0, NULL, NULL, NULL},
    [TERNARY_I2_S] = {"i2_s", DTYPE_I2_S, 128, 0, 1, 0, 1, "x86", ternary_unpack_i2s,
                      ternary_pack_i2s},
    [TERNARY_I2_S_ARM] = {"i2_s_arm", DTYPE_I2_S, 64, 0, 1, 0, 1, "arm", ternary_unpack_i2s_arm,
                          ternary_pack_i2s_arm},
    [TERNARY_I2_S_ROWS4] = {"i2_s_rows4", DTYPE_I2_S, 1, 0, 4, 0, 1, "rows4",
                            ternary_unpack_i2s_rows4, ternary_pack_i2s_rows4},
    [TERNARY_TL1] = {"tl1", DTYPE_TL1, 1, 0, 1, 0, 1, NULL, ternary_unpack_tl1, ternary_pack_tl1},
    [TERNARY_TL2] = {"tl2", DTYPE_TL2, 1, 0, 1, 0, 1, NULL, ternary_unpack_tl2, ternary_pack_tl2},
    [TERNARY_TQ1_0] = {"tq1_0", DTYPE_TQ1_0, 256, 256, 1, 1, 0, NULL, ternary_unpack_tq1,
                       ternary_pack_tq1},
    [TERNARY_TQ2_0] = {"tq2_0", DTYPE_TQ2_0, 256, 256, 1, 1, 0, NULL, ternary_unpack_tq2,
                       ternary_pack_tq2},
    [TERNARY_Q2_0] = {"q2_0", DTYPE_Q2_0, 64, 64, 1, 1, 0, NULL, ternary_unpack_q2,
                      ternary_pack_q2},
    [TERNARY_Q2_0_G128] = {"pq2_0", DTYPE_Q2_0_G128, 128, 128, 1, 1, 0, NULL, ternary_unpack_q2,
                           ternary_pack_q2},
    [TERNARY_PTQ1_0] = {"ptq1_0", DTYPE_PTQ1_0, 128, 128, 1, 1, 0, NULL, ternary_unpack_ptq1,
                        ternary_pack_ptq1},
    [TERNARY_IQ1_BN] = {"iq1_bn", DTYPE_IQ1_BN, 64, 1, 1, 1, 0, NULL, ternary_unpack_iq1,
                        ternary_pack_iq1},
    [TERNARY_IQ2_BN] = {"iq2_bn", DTYPE_IQ2_BN, 64, 1, 1, 0, 0, NULL, ternary_unpack_iq2,
                        ternary_pack_iq2},
    [TERNARY_IQ2_BN_R4] = {"iq2_bn_r4", DTYPE_IQ2_BN_R4, 64, 1, 4, 0, 0, NULL,
                           ternary_unpack_iq2_r4, ternary_pack_iq2_r4},
    [TERNARY_HF_U8] = {"hf_u8", DTYPE_NONE, 1, 0, 1, 0, 0, NULL, ternary_unpack_hf, NULL},
};

const char *ternary_name(enum ternary_kind kind)
{
	return kinds[kind].name;
}

enum ternary_kind ternary_find(const char *name)
{
	for (int k = 1; k < TERNARY_KINDS; k++)
		if (!strcasecmp(kinds[k].name, name))
			return (enum ternary_kind)k;
	return TERNARY_NONE;
}

const char *ternary_i2s_layout(enum ternary_kind kind)
{
	return kinds[kind].layout;
}

enum ternary_kind ternary_find_i2s(const char *layout)
{
	for (int k = 1; k < TERNARY_KINDS; k++)
		if (kinds[k].layout && !strcmp(kinds[k].layout, layout))
			return (enum ternary_kind)k;
	return TERNARY_NONE;
}

enum ternary_kind ternary_of_dtype(enum dtype type)
{
	for (int k = 1; k < TERNARY_KINDS; k++)
		if (kinds[k].type == type && type != DTYPE_NONE)
			return (enum ternary_kind)k;
	return TERNARY_NONE;
}

enum dtype ternary_dtype(enum ternary_kind kind)
{
	return kinds[kind].type;
}

static int bad_tile(const struct ternary *t, const char *what, uint64_t n, uint64_t unit,
                    struct err *e)
{
	return err_set(
	    e, ERR_TROUBLE,
	    "%s of %llu x %llu with BM,BY,bm = %u,%u,%u: %s %llu is not a multiple of %llu",
	    kinds[t->kind].name, (unsigned long long)t->rows, (unsigned long long)t->cols,
	    t->tile.rows, t->tile.cols, t->tile.step, what, (unsigned long long)n,
	    (unsigned long long)unit);
}

static uint64_t pair_cols(const struct ternary *t)
{
	return t->cols % t->tile.cols;
}

static int check_tl1(const struct ternary *t, struct err *e)
{
	const struct ternary_tile *s = &t->tile;

	if (s->step % 16 || 256 % s->step)
		return err_set(e, ERR_TROUBLE, "tl1: bm is %u; it can be 16, 32 or 64", s->step);
	uint32_t by = 256 / s->step;
	if (t->rows % s->rows)
		return bad_tile(t, "the number of rows", t->rows, s->rows, e);
	if (t->cols % s->cols)
		return bad_tile(t, "the number of columns", t->cols, s->cols, e);
	if (s->rows % s->step)
		return bad_tile(t, "BM", s->rows, s->step, e);
	if (s->cols % by || by % 4)
		return bad_tile(t, "BY", s->cols, by < 4 ? 4 : by, e);
	return 0;
}

static int check_tl2(const struct ternary *t, struct err *e)
{
	const struct ternary_tile *s = &t->tile;
	uint64_t bytes, two = pair_cols(t);

	if (s->step != 32)
		return err_set(e, ERR_TROUBLE, "tl2: bm is %u; it is always 32", s->step);
	if (t->rows % s->rows)
		return bad_tile(t, "the number of rows", t->rows, s->rows, e);
	if (s->rows % 32)
		return bad_tile(t, "BM", s->rows, 32, e);
	if (s->cols % 24)
		return bad_tile(t, "BY", s->cols, 24, e);
	if (two % 32)
		return bad_tile(t, "columns left for pairs:", two, 32, e);
	if (dtype_bytes(DTYPE_TL2, t->rows, t->cols, &bytes, e))
		return -1;
	if (ternary_code_bytes(t) > bytes - 32)
		return err_set(
		    e, ERR_TROUBLE,
		    "tl2 of %llu x %llu with BY %u needs %llu bytes of codes, the type has %llu",
		    (unsigned long long)t->rows, (unsigned long long)t->cols, s->cols,
		    (unsigned long long)ternary_code_bytes(t), (unsigned long long)bytes - 32);
	return 0;
}

static int check_tile(const struct ternary *t, struct err *e)
{
	if (!t->tile.rows || !t->tile.cols || !t->tile.step)
		return err_set(e, ERR_TROUBLE, "%s needs BM,BY,bm above zero", kinds[t->kind].name);
	return t->kind == TERNARY_TL1 ? check_tl1(t, e) : check_tl2(t, e);
}

int ternary_init(struct ternary *t, enum ternary_kind kind, uint64_t rows, uint64_t cols,
                 const struct ternary_tile *tile, struct err *e)
{
	const struct kind *k = &kinds[kind];
	uint64_t bytes;

	*t = (struct ternary){kind, rows, cols, {0, 0, 0}};
	if (!rows || !cols)
		return err_set(e, ERR_TROUBLE, "%s of %llu x %llu elements is empty", k->name,
		               (unsigned long long)rows, (unsigned long long)cols);
	if (cols % k->block)
		return err_set(e, ERR_TROUBLE, "%s needs a multiple of %u columns, found %llu",
		               k->name, k->block, (unsigned long long)cols);
	if (rows % k->band)
		return err_set(e, ERR_TROUBLE, "%s needs a multiple of %u rows, found %llu",
		               k->name, k->band, (unsigned long long)rows);
	if (dtype_bytes(k->type == DTYPE_NONE ? DTYPE_I8 : k->type, rows, cols, &bytes, e))
		return -1;
	if (kind != TERNARY_TL1 && kind != TERNARY_TL2)
		return 0;
	t->tile = *tile;
	return check_tile(t, e);
}

/* The shape lists of the converters for bitnet_b1_58-large, bitnet_b1_58-3B and Llama3-8B-1.58;
 * of the last one, two lists are in use for TL1. */
static const struct preset {
	enum ternary_kind kind;
	uint32_t rows, cols;
	struct ternary_tile tile;
} presets[] = {
    {TERNARY_TL1, 1536, 4096, {256, 128, 32}},  {TERNARY_TL1, 1536, 1536, {128, 64, 64}},
    {TERNARY_TL1, 4096, 1536, {256, 128, 32}},  {TERNARY_TL1, 3200, 8640, {160, 64, 32}},
    {TERNARY_TL1, 3200, 3200, {320, 128, 64}},  {TERNARY_TL1, 8640, 3200, {320, 64, 32}},
    {TERNARY_TL1, 14336, 4096, {256, 128, 32}}, {TERNARY_TL1, 4096, 14336, {128, 64, 64}},
    {TERNARY_TL1, 1024, 4096, {256, 128, 32}},  {TERNARY_TL1, 4096, 4096, {128, 64, 64}},
    {TERNARY_TL1, 14336, 4096, {256, 128, 64}}, {TERNARY_TL1, 4096, 14336, {256, 128, 32}},
    {TERNARY_TL1, 1024, 4096, {128, 64, 64}},   {TERNARY_TL1, 4096, 4096, {128, 64, 32}},
    {TERNARY_TL2, 1536, 4096, {256, 96, 32}},   {TERNARY_TL2, 1536, 1536, {128, 192, 32}},
    {TERNARY_TL2, 4096, 1536, {256, 96, 32}},   {TERNARY_TL2, 3200, 8640, {160, 96, 32}},
    {TERNARY_TL2, 3200, 3200, {320, 96, 32}},   {TERNARY_TL2, 8640, 3200, {320, 96, 32}},
    {TERNARY_TL2, 14336, 4096, {256, 96, 32}},  {TERNARY_TL2, 4096, 14336, {128, 96, 32}},
    {TERNARY_TL2, 1024, 4096, {256, 96, 32}},   {TERNARY_TL2, 4096, 4096, {128, 96, 32}},
};

int ternary_presets(enum ternary_kind kind, uint64_t rows, uint64_t cols,
                    struct ternary_tile out[2])
{
	int n = 0;

	for (size_t i = 0; i < sizeof presets / sizeof *presets && n < 2; i++)
		if (presets[i].kind == kind && presets[i].rows == rows && presets[i].cols == cols)
			out[n++] = presets[i].tile;
	return n;
}

int ternary_choose(enum ternary_kind kind, uint64_t rows, uint64_t cols, struct ternary_tile *out,
                   struct err *e)
{
	static const uint32_t high[] = {256, 128, 320, 160, 64, 32};
	static const uint32_t wide1[] = {128, 64, 32}, wide2[] = {96, 192};
	const uint32_t *wide = kind == TERNARY_TL1 ? wide1 : wide2;
	size_t n_wide = kind == TERNARY_TL1 ? 3 : 2;
	struct ternary_tile known[2];
	struct ternary t;

	if (ternary_presets(kind, rows, cols, known) > 0) {
		*out = known[0];
		return 0;
	}
	for (size_t h = 0; h < sizeof high / sizeof *high; h++)
		for (size_t w = 0; w < n_wide; w++) {
			*out = (struct ternary_tile){high[h], wide[w], 32};
			if (!ternary_init(&t, kind, rows, cols, out, NULL))
				return 0;
		}
	return err_set(e, ERR_TROUBLE, "no tiling of %s is known that fits %llu x %llu",
	               kinds[kind].name, (unsigned long long)rows, (unsigned long long)cols);
}

uint64_t ternary_hf_rows(const struct ternary *t)
{
	return (t->rows + 3) / 4;
}

/* Bytes that a row takes in each of the places where its codes lie. */
static int row_bytes(const struct ternary *t, uint64_t out[TERNARY_SPANS])
{
	const struct dtype_info *d = dtype_get(kinds[t->kind].type);
	uint64_t two;

	switch (t->kind) {
	case TERNARY_TL2:
		two = pair_cols(t);
		out[0] = (t->cols - two) / 6;
		out[1] = (t->cols - two) / 24;
		out[2] = two / 4;
		return two ? 3 : 2;
	case TERNARY_HF_U8:
		out[0] = t->cols;
		return 1;
	default:
		out[0] = kinds[t->kind].tail ? t->cols / 4
		                             : d->row_prefix + t->cols / d->block * d->block_bytes;
		return 1;
	}
}

uint64_t ternary_code_bytes(const struct ternary *t)
{
	uint64_t row[TERNARY_SPANS], sum = 0;
	int n = row_bytes(t, row);

	if (t->kind == TERNARY_HF_U8)
		return ternary_hf_rows(t) * t->cols;
	/* Four rows may share their bytes though one of them alone is no whole number. */
	if (t->kind == TERNARY_I2_S_ROWS4)
		return t->rows / 4 * t->cols;
	for (int i = 0; i < n; i++)
		sum += row[i] * t->rows;
	return sum;
}

uint64_t ternary_bytes(const struct ternary *t)
{
	uint64_t bytes = 0;

	if (kinds[t->kind].tail)
		dtype_bytes(kinds[t->kind].type, t->rows, t->cols, &bytes, NULL);
	else
		bytes = ternary_code_bytes(t);
	return bytes;
}

uint64_t ternary_group(const struct ternary *t)
{
	return kinds[t->kind].group == 1 ? t->cols : kinds[t->kind].group;
}

uint64_t ternary_band(const struct ternary *t)
{
	return t->tile.rows ? t->tile.rows : kinds[t->kind].band;
}

uint64_t ternary_scales(const struct ternary *t, uint64_t n)
{
	uint64_t group = ternary_group(t);

	return group ? n * (t->cols / group) : 0;
}

float ternary_stored(const struct ternary *t, float scale)
{
	return kinds[t->kind].f16 ? half_to_f32(half_from_f32(scale)) : scale;
}

uint64_t ternary_scale_offset(const struct ternary *t)
{
	return kinds[t->kind].tail ? ternary_bytes(t) - 32 : 0;
}

int ternary_spans(const struct ternary *t, uint64_t row, uint64_t n,
                  struct ternary_span out[TERNARY_SPANS])
{
	uint64_t bytes[TERNARY_SPANS], start = 0;
	int spans = row_bytes(t, bytes);

	if (t->kind == TERNARY_I2_S_ROWS4) {
		out[0] = (struct ternary_span){row / 4 * t->cols, n / 4 * t->cols};
		return 1;
	}
	if (t->kind == TERNARY_HF_U8)
		row %= ternary_hf_rows(t);
	for (int i = 0; i < spans; i++) {
		out[i] = (struct ternary_span){start + row * bytes[i], n * bytes[i]};
		start += t->rows * bytes[i];
	}
	return spans;
}

uint64_t ternary_run(const struct ternary *t, uint64_t row)
{
	uint64_t r = ternary_hf_rows(t), quarter;

	if (t->kind != TERNARY_HF_U8)
		return t->rows - row;
	quarter = (row / r + 1) * r;
	return (quarter < t->rows ? quarter : t->rows) - row;
}

int ternary_unpack(const struct ternary *t, uint64_t row, uint64_t n,
                   const uint8_t *const in[TERNARY_SPANS], int8_t *q, float *scales, struct err *e)
{
	return kinds[t->kind].unpack(t, row, n, in, q, scales, e);
}

void ternary_pack(const struct ternary *t, uint64_t row, uint64_t n, const int8_t *q,
                  const float *scales, uint8_t *const out[TERNARY_SPANS])
{
	kinds[t->kind].pack(t, row, n, q, scales, out);
}

void ternary_pack_hf(const struct ternary *t, uint64_t row, uint64_t n,
                     const int8_t *const plane[4], uint8_t *out)
{
	uint64_t r = ternary_hf_rows(t);

	memset(out, 0, (size_t)(n * t->cols));
	for (int i = 0; i < 4; i++) {
		uint64_t first = row + (uint64_t)i * r;
		uint64_t have = first >= t->rows ? 0 : t->rows - first;

		bulk_get()->pack_plane(out, plane[i], (size_t)((have < n ? have : n) * t->cols),
		                       2 * i);
	}
}

void ternary_tail(const struct ternary *t, float scale, uint8_t *out)
{
	uint64_t codes = ternary_code_bytes(t);

	if (!kinds[t->kind].tail)
		return;
	memset(out, 0, (size_t)(ternary_bytes(t) - codes));
	memcpy(out + (ternary_scale_offset(t) - codes), &scale, sizeof scale);
}
