/*
 * The way back: a GGUF tokenizer as tokenizer.json, tokenizer_config.json and
 * generation_config.json.  The large lists are written as they are walked; the rest is put together
 * as JSON values.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hf_regex.h"
#include "hf_vocab.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "utf8.h"
#include "vocab.h"
#include "vocab_private.h"

#define MARK "\xe2\x96\x81"

struct export
{
	const struct gguf *g;
	struct vocab *v;
	FILE *f;
	int specials_apart; /* special tokens follow the others: the vocabulary need not list them
	                     */
	struct err *e;
};

/* A merge of the llama kind: the first n bytes of a piece, and the rest. */
struct part {
	float score;
	uint32_t id, n;
};

static int put_string(struct export *x, struct gguf_str s)
{
	char quoted[64];
	json_t *j = json_stringn(s.p, s.n);

	if (!j)
		return err_set(x->e, ERR_TROUBLE, "token '%s' is not UTF-8, which JSON needs",
		               err_quote(quoted, sizeof quoted, s.p, s.n));
	int r = json_dumpf(j, x->f, JSON_ENCODE_ANY);
	json_decref(j);
	return r ? err_sys(x->e, "writing") : 0;
}

/* Writes "KEY": VALUE, and ends the value, which is NULL when there was no memory for it. */
static int put_value(struct export *x, const char *key, json_t *value)
{
	int r;

	if (!value)
		return err_set(x->e, ERR_TROUBLE, "no memory");
	fprintf(x->f, " \"%s\": ", key);
	r = json_dumpf(value, x->f, JSON_ENCODE_ANY);
	json_decref(value);
	fputs(",\n", x->f);
	return r ? err_sys(x->e, "writing") : 0;
}

static int is_added(int type)
{
	return type == VOCAB_UNKNOWN || type == VOCAB_CONTROL || type == VOCAB_USER;
}

/* Readers number added tokens on from the vocabulary's, unless that has them. */
static int specials_follow(const struct vocab *v)
{
	uint32_t words = 0, next;
	int type;

	for (uint32_t i = 0; i < v->piece.n; i++)
		words += v->type[i] != VOCAB_UNUSED && !is_added(v->type[i]);
	next = words;
	for (uint32_t i = 0; i < v->piece.n; i++) {
		type = v->type[i];
		if (is_added(type) && i != next++)
			return 0;
	}
	return 1;
}

static int put_added(struct export *x)
{
	const struct vocab *v = x->v;
	const char *between = "\n";

	fputs(" \"added_tokens\": [", x->f);
	for (uint32_t i = 0; i < v->piece.n; i++) {
		if (!is_added(v->type[i]))
			continue;
		fprintf(x->f, "%s  {\"id\": %u, \"content\": ", between, i);
		if (put_string(x, vocab_string(&v->piece, i)))
			return -1;
		fprintf(x->f,
		        ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
		        "\"normalized\": false, \"special\": %s}",
		        v->type[i] == VOCAB_USER ? "false" : "true");
		between = ",\n";
	}
	fputs("\n ],\n", x->f);
	return 0;
}

static int put_vocab(struct export *x)
{
	const struct vocab *v = x->v;
	const char *between = "\n";

	fputs("  \"vocab\": {", x->f);
	for (uint32_t i = 0; i < v->piece.n; i++) {
		if (v->type[i] == VOCAB_UNUSED || (is_added(v->type[i]) && x->specials_apart))
			continue;
		fprintf(x->f, "%s   ", between);
		if (put_string(x, vocab_string(&v->piece, i)))
			return -1;
		fprintf(x->f, ": %u", i);
		between = ",\n";
	}
	fputs("\n  },\n", x->f);
	return 0;
}

static int put_bpe_merges(struct export *x)
{
	for (uint32_t i = 0; i < x->v->merge.n; i++) {
		fputs(i ? ",\n   " : "\n   ", x->f);
		if (put_string(x, vocab_string(&x->v->merge, i)))
			return -1;
	}
	return 0;
}

static int is_text(const struct vocab *v, const char *p, size_t n)
{
	return vocab_text_token(v, strindex_hash(p, n), p, n) >= 0;
}

/* The ways of making a piece of two others; to: NULL counts only. */
static size_t parts_of(const struct vocab *v, uint32_t id, struct part *to)
{
	struct gguf_str s = vocab_string(&v->piece, id);
	size_t count = 0, len;

	for (size_t i = utf8_decode(s.p, s.n, NULL); i < s.n; i += len) {
		if (!(len = utf8_decode(s.p + i, s.n - i, NULL)))
			return count;
		if (!i || !is_text(v, s.p, i) || !is_text(v, s.p + i, s.n - i))
			continue;
		if (to)
			to[count] = (struct part){v->score[id], id, (uint32_t)i};
		count++;
	}
	return count;
}

/* Looking up every cut of a piece takes the square of its length. */
#define PIECE_MAX 4096

static int find_parts(const struct export *x, struct part *to, size_t *n)
{
	const struct vocab *v = x->v;

	*n = 0;
	for (uint32_t i = 0; i < v->piece.n; i++) {
		uint64_t len = vocab_string(&v->piece, i).n;
		if (v->type[i] != VOCAB_NORMAL)
			continue;
		if (len > PIECE_MAX)
			return err_unsupported(
			    x->e, "token %u has %llu bytes; at most %d can be exported", i,
			    (unsigned long long)len, PIECE_MAX);
		*n += parts_of(v, i, to ? to + *n : NULL);
	}
	return 0;
}

static int better(const void *a, const void *b)
{
	const struct part *p = a, *q = b;

	if (p->score != q->score)
		return p->score > q->score ? -1 : 1;
	if (p->id != q->id)
		return p->id < q->id ? -1 : 1;
	return p->n < q->n ? -1 : p->n > q->n;
}

/* Scores as an order of merges: every way of making a token, the best first. */
static int put_spm_merges(struct export *x)
{
	struct part *part;
	size_t n;
	int r = 0;

	if (find_parts(x, NULL, &n) || !(part = mem_calloc(MEM_VOCAB, n, sizeof *part, x->e)))
		return -1;
	find_parts(x, part, &n);
	if (n)
		qsort(part, n, sizeof *part, better);
	for (size_t i = 0; i < n && !r; i++) {
		struct gguf_str s = vocab_string(&x->v->piece, part[i].id);
		fputs(i ? ",\n   [" : "\n   [", x->f);
		r = put_string(x, (struct gguf_str){s.p, part[i].n});
		fputs(", ", x->f);
		r = r || put_string(x, (struct gguf_str){s.p + part[i].n, s.n - part[i].n});
		fputs("]", x->f);
	}
	mem_free(part);
	return r ? -1 : 0;
}

static json_t *split(const char *regex)
{
	return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", regex,
	                 "behavior", "Isolated", "invert", 0);
}

static json_t *byte_level(int use_regex)
{
	return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
	                 "trim_offsets", 1, "use_regex", use_regex);
}

static json_t *sequence(json_t *steps)
{
	return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
}

static json_t *pre_tokenizer(const struct vocab *v)
{
	size_t n = strcspn(v->pre->names, " ");
	const char *name = v->pre->names;

	if (n == 5 && !memcmp(name, "gpt-2", n))
		return byte_level(1);
	if (n == 9 && !memcmp(name, "starcoder", n))
		return sequence(json_pack("[{s:s, s:b}, o]", "type", "Digits", "individual_digits",
		                          1, byte_level(1)));
	if (n == 6 && !memcmp(name, "falcon", n))
		return sequence(json_pack("[{s:s, s:s}, o, o]", "type", "Punctuation", "behavior",
		                          "Contiguous", byte_level(1), split(HF_THREE_DIGITS)));
	if (n == 7 && !memcmp(name, "default", n))
		return sequence(json_pack("[o, o, o, o, o]", split(HF_DEFAULT_SIGNS),
		                          split(HF_GPT2), split(HF_NUMBERS), split(HF_THREE_DIGITS),
		                          byte_level(0)));
	return sequence(json_pack("[o, o]",
	                          split(n == 5   ? HF_QWEN2
	                                : n == 6 ? HF_QWEN35
	                                         : HF_LLAMA3),
	                          byte_level(0)));
}

static json_t *replace(const char *from, const char *to)
{
	return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", from,
	                 "content", to);
}

static json_t *normalizer(const struct vocab *v)
{
	if (v->kind == VOCAB_BPE)
		return json_null();
	if (!v->adds_space)
		return replace(" ", MARK);
	return json_pack("{s:s, s:[{s:s, s:s}, o]}", "type", "Sequence", "normalizers", "type",
	                 "Prepend", "prepend", MARK, replace(" ", MARK));
}

static json_t *decoder(const struct vocab *v)
{
	json_t *steps;

	if (v->kind == VOCAB_BPE)
		return byte_level(1);
	steps = json_pack("[o, {s:s}, {s:s}]", replace(MARK, " "), "type", "ByteFallback", "type",
	                  "Fuse");
	if (v->adds_space)
		json_array_append_new(steps, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip",
		                                       "content", " ", "start", 1, "stop", 0));
	return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", steps);
}

/* A token by its id as JSON; null when there is none. */
static json_t *token(const struct vocab *v, int32_t id)
{
	struct gguf_str s = vocab_piece(v, id, NULL);

	return id < 0 ? json_null() : json_stringn(s.p, s.n);
}

static void add_special(const struct vocab *v, int32_t id, json_t *single, json_t *tokens)
{
	struct gguf_str s = vocab_piece(v, id, NULL);

	json_array_append_new(
	    single, json_pack("{s:{s:o, s:i}}", "SpecialToken", "id", token(v, id), "type_id", 0));
	json_object_setn_new(tokens, s.p, s.n,
	                     json_pack("{s:o, s:[i], s:[o]}", "id", token(v, id), "ids", id,
	                               "tokens", token(v, id)));
}

static json_t *post_processor(const struct vocab *v)
{
	json_t *single, *tokens, *pair;

	if (!v->adds_bos && !v->adds_eos)
		return json_null();
	single = json_array();
	tokens = json_object();
	if (v->adds_bos)
		add_special(v, v->bos, single, tokens);
	json_array_append_new(single,
	                      json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
	if (v->adds_eos)
		add_special(v, v->eos, single, tokens);
	pair = json_deep_copy(single);
	json_array_append_new(pair,
	                      json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 1));
	return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single,
	                 "pair", pair, "special_tokens", tokens);
}

static int put_model(struct export *x)
{
	const struct vocab *v = x->v;
	int spm = v->kind == VOCAB_SPM;

	fputs(" \"model\": {\n  \"type\": \"BPE\",\n  \"dropout\": null,\n", x->f);
	if (put_value(x, "unk_token", spm ? token(v, v->unk) : json_null()))
		return -1;
	fprintf(x->f,
	        "  \"continuing_subword_prefix\": null,\n  \"end_of_word_suffix\": null,\n"
	        "  \"fuse_unk\": %s,\n  \"byte_fallback\": %s,\n  \"ignore_merges\": %s,\n",
	        spm ? "true" : "false", spm ? "true" : "false",
	        v->pre && v->pre->ignore_merges ? "true" : "false");
	if (put_vocab(x))
		return -1;
	fputs("  \"merges\": [", x->f);
	if (spm ? put_spm_merges(x) : put_bpe_merges(x))
		return -1;
	fputs("\n  ]\n }\n", x->f);
	return 0;
}

static int put_tokenizer(struct export *x)
{
	const struct vocab *v = x->v;

	fputs("{\n \"version\": \"1.0\",\n \"truncation\": null,\n \"padding\": null,\n", x->f);
	if (put_added(x) || put_value(x, "normalizer", normalizer(v)) ||
	    put_value(x, "pre_tokenizer", v->pre ? pre_tokenizer(v) : json_null()) ||
	    put_value(x, "post_processor", post_processor(v)) ||
	    put_value(x, "decoder", decoder(v)) || put_model(x))
		return -1;
	fputs("}\n", x->f);
	return 0;
}

static int put_object(struct export *x, json_t *o)
{
	int r = o ? json_dumpf(o, x->f, JSON_INDENT(1)) : -1;

	json_decref(o);
	fputs("\n", x->f);
	return r ? err_set(x->e, ERR_TROUBLE, "no memory, or not UTF-8, which JSON needs") : 0;
}

static int32_t id_of(const struct export *x, const char *key)
{
	uint64_t id;

	if (gguf_get_u64(x->g, key, &id, NULL) || id >= vocab_size(x->v))
		return -1;
	return (int32_t)id;
}

static int put_config(struct export *x)
{
	const struct vocab *v = x->v;
	struct gguf_str template;
	json_t *o = json_pack(
	    "{s:b, s:b, s:o, s:o, s:o, s:o, s:b, s:s}", "add_bos_token", v->adds_bos,
	    "add_eos_token", v->adds_eos, "bos_token", token(v, v->bos), "eos_token",
	    token(v, v->eos), "unk_token", token(v, v->unk), "pad_token",
	    token(v, id_of(x, "tokenizer.ggml.padding_token_id")), "clean_up_tokenization_spaces",
	    0, "tokenizer_class", "PreTrainedTokenizerFast");

	if (o && !gguf_get_str(x->g, "tokenizer.chat_template", &template, NULL) &&
	    json_object_set_new(o, "chat_template", json_stringn(template.p, template.n))) {
		json_decref(o);
		o = NULL;
	}
	return put_object(x, o);
}

/* All ends that the file tells, eos first. */
static int put_generation(struct export *x)
{
	const int32_t ends[] = {x->v->eos, id_of(x, "tokenizer.ggml.eot_token_id"),
	                        id_of(x, "tokenizer.ggml.eom_token_id")};
	json_t *o = json_object(), *list = json_array();

	for (int i = 0; i < 3; i++)
		if (ends[i] >= 0 && (!i || ends[i] != x->v->eos))
			json_array_append_new(list, json_integer(ends[i]));
	if (x->v->bos >= 0)
		json_object_set_new(o, "bos_token_id", json_integer(x->v->bos));
	if (json_array_size(list) == 1)
		json_object_set(o, "eos_token_id", json_array_get(list, 0));
	else if (json_array_size(list))
		json_object_set(o, "eos_token_id", list);
	json_decref(list);
	return put_object(x, o);
}

static int put_stream(struct export *x, int fd, int (*put)(struct export *x))
{
	int copy = dup(fd), r, bad;

	x->f = copy < 0 ? NULL : fdopen(copy, "w");
	if (!x->f) {
		err_sys(x->e, "cannot open");
		if (copy >= 0)
			close(copy);
		return -1;
	}
	r = put(x);
	bad = ferror(x->f);
	if ((fclose(x->f) || bad) && !r)
		r = err_sys(x->e, "cannot write");
	return r;
}

/* Writes a file of the directory by put. */
static int put_file(struct export *x, const char *dir, const char *name,
                    int (*put)(struct export *x))
{
	char path[PATH_MAX];
	struct io_out o;

	if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
		return err_set(x->e, ERR_TROUBLE, "%s: the path is too long", name);
	if (io_create(&o, path, 1, x->e)) /* a run that was killed may have left it */
		return err_in(x->e, "%s", name);
	if (put_stream(x, o.fd, put)) {
		io_abort(&o);
		return err_in(x->e, "%s", name);
	}
	return io_commit(&o, x->e) ? err_in(x->e, "%s", name) : 0;
}

int hf_vocab_export(const struct gguf *g, const char *dir, struct err *e)
{
	struct export x = {.g = g, .e = e};
	int r;

	if (!gguf_find(g, "tokenizer.ggml.model"))
		return 0;
	if (vocab_open(&x.v, g, NULL, e))
		return -1;
	x.specials_apart = x.v->kind == VOCAB_BPE && specials_follow(x.v);
	r = put_file(&x, dir, "tokenizer.json", put_tokenizer) ||
	    put_file(&x, dir, "tokenizer_config.json", put_config) ||
	    put_file(&x, dir, "generation_config.json", put_generation);
	vocab_close(x.v);
	return r ? -1 : 0;
}
