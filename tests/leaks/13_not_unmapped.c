/* Opens and closes the model in each step; closing forgets the mapping of the file. */
#include "leaks_model.h"

SITE static void file_open(struct gguf *g)
{
	struct err e;
	if (gguf_open(g, model_path, 0, &e) != 0)
		model_failed(&e);
}

static void file_close(struct gguf *g)
{
	close(g->parts[0].map.fd);
	g->parts[0].map = (struct io_map){0};
	gguf_close(g);
}

static void step(unsigned i)
{
	struct gguf g;
	(void)i;
	file_open(&g);
	file_close(&g);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200,
	                  (struct leaks_program){.begin = model_begin, .step = step});
}
