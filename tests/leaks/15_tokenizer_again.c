/* Each load parses the tokenizer's tables again and forgets the old ones. */
#include "leaks_model.h"

static struct gguf file;
static struct vocab *vocab;

static void begin(void)
{
	struct err e;
	model_begin();
	if (gguf_open(&file, model_path, 0, &e) != 0)
		model_failed(&e);
}

SITE static void tokenizer_load(void)
{
	struct err e;
	if (vocab_open(&vocab, &file, NULL, &e) != 0)
		model_failed(&e);
}

static void step(unsigned i)
{
	struct ids ids = {0};
	struct vocab_text text = {"the other thing", 15, 0};
	struct err e;
	(void)i;
	tokenizer_load();
	if (vocab_encode(vocab, &text, 1, 0, &ids, &e) != 0)
		model_failed(&e);
	ids_free(&ids);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.begin = begin, .step = step});
}
