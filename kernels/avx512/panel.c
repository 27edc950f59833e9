/*
 * Ternary products with several tokens: 64 rows by up to 1024 columns are unpacked into a panel
 * of bytes that stays in the cache while all tokens use it; integer sums wait in scratch between
 * the columns of one panel and the next.
 *
 * A panel is made of strips of 16 rows: in a strip, group g holds columns 4 g to 4 g + 3 of row r
 * at byte 64 g + 4 r, which is how vpdpbusd wants them against four activations that all lanes
 * share.
 */
#include "avx512.h"

#include <immintrin.h>
#include <string.h>

#include "codes.h"
#include "lanes.h"

#define STRIP  16
#define STRIPS 4
#define ROWS   (STRIP * STRIPS)
#define COLS   1024

/* Tokens whose sums are kept in registers, and those whose sums fit into scratch. */
#define TOKENS     6
#define TOKENS_MAX 512

struct work {
	uint8_t panel[STRIPS][COLS * STRIP];
	int32_t sums[TOKENS_MAX][ROWS];
	float hi[TOKENS_MAX], lo[TOKENS_MAX]; /* kernel_factor of each token */
};

_Static_assert(sizeof(struct work) <= KERNELS_SCRATCH, "scratch");

/* r[i] dword j becomes r[j] dword i. */
static inline void transpose(__m512i r[16])
{
	__m512i t[16];

	for (int i = 0; i < 16; i += 4) {
		__m512i a = _mm512_unpacklo_epi32(r[i], r[i + 1]);
		__m512i b = _mm512_unpackhi_epi32(r[i], r[i + 1]);
		__m512i c = _mm512_unpacklo_epi32(r[i + 2], r[i + 3]);
		__m512i d = _mm512_unpackhi_epi32(r[i + 2], r[i + 3]);

		t[i] = _mm512_unpacklo_epi64(a, c);
		t[i + 1] = _mm512_unpackhi_epi64(a, c);
		t[i + 2] = _mm512_unpacklo_epi64(b, d);
		t[i + 3] = _mm512_unpackhi_epi64(b, d);
	}
	for (int i = 0; i < 4; i++) {
		__m512i a = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x88);
		__m512i b = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xdd);
		__m512i c = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x88);
		__m512i d = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xdd);

		r[i] = _mm512_shuffle_i32x4(a, c, 0x88);
		r[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
		r[i + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
		r[i + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
	}
}

static void unpack_two_bits(const struct ternary_layout *l, const __m512i in[16], uint8_t *panel)
{
	__m512i r[16], three = _mm512_set1_epi8(3);
	size_t span = l->span / 4;

	memcpy(r, in, sizeof r);
	transpose(r);
	for (size_t j = 0; j < 16; j++) {
		/* dword j is the j % span-th of every part of block j / span */
		size_t g = j / span * 4 * span + j % span;

		for (unsigned p = 0; p < 4; p++) {
			__m512i v = _mm512_srli_epi32(r[j], 2 * (l->top ? 3 - p : p));

			_mm512_storeu_si512(panel + 64 * (g + p * span),
			                    _mm512_and_si512(v, three));
		}
	}
}

static void unpack_base3(const __m512i in[16], uint8_t *panel)
{
	uint8_t row[STRIP][256];
	__m512i r[16];

	for (size_t i = 0; i < STRIP; i++) {
		__m512i v = in[i];

		for (size_t k = 0; k < 5; k++) {
			__m512i d = first_digit(v);

			_mm256_storeu_si256((__m256i *)(void *)(row[i] + 32 * k),
			                    _mm512_castsi512_si256(d));
			_mm_storeu_si128((__m128i *)(void *)(row[i] + 160 + 16 * k),
			                 _mm512_extracti32x4_epi32(d, 2));
			if (k < 4) {
				int last = _mm_cvtsi128_si32(_mm512_extracti32x4_epi32(d, 3));

				memcpy(row[i] + 240 + 4 * k, &last, 4);
			}
			v = times3(v);
		}
	}
	for (size_t part = 0; part < 4; part++) {
		for (size_t i = 0; i < STRIP; i++)
			r[i] = _mm512_loadu_si512(row[i] + 64 * part);
		transpose(r);
		for (size_t i = 0; i < 16; i++)
			_mm512_storeu_si512(panel + 1024 * part + 64 * i, r[i]);
	}
}

void avx512_unpack(const struct kernel_mat *w, size_t k, size_t row, size_t rows, size_t c,
                   uint8_t panel[4096])
{
	const struct ternary_layout *l = ternary_layout(w->type);
	const uint8_t *p = w->data + row * w->row_bytes + l->prefix + c / 256 * l->unit_bytes;
	__mmask64 bytes = bytes_of(l, k - c);
	__m512i r[16];

	for (size_t i = 0; i < STRIP; i++)
		r[i] = row + i < rows ? _mm512_maskz_loadu_epi8(bytes, p + i * w->row_bytes)
		                      : _mm512_setzero_si512();
	if (l->span)
		unpack_two_bits(l, r, panel);
	else
		unpack_base3(r, panel);
}

/* sums[t][strip] += panel * x for TOKENS_HERE tokens and groups of four columns. */
#define DEFINE_TILE(NAME, TOKENS_HERE)                                                             \
	static void NAME(struct work *k, size_t t, const int8_t *x, size_t stride, size_t groups)  \
	{                                                                                          \
		__m512i acc[TOKENS_HERE][STRIPS], w[STRIPS];                                       \
                                                                                                   \
		for (size_t i = 0; i < TOKENS_HERE; i++)                                           \
			for (size_t s = 0; s < STRIPS; s++)                                        \
				acc[i][s] = _mm512_loadu_si512(k->sums[t + i] + STRIP * s);        \
		for (size_t g = 0; g < groups; g++) {                                              \
			for (size_t s = 0; s < STRIPS; s++)                                        \
				w[s] = _mm512_loadu_si512(k->panel[s] + 64 * g);                   \
			for (size_t i = 0; i < TOKENS_HERE; i++) {                                 \
				int32_t four;                                                      \
                                                                                                   \
				memcpy(&four, x + i * stride + 4 * g, 4);                          \
				__m512i v = _mm512_set1_epi32(four);                               \
				for (size_t s = 0; s < STRIPS; s++)                                \
					acc[i][s] = _mm512_dpbusd_epi32(acc[i][s], w[s], v);       \
			}                                                                          \
		}                                                                                  \
		for (size_t i = 0; i < TOKENS_HERE; i++)                                           \
			for (size_t s = 0; s < STRIPS; s++)                                        \
				_mm512_storeu_si512(k->sums[t + i] + STRIP * s, acc[i][s]);        \
	}

DEFINE_TILE(tile_1, 1)
DEFINE_TILE(tile_n, TOKENS)

static void panel_times(struct work *k, const struct kernel_input *x, size_t t0, size_t n, size_t c,
                        size_t columns)
{
	size_t t = 0;

	for (; t + TOKENS <= n; t += TOKENS)
		tile_n(k, t, x->q + (t0 + t) * x->stride + c, x->stride, columns / 4);
	for (; t < n; t++)
		tile_1(k, t, x->q + (t0 + t) * x->stride + c, x->stride, columns / 4);
}

/* Sums to results: row r of the panel is one run of d[r]. */
static void store(const struct work *k, const struct kernel_input *x, size_t t0, size_t n,
                  const float d[ROWS], size_t rows, float *y, size_t y_stride)
{
	for (size_t t = 0; t < n; t++) {
		float *to = y + (t0 + t) * y_stride;
		__m512i sum = _mm512_set1_epi32(x->sum[t0 + t]);

		for (size_t r = 0; r < rows; r += STRIP) {
			__m512i dot = _mm512_sub_epi32(_mm512_loadu_si512(k->sums[t] + r), sum);
			v16 v = v16_rescale(_mm512_cvtepi32_ps(dot), v16_load(d + r), k->hi[t],
			                    k->lo[t]);

			if (rows - r >= STRIP)
				v16_store(to + r, v);
			else
				v16_store_n(to + r, v, rows - r);
		}
	}
}

static void panel_rows(struct work *k, const struct kernel_mat *w, const struct kernel_input *x,
                       size_t t0, size_t n, size_t row, size_t rows, const float d[ROWS], float *y,
                       size_t y_stride, avx512_unpacker *unpack)
{
	memset(k->sums, 0, n * sizeof *k->sums);
	for (size_t c = 0; c < x->k; c += COLS) {
		size_t columns = x->k - c < COLS ? x->k - c : COLS;

		for (size_t s = 0; s < STRIPS; s++)
			for (size_t u = 0; u < columns; u += 256)
				unpack(w, x->k, row + STRIP * s, row + rows, c + u,
				       k->panel[s] + STRIP * u);
		panel_times(k, x, t0, n, c, columns);
	}
	store(k, x, t0, n, d, rows, y + row, y_stride);
}

static void token_block(struct work *k, const struct kernel_mat *w, const struct kernel_input *x,
                        size_t t0, size_t n, size_t row0, size_t row1, float *y, size_t y_stride,
                        avx512_unpacker *unpack)
{
	float d[ROWS];
	size_t rows;

	for (size_t t = 0; t < n; t++)
		kernel_factor(w->scale, x->scale[t0 + t], &k->hi[t], &k->lo[t]);
	for (size_t r = row0; r < row1; r += rows ? rows : 1) {
		rows = ternary_runs(w, x->k, r, row1 - r < ROWS ? row1 - r : ROWS, d);
		if (rows)
			panel_rows(k, w, x, t0, n, r, rows, d, y, y_stride, unpack);
	}
}

void avx512_mul_panels(const struct kernel_mat *w, const struct kernel_input *x, size_t row0,
                       size_t row1, float *y, size_t y_stride, void *scratch,
                       avx512_unpacker *unpack)
{
	for (size_t t = 0; t < x->n; t += TOKENS_MAX)
		token_block(scratch, w, x, t, x->n - t < TOKENS_MAX ? x->n - t : TOKENS_MAX, row0,
		            row1, y, y_stride, unpack);
}

void avx512_mul(const struct kernel_mat *w, const struct kernel_input *x, size_t row0, size_t row1,
                float *y, size_t y_stride, void *scratch)
{
	if (x->n == 1) {
		avx512_mul_one(w, x, row0, row1, y, y_stride, scratch);
		return;
	}
	if (x->n <= avx512_few(w, x->k)) {
		avx512_mul_few(w, x, row0, row1, y, y_stride, scratch);
		return;
	}
	avx512_mul_panels(w, x, row0, row1, y, y_stride, scratch, avx512_unpack);
	avx512_mul_others(w, x, row0, row1, y, y_stride, scratch);
}

static uint64_t probe_int8(uint64_t rounds)
{
	static const uint8_t codes[8 * 64] = {1, 2, 0, 1};
	static volatile int32_t keep;
	__m512i s[12], all = _mm512_setzero_si512();

	for (size_t i = 0; i < 12; i++)
		s[i] = _mm512_setzero_si512();
	for (uint64_t r = 0; r < rounds; r++) {
		__m512i c = _mm512_loadu_si512(codes + (r & 7) * 64);

		for (size_t i = 0; i < 12; i++)
			s[i] = _mm512_dpbusd_epi32(s[i], c, c);
	}
	for (size_t i = 0; i < 12; i++)
		all = _mm512_add_epi32(all, s[i]);
	keep = _mm512_reduce_add_epi32(all);
	(void)keep;
	return rounds * 12 * 64;
}

void avx512_ternary_init(struct kernels *k)
{
	k->mul[DTYPE_I2_S] = avx512_mul;
	k->mul[DTYPE_TQ1_0] = avx512_mul;
	k->mul[DTYPE_TQ2_0] = avx512_mul;
	k->mul[DTYPE_IQ2_BN] = avx512_mul;
	k->probe_int8 = probe_int8;
}
