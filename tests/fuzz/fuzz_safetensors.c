/*
 * Fuzzing of safetensors files: what is accepted must be consistent (ranges in the file, names
 * found again), what is refused must say why.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "safetensors.h"

static void use(const struct safetensors *s)
{
	for (uint32_t i = 0; i < s->n_tensors; i++) {
		const struct safetensors_tensor *t = &s->tensors[i];
		const struct safetensors_file *f = &s->files[t->file];
		if (t->offset < f->data_start || t->bytes > f->size - t->offset ||
		    t->bytes != t->elements * t->type->bytes || safetensors_find(s, t->name) != t)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	struct safetensors s;
	struct err e = {0};
	char path[40];

	if (fd < 0)
		fd = memfd_create("fuzz", 0);
	if (fd < 0 || ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (!safetensors_open(&s, path, &e)) {
		use(&s);
		safetensors_close(&s);
	} else if (!e.text[0] || e.status < ERR_TROUBLE || strchr(e.text, '\n')) {
		abort();
	}
	return 0;
}
