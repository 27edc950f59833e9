/*
 * tokenizer.json: byte-level BPE becomes the gpt2 kind, BPE with byte fallback the llama kind (its
 * scores are the order of the merges).  What decides how text is cut into words is compared with
 * what is known, and refused when it is not.
 */
#include <string.h>

#include "hf_regex.h"
#include "hf_vocab_private.h"
#include "json_walk.h"
#include "utf8.h"

/* The expressions that Split steps are known by: the letter of the step, and what the whole is when
 * this and ByteLevel are its only steps. */
static const struct {
	const char *regex;
	char letter;
	const char *pre;
} splits[] = {
    {HF_LLAMA3, 's', "llama-bpe"}, {HF_EITHER_CASE HF_LLAMA3_WORDS, 's', "llama-bpe"},
    {HF_QWEN2, 's', "qwen2"},      {HF_EITHER_CASE HF_QWEN2_WORDS, 's', "qwen2"},
    {HF_QWEN35, 's', "qwen35"},    {HF_EITHER_CASE HF_QWEN35_WORDS, 's', "qwen35"},
    {HF_GPT2, 's', "gpt-2"},       {HF_GPT2_NO_SPACE, 's', "gpt-2"},
    {HF_THREE_DIGITS, 't', NULL},  {HF_NUMBERS, 'n', NULL},
    {HF_DEFAULT_SIGNS, 'f', NULL},
};

/* The steps of a pre-tokenizer as one word: a letter each. */
#define STEPS 8
struct steps {
	char name[STEPS + 1]; /* s Split, t Split of three digits, b ByteLevel alone, B with its own
	                         expression, d Digits one by one, D runs, p Punctuation, m
	                         Metaspace, w Split at spaces */
	const char *split;    /* pre of the Split */
	const json_t *metaspace;
	int n;
};

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static int is_true(const json_t *o, const char *key, int otherwise)
{
	const json_t *v = json_object_get(o, key);

	return v ? json_is_true(v) : otherwise;
}

static int unknown_step(const json_t *step, struct err *e)
{
	const json_t *pattern = json_object_get(step, "pattern");
	char type[40], quoted[200];
	const char *t = str(step, "type"), *p = str(pattern, "Regex");

	return err_unsupported(e, "pre_tokenizer: %s%s%s%s is none that is known",
	                       err_quote(type, sizeof type, t, strlen(t)), *p ? " '" : "",
	                       err_quote(quoted, sizeof quoted, p, strlen(p)), *p ? "'" : "");
}

static int split_step(const json_t *step, struct steps *s, struct err *e)
{
	const json_t *pattern = json_object_get(step, "pattern");
	const char *regex = str(pattern, "Regex");

	if (!strcmp(str(pattern, "String"), " "))
		return 'w';
	if (strcmp(str(step, "behavior"), "Isolated") || is_true(step, "invert", 0))
		return unknown_step(step, e);
	for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++)
		if (!strcmp(regex, splits[i].regex)) {
			s->split = splits[i].pre ? splits[i].pre : s->split;
			return splits[i].letter;
		}
	return unknown_step(step, e);
}

/* The letter of a step; -1 with an error. */
static int letter(const json_t *step, struct steps *s, struct err *e)
{
	const char *type = str(step, "type");

	if (!strcmp(type, "Split"))
		return split_step(step, s, e);
	if (!strcmp(type, "ByteLevel") && !is_true(step, "add_prefix_space", 1))
		return is_true(step, "use_regex", 1) ? 'B' : 'b';
	if (!strcmp(type, "Digits"))
		return is_true(step, "individual_digits", 0) ? 'd' : 'D';
	if (!strcmp(type, "Punctuation") && !strcmp(str(step, "behavior"), "Contiguous"))
		return 'p';
	if (!strcmp(type, "Metaspace")) {
		s->metaspace = step;
		return 'm';
	}
	return unknown_step(step, e);
}

static int read_steps(const json_t *pre, struct steps *s, struct err *e)
{
	const json_t *list = json_object_get(pre, "pretokenizers");
	size_t n = json_is_array(list) ? json_array_size(list) : 1;

	if (!pre || json_is_null(pre))
		return 0;
	if (n > STEPS)
		return err_unsupported(e, "pre_tokenizer: %zu steps are none that are known", n);
	for (size_t i = 0; i < n; i++) {
		int c = letter(json_is_array(list) ? json_array_get(list, i) : pre, s, e);
		if (c < 0)
			return -1;
		s->name[s->n++] = (char)c;
	}
	return 0;
}

/* tokenizer.ggml.pre of a byte-level pre-tokenizer. */
static int choose_pre(struct hf_build *b, const struct steps *s, struct err *e)
{
	if (!strcmp(s->name, "sb"))
		b->v->pre = s->split;
	else if (!strcmp(s->name, "B"))
		b->v->pre = "gpt-2";
	else if (!strcmp(s->name, "dB"))
		b->v->pre = "starcoder";
	else if (!strcmp(s->name, "pBt") || !strcmp(s->name, "pBDt"))
		b->v->pre = "falcon";
	else if (!strcmp(s->name, "fsntb") && !strcmp(s->split, "gpt-2"))
		b->v->pre = "default";
	else
		return err_unsupported(e,
		                       "pre_tokenizer: its steps are together none that is known");
	return 0;
}

/* Calls of a normalizer: one, or those of a sequence.  1 when one has the type. */
static int normalizer_has(const json_t *normalizer, const char *type)
{
	const json_t *list = json_object_get(normalizer, "normalizers");
	size_t n = json_is_array(list) ? json_array_size(list) : 0;

	for (size_t i = 0; i < n; i++)
		if (!strcmp(str(json_array_get(list, i), "type"), type))
			return 1;
	return !n && !strcmp(str(normalizer, "type"), type);
}

static int check_normalizer(const json_t *normalizer, const char *const *allowed, struct err *e)
{
	const json_t *list = json_object_get(normalizer, "normalizers");
	size_t n = json_is_array(list) ? json_array_size(list) : json_is_object(normalizer), k;
	char quoted[64];

	for (size_t i = 0; i < n; i++) {
		const char *type =
		    str(json_is_array(list) ? json_array_get(list, i) : normalizer, "type");
		for (k = 0; allowed[k] && strcmp(type, allowed[k]); k++)
			;
		if (!allowed[k])
			return err_unsupported(
			    e, "normalizer: %s is not supported",
			    err_quote(quoted, sizeof quoted, type, strlen(type)));
	}
	return 0;
}

/* Byte-level: NFC is what GGUF readers leave out too; anything else would change the text. */
static int read_bytelevel(struct hf_build *b, const json_t *root, const struct steps *s,
                          struct err *e)
{
	static const char *const allowed[] = {"NFC", NULL};

	b->v->model = "gpt2";
	if (check_normalizer(json_object_get(root, "normalizer"), allowed, e))
		return -1;
	return choose_pre(b, s, e);
}

/* Byte fallback: spaces become marks, by the normalizer or by Metaspace, and one may be put in
 * front. */
static int read_fallback(struct hf_build *b, const json_t *root, const struct steps *s,
                         struct err *e)
{
	static const char *const allowed[] = {"Prepend", "Replace", NULL};
	const json_t *normalizer = json_object_get(root, "normalizer");
	const char *scheme = str(s->metaspace, "prepend_scheme");

	b->v->model = "llama";
	b->v->pre = "default";
	if (check_normalizer(normalizer, allowed, e))
		return -1;
	if (*s->name && strcmp(s->name, "m") && strcmp(s->name, "w"))
		return err_unsupported(e, "pre_tokenizer: not one that goes with byte fallback");
	if (!s->metaspace && !normalizer_has(normalizer, "Replace"))
		return err_unsupported(e, "normalizer: nothing replaces spaces by U+2581");
	b->v->add_space_prefix = s->metaspace
	                             ? (*scheme ? strcmp(scheme, "never") != 0
	                                        : is_true(s->metaspace, "add_prefix_space", 1))
	                             : normalizer_has(normalizer, "Prepend");
	return 0;
}

static int read_vocab(struct hf_build *b, const json_t *model, struct json_walk *vocab,
                      struct err *e)
{
	int fallback = is_true(model, "byte_fallback", 0), r;
	const char *piece;
	char quoted[64];
	json_t *id;
	size_t n;

	if (json_walk_type(vocab) != JSON_OBJECT)
		return err_set(e, ERR_TROUBLE, "model.vocab: missing, or not an object");
	while ((r = json_walk_next(vocab, &piece, &n, &id, e)) > 0) {
		uint32_t used = b->used;
		enum hf_type type = fallback && hf_is_byte(piece, n) ? HF_BYTE : HF_NORMAL;
		if (!json_is_integer(id) || json_integer_value(id) < 0)
			return err_set(e, ERR_TROUBLE, "model.vocab: '%s' has no id from 0",
			               err_quote(quoted, sizeof quoted, piece, n));
		if (hf_set(b, (uint64_t)json_integer_value(id), piece, n, type, e))
			return err_in(e, "model.vocab");
		if (b->used == used)
			return err_set(e, ERR_TROUBLE, "model.vocab: '%s' is there twice",
			               err_quote(quoted, sizeof quoted, piece, n));
	}
	return r ? err_in(e, "model.vocab") : 0;
}

/* The two sides of a merge, in either spelling. */
static int merge_sides(const json_t *m, struct gguf_str side[2])
{
	if (json_is_array(m) && json_array_size(m) == 2) {
		for (size_t i = 0; i < 2; i++) {
			const json_t *s = json_array_get(m, i);
			side[i] = (struct gguf_str){json_string_value(s), json_string_length(s)};
		}
		return side[0].p && side[1].p ? 0 : -1;
	}
	const char *p = json_string_value(m);
	size_t n = json_string_length(m);
	const char *space = p && n > 2 ? memchr(p + 1, ' ', n - 2) : NULL;
	if (!space)
		return -1;
	side[0] = (struct gguf_str){p, (uint64_t)(space - p)};
	side[1] = (struct gguf_str){space + 1, n - side[0].n - 1};
	return 0;
}

/* The token that a merge makes; -1 when that or a side is no token. */
static int64_t merged(const struct hf_build *b, const struct gguf_str side[2], char *buf,
                      size_t cap)
{
	size_t n = side[0].n + side[1].n;

	if (n > cap || hf_find(b, side[0].p, side[0].n) < 0 || hf_find(b, side[1].p, side[1].n) < 0)
		return -1;
	memcpy(buf, side[0].p, side[0].n);
	memcpy(buf + side[0].n, side[1].p, side[1].n);
	return hf_find(b, buf, n);
}

/* The llama kind has no merges: the first merge that makes a token gives its score. */
static int use_merge(struct hf_build *b, const struct gguf_str side[2], int64_t id, size_t i,
                     struct err *e)
{
	if (b->v->scores) {
		if (b->v->scores[id] >= 1)
			b->v->scores[id] = i ? -(float)i : 0;
		return 0;
	}
	if (memchr(side[0].p, ' ', side[0].n) || memchr(side[1].p, ' ', side[1].n))
		return err_set(e, ERR_TROUBLE, "model.merges: merge %zu has a piece with a space",
		               i);
	return hf_add_merge(b, side[0].p, side[0].n, side[1].p, side[1].n, e);
}

#define PIECE_MAX 4096

static int read_merge(struct hf_build *b, const json_t *m, size_t i, struct err *e)
{
	char buf[PIECE_MAX];
	struct gguf_str side[2];
	int64_t id;

	if (merge_sides(m, side))
		return err_set(e, ERR_TROUBLE, "merge %zu is not two pieces", i);
	if ((id = merged(b, side, buf, sizeof buf)) < 0)
		return err_set(e, ERR_TROUBLE, "merge %zu is of or makes what is no token", i);
	return use_merge(b, side, id, i, e);
}

static int read_merges(struct hf_build *b, struct json_walk *merges, struct err *e)
{
	const char *name;
	json_t *m;
	size_t n;
	int r;

	while ((r = json_walk_next(merges, &name, &n, &m, e)) > 0)
		if (read_merge(b, m, json_walk_count(merges) - 1, e))
			return err_in(e, "model.merges");
	return r ? err_in(e, "model.merges") : 0;
}

/* Characters come before all merges in no order; a longer piece that no merge makes is never made
 * there, so it comes after all here. */
static void rest_of_scores(struct hf_build *b, size_t n_merges)
{
	for (uint32_t i = 0; i < b->cap; i++)
		if (b->v->scores[i] >= 1) {
			int one = b->v->tokens[i].n <= 4 && b->v->types[i] == HF_NORMAL &&
			          utf8_decode(b->v->tokens[i].p, b->v->tokens[i].n, NULL) ==
			              b->v->tokens[i].n;
			b->v->scores[i] =
			    one || b->v->types[i] == HF_BYTE ? 0 : -1.0f - (float)n_merges;
		}
}

/* The llama kind keeps the order of the merges as scores. */
static int read_scores(struct hf_build *b, struct json_walk *merges, struct err *e)
{
	if (hf_use_scores(b, e))
		return -1;
	for (uint32_t i = 0; i < b->cap; i++)
		b->v->scores[i] = 1; /* not yet known */
	if (read_merges(b, merges, e))
		return -1;
	rest_of_scores(b, json_walk_count(merges));
	return 0;
}

int hf_set_added(struct hf_build *b, uint64_t id, const json_t *token, struct err *e)
{
	const json_t *content = json_object_get(token, "content");
	enum hf_type type = is_true(token, "special", 0) ? HF_CONTROL : HF_USER;

	if (!json_is_string(content))
		return err_set(e, ERR_TROUBLE, "the added token of id %llu has no content",
		               (unsigned long long)id);
	if (id < b->cap && b->v->types[id] == HF_UNKNOWN)
		type = HF_UNKNOWN;
	if (hf_set(b, id, json_string_value(content), json_string_length(content), type, e))
		return -1;
	if (b->v->scores && type != HF_UNKNOWN)
		b->v->scores[id] = HF_SCORE_ADDED;
	return 0;
}

static int read_added(struct hf_build *b, const json_t *added, struct err *e)
{
	const json_t *token;
	size_t i;

	if (added && !json_is_null(added) && !json_is_array(added))
		return err_set(e, ERR_TROUBLE, "added_tokens is %s, expected an array",
		               json_kind(added));
	json_array_foreach((json_t *)added, i, token)
	{
		uint64_t id;
		int r = json_get_u64(token, "id", &id, e);
		if (r > 0)
			err_set(e, ERR_TROUBLE, "entry %zu has no id", i);
		if (r || hf_set_added(b, id, token, e))
			return err_in(e, "added_tokens");
	}
	return 0;
}

/* The special token that an item of a template is; 0 when it is none. */
static int template_token(const struct hf_build *b, const json_t *item, int64_t *id)
{
	const json_t *special = json_object_get(item, "SpecialToken");
	const char *piece = str(special, "id");

	if (special)
		*id = hf_find(b, piece, strlen(piece));
	return special != NULL;
}

/* What the last step puts around a text: special tokens in front and behind. */
static void read_template(struct hf_build *b, const json_t *post)
{
	const json_t *list = json_object_get(post, "processors");
	const json_t *single = json_object_get(post, "single");
	size_t n = json_array_size(single);

	for (size_t i = 0; i < json_array_size(list); i++)
		read_template(b, json_array_get(list, i));
	if (strcmp(str(post, "type"), "TemplateProcessing") || !n)
		return;
	b->v->add_bos = template_token(b, json_array_get(single, 0), &b->v->bos);
	b->v->add_eos = n > 1 && template_token(b, json_array_get(single, n - 1), &b->v->eos);
}

/* The long lists of a tokenizer.json. */
enum { VOCAB, MERGES, LISTS };

static int read_root(struct hf_build *b, const json_t *root, struct json_walk list[LISTS],
                     struct err *e)
{
	const json_t *model = json_object_get(root, "model");
	const char *type = str(model, "type"), *unk = str(model, "unk_token");
	int fallback = is_true(model, "byte_fallback", 0);
	struct steps steps = {.split = ""};
	char quoted[40];
	int64_t id;

	if (!json_is_object(model))
		return err_set(e, ERR_TROUBLE, "model: missing, or not an object");
	if (json_walk_type(&list[MERGES]) != JSON_ARRAY && (!*type || !strcmp(type, "BPE")))
		return err_set(e, ERR_TROUBLE, "model.merges: missing, or not an array");
	if (*type && strcmp(type, "BPE"))
		return err_unsupported(e, "model.type: '%s' is not supported (supported: BPE)",
		                       err_quote(quoted, sizeof quoted, type, strlen(type)));
	if (read_steps(json_object_get(root, "pre_tokenizer"), &steps, e) ||
	    (fallback ? read_fallback : read_bytelevel)(b, root, &steps, e) ||
	    read_vocab(b, model, &list[VOCAB], e) ||
	    (fallback ? read_scores : read_merges)(b, &list[MERGES], e))
		return -1;
	if (fallback && (id = hf_find(b, unk, strlen(unk))) >= 0) {
		b->v->unk = id;
		b->v->types[id] = HF_UNKNOWN;
	}
	/* A tokenizer.json says all that is put around a text. */
	b->v->add_bos = b->v->add_eos = 0;
	if (read_added(b, json_object_get(root, "added_tokens"), e))
		return -1;
	read_template(b, json_object_get(root, "post_processor"));
	return 0;
}

int hf_read_json(struct hf_build *b, const char *text, size_t n, struct err *e)
{
	static const char *const path[LISTS] = {"model.vocab", "model.merges"};
	struct json_walk list[LISTS];
	json_t *root = NULL;
	int r = json_walk_parse(list, path, LISTS, text, n, &root, e);

	for (int k = 0; !r && b->ahead && k < LISTS; k++)
		json_walk_ahead(&list[k]);
	if (!r)
		r = json_is_object(root)
		        ? read_root(b, root, list, e)
		        : err_set(e, ERR_TROUBLE, "%s, expected an object", json_kind(root));
	for (int k = 0; k < LISTS; k++)
		json_walk_end(&list[k]);
	json_decref(root);
	return r;
}
