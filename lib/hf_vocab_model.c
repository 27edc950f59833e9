/*
 * tokenizer.model, which is one of two things.
 *
 * SentencePiece: a protocol buffer, of which we need
 *	ModelProto    1: SentencePiece (many)  2: TrainerSpec  3: NormalizerSpec
 *	SentencePiece 1: piece (bytes)  2: score (float)  3: type (1 to 6 as in GGUF, 1 when absent)
 *	TrainerSpec   3: model_type (2 is BPE)  40..43: ids of unk, bos, eos, pad
 *	NormalizerSpec 3: add_dummy_prefix (true when absent)
 *
 * Ranks (tiktoken): lines "BASE64 RANK", the rank of a token being its id.  The merges of a token
 * are not stored; the pair it is made of is what merging its bytes by lower ranks leaves.
 */
#include <stdio.h>
#include <string.h>

#include "hf_vocab_private.h"
#include "utf8.h"

/* Bytes of a message that are yet to be read. */
struct pb {
	const uint8_t *p, *end;
};

/* One field; bytes for wire type 2, value for the others. */
struct pb_field {
	uint64_t number;
	int wire;
	uint64_t value;
	struct pb bytes;
};

static int pb_varint(struct pb *m, uint64_t *out)
{
	uint64_t x = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (m->p == m->end)
			return -1;
		uint8_t b = *m->p++;
		x |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80)) {
			*out = x;
			return 0;
		}
	}
	return -1;
}

static int pb_fixed(struct pb *m, size_t n, uint64_t *out)
{
	if ((size_t)(m->end - m->p) < n)
		return -1;
	*out = 0;
	for (size_t i = 0; i < n; i++)
		*out |= (uint64_t)m->p[i] << 8 * i;
	m->p += n;
	return 0;
}

static int pb_bytes(struct pb *m, struct pb *out)
{
	uint64_t n;

	if (pb_varint(m, &n) || n > (uint64_t)(m->end - m->p))
		return -1;
	*out = (struct pb){m->p, m->p + n};
	m->p += n;
	return 0;
}

/* 1: a field, 0: the end, -1: broken. */
static int pb_next(struct pb *m, struct pb_field *f)
{
	uint64_t tag;

	if (m->p == m->end)
		return 0;
	if (pb_varint(m, &tag))
		return -1;
	f->number = tag >> 3;
	f->wire = (int)(tag & 7);
	f->value = 0;
	switch (f->wire) {
	case 0:
		return pb_varint(m, &f->value) ? -1 : 1;
	case 1:
		return pb_fixed(m, 8, &f->value) ? -1 : 1;
	case 2:
		return pb_bytes(m, &f->bytes) ? -1 : 1;
	case 5:
		return pb_fixed(m, 4, &f->value) ? -1 : 1;
	default:
		return -1;
	}
}

static int broken(const char *what, struct err *e)
{
	return err_set(e, ERR_TROUBLE, "not a SentencePiece model: %s is broken", what);
}

static int read_piece(struct hf_build *b, uint64_t id, struct pb m, struct err *e)
{
	struct pb piece = {m.p, m.p};
	uint64_t type = HF_NORMAL;
	float score = 0;
	struct pb_field f;
	int r;

	while ((r = pb_next(&m, &f)) > 0) {
		uint32_t bits = (uint32_t)f.value;
		if (f.number == 1 && f.wire == 2)
			piece = f.bytes;
		else if (f.number == 2 && f.wire == 5)
			memcpy(&score, &bits, sizeof score);
		else if (f.number == 3 && f.wire == 0)
			type = f.value;
	}
	if (r)
		return broken("a piece", e);
	if (type < HF_NORMAL || type > HF_BYTE || score != score)
		return err_set(e, ERR_TROUBLE, "piece %llu: type %llu, score %g",
		               (unsigned long long)id, (unsigned long long)type, (double)score);
	if (hf_set(b, id, (const char *)piece.p, (size_t)(piece.end - piece.p), (enum hf_type)type,
	           e))
		return -1;
	b->v->scores[id] = score;
	return 0;
}

static void set_id(const struct hf_build *b, int64_t *to, uint64_t id)
{
	*to = id < b->cap ? (int64_t)id : -1; /* -1 is written as 2^64 - 1 */
}

static int read_trainer(struct hf_build *b, struct pb m, struct err *e)
{
	struct pb_field f;
	int r;

	while ((r = pb_next(&m, &f)) > 0) {
		if (f.wire != 0)
			continue;
		if (f.number == 3 && f.value != 2)
			return err_unsupported(
			    e, "model type %llu is not supported (supported: 2, BPE)",
			    (unsigned long long)f.value);
		if (f.number == 40)
			set_id(b, &b->v->unk, f.value);
		if (f.number == 41)
			set_id(b, &b->v->bos, f.value);
		if (f.number == 42)
			set_id(b, &b->v->eos, f.value);
		if (f.number == 43)
			set_id(b, &b->v->pad, f.value);
	}
	return r ? broken("the trainer's part", e) : 0;
}

static int read_normalizer(struct hf_build *b, struct pb m, struct err *e)
{
	struct pb_field f;
	int r;

	while ((r = pb_next(&m, &f)) > 0)
		if (f.number == 3 && f.wire == 0)
			b->v->add_space_prefix = f.value != 0;
	return r ? broken("the normalizer's part", e) : 0;
}

int hf_read_sentencepiece(struct hf_build *b, const char *p, size_t n, struct err *e)
{
	struct pb m = {(const uint8_t *)p, (const uint8_t *)p + n};
	struct pb_field f;
	uint64_t id = 0;
	int r;

	if (hf_use_scores(b, e))
		return -1;
	b->v->model = "llama";
	b->v->pre = "default";
	b->v->add_space_prefix = 1;
	while ((r = pb_next(&m, &f)) > 0) {
		if (f.wire != 2)
			continue;
		if (f.number == 1 && read_piece(b, id++, f.bytes, e))
			return -1;
		if (f.number == 2 && read_trainer(b, f.bytes, e))
			return -1;
		if (f.number == 3 && read_normalizer(b, f.bytes, e))
			return -1;
	}
	return r ? broken("a field", e) : 0;
}

static int sextet(char c)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *d = c ? strchr(digits, c) : NULL;

	return d ? (int)(d - digits) : -1;
}

/* Longer tokens do not exist, and deriving merges takes the square of a token's bytes. */
#define TOKEN_MAX 512

/* Decodes base64; -1 when it is none or longer than a token can be. */
static int decode64(const char *p, size_t n, uint8_t *out)
{
	size_t len = 0;
	uint32_t bits = 0;
	int have = 0;

	while (n && p[n - 1] == '=')
		n--;
	if (n % 4 == 1 || n / 4 * 3 >= TOKEN_MAX)
		return -1;
	for (size_t i = 0; i < n; i++) {
		int x = sextet(p[i]);
		if (x < 0)
			return -1;
		bits = bits << 6 | (uint32_t)x;
		if ((have += 6) >= 8)
			out[len++] = (uint8_t)(bits >> (have -= 8));
	}
	return (int)len;
}

/* Bytes as the printable characters that stand for them in pieces. */
static size_t letters(const uint8_t *p, size_t n, char *out)
{
	char *o = out;

	for (size_t i = 0; i < n; i++) {
		uint32_t b = p[i], c = b;
		if (b <= 0x20)
			c = 0x100 + b;
		else if (b >= 0x7f && b <= 0xa0)
			c = 0x121 + b - 0x7f;
		else if (b == 0xad)
			c = 0x143;
		o += utf8_encode(c, o);
	}
	return (size_t)(o - out);
}

/* "BASE64 RANK\n" */
static int read_rank(struct hf_build *b, const char *line, size_t n, uint64_t expected,
                     struct err *e)
{
	const char *space = memchr(line, ' ', n);
	uint8_t bytes[TOKEN_MAX];
	char piece[2 * TOKEN_MAX];
	uint64_t rank = 0;
	int len = space ? decode64(line, (size_t)(space - line), bytes) : -1;

	for (const char *d = space ? space + 1 : line; space && d < line + n; d++) {
		if (*d < '0' || *d > '9' || rank > HF_VOCAB_MAX)
			len = -1;
		rank = rank * 10 + (uint64_t)(*d - '0');
	}
	if (len <= 0)
		return err_set(e, ERR_TROUBLE, "line %llu is not a rank file's",
		               (unsigned long long)expected + 1);
	if (rank != expected)
		return err_set(e, ERR_TROUBLE, "line %llu has rank %llu, expected %llu",
		               (unsigned long long)expected + 1, (unsigned long long)rank,
		               (unsigned long long)expected);
	return hf_set(b, rank, piece, letters(bytes, (size_t)len, piece), HF_NORMAL, e);
}

/* Merges the characters of a piece by ranks below its own until nothing can be merged; at[] are
 * where the parts begin, at[n] the end.  Returns n. */
static size_t merge_below(const struct hf_build *b, struct gguf_str s, uint32_t rank,
                          size_t at[TOKEN_MAX + 1])
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i += utf8_decode(s.p + i, s.n - i, NULL))
		at[n++] = i;
	at[n] = s.n;
	for (;;) {
		int64_t best = rank;
		size_t where = 0;
		for (size_t i = 0; i + 1 < n; i++) {
			int64_t id = hf_find(b, s.p + at[i], at[i + 2] - at[i]);
			if (id >= 0 && id < best) {
				best = id;
				where = i;
			}
		}
		if (best == rank)
			return n;
		memmove(at + where + 1, at + where + 2, (n - where - 1) * sizeof *at);
		n--;
	}
}

/* Tokens that do not come down to two parts have no merge: they are found whole or not at all. */
static int derive_merges(struct hf_build *b, uint32_t ranks, struct err *e)
{
	size_t at[TOKEN_MAX + 1];

	for (uint32_t i = 0; i < ranks; i++) {
		struct gguf_str s = b->v->tokens[i];
		if (merge_below(b, s, i, at) == 2 &&
		    hf_add_merge(b, s.p, at[1], s.p + at[1], s.n - at[1], e))
			return -1;
	}
	return 0;
}

/* The special tokens of Llama 3 stand in its program, not in its file. */
static int add_llama3(struct hf_build *b, struct err *e)
{
	static const struct {
		uint32_t id;
		const char *piece;
	} named[] = {
	    {128000, "<|begin_of_text|>"},   {128001, "<|end_of_text|>"},
	    {128006, "<|start_header_id|>"}, {128007, "<|end_header_id|>"},
	    {128009, "<|eot_id|>"},
	};
	unsigned reserved = 0;
	char name[48];

	for (uint32_t id = 128000; id < 128256; id++) {
		size_t k = 0, n;
		while (k < sizeof named / sizeof named[0] && named[k].id != id)
			k++;
		n = k < sizeof named / sizeof named[0]
		        ? (size_t)snprintf(name, sizeof name, "%s", named[k].piece)
		        : (size_t)snprintf(name, sizeof name, "<|reserved_special_token_%u|>",
		                           reserved++);
		if (hf_set(b, id, name, n, HF_CONTROL, e))
			return -1;
	}
	b->v->bos = 128000;
	b->v->eos = 128001;
	b->v->add_bos = 1;
	return 0;
}

int hf_read_tiktoken(struct hf_build *b, const char *p, size_t n, struct err *e)
{
	const char *end = p + n;
	uint32_t ranks = 0;

	b->v->model = "gpt2";
	b->v->pre = "llama-bpe";
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = (size_t)((nl ? nl : end) - p);
		if (len && read_rank(b, p, len, ranks++, e))
			return -1;
		p += len + (nl != NULL);
	}
	if (ranks != 128000)
		return err_unsupported(
		    e,
		    "%u ranks; only the file of Llama 3 (128000) says all that is "
		    "needed",
		    ranks);
	return add_llama3(b, e) || derive_merges(b, ranks, e) ? -1 : 0;
}
