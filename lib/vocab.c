#include "vocab.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "utf8.h"
#include "vocab_private.h"

#define KEY "tokenizer.ggml."

/* What the tables are made from, and the numbers that decide their sizes. */
struct source {
	const struct gguf *g;
	enum vocab_kind kind;
	const struct gguf_kv *tokens, *types, *scores, *merges;
	uint32_t n_tokens, n_merges, n_special;
};

int ids_reserve(struct ids *l, size_t cap, struct err *e)
{
	if (cap <= l->cap)
		return 0;
	int32_t *v = mem_realloc(MEM_IO, l->v, cap, sizeof *v, e);
	if (!v)
		return -1;
	l->v = v;
	l->cap = cap;
	return 0;
}

int ids_push(struct ids *l, int32_t id, struct err *e)
{
	if (l->n == l->cap && ids_reserve(l, l->cap ? 2 * l->cap : 64, e))
		return -1;
	l->v[l->n++] = id;
	return 0;
}

void ids_free(struct ids *l)
{
	mem_free(l->v);
	memset(l, 0, sizeof *l);
}

static int str_is(struct gguf_str s, const char *text)
{
	return s.n == strlen(text) && !memcmp(s.p, text, s.n);
}

/* An array that must be as long as there are tokens; absent: *out is NULL. */
static int find_numbers(const struct source *s, const char *key, const struct gguf_kv **out,
                        struct err *e)
{
	const struct gguf_kv *kv = *out = gguf_find(s->g, key);

	if (!kv)
		return 0;
	if (kv->type != GGUF_ARRAY || kv->element == GGUF_STRING || kv->element == GGUF_ARRAY)
		return err_set(e, ERR_TROUBLE, "%s: not an array of numbers", key);
	if (kv->count != s->n_tokens)
		return err_set(e, ERR_TROUBLE, "%s: %llu elements for %u tokens", key,
		               (unsigned long long)kv->count, s->n_tokens);
	return 0;
}

static int find_strings(const struct gguf *g, const char *key, const struct gguf_kv **out,
                        uint32_t *n, struct err *e)
{
	const struct gguf_kv *kv = *out = gguf_find(g, key);

	if (!kv)
		return err_set(e, ERR_TROUBLE, "%s: missing", key);
	if (kv->type != GGUF_ARRAY || kv->element != GGUF_STRING)
		return err_set(e, ERR_TROUBLE, "%s: not an array of strings", key);
	/* Offsets into the array are kept in 32 bits. */
	if (kv->count > STRINDEX_MAX || kv->bytes > UINT32_MAX - 8)
		return err_set(e, ERR_TROUBLE, "%s: %llu strings of %llu bytes are too many", key,
		               (unsigned long long)kv->count, (unsigned long long)kv->bytes);
	*n = (uint32_t)kv->count;
	return 0;
}

static int token_type(const struct source *s, uint32_t i, uint8_t *type, struct err *e)
{
	uint64_t t = VOCAB_NORMAL;

	if (s->types && gguf_array_u64(s->g, s->types, i, &t, e))
		return err_in(e, KEY "token_type");
	if (t > VOCAB_BYTE)
		return err_set(e, ERR_TROUBLE, KEY "token_type: token %u has type %llu, not 1 to 6",
		               i, (unsigned long long)t);
	*type = t ? (uint8_t)t : VOCAB_NORMAL; /* 0: not said */
	return 0;
}

static int is_special(uint8_t type)
{
	return type == VOCAB_UNKNOWN || type == VOCAB_CONTROL || type == VOCAB_USER;
}

static int count_special(struct source *s, struct err *e)
{
	uint8_t type;

	for (uint32_t i = 0; s->types && i < s->n_tokens; i++) {
		if (token_type(s, i, &type, e))
			return -1;
		s->n_special += (uint32_t)is_special(type);
	}
	return 0;
}

/* Returns 1 when the file has no tokenizer. */
static int source_open(struct source *s, const struct gguf *g, struct err *e)
{
	struct gguf_str model;
	char name[64];
	int r;

	memset(s, 0, sizeof *s);
	s->g = g;
	if ((r = gguf_get_str(g, KEY "model", &model, e)))
		return r;
	if (str_is(model, "gpt2"))
		s->kind = VOCAB_BPE;
	else if (str_is(model, "llama"))
		s->kind = VOCAB_SPM;
	else
		return err_unsupported(e,
		                       "tokenizer '%s' is not supported (supported: gpt2, llama)",
		                       err_quote(name, sizeof name, model.p, model.n));
	if (find_strings(g, KEY "tokens", &s->tokens, &s->n_tokens, e) ||
	    find_numbers(s, KEY "token_type", &s->types, e) || count_special(s, e))
		return -1;
	if (!s->n_tokens)
		return err_set(e, ERR_TROUBLE, KEY "tokens: empty");
	if (s->kind == VOCAB_BPE)
		return find_strings(g, KEY "merges", &s->merges, &s->n_merges, e);
	if (find_numbers(s, KEY "scores", &s->scores, e))
		return -1;
	return s->scores ? 0 : err_set(e, ERR_TROUBLE, KEY "scores: missing");
}

/* Every table of the arena, in the order in which tables_take takes them. */
static uint64_t tables_bytes(const struct source *s)
{
	uint64_t n = arena_round(sizeof(struct vocab));

	n += arena_round((s->n_tokens + (size_t)1) * sizeof(uint32_t));
	n += arena_round(s->n_tokens);
	n += arena_round(strindex_bytes(s->n_tokens));
	n += arena_round(s->n_special * sizeof(uint32_t));
	if (s->kind == VOCAB_SPM)
		return n + arena_round(s->n_tokens * sizeof(float));
	n += arena_round((s->n_merges + (size_t)1) * sizeof(uint32_t));
	n += arena_round(strindex_bytes(s->n_merges));
	return n + arena_round(PRETOK_BYTES);
}

int vocab_plan(const struct gguf *g, uint64_t *bytes, struct err *e)
{
	struct source s;
	int r = source_open(&s, g, e);

	*bytes = r ? 0 : tables_bytes(&s);
	return r < 0 ? -1 : 0;
}

/* Takes the tables, the vocabulary itself first; returns the block for the pre-tokenizer. */
static void *tables_take(struct vocab **out, const struct source *s, struct arena *a)
{
	struct vocab *v = *out = arena_take(a, sizeof *v);

	v->kind = s->kind;
	v->piece.n = s->n_tokens;
	v->piece.at = arena_take(a, (s->n_tokens + (size_t)1) * sizeof *v->piece.at);
	v->type = arena_take(a, s->n_tokens);
	strindex_init(&v->by_piece, arena_take(a, strindex_bytes(s->n_tokens)), s->n_tokens);
	v->special = arena_take(a, s->n_special * sizeof *v->special);
	if (s->kind == VOCAB_SPM) {
		v->score = arena_take(a, s->n_tokens * sizeof *v->score);
		return NULL;
	}
	v->merge.n = s->n_merges;
	v->merge.at = arena_take(a, (s->n_merges + (size_t)1) * sizeof *v->merge.at);
	strindex_init(&v->by_merge, arena_take(a, strindex_bytes(s->n_merges)), s->n_merges);
	return arena_take(a, PRETOK_BYTES);
}

/* Remembers where the strings lie and puts each into the index by its hash. */
static int read_strings(struct vocab_strings *t, struct strindex *x, const struct gguf *g,
                        const struct gguf_kv *kv,
                        int (*hash)(const struct gguf_str *s, uint32_t *h), struct err *e)
{
	struct gguf_walk walk = {0, 0};
	struct gguf_str s;
	uint32_t h;

	t->data = (const char *)kv->data;
	for (uint32_t i = 0; i < t->n && gguf_next_str(g, kv, &walk, &s); i++) {
		t->at[i] = (uint32_t)(s.p - t->data);
		if (hash(&s, &h))
			return err_set(
			    e, ERR_TROUBLE,
			    KEY "merges: merge %u is not two pieces with a space between", i);
		strindex_add(x, h, i);
	}
	t->at[t->n] = (uint32_t)kv->bytes + 8;
	return 0;
}

static int hash_piece(const struct gguf_str *s, uint32_t *h)
{
	*h = strindex_hash(s->p, s->n);
	return 0;
}

static int hash_merge(const struct gguf_str *s, uint32_t *h)
{
	const char *space = s->n < 3 ? NULL : memchr(s->p + 1, ' ', s->n - 2);

	if (!space)
		return -1;
	size_t left = (size_t)(space - s->p);
	*h = strindex_hash2(strindex_hash(s->p, left), strindex_hash(space + 1, s->n - left - 1));
	return 0;
}

static int longer(const void *a, const void *b, void *arg)
{
	const struct vocab *v = arg;
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	uint64_t n = vocab_string(&v->piece, i).n, m = vocab_string(&v->piece, j).n;

	return n != m ? (n < m ? 1 : -1) : i < j ? -1 : 1;
}

static int read_tokens(struct vocab *v, const struct source *s, struct err *e)
{
	if (read_strings(&v->piece, &v->by_piece, s->g, s->tokens, hash_piece, e))
		return -1;
	for (uint32_t i = 0; i < v->piece.n; i++) {
		uint32_t n = (uint32_t)vocab_string(&v->piece, i).n;
		if (token_type(s, i, &v->type[i], e))
			return -1;
		if (is_special(v->type[i]) && n)
			v->special[v->n_special++] = i;
		if (n > v->longest)
			v->longest = n;
	}
	if (v->n_special)
		qsort_r(v->special, v->n_special, sizeof *v->special, longer, v);
	return 0;
}

/* The printable character that stands for a byte in pieces. */
static void fill_letters(struct vocab *v)
{
	uint32_t next = 0x100;

	memset(v->letter_byte, -1, sizeof v->letter_byte);
	for (unsigned b = 0; b < 256; b++) {
		int plain = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
		uint32_t c = plain ? b : next++;
		char utf8[4];
		v->letter_n[b] = (uint8_t)utf8_encode(c, utf8);
		memcpy(v->letter[b], utf8, sizeof v->letter[b]);
		v->letter_hash[b] = strindex_hash(utf8, v->letter_n[b]);
		v->letter_byte[c] = (int16_t)b;
	}
}

static int32_t get_hex(struct gguf_str s)
{
	static const char digits[] = "0123456789ABCDEF";
	const char *hi, *lo;

	if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>' || !s.p[3] || !s.p[4])
		return -1;
	hi = strchr(digits, s.p[3]);
	lo = strchr(digits, s.p[4]);
	return hi && lo ? (int32_t)((hi - digits) * 16 + (lo - digits)) : -1;
}

/* The tokens of bytes: by name, else the piece of that one byte, else unknown. */
static void fill_bytes(struct vocab *v)
{
	static const char digits[] = "0123456789ABCDEF";

	for (unsigned b = 0; b < 256; b++) {
		char name[6] = {'<', '0', 'x', digits[b >> 4], digits[b & 15], '>'}, byte = (char)b;
		int32_t id = vocab_find(v, name, sizeof name);
		if (id < 0)
			id = vocab_find(v, &byte, 1);
		v->byte_id[b] = id < 0 ? v->unk : id;
	}
}

static int makes_text(uint8_t type)
{
	return type != VOCAB_UNKNOWN && type != VOCAB_CONTROL && type != VOCAB_BYTE;
}

static int is_mark(struct gguf_str s, size_t at)
{
	return at + 3 <= s.n && !memcmp(s.p + at, "\xe2\x96\x81", 3);
}

/* Whether a mark of a word's beginning stands behind something else in the piece. */
static int goes_over(struct gguf_str s)
{
	for (size_t i = 1; i < s.n; i++)
		if (is_mark(s, i) && !(i >= 3 && is_mark(s, i - 3)))
			return 1;
	return 0;
}

static int read_scores(struct vocab *v, const struct source *s, struct err *e)
{
	v->words_apart = 1;
	for (uint32_t i = 0; i < v->piece.n; i++) {
		v->score[i] = (float)gguf_array_f64(s->g, s->scores, i);
		if (isnan(v->score[i]))
			return err_set(e, ERR_TROUBLE,
			               KEY "scores: that of token %u is not a number", i);
		if (makes_text(v->type[i]) && goes_over(vocab_string(&v->piece, i)))
			v->words_apart = 0;
	}
	return 0;
}

/* The pre-tokenizer that is asked for, or that the file names, or the one that a file of Llama 3's
 * vocabulary forgot to name (the published bitnet-b1.58-2B-4T does), or "default". */
static int choose_pre(struct vocab *v, const struct gguf *g, const char *asked, struct err *e)
{
	char name[64], known[256];
	struct gguf_str pre = {asked, asked ? strlen(asked) : 0};
	int absent = asked ? 0 : gguf_get_str(g, KEY "pre", &pre, e);

	if (absent < 0)
		return -1;
	if (absent) {
		int llama3 = v->piece.n == 128256 ||
		             (v->piece.n > 128000 &&
		              str_is(vocab_string(&v->piece, 128000), "<|begin_of_text|>"));
		pre.p = llama3 ? "llama-bpe" : "default";
		pre.n = strlen(pre.p);
	}
	if ((v->pre = pretok_find(pre.p, pre.n)) && pre.n < sizeof v->pre_name) {
		memcpy(v->pre_name, pre.p, pre.n);
		return 0;
	}
	return err_unsupported(e, "pre-tokenizer '%s' is not supported (supported: %s)",
	                       err_quote(name, sizeof name, pre.p, pre.n),
	                       pretok_names(known, sizeof known));
}

/* A special id: otherwise when the key is absent, -1 (none) when there is no such token. */
static int get_id(const struct vocab *v, const struct gguf *g, const char *key, int32_t otherwise,
                  int32_t *out, struct err *e)
{
	uint64_t id = 0;
	int absent = gguf_get_u64(g, key, &id, e);

	if (absent < 0)
		return -1;
	*out = absent ? otherwise : id < v->piece.n ? (int32_t)id : -1;
	return 0;
}

static void add_end(struct vocab *v, int32_t id)
{
	if (id >= 0 && !vocab_is_end(v, id) && v->n_end < VOCAB_ENDS)
		v->end[v->n_end++] = id;
}

/* Tokens that end an answer whatever the file says of them. */
static const char *const end_names[] = {"<|eot_id|>",    "<|im_end|>",    "<|end|>",
                                        "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>",
                                        "<|eom_id|>"};
#define END_NAMES (sizeof end_names / sizeof end_names[0])

int vocab_ends_by_name(const char *piece, size_t n)
{
	for (size_t i = 0; i < END_NAMES; i++)
		if (n == strlen(end_names[i]) && !memcmp(piece, end_names[i], n))
			return 1;
	return 0;
}

/* Where a model may end its answer: eos says it for plain text, chats end otherwise. */
static int read_ends(struct vocab *v, const struct gguf *g, struct err *e)
{
	int32_t eot, eom;

	if (get_id(v, g, KEY "eot_token_id", -1, &eot, e) ||
	    get_id(v, g, KEY "eom_token_id", -1, &eom, e))
		return -1;
	add_end(v, v->eos);
	add_end(v, eot);
	add_end(v, eom);
	for (size_t i = 0; i < END_NAMES; i++) {
		int32_t id = vocab_find(v, end_names[i], strlen(end_names[i]));
		if (id >= 0 && (v->type[id] == VOCAB_CONTROL || v->type[id] == VOCAB_USER))
			add_end(v, id);
	}
	return 0;
}

static int get_flag(const struct gguf *g, const char *key, int otherwise, int *out, struct err *e)
{
	*out = otherwise;
	return gguf_get_bool(g, key, out, e) < 0 ? -1 : 0;
}

static int read_settings(struct vocab *v, const struct gguf *g, struct err *e)
{
	int spm = v->kind == VOCAB_SPM;

	if (get_id(v, g, KEY "bos_token_id", spm && v->piece.n > 1 ? 1 : -1, &v->bos, e) ||
	    get_id(v, g, KEY "eos_token_id", spm && v->piece.n > 2 ? 2 : -1, &v->eos, e) ||
	    get_id(v, g, KEY "unknown_token_id", spm ? 0 : -1, &v->unk, e) ||
	    get_flag(g, KEY "add_bos_token", spm || v->pre->adds_bos, &v->adds_bos, e) ||
	    get_flag(g, KEY "add_eos_token", 0, &v->adds_eos, e) ||
	    get_flag(g, KEY "add_space_prefix", spm, &v->adds_space, e))
		return -1;
	v->adds_bos &= v->bos >= 0;
	v->adds_eos &= v->eos >= 0;
	return read_ends(v, g, e);
}

static int fill(struct vocab *v, const struct source *s, const char *pre, void *block,
                struct err *e)
{
	if (read_tokens(v, s, e))
		return -1;
	if (s->kind == VOCAB_BPE) {
		fill_letters(v);
		if (choose_pre(v, s->g, pre, e) || pretok_open(&v->pretok, v->pre, block, e) ||
		    read_strings(&v->merge, &v->by_merge, s->g, s->merges, hash_merge, e))
			return -1;
		return read_settings(v, s->g, e);
	}
	if (pre)
		return err_set(e, ERR_TROUBLE,
		               "pre-tokenizer '%s': a tokenizer of kind llama has none", pre);
	if (read_scores(v, s, e) || read_settings(v, s->g, e))
		return -1;
	fill_bytes(v);
	return 0;
}

int vocab_open(struct vocab **out, const struct gguf *g, const char *pre, struct err *e)
{
	struct source s;
	struct arena a;
	struct vocab *v;
	void *block;
	int r = source_open(&s, g, e);

	if (r)
		return r < 0 ? -1
		             : err_set(e, ERR_TROUBLE, "no tokenizer (" KEY "model is missing)");
	if (arena_init(&a, MEM_VOCAB, "tokenizer", tables_bytes(&s), e))
		return -1;
	block = tables_take(&v, &s, &a);
	v->arena = a;
	if (fill(v, &s, pre, block, e)) {
		vocab_close(v);
		return -1;
	}
	*out = v;
	return 0;
}

void vocab_close(struct vocab *v)
{
	if (!v)
		return;
	pretok_close(v->pretok);
	struct arena a = v->arena; /* v lies in it */
	arena_fini(&a);
}

uint32_t vocab_size(const struct vocab *v)
{
	return v->piece.n;
}

const char *vocab_pre(const struct vocab *v)
{
	return v->pre_name;
}

struct gguf_str vocab_piece(const struct vocab *v, int32_t id, int *type)
{
	if (id < 0 || (uint32_t)id >= v->piece.n) {
		if (type)
			*type = 0;
		return (struct gguf_str){"", 0};
	}
	if (type)
		*type = v->type[id];
	return vocab_string(&v->piece, (uint32_t)id);
}

/* The lowest id with this piece, among those that text may become or among all. */
static int32_t find(const struct vocab *v, uint32_t hash, const char *p, size_t n, int text)
{
	uint32_t at = strindex_start(&v->by_piece, hash), i;

	while ((i = strindex_next(&v->by_piece, hash, &at)) != STRINDEX_END) {
		struct gguf_str s = vocab_string(&v->piece, i);
		if (s.n == n && !memcmp(s.p, p, n) && (!text || makes_text(v->type[i])))
			return (int32_t)i;
	}
	return -1;
}

int32_t vocab_text_token(const struct vocab *v, uint32_t hash, const char *p, size_t n)
{
	return find(v, hash, p, n, 1);
}

int32_t vocab_find(const struct vocab *v, const char *piece, size_t n)
{
	return find(v, strindex_hash(piece, n), piece, n, 0);
}

int vocab_is_end(const struct vocab *v, int32_t id)
{
	for (unsigned i = 0; i < v->n_end; i++)
		if (v->end[i] == id)
			return 1;
	return 0;
}

int32_t vocab_bos(const struct vocab *v)
{
	return v->bos;
}

int32_t vocab_eos(const struct vocab *v)
{
	return v->eos;
}

int vocab_adds_bos(const struct vocab *v)
{
	return v->adds_bos;
}

int vocab_strips_space(const struct vocab *v)
{
	return v->adds_space;
}

size_t vocab_longest(const struct vocab *v)
{
	return v->longest;
}

/* Bytes going to a buffer that may be too small; n counts all of them. */
struct sink {
	char *out;
	size_t cap, n;
};

static void put(struct sink *k, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++, k->n++)
		if (k->n < k->cap)
			k->out[k->n] = p[i];
}

/* Characters that stand for bytes become these; others, which no text gives, stay. */
static void put_letters(const struct vocab *v, struct sink *k, struct gguf_str s)
{
	const size_t letters = sizeof v->letter_byte / sizeof v->letter_byte[0];
	uint32_t c;
	char byte;

	for (size_t i = 0, n; i < s.n; i += n) {
		n = utf8_decode(s.p + i, s.n - i, &c);
		if (n && c < letters && v->letter_byte[c] >= 0) {
			byte = (char)v->letter_byte[c];
			put(k, &byte, 1);
			continue;
		}
		n = n ? n : 1;
		put(k, s.p + i, n);
	}
}

static void put_spaced(struct sink *k, struct gguf_str s)
{
	for (size_t i = 0, n; i < s.n; i += n) {
		int mark = is_mark(s, i);
		n = mark ? 3 : 1;
		put(k, mark ? " " : s.p + i, 1);
	}
}

size_t vocab_decode(const struct vocab *v, int32_t id, int special, char *out, size_t cap)
{
	struct sink k = {out, cap, 0};
	int type, hex;
	struct gguf_str s = vocab_piece(v, id, &type);
	char byte;

	if (type == VOCAB_USER || (special && (type == VOCAB_CONTROL || type == VOCAB_UNKNOWN))) {
		put(&k, s.p, s.n);
	} else if (type == VOCAB_BYTE && (hex = get_hex(s)) >= 0) {
		byte = (char)hex;
		put(&k, &byte, 1);
	} else if (type == VOCAB_NORMAL || type == VOCAB_BYTE) {
		if (v->kind == VOCAB_BPE)
			put_letters(v, &k, s);
		else
			put_spaced(&k, s);
	}
	return k.n;
}
