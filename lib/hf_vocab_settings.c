/*
 * What stands beside the tokenizer's own file: tokens that were added, which tokens are special,
 * the chat template.  Where files differ, the tokenizer's come before the model's:
 * tokenizer_config.json, special_tokens_map.json, config.json, generation_config.json.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hf_vocab_private.h"
#include "vocab.h"

#define SIDE_FILE (16u << 20)

/* added_tokens.json: {"content": id}; of what kind they are is not told. */
static int read_list(struct hf_build *b, const json_t *list, struct err *e)
{
	const char *piece;
	size_t n;
	json_t *id;

	json_object_keylen_foreach((json_t *)list, piece, n, id)
	{
		int known = hf_find(b, piece, n) >= 0;
		uint64_t at = (uint64_t)json_integer_value(id);
		if (!json_is_integer(id) || json_integer_value(id) < 0)
			return err_set(e, ERR_TROUBLE, "an id that is %s", json_kind(id));
		if (known && hf_find(b, piece, n) == json_integer_value(id))
			continue;
		if (hf_set(b, at, piece, n, HF_USER, e))
			return -1;
		if (b->v->scores)
			b->v->scores[at] = HF_SCORE_ADDED;
	}
	return 0;
}

/* tokenizer_config.json's list; what tokenizer.json said of a token stands. */
static int read_decoder(struct hf_build *b, const json_t *decoder, struct err *e)
{
	const char *key;
	json_t *token;

	if (decoder && !json_is_object(decoder))
		return err_set(e, ERR_TROUBLE, "added_tokens_decoder is %s, expected an object",
		               json_kind(decoder));
	json_object_foreach((json_t *)decoder, key, token)
	{
		char *end;
		uint64_t id = strtoull(key, &end, 10);
		enum hf_type type = id < b->cap ? (enum hf_type)b->v->types[id] : 0;
		if (!*key || *end)
			return err_set(e, ERR_TROUBLE, "added_tokens_decoder: a key that is no id");
		if (hf_set_added(b, id, token, e))
			return err_in(e, "added_tokens_decoder");
		if (type == HF_CONTROL || type == HF_UNKNOWN)
			b->v->types[id] = (int32_t)type;
	}
	return 0;
}

int hf_read_added(struct hf_build *b, struct err *e)
{
	json_t *root;
	int r = hf_load(b, "added_tokens.json", SIDE_FILE, &root, e);

	if (!r) {
		r = read_list(b, root, e);
		json_decref(root);
		if (r)
			return err_in(e, "added_tokens.json");
	}
	if (r < 0 || (r = hf_load(b, "tokenizer_config.json", SIDE_FILE, &root, e)))
		return r < 0 ? -1 : 0;
	r = read_decoder(b, json_object_get(root, "added_tokens_decoder"), e);
	json_decref(root);
	return r ? err_in(e, "tokenizer_config.json") : 0;
}

/* A special token by its text, "<s>" or {"content": "<s>"}, or null.  One that is no token is an
 * error where texts begin or end with it; of the others none is meant. */
static int by_text(const struct hf_build *b, const json_t *root, const char *key, int must,
                   int64_t *id, int *done, struct err *e)
{
	const json_t *t = json_at(root, key);
	const json_t *s = json_is_object(t) ? json_object_get(t, "content") : t;
	const char *piece = json_string_value(s);
	size_t n = json_string_length(s);
	int64_t found = piece ? hf_find(b, piece, n) : -1;
	char quoted[64];

	if (!t)
		return 0;
	if (!piece)
		return err_set(e, ERR_TROUBLE, "%s is %s, expected a string", key,
		               s ? json_kind(s) : "an object without content");
	if (found < 0 && must && n)
		return err_set(e, ERR_TROUBLE, "%s '%s' is no token of the tokenizer", key,
		               err_quote(quoted, sizeof quoted, piece, n));
	if (*done || found < 0)
		return 0;
	*id = found;
	*done = 1;
	return 0;
}

/* By its id, or a list of ids of which the first counts; the next that does not end a text by its
 * name anyway goes to *more. */
static int by_id(const struct hf_build *b, const json_t *root, const char *key, int64_t *id,
                 int *done, int64_t *more, struct err *e)
{
	const json_t *t = json_at(root, key);
	size_t n = json_is_array(t) ? json_array_size(t) : 1;

	for (size_t i = 0; t && i < n; i++) {
		const json_t *one = json_is_array(t) ? json_array_get(t, i) : t;
		int64_t x = json_integer_value(one);
		if (!json_is_integer(one))
			return err_set(e, ERR_TROUBLE, "%s is %s, expected an id", key,
			               json_kind(one));
		if (x < 0 || x >= b->cap || !b->v->tokens[x].p)
			continue;
		if (!*done) {
			*id = x;
			*done = 1;
		} else if (more && *more < 0 && x != *id &&
		           !vocab_ends_by_name(b->v->tokens[x].p, b->v->tokens[x].n)) {
			*more = x;
		}
	}
	return 0;
}

/* Which of the ids have been told so far. */
struct told {
	int bos, eos, unk, sep, pad, mask;
};

static int read_texts(struct hf_build *b, const json_t *root, struct told *t, struct err *e)
{
	struct hf_vocab *v = b->v;

	return by_text(b, root, "bos_token", 1, &v->bos, &t->bos, e) ||
	       by_text(b, root, "eos_token", 1, &v->eos, &t->eos, e) ||
	       by_text(b, root, "unk_token", 0, &v->unk, &t->unk, e) ||
	       by_text(b, root, "sep_token", 0, &v->sep, &t->sep, e) ||
	       by_text(b, root, "pad_token", 0, &v->pad, &t->pad, e) ||
	       by_text(b, root, "mask_token", 0, &v->mask, &t->mask, e);
}

/* Several ends: the tokenizer's is eos, another of them ends a turn. */
static int read_ids(struct hf_build *b, const json_t *root, struct told *t, struct err *e)
{
	struct hf_vocab *v = b->v;

	return by_id(b, root, "bos_token_id", &v->bos, &t->bos, NULL, e) ||
	       by_id(b, root, "eos_token_id", &v->eos, &t->eos, &v->eot, e) ||
	       by_id(b, root, "pad_token_id", &v->pad, &t->pad, NULL, e);
}

static int keep_template(struct hf_build *b, const char *p, size_t n, struct err *e)
{
	return n ? hf_keep(b, p, n, &b->v->chat_template, e) : 0;
}

/* A string, or a list of named ones of which "default" counts. */
static int read_template(struct hf_build *b, const json_t *t, struct err *e)
{
	for (size_t i = 0; i < json_array_size(t); i++) {
		const json_t *one = json_array_get(t, i), *name = json_object_get(one, "name");
		if (json_is_string(name) && !strcmp(json_string_value(name), "default"))
			return read_template(b, json_object_get(one, "template"), e);
	}
	if (t && !json_is_null(t) && !json_is_string(t) && !json_is_array(t))
		return err_set(e, ERR_TROUBLE, "chat_template is %s, expected a string",
		               json_kind(t));
	return json_is_string(t) ? keep_template(b, json_string_value(t), json_string_length(t), e)
	                         : 0;
}

static int read_config(struct hf_build *b, const json_t *root, struct told *t, struct err *e)
{
	const json_t *bos = json_object_get(root, "add_bos_token");
	const json_t *eos = json_object_get(root, "add_eos_token");
	const json_t *space = json_object_get(root, "add_prefix_space");

	if (read_texts(b, root, t, e))
		return -1;
	if (json_is_boolean(bos))
		b->v->add_bos = json_is_true(bos);
	if (json_is_boolean(eos))
		b->v->add_eos = json_is_true(eos);
	if (json_is_boolean(space) && b->v->scores)
		b->v->add_space_prefix = json_is_true(space);
	return read_template(b, json_object_get(root, "chat_template"), e);
}

/* Newer checkpoints have the template in a file of its own, which comes first. */
static int read_jinja(struct hf_build *b, struct err *e)
{
	char *buf;
	size_t n;
	int r = hf_slurp(b, "chat_template.jinja", SIDE_FILE, &buf, &n, e);

	if (r)
		return r < 0 ? -1 : 0;
	r = keep_template(b, buf, n, e);
	free(buf);
	return r;
}

int hf_read_settings(struct hf_build *b, struct err *e)
{
	static const char *const file[] = {"tokenizer_config.json", "special_tokens_map.json",
	                                   "config.json", "generation_config.json"};
	struct told told = {0};
	json_t *root;

	for (int i = 0; i < 4; i++) {
		int r = hf_load(b, file[i], SIDE_FILE, &root, e);
		if (r < 0)
			return -1;
		if (r)
			continue;
		if (i == 0)
			r = read_config(b, root, &told, e);
		else if (i == 1)
			r = read_texts(b, root, &told, e);
		else
			r = read_ids(b, root, &told, e);
		json_decref(root);
		if (r)
			return err_in(e, "%s", file[i]);
	}
	return read_jinja(b, e);
}
