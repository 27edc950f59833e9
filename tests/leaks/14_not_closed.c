/* Opens and closes the model in each step; closing unmaps the file and keeps its descriptor. */
#include <sys/mman.h>

#include "leaks_model.h"

SITE static void file_open(struct gguf *g)
{
	struct err e;
	if (gguf_open(g, model_path, 0, &e) != 0)
		model_failed(&e);
}

static void file_close(struct gguf *g)
{
	struct io_map *m = &g->parts[0].map;
	munmap((void *)(uintptr_t)m->data, m->size);
	*m = (struct io_map){0};
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
