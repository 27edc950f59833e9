/*
 * Fuzzing of config.json: the input stands beside the tensors of a small checkpoint.  What is
 * accepted has tensors of the shapes that it says, what is refused must say why.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint.h"
#include "mem.h"

static char dir[] = "/tmp/fuzz_config.XXXXXX";

static void clean(void)
{
	char path[80];

	snprintf(path, sizeof path, "%s/config.json", dir);
	unlink(path);
	snprintf(path, sizeof path, "%s/model.safetensors", dir);
	unlink(path);
	rmdir(dir);
}

static void prepare(void)
{
	char from[4096], to[80];

	snprintf(to, sizeof to, "%s/model.safetensors", mkdtemp(dir));
	if (!realpath("tests/data/checkpoints/a-packed/model.safetensors", from) ||
	    symlink(from, to))
		abort();
	atexit(clean);
}

static void use(const struct checkpoint *c)
{
	float *freqs, factor;
	struct err e = {0};

	for (uint64_t i = 0; i < c->n_tensors; i++) {
		const struct checkpoint_tensor *t = &c->tensors[i];
		uint64_t rows = t->scale ? (t->rows + 3) / 4 : t->rows;
		if (t->tensor->elements != rows * t->cols || (t->heads && t->rows % t->heads))
			abort();
		if (t->scale && checkpoint_factor(c, t, &factor, &e) && !e.text[0])
			abort();
	}
	if (!checkpoint_rope_freqs(c, &freqs, &e))
		mem_free(freqs);
	else if (!e.text[0])
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct checkpoint c;
	struct err e = {0};
	static int ready;
	char path[80];
	int fd;

	if (!ready++)
		prepare();
	snprintf(path, sizeof path, "%s/config.json", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size || close(fd))
		abort();
	if (!checkpoint_open(&c, dir, CHECKPOINT_AUTO, 1, &e)) {
		use(&c);
		checkpoint_close(&c);
	} else if (!e.text[0] || e.status < ERR_TROUBLE || strchr(e.text, '\n')) {
		abort();
	}
	return 0;
}
