/* The screened head, and from logits to tokens: what is wanted is that of the whole head. */
#include "checks.h"

#include <math.h>
#include <stdlib.h>

#include "half.h"
#include "kernels.h"
#include "scalar/scalar.h"

#define ROWS 1100u
#define K    320u
#define N    9u

static struct {
	uint8_t w[ROWS * K * 4];
	float x[N * K], whole[N * ROWS], got[N * ROWS];
} t;

static int greater(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x < y) - (x > y);
}

static void *filled(size_t n)
{
	void *p = calloc(1, n), *at = there(p, n);

	if (!p)
		exit(2);
	free(p);
	return at;
}

/* The want greatest of each input are exact, and none of the others is above them. */
static void compare(uint32_t n, uint32_t want, size_t *exact)
{
	float sorted[ROWS];

	*exact = 0;
	for (uint32_t i = 0; i < n; i++) {
		float *whole = t.whole + i * ROWS, *got = t.got + i * ROWS;
		size_t wrong = 0;

		memcpy(sorted, whole, sizeof sorted);
		qsort(sorted, ROWS, sizeof *sorted, greater);
		for (uint32_t r = 0; r < ROWS; r++) {
			if (whole[r] >= sorted[want - 1] || got[r] != -INFINITY)
				wrong += got[r] != whole[r];
			*exact += got[r] != -INFINITY;
		}
		CHECK_INT(wrong, 0);
	}
}

/* Every ninth row is nearly row 30, which every input is nearly: int8 cannot tell which is the
 * greatest. */
static void near_ties(enum dtype type, size_t row, uint32_t n, float size)
{
	struct kernels s = {0};
	float best[K], other[K];

	scalar_decode_init(&s);
	s.dequantize[type](best, t.w + 30 * row, K);
	for (uint32_t r = 3; r < ROWS; r += 9) {
		uint8_t *to = t.w + r * row;

		for (uint32_t i = 0; i < K; i++) {
			other[i] = best[i] + real() * 2e-3f;
			if (type == DTYPE_F16)
				half_put(to + 2 * i, half_from_f32(other[i]));
			else if (type == DTYPE_BF16)
				half_put(to + 2 * i, half_bf16_from_f32(other[i]));
		}
		if (type == DTYPE_F32)
			memcpy(to, other, sizeof other);
	}
	for (uint32_t i = 0; i < n * K; i++)
		t.x[i] = (best[i % K] + real() * 0.3f) * size;
}

static void screen(enum dtype type, uint32_t n, uint32_t want, float size)
{
	struct kernels s = {0};
	size_t row = dtype_row_bytes(type, K), stride = cuda_q_stride(K), exact;
	uint64_t counted;

	scalar_float_init(&s);
	random_rows(type, t.w, ROWS * row);
	for (uint32_t i = 0; i < n * K; i++)
		t.x[i] = real() * size;
	if (want == 1)
		near_ties(type, row, n, size);
	/* two equal rows, one row of zeros */
	memcpy(t.w + 700 * row, t.w + 30 * row, row);
	memset(t.w + 77 * row, 0, row);
	struct kernel_mat w = {type, ROWS, K, t.w, row, 0.7f};
	struct kernel_input in = {.n = n, .k = K, .f = t.x, .stride = K};
	struct cuda_screen a = {.w = there(t.w, ROWS * row),
	                        .type = type,
	                        .row_bytes = row,
	                        .w_scale = 0.7f,
	                        .rows = ROWS,
	                        .k = K,
	                        .n = n,
	                        .want = want,
	                        .stride = stride,
	                        .q = there(NULL, ROWS * stride),
	                        .scale = there(NULL, ROWS * 4),
	                        .lost = there(NULL, ROWS * 4),
	                        .norm = there(NULL, ROWS * 4),
	                        .x = there(t.x, n * K * 4),
	                        .x_stride = K,
	                        .xq = there(NULL, n * 2 * stride),
	                        .bound = there(NULL, n * 4 * 8),
	                        .low = there(NULL, n * ((ROWS + 63) / 64) * 4),
	                        .limit = there(NULL, n * 4),
	                        .logits = there(NULL, n * ROWS * 4),
	                        .logits_stride = ROWS,
	                        .exact = filled(8)};
	launch(CUDA_SCREEN_FILL, &a);
	launch(CUDA_SCREEN_INPUT, &a);
	launch(CUDA_SCREEN_BOUND, &a);
	if (want > 1)
		launch(CUDA_SCREEN_LIMIT, &a);
	launch(CUDA_SCREEN_SETTLE, &a);
	here(t.got, a.logits, n * ROWS * 4);
	here(&counted, a.exact, 8);
	s.mul[type](&w, &in, 0, ROWS, t.whole, ROWS, NULL);
	compare(n, want, &exact);
	CHECK_INT(counted, exact);
	CHECK(exact < n * ROWS / 2 || size == 0); /* else it is no screen */

	struct cuda_pick p = {.n = n,
	                      .rows = ROWS,
	                      .k = want,
	                      .logits = a.logits,
	                      .logits_stride = ROWS,
	                      .id = there(NULL, n * want * 4),
	                      .value = there(NULL, n * want * 4)};
	launch(CUDA_TOP, &p);
	int32_t id[N * 16], order[ROWS];
	float value[N * 16];
	here(id, p.id, n * want * 4);
	here(value, p.value, n * want * 4);
	for (uint32_t i = 0; i < n; i++) {
		const float *l = t.whole + i * ROWS;
		size_t wrong = 0;

		/* the greatest one by one; among equals the lowest id */
		memset(order, 0, sizeof order);
		for (uint32_t j = 0; j < want; j++) {
			int32_t best = -1;

			for (int32_t r = 0; r < (int32_t)ROWS; r++)
				if (!order[r] && (best < 0 || l[r] > l[best]))
					best = r;
			order[best] = 1;
			wrong += id[i * want + j] != best || value[i * want + j] != l[best];
		}
		CHECK_INT(wrong, 0);
	}
	leave();
}

static void pick(void)
{
	float l[2][9000];
	int32_t id[2], ids[2] = {7, 7}, pos[2] = {3, 4};

	for (int i = 0; i < 9000; i++) {
		l[0][i] = real();
		l[1][i] = -INFINITY;
	}
	l[0][8999] = l[0][4500] = 9;
	l[1][8191] = -7;
	struct cuda_pick p = {.n = 2,
	                      .rows = 9000,
	                      .logits = there(l, sizeof l),
	                      .logits_stride = 9000,
	                      .best = filled(16),
	                      .ticket = filled(8),
	                      .id = there(NULL, 8),
	                      .next_id = there(ids, 8),
	                      .next_pos = there(pos, 8)};
	for (int round = 1; round < 3; round++) {
		launch(CUDA_PICK, &p);
		here(id, p.id, 8);
		here(ids, p.next_id, 8);
		here(pos, p.next_pos, 8);
		CHECK_INT(id[0], 4500);
		CHECK_INT(id[1], 8191);
		CHECK_INT(ids[0], 4500);
		CHECK_INT(ids[1], 8191);
		CHECK_INT(pos[0], 3 + round);
		CHECK_INT(pos[1], 4 + round);
	}
	/* more than fit into a list; fewer than are wanted */
	int32_t top[2][3];
	p.k = 3;
	p.id = there(NULL, sizeof top);
	launch(CUDA_TOP, &p);
	here(top, p.id, sizeof top);
	CHECK_INT(top[0][0], 4500);
	CHECK_INT(top[0][1], 8999);
	CHECK_INT(top[1][0], 8191);
	CHECK_INT(top[1][1], 0);
	CHECK_INT(top[1][2], 1);
	leave();
}

int check_head(void)
{
	screen(DTYPE_F16, 1, 1, 1);
	screen(DTYPE_BF16, N, 1, 1);
	screen(DTYPE_F32, 3, 16, 1e4f);
	screen(DTYPE_F16, 6, 3, 1e-3f);
	screen(DTYPE_F16, 2, 2, 0);
	pick();
	return CHECKED();
}

int check_probes(void)
{
	uint8_t from[16 * 3000], to[sizeof from];
	int32_t sink[2];

	for (size_t i = 0; i < sizeof from; i++)
		from[i] = (uint8_t)any();
	struct cuda_probe a = {.from = there(from, sizeof from),
	                       .to = there(NULL, sizeof to),
	                       .bytes = sizeof from,
	                       .blocks = 2,
	                       .rounds = 3,
	                       .sink = there(NULL, sizeof sink)};
	launch(CUDA_PROBE_COPY, &a);
	here(to, a.to, sizeof to);
	CHECK(memcmp(from, to, sizeof to) == 0);
	launch(CUDA_PROBE_INT8, &a);
	here(sink, a.sink, sizeof sink);
	CHECK_INT(sink[0], sink[1]);
	leave();
	return CHECKED();
}
