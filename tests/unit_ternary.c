/* Ternary layouts: bytes of the vectors both ways, in one piece and band by band; shapes;
 * corruption. */
#include "ternary.h"

#include <stdlib.h>

#include "half.h"
#include "quant_vectors.h"
#include "unit.h"

static enum ternary_kind kind_of(const char *format)
{
	return !strcmp(format, "absmean_i2_s") ? TERNARY_I2_S : ternary_find(format);
}

static int describe(struct ternary *t, const struct vector *v)
{
	struct ternary_tile tile = {0, 0, 32};
	struct err e = {0};

	sscanf(v->layout, "BM=%u BY=%u bm=%u", &tile.rows, &tile.cols, &tile.step);
	if (!ternary_init(t, kind_of(v->format), v->rows, v->cols, &tile, &e))
		return 0;
	printf("# %s: %s\n", v->file, e.text);
	unit_bad++;
	return -1;
}

/* Scales of rows [row, row + n) in the order that ternary_pack wants. */
static const float *scales_of(const struct ternary *t, const struct vector *v, uint64_t row)
{
	return v->scales + ternary_scales(t, row);
}

static void pack_some(const struct ternary *t, const struct vector *v, uint8_t *bytes, uint64_t row,
                      uint64_t n)
{
	struct ternary_span span[TERNARY_SPANS];
	uint8_t *out[TERNARY_SPANS] = {0};
	int spans = ternary_spans(t, row, n, span);

	for (int i = 0; i < spans; i++)
		out[i] = bytes + span[i].offset;
	ternary_pack(t, row, n, v->codes + row * t->cols, scales_of(t, v, row), out);
}

static void pack_hf(const struct ternary *t, const struct vector *v, uint8_t *bytes)
{
	uint64_t r = ternary_hf_rows(t);
	const int8_t *plane[4];

	for (uint64_t i = 0; i < 4; i++)
		plane[i] = v->codes + i * r * t->cols;
	ternary_pack_hf(t, 0, r, plane, bytes);
}

static uint8_t *pack(const struct ternary *t, const struct vector *v, uint64_t step)
{
	uint8_t *bytes = malloc(v->n_packed + 1);

	memset(bytes, 0xee, v->n_packed + 1);
	if (t->kind == TERNARY_HF_U8)
		pack_hf(t, v, bytes);
	else
		for (uint64_t row = 0; row < t->rows; row += step)
			pack_some(t, v, bytes, row, step < t->rows - row ? step : t->rows - row);
	ternary_tail(t, v->scales[0], bytes + ternary_code_bytes(t));
	return bytes;
}

static void check_pack(const struct ternary *t, const struct vector *v, uint64_t step)
{
	uint8_t *got = pack(t, v, step);
	size_t i = 0;

	while (i < v->n_packed && got[i] == v->packed[i])
		i++;
	if (i < v->n_packed) {
		printf("# %s: packed byte %zu is %02x, expected %02x\n", v->file, i, got[i],
		       v->packed[i]);
		unit_bad++;
	}
	CHECK_INT(got[v->n_packed], 0xee);
	free(got);
}

static int unpack(const struct ternary *t, const uint8_t *bytes, int8_t *q, float *scales,
                  uint64_t step, struct err *e)
{
	for (uint64_t row = 0, n; row < t->rows; row += n) {
		struct ternary_span span[TERNARY_SPANS];
		const uint8_t *in[TERNARY_SPANS] = {0};

		n = ternary_run(t, row) < step ? ternary_run(t, row) : step;
		int spans = ternary_spans(t, row, n, span);
		for (int i = 0; i < spans; i++)
			in[i] = bytes + span[i].offset;
		if (ternary_unpack(t, row, n, in, q + row * t->cols,
		                   scales + ternary_scales(t, row), e))
			return -1;
	}
	return 0;
}

static void check_unpack(const struct ternary *t, const struct vector *v, uint64_t step)
{
	uint64_t n = t->rows * t->cols, scales = ternary_scales(t, t->rows);
	int8_t *q = calloc(n + 1, 1);
	float *s = calloc(n + 1, sizeof *s);
	struct err e = {0};

	if (unpack(t, v->packed, q, s, step, &e)) {
		printf("# %s: %s\n", v->file, e.text);
		unit_bad++;
	} else if (v->codes) {
		for (uint64_t i = 0; i < n; i++)
			if (q[i] != v->codes[i]) {
				printf("# %s: code %llu is %d, expected %d\n", v->file,
				       (unsigned long long)i, q[i], v->codes[i]);
				unit_bad++;
				break;
			}
		for (uint64_t i = 0; i < scales; i++)
			CHECK(s[i] == ternary_stored(t, v->scales[i]));
	}
	for (uint64_t i = 0; v->values && scales && i < n; i++) {
		float y = (float)q[i] * s[i / ternary_group(t)];

		if (memcmp(&y, v->values + i, 4) != 0 && !(y == 0 && v->values[i] == 0)) {
			printf("# %s: value %llu differs\n", v->file, (unsigned long long)i);
			unit_bad++;
			break;
		}
	}
	free(q);
	free(s);
}

static void check_vector(const struct vector *v)
{
	struct ternary t;

	if (kind_of(v->format) == TERNARY_NONE || describe(&t, v))
		return;
	uint64_t band = ternary_band(&t);
	CHECK_INT(t.kind == TERNARY_HF_U8 ? ternary_code_bytes(&t) : ternary_bytes(&t),
	          v->n_packed);
	if (v->codes && v->scales) {
		check_pack(&t, v, t.rows);
		check_pack(&t, v, band);
		check_pack(&t, v, 3 * band);
	}
	check_unpack(&t, v, t.rows);
	check_unpack(&t, v, band);
	if (ternary_scale_offset(&t) && v->scales)
		CHECK(!memcmp(v->packed + ternary_scale_offset(&t), v->scales, 4));
}

static void vectors(void)
{
	CHECK(vector_each("tests/data/quant", check_vector) > 80);
}

static void shared_vectors(void)
{
	CHECK(vector_each(vector_shared(), check_vector) > 90);
}

/* Codes that depend on their place, and scales that F16 holds. */
static void fill(const struct ternary *t, int8_t *q, float *s)
{
	uint32_t x = 12345;

	for (uint64_t i = 0; i < t->rows * t->cols; i++) {
		x = x * 1664525 + 1013904223;
		q[i] = (int8_t)((int)(x >> 24) % 3 - 1);
	}
	for (uint64_t i = 0; i < ternary_scales(t, t->rows); i++)
		s[i] = 0.25f + (float)(i % 7) * 0.125f;
}

static void round_trip(enum ternary_kind kind, uint64_t rows, uint64_t cols,
                       struct ternary_tile tile)
{
	struct ternary t;
	struct err e = {0};
	uint64_t n = rows * cols;
	struct vector v = {.rows = rows, .cols = cols};

	snprintf(v.file, sizeof v.file, "%s", ternary_name(kind));
	if (ternary_init(&t, kind, rows, cols, &tile, &e)) {
		printf("# %s: %s\n", v.file, e.text);
		unit_bad++;
		return;
	}
	v.codes = malloc(n);
	v.scales = calloc(n, sizeof *v.scales);
	fill(&t, v.codes, v.scales);
	if (!ternary_scales(&t, 1))
		v.scales[0] = 0.75f;
	v.n_packed = ternary_bytes(&t);
	v.packed = pack(&t, &v, t.rows);
	CHECK_INT(v.packed[v.n_packed], 0xee);
	check_pack(&t, &v, ternary_band(&t));
	check_unpack(&t, &v, ternary_band(&t));
	vector_free(&v);
}

/* Every kind, with the layouts that no vector has. */
static void round_trips(void)
{
	struct ternary_tile none = {0, 0, 0};

	for (int k = 1; k < TERNARY_KINDS; k++)
		if (k != TERNARY_TL1 && k != TERNARY_TL2)
			round_trip((enum ternary_kind)k, 12, 768, none);
	round_trip(TERNARY_HF_U8, 10, 24, none);
	round_trip(TERNARY_TL1, 256, 384, (struct ternary_tile){128, 64, 64});
	round_trip(TERNARY_TL1, 64, 128, (struct ternary_tile){64, 128, 16});
	round_trip(TERNARY_TL2, 64, 448, (struct ternary_tile){64, 192, 32});
	round_trip(TERNARY_TL2, 96, 384, (struct ternary_tile){32, 96, 32});
}

/* ternary-formats.md 3: a matrix by formula, its bytes by hand. */
static void tl2_example(void)
{
	static const uint8_t a[32] = {0x98, 0x42, 0x42, 0x98, 0x42, 0x42, 0x98, 0x42,
	                              0x42, 0x42, 0x98, 0x42, 0x42, 0x98, 0x42, 0x42,
	                              0x42, 0x98, 0x42, 0x42, 0x98, 0x42, 0x42, 0x98,
	                              0x98, 0x42, 0x42, 0x98, 0x42, 0x42, 0x98, 0x42};
	static const uint8_t b[16] = {0x68, 0xa2, 0xc0, 0x00, 0x94, 0x51, 0x68, 0xa2,
	                              0xc0, 0x00, 0x94, 0x51, 0x68, 0xa2, 0xc0, 0x00};
	static const uint8_t c[8] = {0x57, 0x62, 0x62, 0x57, 0x62, 0x62, 0x57, 0x62};
	/* The size rule needs 256 columns; the bytes of a band do not. */
	struct ternary t = {TERNARY_TL2, 32, 128, {32, 96, 32}};
	int8_t q[32 * 128];
	uint8_t bytes[512 + 128 + 256];
	uint8_t *out[TERNARY_SPANS] = {bytes, bytes + 512, bytes + 640};

	for (int r = 0; r < 32; r++)
		for (int k = 0; k < 128; k++)
			q[128 * r + k] = (int8_t)((r * r + 3 * r + k * k + k / 5) % 3 - 1);
	ternary_pack(&t, 0, 32, q, NULL, out);
	CHECK(!memcmp(bytes, a, sizeof a));
	CHECK(!memcmp(bytes + 512, b, sizeof b));
	CHECK(!memcmp(bytes + 640, c, sizeof c));
}

/* other-formats.md 1.3 */
static void ptq1_example(void)
{
	static const uint8_t want[28] = {0x15, 0x67, 0xa8, 0x05, 0x70, 0x5c, 0x22, 0xe3, 0xac, 0x7b,
	                                 0xca, 0xb6, 0xa1, 0xe4, 0x29, 0xee, 0x29, 0xdd, 0x05, 0x52,
	                                 0x3b, 0x76, 0xa7, 0x39, 0xab, 0x3d, 0x00, 0x3a};
	struct ternary t;
	int8_t q[128];
	uint8_t bytes[28] = {0}, *out[TERNARY_SPANS] = {bytes};
	float scale = 0.75f;

	for (int i = 0; i < 128; i++)
		q[i] = (int8_t)((i * i + i / 7) % 3 - 1);
	CHECK_INT(ternary_init(&t, TERNARY_PTQ1_0, 1, 128, NULL, NULL), 0);
	ternary_pack(&t, 0, 1, q, &scale, out);
	CHECK(!memcmp(bytes, want, sizeof want));
}

static void refuses(enum ternary_kind kind, uint64_t rows, uint64_t cols, struct ternary_tile tile,
                    const char *text)
{
	struct ternary t;
	struct err e = {0};

	CHECK_INT(ternary_init(&t, kind, rows, cols, &tile, &e), -1);
	CHECK_INT(e.status, ERR_TROUBLE);
	CHECK_STR(e.text, text);
}

static void shapes(void)
{
	struct ternary_tile none = {0, 0, 0};

	refuses(TERNARY_I2_S, 4, 64, none, "i2_s needs a multiple of 128 columns, found 64");
	refuses(TERNARY_TQ1_0, 4, 640, none, "tq1_0 needs a multiple of 256 columns, found 640");
	refuses(TERNARY_IQ2_BN_R4, 6, 64, none, "iq2_bn_r4 needs a multiple of 4 rows, found 6");
	refuses(TERNARY_I2_S, 0, 128, none, "i2_s of 0 x 128 elements is empty");
	refuses(TERNARY_TL2, 64, 256, none, "tl2 needs BM,BY,bm above zero");
	refuses(TERNARY_TL1, 64, 128, (struct ternary_tile){64, 128, 48},
	        "tl1: bm is 48; it can be 16, 32 or 64");
	refuses(TERNARY_TL2, 64, 256, (struct ternary_tile){64, 96, 64},
	        "tl2: bm is 64; it is always 32");
	refuses(TERNARY_TL2, 96, 288, (struct ternary_tile){64, 96, 32},
	        "tl2 of 96 x 288 with BM,BY,bm = 64,96,32: the number of rows 96 is not a multiple "
	        "of 64");
	refuses(TERNARY_TL2, 64, 300, (struct ternary_tile){64, 96, 32},
	        "tl2 of 64 x 300 with BM,BY,bm = 64,96,32: columns left for pairs: 12 is not a "
	        "multiple of 32");
	refuses(TERNARY_I2_S, UINT64_C(1) << 40, UINT64_C(1) << 40, none,
	        "I2_S of 1099511627776 x 1099511627776 elements is too large");
}

static void presets(void)
{
	struct ternary_tile tile[2];
	struct ternary t;

	CHECK_INT(ternary_presets(TERNARY_TL1, 14336, 4096, tile), 2);
	CHECK_INT(tile[0].step, 32);
	CHECK_INT(tile[1].step, 64);
	CHECK_INT(ternary_presets(TERNARY_TL2, 3200, 8640, tile), 1);
	CHECK_INT(tile[0].rows, 160);
	CHECK_INT(ternary_presets(TERNARY_TL2, 2560, 6912, tile), 0);
	CHECK_INT(ternary_choose(TERNARY_TL2, 2560, 6912, tile, NULL), 0);
	CHECK_INT(ternary_init(&t, TERNARY_TL2, 2560, 6912, tile, NULL), 0);
	CHECK_INT(ternary_choose(TERNARY_TL1, 6912, 2560, tile, NULL), 0);
	CHECK_INT(ternary_init(&t, TERNARY_TL1, 6912, 2560, tile, NULL), 0);
	CHECK_INT(ternary_choose(TERNARY_TL1, 7, 256, tile, NULL), -1);
}

static void names(void)
{
	CHECK_INT(ternary_find("I2_S"), TERNARY_I2_S);
	CHECK_INT(ternary_find("f16"), TERNARY_NONE);
	CHECK_INT(ternary_of_dtype(DTYPE_I2_S), TERNARY_I2_S);
	CHECK_INT(ternary_of_dtype(DTYPE_F16), TERNARY_NONE);
	CHECK_INT(ternary_find_i2s("arm"), TERNARY_I2_S_ARM);
	CHECK_INT(ternary_find_i2s("mips"), TERNARY_NONE);
	CHECK_STR(ternary_i2s_layout(TERNARY_I2_S_ROWS4), "rows4");
	CHECK_INT(ternary_dtype(TERNARY_I2_S_ARM), DTYPE_I2_S);
}

/* A byte of bytes set to value: what unpack says. */
static void corrupt(enum ternary_kind kind, uint64_t cols, struct ternary_tile tile, size_t at,
                    uint8_t value, const char *text)
{
	struct ternary t;
	struct err e = {0};
	struct vector v = {0};

	CHECK_INT(ternary_init(&t, kind, 64, cols, &tile, &e), 0);
	v.codes = calloc(64, cols);
	v.scales = calloc(64 * cols, sizeof *v.scales);
	v.n_packed = ternary_bytes(&t);
	v.packed = pack(&t, &v, t.rows);
	v.packed[at] = value;
	int8_t *q = malloc(64 * cols);
	CHECK_INT(unpack(&t, v.packed, q, v.scales, ternary_band(&t), &e), -1);
	CHECK_STR(e.text, text);
	free(q);
	vector_free(&v);
}

static void corruption(void)
{
	struct ternary_tile none = {0, 0, 0}, tl = {64, 96, 32};

	corrupt(TERNARY_I2_S, 256, none, 65, 0x5d, "i2_s: row 1, column 65: code 3 is not ternary");
	corrupt(TERNARY_I2_S_ARM, 256, none, 65, 0x5d,
	        "i2_s_arm: row 1, column 33: code 3 is not ternary");
	corrupt(TERNARY_I2_S_ROWS4, 256, none, 257, 0x5d,
	        "i2_s_rows4: row 6, column 1: code 3 is not ternary");
	corrupt(TERNARY_HF_U8, 256, none, 257, 0x5d,
	        "hf_u8: row 17, column 1: code 3 is not ternary");
	corrupt(TERNARY_TQ2_0, 256, none, 67, 0x5d,
	        "tq2_0: row 1, column 33: code 3 is not ternary");
	corrupt(TERNARY_TQ1_0, 256, none, 53, 0x7c, "tq1_0: row 0, scale 0 is not finite");
	corrupt(TERNARY_Q2_0, 256, none, 20, 0xd5, "q2_0: row 0, column 67: code 3 is not ternary");
	corrupt(TERNARY_IQ2_BN, 256, none, 4, 0x5d,
	        "iq2_bn: row 0, column 16: code 3 is not ternary");
	corrupt(TERNARY_IQ1_BN, 256, none, 1, 0x7e, "iq1_bn: row 0, scale 0 is not finite");
	corrupt(TERNARY_IQ2_BN_R4, 256, none, 16, 0x5d,
	        "iq2_bn_r4: row 0, column 4: code 3 is not ternary");
	corrupt(TERNARY_TL1, 256, (struct ternary_tile){64, 64, 32}, 0, 0x94,
	        "tl1: row 0, column 0: code 9 is not ternary");
	corrupt(TERNARY_TL2, 288, tl, 1, 0x0e, "tl2: row 1, column 3: code 14 is not ternary");
	corrupt(TERNARY_TL2, 288, tl, 64 * 288 / 6 + 1, 0x80,
	        "tl2: row 0, column 0: zero with a sign");
}

int main(void)
{
	RUN(vectors);
	if (vector_shared())
		RUN(shared_vectors);
	else
		SKIP(shared_vectors, "no shared vectors");
	RUN(round_trips);
	RUN(tl2_example);
	RUN(ptq1_example);
	RUN(shapes);
	RUN(presets);
	RUN(names);
	RUN(corruption);
	return unit_end();
}
