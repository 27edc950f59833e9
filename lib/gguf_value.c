/* Typed values out of the metadata that gguf.c found. */
#include "gguf.h"

#include <math.h>

#include "rd.h"

/* Bits of element i of a numeric array, sign-extended; reals as stored. */
static uint64_t load(const struct gguf *g, const struct gguf_kv *kv, uint64_t i)
{
	int swapped = g->parts[kv->part].swapped;
	const uint8_t *p = kv->data;

	switch (kv->element) {
	case GGUF_U8:
	case GGUF_BOOL:
		return p[i];
	case GGUF_I8:
		return (uint64_t)(int8_t)p[i];
	case GGUF_U16:
		return rd_load16(p + 2 * i, swapped);
	case GGUF_I16:
		return (uint64_t)(int16_t)rd_load16(p + 2 * i, swapped);
	case GGUF_U32:
	case GGUF_F32:
		return rd_load32(p + 4 * i, swapped);
	case GGUF_I32:
		return (uint64_t)(int32_t)rd_load32(p + 4 * i, swapped);
	case GGUF_U64:
	case GGUF_I64:
	case GGUF_F64:
		return rd_load64(p + 8 * i, swapped);
	default:
		return 0;
	}
}

static int is_signed(enum gguf_type t)
{
	return t == GGUF_I8 || t == GGUF_I16 || t == GGUF_I32 || t == GGUF_I64;
}

static int is_integer(enum gguf_type t)
{
	return is_signed(t) || t == GGUF_U8 || t == GGUF_U16 || t == GGUF_U32 || t == GGUF_U64;
}

static int wrong(const struct gguf_kv *kv, const char *expected, struct err *e)
{
	char name[100];

	err_quote(name, sizeof name, kv->key.p, kv->key.n);
	return err_set(e, ERR_TROUBLE, "%s is %s%s, expected %s", name,
	               kv->type == GGUF_ARRAY ? "an array of " : "", gguf_type_name(kv->element),
	               expected);
}

int gguf_array_u64(const struct gguf *g, const struct gguf_kv *kv, uint64_t i, uint64_t *out,
                   struct err *e)
{
	char name[100];

	if (!is_integer(kv->element))
		return wrong(kv, "an integer", e);
	uint64_t v = load(g, kv, i);
	if (is_signed(kv->element) && (int64_t)v < 0) {
		err_quote(name, sizeof name, kv->key.p, kv->key.n);
		return err_set(e, ERR_TROUBLE, "%s is %lld, expected a number from 0", name,
		               (long long)v);
	}
	*out = v;
	return 0;
}

double gguf_array_f64(const struct gguf *g, const struct gguf_kv *kv, uint64_t i)
{
	uint64_t v = load(g, kv, i);
	uint32_t v32 = (uint32_t)v;
	double d;
	float f;

	if (kv->element == GGUF_STRING || kv->element == GGUF_ARRAY)
		return NAN;
	if (kv->element == GGUF_F64) {
		memcpy(&d, &v, sizeof d);
		return d;
	}
	if (kv->element == GGUF_F32) {
		memcpy(&f, &v32, sizeof f);
		return (double)f;
	}
	return is_signed(kv->element) ? (double)(int64_t)v : (double)v;
}

int gguf_get_u64(const struct gguf *g, const char *key, uint64_t *out, struct err *e)
{
	const struct gguf_kv *kv = gguf_find(g, key);

	if (!kv)
		return 1;
	return kv->type == GGUF_ARRAY ? wrong(kv, "an integer", e)
	                              : gguf_array_u64(g, kv, 0, out, e);
}

int gguf_get_f64(const struct gguf *g, const char *key, double *out, struct err *e)
{
	const struct gguf_kv *kv = gguf_find(g, key);

	if (!kv)
		return 1;
	if (kv->type != GGUF_F32 && kv->type != GGUF_F64)
		return wrong(kv, "a real number", e);
	*out = gguf_array_f64(g, kv, 0);
	return 0;
}

int gguf_get_bool(const struct gguf *g, const char *key, int *out, struct err *e)
{
	const struct gguf_kv *kv = gguf_find(g, key);

	if (!kv)
		return 1;
	if (kv->type != GGUF_BOOL)
		return wrong(kv, "a boolean", e);
	*out = kv->data[0] != 0;
	return 0;
}

int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *out, struct err *e)
{
	const struct gguf_kv *kv = gguf_find(g, key);

	if (!kv)
		return 1;
	if (kv->type != GGUF_STRING)
		return wrong(kv, "a string", e);
	out->p = (const char *)kv->data + 8;
	out->n = kv->bytes - 8;
	return 0;
}

int gguf_next_str(const struct gguf *g, const struct gguf_kv *kv, struct gguf_walk *w,
                  struct gguf_str *out)
{
	if (kv->element != GGUF_STRING || w->i >= kv->count)
		return 0;
	/* The lengths were checked against the file when it was opened. */
	out->n = rd_load64(kv->data + w->at, g->parts[kv->part].swapped);
	out->p = (const char *)kv->data + w->at + 8;
	w->at += 8 + out->n;
	w->i++;
	return 1;
}
