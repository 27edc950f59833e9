/* The tokenizer opened, texts to ids and back, and closed. */
#include "workload_kind.h"

#include <string.h>

#include "mem.h"

enum { TEXTS = 16, LONGEST = 400 };

struct tokenizing {
	struct workload_model model;
	struct text {
		char p[LONGEST];
		size_t n;
	} text[TEXTS];
};

/* Words, numbers, spaces, characters of two to four bytes, and bytes that are no text. */
static void invent(struct text *t, uint64_t *seed)
{
	static const char *const part[] = {"the ",
	                                   "king",
	                                   "\n\n",
	                                   "O, ",
	                                   "thou ",
	                                   "1623",
	                                   "\xc3\xa9",
	                                   "\xe4\xbd\xa0",
	                                   "  ",
	                                   "don't",
	                                   "\xf0\x9f\x8d\x8e",
	                                   "\xff",
	                                   "\t",
	                                   "Exeunt.",
	                                   "--",
	                                   "a"};
	size_t want = LONGEST / 4 + (size_t)workload_random(seed, LONGEST / 2);

	while (t->n < want) {
		const char *s = part[workload_random(seed, sizeof(part) / sizeof(*part))];
		memcpy(t->p + t->n, s, strlen(s));
		t->n += strlen(s);
	}
}

static void fini(void *state)
{
	struct tokenizing *s = state;

	workload_model_close(&s->model);
}

static int init(void *state, const struct workload_options *o, struct err *e)
{
	struct tokenizing *s = state;
	uint64_t seed = o->seed;

	for (int i = 0; i < TEXTS; i++)
		invent(&s->text[i], &seed);
	return workload_model_open(&s->model, o, e);
}

/* The bytes of ids; 0 when they do not fit. */
static size_t text_of(const struct vocab *v, const struct ids *ids, char *out, size_t cap)
{
	size_t n = 0;

	for (size_t i = 0; i < ids->n; i++) {
		size_t more = vocab_decode(v, ids->v[i], 0, out + n, cap - n);
		if (more > cap - n)
			return 0;
		n += more;
	}
	return n;
}

/* Vocabularies may lack characters or put a space in front, so the way back is compared by going
 * there again. */
static int round_trip(const struct vocab *v, const struct text *t, struct err *e)
{
	char *back = mem_alloc(MEM_IO, 2 * LONGEST, e);
	struct ids ids = {0}, again = {0};
	struct vocab_text in = {t->p, t->n, 0}, text = {back, 0, 0};
	int r = -1;

	if (!back || vocab_encode(v, &in, 1, 0, &ids, e) != 0)
		goto done;
	text.n = text_of(v, &ids, back, (size_t)2 * LONGEST);
	if (text.n == t->n && memcmp(back, t->p, t->n) != 0) {
		err_set(e, ERR_TROUBLE, "ids do not give the text back");
		goto done;
	}
	r = vocab_encode(v, &text, 1, 0, &again, e);
done:
	ids_free(&ids);
	ids_free(&again);
	mem_free(back);
	return r;
}

static int step(void *state, unsigned *failures, struct err *e)
{
	struct tokenizing *s = state;
	struct vocab *v;
	int r = 0;

	(void)failures;
	if (vocab_open(&v, &s->model.file, NULL, e) != 0)
		return -1;
	for (int i = 0; i < TEXTS && r == 0; i++)
		r = round_trip(v, &s->text[i], e);
	vocab_close(v);
	return r;
}

const struct workload_kind workload_tokenizer = {
    {"tokenizer", "the tokenizer opened, texts to ids and back, and closed", 200},
    sizeof(struct tokenizing),
    init,
    step,
    fini,
};
