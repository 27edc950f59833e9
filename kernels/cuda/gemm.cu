/*
 * Products for many tokens: blocks of 128 rows (a pair of bands for each of 4 warps) and 128 tokens
 * (2 warps), by tensor cores.  Codes and inputs of 128 columns at a time come into shared memory
 * while those before are computed with.
 */
#include "product.h"

#define GEMM_WARPS 8u

/* The tokens' pieces of 16 bytes are moved about so that lanes reading a column of tokens find them
 * in different banks. */
DEVICE uint32_t gemm_piece(uint32_t token, uint32_t piece)
{
	return GEMM_CODES + token * TILE_COLUMNS + (piece ^ (token & 7)) * 16;
}

/* What a thread copies of each stage: 16 bytes of codes, and a piece of every 32nd token. */
#define GEMM_EVERY (32u * GEMM_WARPS / 8u)

struct gemm_source {
	const uint8_t *codes;
	uint32_t x;        /* offset of the first one's piece */
	uint32_t left, to; /* tokens from that one on; where it goes */
};

DEVICE struct gemm_source gemm_source(const struct cuda_product *a, const uint8_t *band)
{
	uint32_t token = THREAD / 8, first = BLOCK_Y * GEMM_TOKENS + token;
	struct gemm_source s;

	s.codes = band + LANE * 16;
	s.x = first * (uint32_t)a->q_stride + THREAD % 8 * 16;
	s.left = first < a->n ? a->n - first : 0;
	s.to = gemm_piece(token, THREAD % 8);
	return s;
}

/* Starts the copies of one stage. */
DEVICE void gemm_fetch(const struct cuda_product *a, const struct gemm_source *s, uint32_t tile,
                       uint8_t *stage)
{
	copy_start(stage + THREAD * 16, s->codes + (size_t)tile * TILE_BYTES, 1);
	UNROLL
	for (uint32_t i = 0; i < GEMM_TOKENS / GEMM_EVERY; i++)
		copy_start(stage + s->to + i * GEMM_EVERY * TILE_COLUMNS,
		           a->q + s->x + i * GEMM_EVERY * a->q_stride + tile * TILE_COLUMNS,
		           i * GEMM_EVERY < s->left);
}

DEVICE void gemm_tile(const uint8_t *stage, uint32_t rows, uint32_t tokens, int32_t c[2][8][4])
{
	struct words w[2];

	UNROLL
	for (uint32_t i = 0; i < 2; i++)
		w[i] = load_words(stage + (2 * rows + i) * TILE_BYTES + LANE * 16);
	UNROLL
	for (uint32_t half = 0; half < 2; half++) {
		uint32_t f[2][2][4]; /* two fields of both bands */

		UNROLL
		for (uint32_t i = 0; i < 16; i++)
			f[i / 8][i / 4 % 2][i % 4] =
			    product_field(w[i / 4 % 2].w[i % 4], 2 * half + i / 8);
		UNROLL
		for (uint32_t g = 0; g < 8; g++) {
			uint32_t token = tokens * 64 + 8 * g + LANE / 4;
			struct words x = load_words(stage + gemm_piece(token, LANE % 4 * 2 + half));

			UNROLL
			for (uint32_t s = 0; s < 2; s++) {
				UNROLL
				for (uint32_t i = 0; i < 2; i++)
					mma_us(c[i][g], f[s][i], x.w[2 * s], x.w[2 * s + 1]);
			}
		}
	}
}

/* Factors of each part and token, and the inputs' sums. */
struct gemm_tokens {
	struct pair factor[3][GEMM_TOKENS];
	int32_t sum[GEMM_TOKENS];
};

DEVICE void gemm_tokens(const struct cuda_product *a, struct gemm_tokens *s)
{
	for (uint32_t i = THREAD; i < 4 * GEMM_TOKENS; i += 32 * GEMM_WARPS) {
		uint32_t n = i / GEMM_TOKENS, t = i % GEMM_TOKENS, at = BLOCK_Y * GEMM_TOKENS + t;

		if (at < a->n && n < a->parts)
			s->factor[n][t] = rescale_factor(product_part(a, n).scale, a->q_scale[at]);
		else if (at < a->n && n == 3)
			s->sum[t] = a->q_sum[at];
	}
}

DEVICE float gemm_value(const struct cuda_product *a, const struct gemm_tokens *s,
                        struct layout_band b, uint32_t r, uint32_t t, int32_t v)
{
	struct cuda_part p = product_part(a, b.part);
	uint32_t row = b.band * BAND_ROWS + r;
	float value = product_value(&p, row, v, s->sum[t], s->factor[b.part][t]);

	if (a->then < CUDA_RELU2 && row < p.rows)
		product_put(a->then, p.y + (BLOCK_Y * GEMM_TOKENS + t) * a->y_stride + row, value);
	return value;
}

KERNEL(cuda_gemm, struct cuda_product, 32 * GEMM_WARPS, 2)
{
	SHARED_ALL(shared);
	SHARED(struct gemm_tokens, info, 1);
	struct layout_band first, second;
	uint32_t tiles = layout_tiles(a.k);
	uint32_t rows = WARP % GEMM_PAIRS, tokens = WARP / GEMM_PAIRS;
	struct gemm_source source;
	int32_t c[2][8][4];

	/* Thread by thread the band whose codes it fetches. */
	source = gemm_source(
	    &a, product_codes(&a, layout_pair(&a, BLOCK_X * GEMM_PAIRS + WARP / 2, WARP % 2)));
	UNROLL
	for (uint32_t i = 0; i < 64; i++)
		c[i / 32][i / 4 % 8][i % 4] = 0;
	grid_next();
	grid_wait();
	UNROLL
	for (uint32_t s = 0; s < GEMM_STAGES - 1; s++) {
		if (s < tiles)
			gemm_fetch(&a, &source, s, shared + s * GEMM_STAGE);
		copies_close();
	}
	gemm_tokens(&a, info);
	UNROLL_ONCE
	for (uint32_t t = 0; t < tiles; t++) {
		uint32_t next = t + GEMM_STAGES - 1;

		copies_wait(GEMM_STAGES - 2);
		block_sync();
		if (next < tiles)
			gemm_fetch(&a, &source, next, shared + next % GEMM_STAGES * GEMM_STAGE);
		copies_close();
		gemm_tile(shared + t % GEMM_STAGES * GEMM_STAGE, rows, tokens, c);
	}
	first = layout_pair(&a, BLOCK_X * GEMM_PAIRS + rows, 0);
	second = layout_pair(&a, BLOCK_X * GEMM_PAIRS + rows, 1);
	if (first.part == LAYOUT_NONE)
		return;
	UNROLL
	for (uint32_t g = 0; g < 8; g++) {
		UNROLL
		for (uint32_t r = 0; r < 4; r++) {
			uint32_t t = tokens * 64 + 8 * g + LANE % 4 * 2 + r % 2;
			uint32_t row = LANE / 4 + 8 * (r / 2);
			float gate, up = 0;

			if (BLOCK_Y * GEMM_TOKENS + t >= a.n)
				continue;
			gate = gemm_value(&a, info, first, row, t, c[0][g][r]);
			if (second.part != LAYOUT_NONE)
				up = gemm_value(&a, info, second, row, t, c[1][g][r]);
			if (a.then >= CUDA_RELU2 && first.band * BAND_ROWS + row < a.part[0].rows)
				a.part[0].y[(BLOCK_Y * GEMM_TOKENS + t) * a.y_stride +
				            first.band * BAND_ROWS + row] =
				    act_float(a.then, gate, up);
		}
	}
}
