#include "hf_vocab.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hf_vocab_private.h"
#include "io.h"
#include "mem.h"

#define KEY   "tokenizer.ggml."
#define CHUNK (256u << 10)

/* Memory that is only ever given back as a whole. */
struct hf_chunk {
	struct hf_chunk *next;
	size_t size, used;
	_Alignas(8) char bytes[];
};

void *hf_take(struct hf_build *b, size_t n, struct err *e)
{
	struct hf_chunk *c = b->chunks;
	size_t need = (n + 7) & ~(size_t)7;

	if (!c || need > c->size - c->used) {
		size_t size = need > CHUNK ? need : CHUNK;
		if (!(c = mem_calloc(MEM_VOCAB, 1, sizeof *c + size, e)))
			return NULL;
		c->size = size;
		c->next = b->chunks;
		b->chunks = c;
		b->v->owned = c;
	}
	c->used += need;
	return c->bytes + c->used - need;
}

int hf_keep(struct hf_build *b, const char *p, size_t n, struct gguf_str *out, struct err *e)
{
	char *s = hf_take(b, n + 1, e);

	if (!s)
		return -1;
	memcpy(s, p, n);
	*out = (struct gguf_str){s, n};
	return 0;
}

int64_t hf_find(const struct hf_build *b, const char *p, size_t n)
{
	uint32_t hash = strindex_hash(p, n), at = strindex_start(&b->by_piece, hash), i;

	while ((i = strindex_next(&b->by_piece, hash, &at)) != STRINDEX_END)
		if (b->v->tokens[i].n == n && !memcmp(b->v->tokens[i].p, p, n))
			return i;
	return -1;
}

int hf_set(struct hf_build *b, uint64_t id, const char *p, size_t n, enum hf_type type,
           struct err *e)
{
	char quoted[64];
	struct gguf_str *t;
	int64_t other = hf_find(b, p, n);

	err_quote(quoted, sizeof quoted, p, n);
	if (id >= b->cap)
		return err_set(e, ERR_TROUBLE,
		               "token '%s' has id %llu, but the vocabulary size is %u", quoted,
		               (unsigned long long)id, b->cap);
	if (other >= 0 && (uint64_t)other != id)
		return err_set(e, ERR_TROUBLE, "token '%s' has two ids, %lld and %llu", quoted,
		               (long long)other, (unsigned long long)id);
	t = &b->v->tokens[id];
	if (other < 0 && t->p)
		return err_set(e, ERR_TROUBLE, "id %llu has two tokens, the second is '%s'",
		               (unsigned long long)id, quoted);
	b->v->types[id] = (int32_t)type;
	if (other >= 0)
		return 0;
	if (hf_keep(b, p, n, t, e))
		return -1;
	strindex_add(&b->by_piece, strindex_hash(p, n), (uint32_t)id);
	b->used++;
	return 0;
}

int hf_add_merge(struct hf_build *b, const char *l, size_t ln, const char *r, size_t rn,
                 struct err *e)
{
	struct hf_vocab *v = b->v;

	if (v->n_merges == b->cap_merges) {
		uint32_t cap = b->cap_merges ? 2 * b->cap_merges : 1024;
		struct gguf_str *m = mem_realloc(MEM_VOCAB, v->merges, cap, sizeof *m, e);
		if (!m)
			return -1;
		v->merges = m;
		b->cap_merges = cap;
	}
	char *s = hf_take(b, ln + 1 + rn + 1, e);
	if (!s)
		return -1;
	memcpy(s, l, ln);
	s[ln] = ' ';
	memcpy(s + ln + 1, r, rn);
	v->merges[v->n_merges++] = (struct gguf_str){s, ln + 1 + rn};
	return 0;
}

int hf_use_scores(struct hf_build *b, struct err *e)
{
	b->v->scores = hf_take(b, b->cap * sizeof(float), e);
	return b->v->scores ? 0 : -1;
}

int hf_is_byte(const char *p, size_t n)
{
	static const char digits[] = "0123456789ABCDEF";

	return n == 6 && !memcmp(p, "<0x", 3) && p[5] == '>' && p[3] && p[4] &&
	       strchr(digits, p[3]) && strchr(digits, p[4]);
}

int hf_slurp(const struct hf_build *b, const char *name, size_t limit, char **buf, size_t *n,
             struct err *e)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof path, "%s/%s", b->dir, name) >= (int)sizeof path)
		return err_set(e, ERR_TROUBLE, "%s: the path is too long", name);
	if (access(path, F_OK) && errno == ENOENT)
		return 1;
	return io_slurp_file(path, limit, buf, n, e) ? err_in(e, "%s", name) : 0;
}

int hf_load(const struct hf_build *b, const char *name, size_t limit, json_t **out, struct err *e)
{
	char *buf;
	size_t n;
	int r = hf_slurp(b, name, limit, &buf, &n, e);

	if (r)
		return r;
	r = json_parse(buf, n, out, e);
	free(buf);
	if (r)
		return err_in(e, "%s", name);
	if (json_is_object(*out))
		return 0;
	err_set(e, ERR_TROUBLE, "%s: %s, expected an object", name, json_kind(*out));
	json_decref(*out);
	return -1;
}

static int build_init(struct hf_build *b, uint32_t vocab_size, struct err *e)
{
	struct hf_vocab *v = b->v;
	void *slots;

	if (!vocab_size || vocab_size > HF_VOCAB_MAX)
		return err_set(e, ERR_TROUBLE, "a vocabulary of %u tokens (1 to %u are possible)",
		               vocab_size, HF_VOCAB_MAX);
	if (!(slots = hf_take(b, strindex_bytes(vocab_size), e)) ||
	    !(v->types = hf_take(b, vocab_size * sizeof *v->types, e)) ||
	    !(v->tokens = hf_take(b, vocab_size * sizeof *v->tokens, e)))
		return -1;
	strindex_init(&b->by_piece, slots, vocab_size);
	b->cap = vocab_size;
	v->n = vocab_size;
	v->bos = v->eos = v->eot = v->unk = v->sep = v->pad = v->mask = -1;
	v->add_bos = v->add_eos = v->add_space_prefix = -1;
	return 0;
}

/* A SentencePiece model begins with the tag of its first piece; ranks are lines of text. */
static int read_model(struct hf_build *b, const char *p, size_t n, struct err *e)
{
	return (n && p[0] == 0x0a ? hf_read_sentencepiece : hf_read_tiktoken)(b, p, n, e);
}

/* What a directory may have, the first one counts. */
static const struct {
	const char *name;
	size_t limit;
	int (*read)(struct hf_build *b, const char *p, size_t n, struct err *e);
} files[] = {
    {"tokenizer.json", 256u << 20, hf_read_json},
    {"tokenizer.model", 64u << 20, read_model},
};
#define FILES (sizeof files / sizeof files[0])

static int read_tokens(struct hf_build *b, struct err *e)
{
	char *buf;
	size_t n;

	for (size_t i = 0; i < FILES; i++) {
		int r = hf_slurp(b, files[i].name, files[i].limit, &buf, &n, e);
		if (r < 0)
			return -1;
		if (r)
			continue;
		r = files[i].read(b, buf, n, e);
		free(buf);
		return r ? err_in(e, "%s", files[i].name) : 0;
	}
	return err_set(e, ERR_SHORT, "no tokenizer.json and no tokenizer.model");
}

/* Rows of the embedding that no token has. */
static int fill_up(struct hf_build *b, struct err *e)
{
	struct hf_vocab *v = b->v;
	char name[32];

	for (uint32_t i = 0; i < v->n; i++) {
		if (v->tokens[i].p)
			continue;
		size_t n = (size_t)snprintf(name, sizeof name, "[PAD%u]", i);
		if (hf_keep(b, name, n, &v->tokens[i], e))
			return -1;
		v->types[i] = HF_UNUSED;
		if (v->scores)
			v->scores[i] = HF_SCORE_ADDED;
	}
	return 0;
}

int hf_vocab_open(struct hf_vocab *v, const char *dir, uint32_t vocab_size, int threads,
                  struct err *e)
{
	struct hf_build b = {.v = v, .dir = dir, .ahead = threads > 1};

	memset(v, 0, sizeof *v);
	if (build_init(&b, vocab_size, e) || read_tokens(&b, e) || hf_read_added(&b, e) ||
	    hf_read_settings(&b, e) || fill_up(&b, e)) {
		hf_vocab_close(v);
		return -1;
	}
	return 0;
}

int hf_vocab_parse(struct hf_vocab *v, const char *name, const char *text, size_t n,
                   uint32_t vocab_size, struct err *e)
{
	struct hf_build b = {.v = v};
	size_t i = 0;

	memset(v, 0, sizeof *v);
	while (i + 1 < FILES && strcmp(files[i].name, name))
		i++;
	if (build_init(&b, vocab_size, e) || files[i].read(&b, text, n, e) || fill_up(&b, e)) {
		hf_vocab_close(v);
		return -1;
	}
	return 0;
}

void hf_vocab_close(struct hf_vocab *v)
{
	for (struct hf_chunk *c = v->owned, *next; c; c = next) {
		next = c->next;
		mem_free(c);
	}
	mem_free(v->merges);
	memset(v, 0, sizeof *v);
}

static int write_ids(const struct hf_vocab *v, struct gguf_write *w, struct err *e)
{
	const struct {
		const char *key;
		int64_t id;
	} ids[] = {
	    {KEY "bos_token_id", v->bos},       {KEY "eos_token_id", v->eos},
	    {KEY "eot_token_id", v->eot},       {KEY "unknown_token_id", v->unk},
	    {KEY "seperator_token_id", v->sep}, {KEY "padding_token_id", v->pad},
	    {KEY "mask_token_id", v->mask},
	};

	for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
		if (ids[i].id >= 0 && gguf_write_u32(w, ids[i].key, (uint32_t)ids[i].id, e))
			return -1;
	return 0;
}

static int write_flags(const struct hf_vocab *v, struct gguf_write *w, struct err *e)
{
	if (v->add_bos >= 0 && gguf_write_bool(w, KEY "add_bos_token", v->add_bos, e))
		return -1;
	if (v->add_eos >= 0 && gguf_write_bool(w, KEY "add_eos_token", v->add_eos, e))
		return -1;
	return v->add_space_prefix >= 0
	           ? gguf_write_bool(w, KEY "add_space_prefix", v->add_space_prefix, e)
	           : 0;
}

int hf_vocab_write(const struct hf_vocab *v, struct gguf_write *w, struct err *e)
{
	if (!v->model)
		return 0;
	if (gguf_write_str(w, KEY "model", v->model, strlen(v->model), e) ||
	    (v->pre && gguf_write_str(w, KEY "pre", v->pre, strlen(v->pre), e)) ||
	    gguf_write_strs(w, KEY "tokens", v->tokens, v->n, e) ||
	    (v->scores && gguf_write_numbers(w, KEY "scores", GGUF_F32, 1, v->scores, v->n, e)) ||
	    gguf_write_numbers(w, KEY "token_type", GGUF_I32, 1, v->types, v->n, e) ||
	    (!v->scores && gguf_write_strs(w, KEY "merges", v->merges, v->n_merges, e)) ||
	    write_ids(v, w, e) || write_flags(v, w, e))
		return -1;
	return v->chat_template.n ? gguf_write_str(w, "tokenizer.chat_template", v->chat_template.p,
	                                           v->chat_template.n, e)
	                          : 0;
}
