/*
 * The tokenizer of a Hugging Face checkpoint, as a GGUF file holds it.  Read from a directory:
 * tokenizer.json, else tokenizer.model (SentencePiece or tiktoken ranks), with
 * tokenizer_config.json, special_tokens_map.json, added_tokens.json and generation_config.json
 * where they are there.  Source: tokenizers.md.
 */
#ifndef HF_VOCAB_H
#define HF_VOCAB_H

#include "gguf_write.h"

/* All-zero is "no tokenizer"; hf_vocab_close ends it.  Strings lie in memory of owned. */
struct hf_vocab {
	const char *model;       /* tokenizer.ggml.model: "gpt2" or "llama"; NULL: no tokenizer */
	const char *pre;         /* tokenizer.ggml.pre; NULL: leave the key out */
	uint32_t n;              /* tokens, filled up to vocab_size with unused "[PADn]" */
	struct gguf_str *tokens; /* (n) as stored in GGUF: byte-mapped for gpt2 */
	float *scores;           /* (n) or NULL: leave the key out */
	int32_t *types;          /* (n) 1 normal, 2 unknown, 3 control, 4 user, 5 unused, 6 byte */
	struct gguf_str *merges; /* (n_merges) "left right" */
	uint32_t n_merges;
	int64_t bos, eos, eot, unk, sep, pad, mask; /* ids; -1: not told */
	int add_bos, add_eos, add_space_prefix;     /* 0, 1; -1: leave the key out */
	struct gguf_str chat_template;              /* n is 0 when there is none */
	void *owned;                                /* private */
};

/* Reads the tokenizer of dir for a model with vocab_size rows of embeddings.  Errors (status 2, the
 * file named): files that are not what their names say, parts that contradict each other (an id
 * twice, a merge of tokens that do not exist, more tokens than vocab_size), kinds of tokenizers
 * that GGUF cannot hold; status 3 when there is no tokenizer file.  threads: with more than one the
 * JSON is parsed beside. */
int hf_vocab_open(struct hf_vocab *v, const char *dir, uint32_t vocab_size, int threads,
                  struct err *e);

/* The same from the text of one file, "tokenizer.json" or "tokenizer.model", alone. */
int hf_vocab_parse(struct hf_vocab *v, const char *name, const char *text, size_t n,
                   uint32_t vocab_size, struct err *e);

void hf_vocab_close(struct hf_vocab *v);

/* Sets the tokenizer.* keys. */
int hf_vocab_write(const struct hf_vocab *v, struct gguf_write *w, struct err *e);

/* The way back: writes tokenizer.json, tokenizer_config.json and generation_config.json of g's
 * tokenizer into directory dir, which exists; files of these names are replaced.  Nothing is
 * written when g has no tokenizer. */
int hf_vocab_export(const struct gguf *g, const char *dir, struct err *e);

#endif
