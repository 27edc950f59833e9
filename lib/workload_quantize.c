/* Every ternary layout: floats to codes, codes to bytes, bytes to codes, and compared. */
#include "workload_kind.h"

#include <string.h>

#include "mem.h"
#include "quantize.h"

/* A shape that all layouts can hold. */
enum { ROWS = 256, COLS = 2048 };

#define N ((size_t)ROWS * COLS)

struct quantizing {
	float *weights; /* (ROWS, COLS), within a few values of ternary */
};

static void fini(void *state)
{
	struct quantizing *s = state;

	mem_free(s->weights);
}

static int init(void *state, const struct workload_options *o, struct err *e)
{
	struct quantizing *s = state;
	uint64_t seed = o->seed;

	s->weights = mem_alloc(MEM_WEIGHTS, N * sizeof(*s->weights), e);
	if (!s->weights)
		return -1;
	for (size_t i = 0; i < N; i++)
		s->weights[i] = (float)workload_random(&seed, 2001) / 1000 - 1;
	return 0;
}

/* What one layout needs; freed as a whole. */
struct job {
	struct ternary t;
	int8_t *codes, *back; /* (ROWS, COLS) */
	float *scales;        /* of the groups, all the same */
	uint8_t *bytes;
};

static void job_free(struct job *j)
{
	mem_free(j->codes);
	mem_free(j->back);
	mem_free(j->scales);
	mem_free(j->bytes);
}

static int job_make(struct job *j, enum ternary_kind kind, struct err *e)
{
	struct ternary_tile tile = {0, 0, 32};
	uint64_t scales;

	if ((kind == TERNARY_TL1 || kind == TERNARY_TL2) &&
	    ternary_choose(kind, ROWS, COLS, &tile, e) != 0)
		return -1;
	if (ternary_init(&j->t, kind, ROWS, COLS, &tile, e) != 0)
		return -1;
	scales = ternary_scales(&j->t, ROWS);
	j->codes = mem_alloc(MEM_SCRATCH, N, e);
	j->back = mem_alloc(MEM_SCRATCH, N, e);
	j->scales = mem_alloc(MEM_SCRATCH, (scales + 1) * sizeof(*j->scales), e);
	j->bytes = mem_calloc(MEM_WEIGHTS, 1, ternary_bytes(&j->t), e);
	return j->codes && j->back && j->scales && j->bytes ? 0 : -1;
}

static void quantize(struct job *j, const float *weights)
{
	struct bulk_survey survey;
	struct quantize_choice choice;
	struct bulk_error error = {0};
	struct bulk_count count = {0, 0};

	bulk_survey_init(&survey);
	bulk_get()->survey(&survey, weights, N);
	quantize_choose(&survey, N, &choice);
	bulk_get()->round(j->codes, weights, N, choice.inverse, choice.scale, &error, &count);
	for (uint64_t i = 0; i <= ternary_scales(&j->t, ROWS); i++)
		j->scales[i] = choice.scale;
}

static void pack_hf(struct job *j)
{
	uint64_t rows = ternary_hf_rows(&j->t);
	const int8_t *plane[4];

	for (uint64_t i = 0; i < 4; i++)
		plane[i] = j->codes + i * rows * COLS;
	ternary_pack_hf(&j->t, 0, rows, plane, j->bytes);
}

static void pack(struct job *j)
{
	struct ternary_span span[TERNARY_SPANS];
	uint8_t *out[TERNARY_SPANS] = {0};
	int n = ternary_spans(&j->t, 0, ROWS, span);

	for (int i = 0; i < n; i++)
		out[i] = j->bytes + span[i].offset;
	ternary_pack(&j->t, 0, ROWS, j->codes, j->scales, out);
	ternary_tail(&j->t, j->scales[0], j->bytes + ternary_code_bytes(&j->t));
}

static int unpack(struct job *j, struct err *e)
{
	for (uint64_t row = 0, n; row < ROWS; row += n) {
		struct ternary_span span[TERNARY_SPANS];
		const uint8_t *in[TERNARY_SPANS] = {0};
		uint64_t run = ternary_run(&j->t, row);

		n = run < ROWS - row ? run : ROWS - row;
		for (int i = ternary_spans(&j->t, row, n, span); i-- > 0;)
			in[i] = j->bytes + span[i].offset;
		if (ternary_unpack(&j->t, row, n, in, j->back + row * COLS,
		                   j->scales + ternary_scales(&j->t, row), e) != 0)
			return -1;
	}
	return 0;
}

static int round_trip(const struct quantizing *s, enum ternary_kind kind, struct err *e)
{
	struct job j = {0};
	int r = job_make(&j, kind, e);

	if (r == 0) {
		quantize(&j, s->weights);
		if (kind == TERNARY_HF_U8)
			pack_hf(&j);
		else
			pack(&j);
		r = unpack(&j, e);
	}
	if (r == 0 && memcmp(j.codes, j.back, N) != 0)
		r = err_set(e, ERR_TROUBLE, "codes that were packed came back changed");
	job_free(&j);
	return r ? err_in(e, "%s", ternary_name(kind)) : 0;
}

static int step(void *state, unsigned *failures, struct err *e)
{
	(void)failures;
	for (int kind = TERNARY_NONE + 1; kind < TERNARY_KINDS; kind++)
		if (round_trip(state, (enum ternary_kind)kind, e) != 0)
			return -1;
	return 0;
}

const struct workload_kind workload_quantize = {
    {"quantize", "every ternary layout packed, unpacked and compared", 120},
    sizeof(struct quantizing),
    init,
    step,
    fini,
};
