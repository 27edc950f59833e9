/*
 * Attention of a prompt on tensor cores: a warp has 16 queries of one head, a block walks over the
 * keys 32 at a time.  What binary16 cannot hold is split in two that can: queries and weights
 * always, keys and values where the cache is not F16; so a score is right to about 2^-21.
 */
#include "cache.h"

/* Shared memory: rows of halves, four words apart modulo the banks. */
struct prompt_space {
	uint16_t *q[2], *k[2], *v[2]; /* high and low parts; v by value, then position */
	uint32_t q_stride, v_stride;  /* halves */
	uint32_t dim;                 /* dim_k filled up to 16 */
};

DEVICE struct prompt_space prompt_place(uint8_t *shared, uint32_t dim_k, uint32_t queries,
                                        uint32_t k_parts, uint32_t v_parts)
{
	struct prompt_space s;
	uint16_t *at = (uint16_t *)(void *)shared;

	s.dim = prompt_dim(dim_k);
	s.q_stride = s.dim + PROMPT_FILL;
	s.v_stride = PROMPT_KEYS + PROMPT_FILL;
	s.q[0] = at;
	s.q[1] = s.q[0] + queries * s.q_stride;
	s.k[0] = s.q[1] + queries * s.q_stride;
	s.k[1] = s.k[0] + (k_parts - 1) * PROMPT_KEYS * s.q_stride;
	s.v[0] = s.k[1] + PROMPT_KEYS * s.q_stride;
	s.v[1] = s.v[0] + (v_parts - 1) * PROMPT_VALUES * s.v_stride;
	return s;
}

/* Two floats as two pairs of halves: the nearest ones, and what is missing. */
DEVICE void prompt_split(float a, float b, uint32_t *high, uint32_t *low)
{
	uint16_t ha = float_half(a), hb = float_half(b);

	*high = (uint32_t)ha | (uint32_t)hb << 16;
	*low = (uint32_t)float_half(a - half_float(ha)) | (uint32_t)float_half(b - half_float(hb))
	                                                      << 16;
}

DEVICE uint32_t *prompt_word(uint16_t *p, uint32_t at)
{
	return (uint32_t *)(void *)(p + at);
}

DEVICE void prompt_queries(const struct cuda_attend *a, const struct prompt_space *s,
                           uint32_t first, uint32_t head, uint32_t queries)
{
	uint32_t words = s->dim / 2;

	for (uint32_t i = THREAD; i < queries * words; i += THREADS) {
		uint32_t r = i / words, d = i % words * 2, high, low;
		const float *q =
		    a->qkv + (size_t)(first + r) * a->qkv_stride + (size_t)head * a->dim_k;
		int there = first + r < a->n;

		prompt_split(there && d < a->dim_k ? q[d] * a->scale : 0.0f,
		             there && d + 1 < a->dim_k ? q[d + 1] * a->scale : 0.0f, &high, &low);
		*prompt_word(s->q[0], r * s->q_stride + d) = high;
		*prompt_word(s->q[1], r * s->q_stride + d) = low;
	}
}

/* Keys of positions from p0 on, zeros from `end` on. */
DEVICE void prompt_keys(const struct cuda_attend *a, uint32_t type, const uint8_t *k,
                        const struct prompt_space *s, uint32_t p0, uint32_t end)
{
	uint32_t pieces = s->dim / PIECE, have = cache_pieces(a->dim_k);

	for (uint32_t i = THREAD; i < PROMPT_KEYS * pieces; i += THREADS) {
		uint32_t p = i / pieces, n = i % pieces, at = p * s->q_stride + n * PIECE;
		int there = p0 + p < end && n < have;
		const uint8_t *row = k + (size_t)(p0 + p) * a->k_row;

		if (type == DTYPE_F16) {
			struct words w = {{0, 0, 0, 0}};

			if (there)
				w = load_words(row + 16 * n);
			store_words(s->k[0] + at, w);
			continue;
		}
		struct piece c = {{0, 0, 0, 0, 0, 0, 0, 0}};
		if (there)
			c = cache_piece(type, row, n, a->dim_k);
		UNROLL
		for (uint32_t j = 0; j < PIECE; j += 2)
			prompt_split(c.v[j], c.v[j + 1], prompt_word(s->k[0], at + j),
			             prompt_word(s->k[1], at + j));
	}
}

/* Values d0 .. of two positions at a time, turned around. */
DEVICE void prompt_values(const struct cuda_attend *a, uint32_t type, const uint8_t *v,
                          const struct prompt_space *s, uint32_t p0, uint32_t end, uint32_t d0)
{
	uint32_t have = cache_pieces(a->dim_v);

	for (uint32_t i = THREAD; i < PROMPT_KEYS / 2 * (PROMPT_VALUES / PIECE); i += THREADS) {
		/* neighbouring threads have neighbouring positions: different banks */
		uint32_t p = i % (PROMPT_KEYS / 2) * 2, n = i / (PROMPT_KEYS / 2);
		const uint8_t *row = v + (size_t)(p0 + p) * a->v_row;
		struct piece one = {{0, 0, 0, 0, 0, 0, 0, 0}}, two = one;

		if (d0 / PIECE + n >= have)
			continue;
		if (p0 + p < end)
			one = cache_piece(type, row, d0 / PIECE + n, a->dim_v);
		if (p0 + p + 1 < end)
			two = cache_piece(type, row + a->v_row, d0 / PIECE + n, a->dim_v);
		UNROLL
		for (uint32_t j = 0; j < PIECE; j++) {
			uint32_t at = (n * PIECE + j) * s->v_stride + p, high, low;

			prompt_split(one.v[j], two.v[j], &high, &low);
			*prompt_word(s->v[0], at) = high;
			if (type != DTYPE_F16)
				*prompt_word(s->v[1], at) = low;
		}
	}
}

/* Scores of this warp's 16 queries and the keys at hand: 4 tiles of 8 keys. */
DEVICE void prompt_scores(const struct prompt_space *s, uint32_t type, float c[4][4])
{
	uint32_t g = LANE / 4, t = LANE % 4;

	UNROLL
	for (uint32_t i = 0; i < 16; i++)
		c[i / 4][i % 4] = 0;
	for (uint32_t d = 0; d < s->dim; d += 16) {
		uint32_t q[2][4];

		UNROLL
		for (uint32_t i = 0; i < 8; i++) {
			uint32_t r = i % 4;

			q[i / 4][r] =
			    *prompt_word(s->q[i / 4], (WARP * 16 + g + 8 * (r % 2)) * s->q_stride +
			                                  d + 2 * t + 8 * (r / 2));
		}
		UNROLL
		for (uint32_t n = 0; n < 4; n++) {
			uint32_t at = (8 * n + g) * s->q_stride + d + 2 * t;
			uint32_t b0 = *prompt_word(s->k[0], at), b1 = *prompt_word(s->k[0], at + 8);

			mma_half(c[n], q[1], b0, b1);
			if (type != DTYPE_F16)
				mma_half(c[n], q[0], *prompt_word(s->k[1], at),
				         *prompt_word(s->k[1], at + 8));
			mma_half(c[n], q[0], b0, b1);
		}
	}
}

struct prompt_rows {
	float max[2], sum[2]; /* of rows g and g + 8; sums of this lane's columns */
};

/* Scores to weights; what was gathered before is worth keep of it. */
DEVICE void prompt_weigh(float c[4][4], struct prompt_rows *rows, uint32_t p0, uint32_t pos,
                         float keep[2])
{
	UNROLL
	for (uint32_t h = 0; h < 2; h++) {
		uint32_t seen = pos + LANE / 4 + 8 * h; /* the last position that the row sees */
		float max = rows->max[h];

		UNROLL
		for (uint32_t n = 0; n < 4; n++) {
			UNROLL
			for (uint32_t i = 0; i < 2; i++) {
				if (p0 + 8 * n + 2 * (LANE % 4) + i > seen)
					c[n][2 * h + i] = -INFINITY;
				max = max_float(max, c[n][2 * h + i]);
			}
		}
		max = max_float(max, warp_xor_f32(max, 1));
		max = max_float(max, warp_xor_f32(max, 2));
		keep[h] = exp_float(rows->max[h] - max);
		rows->max[h] = max;
		rows->sum[h] *= keep[h];
		UNROLL
		for (uint32_t n = 0; n < 4; n++) {
			UNROLL
			for (uint32_t i = 0; i < 2; i++) {
				c[n][2 * h + i] = exp_float(c[n][2 * h + i] - max);
				rows->sum[h] += c[n][2 * h + i];
			}
		}
	}
}

DEVICE void prompt_gather(const struct prompt_space *s, uint32_t type, uint32_t tiles,
                          float c[4][4], float out[16][4])
{
	uint32_t g = LANE / 4, t = LANE % 4;

	UNROLL
	for (uint32_t step = 0; step < PROMPT_KEYS / 16; step++) {
		uint32_t w[2][4];

		UNROLL
		for (uint32_t r = 0; r < 4; r++)
			prompt_split(c[2 * step + r / 2][2 * (r % 2)],
			             c[2 * step + r / 2][2 * (r % 2) + 1], &w[0][r], &w[1][r]);
		UNROLL
		for (uint32_t n = 0; n < PROMPT_VALUES / 8; n++) {
			uint32_t at = (8 * n + g) * s->v_stride + 16 * step + 2 * t;
			uint32_t b0, b1;

			if (n >= tiles)
				break;
			b0 = *prompt_word(s->v[0], at);
			b1 = *prompt_word(s->v[0], at + 8);
			mma_half(out[n], w[1], b0, b1);
			if (type != DTYPE_F16)
				mma_half(out[n], w[0], *prompt_word(s->v[1], at),
				         *prompt_word(s->v[1], at + 8));
			mma_half(out[n], w[0], b0, b1);
		}
	}
}

DEVICE void prompt_run(const struct cuda_attend *a, uint32_t k_type, uint32_t v_type,
                       uint8_t *shared)
{
	uint32_t queries = THREADS / 2, first = BLOCK_X * queries, head = BLOCK_Y;
	uint32_t kv = head / (a->heads / a->heads_kv), d0 = BLOCK_Z * PROMPT_VALUES;
	uint32_t left = a->dim_v - d0, tiles;
	struct prompt_space s = prompt_place(shared, a->dim_k, queries, k_type == DTYPE_F16 ? 1 : 2,
	                                     v_type == DTYPE_F16 ? 1 : 2);
	const uint8_t *k, *v;
	uint32_t pos, end;
	struct prompt_rows rows = {{-INFINITY, -INFINITY}, {0, 0}};
	float out[PROMPT_VALUES / 8][4], c[4][4], keep[2];

	if (a->slot[0] < 0)
		return;
	tiles = layout_up(left < PROMPT_VALUES ? left : PROMPT_VALUES, 8);
	k = a->k + (size_t)a->slot[0] * a->k_slot + kv * a->k_head;
	v = a->v + (size_t)a->slot[0] * a->v_slot + kv * a->v_head;
	pos = (uint32_t)a->pos[0] + first;
	end = pos + (a->n - first < queries ? a->n - first : queries);
	UNROLL
	for (uint32_t i = 0; i < PROMPT_VALUES / 2; i++)
		out[i / 4][i % 4] = 0;
	prompt_queries(a, &s, first, head, queries);
	for (uint32_t p0 = 0; p0 < end; p0 += PROMPT_KEYS) {
		block_sync();
		prompt_keys(a, k_type, k, &s, p0, end);
		prompt_values(a, v_type, v, &s, p0, end, d0);
		block_sync();
		/* rows of this warp that see nothing here have nothing to do */
		if (p0 > pos + WARP * 16 + 15)
			continue;
		prompt_scores(&s, k_type, c);
		prompt_weigh(c, &rows, p0, pos + WARP * 16, keep);
		UNROLL
		for (uint32_t i = 0; i < PROMPT_VALUES / 2; i++)
			out[i / 4][i % 4] *= keep[i % 4 / 2];
		prompt_gather(&s, v_type, tiles, c, out);
	}
	UNROLL
	for (uint32_t h = 0; h < 2; h++) {
		uint32_t row = first + WARP * 16 + LANE / 4 + 8 * h;

		rows.sum[h] += warp_xor_f32(rows.sum[h], 1);
		rows.sum[h] += warp_xor_f32(rows.sum[h], 2);
		if (row >= a->n)
			continue;
		UNROLL
		for (uint32_t i = 0; i < PROMPT_VALUES / 4; i++) {
			uint32_t d = d0 + 8 * (i / 2) + 2 * (LANE % 4) + i % 2;

			if (d < a->dim_v)
				a->out[row * a->out_stride + (size_t)head * a->dim_v + d] =
				    out[i / 2][2 * h + i % 2] / rows.sum[h];
		}
	}
}

KERNEL(cuda_prompt, struct cuda_attend, 128, 2)
{
	SHARED_ALL(shared);

	grid_next();
	grid_wait();
	if (a.k_type == DTYPE_F16 && a.v_type == DTYPE_F16)
		prompt_run(&a, DTYPE_F16, DTYPE_F16, shared);
	else
		prompt_run(&a, a.k_type, a.v_type, shared);
}
