/* Loading fails at tensor k in some steps and leaves the buffers of the k tensors before. */
#include "leaks_model.h"

static struct gguf file;

static void begin(void)
{
	struct err e;
	model_begin();
	if (gguf_open(&file, model_path, 0, &e) != 0)
		model_failed(&e);
}

static int load(void *weights[MODEL_TENSORS], size_t bad)
{
	for (size_t k = 0; k < MODEL_TENSORS; k++) {
		if (k == bad)
			return -1;
		weights[k] = weight_copy(&file.tensors[k]);
	}
	return 0;
}

static void step(unsigned i)
{
	void *weights[MODEL_TENSORS];
	size_t bad = leaks_chance(30) ? 1 + (size_t)leaks_random(MODEL_TENSORS - 1) : MODEL_TENSORS;
	(void)i;
	if (load(weights, bad) != 0) {
		leaks_error();
		return;
	}
	for (size_t k = 0; k < MODEL_TENSORS; k++)
		mem_free(weights[k]);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.begin = begin, .step = step});
}
