/* Floats to codes and blocks: the vectors, 16-bit floats in full, every bulk table against plain C.
 */
#include "quantize.h"

#include <math.h>
#include <stdlib.h>

#include "blocks.h"
#include "half.h"
#include "quant_vectors.h"
#include "unit.h"

static uint32_t seed = 1;

static uint32_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

/* About normal, standard deviation 1. */
static float next_normal(void)
{
	float sum = -6;

	for (int i = 0; i < 12; i++)
		sum += (float)(next_random() >> 8) * 0x1p-24f;
	return sum;
}

static void check_codes(const struct vector *v, const int8_t *q)
{
	for (uint64_t i = 0; i < v->rows * v->cols; i++)
		if (q[i] != v->codes[i]) {
			printf("# %s: code %llu is %d, expected %d\n", v->file,
			       (unsigned long long)i, q[i], v->codes[i]);
			unit_bad++;
			return;
		}
}

static void check_tensor(const struct vector *v, int8_t *q)
{
	uint64_t n = v->rows * v->cols;
	struct bulk_survey s;
	struct quantize_choice c;
	float want = v->scales[0];
	struct bulk_error error = {0};
	struct bulk_count count = {0, 0};

	bulk_survey_init(&s);
	bulk_get()->survey(&s, v->input, n);
	quantize_choose(&s, n, &c);
	bulk_get()->round(q, v->input, n, c.inverse, c.scale, &error, &count);
	check_codes(v, q);
	if (strcmp(v->file, "master-zero-absmean_i2_s") != 0) /* any scale will do for zeros */
		CHECK(fabsf(c.scale - want) <= 4e-7f * want);
	if (strncmp(v->file, "tern-", 5) == 0) {
		CHECK_INT(c.rule, QUANTIZE_KEEP);
		CHECK(c.scale == want);
	}
}

static void check_groups(const struct vector *v, enum ternary_kind kind, int8_t *q)
{
	struct ternary t;

	CHECK_INT(ternary_init(&t, kind, v->rows, v->cols, NULL, NULL), 0);
	uint64_t group = ternary_group(&t);
	for (uint64_t i = 0; i < v->rows * v->cols; i += group) {
		float scale;

		quantize_by_max(kind, q + i, v->input + i, group, &scale);
		CHECK(ternary_stored(&t, scale) == v->scales[i / group]);
	}
	check_codes(v, q);
}

/* Decoding is binding; encoding is measured below. */
static void check_block(const struct vector *v, enum dtype type)
{
	uint64_t n = v->rows * v->cols;
	float *y = malloc(n * sizeof *y);

	blocks_read(type, y, v->packed, n);
	if (v->input && v->values == NULL)
		printf("# %s: no values\n", v->file);
	for (uint64_t i = 0; i < n; i++)
		if (!(fabsf(y[i] - v->values[i]) <= 1e-6f * fabsf(v->values[i]))) {
			printf("# %s: value %llu is %g, expected %g\n", v->file,
			       (unsigned long long)i, (double)y[i], (double)v->values[i]);
			unit_bad++;
			break;
		}
	free(y);
}

static void check_vector(const struct vector *v)
{
	int absmean = !strcmp(v->format, "absmean_i2_s");
	enum ternary_kind kind = absmean ? TERNARY_I2_S : ternary_find(v->format);
	enum dtype type = dtype_find(v->format);

	if (kind == TERNARY_NONE) {
		check_block(v, type);
		return;
	}
	if (!v->input)
		return;
	int8_t *q = malloc(v->rows * v->cols);
	if (kind == TERNARY_HF_U8 || kind <= TERNARY_TL2)
		check_tensor(v, q);
	else
		check_groups(v, kind, q);
	free(q);
}

static void vectors(void)
{
	CHECK(vector_each("tests/data/quant", check_vector) > 80);
}

static void shared_vectors(void)
{
	CHECK(vector_each(vector_shared(), check_vector) > 90);
}

/* Binary16 by arithmetic on doubles. */
static double f16_value(uint16_t h)
{
	int exponent = h >> 10 & 31, fraction = h & 1023;
	double v = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);

	return h & 0x8000 ? -v : v;
}

static void halves(void)
{
	for (uint32_t h = 0; h < 65536; h++) {
		float f = half_to_f32((uint16_t)h);

		if ((h & 0x7c00) == 0x7c00) {
			CHECK(h & 0x3ff ? isnan(f) : isinf(f));
			continue;
		}
		CHECK((double)f == f16_value((uint16_t)h));
		CHECK_INT(half_from_f32(f), h);
		CHECK_INT(half_bf16_from_f32(half_bf16_to_f32((uint16_t)h)), h);
	}
}

/* Between neighbours a and b = a + 1 the middle goes to the even one, all else to the nearer one.
 */
static void halves_round(void)
{
	for (uint16_t a = 0; a < 0x7bff; a++) {
		double lo = f16_value(a), hi = f16_value((uint16_t)(a + 1)), mid = (lo + hi) / 2;
		float m = (float)mid;

		CHECK_INT(half_from_f32(m), a + (a & 1));
		CHECK_INT(half_from_f32(nextafterf(m, 0)), a);
		CHECK_INT(half_from_f32(nextafterf(m, 1e9f)), a + 1);
		CHECK_INT(half_from_f32(-m), 0x8000 | (a + (a & 1)));
	}
	CHECK_INT(half_from_f32(65519.996f), 0x7bff);
	CHECK_INT(half_from_f32(65520), 0x7c00);
	CHECK_INT(half_from_f32(-INFINITY), 0xfc00);
	CHECK_INT(half_from_f32(NAN) & 0x7e00, 0x7e00);
	CHECK_INT(half_bf16_from_f32(half_bits_f32(0x3f808000)), 0x3f80);
	CHECK_INT(half_bf16_from_f32(half_bits_f32(0x3f818000)), 0x3f82);
	CHECK_INT(half_bf16_from_f32(half_bits_f32(0x3f808001)), 0x3f81);
	CHECK_INT(half_bf16_from_f32(half_bits_f32(0x7f7fffff)), 0x7f80);
	CHECK(isnan(half_bf16_to_f32(half_bf16_from_f32(half_bits_f32(0x7f800001)))));
}

#define N 1283 /* no multiple of any register */

struct arrays {
	uint8_t bytes[4 * N + 64];
	float x[N + 16], y[N + 16];
	int8_t q[N + 128];
};

static void fill(struct arrays *a)
{
	for (size_t i = 0; i < sizeof a->bytes; i++)
		a->bytes[i] = (uint8_t)(next_random() >> 9);
	for (size_t i = 0; i < N; i++) {
		a->x[i] = i % 11 == 3 ? 0 : next_normal();
		a->y[i] = a->x[i] + 0.1f * next_normal();
		a->q[i] = (int8_t)(next_random() % 3 - 1);
	}
	a->x[7] = -0.0f;
	a->x[8] = 1e-41f;
	a->x[9] = 0.5f;
	a->x[10] = -0.5f;
	a->x[11] = nextafterf(0.5f, 1);
}

static void same_conversions(const struct bulk *a, const struct bulk *b, const struct arrays *in)
{
	static float fa[N + 16], fb[N + 16];
	static uint8_t ba[4 * N + 64], bb[4 * N + 64];

	for (size_t n = 0; n <= N; n += n < 70 ? 1 : 97) {
		memset(fa, 0xee, sizeof fa);
		memcpy(fb, fa, sizeof fb);
		a->read_f16(fa, in->bytes + n % 3, n);
		b->read_f16(fb, in->bytes + n % 3, n);
		CHECK(!memcmp(fa, fb, sizeof fa));
		a->read_bf16(fa, in->bytes + n % 3, n);
		b->read_bf16(fb, in->bytes + n % 3, n);
		CHECK(!memcmp(fa, fb, sizeof fa));
		memset(ba, 0xee, sizeof ba);
		memcpy(bb, ba, sizeof bb);
		memcpy(fa, in->bytes, sizeof fa); /* any bits, NaN too */
		a->write_f16(ba + n % 3, fa, n);
		b->write_f16(bb + n % 3, fa, n);
		CHECK(!memcmp(ba, bb, sizeof ba));
		a->write_bf16(ba + n % 3, fa, n);
		b->write_bf16(bb + n % 3, fa, n);
		CHECK(!memcmp(ba, bb, sizeof ba));
	}
}

static void same_passes(const struct bulk *a, const struct bulk *b, const struct arrays *in)
{
	static int8_t qa[N + 64], qb[N + 64];

	for (size_t n = 0; n <= N; n += n < 70 ? 1 : 97) {
		struct bulk_survey sa, sb;
		struct bulk_error ea = {0}, eb = {0};
		struct bulk_count ca = {1, 2}, cb = {1, 2};

		bulk_survey_init(&sa);
		bulk_survey_init(&sb);
		a->survey(&sa, in->x, n / 16 * 16);
		b->survey(&sb, in->x, n / 16 * 16);
		a->survey(&sa, in->x + n / 16 * 16, n % 16);
		b->survey(&sb, in->x + n / 16 * 16, n % 16);
		CHECK(!memcmp(&sa, &sb, sizeof sa));
		memset(qa, 5, sizeof qa);
		memset(qb, 5, sizeof qb);
		a->codes(qa, in->x, n, 0.9f);
		b->codes(qb, in->x, n, 0.9f);
		CHECK(!memcmp(qa, qb, sizeof qa));
		a->round(qa, in->x, n, 1.0f + (float)(n % 2), 0.7f, &ea, &ca);
		b->round(qb, in->x, n, 1.0f + (float)(n % 2), 0.7f, &eb, &cb);
		CHECK(!memcmp(qa, qb, sizeof qa));
		a->error(&ea, in->x, in->y, n);
		b->error(&eb, in->x, in->y, n);
		a->error_codes(&ea, in->x, in->q, n, 0.8f);
		b->error_codes(&eb, in->x, in->q, n, 0.8f);
		CHECK(!memcmp(&ea, &eb, sizeof ea));
		a->count(in->q, n, &ca);
		b->count(in->q, n, &cb);
		CHECK(!memcmp(&ca, &cb, sizeof ca));
	}
}

static void same_packing(const struct bulk *a, const struct bulk *b, const struct arrays *in)
{
	static int8_t qa[N + 64], qb[N + 64];
	static uint8_t ba[N + 64], bb[N + 64], clean[N];

	for (size_t i = 0; i < N; i++)
		clean[i] = (uint8_t)(in->bytes[i] & ~(in->bytes[i] >> 1 & 0x55));
	for (size_t blocks = 0; blocks <= 10; blocks++) {
		memset(ba, 1, sizeof ba);
		memset(bb, 1, sizeof bb);
		a->pack_i2s(ba + 1, in->q, blocks);
		b->pack_i2s(bb + 1, in->q, blocks);
		CHECK(!memcmp(ba, bb, sizeof ba));
		memset(qa, 5, sizeof qa);
		memset(qb, 5, sizeof qb);
		CHECK_INT(b->unpack_i2s(qb, in->bytes, blocks),
		          a->unpack_i2s(qa, in->bytes, blocks));
		CHECK(!memcmp(qa, qb, sizeof qa));
		CHECK_INT(b->unpack_i2s(qb, clean + 1, blocks), 0);
	}
	for (size_t n = 0; n <= N; n += n < 70 ? 1 : 97)
		for (int shift = 0; shift < 8; shift += 2) {
			memset(ba, 0, sizeof ba);
			memset(bb, 0, sizeof bb);
			a->pack_plane(ba, in->q, n, shift);
			b->pack_plane(bb, in->q, n, shift);
			CHECK(!memcmp(ba, bb, sizeof ba));
			memset(qa, 5, sizeof qa);
			memset(qb, 5, sizeof qb);
			CHECK_INT(b->unpack_plane(qb, in->bytes, n, shift),
			          a->unpack_plane(qa, in->bytes, n, shift));
			CHECK(!memcmp(qa, qb, sizeof qa));
			CHECK_INT(b->unpack_plane(qb, clean, n, shift), 0);
		}
}

/* Every table gives the bits of the first one, plain C. */
static void tables(void)
{
	static struct arrays in;
	int runs;
	const struct bulk *scalar = bulk_at(0, &runs), *b;

	CHECK_STR(scalar->name, "scalar");
	for (size_t i = 1; (b = bulk_at(i, &runs)); i++) {
		printf("# %s%s\n", b->name, runs ? "" : ": not on this CPU");
		if (!runs)
			continue;
		for (int turn = 0; turn < 3; turn++) {
			fill(&in);
			same_conversions(scalar, b, &in);
			same_passes(scalar, b, &in);
			same_packing(scalar, b, &in);
		}
	}
}

static void choices(void)
{
	static const float w[8] = {0.9f, -0.2f, 0.1f, -1.4f, 0.5f, 0, -0.6f, 0.3f};
	static const int8_t want[8] = {1, 0, 0, -1, 1, 0, -1, 1};
	static const float near[4] = {0.75f, -0.7501f, 0, 0.75f};
	static const float far[4] = {0.75f, -0.7601f, 0, 0.75f};
	struct bulk_survey s;
	struct quantize_choice c;
	struct bulk_error error = {0};
	struct bulk_count count = {0, 0};
	int8_t q[8];

	bulk_survey_init(&s);
	bulk_get()->survey(&s, w, 8);
	quantize_choose(&s, 8, &c);
	bulk_get()->round(q, w, 8, c.inverse, c.scale, &error, &count);
	CHECK_INT(c.rule, QUANTIZE_ABSMEAN);
	CHECK(c.scale == 0.5f);
	CHECK(count.plus == 3 && count.minus == 2);
	CHECK(error.max == fabsf(-1.4f + 0.5f));
	CHECK(!memcmp(q, want, 8));
	bulk_survey_init(&s);
	bulk_get()->survey(&s, near, 4);
	quantize_choose(&s, 4, &c);
	CHECK_INT(c.rule, QUANTIZE_KEEP);
	CHECK(c.spread > 1e-4 && c.spread < 2e-4);
	bulk_survey_init(&s);
	bulk_get()->survey(&s, far, 4);
	quantize_choose(&s, 4, &c);
	CHECK_INT(c.rule, QUANTIZE_ABSMEAN);
}

static void not_finite(void)
{
	float x[20] = {0};
	struct bulk_survey s;

	for (int bad = 0; bad < 3; bad++) {
		x[17] = bad == 0 ? INFINITY : bad == 1 ? -INFINITY : NAN;
		bulk_survey_init(&s);
		bulk_get()->survey(&s, x, 20);
		CHECK(!quantize_finite(&s));
		CHECK_INT(quantize_bad(x, 20), 17);
	}
	x[17] = 3e38f;
	bulk_survey_init(&s);
	bulk_get()->survey(&s, x, 20);
	CHECK(quantize_finite(&s));
	CHECK_INT(quantize_bad(x, 20), 20);
}

/* Squared error of normal values through a type, relative to their squares, and of what comes back
 * through it once more. */
static double loss(enum dtype type, float factor, double *again)
{
	enum { K = 1 << 14 };
	static float x[K], y[K], z[K];
	static uint8_t bytes[8 * K];
	double xx = 0, dd = 0, yy = 0, ee = 0;

	for (int i = 0; i < K; i++)
		x[i] = next_normal() * factor;
	blocks_write(type, bytes, x, K);
	blocks_read(type, y, bytes, K);
	blocks_write(type, bytes, y, K);
	blocks_read(type, z, bytes, K);
	for (int i = 0; i < K; i++) {
		xx += (double)x[i] * (double)x[i];
		yy += (double)y[i] * (double)y[i];
		dd += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
		ee += ((double)y[i] - (double)z[i]) * ((double)y[i] - (double)z[i]);
	}
	*again = ee / yy;
	return dd / xx;
}

/* What these types lose on normal values: a uniform step of max / levels gives about these. */
static void block_types(void)
{
	static const struct {
		enum dtype type;
		double loss, again;
	} types[] = {
	    {DTYPE_F32, 0, 0},        {DTYPE_F16, 1e-7, 0},       {DTYPE_BF16, 6e-6, 0},
	    {DTYPE_Q8_0, 3e-5, 1e-6}, {DTYPE_Q6_K, 3.5e-4, 1e-4}, {DTYPE_Q4_K, 6e-3, 1e-3},
	    {DTYPE_Q4_0, 1e-2, 1e-5},
	};

	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		double again, l = loss(types[i].type, 0.02f, &again);

		printf("# %s: loss %.3g, again %.3g\n", dtype_get(types[i].type)->name, l, again);
		CHECK(l <= types[i].loss);
		CHECK(again <= types[i].again);
		CHECK(blocks_writable(types[i].type));
	}
	CHECK(!blocks_writable(DTYPE_Q5_K) && blocks_readable(DTYPE_Q5_K));
	CHECK(!blocks_readable(DTYPE_I2_S));
}

/* Extreme blocks stay finite, and zeros stay zeros. */
static void block_extremes(void)
{
	static const enum dtype types[] = {DTYPE_Q8_0, DTYPE_Q6_K, DTYPE_Q4_0, DTYPE_Q4_K};
	static const float values[] = {0, 1e-30f, -1e-8f, 65504, 3e38f, -3e38f};
	float x[256], y[256];
	uint8_t bytes[1024];

	for (size_t t = 0; t < 4; t++)
		for (size_t v = 0; v < 6; v++)
			for (int mixed = 0; mixed < 2; mixed++) {
				for (int i = 0; i < 256; i++)
					x[i] = mixed && i % 3 ? -values[v] / (float)(i + 1)
					                      : values[v];
				blocks_write(types[t], bytes, x, 256);
				blocks_read(types[t], y, bytes, 256);
				CHECK_INT(quantize_bad(y, 256), 256);
				for (int i = 0; v == 0 && i < 256; i++)
					CHECK(y[i] == 0);
			}
}

static void errors(void)
{
	static const float x[4] = {1, -1, 2, 0}, y[4] = {1, 1, 1, 0};
	struct bulk_error s = {0};
	struct quantize_report r = {.n = 4};

	bulk_get()->error(&s, x, y, 4);
	quantize_errors(&r, &s);
	CHECK(r.mse == 1.25);
	CHECK(r.max_error == 2);
	CHECK(fabs(r.cosine - 2 / sqrt(18)) < 1e-15);
	CHECK(fabs(r.loss - 5.0 / 6) < 1e-15);
	CHECK(quantize_is_untrained(&r));
	memset(&s, 0, sizeof s);
	bulk_get()->error(&s, x, x, 4);
	quantize_errors(&r, &s);
	CHECK(r.mse == 0 && r.cosine == 1 && r.loss == 0);
	CHECK(!quantize_is_untrained(&r));
}

int main(void)
{
	RUN(vectors);
	if (vector_shared())
		RUN(shared_vectors);
	else
		SKIP(shared_vectors, "no shared vectors");
	RUN(halves);
	RUN(halves_round);
	RUN(tables);
	RUN(choices);
	RUN(not_finite);
	RUN(block_types);
	RUN(block_extremes);
	RUN(errors);
	return unit_end();
}
