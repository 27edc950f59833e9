/* Retyping: every pair of types, in one thread and in several, from memory and from a file. */
#include "retype.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "blocks.h"
#include "fail_alloc.h"
#include "half.h"
#include "unit.h"

#define ROWS 96u
#define COLS 768u
#define N    (ROWS * COLS)

static const struct ternary_tile tile1 = {32, 64, 32}, tile2 = {32, 192, 32};

/* Bytes that retype_write put. */
struct sink {
	uint8_t *p;
	size_t n, cap;
	int fail_at; /* calls until an error; -1: never */
};

static int sink_put(void *arg, const void *p, size_t n, struct err *e)
{
	struct sink *s = arg;

	if (s->fail_at-- == 0)
		return err_set(e, ERR_TROUBLE, "no space");
	while (s->n + n > s->cap) {
		s->cap = 2 * s->cap + n;
		s->p = realloc(s->p, s->cap);
	}
	memcpy(s->p + s->n, p, n);
	s->n += n;
	return 0;
}

static struct retype_form form_of(enum ternary_kind kind, enum dtype type, uint64_t rows,
                                  uint64_t cols)
{
	struct retype_form f;
	struct err e = {0};
	const struct ternary_tile *tile = kind == TERNARY_TL2 ? &tile2 : &tile1;
	int bad = kind != TERNARY_NONE ? retype_form_ternary(&f, kind, rows, cols, tile, &e)
	                               : retype_form(&f, type, rows, cols, NULL, &e);

	if (bad) {
		printf("# %s\n", e.text);
		unit_bad++;
	}
	return f;
}

static struct retype_source source_of(struct retype_form form, const uint8_t *data)
{
	return (struct retype_source){
	    .form = form, .rows = ROWS, .cols = COLS, .data = data, .factor = 1};
}

/* Retypes; the result's bytes, which the caller frees.  Errors are in *e. */
static uint8_t *run(const struct retype_source *src, const struct retype_target *dst,
                    struct threads *threads, struct quantize_report *report, float *scale,
                    size_t *n, struct err *e)
{
	struct sink s = {.fail_at = -1};
	struct retype *r;

	if (retype_open(&r, src, dst, threads, e))
		return NULL;
	if (retype_write(r, sink_put, &s, e)) {
		free(s.p);
		s.p = NULL;
	} else {
		CHECK_INT(s.n, retype_bytes(r));
		*report = *retype_report(r);
		*scale = retype_scale(r);
		*n = s.n;
	}
	retype_close(r);
	return s.p;
}

static float *ternary_values(float scale)
{
	float *x = malloc(N * sizeof *x);
	uint32_t seed = 99;

	for (size_t i = 0; i < N; i++) {
		seed = seed * 1664525 + 1013904223;
		x[i] = scale * (float)((int)(seed >> 24) % 3 - 1);
	}
	memset(x + 5 * COLS, 0, COLS * sizeof *x);      /* a row of zeros */
	memset(x + 7 * COLS + 256, 0, 256 * sizeof *x); /* a block of zeros */
	return x;
}

static float *bell_values(void)
{
	float *x = malloc(N * sizeof *x);
	uint32_t seed = 7;

	for (size_t i = 0; i < N; i++) {
		float sum = -6;

		for (int j = 0; j < 12; j++) {
			seed = seed * 1664525 + 1013904223;
			sum += (float)(seed >> 8) * 0x1p-24f;
		}
		x[i] = 0.02f * sum;
	}
	return x;
}

static const enum ternary_kind kinds[] = {
    TERNARY_I2_S,   TERNARY_I2_S_ARM, TERNARY_I2_S_ROWS4, TERNARY_TL1,       TERNARY_TL2,
    TERNARY_TQ1_0,  TERNARY_TQ2_0,    TERNARY_Q2_0,       TERNARY_Q2_0_G128, TERNARY_PTQ1_0,
    TERNARY_IQ1_BN, TERNARY_IQ2_BN,   TERNARY_IQ2_BN_R4,  TERNARY_HF_U8,
};
#define KINDS (sizeof kinds / sizeof *kinds)

/* A tensor of ternary values as bytes of a kind, made from floats. */
static uint8_t *make(enum ternary_kind kind, const float *x, struct threads *threads, float *scale,
                     size_t *n)
{
	struct retype_source src =
	    source_of(form_of(TERNARY_NONE, DTYPE_F32, ROWS, COLS), (const uint8_t *)x);
	struct retype_target dst = {.form = form_of(kind, DTYPE_NONE, ROWS, COLS)};
	struct quantize_report report;
	struct err e = {0};
	uint8_t *bytes = run(&src, &dst, threads, &report, scale, n, &e);

	if (!bytes) {
		printf("# %s: %s\n", ternary_name(kind), e.text);
		unit_bad++;
		return NULL;
	}
	CHECK_INT(report.rule, QUANTIZE_KEEP);
	CHECK(report.loss == 0 && report.cosine == 1 && report.max_error == 0 &&
	      report.scale_error == 0);
	CHECK_INT(report.plus + report.minus + report.zeros, N);
	CHECK(report.zeros > N / 4 && report.scale == 0.75);
	return bytes;
}

static void check_pair(enum ternary_kind from, enum ternary_kind to, uint8_t *const bytes[],
                       const size_t *sizes, size_t to_index, size_t from_index,
                       struct threads *threads)
{
	struct retype_source src =
	    source_of(form_of(from, DTYPE_NONE, ROWS, COLS), bytes[from_index]);
	struct retype_target dst = {.form = form_of(to, DTYPE_NONE, ROWS, COLS), .lossless = 1};
	struct quantize_report report = {0};
	struct err e = {0};
	float scale;
	size_t n = 0;

	if (from == TERNARY_HF_U8)
		src.factor = 0.75f;
	uint8_t *got = run(&src, &dst, threads, &report, &scale, &n, &e);
	if (!got || n != sizes[to_index] || memcmp(got, bytes[to_index], n) != 0) {
		/* A copy of checkpoints' bytes keeps its scale outside. */
		printf("# %s to %s: %s\n", ternary_name(from), ternary_name(to),
		       got ? "other bytes" : e.text);
		unit_bad++;
	}
	if (got && report.rule != QUANTIZE_COPY)
		CHECK(scale == 0.75f || ternary_scales(&dst.form.ternary, 1));
	free(got);
}

/* From each ternary type to each other: the bytes are those that the floats give. */
static void pairs(void)
{
	float *x = ternary_values(0.75f), scale;
	uint8_t *bytes[KINDS];
	size_t sizes[KINDS];
	struct threads *threads;

	CHECK_INT(threads_start(&threads, 3, NULL), 0);
	for (size_t i = 0; i < KINDS; i++)
		bytes[i] = make(kinds[i], x, i % 2 ? threads : NULL, &scale, &sizes[i]);
	for (size_t i = 0; i < KINDS; i++)
		for (size_t j = 0; j < KINDS; j++)
			check_pair(kinds[i], kinds[j], bytes, sizes, j, i,
			           (i + j) % 2 ? threads : NULL);
	for (size_t i = 0; i < KINDS; i++)
		free(bytes[i]);
	threads_stop(threads);
	free(x);
}

/* Each ternary type back to floats: the values. */
static void dequantizes(void)
{
	float *x = ternary_values(0.75f), scale;

	for (size_t i = 0; i < KINDS; i++) {
		size_t n;
		uint8_t *bytes = make(kinds[i], x, NULL, &scale, &n);
		struct retype_source src =
		    source_of(form_of(kinds[i], DTYPE_NONE, ROWS, COLS), bytes);
		struct retype_target dst = {.form = form_of(TERNARY_NONE, DTYPE_F32, ROWS, COLS)};
		struct quantize_report report;
		struct err e = {0};

		if (kinds[i] == TERNARY_HF_U8)
			src.factor = 0.75f;
		float *y = (float *)(void *)run(&src, &dst, NULL, &report, &scale, &n, &e);
		size_t bad = 0;
		for (size_t j = 0; y && j < N; j++)
			bad += !(y[j] == x[j]);
		CHECK_INT(bad, 0);
		CHECK(y != NULL);
		free(bytes);
		free(y);
	}
	free(x);
}

/* Bell-shaped values to every type: the same bytes and report in 1 and in 3 threads. */
static void threads_agree(void)
{
	static const enum dtype floats[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16, DTYPE_Q8_0,
	                                    DTYPE_Q6_K, DTYPE_Q4_0, DTYPE_Q4_K};
	float *x = bell_values(), scale1 = 0, scale3 = 0;
	struct threads *threads;
	size_t n1 = 0, n3 = 0;

	CHECK_INT(threads_start(&threads, 3, NULL), 0);
	for (size_t i = 0; i < KINDS + 7; i++) {
		struct retype_source src =
		    source_of(form_of(TERNARY_NONE, DTYPE_F32, ROWS, COLS), (const uint8_t *)x);
		struct retype_target dst = {
		    .form = form_of(i < KINDS ? kinds[i] : TERNARY_NONE,
		                    i < KINDS ? DTYPE_NONE : floats[i - KINDS], ROWS, COLS)};
		struct quantize_report r1 = {0}, r3 = {0};
		struct err e = {0};

		src.factor = 2; /* or F32 to F32 is a copy */
		uint8_t *one = run(&src, &dst, NULL, &r1, &scale1, &n1, &e);
		uint8_t *three = run(&src, &dst, threads, &r3, &scale3, &n3, &e);
		CHECK(one && three && n1 == n3 && !memcmp(one, three, n1));
		CHECK(!memcmp(&r1, &r3, sizeof r1));
		CHECK(i >= KINDS || scale1 == scale3);
		if (i < KINDS) {
			CHECK_INT(r1.rule, QUANTIZE_ABSMEAN);
			CHECK(r1.loss > 0.2 && r1.loss < 0.3 && r1.cosine > 0.85 &&
			      r1.cosine < 0.9);
			CHECK(quantize_is_untrained(&r1));
		}
		free(one);
		free(three);
	}
	threads_stop(threads);
	free(x);
}

static void from_file(void)
{
	char path[] = "/tmp/unit_retype.XXXXXX";
	float *x = bell_values(), scale;
	int fd = mkstemp(path);
	size_t n1 = 0, n2 = 0;
	struct retype_source src =
	    source_of(form_of(TERNARY_NONE, DTYPE_F32, ROWS, COLS), (const uint8_t *)x);
	struct retype_target dst = {.form = form_of(TERNARY_TL2, DTYPE_NONE, ROWS, COLS)};
	struct quantize_report r1, r2;
	struct err e = {0};
	uint8_t *memory = run(&src, &dst, NULL, &r1, &scale, &n1, &e);

	unlink(path);
	CHECK_INT(pwrite(fd, x, N * sizeof *x, 123), N * sizeof *x);
	src.data = NULL;
	src.fd = fd;
	src.offset = 123;
	uint8_t *file = run(&src, &dst, NULL, &r2, &scale, &n2, &e);
	CHECK(memory && file && n1 == n2 && !memcmp(memory, file, n1));
	CHECK_INT(ftruncate(fd, N * sizeof *x), 0);
	CHECK(run(&src, &dst, NULL, &r2, &scale, &n2, &e) == NULL);
	CHECK_INT(e.status, ERR_SHORT);
	/* Codes in three places, from the file. */
	CHECK_INT(pwrite(fd, memory, n1, 7), n1);
	src.form = dst.form;
	src.offset = 7;
	dst.form = form_of(TERNARY_I2_S, DTYPE_NONE, ROWS, COLS);
	uint8_t *i2s = run(&src, &dst, NULL, &r2, &scale, &n2, &e);
	src = source_of(form_of(TERNARY_NONE, DTYPE_F32, ROWS, COLS), (const uint8_t *)x);
	uint8_t *direct = run(&src, &dst, NULL, &r1, &scale, &n1, &e);
	CHECK(i2s && direct && n1 == n2 && !memcmp(i2s, direct, n1));
	free(memory);
	free(file);
	free(i2s);
	free(direct);
	free(x);
	close(fd);
}

/* Packed bytes large enough that the pieces of the first quarter read them for all. */
static void packed_from_file(void)
{
	enum { WIDE = 8192, TALL = 1030, BYTES = (TALL + 3) / 4 * WIDE };
	static const enum ternary_kind to[] = {TERNARY_I2_S, TERNARY_TQ2_0, TERNARY_I2_S_ROWS4};
	char path[] = "/tmp/unit_retype.XXXXXX";
	uint8_t *packed = malloc(BYTES);
	int fd = mkstemp(path);
	uint32_t seed = 5;

	unlink(path);
	for (size_t i = 0; i < BYTES; i++) {
		seed = seed * 1664525 + 1013904223;
		/* Four codes from 0 to 2; the last two rows do not exist. */
		packed[i] =
		    (uint8_t)((seed >> 8) % 3 | (seed >> 14) % 3 << 2 | (seed >> 20) % 3 << 4 |
		              (i < BYTES - 2 * WIDE ? (seed >> 26) % 3 : 1) << 6);
	}
	CHECK_INT(pwrite(fd, packed, BYTES, 11), BYTES);
	for (size_t i = 0; i < sizeof to / sizeof to[0]; i++)
		for (int count = 1; count <= 3; count++) {
			uint64_t rows = to[i] == TERNARY_I2_S_ROWS4 ? TALL - 2 : TALL;
			uint64_t bytes = (rows + 3) / 4 * WIDE;
			struct retype_source src = {
			    .form = form_of(TERNARY_HF_U8, DTYPE_NONE, rows, WIDE),
			    .rows = rows,
			    .cols = WIDE,
			    .fd = fd,
			    .offset = 11,
			    .factor = 0.5f};
			struct retype_target dst = {.form = form_of(to[i], DTYPE_NONE, rows, WIDE)};
			struct quantize_report report;
			struct threads *threads;
			struct err e = {0};
			float scale;
			size_t n1 = 0, n2 = 0;

			CHECK_INT(threads_start(&threads, count, &e), 0);
			uint8_t *file = run(&src, &dst, threads, &report, &scale, &n1, &e);
			CHECK_STR(e.text, "");
			src.data = packed;
			uint8_t *memory = run(&src, &dst, NULL, &report, &scale, &n2, &e);
			CHECK(file && memory && n1 == n2 && !memcmp(file, memory, n1));
			free(file);
			free(memory);
			/* Short at the end of the first quarter's bytes. */
			src.data = NULL;
			CHECK_INT(ftruncate(fd, (off_t)(11 + bytes - 1)), 0);
			CHECK(!run(&src, &dst, threads, &report, &scale, &n1, &e));
			CHECK_INT(e.status, ERR_SHORT);
			CHECK_INT(pwrite(fd, packed, BYTES, 11), BYTES);
			threads_stop(threads);
		}
	free(packed);
	close(fd);
}

static void fails(struct retype_source *src, struct retype_target *dst, const char *text)
{
	struct quantize_report r;
	struct err e = {0};
	float scale;
	size_t n;
	uint8_t *p = run(src, dst, NULL, &r, &scale, &n, &e);

	CHECK(p == NULL);
	CHECK_STR(e.text, text);
	CHECK_INT(e.status, ERR_TROUBLE);
	free(p);
}

/* Floats that stay as they are, but are looked at. */
static void looked_at(void)
{
	static const enum dtype type[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
	static const size_t at[] = {0, 3, 770, 5000, N - 1};
	float *x = bell_values(), scale;
	struct threads *threads;
	char text[64];

	CHECK_INT(threads_start(&threads, 2, NULL), 0);
	for (size_t k = 0; k < 3; k++) {
		size_t size = dtype_get(type[k])->block_bytes, n = 0;
		uint8_t *p = malloc(N * size), bad[4] = {0};
		struct retype_source src = source_of(form_of(TERNARY_NONE, type[k], ROWS, COLS), p);
		struct retype_target dst = {.form = src.form, .brief = 1};
		struct quantize_report report = {0};
		struct err e = {0};

		src.suspect = 1;
		blocks_write(type[k], p, x, N);
		/* The largest that is finite, negative and a denormal one. */
		blocks_write(type[k], p + 40 * size,
		             (float[]){type[k] == DTYPE_F16 ? -65504.0f : -0x1.fep127f, 6e-8f}, 2);
		uint8_t *out = run(&src, &dst, threads, &report, &scale, &n, &e);
		CHECK(out && n == N * size && !memcmp(out, p, n));
		CHECK(report.cosine == 1 && report.loss == 0);
		free(out);
		for (size_t i = 0; i < 10; i++) {
			size_t j = at[i / 2];
			memcpy(bad, p + j * size, size);
			blocks_write(type[k], p + j * size, (float[]){i % 2 ? -INFINITY : NAN}, 1);
			snprintf(text, sizeof text, "row %zu, column %zu is not finite", j / COLS,
			         j % COLS);
			fails(&src, &dst, text);
			memcpy(p + j * size, bad, size);
		}
		free(p);
	}
	threads_stop(threads);
	free(x);
}

static void reorders(void)
{
	struct retype_heads h = {ROWS, 6};
	float *x = ternary_values(0.75f), *want = malloc(N * sizeof *want), scale;
	struct quantize_report r;
	struct err e = {0};
	size_t n = 0;

	for (uint64_t i = 0; i < ROWS; i++) {
		CHECK_INT(retype_separate(&h, retype_interleave(&h, i)), i);
		memcpy(want + i * COLS, x + retype_interleave(&h, i) * COLS, COLS * sizeof *x);
	}
	CHECK_INT(retype_interleave(&h, 17), 16 + 8);
	CHECK_INT(retype_interleave(&h, 18), 16 + 1);
	for (size_t k = 0; k < KINDS; k++) {
		uint8_t *from = make(kinds[k], x, NULL, &scale, &n);
		struct retype_source src =
		    source_of(form_of(kinds[k], DTYPE_NONE, ROWS, COLS), from);
		struct retype_target dst = {.form = form_of(TERNARY_NONE, DTYPE_F32, ROWS, COLS)};

		src.row = retype_interleave;
		src.row_arg = &h;
		src.factor = kinds[k] == TERNARY_HF_U8 ? 0.75f : 1;
		float *y = (float *)(void *)run(&src, &dst, NULL, &r, &scale, &n, &e);
		size_t bad = 0;
		for (size_t j = 0; y && j < N; j++)
			bad += !(y[j] == want[j]);
		CHECK(y && !bad);
		free(from);
		free(y);
	}
	free(x);
	free(want);
}

static void refusals(void)
{
	float *x = bell_values(), *t = ternary_values(0.75f);
	struct retype_source src =
	    source_of(form_of(TERNARY_NONE, DTYPE_F32, ROWS, COLS), (const uint8_t *)x);
	struct retype_target dst = {.form = form_of(TERNARY_I2_S, DTYPE_NONE, ROWS, COLS),
	                            .lossless = 1};

	fails(&src, &dst, "the values are not ternary: i2_s would not keep them");
	dst.lossless = 0;
	dst.rule = QUANTIZE_MAX;
	fails(&src, &dst, "i2_s has one scale: the rule max is for types with one per group");
	dst.rule = QUANTIZE_ABSMEAN;
	x[3 * COLS + 700] = NAN;
	fails(&src, &dst, "row 3, column 700 is not finite");
	dst.form = form_of(TERNARY_NONE, DTYPE_Q8_0, ROWS, COLS);
	fails(&src, &dst, "row 3, column 700 is not finite");
	x[3 * COLS + 700] = 1e6f;
	dst.form = form_of(TERNARY_NONE, DTYPE_F16, ROWS, COLS);
	fails(&src, &dst, "row 3, column 700: 1e+06 is too large for F16");
	for (int i = 0; i < 256; i++)
		t[6 * COLS + (size_t)i] *= 2;
	src.data = (const uint8_t *)t;
	dst.form = form_of(TERNARY_TQ1_0, DTYPE_NONE, ROWS, COLS);
	struct quantize_report r;
	struct err e = {0};
	float scale;
	size_t n = 0;
	uint8_t *tq = run(&src, &dst, NULL, &r, &scale, &n, &e);
	CHECK(tq && r.rule == QUANTIZE_KEEP && r.loss == 0);
	src = source_of(form_of(TERNARY_TQ1_0, DTYPE_NONE, ROWS, COLS), tq);
	dst.form = form_of(TERNARY_I2_S, DTYPE_NONE, ROWS, COLS);
	fails(&src, &dst, "scales differ (0.75 and 1.5 in rows 0 to 95); i2_s holds one");
	dst.form = form_of(TERNARY_IQ2_BN, DTYPE_NONE, ROWS, COLS);
	fails(&src, &dst, "row 6, columns 0 to 767: scales differ; iq2_bn holds one for them");
	dst.form = form_of(TERNARY_Q2_0, DTYPE_NONE, ROWS, COLS);
	dst.lossless = 1;
	uint8_t *q2 = run(&src, &dst, NULL, &r, &scale, &n, &e);
	CHECK(q2 && r.loss == 0);
	free(q2);
	free(tq);
	free(x);
	free(t);
}

/* A scale that F16 does not hold is rounded and told; --lossless refuses. */
static void scale_rounding(void)
{
	float *t = ternary_values(0.1f), scale;
	struct retype_source src =
	    source_of(form_of(TERNARY_NONE, DTYPE_F32, ROWS, COLS), (const uint8_t *)t);
	struct retype_target dst = {.form = form_of(TERNARY_TQ2_0, DTYPE_NONE, ROWS, COLS)};
	float f16 = half_to_f32(half_from_f32(0.1f));
	struct quantize_report r = {0};
	struct err e = {0};
	size_t n;
	uint8_t *p = run(&src, &dst, NULL, &r, &scale, &n, &e);

	CHECK(p && r.rule == QUANTIZE_KEEP);
	CHECK(r.scale == (double)f16);
	CHECK(fabs(r.scale_error - fabs((double)f16 - (double)0.1f) / (double)0.1f) < 1e-12);
	CHECK(r.loss > 0 && r.loss < 1e-6);
	free(p);
	dst.lossless = 1;
	fails(&src, &dst, "tq2_0 would change values by up to 0.000244 (relative)");
	for (size_t i = 0; i < N; i++)
		t[i] *= 1e-9f;
	dst.lossless = 0;
	fails(&src, &dst, "scale 1e-10 does not fit into the 16 bits of tq2_0");
	free(t);
}

static void passes_errors_on(void)
{
	float *x = bell_values();
	struct retype_source src =
	    source_of(form_of(TERNARY_NONE, DTYPE_F32, ROWS, COLS), (const uint8_t *)x);
	struct retype_target dst = {.form = form_of(TERNARY_TL2, DTYPE_NONE, ROWS, COLS)};

	for (int at = 0; at < 3; at++) {
		struct sink s = {.fail_at = at};
		struct retype *r;
		struct err e = {0};

		CHECK_INT(retype_open(&r, &src, &dst, NULL, &e), 0);
		CHECK_INT(retype_write(r, sink_put, &s, &e), -1);
		CHECK_STR(e.text, "no space");
		retype_close(r);
		free(s.p);
	}
	free(x);
}

/* A whole conversion, for each allocation to fail in. */
static int convert(void *arg, struct err *e)
{
	const struct retype_target *dst = arg;
	static float x[N];
	struct retype_source src =
	    source_of(form_of(TERNARY_NONE, DTYPE_F32, ROWS, COLS), (const uint8_t *)x);
	struct sink s = {.fail_at = -1};
	struct retype *r;

	x[0] = x[1] = 1;
	x[2] = 0.25f;
	if (retype_open(&r, &src, dst, NULL, e))
		return -1;
	int bad = retype_write(r, sink_put, &s, e);
	retype_close(r);
	free(s.p);
	return bad;
}

static void memory_runs_out(void)
{
	struct retype_target to_codes = {.form =
	                                     form_of(TERNARY_IQ2_BN_R4, DTYPE_NONE, ROWS, COLS)};
	struct retype_target to_blocks = {.form = form_of(TERNARY_NONE, DTYPE_Q4_K, ROWS, COLS)};
	struct retype_target copy = {.form = form_of(TERNARY_NONE, DTYPE_F32, ROWS, COLS)};

	CHECK(fail_alloc(convert, NULL, &to_codes) > 5);
	CHECK(fail_alloc(convert, NULL, &to_blocks) > 5);
	CHECK(fail_alloc(convert, NULL, &copy) > 2);
}

int main(void)
{
	RUN(pairs);
	RUN(dequantizes);
	RUN(threads_agree);
	RUN(from_file);
	RUN(packed_from_file);
	RUN(looked_at);
	RUN(reorders);
	RUN(refusals);
	RUN(scale_rounding);
	RUN(passes_errors_on);
	RUN(memory_runs_out);
	return unit_end();
}
