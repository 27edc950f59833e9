/*
 * Ternary products with many tokens: two ways at once.  On these cores vpdpbusd runs on two of four
 * pipes, vpermw on another pair that shares one with it, vpaddw on any.  So of six tokens four are
 * multiplied, and two look their products up: three codes of a row make a number below 27, for
 * which a register holds the sum that three activations give, for 32 rows at once.  The
 * operations of both take turns in the loop, in an order that no compiler may change.
 *
 * A chunk of 256 columns, filled up to 264, is worked on for all tokens and rows of a call before
 * the next one; integer sums wait where the results go.  A step of a chunk is 12 columns: three
 * groups of four for vpdpbusd, four triples (j, 4 + j, 8 + j) for vpermw.
 *
 * Sums of looked up products fit 16 bits, but for 256 times -128, which no quantization gives: such
 * input, as codes of 3, is left to the AVX-512 set.
 */
#include "zen4.h"

#include <immintrin.h>
#include <string.h>

#include "../avx512/avx512.h"
#include "../avx512/codes.h"
#include "../avx512/lanes.h"
#include "../strips.h"
#include "../vbmi/vbmi.h"

#define STRIP  16
#define STRIPS 4
#define ROWS   (STRIP * STRIPS)
#define COLS   256
#define GROUPS 66 /* of 4 columns */
#define STEPS  22

/* Tokens of a tile, of which the last LOOKED are looked up. */
#define TOKENS     6
#define MULTIPLIED 4
#define LOOKED     2
#define TILES      27

/* Fewer tokens than this do not pay for what is prepared. */
#define PAYS 33

/* What six tokens need in a step. */
struct step {
	int16_t sums[4][LOOKED][32]; /* by triple, token and number */
	int8_t x[MULTIPLIED][16];    /* by token: 12 activations */
};

/* Numbers of triples of 32 rows, two triples to a lane: rows of the first strip in even lanes. */
struct numbers {
	uint8_t of[2][STRIPS / 2][64];
};

struct work {
	struct step step[TILES][STEPS];
	uint8_t codes[STRIPS][GROUPS * 64]; /* as avx512_unpack leaves them */
	struct numbers numbers[STEPS + 1];  /* the last one is read, not used */
};

_Static_assert(sizeof(struct work) <= KERNELS_SCRATCH, "scratch");

/* Registers by which three activations (plus 128), and 128, are multiplied to give the sums of a
 * triple: for numbers 8 i to 8 i + 3, and for those four further. */
struct digits {
	__m512i low, high;
};

static struct digits digits(void)
{
	int8_t part[2][64] = {{0}};

	for (int n = 0; n < 27; n++) {
		int a = n % 3 - 1, b = n / 3 % 3 - 1, c = n / 9 - 1;
		int8_t *to = part[n / 4 % 2] + n / 8 * 16 + n % 4 * 4;

		to[0] = (int8_t)a;
		to[1] = (int8_t)b;
		to[2] = (int8_t)c;
		to[3] = (int8_t)(-a - b - c);
	}
	return (struct digits){_mm512_loadu_si512(part[0]), _mm512_loadu_si512(part[1])};
}

/* n activations of a token that is looked up, in all steps of a tile. */
static void prepare_looked(struct step *s, size_t token, const int8_t *x, size_t n,
                           const struct digits *d)
{
	const __m512i none = _mm512_setzero_si512();
	const __m128i flip = _mm_set1_epi8((char)128);
	int8_t all[12 * STEPS + 4] = {0};
	int32_t triple[4];

	memcpy(all, x, n);
	for (size_t i = 0; i < STEPS; i++, s++) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(all + 12 * i));

		v = _mm_xor_si128(v, flip);
		__m128i last = _mm_unpacklo_epi8(_mm_srli_si128(v, 8), flip);
		v = _mm_unpacklo_epi8(v, _mm_srli_si128(v, 4));
		_mm_storeu_si128((__m128i *)(void *)triple, _mm_unpacklo_epi16(v, last));
		for (size_t j = 0; j < 4; j++) {
			__m512i t = _mm512_set1_epi32(triple[j]);

			_mm512_store_si512(
			    s->sums[j][token],
			    _mm512_packs_epi32(_mm512_dpbusd_epi32(none, t, d->low),
			                       _mm512_dpbusd_epi32(none, t, d->high)));
		}
	}
}

/* Whether sums of all of x could be 2^15. */
static int overflows(const int8_t *x, size_t n)
{
	__mmask64 all = n == COLS ? ~0ull : 0;

	for (size_t i = 0; all && i < COLS; i += 64)
		all &= _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(x + i), _mm512_set1_epi8(-128));
	return all == ~0ull;
}

static void prepare_multiplied(struct step *s, size_t token, const int8_t *x, size_t n)
{
	int8_t all[12 * STEPS + 4] = {0};

	memcpy(all, x, n);
	for (size_t i = 0; i < STEPS; i++, s++)
		memcpy(s->x[token], all + 12 * i, 16);
}

/* n columns from c on, of tokens from t0 on.  Returns 0 when they cannot be looked up. */
static int prepare(struct work *k, const struct kernel_input *x, size_t t0, size_t tiles, size_t c,
                   size_t n)
{
	struct digits d = digits();

	for (size_t i = 0; i < tiles * TOKENS; i++) {
		const int8_t *from = x->q + (t0 + i) * x->stride + c;
		struct step *s = k->step[i / TOKENS];
		size_t token = i % TOKENS;

		/* the next chunk lies in the same rows, which no CPU guesses */
		for (size_t ahead = COLS; ahead < 2 * COLS; ahead += 64)
			fetch(from + ahead);
		if (token < MULTIPLIED)
			prepare_multiplied(s, token, from, n);
		else if (overflows(from, n))
			return 0;
		else
			prepare_looked(s, token - MULTIPLIED, from, n, &d);
	}
	return 1;
}

/* Codes of the rows from row on, up to end, and their numbers.  Returns 0 when a code is 3. */
static int unpack(struct work *k, const struct kernel_mat *w, size_t cols, size_t row, size_t end,
                  size_t c)
{
	__m512i three = _mm512_setzero_si512();
	avx512_unpacker *codes = w->strips ? vbmi_unpack : avx512_unpack;

	for (size_t s = 0; s < STRIPS; s++)
		codes(w, cols, row + STRIP * s, end, c, k->codes[s]);
	for (size_t i = 0; i < STEPS; i++)
		for (size_t h = 0; h < STRIPS / 2; h++) {
			__m512i n[2];

			for (size_t s = 0; s < 2; s++) {
				const uint8_t *p = k->codes[2 * h + s] + 192 * i;
				__m512i v[3];

				for (size_t g = 0; g < 3; g++) {
					v[g] = _mm512_loadu_si512(p + 64 * g);
					three = seen_three(three, v[g]);
				}
				n[s] = times3_plus(times3_plus(v[2], v[1]), v[0]);
			}
			_mm512_storeu_si512(
			    k->numbers[i].of[0][h],
			    _mm512_mask_blend_epi16(0xaaaaaaaa, n[0], _mm512_slli_epi32(n[1], 16)));
			_mm512_storeu_si512(
			    k->numbers[i].of[1][h],
			    _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(n[0], 16), n[1]));
		}
	return !_mm512_test_epi32_mask(three, three);
}

/* Asks for the codes of the rows of a panel that comes next. */
static void fetch_rows(const struct kernel_mat *w, size_t row, size_t end, size_t c)
{
	const struct ternary_layout *l = ternary_layout(w->type);
	const uint8_t *p = w->data + row * w->row_bytes + c / COLS * l->unit_bytes;

	end = end < row + ROWS ? end : row + ROWS;
	for (; row < end; row++, p += w->row_bytes)
		fetch(p);
}

/* The same of strips, whose blocks lie side by side. */
static void fetch_strips(const struct kernel_mat *w, size_t cols, size_t row, size_t end, size_t c)
{
	end = end < row + ROWS ? end : row + ROWS;
	for (; row < end; row += STRIP) {
		const uint8_t *p = w->data + strips_bytes(row, cols);

		for (size_t b = c / STRIP_COLS; b <= (c + COLS - 1) / STRIP_COLS; b++)
			fetch(p + b * STRIP_BLOCK);
	}
}

static inline void multiply(__m512i *sums, __m512i codes, __m512i x)
{
	__asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(*sums) : "v"(codes), "v"(x));
}

static inline void look_up(__m512i *sums, __m512i numbers, __m512i table)
{
	__m512i v;

	__asm__ volatile("vpermw %3, %2, %1\n\tvpaddw %1, %0, %0"
	                 : "+v"(*sums), "=&v"(v)
	                 : "v"(numbers), "v"(table));
}

/* sums (TOKENS rows of ROWS, stride apart) = or += products of a chunk. */
static void tile(const struct work *k, const struct step *x, int32_t *sums, size_t stride,
                 int first)
{
	const struct numbers *numbers = k->numbers;
	const uint8_t *codes = k->codes[0];
	__m512i m[MULTIPLIED][STRIPS], l[LOOKED][STRIPS / 2], w[STRIPS], n[2], table;

#pragma GCC unroll 8
	for (size_t t = 0; t < MULTIPLIED; t++)
#pragma GCC unroll 8
		for (size_t s = 0; s < STRIPS; s++)
			m[t][s] = first ? _mm512_setzero_si512()
			                : _mm512_loadu_si512(sums + t * stride + STRIP * s);
#pragma GCC unroll 8
	for (size_t t = 0; t < LOOKED; t++)
#pragma GCC unroll 8
		for (size_t h = 0; h < STRIPS / 2; h++)
			l[t][h] = _mm512_setzero_si512();
	for (size_t i = 0; i < STEPS; i++, x++, numbers++, codes += 192) {
#pragma GCC unroll 64
		for (size_t o = 0; o < 48; o++) {
			size_t g = o / 16, t = o / 4 % 4, s = o % 4, u = o / 3;
			int32_t four;

			if (t == 0)
				w[s] = _mm512_loadu_si512(codes + GROUPS * 64 * s + 64 * g);
			memcpy(&four, x->x[t] + 4 * g, 4);
			multiply(&m[t][s], w[s], _mm512_set1_epi32(four));
			if (o % 3)
				continue;
			/* u: triple, token, half; odd triples lie in the upper bytes */
			if (u % 4 == 0) {
				n[0] = _mm512_loadu_si512(numbers->of[u / 8][0] + u / 4 % 2);
				n[1] = _mm512_loadu_si512(numbers->of[u / 8][1] + u / 4 % 2);
			}
			table = _mm512_load_si512(x->sums[u / 4][u / 2 % 2]);
			look_up(&l[u / 2 % 2][u % 2], n[u % 2], table);
		}
	}
#pragma GCC unroll 8
	for (size_t t = 0; t < MULTIPLIED; t++)
#pragma GCC unroll 8
		for (size_t s = 0; s < STRIPS; s++)
			_mm512_storeu_si512(sums + t * stride + STRIP * s, m[t][s]);
	sums += MULTIPLIED * stride;
#pragma GCC unroll 8
	for (size_t t = 0; t < LOOKED; t++)
#pragma GCC unroll 8
		for (size_t h = 0; h < STRIPS / 2; h++) {
			int32_t *p = sums + t * stride + 2 * STRIP * h;
			__m512i even = _mm512_srai_epi32(_mm512_slli_epi32(l[t][h], 16), 16);
			__m512i odd = _mm512_srai_epi32(l[t][h], 16);

			if (!first) {
				even = _mm512_add_epi32(even, _mm512_loadu_si512(p));
				odd = _mm512_add_epi32(odd, _mm512_loadu_si512(p + STRIP));
			}
			_mm512_storeu_si512(p, even);
			_mm512_storeu_si512(p + STRIP, odd);
		}
}

/* The same for fewer rows than a tile has. */
static void part_tile(const struct work *k, const struct step *x, int32_t *sums, size_t stride,
                      int first, size_t rows)
{
	int32_t whole[TOKENS][ROWS] = {{0}};

	for (size_t t = 0; t < TOKENS && !first; t++)
		memcpy(whole[t], sums + t * stride, rows * sizeof *sums);
	tile(k, x, whole[0], ROWS, first);
	for (size_t t = 0; t < TOKENS; t++)
		memcpy(sums + t * stride, whole[t], rows * sizeof *sums);
}

/* Sums of one token to results, in place. */
static void finish(const struct kernel_mat *w, const struct kernel_input *x, size_t token,
                   int looked, size_t row0, size_t row1, float *y)
{
	const struct ternary_layout *l = ternary_layout(w->type);
	__m512i less = _mm512_set1_epi32(looked ? 0 : x->sum[token]);
	float d[STRIP], hi, lo;

	for (size_t r = 0; r < STRIP; r++)
		d[r] = 1;
	kernel_factor(w->scale, x->scale[token], &hi, &lo);
	for (size_t r = row0; r < row1; r += STRIP) {
		size_t rows = row1 - r < STRIP ? row1 - r : STRIP;

		for (size_t i = 0; l->d != D_NONE && i < rows; i++)
			d[i] = ternary_d(l, w->data + (r + i) * w->row_bytes, 0);
		__m512i dot = _mm512_maskz_loadu_epi32(first(rows), y + r);
		v16 v = _mm512_cvtepi32_ps(_mm512_sub_epi32(dot, less));

		v16_store_n(y + r, v16_rescale(v, v16_load(d), hi, lo), rows);
	}
}

/* Tiles of tokens from t0 on with all rows.  Returns 0 when that cannot be: then y means nothing.
 */
static int token_block(struct work *k, const struct kernel_mat *w, const struct kernel_input *x,
                       size_t t0, size_t tiles, size_t row0, size_t row1, float *y, size_t y_stride)
{
	int32_t *sums = (int32_t *)(void *)(y + t0 * y_stride);

	for (size_t c = 0; c < x->k; c += COLS) {
		if (!prepare(k, x, t0, tiles, c, x->k - c < COLS ? x->k - c : COLS))
			return 0;
		for (size_t r = row0; r < row1; r += ROWS) {
			if (!unpack(k, w, x->k, r, row1, c))
				return 0;
			if (w->strips)
				fetch_strips(w, x->k, r + ROWS, row1, c);
			else
				fetch_rows(w, r + ROWS, row1, c);
			for (size_t i = 0; i < tiles; i++) {
				int32_t *to = sums + i * TOKENS * y_stride + r;

				if (row1 - r >= ROWS)
					tile(k, k->step[i], to, y_stride, c == 0);
				else
					part_tile(k, k->step[i], to, y_stride, c == 0, row1 - r);
			}
		}
	}
	for (size_t t = t0; t < t0 + tiles * TOKENS; t++)
		finish(w, x, t, (t - t0) % TOKENS >= MULTIPLIED, row0, row1, y + t * y_stride);
	return 1;
}

static int all_are_runs(const struct kernel_mat *w, size_t k, size_t row0, size_t row1)
{
	const struct ternary_layout *l = ternary_layout(w->type);

	for (size_t r = row0; l->d == D_UNIT && r < row1; r++)
		if (!ternary_is_run(l, w->data + r * w->row_bytes, k))
			return 0;
	return 1;
}

/* n tokens from t on, by the AVX-512 set. */
static void plain(const struct kernel_mat *w, const struct kernel_input *x, size_t t, size_t n,
                  size_t row0, size_t row1, float *y, size_t y_stride, void *scratch)
{
	struct kernel_input part = *x;

	part.n = n;
	part.q += t * x->stride;
	part.scale += t;
	part.sum += t;
	part.sum256 += t * x->stride256;
	if (n)
		(w->strips ? vbmi_mul_strips : avx512_mul)(w, &part, row0, row1, y + t * y_stride,
		                                           y_stride, scratch);
}

/* Blocks of tiles, of about the same size, that n tokens are worked on in. */
static size_t blocks_of(size_t n)
{
	return (n / TOKENS + TILES - 1) / TILES;
}

static size_t prepared(size_t n)
{
	size_t blocks = blocks_of(n);

	return n < PAYS ? 0
	                : sizeof(struct work) - (TILES - (n / TOKENS + blocks - 1) / blocks) *
	                                            STEPS * sizeof(struct step);
}

static void mul(const struct kernel_mat *w, const struct kernel_input *x, size_t row0, size_t row1,
                float *y, size_t y_stride, void *scratch)
{
	size_t tiles = x->n / TOKENS, blocks = blocks_of(x->n), t = 0, n;
	struct work *k = scratch;

	if (x->n < PAYS || !all_are_runs(w, x->k, row0, row1)) {
		plain(w, x, 0, x->n, row0, row1, y, y_stride, scratch);
		return;
	}
	for (size_t s = 0; s < STRIPS; s++)
		memset(k->codes[s] + COLS / 4 * 64, 0, (GROUPS - COLS / 4) * 64);
	for (; blocks; blocks--, tiles -= n, t += n * TOKENS) {
		n = (tiles + blocks - 1) / blocks;
		if (!token_block(k, w, x, t, n, row0, row1, y, y_stride))
			break;
	}
	plain(w, x, t, x->n - t, row0, row1, y, y_stride, scratch);
}

void zen4_ternary_init(struct kernels *k)
{
	k->prepared = prepared;
	k->mul[DTYPE_I2_S] = mul;
	k->mul[DTYPE_TQ1_0] = mul;
	k->mul[DTYPE_TQ2_0] = mul;
	k->mul[DTYPE_IQ2_BN] = mul;
	k->mul_strips = mul;
}
