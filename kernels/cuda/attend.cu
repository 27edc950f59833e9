/*
 * Rotation, the cache, and attention of single tokens: blocks share the positions of a sequence,
 * and the last one to end adds up what all of them found.
 */
#include "cache.h"

#define ATTEND_THREADS 128u
#define ATTEND_WARPS   (ATTEND_THREADS / 32u)

/* The rotation of a prompt's queries, in place, and its keys and values to the cache. */
KERNEL(cuda_rope, struct cuda_attend, 256, 1)
{
	SHARED(float, head, 8 * ATTEND_DIM);
	uint32_t t = BLOCK_X;
	float *mine = head + WARP * ATTEND_DIM;
	const float *cosine = a.cosine + (size_t)t * a.half, *sine = a.sine + (size_t)t * a.half;

	grid_next();
	grid_wait();
	if (a.slot[t] < 0)
		return;
	for (uint32_t h = WARP; h < a.heads; h += 8) {
		float *q = a.qkv + t * a.qkv_stride + (size_t)h * a.dim_k;

		for (uint32_t i = LANE; i < 2 * a.half; i += 32)
			mine[i] = q[i];
		warp_sync();
		for (uint32_t i = LANE; i < 2 * a.half; i += 32)
			q[i] = cache_rotated(&a, mine, i, cosine, sine);
		warp_sync();
	}
	for (uint32_t h = 0; h < a.heads_kv; h++)
		cache_append(&a, t, h, WARP, 8);
}

struct attend_space {
	float q[ATTEND_HEADS][ATTEND_DIM];
	float score[ATTEND_HEADS][ATTEND_POSITIONS];
	float max[ATTEND_HEADS], sum[ATTEND_HEADS], keep[ATTEND_HEADS];
	float out[ATTEND_HEADS][ATTEND_DIM];
	uint32_t last;
};

/* Scores of positions lo .. hi - 1, of one block of positions: eight lanes a position. */
DEVICE void attend_scores(const struct cuda_attend *a, uint32_t type, const uint8_t *k, uint32_t lo,
                          uint32_t hi, struct attend_space *s)
{
	uint32_t lane = LANE % 8, pieces = cache_pieces(a->dim_k);

	UNROLL
	for (uint32_t round = 0; round < ATTEND_POSITIONS / 16; round++) {
		uint32_t p = lo + round * 16 + THREAD / 8;
		float sum[ATTEND_HEADS] = {0, 0, 0, 0};

		if (p < hi)
			for (uint32_t i = lane; i < pieces; i += 8) {
				struct piece c = cache_piece(type, k + p * a->k_row, i, a->dim_k);

				UNROLL
				for (uint32_t h = 0; h < ATTEND_HEADS; h++) {
					UNROLL
					for (uint32_t j = 0; j < PIECE; j++)
						sum[h] =
						    fmaf(c.v[j], s->q[h][PIECE * i + j], sum[h]);
				}
			}
		UNROLL
		for (uint32_t h = 0; h < ATTEND_HEADS; h++) {
			UNROLL
			for (int step = 4; step; step /= 2)
				sum[h] += warp_xor_f32(sum[h], step);
			if (lane == h)
				s->score[h][round * 16 + THREAD / 8] = sum[h] * a->scale;
		}
	}
}

/* The warp of a head: scores to weights, and what the sums so far are worth beside them. */
DEVICE void attend_weigh(uint32_t count, struct attend_space *s)
{
	float *score = s->score[WARP];
	float one = LANE < count ? score[LANE] : -INFINITY;
	float two = LANE + 32 < count ? score[LANE + 32] : -INFINITY;
	float max = max_float(max_float(one, two), s->max[WARP]), sum;

	UNROLL
	for (int step = 16; step; step /= 2)
		max = max_float(max, warp_xor_f32(max, step));
	one = exp_float(one - max);
	two = exp_float(two - max);
	score[LANE] = one;
	score[LANE + 32] = two;
	sum = one + two;
	UNROLL
	for (int step = 16; step; step /= 2)
		sum += warp_xor_f32(sum, step);
	if (LANE == 0) {
		s->keep[WARP] = exp_float(s->max[WARP] - max);
		s->sum[WARP] = s->sum[WARP] * s->keep[WARP] + sum;
		s->max[WARP] = max;
	}
}

/* What a thread gathers: one piece of the values, of every eighth position or so. */
struct attend_sums {
	float v[ATTEND_HEADS][PIECE];
};

DEVICE void attend_values(const struct cuda_attend *a, uint32_t type, const uint8_t *v, uint32_t lo,
                          uint32_t hi, const struct attend_space *s, struct attend_sums *sums)
{
	uint32_t pieces = cache_pieces(a->dim_v), groups = ATTEND_THREADS / pieces;
	uint32_t piece = THREAD % pieces, group = THREAD / pieces;

	UNROLL
	for (uint32_t h = 0; h < ATTEND_HEADS; h++) {
		UNROLL
		for (uint32_t j = 0; j < PIECE; j++)
			sums->v[h][j] *= s->keep[h];
	}
	if (group >= groups)
		return;
	for (uint32_t p = lo + group; p < hi; p += groups) {
		struct piece c = cache_piece(type, v + p * a->v_row, piece, a->dim_v);

		UNROLL
		for (uint32_t h = 0; h < ATTEND_HEADS; h++) {
			UNROLL
			for (uint32_t j = 0; j < PIECE; j++)
				sums->v[h][j] = fmaf(s->score[h][p - lo], c.v[j], sums->v[h][j]);
		}
	}
}

/* Adds up the groups of threads, in order, into s->out. */
DEVICE void attend_gather(const struct cuda_attend *a, const struct attend_sums *sums,
                          struct attend_space *s)
{
	uint32_t pieces = cache_pieces(a->dim_v), groups = ATTEND_THREADS / pieces;
	uint32_t piece = THREAD % pieces, group = THREAD / pieces;

	for (uint32_t g = 0; g < groups; g++) {
		if (g == group) {
			UNROLL
			for (uint32_t h = 0; h < ATTEND_HEADS; h++) {
				UNROLL
				for (uint32_t j = 0; j < PIECE; j++) {
					float *out = &s->out[h][PIECE * piece + j];

					*out = g ? *out + sums->v[h][j] : sums->v[h][j];
				}
			}
		}
		block_sync();
	}
}

/* One split of one sequence and the heads from first on, of one KV head. */
DEVICE void attend_positions(const struct cuda_attend *a, uint32_t t, uint32_t kv, uint32_t lo,
                             uint32_t hi, struct attend_space *s)
{
	const uint8_t *k = a->k + (size_t)a->slot[t] * a->k_slot + kv * a->k_head;
	const uint8_t *v = a->v + (size_t)a->slot[t] * a->v_slot + kv * a->v_head;
	struct attend_sums sums;

	UNROLL
	for (uint32_t i = 0; i < ATTEND_HEADS * PIECE; i++)
		sums.v[i / PIECE][i % PIECE] = 0;
	if (THREAD < ATTEND_HEADS) {
		s->max[THREAD] = -INFINITY;
		s->sum[THREAD] = 0;
	}
	for (uint32_t at = lo; at < hi; at += ATTEND_POSITIONS) {
		uint32_t end = at + ATTEND_POSITIONS < hi ? at + ATTEND_POSITIONS : hi;

		if (a->k_type == DTYPE_F16)
			attend_scores(a, DTYPE_F16, k, at, end, s);
		else if (a->k_type == DTYPE_Q8_0)
			attend_scores(a, DTYPE_Q8_0, k, at, end, s);
		else if (a->k_type == DTYPE_BF16)
			attend_scores(a, DTYPE_BF16, k, at, end, s);
		else
			attend_scores(a, DTYPE_F32, k, at, end, s);
		block_sync();
		attend_weigh(end - at, s);
		block_sync();
		if (a->v_type == DTYPE_F16)
			attend_values(a, DTYPE_F16, v, at, end, s, &sums);
		else if (a->v_type == DTYPE_Q8_0)
			attend_values(a, DTYPE_Q8_0, v, at, end, s, &sums);
		else if (a->v_type == DTYPE_BF16)
			attend_values(a, DTYPE_BF16, v, at, end, s, &sums);
		else
			attend_values(a, DTYPE_F32, v, at, end, s, &sums);
		block_sync();
	}
	attend_gather(a, &sums, s);
}

/* A head's largest score, sum of weights, sums of values, of one split. */
DEVICE float *attend_partial(const struct cuda_attend *a, uint32_t t, uint32_t head, uint32_t split)
{
	return a->partial + (((size_t)t * a->heads + head) * a->splits + split) * (a->dim_v + 2);
}

/* What all splits found. */
DEVICE void attend_combine(const struct cuda_attend *a, uint32_t t, uint32_t head, uint32_t splits)
{
	float max = -INFINITY, sum = 0;

	for (uint32_t i = 0; i < splits; i++)
		max = max_float(max, load_fresh(attend_partial(a, t, head, i)));
	for (uint32_t i = 0; i < splits; i++) {
		const float *p = attend_partial(a, t, head, i);

		sum += exp_float(load_fresh(p) - max) * load_fresh(p + 1);
	}
	for (uint32_t d = LANE; d < a->dim_v; d += 32) {
		float out = 0;

		for (uint32_t i = 0; i < splits; i++) {
			const float *p = attend_partial(a, t, head, i);

			out += exp_float(load_fresh(p) - max) * load_fresh(p + 2 + d);
		}
		a->out[t * a->out_stride + (size_t)head * a->dim_v + d] = out / sum;
	}
}

KERNEL(cuda_attend, struct cuda_attend, ATTEND_THREADS, 4)
{
	SHARED(struct attend_space, space, 1);
	struct attend_space *s = space;
	uint32_t group = a.heads / a.heads_kv, sets = layout_up(group, ATTEND_HEADS);
	uint32_t split = BLOCK_X, kv = BLOCK_Y / sets, t = BLOCK_Z;
	uint32_t in_group = BLOCK_Y % sets * ATTEND_HEADS, first = kv * group + in_group;
	uint32_t heads = group - in_group < ATTEND_HEADS ? group - in_group : ATTEND_HEADS;
	uint32_t positions, splits;

	grid_next();
	grid_wait();
	if (a.slot[t] < 0)
		return;
	positions = (uint32_t)a.pos[t] + 1;
	splits = layout_splits(positions, a.splits);
	if (split >= splits)
		return;
	for (uint32_t i = THREAD; i < ATTEND_HEADS * ATTEND_DIM; i += ATTEND_THREADS) {
		uint32_t h = i / ATTEND_DIM, d = i % ATTEND_DIM;
		const float *q = a.qkv + t * a.qkv_stride + (size_t)(first + h) * a.dim_k;

		s->q[h][d] = h < heads && d < a.dim_k
		                 ? cache_rotated(&a, q, d, a.cosine + (size_t)t * a.half,
		                                 a.sine + (size_t)t * a.half)
		                 : 0.0f;
	}
	/* Whoever has the newest position puts it there; blocks of the same KV head write the same.
	 */
	if (split == splits - 1)
		cache_append(&a, t, kv, WARP, ATTEND_WARPS);
	block_sync();
	attend_positions(&a, t, kv, layout_split(positions, splits, split),
	                 layout_split(positions, splits, split + 1), s);
	for (uint32_t i = THREAD; i < heads * a.dim_v; i += ATTEND_THREADS) {
		uint32_t h = i / a.dim_v, d = i % a.dim_v;

		if (splits == 1)
			a.out[t * a.out_stride + (size_t)(first + h) * a.dim_v + d] =
			    s->out[h][d] / s->sum[h];
		else
			attend_partial(&a, t, first + h, split)[2 + d] = s->out[h][d];
	}
	if (splits == 1)
		return;
	if (THREAD < heads) {
		float *p = attend_partial(&a, t, first + THREAD, split);

		p[0] = s->max[THREAD];
		p[1] = s->sum[THREAD];
	}
	memory_fence();
	block_sync();
	if (THREAD == 0) {
		uint32_t *ticket = a.ticket + (size_t)t * a.heads + first;

		s->last = atomic_add_u32(ticket, 1) == splits - 1;
		if (s->last)
			*ticket = 0;
	}
	block_sync();
	if (!s->last)
		return;
	memory_fence();
	if (WARP < heads)
		attend_combine(&a, t, first + WARP, splits);
}
