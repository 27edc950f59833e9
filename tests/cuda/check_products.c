/* Ternary products and what they need: equal to scalar in every bit. */
#include "checks.h"

#include <stdlib.h>

#include "half.h"
#include "kernels.h"
#include "scalar/scalar.h"

enum mood { PLAIN, RANDOM_D, ZERO_D, HIGHEST, LOWEST, MOODS };

/* A matrix in the file's layout, and packed in the machine. */
struct matrix {
	struct kernel_mat file;
	struct cuda_packing packing;
	uint8_t *data, *packed;
	int mixed;
};

/* d of a block as the mood has it: the same everywhere, others, some zeros. */
static void set_d(enum dtype t, enum mood m, uint8_t *row, size_t row_bytes)
{
	static const float few[] = {0.7123f, -1377, 0}; /* sums are rounded */
	uint32_t bits = half_f32_bits(0.0123f);

	if (t == DTYPE_IQ2_BN)
		memcpy(row, &bits, 4);
	if (t == DTYPE_IQ1_BN)
		half_put(row, half_from_f32(-0.0123f));
	if (t != DTYPE_TQ1_0 && t != DTYPE_TQ2_0)
		return;
	size_t block = t == DTYPE_TQ1_0 ? 54 : 66;
	for (size_t b = 0; b < row_bytes; b += block) {
		float d = m == RANDOM_D ? few[below(3)] : 0.75f;

		if (m == ZERO_D && b / block % 2) {
			d = 0;
			/* all zeros: code 1 */
			memset(row + b, t == DTYPE_TQ2_0 ? 0x55 : 0x80, block - 2);
		}
		half_put(row + b + block - 2, half_from_f32(d));
	}
}

static void matrix_new(struct matrix *m, enum dtype t, int group, enum mood mood, uint32_t rows,
                       uint32_t cols)
{
	struct cuda_packing *p = &m->packing;

	cuda_packing(p, t, group, rows, cols, 0);
	size_t bytes = rows * p->row_bytes;
	m->data = malloc(bytes);
	m->packed = malloc(p->bytes);
	if (!m->data || !m->packed)
		exit(2);
	memset(m->packed, 0, p->bytes);
	/* codes of 3 are numbers here as in scalar */
	for (size_t i = 0; i < bytes; i++)
		m->data[i] = mood == HIGHEST ? 0xaa : mood == LOWEST ? 0 : (uint8_t)any();
	for (uint32_t r = 0; r < rows; r++)
		set_d(t, mood, m->data + r * p->row_bytes, p->row_bytes);
	m->mixed = 0;
	for (size_t b = 0; b < p->bands; b++)
		m->mixed |= cuda_pack(
		    p, b, m->data, m->packed + b * p->band_bytes,
		    p->row_d ? (float *)(void *)(m->packed + p->row_d) + 16 * b : NULL,
		    p->block_d ? (uint16_t *)(void *)(m->packed + p->block_d) + 16 * b * p->d_blocks
			       : NULL);
	m->file = (struct kernel_mat){t, rows, cols, m->data, p->row_bytes, 0.37f};
}

static void matrix_free(struct matrix *m)
{
	free(m->data);
	free(m->packed);
}

static struct cuda_part part_of(struct matrix *m, float *y)
{
	uint8_t *p = there(m->packed, m->packing.bytes);

	return (struct cuda_part){
	    .codes = p,
	    .row_d = m->packing.row_d ? (const float *)(void *)(p + m->packing.row_d) : NULL,
	    .block_d =
		m->packing.block_d ? (const uint16_t *)(void *)(p + m->packing.block_d) : NULL,
	    .scale = m->file.scale,
	    .rows = (uint32_t)m->file.rows,
	    .y = y};
}

/* Inputs: floats, and what scalar makes of them. */
struct inputs {
	uint32_t n, k;
	size_t stride, q_stride;
	float *x, *norm, *h; /* h: normalised */
	int8_t *q;
	float *scale;
	int32_t *sum, *sum256;
	struct kernel_input in;
};

static void inputs_new(struct inputs *i, uint32_t n, uint32_t k, enum mood mood)
{
	struct kernels s = {0};

	scalar_encode_init(&s);
	scalar_vector_init(&s);
	i->n = n;
	i->k = k;
	i->stride = (k + 127) / 128 * 128 + 128;
	i->q_stride = i->stride;
	i->x = calloc(n * i->stride, 4);
	i->h = aligned_alloc(64, n * i->stride * 4);
	i->norm = malloc(k * sizeof(float));
	i->q = aligned_alloc(64, n * i->q_stride);
	i->scale = malloc(n * sizeof(float));
	i->sum = malloc(n * sizeof(int32_t));
	i->sum256 = malloc(n * (k / 256 + 1) * sizeof(int32_t));
	if (!i->x || !i->h || !i->norm || !i->q || !i->scale || !i->sum || !i->sum256)
		exit(2);
	memset(i->q, 0, n * i->q_stride);
	for (uint32_t c = 0; c < k; c++)
		i->norm[c] = real();
	for (uint32_t t = 0; t < n; t++) {
		float *h = i->h + t * i->stride;

		for (uint32_t c = 0; c < k; c++)
			i->x[t * i->stride + c] = mood == HIGHEST  ? 3.0f
			                          : mood == LOWEST ? -3.0f
			                                           : real() * (float)(1 + c % 7);
		s.rms_norm(h, i->x + t * i->stride, i->norm, k, 1e-5f);
		s.quantize_i8(h, k, i->q + t * i->q_stride, &i->scale[t], &i->sum[t],
		              i->sum256 + t * (k / 256 + 1));
	}
	i->in = (struct kernel_input){n,        k,      i->h,      i->q,       i->q_stride,
	                              i->scale, i->sum, i->sum256, k / 256 + 1};
}

static void inputs_free(struct inputs *i)
{
	free(i->x);
	free(i->h);
	free(i->norm);
	free(i->q);
	free(i->scale);
	free(i->sum);
	free(i->sum256);
}

/* One product of up to three matrices with both, by one kernel. */
static void product(enum cuda_kernel kernel, struct matrix *m, uint32_t parts, enum cuda_then then,
                    struct inputs *in)
{
	struct kernels s = {0};
	size_t rows = 0, outputs = then >= CUDA_RELU2 ? 1 : parts, at = 0;

	scalar_vector_init(&s);
	for (uint32_t i = 0; i < parts; i++)
		rows += m[i].file.rows;
	size_t stride = rows + 3, bytes = in->n * stride * sizeof(float);
	float *want = malloc(bytes), *up = malloc(bytes), *got = malloc(bytes);
	if (!want || !up || !got)
		exit(2);
	for (size_t i = 0; i < in->n * stride; i++)
		want[i] = 0.5f;
	float *y = there(want, bytes);
	struct cuda_product a = {.parts = parts,
	                         .n = in->n,
	                         .k = in->k,
	                         .then = then,
	                         .units = below(2), /* blocks that take several bands, too */
	                         .d_blocks = (uint32_t)m[0].packing.d_blocks,
	                         .x = there(in->x, in->n * in->stride * 4),
	                         .norm = there(in->norm, in->k * 4),
	                         .eps = 1e-5f,
	                         .q = there(in->q, in->n * in->q_stride),
	                         .q_scale = there(in->scale, in->n * 4),
	                         .q_sum = there(in->sum, in->n * 4),
	                         .q_stride = in->q_stride,
	                         .y_stride = stride};
	for (uint32_t i = 0; i < parts; i++) {
		a.part[i] = part_of(&m[i], i < outputs ? y + at : NULL);
		scalar_mul_ternary(&m[i].file, &in->in, 0, m[i].file.rows, up, stride, NULL);
		for (size_t t = 0; t < in->n && then < CUDA_RELU2; t++)
			for (size_t r = 0; r < m[i].file.rows; r++)
				want[t * stride + at + r] =
				    up[t * stride + r] +
				    (then == CUDA_SUM ? want[t * stride + at + r] : 0);
		if (then >= CUDA_RELU2 && i == 0)
			for (size_t t = 0; t < in->n; t++)
				memcpy(want + t * stride, up + t * stride, m[0].file.rows * 4);
		at += i < outputs ? m[i].file.rows : 0;
	}
	for (size_t t = 0; then >= CUDA_RELU2 && t < in->n; t++)
		(then == CUDA_RELU2 ? s.relu2_mul : s.silu_mul)(want + t * stride, up + t * stride,
		                                                m[0].file.rows);
	launch(kernel, &a);
	here(got, y, bytes);
	size_t wrong = 0;
	for (size_t i = 0; i < in->n * stride; i++)
		wrong += got[i] != want[i];
	if (wrong)
		printf("# %s: %s, %u parts, then %d, n %u, k %u, rows %zu: %zu differ\n",
		       cuda_info(kernel)->name, dtype_get(m[0].file.type)->name, parts, (int)then,
		       in->n, in->k, m[0].file.rows, wrong);
	CHECK_INT(wrong, 0);
	free(want);
	free(up);
	free(got);
	leave();
}

static const enum dtype types[] = {DTYPE_I2_S, DTYPE_TQ2_0, DTYPE_TQ1_0, DTYPE_IQ2_BN,
                                   DTYPE_IQ1_BN};

/* Columns: less than a tile, whole tiles, more than all warps take at once. */
static void one_type(enum dtype t, enum mood mood)
{
	static const uint32_t columns[] = {256, 1280, 4864};

	for (size_t c = 0; c < (t == DTYPE_I2_S && mood == PLAIN ? 3 : 2); c++) {
		struct matrix m[3];
		struct inputs one, some, many;
		uint32_t k = t == DTYPE_IQ2_BN && c == 0 ? 64
		             : t == DTYPE_I2_S && c == 0 ? 128
		                                         : columns[c];
		uint32_t rows = 5 + below(40);

		matrix_new(&m[0], t, 32, mood, rows, k);
		matrix_new(&m[1], t, 32, mood, rows, k);
		matrix_new(&m[2], t, 32, mood, 16, k);
		inputs_new(&one, 1, k, mood);
		inputs_new(&some, c == 1 && t == DTYPE_I2_S ? 32 : 2 + below(12), k, mood);
		inputs_new(&many, c == 1 && t == DTYPE_I2_S ? 129 : 40, k, mood);
		enum cuda_then gate = mood == PLAIN ? CUDA_RELU2 : CUDA_SILU;
		int mixed = m[0].mixed || m[1].mixed || m[2].mixed;

		CHECK_INT(cuda_product_kernel(1, k, mixed), mixed ? CUDA_MIXED : CUDA_VECTOR);
		if (!mixed) {
			product(CUDA_VECTOR, m, 3, CUDA_STORE, &one);
			product(CUDA_VECTOR, m, 1, CUDA_SUM, &one);
			product(CUDA_VECTOR, m, 2, gate, &one);
			product(CUDA_BATCH, m, 3, CUDA_STORE, &some);
			product(CUDA_BATCH, m, 1, CUDA_SUM, &some);
			product(CUDA_BATCH, m, 2, gate, &some);
			if (c < 2) {
				product(CUDA_GEMM, m, 3, CUDA_STORE, &many);
				product(CUDA_GEMM, m, 1, CUDA_SUM, &many);
				product(CUDA_GEMM, m, 2, gate, &many);
			}
		}
		if (c < 2) {
			product(CUDA_MIXED, m, 3, CUDA_STORE, &some);
			product(CUDA_MIXED, m, 2, gate, &some);
			product(CUDA_MIXED, m, 1, CUDA_SUM, &one);
		}
		for (int i = 0; i < 3; i++)
			matrix_free(&m[i]);
		inputs_free(&one);
		inputs_free(&some);
		inputs_free(&many);
	}
}

int check_products(void)
{
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		one_type(types[i], PLAIN);
	one_type(DTYPE_TQ2_0, RANDOM_D);
	one_type(DTYPE_TQ1_0, RANDOM_D);
	one_type(DTYPE_TQ2_0, ZERO_D);
	one_type(DTYPE_I2_S, HIGHEST);
	one_type(DTYPE_I2_S, LOWEST);
	return CHECKED();
}
