/* Embedding, norms, activations, float products: equal to scalar in every bit. */
#include "checks.h"

#include <math.h>
#include <stdlib.h>

#include "half.h"
#include "kernels.h"
#include "scalar/scalar.h"

static void *space(size_t n)
{
	void *p = aligned_alloc(64, (n + 63) / 64 * 64);

	if (!p)
		exit(2);
	memset(p, 0, n);
	return p;
}

static size_t differ(const void *got, const void *want, size_t n)
{
	const uint8_t *a = got, *b = want;
	size_t wrong = 0;

	for (size_t i = 0; i < n; i++)
		wrong += a[i] != b[i];
	return wrong;
}

#define EMBED_ROWS 6u
#define EMBED_K    512u
#define EMBED_HALF 20u

static void embed(enum dtype t, float scale)
{
	struct kernels s = {0};
	size_t row = dtype_row_bytes(t, EMBED_K), bytes = EMBED_ROWS * row;
	int32_t ids[4] = {5, 0, 3, 3}, pos[4] = {0, 1, 4000, 131071};
	double freq[EMBED_HALF];
	float divisor[EMBED_HALF], want[EMBED_K], x[4 * EMBED_K];
	float cosine[4 * EMBED_HALF], sine[4 * EMBED_HALF];
	uint8_t *data = space(bytes);

	scalar_decode_init(&s);
	scalar_ternary_init(&s);
	random_rows(t, data, bytes);
	for (size_t r = 0; r < EMBED_ROWS; r++) {
		uint32_t bits = half_f32_bits(0.25f);

		if (t == DTYPE_IQ2_BN)
			memcpy(data + r * row, &bits, 4);
		if (t == DTYPE_IQ1_BN)
			half_put(data + r * row, half_from_f32(0.25f));
	}
	for (uint32_t j = 0; j < EMBED_HALF; j++) {
		freq[j] = pow(10000.0, -2.0 * j / (2 * EMBED_HALF));
		divisor[j] = (float)(1 + j % 3);
	}
	struct cuda_embed a = {.w = there(data, bytes),
	                       .type = t,
	                       .row_bytes = row,
	                       .scale = scale,
	                       .n = 4,
	                       .k = EMBED_K,
	                       .ids = there(ids, sizeof ids),
	                       .pos = there(pos, sizeof pos),
	                       .x = there(NULL, sizeof x),
	                       .x_stride = EMBED_K,
	                       .half = EMBED_HALF,
	                       .factor = 2,
	                       .freq = there(freq, sizeof freq),
	                       .divisor = scale == 1 ? NULL : there(divisor, sizeof divisor),
	                       .cosine = there(NULL, sizeof cosine),
	                       .sine = there(NULL, sizeof sine)};
	launch(CUDA_EMBED, &a);
	here(x, a.x, sizeof x);
	here(cosine, a.cosine, sizeof cosine);
	here(sine, a.sine, sizeof sine);
	size_t wrong = 0;
	for (size_t i = 0; i < 4; i++) {
		s.dequantize[t](want, data + (size_t)ids[i] * row, EMBED_K);
		for (size_t c = 0; c < EMBED_K; c++)
			wrong += x[i * EMBED_K + c] != want[c] * scale;
		for (size_t j = 0; j < EMBED_HALF; j++) {
			double angle =
			    pos[i] / 2.0 * freq[j] / (scale == 1 ? 1 : (double)divisor[j]);

			/* a device's sine may differ from the host's in its last bit of 53 */
			CHECK(fabs((double)cosine[i * EMBED_HALF + j] - cos(angle)) < 1e-7);
			CHECK(fabs((double)sine[i * EMBED_HALF + j] - sin(angle)) < 1e-7);
		}
	}
	if (wrong)
		printf("# embedding of %s\n", dtype_get(t)->name);
	CHECK_INT(wrong, 0);
	free(data);
	leave();
}

/* n tokens of k values, with and without what may be left out. */
static void norm(uint32_t n, uint32_t k, int with_norm, int with_y, int with_q, float size)
{
	struct kernels s = {0};
	size_t stride = (k + 63) / 64 * 64, q_stride = cuda_q_stride(k);
	float *x = space(n * stride * 4), *w = space(k * 4), *y = space(n * stride * 4);
	float *want_y = space(n * stride * 4), scale[8], want_scale[8];
	int8_t *q = space(n * q_stride), *want_q = space(n * q_stride);
	int32_t sum[8], want_sum[8], sum256[64];

	scalar_encode_init(&s);
	scalar_vector_init(&s);
	for (uint32_t i = 0; i < n * stride; i++)
		want_y[i] = x[i] = real() * size;
	for (uint32_t i = 0; i < k; i++)
		w[i] = real();
	for (uint32_t t = 0; t < n; t++) {
		float *to = want_y + t * stride;

		if (with_norm)
			s.rms_norm(to, x + t * stride, w, k, 1e-5f);
		s.quantize_i8(to, k, want_q + t * q_stride, &want_scale[t], &want_sum[t], sum256);
	}
	struct cuda_norm a = {.n = n,
	                      .k = k,
	                      .x = there(x, n * stride * 4),
	                      .x_stride = stride,
	                      .norm = with_norm ? there(w, k * 4) : NULL,
	                      .eps = 1e-5f,
	                      .y_stride = stride,
	                      .q = with_q ? there(NULL, n * q_stride) : NULL,
	                      .q_stride = q_stride,
	                      .q_scale = there(NULL, n * 4),
	                      .q_sum = there(NULL, n * 4)};
	if (with_y) /* in place */
		a.y = (float *)(uintptr_t)a.x;
	launch(CUDA_NORM, &a);
	if (with_y) {
		here(y, a.y, n * stride * 4);
		/* zeros may have either sign */
		size_t wrong = 0;
		for (size_t i = 0; i < n * stride; i++)
			wrong += i % stride < k && y[i] != want_y[i];
		CHECK_INT(wrong, 0);
	}
	if (with_q) {
		here(q, a.q, n * q_stride);
		here(scale, a.q_scale, n * 4);
		here(sum, a.q_sum, n * 4);
		CHECK_INT(differ(q, want_q, n * q_stride), 0);
		CHECK_INT(differ(scale, want_scale, n * 4), 0);
		CHECK_INT(differ(sum, want_sum, n * 4), 0);
	}
	free(x);
	free(w);
	free(y);
	free(want_y);
	free(q);
	free(want_q);
	leave();
}

static void act(enum cuda_then then)
{
	struct kernels s = {0};
	float g[2][300], u[2][300], got[2][300];

	scalar_vector_init(&s);
	for (int t = 0; t < 2; t++)
		for (int i = 0; i < 300; i++) {
			g[t][i] = real() * (i % 9 ? 1.0f : 50.0f);
			u[t][i] = real();
		}
	struct cuda_act a = {.n = 2,
	                     .k = 299,
	                     .then = then,
	                     .g = there(g, sizeof g),
	                     .u = there(u, sizeof u),
	                     .g_stride = 300,
	                     .u_stride = 300};
	launch(CUDA_ACT, &a);
	here(got, a.g, sizeof got);
	for (int t = 0; t < 2; t++)
		(then == CUDA_SUM     ? s.add
		 : then == CUDA_RELU2 ? s.relu2_mul
		                      : s.silu_mul)(g[t], u[t], 299);
	CHECK_INT(differ(got, g, sizeof got), 0);
	leave();
}

static const enum dtype float_types[] = {
    DTYPE_F32,  DTYPE_F16,    DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q5_0,
    DTYPE_Q5_1, DTYPE_IQ4_NL, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K, DTYPE_Q2_0, DTYPE_Q2_0_G128};

#define FLOAT_TYPES (sizeof float_types / sizeof *float_types)

int check_tokens(void)
{
	static const enum dtype ternary[] = {DTYPE_I2_S, DTYPE_TQ2_0, DTYPE_TQ1_0, DTYPE_IQ2_BN,
	                                     DTYPE_IQ1_BN};

	for (size_t i = 0; i < FLOAT_TYPES; i++) {
		CHECK(cuda_embed_type(float_types[i]));
		embed(float_types[i], i % 2 ? 1.0f : 0.3f);
	}
	for (size_t i = 0; i < sizeof ternary / sizeof *ternary; i++)
		embed(ternary[i], 0.3f);
	norm(1, 2560, 1, 0, 1, 1);
	norm(8, 300, 1, 1, 1, 1);
	norm(3, 64, 0, 0, 1, 1e6f);
	norm(2, 6912, 1, 1, 0, 1e6f);
	norm(2, 1000, 1, 1, 1, 1e-9f);
	norm(2, 1000, 1, 1, 1, 0);
	act(CUDA_RELU2);
	act(CUDA_SILU);
	act(CUDA_SUM);
	return CHECKED();
}

/* ---- float and block types ---- */

static void dense(enum dtype t, uint32_t rows, uint32_t k, uint32_t n, enum cuda_then then)
{
	struct kernels s = {0};
	size_t row = dtype_row_bytes(t, k), bytes = rows * row, stride = (k + 63) / 64 * 64;
	size_t y_stride = rows + 5, y_bytes = n * y_stride * 4;
	uint8_t *data = space(bytes);
	float *x = space(n * stride * 4), *y = space(y_bytes), *want = space(y_bytes);
	float *wide = space(rows * k * 4), *want_wide = space(rows * k * 4);

	scalar_decode_init(&s);
	scalar_float_init(&s);
	random_rows(t, data, bytes);
	for (size_t i = 0; i < n * stride; i++)
		x[i] = real();
	for (size_t i = 0; i < n * y_stride; i++)
		y[i] = real();
	struct kernel_mat w = {t, rows, k, data, row, 0.3f};
	struct kernel_input in = {.n = n, .k = k, .f = x, .stride = stride};
	memcpy(want, y, y_bytes);
	struct cuda_dense a = {.w = there(data, bytes),
	                       .type = t,
	                       .row_bytes = row,
	                       .rows = rows,
	                       .k = k,
	                       .n = n,
	                       .scale = 0.3f,
	                       .then = then,
	                       .x = there(x, n * stride * 4),
	                       .x_stride = stride,
	                       .y = there(y, y_bytes),
	                       .y_stride = y_stride};
	launch(CUDA_DENSE, &a);
	s.mul[t](&w, &in, 0, rows, want, y_stride, NULL);
	for (size_t i = 0; then == CUDA_SUM && i < n * y_stride; i++)
		want[i] = i % y_stride < rows ? y[i] + want[i] : y[i];
	here(y, a.y, y_bytes);
	CHECK_INT(differ(y, want, y_bytes), 0);

	struct cuda_widen b = {.w = a.w,
	                       .type = t,
	                       .row_bytes = row,
	                       .rows = rows,
	                       .k = k,
	                       .scale = 0.3f,
	                       .y = there(NULL, rows * k * 4),
	                       .y_stride = k};
	launch(CUDA_WIDEN, &b);
	here(wide, b.y, rows * k * 4);
	for (size_t r = 0; r < rows; r++) {
		s.dequantize[t](want_wide + r * k, data + r * row, k);
		for (size_t c = 0; c < k; c++)
			want_wide[r * k + c] *= 0.3f;
	}
	CHECK_INT(differ(wide, want_wide, rows * k * 4), 0);
	free(data);
	free(x);
	free(y);
	free(want);
	free(wide);
	free(want_wide);
	leave();
}

/* Tensor cores: within MANY_TOLERANCE of the sum of the products' magnitudes. */
#define MANY_TOLERANCE 2e-6

static void dense_many(enum dtype t, uint32_t rows, uint32_t k, uint32_t n, enum cuda_then then,
                       float size)
{
	struct kernels s = {0};
	size_t row = dtype_row_bytes(t, k), bytes = rows * row, stride = (k + 63) / 64 * 64;
	size_t y_stride = rows + 5, y_bytes = n * y_stride * 4;
	uint8_t *data = space(bytes);
	float *x = space(n * stride * 4), *y = space(y_bytes), *got = space(y_bytes);
	float *w = space(k * 4);
	double worst = 0;

	scalar_decode_init(&s);
	random_rows(t, data, bytes);
	for (size_t i = 0; i < n * stride; i++)
		x[i] = real() * (i / stride % 3 ? size : 1);
	for (size_t i = 0; i < n * y_stride; i++)
		y[i] = real();
	struct cuda_dense a = {.w = there(data, bytes),
	                       .type = t,
	                       .row_bytes = row,
	                       .rows = rows,
	                       .k = k,
	                       .n = n,
	                       .scale = 0.3f,
	                       .then = then,
	                       .x = there(x, n * stride * 4),
	                       .x_stride = stride,
	                       .y = there(y, y_bytes),
	                       .y_stride = y_stride};
	launch(CUDA_DENSE_MANY, &a);
	here(got, a.y, y_bytes);
	for (size_t r = 0; r < y_stride; r++) {
		if (r < rows)
			s.dequantize[t](w, data + r * row, k);
		for (size_t i = 0; i < n; i++) {
			double sum = 0, all = 0, old = (double)y[i * y_stride + r];

			for (size_t c = 0; r < rows && c < k; c++) {
				double p = (double)w[c] * (double)x[i * stride + c] * 0.3;

				sum += p;
				all += fabs(p);
			}
			sum += r >= rows || then == CUDA_SUM ? old : 0;
			all += fabs(old) + 1e-30;
			worst = fmax(worst, fabs(sum - (double)got[i * y_stride + r]) / all);
		}
	}
	if (!(worst <= MANY_TOLERANCE))
		printf("# %s, %u x %u, %u tokens: off by %g\n", dtype_get(t)->name, rows, k, n,
		       worst);
	CHECK(worst <= MANY_TOLERANCE);
	free(data);
	free(x);
	free(y);
	free(got);
	free(w);
	leave();
}

int check_dense(void)
{
	for (size_t i = 0; i < FLOAT_TYPES; i++) {
		dense(float_types[i], 67, 512, 1, CUDA_STORE);
		dense(float_types[i], 33, 256, 9, i % 2 ? CUDA_SUM : CUDA_STORE);
	}
	dense(DTYPE_F16, 70, 100, 1, CUDA_SUM);
	dense_many(DTYPE_F16, 70, 100, 67, CUDA_STORE, 1e6f);
	dense_many(DTYPE_BF16, 64, 96, 33, CUDA_SUM, 1e-6f);
	dense_many(DTYPE_F32, 5, 64, 64, CUDA_STORE, 0);
	dense_many(DTYPE_Q6_K, 66, 256, 40, CUDA_STORE, 1);
	return CHECKED();
}
