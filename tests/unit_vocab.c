/*
 * The tokenizer: vectors of four published vocabularies (where they are at hand), small
 * vocabularies made here and compared with a plain quadratic merge, hostile ones, and texts that
 * are long in unpleasant ways.
 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "fail_alloc.h"
#include "gguf_build.h"
#include "io.h"
#include "unit.h"
#include "utf8.h"
#include "vocab.h"
#include "vocab_private.h"

#define KEY "tokenizer.ggml."

/* A vocabulary being described; all-zero is empty. */
struct words {
	const char *piece[700];
	size_t bytes[700]; /* of the piece */
	int32_t type[700];
	float score[700];
	uint32_t n;
	const char *merge[64];
	uint32_t n_merges;
	char letters[256][3];
};

static int32_t add_n(struct words *w, const char *piece, size_t n, int32_t type, float score)
{
	w->piece[w->n] = piece;
	w->bytes[w->n] = n;
	w->type[w->n] = type;
	w->score[w->n] = score;
	return (int32_t)w->n++;
}

static int32_t add(struct words *w, const char *piece, int32_t type, float score)
{
	return add_n(w, piece, strlen(piece), type, score);
}

/* All bytes in their printable form, id = byte. */
static void add_letters(struct words *w)
{
	uint32_t next = 0x100;

	for (unsigned b = 0; b < 256; b++) {
		int plain = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
		char utf8[4];
		size_t n = utf8_encode(plain ? b : next++, utf8);
		memcpy(w->letters[b], utf8, n);
		add_n(w, w->letters[b], n, 1, 0);
	}
}

/* A merge and the token that it gives. */
static int32_t add_merge(struct words *w, const char *merge, char *piece)
{
	const char *space = strchr(merge, ' ');

	w->merge[w->n_merges++] = merge;
	sprintf(piece, "%.*s%s", (int)(space - merge), merge, space + 1);
	return add(w, piece, 1, 0);
}

static void build_words(struct build *b, const struct words *w, const char *model)
{
	build_str(b, KEY "model", model);
	build_array(b, KEY "tokens", GGUF_STRING, w->n);
	for (uint32_t i = 0; i < w->n; i++)
		build_string(b, w->piece[i], w->bytes[i]);
	build_array(b, KEY "token_type", GGUF_I32, w->n);
	build_bytes(b, w->type, w->n * sizeof w->type[0]);
	if (!strcmp(model, "llama")) {
		build_array(b, KEY "scores", GGUF_F32, w->n);
		build_bytes(b, w->score, w->n * sizeof w->score[0]);
	} else {
		build_array(b, KEY "merges", GGUF_STRING, w->n_merges);
		for (uint32_t i = 0; i < w->n_merges; i++)
			build_string(b, w->merge[i], strlen(w->merge[i]));
	}
}

struct open {
	struct build b;
	struct gguf g;
	struct vocab *v;
	struct err e;
};

/* Opens what has been built; 0, or -1 with o->e set and everything closed. */
static int open_built(struct open *o, const char *pre)
{
	memset(&o->e, 0, sizeof o->e);
	o->v = NULL;
	if (build_open(&o->b, &o->g, &o->e)) {
		build_free(&o->b);
		return -1;
	}
	if (!vocab_open(&o->v, &o->g, pre, &o->e))
		return 0;
	gguf_close(&o->g);
	build_free(&o->b);
	return -1;
}

static void close_built(struct open *o)
{
	vocab_close(o->v);
	gguf_close(&o->g);
	build_free(&o->b);
}

static struct ids encode(const struct vocab *v, const char *p, size_t n, int special, int bos)
{
	struct vocab_text text = {p, n, special};
	struct ids l = {NULL, 0, 0};
	struct err e = {0};

	CHECK_INT(vocab_encode(v, &text, 1, bos, &l, &e), 0);
	CHECK_STR(e.text, "");
	return l;
}

/* Ids as text, for comparisons that read well. */
static const char *show(const struct ids *l)
{
	static char out[4096];
	size_t at = 0;

	out[0] = 0;
	for (size_t i = 0; i < l->n && at < sizeof out - 16; i++)
		at += (size_t)sprintf(out + at, "%s%d", i ? " " : "", l->v[i]);
	return out;
}

static void check_ids(const struct vocab *v, const char *text, int special, int bos,
                      const char *want)
{
	struct ids l = encode(v, text, strlen(text), special, bos);

	CHECK_STR(show(&l), want);
	ids_free(&l);
}

static char *decode(const struct vocab *v, const struct ids *l, int special, size_t *n)
{
	char *out = malloc(l->n * vocab_longest(v) + 1), *p = out;

	for (size_t i = 0; i < l->n; i++)
		p += vocab_decode(v, l->v[i], special, p, vocab_longest(v));
	*n = (size_t)(p - out);
	return out;
}

static void check_round_trip(const struct vocab *v, const char *p, size_t n)
{
	struct ids l = encode(v, p, n, 0, 0);
	size_t m, skip;
	char *back = decode(v, &l, 0, &m);

	skip = vocab_strips_space(v) && n ? 1 : 0;
	CHECK_INT(m, n + skip);
	CHECK(m == n + skip && !memcmp(back + skip, p, n));
	free(back);
	ids_free(&l);
}

static uint32_t rnd_state = 1;

static uint32_t rnd(uint32_t below)
{
	rnd_state = rnd_state * 1664525 + 1013904223;
	return (rnd_state >> 8) % below;
}

/* Small byte-level vocabulary: merges, a control token, a user's token.  The strings live in
 * w and pieces. */
static const char *const merges[] = {"a b",  "b a",        "ab ab",          "a a",   "aa a", "b b",
                                     "ab b", "\xc4\xa0 a", "\xc4\xa0\x61 b", "abab a"};
static char pieces[64][32];

static int32_t describe_bpe(struct words *w)
{
	add_letters(w);
	for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++)
		add_merge(w, merges[i], pieces[i]);
	int32_t bos = add(w, "<|bos|>", 3, 0);
	add(w, "<|eot_id|>", 3, 0);
	add(w, "user", 4, 0);
	add(w, "<|bos|>x", 3, 0);
	add(w, "[PAD270]", 5, 0);
	return bos;
}

static void open_bpe(struct open *o, const char *pre)
{
	struct words *w = calloc(1, sizeof *w);
	int32_t bos = describe_bpe(w);

	memset(o, 0, sizeof *o);
	build_words(&o->b, w, "gpt2");
	build_num(&o->b, KEY "bos_token_id", (uint32_t)bos);
	build_num(&o->b, KEY "eos_token_id", 5000);
	build_bool(&o->b, KEY "add_bos_token", 1);
	if (pre)
		build_str(&o->b, KEY "pre", pre);
	CHECK_INT(open_built(o, NULL), 0);
	CHECK_STR(o->e.text, "");
	free(w);
}

#define MARK "\xe2\x96\x81"
static const char *const spm_pieces[] = {MARK,  "a",         "b",  "ab",        (MARK "a"), "ba",
                                         "aba", (MARK MARK), "bb", (MARK "ab"), "abb"};
static char spm_bytes[256][8];

static void open_spm(struct open *o, int space_prefix, int over)
{
	struct words *w = calloc(1, sizeof *w);

	memset(o, 0, sizeof *o);
	add(w, "<unk>", 2, 0);
	add(w, "<s>", 3, 0);
	add(w, "</s>", 3, 0);
	for (unsigned b = 0; b < 256; b++) {
		sprintf(spm_bytes[b], "<0x%02X>", b);
		add(w, spm_bytes[b], 6, 0);
	}
	for (size_t i = 0; i < sizeof spm_pieces / sizeof spm_pieces[0]; i++)
		add(w, spm_pieces[i], 1, i < 3 ? -100.0f : -(float)((i * 5) % 7));
	if (over)
		add(w, "b\xe2\x96\x81", 1, 3);
	build_words(&o->b, w, "llama");
	build_bool(&o->b, KEY "add_space_prefix", space_prefix);
	CHECK_INT(open_built(o, NULL), 0);
	CHECK_STR(o->e.text, "");
	free(w);
}

/* The definition: the best pair of neighbours becomes one until there is none. */
struct naive {
	size_t at[600], n; /* where each symbol begins; at[n] is the end */
};

static uint32_t naive_order(const struct open *o, const char *p, size_t a, size_t m, size_t b)
{
	char key[600];

	if (o->v->kind == VOCAB_SPM) {
		int32_t id = vocab_find(o->v, p + a, b - a);
		int type;
		vocab_piece(o->v, id, &type);
		return id < 0 || type != 1 ? UINT32_MAX : (uint32_t)(1000 - (int)o->v->score[id]);
	}
	size_t n = (size_t)sprintf(key, "%.*s %.*s", (int)(m - a), p + a, (int)(b - m), p + m);
	for (uint32_t i = 0; i < o->v->merge.n; i++)
		if (vocab_string(&o->v->merge, i).n == n &&
		    !memcmp(vocab_string(&o->v->merge, i).p, key, n))
			return i;
	return UINT32_MAX;
}

static void naive_merge(const struct open *o, const char *p, struct naive *s)
{
	for (;;) {
		uint32_t best = UINT32_MAX;
		size_t at = 0;
		for (size_t i = 0; i + 1 < s->n; i++) {
			uint32_t order = naive_order(o, p, s->at[i], s->at[i + 1], s->at[i + 2]);
			if (order < best) {
				best = order;
				at = i;
			}
		}
		if (best == UINT32_MAX)
			return;
		memmove(s->at + at + 1, s->at + at + 2, (s->n - at - 1) * sizeof s->at[0]);
		s->n--;
	}
}

/* One word of letters that stand for themselves (and, for SentencePiece, marks). */
static void check_naive(const struct open *o, const char *p, size_t n, const struct ids *got)
{
	struct naive s = {{0}, 0};
	struct ids want = {NULL, 0, 0};

	for (size_t i = 0; i < n; i += utf8_decode(p + i, n - i, NULL))
		s.at[s.n++] = i;
	s.at[s.n] = n;
	naive_merge(o, p, &s);
	for (size_t i = 0; i < s.n; i++)
		ids_push(&want, vocab_find(o->v, p + s.at[i], s.at[i + 1] - s.at[i]), NULL);
	CHECK_INT(got->n, want.n);
	CHECK(got->n == want.n && !memcmp(got->v, want.v, want.n * sizeof *want.v));
	ids_free(&want);
}

static void bpe_merges_as_defined(void)
{
	struct open o;
	char text[200];

	open_bpe(&o, "gpt-2");
	for (int round = 0; round < 300; round++) {
		size_t n = 1 + rnd(sizeof text - 1);
		for (size_t i = 0; i < n; i++)
			text[i] = "aabbc"[rnd(5)];
		struct ids l = encode(o.v, text, n, 0, 0);
		check_naive(&o, text, n, &l);
		ids_free(&l);
	}
	close_built(&o);
}

static size_t marked(char *out, const char *p, size_t n)
{
	char *q = out;

	for (size_t i = 0; i < n; i++)
		q = p[i] == ' ' ? mempcpy(q, "\xe2\x96\x81", 3) : mempcpy(q, p + i, 1);
	return (size_t)(q - out);
}

/* With and without a piece that goes over the beginning of a word, which decides whether words are
 * merged one by one. */
static void spm_merges_as_defined(void)
{
	struct open o;
	char text[150], word[450];

	for (int over = 0; over < 2; over++) {
		open_spm(&o, 0, over);
		CHECK_INT(o.v->words_apart, !over);
		for (int round = 0; round < 300; round++) {
			size_t n = 1 + rnd(sizeof text - 1);
			for (size_t i = 0; i < n; i++)
				text[i] = "aabb "[rnd(5)];
			struct ids l = encode(o.v, text, n, 0, 0);
			check_naive(&o, word, marked(word, text, n), &l);
			ids_free(&l);
		}
		close_built(&o);
	}
}

static void every_byte_comes_back(void)
{
	static const char *const pre[] = {"llama-bpe", "dbrx",      "qwen2",  "qwen35",
	                                  "gpt-2",     "starcoder", "falcon", "default"};
	struct open o;
	char text[256];

	for (size_t k = 0; k <= sizeof pre / sizeof pre[0]; k++) {
		if (k < sizeof pre / sizeof pre[0])
			open_bpe(&o, pre[k]);
		else
			open_spm(&o, 1, 0);
		for (unsigned b = 0; b < 256; b++) {
			text[0] = (char)b;
			check_round_trip(o.v, text, 1);
		}
		for (int round = 0; round < 100; round++) {
			size_t n = rnd(sizeof text);
			for (size_t i = 0; i < n; i++)
				text[i] =
				    round & 1 ? (char)rnd(256) : "a \n1\xc3\xa9'.\xff\xe2"[rnd(11)];
			check_round_trip(o.v, text, n);
		}
		close_built(&o);
	}
}

/* The words of a pre-tokenizer, separated by bars. */
struct cutter {
	const char *text;
	char out[256];
	size_t n;
};

static int cut_word(void *arg, size_t at, size_t n)
{
	struct cutter *c = arg;

	if (c->n)
		c->out[c->n++] = '|';
	memcpy(c->out + c->n, c->text + at, n);
	c->n += n;
	c->out[c->n] = 0;
	return 0;
}

static void check_words(const char *pre, const char *text, const char *want)
{
	void *block = aligned_alloc(64, PRETOK_BYTES);
	struct cutter c = {text, "", 0};
	struct pretok *p;
	struct err e = {0};

	CHECK_INT(pretok_open(&p, pretok_find(pre, strlen(pre)), block, &e), 0);
	CHECK_INT(pretok_split(p, text, strlen(text), cut_word, &c, &e), 0);
	CHECK_STR(c.out, want);
	CHECK_STR(e.text, "");
	pretok_close(p);
	free(block);
}

static void pre_tokenizers_cut_words(void)
{
	check_words("llama3", "I'LL pay 12345 for it!\n\n x",
	            "I|'LL| pay| |123|45| for| it|!\n\n| x");
	check_words("qwen2", "Hello  world 123\n\n x", "Hello| | world| |1|2|3|\n\n| x");
	check_words("gpt-2", "I'll  pay'LL 123  ", "I|'ll| | pay|'|LL| 123|  ");
	check_words("starcoder", "a12 b", "a|1|2| b");
	check_words("falcon", "a.b `12345`", "a|.|b| |`|123|45|`");
	check_words("default", "a`b 12345", "a|`|b| |123|45");
	/* A combining mark is a letter to qwen35 alone. */
	check_words("qwen2",
	            "a\xcc\x81"
	            "b",
	            "a|\xcc\x81"
	            "b");
	check_words("qwen35",
	            "a\xcc\x81"
	            "b",
	            "a\xcc\x81"
	            "b");
	/* U+180E is no white space, U+3000 is. */
	check_words("gpt-2", "\xe1\xa0\x8e!", "\xe1\xa0\x8e!");
	check_words("gpt-2", "\xe3\x80\x80!", "\xe3\x80\x80|!");
	/* Bytes outside of characters are neither letters nor spaces. */
	check_words("gpt-2", "a\xff!\xc3 \xe2\x82z", "a|\xff!\xc3| \xe2\x82|z");
	check_words("llama-bpe", "", "");
}

static void special_tokens_only_where_asked(void)
{
	struct open o;
	struct ids l = {NULL, 0, 0};

	open_bpe(&o, "gpt-2");
	/* 266 <|bos|>, 267 <|eot_id|>, 268 user, 269 <|bos|>x, 270 pad */
	check_ids(o.v, "<|bos|>a<|eot_id|>", 1, 0, "266 97 267");
	check_ids(o.v, "<|bos|>xa", 1, 0, "269 97");
	check_ids(o.v, "<|bos|>", 0, 0, "60 124 98 111 115 124 62");
	check_ids(o.v, "auser<|bos|>", 0, 0, "97 268 60 124 98 111 115 124 62");
	check_ids(o.v, "", 0, 1, "266");
	check_ids(o.v, "a", 0, 1, "266 97");
	check_ids(o.v, "[PAD270]", 1, 0, "91 80 65 68 50 55 48 93");
	/* Between special tokens pieces are one text, and a token may not reach from one into the
	 * text of a user. */
	struct vocab_text text[] = {{"<|bos|>a", 8, 1}, {"b<|eot", 6, 0}, {"_id|>", 5, 1},
	                            {"<|eot_", 6, 1},   {"id|>", 4, 1},   {NULL, 0, 0},
	                            {"us", 2, 0},       {"er", 2, 1}};
	CHECK_INT(vocab_encode(o.v, text, 8, 0, &l, &o.e), 0);
	CHECK_STR(show(&l), "266 256 60 124 101 111 116 95 105 100 124 62 267 268");
	ids_free(&l);
	close_built(&o);
}

static void spm_prefix_bytes_and_specials(void)
{
	struct open o;

	/* bytes are 3 + b; 259 mark, 260 a, 261 b, 262 ab, 263 mark a, 268 mark ab */
	open_spm(&o, 1, 0);
	check_ids(o.v, "", 0, 1, "1");
	check_ids(o.v, "a", 0, 1, "1 263");
	check_ids(o.v, "a<s>a", 1, 0, "263 1 263");
	/* what looks like a control token or a byte stays text */
	check_ids(o.v, "<s>", 0, 0, "259 63 118 65");
	check_ids(o.v, "<0x41>", 0, 0, "259 63 51 123 55 52 65");
	check_ids(o.v, "\xc3\xa9\xff", 0, 0, "259 198 172 258");
	CHECK(vocab_strips_space(o.v));
	CHECK_INT(vocab_bos(o.v), 1);
	CHECK_INT(vocab_eos(o.v), 2);
	CHECK(vocab_adds_bos(o.v));
	CHECK_STR(vocab_pre(o.v), "");
	close_built(&o);
	open_spm(&o, 0, 0);
	check_ids(o.v, "a a", 0, 0, "260 263");
	CHECK(!vocab_strips_space(o.v));
	close_built(&o);
}

static void decoding_by_type(void)
{
	struct open o;
	char out[16] = "................";
	int type;

	open_bpe(&o, "gpt-2");
	CHECK_INT(vocab_decode(o.v, 266, 0, out, sizeof out), 0);
	CHECK_INT(vocab_decode(o.v, 266, 1, out, sizeof out), 7);
	CHECK(!memcmp(out, "<|bos|>.", 8));
	CHECK_INT(vocab_decode(o.v, 268, 0, out, sizeof out), 4);
	CHECK(!memcmp(out, "users|>", 7));
	CHECK_INT(vocab_decode(o.v, 270, 1, out, sizeof out), 0);
	CHECK_INT(vocab_decode(o.v, 264, 0, out, sizeof out), 3);
	CHECK(!memcmp(out, " abr", 4));
	CHECK_INT(vocab_decode(o.v, -1, 1, out, sizeof out), 0);
	CHECK_INT(vocab_decode(o.v, 271, 1, out, sizeof out), 0);
	/* a buffer too small is filled, and the length is still told */
	CHECK_INT(vocab_decode(o.v, 264, 0, out, 1), 3);
	CHECK_INT(vocab_longest(o.v), 10);
	CHECK_INT(vocab_size(o.v), 271);
	CHECK_INT(vocab_piece(o.v, 264, &type).n, 4);
	CHECK_INT(type, 1);
	CHECK_INT(vocab_piece(o.v, 271, &type).n, 0);
	CHECK_INT(type, 0);
	CHECK_INT(vocab_find(o.v, "<|eot_id|>", 10), 267);
	CHECK_INT(vocab_find(o.v, "<|eot_id|", 9), -1);
	close_built(&o);
}

/* What a writer of a stream does: whole characters only, whatever the tokens' borders. */
static void streams_hold_back_parts_of_characters(void)
{
	static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80!";
	struct open o;
	char held[32];
	size_t n = 0, written = 0;

	open_bpe(&o, "gpt-2");
	struct ids l = encode(o.v, text, strlen(text), 0, 0);
	CHECK_INT(l.n, strlen(text));
	for (size_t i = 0; i < l.n; i++) {
		n += vocab_decode(o.v, l.v[i], 0, held + n, sizeof held - n);
		size_t ready = n - utf8_held(held, n);
		CHECK_INT(utf8_check(held, ready), ready);
		CHECK(!memcmp(held, text + written, ready));
		written += ready;
		memmove(held, held + ready, n - ready);
		n -= ready;
	}
	CHECK_INT(n, 0);
	CHECK_INT(written, strlen(text));
	ids_free(&l);
	close_built(&o);
}

static void utf8_is_strict(void)
{
	uint32_t c;
	char out[4];

	CHECK_INT(utf8_decode("\xf0\x9f\x98\x80", 4, &c), 4);
	CHECK_INT(c, 0x1f600);
	for (c = 0; c < 0x110000; c += c < 0x900 ? 1 : 251) {
		uint32_t back = 0;
		size_t n = utf8_encode(c, out);
		if (c >= 0xd800 && c < 0xe000)
			CHECK_INT(utf8_decode(out, n, &back), 0);
		else
			CHECK(utf8_decode(out, n, &back) == n && back == c);
	}
	CHECK_INT(utf8_decode("\xc0\x80", 2, &c), 0);
	CHECK_INT(utf8_decode("\xe0\x9f\xbf", 3, &c), 0);
	CHECK_INT(utf8_decode("\xf4\x90\x80\x80", 4, &c), 0);
	CHECK_INT(utf8_decode("\xe2\x82", 2, &c), 0);
	CHECK_INT(utf8_decode("", 0, &c), 0);
	CHECK_INT(utf8_check("abcdefgh\xc3\xa9\xff", 11), 10);
	CHECK_INT(utf8_held("a\xe2\x82", 3), 2);
	CHECK_INT(utf8_held("a\xf0\x9f\x98", 4), 3);
	CHECK_INT(utf8_held("a\xc3\xa9", 3), 0);
	CHECK_INT(utf8_held("a\x82\x82", 3), 0);
	CHECK_INT(utf8_held("\xed\xa0", 2), 0); /* a surrogate will never be complete */
}

static void ends_of_generation(void)
{
	struct open o;

	open_bpe(&o, "gpt-2");
	CHECK_INT(vocab_eos(o.v), -1); /* 5000 is no token */
	CHECK(vocab_is_end(o.v, 267)); /* <|eot_id|> by its text */
	CHECK(!vocab_is_end(o.v, 266));
	CHECK(!vocab_is_end(o.v, -1));
	close_built(&o);
}

/* The plan is what is taken, to the byte. */
static void plan_is_exact(void)
{
	struct open o;
	uint64_t bytes;

	open_bpe(&o, "falcon");
	CHECK_INT(vocab_plan(&o.g, &bytes, NULL), 0);
	CHECK_INT(o.v->arena.size, bytes);
	CHECK_INT(o.v->arena.used, bytes);
	close_built(&o);
	open_spm(&o, 1, 0);
	CHECK_INT(vocab_plan(&o.g, &bytes, NULL), 0);
	CHECK_INT(o.v->arena.size, bytes);
	CHECK_INT(o.v->arena.used, bytes);
	close_built(&o);
	build_str(&o.b, "general.architecture", "llama");
	CHECK_INT(build_open(&o.b, &o.g, NULL), 0);
	CHECK_INT(vocab_plan(&o.g, &bytes, NULL), 0);
	CHECK_INT(bytes, 0);
	CHECK_INT(vocab_open(&o.v, &o.g, NULL, &o.e), -1);
	CHECK_INT(o.e.status, ERR_TROUBLE);
	CHECK_STR(o.e.text, "no tokenizer (tokenizer.ggml.model is missing)");
	gguf_close(&o.g);
	build_free(&o.b);
}

static void pre_tokenizer_is_chosen(void)
{
	struct words *w = calloc(1, sizeof *w);
	struct open o;

	open_bpe(&o, "falcon3");
	CHECK_STR(vocab_pre(o.v), "falcon3");
	CHECK(o.v->pre->ignore_merges);
	close_built(&o);
	open_bpe(&o, NULL);
	CHECK_STR(vocab_pre(o.v), "default");
	close_built(&o);
	describe_bpe(w);
	memset(&o, 0, sizeof o);
	build_words(&o.b, w, "gpt2");
	build_str(&o.b, KEY "pre", "no-such");
	CHECK_INT(open_built(&o, NULL), -1);
	CHECK_STR(o.e.text, "pre-tokenizer 'no-such' is not supported (supported: llama-bpe, dbrx, "
	                    "qwen2, qwen35, gpt-2, starcoder, falcon, default)");
	build_words(&o.b, w, "gpt2");
	build_str(&o.b, KEY "pre", "no-such");
	CHECK_INT(open_built(&o, "qwen2"), 0);
	CHECK_STR(vocab_pre(o.v), "qwen2");
	CHECK(!vocab_adds_bos(o.v));
	close_built(&o);
	free(w);
}

/* A file of Llama 3's size that does not name its pre-tokenizer, as the first published one. */
static void llama3_without_pre(void)
{
	struct open o;
	char piece[32];

	memset(&o, 0, sizeof o);
	build_str(&o.b, KEY "model", "gpt2");
	build_array(&o.b, KEY "tokens", GGUF_STRING, 128256);
	for (int i = 0; i < 128256; i++)
		build_string(&o.b, piece, (size_t)sprintf(piece, "t%d", i));
	build_array(&o.b, KEY "merges", GGUF_STRING, 1);
	build_string(&o.b, "t 1", 3);
	CHECK_INT(open_built(&o, NULL), 0);
	CHECK_STR(vocab_pre(o.v), "llama-bpe");
	check_ids(o.v, "t77", 0, 0, ""); /* R1 cuts "t" off "77" */
	close_built(&o);
}

static void ignore_merges_takes_whole_words(void)
{
	struct words *w = calloc(1, sizeof *w);
	struct open o;

	add_letters(w);
	add(w, "abc", 1, 0); /* 256: no merge leads here */
	add(w, "ctl", 3, 0); /* 257: nor does plain text */
	add_merge(w, "a b", pieces[0]);
	for (int whole = 0; whole < 2; whole++) {
		memset(&o, 0, sizeof o);
		build_words(&o.b, w, "gpt2");
		CHECK_INT(open_built(&o, whole ? "llama-bpe" : "dbrx"), 0);
		check_ids(o.v, "abc", 0, 0, whole ? "256" : "258 99");
		check_ids(o.v, "ctl", 0, 0, "99 116 108");
		close_built(&o);
	}
	free(w);
}

/* Of two tokens with one piece the first is found; a merge whose result is no token gives its
 * letters. */
static void odd_vocabularies(void)
{
	struct words *w = calloc(1, sizeof *w);
	struct open o;

	add_letters(w);
	add_merge(w, "a b", pieces[0]); /* 256 */
	add(w, "ab", 1, 0);             /* 257 */
	w->merge[w->n_merges++] = "c d";
	w->merge[w->n_merges++] = "a b";
	memset(&o, 0, sizeof o);
	build_words(&o.b, w, "gpt2");
	CHECK_INT(open_built(&o, "gpt-2"), 0);
	check_ids(o.v, "abcd", 0, 0, "256 99 100");
	close_built(&o);
	free(w);
}

static void expect_refusal(struct open *o, const char *text)
{
	CHECK_INT(open_built(o, NULL), -1);
	CHECK_INT(o->e.status, ERR_TROUBLE);
	CHECK_STR(o->e.text, text);
}

static void refuses_contradictions(void)
{
	struct words *w = calloc(1, sizeof *w);
	struct open o;
	float nan = 0.0f / 0.0f;

	memset(&o, 0, sizeof o);
	build_str(&o.b, KEY "model", "bert");
	expect_refusal(&o, "tokenizer 'bert' is not supported (supported: gpt2, llama)");
	build_str(&o.b, KEY "model", "gpt2");
	expect_refusal(&o, KEY "tokens: missing");
	build_str(&o.b, KEY "model", "gpt2");
	build_array(&o.b, KEY "tokens", GGUF_STRING, 0);
	expect_refusal(&o, KEY "tokens: empty");
	build_str(&o.b, KEY "model", "gpt2");
	build_str(&o.b, KEY "tokens", "a");
	expect_refusal(&o, KEY "tokens: not an array of strings");
	add(w, "a", 1, 0);
	build_words(&o.b, w, "gpt2");
	CHECK_INT(open_built(&o, NULL), 0); /* no merges: characters one by one */
	close_built(&o);
	build_str(&o.b, KEY "model", "gpt2");
	build_array(&o.b, KEY "tokens", GGUF_STRING, 1);
	build_string(&o.b, "a", 1);
	expect_refusal(&o, KEY "merges: missing");
	w->merge[w->n_merges++] = "a a";
	w->merge[w->n_merges++] = "aa";
	build_words(&o.b, w, "gpt2");
	expect_refusal(&o, KEY "merges: merge 1 is not two pieces with a space between");
	w->merge[1] = "a ";
	build_words(&o.b, w, "gpt2");
	expect_refusal(&o, KEY "merges: merge 1 is not two pieces with a space between");
	w->type[0] = 7;
	build_words(&o.b, w, "gpt2");
	expect_refusal(&o, KEY "token_type: token 0 has type 7, not 1 to 6");
	w->type[0] = 1;
	w->score[0] = nan;
	build_words(&o.b, w, "llama");
	expect_refusal(&o, KEY "scores: that of token 0 is not a number");
	build_str(&o.b, KEY "model", "llama");
	build_array(&o.b, KEY "tokens", GGUF_STRING, 1);
	build_string(&o.b, "a", 1);
	build_array(&o.b, KEY "scores", GGUF_F32, 2);
	build_u64(&o.b, 0);
	expect_refusal(&o, KEY "scores: 2 elements for 1 tokens");
	build_str(&o.b, KEY "model", "llama");
	build_array(&o.b, KEY "tokens", GGUF_STRING, 1);
	build_string(&o.b, "a", 1);
	expect_refusal(&o, KEY "scores: missing");
	build_str(&o.b, KEY "model", "llama");
	build_array(&o.b, KEY "tokens", GGUF_STRING, 1);
	build_string(&o.b, "a", 1);
	build_str(&o.b, KEY "scores", "1");
	expect_refusal(&o, KEY "scores: not an array of numbers");
	w->score[0] = 0;
	build_words(&o.b, w, "llama");
	CHECK_INT(open_built(&o, "gpt-2"), -1);
	CHECK_STR(o.e.text, "pre-tokenizer 'gpt-2': a tokenizer of kind llama has none");
	free(w);
}

/* Types and ids of the wrong kind are errors that name the key. */
static void refuses_wrong_types(void)
{
	static const char *const keys[] = {KEY "pre",
	                                   KEY "bos_token_id",
	                                   KEY "eos_token_id",
	                                   KEY "unknown_token_id",
	                                   KEY "eot_token_id",
	                                   KEY "eom_token_id",
	                                   KEY "add_bos_token",
	                                   KEY "add_eos_token",
	                                   KEY "add_space_prefix"};
	struct words *w = calloc(1, sizeof *w);
	struct open o;

	add_letters(w);
	w->merge[w->n_merges++] = "a b";
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		memset(&o, 0, sizeof o);
		build_words(&o.b, w, "gpt2");
		build_array(&o.b, keys[i], GGUF_F32, 0);
		CHECK_INT(open_built(&o, NULL), -1);
		CHECK_INT(o.e.status, ERR_TROUBLE);
		CHECK(strstr(o.e.text, keys[i]) != NULL);
	}
	memset(&o, 0, sizeof o);
	build_str(&o.b, KEY "model", "gpt2");
	build_array(&o.b, KEY "tokens", GGUF_STRING, 1);
	build_string(&o.b, "a", 1);
	build_array(&o.b, KEY "token_type", GGUF_I32, 1);
	build_u32(&o.b, UINT32_MAX);
	CHECK_INT(open_built(&o, NULL), -1);
	CHECK(strstr(o.e.text, "token_type") != NULL);
	free(w);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Each takes a fraction of a second; a merge that is quadratic in the word takes an hour.  Under
 * valgrind, which is fifty times slower, shorter texts do. */
#define LONG  (getenv("VALGRIND") ? 50000u : 1000000u)
#define LIMIT 30.0

static void long_texts_are_no_problem(void)
{
	static const char *const unit[] = {"a", "ab", " ",    "\n",       " \n",
	                                   "7", "!",  "\xff", "\xc3\xa9", "b a"};
	char *text = malloc(LONG);
	struct open o;
	double start;

	for (int kind = 0; kind < 3; kind++) {
		if (kind < 2)
			open_bpe(&o, kind ? "llama3" : "default");
		else
			open_spm(&o, 1, 1);
		for (size_t k = 0; k < sizeof unit / sizeof unit[0]; k++) {
			for (size_t i = 0; i < LONG; i++)
				text[i] = unit[k][i % strlen(unit[k])];
			start = seconds();
			check_round_trip(o.v, text, LONG);
			CHECK(seconds() - start < LIMIT);
		}
		start = seconds();
		for (size_t i = 0; i < LONG; i++)
			text[i] = (char)('a' + rnd(26));
		check_round_trip(o.v, text, LONG);
		CHECK(seconds() - start < LIMIT);
		close_built(&o);
	}
	free(text);
}

/* Tokens of a million bytes, normal and special, in a text of their like. */
static void huge_tokens(void)
{
	struct words *w = calloc(1, sizeof *w);
	char *huge = malloc(LONG), *text = malloc(2 * LONG);
	struct open o;
	double start = seconds();

	memset(huge, 'a', LONG);
	memset(text, 'a', 2 * LONG);
	memset(&o, 0, sizeof o);
	add_letters(w);
	add_merge(w, "a a", pieces[0]); /* 256 */
	add_n(w, huge, LONG, 4, 0);     /* 257 */
	add_n(w, huge, LONG - 1, 1, 0); /* 258: no merge leads to it */
	add(w, "", 3, 0);
	build_words(&o.b, w, "gpt2");
	CHECK_INT(open_built(&o, "gpt-2"), 0);
	CHECK_INT(vocab_longest(o.v), LONG);
	struct ids l = encode(o.v, text, 2 * LONG - 3, 0, 0);
	CHECK_INT(l.n, 1 + (LONG - 3) / 2 + 1);
	CHECK_INT(l.v[0], 257);
	CHECK_INT(l.v[1], 256);
	ids_free(&l);
	CHECK(seconds() - start < LIMIT);
	close_built(&o);
	free(huge);
	free(text);
	free(w);
}

static void too_long_texts_are_refused(void)
{
	struct vocab_text text[2] = {{"a", 1u << 30, 0}, {"a", 1, 0}};
	struct ids l = {NULL, 0, 0};
	struct open o;

	open_bpe(&o, "gpt-2");
	ids_push(&l, 7, NULL);
	CHECK_INT(vocab_encode(o.v, text, 2, 1, &l, &o.e), -1);
	CHECK_STR(o.e.text, "a text of more than 1073741824 bytes");
	CHECK_STR(show(&l), "7");
	CHECK_INT(vocab_encode(o.v, NULL, 0, 1, &l, &o.e), 0);
	CHECK_STR(show(&l), "7 266");
	ids_free(&l);
	close_built(&o);
}

static int try_open(void *arg, struct err *e)
{
	struct open *o = arg;

	vocab_close(o->v);
	o->v = NULL;
	return vocab_open(&o->v, &o->g, NULL, e);
}

static int try_encode(void *arg, struct err *e)
{
	struct open *o = arg;
	struct vocab_text text[2] = {{"<|bos|>abab user\xff ab", 20, 1},
	                             {"abab user<|bos|>\n\n1", 19, 0}};
	struct ids l = {NULL, 0, 0};
	int r = vocab_encode(o->v, text, 2, 1, &l, e);

	CHECK(!r || !l.n);
	ids_free(&l);
	return r;
}

static void memory_may_end(void)
{
	struct open o;

	for (int kind = 0; kind < 2; kind++) {
		if (kind)
			open_spm(&o, 1, 0);
		else
			open_bpe(&o, "default");
		fail_alloc(try_open, NULL, &o);
		CHECK(fail_alloc(try_encode, NULL, &o) >= 5);
		close_built(&o);
	}
}

struct crowd {
	const struct vocab *v;
	const char *text;
	size_t n;
	struct ids l;
};

static void *encode_often(void *arg)
{
	struct crowd *c = arg;
	struct vocab_text text = {c->text, c->n, 0};

	for (int i = 0; i < 20; i++) {
		c->l.n = 0;
		if (vocab_encode(c->v, &text, 1, 0, &c->l, NULL))
			c->l.n = 0;
	}
	return NULL;
}

static void threads_share_a_vocabulary(void)
{
	struct open o;
	struct crowd c[4];
	pthread_t t[4];
	char text[20000];

	open_bpe(&o, "llama3");
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = "abab cc\n"[rnd(8)];
	struct ids want = encode(o.v, text, sizeof text, 0, 0);
	for (int i = 0; i < 4; i++) {
		c[i] = (struct crowd){o.v, text, sizeof text, {NULL, 0, 0}};
		pthread_create(&t[i], NULL, encode_often, &c[i]);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		CHECK(c[i].l.n == want.n && !memcmp(c[i].l.v, want.v, want.n * sizeof *want.v));
		ids_free(&c[i].l);
	}
	ids_free(&want);
	close_built(&o);
}

static const char *shared(char *out, size_t cap, const char *file)
{
	const char *dir = getenv("BITNET_SHARED");

	snprintf(out, cap, "%s/vectors/tokenizers/ggml-vocab-%s", dir ? dir : "../shared", file);
	return out;
}

/* One text of the vectors, and the line of its ids. */
static void check_vector(const struct vocab *v, const char *text, size_t n, const char *line)
{
	struct ids l = encode(v, text, n, 0, 0);
	char want[4096] = "";
	size_t len = strcspn(line, "\n"), skip = *line == ' ';

	snprintf(want, sizeof want, "%.*s", (int)(len - skip), line + skip);
	CHECK_STR(show(&l), want);
	ids_free(&l);
	check_round_trip(v, text, n);
}

static void check_vectors(const char *name)
{
	static const char mark[] = "\n__ggml_vocab_test__\n";
	char path[1024], file[64], *in = NULL, *out = NULL;
	struct gguf g;
	struct vocab *v = NULL;
	struct err e = {0};
	size_t n;
	int texts = 0;

	snprintf(file, sizeof file, "%s.gguf", name);
	CHECK_INT(gguf_open(&g, shared(path, sizeof path, file), GGUF_HEADER_ONLY, &e), 0);
	CHECK_INT(vocab_open(&v, &g, NULL, &e), 0);
	snprintf(file, sizeof file, "%s.gguf.inp", name);
	CHECK_INT(io_slurp(shared(path, sizeof path, file), 1 << 20, &in, &n, &e), 0);
	snprintf(file, sizeof file, "%s.gguf.out", name);
	CHECK_INT(io_slurp(shared(path, sizeof path, file), 1 << 20, &out, &n, &e), 0);
	CHECK_STR(e.text, "");
	if (v && in && out) {
		char *line = out, *text = in, *end;
		for (; (end = strstr(text, mark)); text = end + strlen(mark), texts++) {
			check_vector(v, text, (size_t)(end - text), line);
			line = strchr(line, '\n') + 1;
		}
	}
	CHECK_INT(texts, 46);
	free(in);
	free(out);
	vocab_close(v);
	gguf_close(&g);
}

static void vectors_llama_bpe(void)
{
	check_vectors("llama-bpe");
}
static void vectors_gpt_2(void)
{
	check_vectors("gpt-2");
}
static void vectors_falcon(void)
{
	check_vectors("falcon");
}
static void vectors_llama_spm(void)
{
	check_vectors("llama-spm");
}

static int have(const char *file)
{
	char path[1024];
	FILE *f = fopen(shared(path, sizeof path, file), "rb");

	if (f)
		fclose(f);
	return f != NULL;
}

#define RUN_IF(file, test)                                                                         \
	do {                                                                                       \
		if (have(file))                                                                    \
			RUN(test);                                                                 \
		else                                                                               \
			SKIP(test, "the vocabulary is not at hand");                               \
	} while (0)

int main(void)
{
	RUN(bpe_merges_as_defined);
	RUN(spm_merges_as_defined);
	RUN(every_byte_comes_back);
	RUN(pre_tokenizers_cut_words);
	RUN(special_tokens_only_where_asked);
	RUN(spm_prefix_bytes_and_specials);
	RUN(decoding_by_type);
	RUN(streams_hold_back_parts_of_characters);
	RUN(utf8_is_strict);
	RUN(ends_of_generation);
	RUN(plan_is_exact);
	RUN(pre_tokenizer_is_chosen);
	RUN(llama3_without_pre);
	RUN(ignore_merges_takes_whole_words);
	RUN(odd_vocabularies);
	RUN(refuses_contradictions);
	RUN(refuses_wrong_types);
	RUN(long_texts_are_no_problem);
	RUN(huge_tokens);
	RUN(too_long_texts_are_refused);
	RUN(memory_may_end);
	RUN(threads_share_a_vocabulary);
	RUN_IF("llama-bpe.gguf", vectors_llama_bpe);
	RUN_IF("gpt-2.gguf", vectors_gpt_2);
	RUN_IF("falcon.gguf", vectors_falcon);
	RUN_IF("llama-spm.gguf", vectors_llama_spm);
	return unit_end();
}
