/* Copies the metadata strings of a header, and leaves them when a later check finds it corrupt. */
#include "leaks_model.h"

static struct gguf file;
static char *strings[MODEL_PIECES + 1];

static void begin(void)
{
	struct err e;
	model_begin();
	if (gguf_open(&file, model_path, 0, &e) != 0)
		model_failed(&e);
}

SITE static char *string_copy(const struct gguf_str *s)
{
	struct err e;
	char *p = mem_strndup(MEM_IO, s->p, s->n, &e);
	if (!p)
		model_failed(&e);
	return p;
}

static size_t strings_read(void)
{
	const struct gguf_kv *kv = gguf_find(&file, "tokenizer.ggml.tokens");
	struct gguf_walk at = {0};
	struct gguf_str s;
	size_t n = 0;
	while (n < MODEL_PIECES + 1 && gguf_next_str(&file, kv, &at, &s))
		strings[n++] = string_copy(&s);
	return n;
}

static int header_read(uint32_t version)
{
	size_t n = strings_read();
	if (version != 3)
		return -1;
	while (n-- > 0)
		mem_free(strings[n]);
	return 0;
}

static void step(unsigned i)
{
	(void)i;
	if (header_read(leaks_chance(40) ? 3 : 77) != 0)
		leaks_error();
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.begin = begin, .step = step});
}
