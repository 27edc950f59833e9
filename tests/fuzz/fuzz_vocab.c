/*
 * Fuzzing of the tokenizer of a GGUF file: what can be opened takes exactly what its plan says, and
 * encodes and decodes the end of the input, in plain pieces and in its chat format.
 */
#include <stdlib.h>

#include "chat.h"
#include "vocab.h"
#include "vocab_private.h"

#define TEXT 64

/* An id that is no token, or a failure without a message, is a fault. */
static void check(const struct vocab *v, struct ids *l, int r, const struct err *e)
{
	char out[16];

	if (r && !e->text[0])
		abort();
	for (size_t i = 0; i < l->n; i++) {
		if (l->v[i] < 0 || (uint32_t)l->v[i] >= vocab_size(v))
			abort();
		if (vocab_decode(v, l->v[i], 1, out, sizeof out) > vocab_longest(v))
			abort();
	}
	ids_free(l);
}

static void use(const struct gguf *g, const struct vocab *v, const char *p, size_t n)
{
	struct vocab_text text[3] = {
	    {p, n / 3, 1}, {p + n / 3, n / 3, 0}, {p + n / 3 * 2, n / 3, 1}};
	struct chat_message m = {"user", p, n};
	const struct chat_format *f = NULL;
	struct ids l = {NULL, 0, 0};
	struct err e = {0};

	check(v, &l, vocab_encode(v, text, 3, 1, &l, &e), &e);
	e.text[0] = 0;
	if (chat_detect(&f, g, v, &e))
		check(v, &l, -1, &e);
	else
		check(v, &l, chat_encode(f, v, &m, 1, &l, &e), &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t n = size < TEXT ? size : TEXT;
	struct err e = {0};
	struct vocab *v;
	struct gguf g;
	uint64_t bytes;

	if (gguf_parse(&g, data, size, GGUF_HEADER_ONLY, &e))
		return 0;
	int planned = vocab_plan(&g, &bytes, &e);
	if (!vocab_open(&v, &g, NULL, &e)) {
		if (planned || bytes != v->arena.used || bytes != v->arena.size)
			abort();
		use(&g, v, (const char *)data + size - n, n);
		vocab_close(v);
	} else if (!e.text[0]) {
		abort();
	}
	gguf_close(&g);
	return 0;
}
