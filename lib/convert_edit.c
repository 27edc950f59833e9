/* Metadata edits: KEY=TYPE:VALUE and KEY; and edits of a file where it lies. */
#include "convert_private.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_KEY 200

struct number {
	const char *name;
	enum gguf_type type;
	long long min;
	unsigned long long max;
};

static const struct number integers[] = {
    {"u8", GGUF_U8, 0, UINT8_MAX},    {"i8", GGUF_I8, INT8_MIN, INT8_MAX},
    {"u16", GGUF_U16, 0, UINT16_MAX}, {"i16", GGUF_I16, INT16_MIN, INT16_MAX},
    {"u32", GGUF_U32, 0, UINT32_MAX}, {"i32", GGUF_I32, INT32_MIN, INT32_MAX},
    {"u64", GGUF_U64, 0, UINT64_MAX}, {"i64", GGUF_I64, INT64_MIN, INT64_MAX},
};

static int bad_value(const char *key, const char *type, const char *value, struct err *e)
{
	return err_set(e, ERR_TROUBLE, "-s %s: %s is no value of type %s", key, value, type);
}

static int set_integer(struct gguf_write *w, const char *key, const struct number *t,
                       const char *value, struct err *e)
{
	char *end;
	uint64_t v;

	errno = 0;
	if (*value == '-') {
		long long s = strtoll(value, &end, 10);
		if (*end || errno || s < t->min)
			return bad_value(key, t->name, value, e);
		v = (uint64_t)s;
	} else {
		v = strtoull(value, &end, 10);
		if (!*value || *end || errno || v > t->max || strchr(" +\t", *value))
			return bad_value(key, t->name, value, e);
	}
	uint8_t v8 = (uint8_t)v;
	uint16_t v16 = (uint16_t)v;
	uint32_t v32 = (uint32_t)v;
	const void *p = t->type == GGUF_U8 || t->type == GGUF_I8     ? (const void *)&v8
	                : t->type == GGUF_U16 || t->type == GGUF_I16 ? (const void *)&v16
	                : t->type == GGUF_U32 || t->type == GGUF_I32 ? (const void *)&v32
	                                                             : (const void *)&v;
	return gguf_write_numbers(w, key, t->type, 0, p, 1, e);
}

static int set_real(struct gguf_write *w, const char *key, const char *type, const char *value,
                    struct err *e)
{
	char *end;
	double v = strtod(value, &end);

	if (!*value || *end || !isfinite(v))
		return bad_value(key, type, value, e);
	if (!strcmp(type, "f64"))
		return gguf_write_numbers(w, key, GGUF_F64, 0, &v, 1, e);
	return gguf_write_f32(w, key, (float)v, e);
}

static int set_value(struct gguf_write *w, const char *key, const char *type, const char *value,
                     struct err *e)
{
	for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
		if (!strcmp(type, integers[i].name))
			return set_integer(w, key, &integers[i], value, e);
	if (!strcmp(type, "f32") || !strcmp(type, "f64"))
		return set_real(w, key, type, value, e);
	if (!strcmp(type, "bool")) {
		if (strcmp(value, "true") && strcmp(value, "false"))
			return bad_value(key, type, value, e);
		return gguf_write_bool(w, key, !strcmp(value, "true"), e);
	}
	if (!strcmp(type, "str"))
		return gguf_write_str(w, key, value, strlen(value), e);
	return err_set(
	    e, ERR_TROUBLE,
	    "-s %s: type %s is not known, expected u8, i8, u16, i16, u32, i32, u64, i64, "
	    "f32, f64, bool or str",
	    key, type);
}

static int set_one(struct gguf_write *w, const char *text, struct err *e)
{
	const char *eq = strchr(text, '='), *colon = eq ? strchr(eq, ':') : NULL;
	char key[MAX_KEY], type[8];

	if (!colon || eq == text || (size_t)(eq - text) >= sizeof key ||
	    (size_t)(colon - eq - 1) >= sizeof type)
		return err_set(e, ERR_TROUBLE, "-s %s: expected KEY=TYPE:VALUE", text);
	memcpy(key, text, (size_t)(eq - text));
	key[eq - text] = 0;
	memcpy(type, eq + 1, (size_t)(colon - eq - 1));
	type[colon - eq - 1] = 0;
	return set_value(w, key, type, colon + 1, e);
}

int convert_edit(struct gguf_write *w, const char *const *set, size_t n_set,
                 const char *const *unset, size_t n_unset, struct err *e)
{
	for (size_t i = 0; i < n_unset; i++)
		if (gguf_write_delete(w, unset[i]))
			return err_set(e, ERR_TROUBLE, "-d %s: there is no such key", unset[i]);
	for (size_t i = 0; i < n_set; i++)
		if (set_one(w, set[i], e))
			return -1;
	return 0;
}

/* --- in place ------------------------------------------------------------------------------ */

/* A write within one page is not torn by the end of the process, so that readers find the old file
 * or the new one; anything larger is written anew. */
#define PAGE 4096

/* Finds the bytes that change. */
struct diff {
	const uint8_t *old; /* the file, mapped */
	uint64_t at;
	uint64_t first, last; /* [first, last) changes; last 0: nothing yet */
	uint8_t page[PAGE];   /* the new content of the page that first is in */
	int too_many;
};

static int diff_put(void *arg, const void *p, size_t n, struct err *e)
{
	struct diff *d = arg;
	const uint8_t *bytes = p;

	(void)e;
	for (size_t i = 0; i < n; i++, d->at++) {
		uint64_t page = d->at / PAGE;
		if (bytes[i] != d->old[d->at]) {
			if (!d->last)
				d->first = d->at;
			d->last = d->at + 1;
			d->too_many |= page != d->first / PAGE;
		}
		/* The page is kept from its first byte on until a change pins it. */
		if (!d->last || page == d->first / PAGE)
			d->page[d->at % PAGE] = bytes[i];
	}
	return 0;
}

static int same_layout(const struct convert *c)
{
	if (c->g.n_parts != 1 || c->n_files != 1 || c->g.parts[0].swapped ||
	    c->g.parts[0].version != 3 || c->files[0].header_size != c->g.parts[0].header_size)
		return 0;
	for (uint64_t i = 0; i < c->n_jobs; i++)
		if (!c->jobs[i].copy || c->jobs[i].offset != c->jobs[i].out_offset)
			return 0;
	return 1;
}

int convert_plan_patch(struct convert *c, struct err *e)
{
	struct diff d = {.old = c->g.parts[0].map.data};

	if (!same_layout(c))
		return 0;
	if (convert_put_header(c, 0, diff_put, &d, e))
		return -1;
	c->patch = !d.too_many;
	return 0;
}

int convert_patch(const struct convert *c, struct err *e)
{
	struct diff d = {.old = c->g.parts[0].map.data};
	int fd, r;

	if (convert_put_header(c, 0, diff_put, &d, e))
		return -1;
	if (!d.last)
		return 0;
	fd = open(c->o->input, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "%s: cannot write", c->o->input);
	uint64_t n = d.last - d.first;
	r = pwrite(fd, d.page + d.first % PAGE, n, (off_t)d.first) == (ssize_t)n && !fsync(fd)
	        ? 0
	        : err_sys(e, "%s: cannot write", c->o->input);
	close(fd);
	return r;
}
