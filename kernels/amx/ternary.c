/*
 * Ternary products with several tokens on int8 tiles.
 *
 * 32 rows are unpacked into a panel (the strips of avx512/panel.c, which are how a tile wants its
 * second factor); activations are tiles of 16 tokens by 64 columns where they lie.  Columns are
 * visited in chunks whose part of the panel, 20 KiB, stays in the first cache while all tokens use
 * it; tokens in blocks whose activations stay in the second one.  Two by two tiles of sums stay in
 * the tile registers along a chunk and wait in scratch from one to the next.
 */
#include "amx.h"

#include <immintrin.h>
#include <string.h>

#include "../avx512/avx512.h"
#include "../avx512/lanes.h"
#include "../ternary.h"
#include "../vbmi/vbmi.h"

#define STRIP  16
#define STRIPS 2
#define ROWS   (STRIP * STRIPS)
#define COLS   8192 /* of a panel */
#define CHUNK  640
#define TILE   16 /* tokens of a tile */

/* Tokens whose sums fit into scratch, and bytes of activations that stay in the second cache. */
#define TOKENS 512
#define NEAR   (1280 * 1024)

struct work {
	uint8_t panel[STRIPS][COLS * STRIP];
	int32_t sums[TOKENS][ROWS];
	float hi[TOKENS], lo[TOKENS]; /* kernel_factor of each token */
};

_Static_assert(sizeof(struct work) <= KERNELS_SCRATCH, "scratch");

/* What a block of tokens and a panel of rows have in common. */
struct job {
	const struct kernel_mat *w;
	const struct kernel_input *x;
	struct work *k;
	size_t t0, n;     /* tokens */
	size_t row, rows; /* at most ROWS */
	float d[ROWS];    /* of each row, which is one run */
	float *y;         /* of row 0 and token 0 */
	size_t y_stride;
};

/* The tile registers: sums of tokens 0..15 and 16..31 with two strips each, activations, panel. */
#define C00 0
#define C01 1
#define C10 2
#define C11 3
#define A0  4
#define A1  5
#define B0  6
#define B1  7

struct config {
	uint8_t palette, start, zero[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
};

/* Tiles for m0 and m1 tokens (1..16; m1 may be 0). */
static void configure(size_t m0, size_t m1)
{
	struct config c = {.palette = 1};

	for (int i = C00; i <= B1; i++) {
		c.row_bytes[i] = 64;
		c.rows[i] = TILE;
	}
	c.rows[C00] = c.rows[C01] = c.rows[A0] = (uint8_t)m0;
	c.rows[C10] = c.rows[C11] = c.rows[A1] = (uint8_t)(m1 ? m1 : 1);
	/* gcc's intrinsic says that it reads a pointer's size only: the rest must be stored too */
	__asm__ volatile("" : : "r"(&c) : "memory");
	_tile_loadconfig(&c);
}

/* sums += columns * 64 columns of the panel from step on times x, for 17 to 32 tokens. */
static void two_tiles(struct work *k, size_t t, size_t step, size_t steps, const int8_t *x,
                      size_t stride, int fresh)
{
	int32_t(*sums)[ROWS] = k->sums + t;

	if (fresh) {
		_tile_zero(C00);
		_tile_zero(C01);
		_tile_zero(C10);
		_tile_zero(C11);
	} else {
		_tile_loadd(C00, sums[0], sizeof *sums);
		_tile_loadd(C01, sums[0] + STRIP, sizeof *sums);
		_tile_loadd(C10, sums[TILE], sizeof *sums);
		_tile_loadd(C11, sums[TILE] + STRIP, sizeof *sums);
	}
	for (size_t i = step; i < step + steps; i++) {
		_tile_loadd(B0, k->panel[0] + 64 * STRIP * i, 64);
		_tile_loadd(A0, x + 64 * i, stride);
		_tile_loadd(B1, k->panel[1] + 64 * STRIP * i, 64);
		_tile_dpbsud(C00, A0, B0);
		_tile_dpbsud(C01, A0, B1);
		_tile_loadd(A1, x + TILE * stride + 64 * i, stride);
		_tile_dpbsud(C10, A1, B0);
		_tile_dpbsud(C11, A1, B1);
	}
	_tile_stored(C00, sums[0], sizeof *sums);
	_tile_stored(C01, sums[0] + STRIP, sizeof *sums);
	_tile_stored(C10, sums[TILE], sizeof *sums);
	_tile_stored(C11, sums[TILE] + STRIP, sizeof *sums);
}

/* The same for up to 16. */
static void one_tile(struct work *k, size_t t, size_t step, size_t steps, const int8_t *x,
                     size_t stride, int fresh)
{
	int32_t(*sums)[ROWS] = k->sums + t;

	if (fresh) {
		_tile_zero(C00);
		_tile_zero(C01);
	} else {
		_tile_loadd(C00, sums[0], sizeof *sums);
		_tile_loadd(C01, sums[0] + STRIP, sizeof *sums);
	}
	for (size_t i = step; i < step + steps; i++) {
		_tile_loadd(B0, k->panel[0] + 64 * STRIP * i, 64);
		_tile_loadd(A0, x + 64 * i, stride);
		_tile_loadd(B1, k->panel[1] + 64 * STRIP * i, 64);
		_tile_dpbsud(C00, A0, B0);
		_tile_dpbsud(C01, A0, B1);
	}
	_tile_stored(C00, sums[0], sizeof *sums);
	_tile_stored(C01, sums[0] + STRIP, sizeof *sums);
}

/* Sums of tokens t..t + n - 1 to results. */
static void store(const struct job *j, size_t t, size_t n)
{
	const struct work *k = j->k;
	float *y = j->y + (j->t0 + t) * j->y_stride + j->row;

	for (; n; n--, t++, y += j->y_stride) {
		__m512i sum = _mm512_set1_epi32(j->x->sum[j->t0 + t]);

		for (size_t r = 0; r < j->rows; r += STRIP) {
			__m512i dot = _mm512_sub_epi32(_mm512_loadu_si512(k->sums[t] + r), sum);
			v16 v = v16_rescale(_mm512_cvtepi32_ps(dot), v16_load(j->d + r), k->hi[t],
			                    k->lo[t]);

			if (j->rows - r >= STRIP)
				v16_store(y + r, v);
			else
				v16_store_n(y + r, v, j->rows - r);
		}
	}
}

/* Pairs of full tiles. */
static void full_tiles(const struct job *j, const int8_t *x, size_t step, size_t steps, int fresh,
                       int last)
{
	for (size_t t = 0; t + 2 * TILE <= j->n; t += 2 * TILE) {
		two_tiles(j->k, t, step, steps, x + t * j->x->stride, j->x->stride, fresh);
		if (last)
			store(j, t, 2 * TILE);
	}
}

/* The tokens behind them. */
static void last_tiles(const struct job *j, const int8_t *x, size_t steps, int fresh, int last)
{
	size_t left = j->n % (2 * TILE), t = j->n - left;

	x += t * j->x->stride;
	configure(left < TILE ? left : TILE, left > TILE ? left - TILE : 1);
	if (left > TILE)
		two_tiles(j->k, t, 0, steps, x, j->x->stride, fresh);
	else
		one_tile(j->k, t, 0, steps, x, j->x->stride, fresh);
	if (last)
		store(j, t, left);
}

/* Columns c..c + columns - 1.  Behind x.k, up to the next multiple of 64, x is zero. */
static void panel_times(const struct job *j, size_t c, size_t columns)
{
	const int8_t *x = j->x->q + j->t0 * j->x->stride + c;
	size_t steps = (columns + 63) / 64, most = CHUNK / 64;
	int last = c + columns == j->x->k;

	configure(TILE, TILE);
	for (size_t i = 0; i < steps; i += most)
		full_tiles(j, x, i, steps - i < most ? steps - i : most, c + i == 0,
		           last && steps - i <= most);
	if (j->n % (2 * TILE))
		last_tiles(j, x, steps, c == 0, last);
}

static void unpack(const struct job *j, size_t c, size_t columns)
{
	avx512_unpacker *codes = j->w->strips ? vbmi_unpack : avx512_unpack;

	for (size_t s = 0; s < STRIPS; s++)
		for (size_t u = 0; u < columns; u += 256)
			codes(j->w, j->x->k, j->row + STRIP * s, j->row + j->rows, c + u,
			      j->k->panel[s] + STRIP * u);
}

/* Tokens that go through all rows before the next ones do: a multiple of two tiles. */
static size_t tokens_near(size_t k)
{
	size_t n = NEAR / k / (2 * TILE) * (2 * TILE);

	n = n < TOKENS ? n : TOKENS;
	return n ? n : 2 * TILE;
}

static void token_block(struct job *j, size_t row0, size_t row1)
{
	for (size_t t = 0; t < j->n; t++)
		kernel_factor(j->w->scale, j->x->scale[j->t0 + t], &j->k->hi[t], &j->k->lo[t]);
	for (j->row = row0; j->row < row1; j->row += j->rows ? j->rows : 1) {
		size_t most = row1 - j->row < ROWS ? row1 - j->row : ROWS;

		j->rows = ternary_runs(j->w, j->x->k, j->row, most, j->d);
		for (size_t c = 0; j->rows && c < j->x->k; c += COLS) {
			size_t columns = j->x->k - c < COLS ? j->x->k - c : COLS;

			unpack(j, c, columns);
			panel_times(j, c, columns);
		}
	}
}

static void mul(const struct kernel_mat *w, const struct kernel_input *x, size_t row0, size_t row1,
                float *y, size_t y_stride, void *scratch)
{
	struct job j = {.w = w, .x = x, .k = scratch, .y = y, .y_stride = y_stride};
	size_t most = tokens_near(x->k);

	if (x->n == 1) {
		(w->strips ? vbmi_mul_strips : avx512_mul_one)(w, x, row0, row1, y, y_stride,
		                                               scratch);
		return;
	}
	for (; j.t0 < x->n; j.t0 += j.n) {
		j.n = x->n - j.t0 < most ? x->n - j.t0 : most;
		token_block(&j, row0, row1);
	}
	_tile_release();
	avx512_mul_others(w, x, row0, row1, y, y_stride, scratch);
}

static uint64_t probe_int8(uint64_t rounds)
{
	static uint8_t tile[1024] __attribute__((aligned(64)));

	configure(TILE, TILE);
	_tile_loadd(A0, tile, 64);
	_tile_loadd(A1, tile, 64);
	_tile_loadd(B0, tile, 64);
	_tile_loadd(B1, tile, 64);
	_tile_zero(C00);
	_tile_zero(C01);
	_tile_zero(C10);
	_tile_zero(C11);
	for (uint64_t r = 0; r < rounds; r++) {
		_tile_dpbsud(C00, A0, B0);
		_tile_dpbsud(C01, A0, B1);
		_tile_dpbsud(C10, A1, B0);
		_tile_dpbsud(C11, A1, B1);
	}
	_tile_release();
	return rounds * 4 * TILE * STRIP * 64;
}

void amx_ternary_init(struct kernels *k)
{
	k->mul[DTYPE_I2_S] = mul;
	k->mul[DTYPE_TQ1_0] = mul;
	k->mul[DTYPE_TQ2_0] = mul;
	k->mul[DTYPE_IQ2_BN] = mul;
	k->mul_strips = mul;
	k->probe_int8 = probe_int8;
}
