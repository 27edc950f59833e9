/*
 * Fuzzing of tokenizers of checkpoints, and of what they become: the input is a tokenizer.json or a
 * tokenizer.model, behind it (after a zero byte) a text.  What is accepted is written as GGUF,
 * opened and encodes the text.
 */
#include <stdlib.h>
#include <string.h>

#include "hf_vocab.h"
#include "vocab.h"

struct bytes {
	uint8_t *p;
	size_t n;
};

static int append(void *arg, const void *p, size_t n, struct err *e)
{
	struct bytes *b = arg;

	(void)e;
	if (!(b->p = realloc(b->p, b->n + n + 1)))
		abort();
	memcpy(b->p + b->n, p, n);
	b->n += n;
	return 0;
}

/* An id that is no token, or a failure without a message, is a fault. */
static void encode(const struct vocab *v, const char *p, size_t n)
{
	struct vocab_text text[2] = {{p, n / 2, 1}, {p + n / 2, n - n / 2, 0}};
	struct ids l = {NULL, 0, 0};
	struct err e = {0};
	char out[64];

	if (vocab_encode(v, text, 2, 1, &l, &e))
		abort();
	for (size_t i = 0; i < l.n; i++) {
		if (l.v[i] < 0 || (uint32_t)l.v[i] >= vocab_size(v))
			abort();
		vocab_decode(v, l.v[i], 1, out, sizeof out);
	}
	ids_free(&l);
}

static void use(const struct hf_vocab *v, const char *p, size_t n)
{
	struct gguf_write w = {0};
	struct bytes b = {NULL, 0};
	struct err e = {0};
	struct vocab *vocab;
	struct gguf g;

	if (hf_vocab_write(v, &w, &e) || gguf_write_str(&w, "general.architecture", "x", 1, &e) ||
	    gguf_write_layout(&w, 0, &e) || gguf_write_header(&w, 0, append, &b, &e) ||
	    gguf_parse(&g, b.p, b.n, GGUF_HEADER_ONLY, &e))
		abort();
	if (!vocab_open(&vocab, &g, NULL, &e)) {
		encode(vocab, p, n);
		vocab_close(vocab);
	} else if (!e.text[0]) {
		abort();
	}
	gguf_close(&g);
	gguf_write_free(&w);
	free(b.p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
	int json = size && (data[0] == '{' || data[0] == ' ');
	size_t n = json && zero ? (size_t)(zero - data) : size;
	struct err e = {0};
	struct hf_vocab v;

	if (!hf_vocab_parse(&v, json ? "tokenizer.json" : "tokenizer.model", (const char *)data, n,
	                    512, &e)) {
		use(&v, (const char *)data + n, size - n);
		hf_vocab_close(&v);
	} else if (!e.text[0] || e.status < ERR_TROUBLE) {
		abort();
	}
	return 0;
}
