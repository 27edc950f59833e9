/*
 * Text to ids: first special tokens are cut out of the text, longest first, wherever they stand;
 * what is left between them goes through the pre-tokenizer and the merges.
 */
#include "vocab.h"

#include <string.h>

#include "mem.h"
#include "vocab_private.h"

/* Offsets, of a text whose spaces may take three bytes each, are kept in 32 bits. */
#define TEXT_MAX (1u << 30)

#define NONE UINT32_MAX

/* A part of the text: a special token, or text yet to be encoded. */
struct part {
	uint32_t at, n; /* bytes */
	int32_t id;     /* -1: text */
	uint32_t next;  /* NONE: the last */
};

/* Bytes [at, end) in which special tokens are recognised. */
struct range {
	uint32_t at, end;
};

/* A set of all 4-byte sequences of the text, by hash: most special tokens need not be looked
 * for. */
struct grams {
	uint64_t bits[1024];
};

struct job {
	struct vocab_work work;
	const char *text;
	uint32_t n;
	char *joined; /* owned copy of the text when it came in several pieces */
	struct range *ranges;
	size_t n_ranges;
	struct part *parts;
	uint32_t n_parts, cap_parts;
	uint32_t part_at; /* of the part whose words are being merged */
};

static int gather(struct job *j, const struct vocab_text *text, size_t n_text, struct err *e)
{
	uint64_t total = 0;
	uint32_t at = 0;

	for (size_t i = 0; i < n_text; i++)
		if (text[i].n > TEXT_MAX || (total += text[i].n) > TEXT_MAX)
			return err_set(e, ERR_TROUBLE, "a text of more than %u bytes", TEXT_MAX);
	if (!(j->ranges = mem_calloc(MEM_SCRATCH, n_text, sizeof *j->ranges, e)))
		return -1;
	if (n_text != 1 && !(j->joined = mem_alloc(MEM_SCRATCH, total, e)))
		return -1;
	for (size_t i = 0; i < n_text; i++) {
		uint32_t n = (uint32_t)text[i].n;
		struct range *last = j->n_ranges ? &j->ranges[j->n_ranges - 1] : NULL;
		if (j->joined && n)
			memcpy(j->joined + at, text[i].p, n);
		if (text[i].special && last && last->end == at)
			last->end = at + n;
		else if (text[i].special)
			j->ranges[j->n_ranges++] = (struct range){at, at + n};
		at += n;
	}
	j->text = n_text == 1 ? text[0].p : j->joined;
	j->n = at;
	return 0;
}

static uint32_t gram(const char *p)
{
	uint32_t w;

	memcpy(&w, p, sizeof w);
	return w * 2654435761u >> 16;
}

static void grams_fill(struct grams *s, const char *text, uint32_t n)
{
	memset(s, 0, sizeof *s);
	for (uint32_t i = 0; i + 4 <= n; i++)
		s->bits[gram(text + i) / 64] |= UINT64_C(1) << gram(text + i) % 64;
}

static int grams_may_have(const struct grams *s, struct gguf_str token)
{
	if (token.n < 4)
		return 1;
	return (s->bits[gram(token.p) / 64] >> gram(token.p) % 64) & 1;
}

static uint32_t part_new(struct job *j, uint32_t at, uint32_t n, int32_t id, uint32_t next)
{
	if (j->n_parts == j->cap_parts) {
		uint32_t cap = j->cap_parts ? 2 * j->cap_parts : 16;
		struct part *p = cap > j->cap_parts
		                     ? mem_realloc(MEM_SCRATCH, j->parts, cap, sizeof *p, j->work.e)
		                     : NULL;
		if (!p)
			return NONE;
		j->parts = p;
		j->cap_parts = cap;
	}
	j->parts[j->n_parts] = (struct part){at, n, id, next};
	return j->n_parts++;
}

/* Whether bytes [at, at + n) lie in one range; r moves on with rising at. */
static int in_range(const struct job *j, size_t *r, uint32_t at, uint64_t n)
{
	while (*r < j->n_ranges && j->ranges[*r].end <= at)
		++*r;
	return *r < j->n_ranges && j->ranges[*r].at <= at && at + n <= j->ranges[*r].end;
}

/* The first place of the token in the part; NULL when there is none. */
static const char *occurrence(const struct job *j, const struct part *p, struct gguf_str token,
                              int anywhere, size_t *r)
{
	const char *from = j->text + p->at, *end = from + p->n, *s;

	while ((s = memmem(from, (size_t)(end - from), token.p, token.n))) {
		if (anywhere || in_range(j, r, (uint32_t)(s - j->text), token.n))
			return s;
		from = s + 1;
	}
	return NULL;
}

static int cut(struct job *j, uint32_t id)
{
	struct gguf_str token = vocab_string(&j->work.v->piece, id);
	int anywhere = j->work.v->type[id] == VOCAB_USER;
	size_t r = 0;

	for (uint32_t i = 0; i != NONE; i = j->parts[i].next) {
		struct part p = j->parts[i];
		const char *s = p.id < 0 ? occurrence(j, &p, token, anywhere, &r) : NULL;
		if (!s)
			continue;
		uint32_t at = (uint32_t)(s - j->text), end = at + (uint32_t)token.n;
		uint32_t rest = part_new(j, end, p.at + p.n - end, -1, p.next);
		uint32_t mid = part_new(j, at, (uint32_t)token.n, (int32_t)id, rest);
		if (rest == NONE || mid == NONE)
			return -1;
		j->parts[i].n = at - p.at;
		j->parts[i].next = mid;
	}
	return 0;
}

static int partition(struct job *j)
{
	const struct vocab *v = j->work.v;
	struct grams grams;

	if (part_new(j, 0, j->n, -1, NONE) == NONE)
		return -1;
	grams_fill(&grams, j->text, j->n);
	for (uint32_t i = 0; i < v->n_special; i++) {
		uint32_t id = v->special[i];
		if (v->type[id] != VOCAB_USER && !j->n_ranges)
			continue;
		if (grams_may_have(&grams, vocab_string(&v->piece, id)) && cut(j, id))
			return -1;
	}
	return 0;
}

static int bpe_word(void *arg, size_t at, size_t n)
{
	struct job *j = arg;

	return vocab_merge_bpe(&j->work, j->text + j->part_at + at, n);
}

static int encode_bpe(struct job *j, const struct part *p)
{
	j->part_at = p->at;
	return pretok_split(j->work.v->pretok, j->text + p->at, p->n, bpe_word, j, j->work.e);
}

static uint32_t spaced(char *out, const char *text, uint32_t n, int prefix)
{
	char *o = out;

	for (uint32_t i = 0; i < n + (uint32_t)prefix; i++) {
		char c = prefix && !i ? ' ' : text[i - (uint32_t)prefix];
		if (c == ' ')
			o = mempcpy(o, "\xe2\x96\x81", 3);
		else
			*o++ = c;
	}
	return (uint32_t)(o - out);
}

/* Where the next word begins: at a mark behind something else. */
static uint32_t word_end(const char *text, uint32_t n)
{
	uint32_t i = 0;

	while (n - i >= 3 && !memcmp(text + i, "\xe2\x96\x81", 3))
		i += 3;
	while (i < n && !(n - i >= 3 && !memcmp(text + i, "\xe2\x96\x81", 3)))
		i++;
	return i;
}

/* The whole text is one word to the merges; where no piece goes over the beginning of a word
 * they cannot either, and words by themselves give the same at less cost. */
static int encode_spm(struct job *j, const struct part *p, int prefix)
{
	const struct vocab *v = j->work.v;
	char *text = mem_alloc(MEM_SCRATCH, ((size_t)p->n + 1) * 3, j->work.e);
	uint32_t n, at, len;
	int r = 0;

	if (!text)
		return -1;
	n = spaced(text, j->text + p->at, p->n, prefix);
	for (at = 0; at < n && !r; at += len) {
		len = v->words_apart ? word_end(text + at, n - at) : n;
		r = vocab_merge_spm(&j->work, text + at, len);
	}
	mem_free(text);
	return r;
}

static int encode_parts(struct job *j)
{
	const struct vocab *v = j->work.v;
	int first = 1, r;

	for (uint32_t i = 0; i != NONE; i = j->parts[i].next) {
		const struct part *p = &j->parts[i];
		if (p->id < 0 && !p->n)
			continue;
		if (p->id >= 0)
			r = ids_push(j->work.out, p->id, j->work.e);
		else if (v->kind == VOCAB_BPE)
			r = encode_bpe(j, p);
		else
			r = encode_spm(j, p, first && v->adds_space);
		if (r)
			return -1;
		first = p->id >= 0; /* a text behind a special token begins anew */
	}
	return 0;
}

int vocab_encode(const struct vocab *v, const struct vocab_text *text, size_t n_text, int bos,
                 struct ids *out, struct err *e)
{
	struct job j = {.work = {.v = v, .out = out, .e = e}};
	size_t before = out->n;
	int r = 0;

	if (bos && v->adds_bos)
		r = ids_push(out, v->bos, e);
	if (!r && n_text)
		r = gather(&j, text, n_text, e) || partition(&j) || encode_parts(&j);
	if (!r && bos && v->adds_eos)
		r = ids_push(out, v->eos, e);
	if (r)
		out->n = before;
	vocab_work_fini(&j.work);
	mem_free(j.parts);
	mem_free(j.ranges);
	mem_free(j.joined);
	return r ? -1 : 0;
}
