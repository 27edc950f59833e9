/*
 * The screened head: see lib/head.h for the bound and its proof.  Here many inputs at a time; the
 * dot products with both bytes of each input are one product on tensor cores, whose columns are
 * h and l of input 0, h and l of input 1, ...
 */
#include "dense.h"

/* What float sums may have taken from a norm. */
#define SCREEN_UP 1.0001f

/* A row of the copy by a warp. */
KERNEL(cuda_screen_fill, struct cuda_screen, 256, 1)
{
	uint32_t row = BLOCK_X * 8 + WARP;
	const uint8_t *w = a.w + row * a.row_bytes;
	int8_t *q = a.q + row * a.stride;
	float max = 0, lost = 0, all = 0, s, inverse, factor = fabsf(a.w_scale);

	grid_wait();
	if (row >= a.rows)
		return;
	for (uint32_t i = LANE; i < a.k; i += 32)
		max = fmaxf(max, fabsf(values_any(a.type, w, i)));
	UNROLL
	for (int step = 16; step; step /= 2)
		max = fmaxf(max, warp_xor_f32(max, step));
	s = max / 127.0f;
	inverse = max > 0 ? 127.0f / max : 0;
	for (uint32_t i = LANE; i < a.stride; i += 32) {
		float v = i < a.k ? values_any(a.type, w, i) : 0.0f;
		float n = rintf(v * inverse), d = v - n * s;

		q[i] = (int8_t)n;
		lost += d * d;
		all += v * v;
	}
	UNROLL
	for (int step = 16; step; step /= 2) {
		lost += warp_xor_f32(lost, step);
		all += warp_xor_f32(all, step);
	}
	if (LANE)
		return;
	lost = sqrtf(lost);
	all = sqrtf(all);
	a.scale[row] = s * a.w_scale;
	/* v - n s was rounded, by at most 2^-23 of the value */
	a.lost[row] = (lost + all * 0x1p-23f) * factor * SCREEN_UP;
	a.norm[row] = all * factor * SCREEN_UP;
}

#define INPUT_THREADS 256u

struct input_space {
	float max[INPUT_THREADS / 32];
	double all[INPUT_THREADS / 32], lost[INPUT_THREADS / 32];
};

DEVICE double screen_warp_sum(double v)
{
	/* as pairs of floats on their way: 2^-47 is enough, the norms are widened by 1e-9 */
	UNROLL
	for (int step = 16; step; step /= 2) {
		struct pair p = pair_of(v);

		v += (double)warp_xor_f32(p.hi, step) + (double)warp_xor_f32(p.lo, step);
	}
	return v;
}

/* An input as 16-bit integers n = 256 h + l, and what bounds need of it. */
KERNEL(cuda_screen_input, struct cuda_screen, INPUT_THREADS, 1)
{
	SHARED(struct input_space, s, 1);
	const float *x = a.x + BLOCK_X * a.x_stride;
	int8_t *q = a.xq + BLOCK_X * 2 * a.stride;
	double t, all = 0, lost = 0;
	float max = 0;

	grid_next();
	grid_wait();
	for (uint32_t i = THREAD; i < a.k; i += INPUT_THREADS)
		max = fmaxf(max, fabsf(x[i]));
	UNROLL
	for (int step = 16; step; step /= 2)
		max = fmaxf(max, warp_xor_f32(max, step));
	if (LANE == 0)
		s->max[WARP] = max;
	block_sync();
	for (uint32_t w = 0; w < INPUT_THREADS / 32; w++)
		max = fmaxf(max, s->max[w]);
	/* values within this: 256 h + l then fits h into a byte */
	t = max > 0 ? 32000.0 / (double)max : 1;
	for (uint32_t i = THREAD; i < a.stride; i += INPUT_THREADS) {
		double v = i < a.k ? (double)x[i] : 0, n = rint(v * t), d = v - n / t;
		int32_t whole = (int32_t)n, high = (whole + 128) >> 8;

		q[i] = (int8_t)high;
		q[a.stride + i] = (int8_t)(whole - 256 * high);
		all += v * v;
		lost += d * d;
	}
	all = screen_warp_sum(all);
	lost = screen_warp_sum(lost);
	if (LANE == 0) {
		s->all[WARP] = all;
		s->lost[WARP] = lost;
	}
	block_sync();
	if (THREAD)
		return;
	for (uint32_t w = 1; w < INPUT_THREADS / 32; w++) {
		all += s->all[w];
		lost += s->lost[w];
	}
	a.bound[4 * BLOCK_X] = 1 / t;
	a.bound[4 * BLOCK_X + 1] = sqrt(all) * (1 + 1e-9);
	a.bound[4 * BLOCK_X + 2] = sqrt(lost) * (1 + 1e-9);
	a.limit[BLOCK_X] = 0;
}

#define BOUND_WARPS 4u
#define BOUND_CHUNK 64u /* columns: 16 bytes a lane, of two rows */
#define BOUND_AHEAD 4

/* Bounds of the logit of one row and input, from its two dot products. */
DEVICE void screen_bounds(const struct cuda_screen *a, uint32_t row, uint32_t t, int32_t h,
                          int32_t l, float *low, float *high)
{
	const double *x = a->bound + 4 * t;
	double rounding = ((double)a->k / 16 + 16) * 0x1p-24;
	double value = (double)a->scale[row] * x[0] * (256.0 * h + l);
	double lost = (double)a->lost[row], norm = (double)a->norm[row];
	double off = lost * x[1] + (norm + lost) * (x[2] + rounding * x[1]);

	off = off * (1 + 1e-5) + fabs(value) * 1e-6;
	*low = (float)(value - off);
	*high = (float)(value + off);
	/* what is not a number must be computed */
	if (*high != *high)
		*high = INFINITY;
}

/* 64 rows, 16 a warp, for 4 * groups inputs. */
DEVICE void screen_run(const struct cuda_screen *a, uint32_t groups, float (*low)[32])
{
	uint32_t row = BLOCK_X * SCREEN_ROWS + WARP * 16 + LANE / 4, lane = LANE % 4;
	const int8_t *one = a->q + (row < a->rows ? row : 0) * a->stride + lane * 16;
	const int8_t *two = a->q + (row + 8 < a->rows ? row + 8 : 0) * a->stride + lane * 16;
	struct words ahead[2][BOUND_AHEAD];
	int32_t c[8][4];

	UNROLL
	for (uint32_t i = 0; i < 32; i++)
		c[i / 4][i % 4] = 0;
	UNROLL
	for (uint32_t j = 0; j < BOUND_AHEAD; j++)
		if (j * BOUND_CHUNK < a->stride) {
			ahead[0][j] = load_once(one + j * BOUND_CHUNK);
			ahead[1][j] = load_once(two + j * BOUND_CHUNK);
		}
	grid_next();
	grid_wait();
	for (uint32_t first = 0; first < a->stride; first += BOUND_AHEAD * BOUND_CHUNK) {
		UNROLL
		for (uint32_t j = 0; j < BOUND_AHEAD; j++) {
			uint32_t at = first + j * BOUND_CHUNK;
			uint32_t next = at + BOUND_AHEAD * BOUND_CHUNK;
			struct words w[2];

			if (at >= a->stride)
				break;
			w[0] = ahead[0][j];
			w[1] = ahead[1][j];
			if (next < a->stride) {
				ahead[0][j] = load_once(one + next);
				ahead[1][j] = load_once(two + next);
			}
			UNROLL
			for (uint32_t g = 0; g < groups; g++) {
				/* column LANE / 4 of this group: half of an input */
				uint32_t column = 8 * g + LANE / 4;
				struct words x = load_words(
				    a->xq + (column < 2 * a->n ? column : 0) * a->stride + at +
				    lane * 16);

				UNROLL
				for (uint32_t m = 0; m < 2; m++) {
					uint32_t f[4] = {w[0].w[2 * m], w[1].w[2 * m],
					                 w[0].w[2 * m + 1], w[1].w[2 * m + 1]};

					mma_ss(c[g], f, x.w[2 * m], x.w[2 * m + 1]);
				}
			}
		}
	}
	UNROLL
	for (uint32_t g = 0; g < groups; g++) {
		uint32_t t = 4 * g + lane;
		float most = -INFINITY;

		UNROLL
		for (uint32_t i = 0; i < 2; i++) {
			float l, h;

			if (row + 8 * i >= a->rows || t >= a->n)
				continue;
			screen_bounds(a, row + 8 * i, t, c[g][2 * i], c[g][2 * i + 1], &l, &h);
			a->logits[t * a->logits_stride + row + 8 * i] = h;
			most = max_float(l, most);
		}
		UNROLL
		for (int step = 4; step < 32; step *= 2)
			most = max_float(most, warp_xor_f32(most, step));
		if (LANE < 4)
			low[WARP][t] = most;
	}
}

KERNEL(cuda_screen_bound, struct cuda_screen, 32 * BOUND_WARPS, 3)
{
	SHARED(float, low, BOUND_WARPS)[32];
	uint32_t t = THREAD, blocks = layout_up(a.rows, SCREEN_ROWS);
	float most = -INFINITY;

	if (a.n <= 4)
		screen_run(&a, 1, low);
	else if (a.n <= 8)
		screen_run(&a, 2, low);
	else if (a.n <= 16)
		screen_run(&a, 4, low);
	else
		screen_run(&a, 8, low);
	block_sync();
	if (t >= a.n)
		return;
	UNROLL
	for (uint32_t w = 0; w < BOUND_WARPS; w++)
		most = max_float(most, low[w][t]);
	a.low[(size_t)t * blocks + BLOCK_X] = most;
	if (a.want == 1)
		atomic_max_u32(a.limit + t, float_rank(most));
}

#define LIMIT_THREADS 256u

/* limit = the want'th greatest of an input's lower bounds, bit by bit from the top. */
KERNEL(cuda_screen_limit, struct cuda_screen, LIMIT_THREADS, 1)
{
	SHARED(int32_t, count, 2);
	uint32_t blocks = layout_up(a.rows, SCREEN_ROWS), limit = 0;
	const float *low = a.low + (size_t)BLOCK_X * blocks;

	grid_next();
	grid_wait();
	if (a.want == 1) /* CUDA_SCREEN_BOUND did it */
		return;
	if (THREAD < 2)
		count[THREAD] = 0;
	block_sync();
	for (uint32_t bit = 0x80000000u, turn = 0; bit; bit >>= 1, turn ^= 1) {
		int32_t mine = 0;

		for (uint32_t i = THREAD; i < blocks; i += LIMIT_THREADS)
			mine += float_rank(low[i]) >= (limit | bit);
		UNROLL
		for (int step = 16; step; step /= 2)
			mine += warp_xor_i32(mine, step);
		if (LANE == 0)
			atomic_add_i32(&count[turn], mine);
		block_sync();
		if (count[turn] >= (int32_t)a.want)
			limit |= bit;
		/* the other one was read before the last barrier, and is added to after the next */
		if (THREAD == 0)
			count[turn ^ 1] = 0;
		block_sync();
	}
	if (THREAD == 0)
		a.limit[BLOCK_X] = limit;
}

#define SETTLE_THREADS 256u

/* Rows that can be among the greatest are computed, sixteen lanes each; the others are out. */
KERNEL(cuda_screen_settle, struct cuda_screen, SETTLE_THREADS, 1)
{
	SHARED(uint32_t, list, SETTLE_ROWS);
	SHARED(uint32_t, count, 1);
	uint32_t t = BLOCK_Y, group = THREAD / DENSE_LANES, n;
	float *logits = a.logits + t * a.logits_stride, limit;

	grid_next();
	grid_wait();
	if (THREAD == 0)
		count[0] = 0;
	block_sync();
	limit = rank_float(a.limit[t]);
	for (uint32_t i = THREAD; i < SETTLE_ROWS; i += SETTLE_THREADS) {
		uint32_t row = BLOCK_X * SETTLE_ROWS + i;

		if (row >= a.rows)
			break;
		if (logits[row] < limit)
			logits[row] = -INFINITY;
		else
			list[atomic_add_u32(&count[0], 1)] = row;
	}
	block_sync();
	n = count[0];
	if (a.exact && THREAD == 0 && n)
		atomic_add_u64(a.exact, n);
	/* both halves of a warp go round as often */
	for (uint32_t i = group & ~1u; i < n; i += SETTLE_THREADS / DENSE_LANES) {
		uint32_t at = i + (group & 1) < n ? i + (group & 1) : i;
		float sum =
		    dense_lane(a.type, a.w + list[at] * a.row_bytes, a.x + t * a.x_stride, a.k);

		sum = dense_sum(sum);
		if (THREAD % DENSE_LANES == 0 && at == i + (group & 1))
			logits[list[at]] = sum * a.w_scale;
	}
}
