/*
 * How each kernel is launched, and the numbers that callers need before they launch.
 */
#include "layout.h"

#define WIDE 65535u /* the most blocks that a grid has in y and z */

static void set(struct cuda_shape *s, uint32_t x, uint32_t y, uint32_t z, uint32_t block,
                uint32_t shared)
{
	*s = (struct cuda_shape){{x, y, z}, block, shared};
}

static void embed(const void *args, struct cuda_shape *s)
{
	const struct cuda_embed *a = args;

	set(s, a->n, 1, 1, 256, 0);
}

static void norm(const void *args, struct cuda_shape *s)
{
	const struct cuda_norm *a = args;

	set(s, a->n, 1, 1, 256, 0);
}

static void vector(const void *args, struct cuda_shape *s)
{
	const struct cuda_product *a = args;

	set(s, vector_blocks(a), 1, 1, 256,
	    layout_tiles(a->k) * TILE_COLUMNS +
	        (vector_stages(a->k, a->norm != NULL) ? 4 * a->k : 0));
}

static void batch(const void *args, struct cuda_shape *s)
{
	set(s, layout_pairs(args), 1, 1, 256, 0);
}

static void gemm(const void *args, struct cuda_shape *s)
{
	const struct cuda_product *a = args;

	set(s, layout_up(layout_pairs(a), GEMM_PAIRS), layout_up(a->n, GEMM_TOKENS), 1, 256,
	    GEMM_STAGES * GEMM_STAGE);
}

static void mixed(const void *args, struct cuda_shape *s)
{
	const struct cuda_product *a = args;

	set(s, layout_pairs(a), a->n, 1, 32, 0);
}

static void dense(const void *args, struct cuda_shape *s)
{
	const struct cuda_dense *a = args;
	uint32_t rows = DENSE_GROUPS * (a->n == 1 ? DENSE_ROWS : DENSE_SOME);

	set(s, layout_up(a->rows, rows), a->n == 1 ? 1 : layout_up(a->n, DENSE_TOKENS), 1, 256, 0);
}

static void dense_many(const void *args, struct cuda_shape *s)
{
	const struct cuda_dense *a = args;

	set(s, layout_up(a->rows, MANY_ROWS), layout_up(a->n, MANY_TOKENS), 1, MANY_THREADS, 0);
}

static void widen(const void *args, struct cuda_shape *s)
{
	const struct cuda_widen *a = args;

	set(s, layout_up(a->k, 256), a->rows < WIDE ? a->rows : WIDE, 1, 256, 0);
}

static void act(const void *args, struct cuda_shape *s)
{
	const struct cuda_act *a = args;

	set(s, layout_up(a->k, 256), a->n, 1, 256, 0);
}

static void rope(const void *args, struct cuda_shape *s)
{
	const struct cuda_attend *a = args;

	set(s, a->n, 1, 1, 256, 0);
}

static void attend(const void *args, struct cuda_shape *s)
{
	const struct cuda_attend *a = args;

	set(s, a->splits, a->heads_kv * layout_up(a->heads / a->heads_kv, ATTEND_HEADS), a->n, 128,
	    0);
}

static void prompt(const void *args, struct cuda_shape *s)
{
	const struct cuda_attend *a = args;
	uint32_t queries = prompt_block(a->dim_k);

	set(s, layout_up(a->n, queries), a->heads, layout_up(a->dim_v, PROMPT_VALUES), 2 * queries,
	    2 * prompt_halves(a->dim_k, a->k_type, a->v_type));
}

static void screen_fill(const void *args, struct cuda_shape *s)
{
	const struct cuda_screen *a = args;

	set(s, layout_up(a->rows, 8), 1, 1, 256, 0);
}

static void screen_input(const void *args, struct cuda_shape *s)
{
	const struct cuda_screen *a = args;

	set(s, a->n, 1, 1, 256, 0);
}

static void screen_bound(const void *args, struct cuda_shape *s)
{
	const struct cuda_screen *a = args;

	set(s, layout_up(a->rows, SCREEN_ROWS), 1, 1, 128, 0);
}

static void screen_settle(const void *args, struct cuda_shape *s)
{
	const struct cuda_screen *a = args;

	set(s, layout_up(a->rows, SETTLE_ROWS), a->n, 1, 256, 0);
}

static void pick(const void *args, struct cuda_shape *s)
{
	const struct cuda_pick *a = args;

	set(s, layout_up(a->rows, PICK_ROWS), a->n, 1, 256, 0);
}

static void top(const void *args, struct cuda_shape *s)
{
	const struct cuda_pick *a = args;

	set(s, a->n, 1, 1, 1024, 0);
}

static void probe(const void *args, struct cuda_shape *s)
{
	const struct cuda_probe *a = args;

	set(s, a->blocks, 1, 1, 256, 0);
}

#define PROMPT_SHARED 96256u

static const struct {
	struct cuda_info info;
	void (*shape)(const void *args, struct cuda_shape *s);
} table[CUDA_KERNELS] = {
    [CUDA_EMBED] = {{"cuda_embed", sizeof(struct cuda_embed), 0}, embed},
    [CUDA_NORM] = {{"cuda_norm", sizeof(struct cuda_norm), 0}, norm},
    [CUDA_VECTOR] = {{"cuda_vector", sizeof(struct cuda_product), VECTOR_SHARED}, vector},
    [CUDA_BATCH] = {{"cuda_batch", sizeof(struct cuda_product), 0}, batch},
    [CUDA_GEMM] = {{"cuda_gemm", sizeof(struct cuda_product), GEMM_STAGES *GEMM_STAGE}, gemm},
    [CUDA_MIXED] = {{"cuda_mixed", sizeof(struct cuda_product), 0}, mixed},
    [CUDA_DENSE] = {{"cuda_dense", sizeof(struct cuda_dense), 0}, dense},
    [CUDA_DENSE_MANY] = {{"cuda_dense_many", sizeof(struct cuda_dense), 0}, dense_many},
    [CUDA_WIDEN] = {{"cuda_widen", sizeof(struct cuda_widen), 0}, widen},
    [CUDA_ACT] = {{"cuda_act", sizeof(struct cuda_act), 0}, act},
    [CUDA_ROPE] = {{"cuda_rope", sizeof(struct cuda_attend), 0}, rope},
    [CUDA_ATTEND] = {{"cuda_attend", sizeof(struct cuda_attend), 0}, attend},
    [CUDA_PROMPT] = {{"cuda_prompt", sizeof(struct cuda_attend), PROMPT_SHARED}, prompt},
    [CUDA_SCREEN_FILL] = {{"cuda_screen_fill", sizeof(struct cuda_screen), 0}, screen_fill},
    [CUDA_SCREEN_INPUT] = {{"cuda_screen_input", sizeof(struct cuda_screen), 0}, screen_input},
    [CUDA_SCREEN_BOUND] = {{"cuda_screen_bound", sizeof(struct cuda_screen), 0}, screen_bound},
    [CUDA_SCREEN_LIMIT] = {{"cuda_screen_limit", sizeof(struct cuda_screen), 0}, screen_input},
    [CUDA_SCREEN_SETTLE] = {{"cuda_screen_settle", sizeof(struct cuda_screen), 0}, screen_settle},
    [CUDA_PICK] = {{"cuda_pick", sizeof(struct cuda_pick), 0}, pick},
    [CUDA_TOP] = {{"cuda_top", sizeof(struct cuda_pick), 0}, top},
    [CUDA_PROBE_COPY] = {{"cuda_probe_copy", sizeof(struct cuda_probe), 0}, probe},
    [CUDA_PROBE_INT8] = {{"cuda_probe_int8", sizeof(struct cuda_probe), 0}, probe},
};

const struct cuda_info *cuda_info(enum cuda_kernel k)
{
	return &table[k].info;
}

void cuda_shape(enum cuda_kernel k, const void *args, struct cuda_shape *s)
{
	table[k].shape(args, s);
}

/* ---- numbers for callers ---- */

size_t cuda_q_stride(uint32_t k)
{
	return (size_t)layout_tiles(k) * TILE_COLUMNS;
}

enum cuda_kernel cuda_product_kernel(uint32_t n, uint32_t k, int mixed)
{
	if (mixed)
		return CUDA_MIXED;
	if (n == 1 && cuda_q_stride(k) <= VECTOR_SHARED)
		return CUDA_VECTOR;
	return n <= BATCH_TOKENS ? CUDA_BATCH : CUDA_GEMM;
}

enum cuda_kernel cuda_dense_kernel(uint32_t n)
{
	return n < MANY_TOKENS / 2 ? CUDA_DENSE : CUDA_DENSE_MANY;
}

int cuda_dense_type(enum dtype t)
{
	switch (t) {
	case DTYPE_F32:
	case DTYPE_F16:
	case DTYPE_BF16:
	case DTYPE_Q8_0:
	case DTYPE_Q4_0:
	case DTYPE_Q4_1:
	case DTYPE_Q5_0:
	case DTYPE_Q5_1:
	case DTYPE_IQ4_NL:
	case DTYPE_Q4_K:
	case DTYPE_Q5_K:
	case DTYPE_Q6_K:
	case DTYPE_Q2_0:
	case DTYPE_Q2_0_G128:
		return 1;
	default:
		return 0;
	}
}

int cuda_embed_type(enum dtype t)
{
	return cuda_dense_type(t) || cuda_packs(t);
}

int cuda_screen_type(enum dtype t)
{
	return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16;
}

size_t cuda_cache_row(enum dtype t, uint32_t dim)
{
	return layout_cache_row(t, dim);
}

size_t cuda_attend_partial(const struct cuda_attend *a)
{
	return (size_t)a->n * a->heads * a->splits * (a->dim_v + 2);
}

uint32_t cuda_attend_splits(uint32_t units, uint32_t n, uint32_t heads_kv, uint32_t ctx)
{
	/* two blocks for each multiprocessor, but no blocks without positions */
	uint32_t want = layout_up(2 * units, n * heads_kv), most = layout_up(ctx, ATTEND_POSITIONS);

	want = want < most ? want : most;
	return want < 1 ? 1 : want > 64 ? 64 : want;
}
