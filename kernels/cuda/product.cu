/*
 * Products for few tokens: memory reads every code once, so a warp takes whole tiles, 16 bytes a
 * lane, several on their way before the first one is used.
 */
#include "norm.h"
#include "product.h"

/* ---- one token ---- */

#define VECTOR_AHEAD 4 /* tiles of a warp on their way, of all matrices together */

struct vector_matrix {
	const uint8_t *codes; /* of this lane in tile 0 */
	struct words ahead[VECTOR_AHEAD];
	int32_t sum[2][4]; /* rows g, g + 8; fields, each 4^s times too large */
};

DEVICE void vector_tile(struct vector_matrix *m, const struct words *w, const uint32_t x[8])
{
	UNROLL
	for (uint32_t r = 0; r < 4; r++) {
		UNROLL
		for (uint32_t s = 0; s < 4; s++)
			m->sum[r & 1][s] = dot4_us(w->w[r] & 0x03030303u << 2 * s,
			                           x[2 * s + (r >> 1)], m->sum[r & 1][s]);
	}
}

/* The sum of row g + 8 h over the lanes of its group of four. */
DEVICE int32_t vector_row(const struct vector_matrix *m, uint32_t h)
{
	int32_t v = m->sum[h][0] + (m->sum[h][1] >> 2) + (m->sum[h][2] >> 4) + (m->sum[h][3] >> 6);

	v += warp_xor_i32(v, 1);
	return v + warp_xor_i32(v, 2);
}

/* Band number n of `count` matrices (2: gate and up, else all parts one after the other): where
 * it is, and its first tiles on their way. */
DEVICE struct layout_band vector_begin(const struct cuda_product *a, uint32_t count, uint32_t n,
                                       struct vector_matrix m[2])
{
	uint32_t tiles = layout_tiles(a->k), ahead = VECTOR_AHEAD / count;
	struct layout_band at = {0, n};

	if (count == 1)
		at = layout_find(a, n);
	UNROLL
	for (uint32_t i = 0; i < count; i++) {
		m[i].codes = (i ? a->part[1].codes : product_part(a, at.part).codes) +
		             (size_t)at.band * tiles * TILE_BYTES + 16 * LANE;
		UNROLL
		for (uint32_t j = 0; j < ahead; j++)
			if (WARP + j * NORM_WARPS < tiles)
				m[i].ahead[j] =
				    load_once(m[i].codes + (WARP + j * NORM_WARPS) * TILE_BYTES);
	}
	return at;
}

/* This warp's tiles of the band. */
DEVICE void vector_tiles(const uint32_t *q, uint32_t tiles, uint32_t count,
                         struct vector_matrix m[2])
{
	uint32_t ahead = VECTOR_AHEAD / count;

	UNROLL
	for (uint32_t i = 0; i < 8 * count; i++)
		m[i / 8].sum[i / 4 % 2][i % 4] = 0;
	for (uint32_t t = WARP; t < tiles; t += ahead * NORM_WARPS) {
		UNROLL
		for (uint32_t j = 0; j < ahead; j++) {
			uint32_t tile = t + j * NORM_WARPS, next = tile + ahead * NORM_WARPS;
			const uint32_t *from = q + tile * (TILE_COLUMNS / 4) + LANE % 4 * 8;
			struct words low, high;
			uint32_t x[8];

			if (tile >= tiles)
				break;
			low = load_words(from);
			high = load_words(from + 4);
			UNROLL
			for (uint32_t i = 0; i < 4; i++) {
				x[i] = low.w[i];
				x[4 + i] = high.w[i];
			}
			UNROLL
			for (uint32_t i = 0; i < count; i++) {
				vector_tile(&m[i], &m[i].ahead[j], x);
				if (next < tiles)
					m[i].ahead[j] =
					    load_once(m[i].codes + (size_t)next * TILE_BYTES);
			}
		}
	}
}

/* One output from the sums of all warps; y: what it is added to. */
DEVICE float vector_value(const struct cuda_product *a, uint32_t count, const struct cuda_part *p,
                          uint32_t row, const int32_t *sums, int32_t inputs, float scale, float y)
{
	float value[2];

	UNROLL
	for (uint32_t i = 0; i < count; i++) {
		const struct cuda_part *part = i ? &a->part[1] : p;
		int32_t v = 0;

		UNROLL
		for (uint32_t w = 0; w < NORM_WARPS; w++)
			v += sums[(i * NORM_WARPS + w) * BAND_ROWS + row % BAND_ROWS];
		value[i] = product_value(part, row, v, inputs, rescale_factor(part->scale, scale));
	}
	if (count == 2)
		return act_float(a->then, value[0], value[1]);
	return a->then == CUDA_SUM ? y + value[0] : value[0];
}

/* The bands of this block, of `count` matrices, which is a constant so that all indices are. */
DEVICE void vector_run(const struct cuda_product *a, uint32_t count, uint32_t *q)
{
	SHARED(struct norm_space, space, 1);
	SHARED(int32_t, sums, 2 * 2 * NORM_WARPS * BAND_ROWS);
	struct norm_input in = {a->x, a->norm, a->k, a->eps};
	struct pair inverse = {1, 0};
	struct vector_matrix m[2];
	int staged = vector_stages(a->k, a->norm != NULL);
	uint32_t tiles = layout_tiles(a->k), bands = vector_bands(a), turn = 0;
	float *norm = (float *)(q + tiles * (TILE_COLUMNS / 4)), scale;
	struct layout_band at = vector_begin(a, count, BLOCK_X, m);

	/* a thread reads the weights that it copied itself */
	for (uint32_t i = 4 * THREAD; staged && i < a->k; i += 4 * NORM_THREADS)
		copy_start(norm + i, a->norm + i, 1);
	copies_close();
	grid_next();
	grid_wait();
	if (a->norm)
		inverse = norm_inverse(&in, space);
	copies_wait(0);
	if (staged)
		in.w = norm;
	scale = norm_scale(&in, inverse, space);
	norm_round(&in, inverse, scale, tiles * TILE_COLUMNS, q, space);
	/* the 128 columns that a warp rounds at a time are a tile, and it takes these tiles itself
	 */
	warp_sync();

	UNROLL_ONCE
	for (uint32_t n = BLOCK_X; n < bands; n += BLOCKS_X, turn ^= 1) {
		/* the sums of the band before may still be read */
		int32_t *mine = sums + turn * 2 * NORM_WARPS * BAND_ROWS;
		struct cuda_part part = product_part(a, at.part);
		uint32_t row = at.band * BAND_ROWS + THREAD;
		int writes = THREAD < BAND_ROWS && row < part.rows;
		float y = a->then == CUDA_SUM && writes ? part.y[row] : 0.0f;

		vector_tiles(q, tiles, count, m);
		UNROLL
		for (uint32_t i = 0; i < 2 * count; i++) {
			int32_t v = vector_row(&m[i / 2], i % 2);

			if (LANE % 4 == 0)
				mine[(i / 2 * NORM_WARPS + WARP) * BAND_ROWS + 8 * (i % 2) +
				     LANE / 4] = v;
		}
		if (n + BLOCKS_X < bands)
			at = vector_begin(a, count, n + BLOCKS_X, m);
		block_sync();
		if (writes)
			part.y[row] =
			    vector_value(a, count, &part, row, mine, norm_sum(space), scale, y);
	}
}

KERNEL(cuda_vector, struct cuda_product, NORM_THREADS, 4)
{
	SHARED_ALL(shared);

	if (a.then >= CUDA_RELU2)
		vector_run(&a, 2, (uint32_t *)(void *)shared);
	else
		vector_run(&a, 1, (uint32_t *)(void *)shared);
}

/* ---- some tokens, by tensor cores ---- */

#define BATCH_WARPS 8u
#define BATCH_AHEAD 2

/* A pair of bands for 8 * groups tokens: warps share the columns, and add up in shared memory,
 * where the order does not matter because sums are whole numbers. */
DEVICE void batch_run(const struct cuda_product *a, uint32_t groups, int32_t *sums,
                      struct pair *factor)
{
	struct layout_band pair[2];
	uint32_t tiles = layout_tiles(a->k), found;
	struct words ahead[2][BATCH_AHEAD];
	const uint8_t *codes[2];
	int32_t c[2][4][4];

	UNROLL
	for (uint32_t i = 0; i < 2; i++) {
		pair[i] = layout_pair(a, BLOCK_X, i);
		codes[i] = product_codes(a, pair[i]) + 16 * LANE;
		UNROLL
		for (uint32_t j = 0; j < 16; j++)
			c[i][j / 4][j % 4] = 0;
		UNROLL
		for (uint32_t j = 0; j < BATCH_AHEAD; j++)
			if (WARP + j * BATCH_WARPS < tiles)
				ahead[i][j] = load_once(
				    codes[i] + (size_t)(WARP + j * BATCH_WARPS) * TILE_BYTES);
	}
	found = pair[1].part == LAYOUT_NONE ? 1 : 2;
	for (uint32_t i = THREAD; i < 2 * BAND_ROWS * BATCH_TOKENS; i += 32 * BATCH_WARPS)
		sums[i] = 0;
	grid_next();
	grid_wait();
	if (THREAD < 2 * BATCH_TOKENS) {
		uint32_t i = THREAD / BATCH_TOKENS, t = THREAD % BATCH_TOKENS;

		if (i < found && t < a->n)
			factor[THREAD] = rescale_factor(
			    product_part(a, i ? pair[1].part : pair[0].part).scale, a->q_scale[t]);
	}
	block_sync();
	for (uint32_t first = WARP; first < tiles; first += BATCH_AHEAD * BATCH_WARPS) {
		UNROLL
		for (uint32_t j = 0; j < BATCH_AHEAD; j++) {
			uint32_t tile = first + j * BATCH_WARPS;
			uint32_t next = tile + BATCH_AHEAD * BATCH_WARPS;
			struct words w[2];

			if (tile >= tiles)
				break;
			w[0] = ahead[0][j];
			w[1] = ahead[1][j];
			if (next < tiles) {
				ahead[0][j] = load_once(codes[0] + (size_t)next * TILE_BYTES);
				ahead[1][j] = load_once(codes[1] + (size_t)next * TILE_BYTES);
			}
			UNROLL
			for (uint32_t g = 0; g < groups; g++) {
				uint32_t token = 8 * g + LANE / 4;
				const int8_t *x = a->q + (token < a->n ? token : 0) * a->q_stride +
				                  tile * TILE_COLUMNS + LANE % 4 * 32;
				struct words low = load_words(x), high = load_words(x + 16);

				UNROLL
				for (uint32_t s = 0; s < 4; s++) {
					uint32_t b0 = s < 2 ? low.w[2 * s] : high.w[2 * s - 4];
					uint32_t b1 = s < 2 ? low.w[2 * s + 1] : high.w[2 * s - 3];

					UNROLL
					for (uint32_t i = 0; i < 2; i++) {
						uint32_t f[4];

						UNROLL
						for (uint32_t r = 0; r < 4; r++)
							f[r] = product_field(w[i].w[r], s);
						mma_us(c[i][g], f, b0, b1);
					}
				}
			}
		}
	}
	UNROLL
	for (uint32_t i = 0; i < 2; i++) {
		UNROLL
		for (uint32_t g = 0; g < groups; g++) {
			UNROLL
			for (uint32_t r = 0; r < 4; r++) {
				uint32_t row = LANE / 4 + 8 * (r / 2);
				uint32_t token = 8 * g + LANE % 4 * 2 + r % 2;

				atomic_add_i32(&sums[(token * 2 + i) * BAND_ROWS + row],
				               c[i][g][r]);
			}
		}
	}
	block_sync();
	/* neighbouring threads have neighbouring rows of a token */
	for (uint32_t i = THREAD; i < found * BAND_ROWS * a->n; i += 32 * BATCH_WARPS) {
		uint32_t r = i % BAND_ROWS, which = i / BAND_ROWS % found;
		uint32_t t = i / BAND_ROWS / found;
		struct layout_band b = which ? pair[1] : pair[0];
		struct cuda_part p = product_part(a, b.part);
		uint32_t row = b.band * BAND_ROWS + r;
		float value;

		if (row >= p.rows || (a->then >= CUDA_RELU2 && which))
			continue;
		value = product_value(&p, row, sums[(t * 2 + which) * BAND_ROWS + r], a->q_sum[t],
		                      factor[which * BATCH_TOKENS + t]);
		if (a->then >= CUDA_RELU2) {
			float up =
			    product_value(&a->part[1], row, sums[(t * 2 + 1) * BAND_ROWS + r],
			                  a->q_sum[t], factor[BATCH_TOKENS + t]);

			p.y[t * a->y_stride + row] = act_float(a->then, value, up);
		} else {
			product_put(a->then, p.y + t * a->y_stride + row, value);
		}
	}
}

KERNEL(cuda_batch, struct cuda_product, 32 * BATCH_WARPS, 2)
{
	SHARED(int32_t, sums, 2 * BAND_ROWS * BATCH_TOKENS);
	SHARED(struct pair, factor, 2 * BATCH_TOKENS);

	if (a.n <= 8)
		batch_run(&a, 1, sums, factor);
	else if (a.n <= 16)
		batch_run(&a, 2, sums, factor);
	else
		batch_run(&a, 4, sums, factor);
}

/* ---- rows whose blocks have different scales ---- */

/* Neighbouring blocks of equal d are a run, which is summed in integers; see scalar/ternary.c. */
struct run {
	int32_t sum;
	float acc, d;
};

DEVICE void run_add(struct run *r, float d, int32_t dot)
{
	if (d == 0.0f)
		return;
	if (float_bits(d) != float_bits(r->d)) {
		r->acc += (float)r->sum * r->d;
		r->sum = 0;
	}
	r->d = d;
	r->sum += dot;
}

/* A warp takes a band and one token; lanes of a group of four add the columns of a row up. */
KERNEL(cuda_mixed, struct cuda_product, 32, 1)
{
	uint32_t gate = a.then >= CUDA_RELU2, t = BLOCK_Y;
	uint32_t tiles = layout_tiles(a.k), row;
	const int8_t *x = a.q + t * a.q_stride + LANE % 4 * 32;
	float value[2][2]; /* of rows g and g + 8, of both bands */

	grid_next();
	grid_wait();
	UNROLL
	for (uint32_t i = 0; i < 2; i++) {
		struct layout_band at = layout_pair(&a, BLOCK_X, i);
		struct cuda_part p = product_part(&a, at.part);
		const uint8_t *codes = product_codes(&a, at) + 16 * LANE;
		struct run run[2] = {{0, 0, 1.0f}, {0, 0, 1.0f}};

		if (at.part == LAYOUT_NONE)
			break;
		row = at.band * BAND_ROWS + LANE / 4;
		for (uint32_t b = 0; b < layout_up(tiles, 2); b++) {
			int32_t dot[2] = {0, 0};

			for (uint32_t tile = 2 * b; tile < 2 * b + 2 && tile < tiles; tile++) {
				struct words w = load_words(codes + (size_t)tile * TILE_BYTES);
				struct words low = load_words(x + tile * TILE_COLUMNS);
				struct words high = load_words(x + tile * TILE_COLUMNS + 16);

				UNROLL
				for (uint32_t j = 0; j < 16; j++) {
					uint32_t r = j / 4, s = j % 4, word = 2 * s + r / 2;
					uint32_t q = word < 4 ? low.w[word % 4] : high.w[word % 4];

					dot[r % 2] =
					    dot4_us(product_field(w.w[r], s), q, dot[r % 2]);
					dot[r % 2] = dot4_ss(0xffffffffu, q, dot[r % 2]);
				}
			}
			UNROLL
			for (uint32_t h = 0; h < 2; h++) {
				float d =
				    p.block_d
					? half_float(
					      p.block_d[(size_t)(row + 8 * h) * a.d_blocks + b])
				    : p.row_d ? p.row_d[row + 8 * h]
					      : 1.0f;

				dot[h] += warp_xor_i32(dot[h], 1);
				dot[h] += warp_xor_i32(dot[h], 2);
				run_add(&run[h], d, dot[h]);
			}
		}
		UNROLL
		for (uint32_t h = 0; h < 2; h++)
			value[i][h] = rescale(run[h].acc + (float)run[h].sum * run[h].d,
			                      rescale_factor(p.scale, a.q_scale[t]));
	}
	UNROLL
	for (uint32_t i = 0; i < 2; i++) {
		struct layout_band at = layout_pair(&a, BLOCK_X, i);
		struct cuda_part p = product_part(&a, at.part);

		if (at.part == LAYOUT_NONE || (gate && i))
			break;
		row = at.band * BAND_ROWS + LANE / 4;
		UNROLL
		for (uint32_t h = 0; h < 2; h++) {
			if (LANE % 4 || row + 8 * h >= p.rows)
				continue;
			if (gate)
				p.y[t * a.y_stride + row + 8 * h] =
				    act_float(a.then, value[0][h], value[1][h]);
			else
				product_put(a.then, p.y + t * a.y_stride + row + 8 * h,
				            value[i][h]);
		}
	}
}
