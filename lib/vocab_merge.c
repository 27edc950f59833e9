/*
 * Merging: a text of symbols in which, again and again, the best pair of neighbours becomes one.
 * The pairs wait in a heap, the symbols are a linked list, so that n symbols take O(n log n).
 * Best is the lowest order, then the leftmost; pairs whose symbols have changed since they were
 * put into the heap are recognised by their order and passed over.
 */
#include "vocab_private.h"

#include <string.h>

#include "utf8.h"

/* p with room for need items of size bytes; NULL and p untouched when there is no memory. */
static void *reserve(void *p, size_t *cap, size_t need, size_t size, struct err *e)
{
	size_t want = *cap ? *cap : 256;

	if (need <= *cap)
		return p;
	while (want < need)
		want *= 2;
	if ((p = mem_realloc(MEM_SCRATCH, p, want, size, e)))
		*cap = want;
	return p;
}

static int reserve_word(struct vocab_work *w, size_t bytes, size_t symbols)
{
	char *text = reserve(w->text, &w->cap_text, bytes, 1, w->e);
	struct vocab_symbol *sym;

	if (!text)
		return -1;
	w->text = text;
	if (!(sym = reserve(w->sym, &w->cap_sym, symbols, sizeof *sym, w->e)))
		return -1;
	w->sym = sym;
	return 0;
}

void vocab_work_fini(struct vocab_work *w)
{
	mem_free(w->text);
	mem_free(w->sym);
	mem_free(w->heap);
}

static int heap_push(struct vocab_work *w, uint64_t key)
{
	size_t i = w->n_heap;
	uint64_t *heap = reserve(w->heap, &w->cap_heap, i + 1, sizeof *heap, w->e);

	if (!heap)
		return -1;
	w->heap = heap;
	for (; i && w->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = key;
	w->n_heap++;
	return 0;
}

static uint64_t heap_pop(struct vocab_work *w)
{
	uint64_t least = w->heap[0], last = w->heap[--w->n_heap];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < w->n_heap) {
		if (child + 1 < w->n_heap && w->heap[child + 1] < w->heap[child])
			child++;
		if (w->heap[child] >= last)
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	w->heap[i] = last;
	return least;
}

/* The rank of "left right" among the merges. */
static uint32_t rank(const struct vocab *v, const char *text, const struct vocab_symbol *l,
                     const struct vocab_symbol *r)
{
	uint32_t hash = strindex_hash2(l->hash, r->hash), at = strindex_start(&v->by_merge, hash),
		 i;

	while ((i = strindex_next(&v->by_merge, hash, &at)) != STRINDEX_END) {
		struct gguf_str m = vocab_string(&v->merge, i);
		if (m.n == (uint64_t)l->n + 1 + r->n && m.p[l->n] == ' ' &&
		    !memcmp(m.p, text + l->at, l->n) && !memcmp(m.p + l->n + 1, text + r->at, r->n))
			return i;
	}
	return VOCAB_NONE;
}

/* An order in which the highest score is lowest. */
static uint32_t score_order(float score)
{
	uint32_t bits;

	score = score == 0 ? 0 : -score; /* -0 and 0 become the same */
	memcpy(&bits, &score, sizeof bits);
	return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static uint32_t pair_order(const struct vocab_work *w, const struct vocab_symbol *l)
{
	const struct vocab *v = w->v;
	const struct vocab_symbol *r;

	if (l->next == VOCAB_NONE)
		return VOCAB_NONE;
	r = &w->sym[l->next];
	if (v->kind == VOCAB_BPE)
		return rank(v, w->text, l, r);
	const char *p = w->text + l->at;
	size_t n = (size_t)l->n + r->n;
	int32_t id = n > v->longest ? -1 : vocab_text_token(v, strindex_hash(p, n), p, n);
	return id < 0 ? VOCAB_NONE : score_order(v->score[id]);
}

/* Computes the order of symbol i and the one behind it, and queues the pair. */
static int consider(struct vocab_work *w, uint32_t i)
{
	struct vocab_symbol *s = &w->sym[i];

	s->order = pair_order(w, s);
	return s->order == VOCAB_NONE ? 0 : heap_push(w, (uint64_t)s->order << 32 | i);
}

static int join(struct vocab_work *w, uint32_t i)
{
	struct vocab_symbol *s = &w->sym[i], *gone = &w->sym[s->next];

	s->n += gone->n;
	s->next = gone->next;
	gone->order = VOCAB_NONE;
	if (s->next != VOCAB_NONE)
		w->sym[s->next].prev = i;
	s->hash = strindex_hash(w->text + s->at, s->n);
	if (consider(w, i))
		return -1;
	return s->prev == VOCAB_NONE ? 0 : consider(w, s->prev);
}

static int merge_all(struct vocab_work *w, uint32_t n)
{
	w->n_heap = 0;
	for (uint32_t i = 0; i < n; i++) {
		w->sym[i].prev = i ? i - 1 : VOCAB_NONE;
		w->sym[i].next = i + 1 < n ? i + 1 : VOCAB_NONE;
	}
	for (uint32_t i = 0; i < n; i++)
		if (consider(w, i))
			return -1;
	while (w->n_heap) {
		uint64_t key = heap_pop(w);
		uint32_t i = (uint32_t)key;
		if (w->sym[i].order == key >> 32 && join(w, i))
			return -1;
	}
	return 0;
}

/* A symbol that is no token: its characters one by one, those that are no token are left out. */
static int emit_letters(struct vocab_work *w, const struct vocab_symbol *s)
{
	for (size_t i = 0, n; i < s->n; i += n) {
		const char *p = w->text + s->at + i;
		n = (unsigned char)*p < 0x80 ? 1 : 2;
		int32_t id = vocab_text_token(w->v, strindex_hash(p, n), p, n);
		if (id >= 0 && ids_push(w->out, id, w->e))
			return -1;
	}
	return 0;
}

/* A character that is no token: its bytes. */
static int emit_bytes(struct vocab_work *w, const struct vocab_symbol *s)
{
	for (size_t i = 0; i < s->n; i++) {
		int32_t id = w->v->byte_id[(unsigned char)w->text[s->at + i]];
		if (id >= 0 && ids_push(w->out, id, w->e))
			return -1;
	}
	return 0;
}

static int emit(struct vocab_work *w)
{
	for (uint32_t i = 0; i != VOCAB_NONE; i = w->sym[i].next) {
		const struct vocab_symbol *s = &w->sym[i];
		int32_t id = vocab_text_token(w->v, s->hash, w->text + s->at, s->n);
		if (id >= 0                   ? ids_push(w->out, id, w->e)
		    : w->v->kind == VOCAB_BPE ? emit_letters(w, s)
		                              : emit_bytes(w, s))
			return -1;
	}
	return 0;
}

int vocab_merge_bpe(struct vocab_work *w, const char *word, size_t n)
{
	const struct vocab *v = w->v;
	uint32_t at = 0;

	if (reserve_word(w, 2 * n, n))
		return -1;
	for (size_t i = 0; i < n; i++) {
		unsigned char b = (unsigned char)word[i];
		memcpy(w->text + at, v->letter[b], 2);
		w->sym[i].at = at;
		w->sym[i].n = v->letter_n[b];
		w->sym[i].hash = v->letter_hash[b];
		at += v->letter_n[b];
	}
	if (v->pre->ignore_merges && at <= v->longest) {
		int32_t id = vocab_text_token(v, strindex_hash(w->text, at), w->text, at);
		if (id >= 0)
			return ids_push(w->out, id, w->e);
	}
	return n && (merge_all(w, (uint32_t)n) || emit(w)) ? -1 : 0;
}

int vocab_merge_spm(struct vocab_work *w, const char *word, size_t n)
{
	uint32_t symbols = 0;

	if (!n)
		return 0;
	if (reserve_word(w, n, n))
		return -1;
	memcpy(w->text, word, n);
	for (size_t i = 0; i < n; symbols++) {
		size_t len = utf8_decode(word + i, n - i, NULL);
		struct vocab_symbol *s = &w->sym[symbols];
		s->at = (uint32_t)i;
		s->n = len ? (uint32_t)len : 1;
		s->hash = strindex_hash(word + i, s->n);
		i += s->n;
	}
	return merge_all(w, symbols) || emit(w) ? -1 : 0;
}
