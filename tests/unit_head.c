/*
 * The screened head: its bounds hold, and what greedy choice and top-k see is the whole head's, in
 * every bit, on inputs made to be hard and on thousands of positions of real and random models.
 */
#include "head.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>

#include "../kernels/screen.h"
#include "half.h"
#include "session.h"
#include "unit.h"

#define ROWS 777
#define COLS 200

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define POSITIONS 1000u
#else
#define POSITIONS (getenv("VALGRIND") ? 128u : 10000u)
#endif

static uint64_t seed = 88172645463325252u;

static uint32_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16);
}

static float real(void)
{
	return ((float)(any() % 20001) - 10000.0f) / 10000.0f;
}

static struct {
	uint8_t data[ROWS * COLS * 2];
	struct kernel_mat w;
	struct arena arena;
	struct head h;
	float x[256] __attribute__((aligned(64)));
	float whole[ROWS], screened[ROWS];
	void *scratch;
	const struct kernels *k;
} t;

static void put(size_t r, size_t c, float v)
{
	half_put(t.data + 2 * (r * COLS + c), half_from_f32(v));
}

static void random_rows(float scale)
{
	for (size_t r = 0; r < ROWS; r++)
		for (size_t c = 0; c < COLS; c++)
			put(r, c, real() * scale);
}

/* The whole head beside the screened one for the input in t.x. */
static void compare(size_t want)
{
	struct kernel_input in = {.n = 1, .k = COLS, .f = t.x, .stride = 256};
	size_t shown = 0, above;

	t.k->mul[t.w.type](&t.w, &in, 0, ROWS, t.whole, ROWS, t.scratch);
	head_begin(&t.h, 0, t.x);
	for (size_t b = 0; b < t.h.blocks; b++)
		head_bound(&t.h, t.k, 0, b, t.screened);
	for (size_t r = 0; r < ROWS; r++)
		CHECK(!(t.whole[r] > t.screened[r])); /* the upper bound; true for NaN */
	for (size_t b = 0; b < t.h.blocks; b++) {
		float most = -INFINITY;

		for (size_t r = b * HEAD_BLOCK; r < (b + 1) * HEAD_BLOCK && r < ROWS; r++)
			most = t.whole[r] > most ? t.whole[r] : most;
		CHECK(t.h.in[0].low[b] <= most);
	}
	head_limit(&t.h, t.k, 0, want, t.screened, t.scratch);
	head_settle(&t.h, t.k, 0, 0, 5, t.screened, t.scratch);
	head_settle(&t.h, t.k, 0, 5, t.h.blocks, t.screened, t.scratch);
	for (size_t r = 0; r < ROWS; r++) {
		if (half_f32_bits(t.screened[r]) == half_f32_bits(t.whole[r])) {
			shown++;
			continue;
		}
		CHECK(t.screened[r] == -INFINITY);
		above = 0;
		for (size_t q = 0; q < ROWS; q++)
			above += t.whole[q] > t.whole[r];
		CHECK(above >= want);
	}
	CHECK(shown >= want);
}

static void fill(float scale)
{
	arena_end(&t.arena, 0);
	t.w = (struct kernel_mat){DTYPE_F16, ROWS, COLS, t.data, COLS * 2, scale};
	head_take(&t.h, &t.w, 1, &t.arena);
	CHECK(t.h.q != NULL);
	CHECK_INT(t.arena.used, head_bytes(ROWS, COLS, 1));
	head_fill(&t.h, t.k, 0, ROWS / 32 * 16, t.scratch);
	head_fill(&t.h, t.k, ROWS / 32 * 16, ROWS, t.scratch);
}

static void many(size_t n)
{
	static const size_t wants[] = {1, 2, 5, 12};

	for (size_t i = 0; i < n; i++) {
		for (size_t c = 0; c < COLS; c++)
			t.x[c] = real();
		if (i % 4 == 1)
			t.x[any() % COLS] = 1e4f; /* an outlier takes all the precision of x' */
		if (i % 4 == 2)
			memset(t.x, 0, COLS * sizeof *t.x);
		if (i % 4 == 3)
			for (size_t c = 0; c < COLS; c++)
				t.x[c] *= 1e-20f;
		compare(wants[i / 4 % 4]);
	}
}

static void random_head(void)
{
	random_rows(0.3f);
	fill(1);
	many(64);
}

static void scaled_head(void)
{
	random_rows(0.3f);
	fill(-0.37f);
	many(64);
}

/* All rows equal, or an ulp apart in one place: no bound can tell them from each other. */
static void ties(void)
{
	random_rows(0.3f);
	for (size_t r = 1; r < ROWS; r++)
		memcpy(t.data + r * COLS * 2, t.data, COLS * 2);
	for (size_t r = 0; r < ROWS; r += 3)
		t.data[2 * (r * COLS + r % COLS)] ^= 1;
	fill(1);
	many(64);
	CHECK(t.h.exact >= 64u * ROWS / 2);
}

/* Rows of very different size; one value that makes all others of its row round to 0. */
static void outliers(void)
{
	random_rows(1e-3f);
	for (size_t r = 0; r < ROWS; r += 7)
		put(r, r % COLS, 60000.0f);
	for (size_t c = 0; c < COLS; c++)
		put(5, c, 0);
	fill(1);
	many(64);
}

/* What the screen has of a weight: by all bits, or by the upper ones. */
static float kept(size_t r, size_t c, int all)
{
	const uint8_t *strip = t.h.q + r / SCREEN_ROWS * t.h.strip;
	int m = strip[screen_factors(COLS) + c / SCREEN_BLOCK * SCREEN_ROWS + r % SCREEN_ROWS];

	int bit = t.h.last[r * screen_last_bytes(COLS) + c / 8] >> c % 8 & 1;
	float code =
	    (float)(2 * screen_upper(strip, r % SCREEN_ROWS, c)) + (all ? (float)bit : 0.5f);

	return (float)m * (code - 32) * t.h.scale[r];
}

/* What rounding loses lies along the input: the worst case of the bound. */
static void losses_along_the_input(void)
{
	random_rows(0.3f);
	fill(1);
	for (size_t r = 0; r < ROWS; r += 5) {
		for (size_t c = 0; c < COLS; c++) {
			float w = half_to_f32(half_get(t.data + 2 * (r * COLS + c)));

			t.x[c] = w - kept(r, c, r % 2);
		}
		compare(1);
	}
}

/* A row whose loss is against the input has the greatest upper bound, and another one, that lost
 * nothing, the greatest logit. */
static void promises_by(int all_bits)
{
	random_rows(0.3f);
	fill(1);
	for (size_t a = 3; a < ROWS; a += 40) {
		double all = 0, lost = 0;

		for (size_t c = 0; c < COLS; c++) {
			double k = (double)kept(a, c, all_bits);
			double w = (double)half_to_f32(half_get(t.data + 2 * (a * COLS + c)));

			all += k * k;
			lost += (w - k) * (w - k);
			put(ROWS - 1 - a, c, (float)k);
		}
		fill(1);
		for (size_t c = 0; c < COLS; c++) {
			double k = (double)kept(a, c, all_bits);
			double w = (double)half_to_f32(half_get(t.data + 2 * (a * COLS + c)));

			t.x[c] = (float)(k - (w - k) * sqrt(all / lost));
		}
		compare(1);
		compare(2);
	}
}

static void promises_that_are_not_kept(void)
{
	promises_by(1);
	promises_by(0);
}

static void not_numbers(void)
{
	random_rows(0.3f);
	put(100, 3, INFINITY);
	put(200, 4, NAN);
	fill(1);
	for (size_t c = 0; c < COLS; c++)
		t.x[c] = real();
	head_begin(&t.h, 0, t.x);
	for (size_t b = 0; b < t.h.blocks; b++)
		head_bound(&t.h, t.k, 0, b, t.screened);
	CHECK(t.screened[100] == INFINITY && t.screened[200] == INFINITY);
	head_limit(&t.h, t.k, 0, 1, t.screened, t.scratch);
	head_settle(&t.h, t.k, 0, 0, 5, t.screened, t.scratch);
	head_settle(&t.h, t.k, 0, 5, t.h.blocks, t.screened, t.scratch);
	CHECK(!isfinite(t.screened[100]) && t.screened[100] != -INFINITY);
	CHECK(isnan(t.screened[200]));
}

/* The screen finds few rows where logits are spread: it would be no use otherwise. */
static void few_rows_are_computed(void)
{
	random_rows(0.3f);
	fill(1);
	t.h.exact = 0;
	for (int i = 0; i < 100; i++) {
		for (size_t c = 0; c < COLS; c++)
			t.x[c] = real();
		compare(1);
	}
	CHECK(t.h.exact < 100 * ROWS / 150);
}

static size_t greatest(const float *v, size_t n)
{
	size_t best = 0;

	for (size_t i = 1; i < n; i++)
		if (v[i] > v[best])
			best = i;
	return best;
}

#define AT_ONCE 4 /* rows of the head */

/* Rows i .. i + AT_ONCE - 1: by the whole head (kept in whole), then screened; how many differ. */
static size_t differing(struct session *s, size_t i, size_t want, float *whole)
{
	size_t v = session_arch(s)->n_vocab, differ = 0;
	const float *rows;
	struct err e = {0};

	CHECK_INT(session_logits(s, i, AT_ONCE, &rows, &e), 0);
	memcpy(whole, rows, AT_ONCE * v * sizeof *whole);
	CHECK_INT(session_greatest(s, i, AT_ONCE, want, &rows, &e), 0);
	for (size_t k = 0; k < AT_ONCE; k++, whole += v, rows += v) {
		size_t a = greatest(whole, v), b = greatest(rows, v);

		differ += a != b || half_f32_bits(whole[a]) != half_f32_bits(rows[b]);
	}
	return differ;
}

/* Every position of a model, greedy and among the 5 greatest. */
static void positions(const char *path)
{
	struct session_options o = {
	    .plan = {.ubatch = 64, .threads = 2, .screen = 1, .logits_rows = AT_ONCE}};
	struct session *s = NULL;
	struct gguf g = {0};
	struct err e = {0};
	int32_t ids[64];
	size_t differ = 0;

	CHECK_INT(gguf_open(&g, path, 0, &e), 0);
	CHECK_INT(session_open(&s, &g, &o, &e), 0);
	if (!s) {
		printf("# %s: %s\n", path, e.text);
		gguf_close(&g);
		return;
	}
	size_t v = session_arch(s)->n_vocab;
	float *whole = malloc(AT_ONCE * v * sizeof *whole);
	for (size_t done = 0; whole && done < POSITIONS; done += 64) {
		for (size_t i = 0; i < 64; i++)
			ids[i] = (int32_t)(any() % v);
		session_rewind(s, 0, 0);
		CHECK_INT(session_eval(s, 0, ids, 64, &e), 0);
		for (size_t i = 0; i < 64; i += AT_ONCE)
			differ += differing(s, i, i % (2 * AT_ONCE) ? 5 : 1, whole);
	}
	CHECK_INT(differ, 0);
	free(whole);
	session_close(s);
	gguf_close(&g);
}

static void trained_model(void)
{
	positions("tests/data/shakespeare.gguf");
}

static void vector_models(void)
{
	struct dirent **list;
	char path[600];
	int n = scandir("tests/data/golden", &list, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof path, "tests/data/golden/%s", list[i]->d_name);
		if (strstr(path, ".gguf") && !strstr(path, "-of-") && !strstr(path, "arm"))
			positions(path);
		free(list[i]);
	}
	CHECK(n > 2);
	free(list);
}

int main(void)
{
	struct err e = {0};

	t.k = kernels_get(NULL);
	t.scratch = aligned_alloc(64, KERNELS_SCRATCH);
	if (!t.scratch || arena_init(&t.arena, MEM_OTHER, "head", head_bytes(ROWS, COLS, 1), &e))
		return 2;
	RUN(random_head);
	RUN(scaled_head);
	RUN(ties);
	RUN(outliers);
	RUN(losses_along_the_input);
	RUN(promises_that_are_not_kept);
	RUN(not_numbers);
	RUN(few_rows_are_computed);
	RUN(trained_model);
	RUN(vector_models);
	arena_fini(&t.arena);
	free(t.scratch);
	return unit_end();
}
