/*
 * Every kernel set that this CPU runs against the scalar one, and all against the byte vectors.
 *
 *	kernels                 tests
 *	kernels --bench [SET]   times; shares of what this machine reads or multiplies at best
 *
 * Weights end where a page begins that may not be touched; outputs lie between guard bytes.
 * Integer results, float products and what is done to vectors must agree in every bit.  Attention
 * is compared with a plain softmax in float64, within ATTEND_TOLERANCE of the largest value:
 * scores of up to 50 lose some bits in float32, and most sets fuse products into sums.
 */
#include "kernels.h"
#include "screen.h"
#include "strips.h"

#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "half.h"
#include "unit.h"

static const struct kernels *ref, *now; /* scalar, and the set under test */
static void *scratch;

/* xorshift: the same numbers in every run. */
static uint64_t seed = 88172645463325252u;

static uint32_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16);
}

static size_t below(size_t n)
{
	return any() % n;
}

static float real(void)
{
	return ((float)(any() % 20001) - 10000.0f) / 5000.0f;
}

/* Memory whose last byte is followed by a page that may not be touched. */
struct edge {
	uint8_t *map, *at;
	size_t bytes;
};

static uint8_t *edge_new(struct edge *e, size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (n + page - 1) / page * page;

	e->bytes = room + page;
	e->map = mmap(NULL, e->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (e->map == MAP_FAILED || mprotect(e->map + room, page, PROT_NONE))
		exit(2);
	return e->at = e->map + room - n;
}

static void edge_free(struct edge *e)
{
	munmap(e->map, e->bytes);
}

/* Aligned memory with guard bytes around it. */
#define GUARD 64
struct guarded {
	uint8_t *all;
	size_t n;
};

static void *guarded_new(struct guarded *g, size_t n)
{
	g->n = (n + 63) / 64 * 64;
	g->all = aligned_alloc(64, g->n + 2 * GUARD);
	if (!g->all)
		exit(2);
	memset(g->all, 0xa5, g->n + 2 * GUARD);
	return g->all + GUARD;
}

/* Whether nothing but the n bytes of the middle was written. */
static int guarded_free(struct guarded *g, size_t n)
{
	int intact = 1;

	for (size_t i = 0; i < g->n + 2 * GUARD; i++)
		if ((i < GUARD || i >= GUARD + n) && g->all[i] != 0xa5)
			intact = 0;
	free(g->all);
	return intact;
}

/* Where the binary16 fields of a block lie, so that random bytes stay finite. */
static const struct format {
	enum dtype type;
	int f16_at[2]; /* -1: none */
	int pure;      /* all values are of this type: 2 bytes binary16, 4 float32 */
} formats[] = {
    {DTYPE_I2_S, {-1, -1}, 0},     {DTYPE_TQ1_0, {52, -1}, 0},  {DTYPE_TQ2_0, {64, -1}, 0},
    {DTYPE_IQ1_BN, {-1, -1}, 0},   {DTYPE_IQ2_BN, {-1, -1}, 0}, {DTYPE_F32, {-1, -1}, 4},
    {DTYPE_F16, {0, -1}, 2},       {DTYPE_BF16, {-1, -1}, 3},   {DTYPE_Q8_0, {0, -1}, 0},
    {DTYPE_Q4_0, {0, -1}, 0},      {DTYPE_Q4_1, {0, 2}, 0},     {DTYPE_Q5_0, {0, -1}, 0},
    {DTYPE_Q5_1, {0, 2}, 0},       {DTYPE_IQ4_NL, {0, -1}, 0},  {DTYPE_Q4_K, {0, 2}, 0},
    {DTYPE_Q5_K, {0, 2}, 0},       {DTYPE_Q6_K, {208, -1}, 0},  {DTYPE_Q2_0, {0, -1}, 0},
    {DTYPE_Q2_0_G128, {0, -1}, 0},
};

#define FORMATS (sizeof formats / sizeof *formats)

/* How scales and codes are chosen. */
enum mood { PLAIN, MIXED, ZEROS, HIGHEST, LOWEST, VALID, MOODS }; /* VALID: no code 3 */

static uint16_t half_for(enum mood m, size_t block)
{
	static const float few[] = {0.75f, -1.5f, 0.0f, 0.75f};

	if (m == MIXED)
		return half_from_f32(few[below(3)]);
	if (m == ZEROS)
		return half_from_f32(few[block % 3 ? 0 : 2]);
	return half_from_f32(0.75f);
}

static void put_u16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, sizeof v);
}

static void put_f32(uint8_t *p, float v)
{
	memcpy(p, &v, sizeof v);
}

static void fill_pure(const struct format *f, uint8_t *row, size_t k)
{
	for (size_t i = 0; i < k; i++) {
		float v = below(50) ? real() : real() * 1e-6f;

		if (f->pure == 4)
			put_f32(row + 4 * i, v);
		else
			put_u16(row + 2 * i,
			        f->pure == 2 ? half_from_f32(v) : half_bf16_from_f32(v));
	}
}

static uint8_t byte_for(enum mood m)
{
	unsigned v = any() & 0xff;

	if (m == HIGHEST)
		return 0xff;
	if (m == VALID)
		v &= ~(v >> 1 & v & 0x55);
	return (uint8_t)(m == LOWEST ? 0 : v);
}

static void fill_row(const struct format *f, uint8_t *row, size_t k, enum mood m)
{
	const struct dtype_info *d = dtype_get(f->type);
	uint8_t *p = row + d->row_prefix;

	if (f->pure) {
		fill_pure(f, row, k);
		return;
	}
	for (size_t b = 0; b < k / d->block; b++, p += d->block_bytes) {
		for (size_t i = 0; i < d->block_bytes; i++)
			p[i] = byte_for(m);
		for (int i = 0; i < 2; i++)
			if (f->f16_at[i] >= 0)
				put_u16(p + f->f16_at[i], half_for(m, b));
	}
	if (f->type == DTYPE_IQ1_BN)
		put_u16(row, half_for(m, 1));
	if (f->type == DTYPE_IQ2_BN)
		put_f32(row, m == MIXED ? real() : 0.375f);
}

/* A product: weights at the edge of memory, inputs, two outputs. */
struct product {
	struct edge weights;
	struct kernel_mat w;
	struct kernel_input x;
	float *f;
	int8_t *q;
	float *scale;
	int32_t *sum, *sum256;
};

static void *take(size_t n)
{
	void *p = aligned_alloc(64, (n + 63) / 64 * 64);

	if (!p)
		exit(2);
	memset(p, 0, n);
	return p;
}

static float input_for(enum mood m, size_t t)
{
	if (m == HIGHEST)
		return t % 2 ? -2.0f : 2.0f;
	return m == LOWEST ? -2.0f : real();
}

static void product_new(struct product *p, const struct format *f, size_t rows, size_t k, size_t n,
                        enum mood m)
{
	size_t stride = (k + 63) / 64 * 64, row_bytes = dtype_row_bytes(f->type, k);

	edge_new(&p->weights, rows * row_bytes);
	for (size_t r = 0; r < rows; r++)
		fill_row(f, p->weights.at + r * row_bytes, k, m);
	p->w = (struct kernel_mat){f->type, rows, k, p->weights.at, row_bytes, 1.25f};
	p->f = take(n * stride * sizeof *p->f);
	p->q = take(n * stride);
	p->scale = take(n * sizeof *p->scale);
	p->sum = take(n * sizeof *p->sum);
	p->sum256 = take(n * (k / 256 + 1) * sizeof *p->sum256);
	p->x = (struct kernel_input){n,        k,      p->f,      p->q,       stride,
	                             p->scale, p->sum, p->sum256, k / 256 + 1};
	for (size_t t = 0; t < n; t++) {
		for (size_t i = 0; i < k; i++)
			p->f[t * stride + i] = input_for(m, t);
		ref->quantize_i8(p->f + t * stride, k, p->q + t * stride, p->scale + t, p->sum + t,
		                 p->sum256 + t * p->x.stride256);
		/* -128 cannot come from quantize_i8, but products must take it */
		if (m == LOWEST)
			memset(p->q + t * stride, -128, k);
		for (size_t i = 0; m == LOWEST && i < k; i++)
			p->sum256[t * p->x.stride256 + i / 256] =
			    (int32_t)(i % 256 ? p->sum256[t * p->x.stride256 + i / 256] - 128
			                      : -128);
		if (m == LOWEST)
			p->sum[t] = -128 * (int32_t)k;
	}
}

static void product_free(struct product *p)
{
	edge_free(&p->weights);
	free(p->f);
	free(p->q);
	free(p->scale);
	free(p->sum);
	free(p->sum256);
}

/* Bits of a and b; says where they first differ. */
static int same(const float *a, const float *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (half_f32_bits(a[i]) != half_f32_bits(b[i])) {
			printf("# value %zu is %.9g, expected %.9g\n", i, (double)a[i],
			       (double)b[i]);
			return 0;
		}
	return 1;
}

/* The whole product with w, which holds the weights of p, in one call against scalar, then in parts
 * against the whole; rows are cut at a multiple of step. */
static int product_with(struct product *p, const struct kernel_mat *w, kernel_mul *mul, size_t step)
{
	size_t rows = p->w.rows, n = p->x.n, k = p->x.k, bytes = n * rows * sizeof(float);
	struct guarded g, h;
	float *y = guarded_new(&g, bytes), *z = guarded_new(&h, bytes);
	float *want = take(bytes);

	ref->mul[p->w.type](&p->w, &p->x, 0, rows, want, rows, scratch);
	mul(w, &p->x, 0, rows, y, rows, scratch);
	int ok = same(y, want, n * rows);
	size_t cut = below(rows / step + 1) * step;
	for (size_t t = 0; t < n;) {
		size_t m = 1 + below(n - t);
		struct kernel_input part = p->x;

		part.n = m;
		part.f += t * part.stride;
		part.q += t * part.stride;
		part.scale += t;
		part.sum += t;
		part.sum256 += t * part.stride256;
		mul(w, &part, 0, cut, z + t * rows, rows, scratch);
		mul(w, &part, cut, rows, z + t * rows, rows, scratch);
		t += m;
	}
	ok &= same(z, want, n * rows);
	ok &= guarded_free(&g, bytes) & guarded_free(&h, bytes);
	if (!ok)
		printf("# %s %s: %zu rows, %zu columns, %zu tokens\n", now->name,
		       dtype_get(p->w.type)->name, rows, k, n);
	free(want);
	return ok;
}

static int product_check(struct product *p)
{
	return product_with(p, &p->w, now->mul[p->w.type], 1);
}

static size_t some_size(size_t i)
{
	static const size_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 33, 40, 64, 65, 70};

	return sizes[i % (sizeof sizes / sizeof *sizes)];
}

static int mul_format(const struct format *f)
{
	size_t block = dtype_get(f->type)->block;
	size_t units[] = {1, 2, 3, 4, 5, 7, 9, 17};
	struct product p;
	int ok = 1;

	for (size_t i = 0; i < 40 && ok; i++) {
		size_t k = units[below(8)] * block;

		if (block == 1)
			k = 1 + below(600);
		else if (block < 256 && i % 8 == 0)
			k = 2560 / block * block;
		product_new(&p, f, some_size(any()), k, i % 3 ? some_size(any()) : 1,
		            (enum mood)(i % MOODS));
		ok = product_check(&p);
		product_free(&p);
	}
	/* several panels of columns, and more tokens than wait in scratch */
	product_new(&p, f, 19, 2304, 3, PLAIN);
	ok = ok && product_check(&p);
	product_free(&p);
	product_new(&p, f, 5, 256, 530, PLAIN);
	ok = ok && product_check(&p);
	product_free(&p);
	product_new(&p, f, 130, 768, 170, VALID);
	ok = ok && product_check(&p);
	product_free(&p);
	return ok;
}

/* Weights of p to strips, in two calls, and products with them against those of the rows that they
 * were made of. */
static int strips_check(struct product *p)
{
	size_t k = p->w.cols, rows = p->w.rows, bytes = strips_bytes(rows, k);
	size_t half = rows / STRIP_ROWS / 2 * STRIP_ROWS;
	struct edge packed, want;
	struct kernel_mat w = p->w;

	edge_new(&want, bytes);
	edge_new(&packed, bytes);
	int ok = !ref->pack_strips(&p->w, 0, rows, want.at);
	ok &= !now->pack_strips(&p->w, 0, half, packed.at);
	ok &= !now->pack_strips(&p->w, half, rows, packed.at + strips_bytes(half, k));
	ok &= !memcmp(want.at, packed.at, bytes);
	w.strips = 1;
	w.data = packed.at;
	w.row_bytes = 0;
	ok &= product_with(p, &w, now->mul_strips, STRIP_ROWS);
	edge_free(&want);
	edge_free(&packed);
	return ok;
}

/* A code 3 anywhere is seen. */
static int strips_refuse(size_t rows, size_t k)
{
	struct product p;
	uint8_t *out = take(strips_bytes(rows, k));
	int ok = 1;

	product_new(&p, &formats[0], rows, k, 1, VALID);
	for (size_t i = 0; i < 40 && ok; i++) {
		uint8_t *at = p.weights.at + below(rows * k / 4), old = *at;

		*at |= (uint8_t)(3u << 2 * below(4));
		ok = now->pack_strips(&p.w, 0, rows, out) == 1;
		*at = old;
	}
	ok &= now->pack_strips(&p.w, 0, rows, out) == 0;
	product_free(&p);
	free(out);
	return ok;
}

static int strips_all(void)
{
	static const size_t units[] = {1, 2, 3, 5, 7, 10, 11, 20, 54};
	int ok = strips_refuse(48, 6912) & strips_refuse(16, 128);

	for (size_t i = 0; i < 60 && ok; i++) {
		size_t rows = (1 + below(9)) * STRIP_ROWS, k = 128 * units[i % 9];
		size_t n = i % 3 ? 1 + below(40) : i % 2 ? 1 : 34 + below(170);
		struct product p;

		product_new(&p, &formats[0], rows, k, n, i % 4 ? VALID : LOWEST);
		if (i % 8 == 4)
			memset(p.weights.at, 0xaa, rows * p.w.row_bytes);
		ok = strips_check(&p);
		product_free(&p);
	}
	return ok;
}

static int decode_format(const struct format *f)
{
	size_t block = dtype_get(f->type)->block;
	int ok = 1;

	for (size_t i = 1; i < 40 && ok; i++) {
		size_t k = i * block, row = dtype_row_bytes(f->type, k);
		struct edge e;
		struct guarded g;
		float *want = take(k * sizeof *want), *y = guarded_new(&g, k * sizeof *y);

		edge_new(&e, row);
		fill_row(f, e.at, k, (enum mood)(i % MOODS));
		ref->dequantize[f->type](want, e.at, k);
		now->dequantize[f->type](y, e.at, k);
		ok = same(y, want, k);
		ok &= guarded_free(&g, k * sizeof *y);
		edge_free(&e);
		free(want);
	}
	return ok;
}

/* Vectors that rounding and limits find hard. */
static void hard_vector(float *x, size_t n, size_t i)
{
	for (size_t j = 0; j < n; j++)
		x[j] = i % 5 == 0   ? 0.0f
		       : i % 5 == 1 ? (float)((int)(j % 255) - 127) / 2.0f
		       : i % 5 == 2 ? real() * 1e-7f
		       : i % 5 == 3 ? (below(40) ? real() : real() * 1e6f)
		                    : real();
}

static int encode_type(enum dtype t)
{
	size_t block = dtype_get(t)->block;
	int ok = 1;

	for (size_t i = 1; i < 60 && ok; i++) {
		size_t k = i * block, row = dtype_row_bytes(t, k);
		struct guarded g;
		float *x = take(k * sizeof *x);
		uint8_t *want = take(row), *y = guarded_new(&g, row);

		hard_vector(x, k, i);
		ref->quantize[t](want, x, k);
		now->quantize[t](y, x, k);
		ok = !memcmp(want, y, row);
		ok &= guarded_free(&g, row);
		free(x);
		free(want);
	}
	return ok;
}

static int same_i8(const float *x, size_t k)
{
	size_t room = (k + 63) / 64 * 64, parts = (k + 255) / 256;
	struct guarded g;
	int8_t *want = take(room), *q = guarded_new(&g, room);
	int32_t sum[2], *part = take(2 * parts * sizeof *part);
	float s[2];

	ref->quantize_i8(x, k, want, &s[0], &sum[0], part);
	now->quantize_i8(x, k, q, &s[1], &sum[1], part + parts);
	int ok = !memcmp(want, q, room) && half_f32_bits(s[0]) == half_f32_bits(s[1]) &&
	         sum[0] == sum[1] && !memcmp(part, part + parts, parts * sizeof *part);
	free(want);
	free(part);
	return ok & guarded_free(&g, room);
}

static int i8_all(void)
{
	int ok = 1;

	for (size_t i = 1; i < 700 && ok; i += 1 + i / 100) {
		float *x = take(i * sizeof *x);

		hard_vector(x, i, i);
		ok = same_i8(x, i);
		free(x);
	}
	return ok;
}

/* The functions of one or two vectors, by number. */
static void vector_op(const struct kernels *k, int op, float *y, const float *x, const float *w,
                      size_t n)
{
	switch (op) {
	case 0:
		k->rms_norm(y, x, w, n, 1e-5f);
		break;
	case 1:
		k->add(y, x, n);
		break;
	case 2:
		k->relu2_mul(y, x, n);
		break;
	case 3:
		k->silu_mul(y, x, n);
		break;
	default:
		k->rope(y, x, w, n / 2, op == 4);
	}
}

static int vector_all(int op)
{
	int ok = 1;

	for (size_t n = 1; n < 600 && ok; n += 1 + n / 50) {
		struct guarded g;
		float *y = guarded_new(&g, n * sizeof *y), *want = take(n * sizeof *want);
		float *x = take(n * sizeof *x), *w = take(n * sizeof *w);

		hard_vector(want, n, n);
		hard_vector(x, n, n + 3);
		hard_vector(w, n, 4);
		for (size_t j = 0; op == 3 && n % 3 == 0 && j < n; j++)
			want[j] *= 100.0f; /* both ends of exp */
		memcpy(y, want, n * sizeof *y);
		vector_op(ref, op, want, x, w, n);
		vector_op(now, op, y, x, w, n);
		ok = same(y, want, n) & guarded_free(&g, n * sizeof *y);
		free(want);
		free(x);
		free(w);
	}
	return ok;
}

#include "kernels_attend.h"

/* A whole file of tests/data/quant; NULL when it is not there. */
static void *vector_file(const char *name, size_t *bytes)
{
	char path[256];

	snprintf(path, sizeof path, "tests/data/quant/%s", name);
	FILE *f = fopen(path, "rb");
	if (!f)
		return NULL;
	void *p = take(1 << 20);
	*bytes = fread(p, 1, 1 << 20, f);
	fclose(f);
	return p;
}

/* A ternary matrix, int8 tokens and their exact products (scale 1). */
static int dot_vector(const char *name, size_t rows, size_t cols, size_t tokens)
{
	char file[64];
	size_t n;
	float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1}, y[64];
	int32_t sum[8] = {0}, sum256[8 * 16] = {0};
	int ok = 1;

	snprintf(file, sizeof file, "%s.i2_s.bin", name);
	uint8_t *w = vector_file(file, &n);
	snprintf(file, sizeof file, "%s.a.i8", name);
	int8_t *a = vector_file(file, &n);
	snprintf(file, sizeof file, "%s.y.i32", name);
	int32_t *want = vector_file(file, &n);
	if (!w || !a || !want)
		return 0;
	for (size_t t = 0; t < tokens; t++)
		for (size_t c = 0; c < cols; c++) {
			sum[t] += a[t * cols + c];
			sum256[t * 16 + c / 256] += a[t * cols + c];
		}
	struct kernel_mat m = {DTYPE_I2_S, rows, cols, w, cols / 4, 1.0f};
	struct kernel_input x = {tokens, cols, NULL, a, cols, ones, sum, sum256, 16};
	now->mul[DTYPE_I2_S](&m, &x, 0, rows, y, rows, scratch);
	for (size_t i = 0; i < tokens * rows; i++)
		ok &= y[i] == (float)want[i];
	x.n = 1;
	now->mul[DTYPE_I2_S](&m, &x, 0, rows, y, rows, scratch);
	for (size_t i = 0; i < rows; i++)
		ok &= y[i] == (float)want[i];
	free(w);
	free(a);
	free(want);
	return ok;
}

static int act_vector(const char *name, size_t rows, size_t cols)
{
	char file[64];
	size_t n;
	int ok = 1;

	snprintf(file, sizeof file, "%s.f32", name);
	float *x = vector_file(file, &n);
	snprintf(file, sizeof file, "%s.q.i8", name);
	int8_t *want = vector_file(file, &n);
	snprintf(file, sizeof file, "%s.scale.f32", name);
	float *scale = vector_file(file, &n);
	if (!x || !want || !scale)
		return 0;
	for (size_t r = 0; r < rows; r++) {
		int8_t q[2048];
		int32_t sum, sum256[8];
		float s;

		now->quantize_i8(x + r * cols, cols, q, &s, &sum, sum256);
		ok &= !memcmp(q, want + r * cols, cols) &&
		      half_f32_bits(s) == half_f32_bits(scale[r]);
	}
	free(x);
	free(want);
	free(scale);
	return ok;
}

static int vectors_all(void)
{
	int ok = dot_vector("dot-a", 16, 256, 3) & dot_vector("dot-b", 4, 2560, 3);

	ok &= act_vector("act-random", 8, 256) & act_vector("act-zero", 4, 128);
	ok &= act_vector("act-ties", 3, 256) & act_vector("act-constant", 2, 256);
	return ok;
}

/* Strips with codes and factors of all sizes, and the greatest. */
static void screen_strips(uint8_t *strips, size_t n, size_t k)
{
	size_t padded = screen_padded(k), blocks = screen_blocks(k);
	uint8_t *codes = take(SCREEN_ROWS * padded), *factors = take(SCREEN_ROWS * blocks);

	for (size_t s = 0; s < n; s++) {
		for (size_t i = 0; i < SCREEN_ROWS * padded; i++)
			codes[i] = (uint8_t)(k % 3 ? 1 + below(63) : k % 2 ? 1 : 63);
		for (size_t i = 0; i < SCREEN_ROWS * blocks; i++)
			factors[i] = (uint8_t)(k % 3 ? below(256) : 255);
		screen_pack_strip(strips + s * screen_strip_bytes(k), codes, factors, k);
	}
	free(codes);
	free(factors);
}

/* A row to 6 bits. */
static int screen_row_check(size_t k)
{
	size_t padded = screen_padded(k), blocks = screen_blocks(k);
	float *w = take(k * sizeof *w), f[8];
	uint8_t *codes = take(padded), *factors = take(blocks);
	struct guarded g, h;
	uint8_t *got = guarded_new(&g, padded), *got_factors = guarded_new(&h, blocks);

	hard_vector(w, k, k);
	ref->screen_row(w, k, codes, factors, f, f + 1, f + 3);
	now->screen_row(w, k, got, got_factors, f + 4, f + 5, f + 7);
	int ok = !memcmp(got, codes, padded) && !memcmp(got_factors, factors, blocks) &&
	         same(f + 4, f, 4);
	ok &= guarded_free(&g, padded) & guarded_free(&h, blocks);
	free(w);
	free(codes);
	free(factors);
	return ok;
}

/* Products of strips, which end where memory does, with -128 and 127 everywhere too. */
static int screen_dots_check(size_t k)
{
	size_t padded = screen_padded(k), n = 1 + k % 3, rows = n * SCREEN_ROWS;
	size_t bytes = n * screen_strip_bytes(k);
	int8_t *x = take(2 * padded);
	int32_t *sum = take(screen_blocks(k) * sizeof *sum);
	struct kernel_screened in = {x, x + padded, sum};
	float *want = take(rows * sizeof *want), last[2];
	struct edge strips, bits;
	struct guarded g;
	float *dots = guarded_new(&g, rows * sizeof *dots);

	screen_strips(edge_new(&strips, bytes), n, k);
	for (size_t i = 0; i < 2 * padded; i++)
		x[i] = (int8_t)(k % 5 ? (int)below(256) - 128 : k % 2 ? -128 : 127);
	for (size_t i = 0; i < padded; i++)
		sum[i / SCREEN_BLOCK] += 256 * x[i] + x[padded + i];
	ref->screen_dots(strips.at, n, k, &in, want);
	now->screen_dots(strips.at, n, k, &in, dots);
	int ok = same(dots, want, rows) & guarded_free(&g, rows * sizeof *dots);
	edge_new(&bits, screen_last_bytes(k));
	for (size_t i = 0; i < screen_last_bytes(k); i++)
		bits.at[i] = (uint8_t)(k % 3 ? below(256) : k % 2 ? 0 : 255);
	last[0] = ref->screen_last(bits.at, k, &in);
	last[1] = now->screen_last(bits.at, k, &in);
	ok &= same(last + 1, last, 1);
	edge_free(&bits);
	edge_free(&strips);
	free(x);
	free(sum);
	free(want);
	return ok;
}

static int screen_all(void)
{
	int ok = 1;

	for (size_t k = 1; k < 1100 && ok; k += 1 + k / 20)
		ok = screen_row_check(k) && screen_dots_check(k);
	return ok;
}

static void count(const char *set, const char *entry, const char *type, int ok)
{
	printf("%s %s %s%s%s\n", ok ? "ok" : "not ok", set, entry, *type ? " " : "", type);
	unit_passed += ok;
	unit_failed += !ok;
	unit_bad += !ok;
}

static void test_set(void)
{
	static const enum dtype cache[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0,
	                                   DTYPE_Q4_0};
	static const char *const ops[] = {"rms_norm", "add",       "relu2_mul",
	                                  "silu_mul", "rope neox", "rope"};

	count(now->name, "vectors", "", vectors_all());
	count(now->name, "quantize_i8", "", i8_all());
	count(now->name, "screen", "", screen_all());
	if (now->mul_strips)
		count(now->name, "strips", "", strips_all());
	for (size_t i = 0; i < FORMATS; i++) {
		const char *name = dtype_get(formats[i].type)->name;

		count(now->name, "mul", name, mul_format(&formats[i]));
		count(now->name, "dequantize", name, decode_format(&formats[i]));
	}
	for (size_t i = 0; i < 5; i++) {
		count(now->name, "quantize", dtype_get(cache[i])->name, encode_type(cache[i]));
		count(now->name, "attend", dtype_get(cache[i])->name, attend_type(cache[i]));
	}
	for (int i = 0; i < 6; i++)
		count(now->name, ops[i], "", vector_all(i));
}

static volatile uint64_t sink;

/* Bytes per second of reading n bytes once. */
static double read_speed(const uint8_t *p, size_t n)
{
	uint64_t s[8] = {0};
	double t = clock_now();

	for (size_t i = 0; i + 64 <= n; i += 64)
		for (size_t j = 0; j < 8; j++) {
			uint64_t v;

			memcpy(&v, p + i + 8 * j, 8);
			s[j] ^= v;
		}
	for (size_t j = 0; j < 8; j++)
		sink += s[j];
	return (double)n / (clock_now() - t);
}

/* The best of a few rounds of one product, seconds. */
static double time_mul(const struct product *p, float *y)
{
	double best = 1e9;

	for (int i = 0; i < 5; i++) {
		double t = clock_now();

		now->mul[p->w.type](&p->w, &p->x, 0, p->w.rows, y, p->w.rows, scratch);
		t = clock_now() - t;
		best = t < best ? t : best;
	}
	return best;
}

static void bench_format(const struct format *f, size_t rows, size_t tokens)
{
	struct product p;
	size_t k = 2560;

	product_new(&p, f, rows, k, tokens, PLAIN);
	float *y = take(rows * tokens * sizeof *y);
	double read = read_speed(p.w.data, rows * p.w.row_bytes), t = time_mul(&p, y);
	double more = read_speed(p.w.data, rows * p.w.row_bytes);

	read = more > read ? more : read;
	printf("%-7s %-7s %6zu x %4zu, %3zu tokens: %7.1f G multiply-adds/s, %5.1f GB/s, read "
	       "%5.1f GB/s\n",
	       now->name, dtype_get(f->type)->name, rows, k, tokens,
	       (double)rows * (double)k * (double)tokens / t * 1e-9,
	       (double)rows * (double)p.w.row_bytes / t * 1e-9, read * 1e-9);
	free(y);
	product_free(&p);
}

static void bench_attend(size_t tokens, size_t pos)
{
	struct attention s;
	double best = 1e9;

	attention_new(&s, DTYPE_F16, 0);
	attention_free(&s);
	s.a.heads = 4;
	s.a.tokens = tokens;
	s.a.pos = pos;
	s.a.k = cache_new(&s.k, DTYPE_F16, pos + tokens, 128, 256);
	s.a.v = cache_new(&s.v, DTYPE_F16, pos + tokens, 128, 256);
	s.a.k_chunk = s.a.v_chunk = chunk_bytes(256);
	s.a.q_stride = s.a.out_stride = 512;
	s.q = take(tokens * 512 * sizeof *s.q);
	s.a.q = s.q;
	s.a.out = take(tokens * 512 * sizeof *s.a.out);
	for (int i = 0; i < 5; i++) {
		double t = clock_now();

		now->attend(&s.a);
		t = clock_now() - t;
		best = t < best ? t : best;
	}
	double pairs = 4.0 * (double)tokens * ((double)pos + (double)tokens / 2);
	printf("%-7s attend F16 x 128, 4 heads, %zu tokens at %zu: %.1f G multiply-adds/s, %.1f "
	       "GB/s\n",
	       now->name, tokens, pos, pairs * 256 / best * 1e-9,
	       (double)(pos + tokens) * 512 / best * 1e-9);
	free(s.a.out);
	attention_free(&s);
}

static void bench_set(void)
{
	for (size_t i = 0; i < FORMATS; i++)
		if (now->mul[formats[i].type] != ref->mul[formats[i].type]) {
			int narrow = dtype_get(formats[i].type)->ternary;

			bench_format(&formats[i], narrow ? 200000 : 60000, 1);
			for (size_t n = 8; narrow && n <= 512; n *= 4)
				bench_format(&formats[i], 2048, n);
		}
	bench_attend(1, 4000);
	bench_attend(512, 0);
}

int main(int argc, char **argv)
{
	const struct kernels *k;
	int runs, bench = argc > 1 && !strcmp(argv[1], "--bench");

	scratch = take(KERNELS_SCRATCH);
	for (size_t i = 0; (k = kernels_at(i, &runs)); i++) {
		now = k;
		ref = i ? ref : k;
		if (!runs) {
			printf("ok %s # skip this CPU has it not\n", k->name);
			unit_skipped++;
		} else if (!bench) {
			test_set();
		} else if (argc < 3 || !strcmp(argv[2], k->name)) {
			bench_set();
		}
	}
	free(scratch);
	return bench ? 0 : unit_end();
}
