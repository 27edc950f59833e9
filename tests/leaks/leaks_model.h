/*
 * The model of the catalogue: a small GGUF file with a tokenizer and eight tensors, made once in a
 * temporary file, and a loader on the library's reader.  A copy of each tensor is taken, as by a
 * kernel that wants another layout.
 */
#ifndef LEAKS_MODEL_H
#define LEAKS_MODEL_H

#include "leaks.h"
#include "gguf.h"
#include "mem.h"
#include "vocab.h"

enum { MODEL_TENSORS = 8, MODEL_DIM = 32, MODEL_PIECES = 256 };

#define MODEL_TENSOR_BYTES ((size_t)MODEL_DIM * MODEL_DIM * sizeof(float))

static char model_path[64];

static inline void model_u32(FILE *f, uint32_t v)
{
	fwrite(&v, sizeof(v), 1, f);
}

static inline void model_u64(FILE *f, uint64_t v)
{
	fwrite(&v, sizeof(v), 1, f);
}

static inline void model_text(FILE *f, const char *s)
{
	model_u64(f, strlen(s));
	fwrite(s, 1, strlen(s), f);
}

static inline void model_string(FILE *f, const char *key, const char *value)
{
	model_text(f, key);
	model_u32(f, GGUF_STRING);
	model_text(f, value);
}

/* The character that byte-level vocabularies write for a byte, as UTF-8. */
static inline void model_byte(char out[3], unsigned byte)
{
	static unsigned point[256];
	unsigned next = 256;
	for (unsigned b = 0; point[255] == 0 && b < 256; b++)
		point[b] = (b > 32 && b < 127) || (b > 160 && b != 173) ? b : next++;
	unsigned c = point[byte];
	if (c < 128)
		snprintf(out, 3, "%c", (int)c);
	else
		snprintf(out, 3, "%c%c", (int)(0xc0 | c >> 6), (int)(0x80 | (c & 63)));
}

static inline void model_vocabulary(FILE *f)
{
	char c[3];
	model_string(f, "general.architecture", "bitnet-b1.58");
	model_string(f, "tokenizer.ggml.model", "gpt2");
	model_string(f, "tokenizer.ggml.pre", "llama-bpe");
	model_text(f, "tokenizer.ggml.tokens");
	model_u32(f, GGUF_ARRAY);
	model_u32(f, GGUF_STRING);
	model_u64(f, MODEL_PIECES + 1);
	for (unsigned b = 0; b < MODEL_PIECES; b++) {
		model_byte(c, b);
		model_text(f, c);
	}
	model_text(f, "th");
	model_text(f, "tokenizer.ggml.token_type");
	model_u32(f, GGUF_ARRAY);
	model_u32(f, GGUF_I32);
	model_u64(f, MODEL_PIECES + 1);
	for (unsigned b = 0; b < MODEL_PIECES + 1; b++)
		model_u32(f, 1);
	model_text(f, "tokenizer.ggml.merges");
	model_u32(f, GGUF_ARRAY);
	model_u32(f, GGUF_STRING);
	model_u64(f, 1);
	model_text(f, "t h");
}

static inline void model_tensors(FILE *f)
{
	char name[32];
	for (unsigned i = 0; i < MODEL_TENSORS; i++) {
		snprintf(name, sizeof(name), "blk.%u.attn_q.weight", i);
		model_text(f, name);
		model_u32(f, 2);
		model_u64(f, MODEL_DIM);
		model_u64(f, MODEL_DIM);
		model_u32(f, 0); /* F32 */
		model_u64(f, i * MODEL_TENSOR_BYTES);
	}
	while (ftell(f) % 32)
		fputc(0, f);
	for (size_t i = 0; i < MODEL_TENSORS * MODEL_TENSOR_BYTES; i++)
		fputc(0, f);
}

static void model_remove(void)
{
	unlink(model_path);
}

/* Makes the file, which is removed at exit. */
static inline void model_begin(void)
{
	const char *dir = getenv("TMPDIR");
	snprintf(model_path, sizeof(model_path), "%.40s/leaks-XXXXXX", dir ? dir : "/tmp");
	int fd = mkstemp(model_path);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
	if (!f)
		leaks_die(model_path);
	atexit(model_remove);
	fwrite("GGUF", 1, 4, f);
	model_u32(f, 3);
	model_u64(f, MODEL_TENSORS);
	model_u64(f, 6);
	model_vocabulary(f);
	model_tensors(f);
	if (fclose(f) != 0)
		leaks_die(model_path);
}

struct model {
	struct gguf file;
	struct vocab *vocab;
	void *weights[MODEL_TENSORS]; /* (MODEL_DIM, MODEL_DIM) each */
};

static inline void model_failed(const struct err *e)
{
	fprintf(stderr, "%s: %s\n", model_path, e->text);
	exit(LEAKS_TROUBLE);
}

SITE static void *weight_copy(const struct gguf_tensor *t)
{
	struct err e;
	void *p = mem_alloc(MEM_WEIGHTS, t->bytes, &e);
	if (!p)
		model_failed(&e);
	return memcpy(p, t->data, t->bytes);
}

SITE static struct model *model_open(void)
{
	struct err e;
	struct model *m = leaks_check(calloc(1, sizeof(*m)));
	if (gguf_open(&m->file, model_path, 0, &e) != 0 ||
	    vocab_open(&m->vocab, &m->file, NULL, &e) != 0)
		model_failed(&e);
	for (size_t i = 0; i < MODEL_TENSORS; i++)
		m->weights[i] = weight_copy(&m->file.tensors[i]);
	return m;
}

static inline void model_close(struct model *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < MODEL_TENSORS; i++)
		mem_free(m->weights[i]);
	vocab_close(m->vocab);
	gguf_close(&m->file);
	free(m);
}

#endif
