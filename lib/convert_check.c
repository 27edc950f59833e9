/* Manifests: checksums of tensors and files, in lines that gguf-hash would print. */
#include "convert_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"

#define MAX_MANIFEST (64 << 20) /* bytes */

/* The name without directories: manifests move with their files. */
static const char *base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int convert_manifest(const struct convert *c, FILE *out, struct err *e)
{
	char sum[HASH_TEXT];

	for (unsigned f = 0; f < c->n_files; f++) {
		const struct convert_file *file = &c->files[f];
		for (uint64_t i = file->first; i < file->first + file->n; i++)
			fprintf(out, "xxh64  %s  %s:%s\n", hash_text(sum, c->jobs[i].hash),
			        base(file->path), c->jobs[i].name);
		fprintf(out, "xxh64  %s  %s\n", hash_text(sum, file->value), base(file->path));
	}
	return ferror(out) ? err_sys(e, "cannot write") : 0;
}

/* A file that a manifest names, open while its lines last. */
struct subject {
	char *path; /* owned; NULL: none */
	struct gguf g;
	struct safetensors st;
	int is_st;
};

static void end_subject(struct subject *s)
{
	if (s->path && s->is_st)
		safetensors_close(&s->st);
	else if (s->path)
		gguf_close(&s->g);
	mem_free(s->path);
	s->path = NULL;
}

/* Names are relative to where the manifest lies. */
static char *path_of(const char *manifest, const char *name, struct err *e)
{
	const char *slash = *name == '/' ? NULL : strrchr(manifest, '/');
	size_t dir = slash ? (size_t)(slash - manifest) + 1 : 0, n = dir + strlen(name) + 1;
	char *path = mem_alloc(MEM_IO, n, e);

	if (path)
		snprintf(path, n, "%.*s%s", (int)dir, manifest, name);
	return path;
}

static int begin_subject(struct subject *s, const char *manifest, const char *name, struct err *e)
{
	char *path = path_of(manifest, name, e);
	size_t n = strlen(name);

	if (!path)
		return -1;
	if (s->path && !strcmp(s->path, path)) {
		mem_free(path);
		return 0;
	}
	end_subject(s);
	s->is_st = n > 12 && !strcmp(name + n - 12, ".safetensors");
	if (s->is_st ? safetensors_open(&s->st, path, e)
	             : gguf_open(&s->g, path, GGUF_NO_SIBLINGS, e)) {
		mem_free(path);
		return err_in(e, "%s", name);
	}
	s->path = path;
	return 0;
}

/* The sum of bytes of a file. */
static int sum_of(int fd, uint64_t offset, uint64_t bytes, uint64_t *sum, struct err *e)
{
	struct hash h;

	hash_begin(&h);
	if (hash_add_fd(&h, fd, offset, bytes, e))
		return -1;
	*sum = hash_value(&h);
	return 0;
}

/* The sum of a tensor's payload; 1 when there is no such tensor. */
static int sum_of_tensor(const struct subject *s, const char *name, uint64_t *sum, struct err *e)
{
	if (s->is_st) {
		const struct safetensors_tensor *t = safetensors_find(&s->st, name);
		return t ? sum_of(s->st.files[0].fd, t->offset, t->bytes, sum, e) : 1;
	}
	const struct gguf_tensor *t = gguf_tensor(&s->g, name);
	return t ? sum_of(s->g.parts[0].map.fd, t->offset, t->bytes, sum, e) : 1;
}

/* The sum of all payloads and nothing between them: what llama.cpp's gguf-hash calls the sum of a
 * file. */
static int sum_of_payloads(const struct subject *s, uint64_t *sum, struct err *e)
{
	struct hash h;

	hash_begin(&h);
	for (uint64_t i = 0; i < s->g.n_tensors; i++) {
		const struct gguf_tensor *t = &s->g.tensors[i];
		if (hash_add_fd(&h, s->g.parts[0].map.fd, t->offset, t->bytes, e))
			return -1;
	}
	*sum = hash_value(&h);
	return 0;
}

/* A file has the sum of its bytes, or of its payloads.  0 equal, 1 it differs, -1. */
static int compare_file(const struct subject *s, uint64_t want, struct err *e)
{
	uint64_t have;

	if (sum_of(s->is_st ? s->st.files[0].fd : s->g.parts[0].map.fd, 0,
	           s->is_st ? s->st.files[0].size : s->g.parts[0].size, &have, e))
		return -1;
	if (have == want || s->is_st)
		return have != want;
	return sum_of_payloads(s, &have, e) ? -1 : have != want;
}

/* The same of a tensor; 2: there is no such tensor. */
static int compare_tensor(const struct subject *s, const char *name, uint64_t want, struct err *e)
{
	uint64_t have;
	int r = sum_of_tensor(s, name, &have, e);

	return r < 0 ? -1 : r ? 2 : have != want;
}

/* One line: "xxh64  HEX  FILE" or "xxh64  HEX  FILE:TENSOR".  1: it differs, or is missing. */
static int check_line(struct subject *s, const char *manifest, char *line, FILE *out, struct err *e)
{
	char *kind, *hex, *name, *tensor, *end, *save;
	uint64_t want;
	int r;

	kind = strtok_r(line, " \t\r", &save);
	if (!kind || strcmp(kind, "xxh64"))
		return 0;
	hex = strtok_r(NULL, " \t\r", &save);
	name = strtok_r(NULL, "\r", &save);
	if (!hex || !name)
		return err_set(e, ERR_TROUBLE, "a line of xxh64 without a sum and a name");
	name += strspn(name, " \t*");
	errno = 0;
	want = strtoull(hex, &end, 16);
	if (*end || errno || strlen(hex) != 16)
		return err_set(e, ERR_TROUBLE, "%s is no xxh64", hex);
	tensor = strchr(name, ':');
	if (tensor)
		*tensor++ = 0;
	if (begin_subject(s, manifest, name, e))
		return -1;
	r = tensor ? compare_tensor(s, tensor, want, e) : compare_file(s, want, e);
	if (r < 0)
		return err_in(e, "%s", name);
	if (r)
		fprintf(out, "%s%s%s: %s\n", name, tensor ? ":" : "", tensor ? tensor : "",
		        r == 2 ? "is missing" : "differs");
	return r > 0;
}

int convert_check(const char *manifest, FILE *out, struct err *e)
{
	struct subject s = {0};
	char *text, *line, *save;
	size_t n;
	int r = 0, lines = 0;

	if (io_slurp(manifest, MAX_MANIFEST, &text, &n, e))
		return -1;
	for (line = strtok_r(text, "\n", &save); line && r >= 0;
	     line = strtok_r(NULL, "\n", &save)) {
		int one = check_line(&s, manifest, line, out, e);
		lines++;
		r = one < 0 ? -1 : r | one;
	}
	end_subject(&s);
	free(text);
	if (!r && !lines)
		return err_set(e, ERR_TROUBLE, "is empty");
	return r;
}
