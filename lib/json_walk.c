#include "json_walk.h"

#include <string.h>

#define FLAGS (JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL)

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

/* Behind the string that begins at p; NULL when it does not end. */
static const char *skip_string(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\')
			p++;
	return p < end ? p + 1 : NULL;
}

/* Behind the value that begins at p, whose brackets are taken to match. */
static const char *skip_value(const char *p, const char *end)
{
	size_t depth = 0;

	while (p && p < end) {
		char c = *p;
		if (c == '"') {
			p = skip_string(p, end);
		} else {
			if (!depth && (c == ',' || c == ']' || c == '}'))
				return p;
			depth += c == '{' || c == '[';
			depth -= c == '}' || c == ']';
			p++;
		}
		if (!depth && (c == '"' || c == '}' || c == ']'))
			return p;
	}
	return NULL;
}

/* The value of a member of the object at p; NULL when it is not found. */
static const char *member(const char *p, const char *end, const char *key, size_t n)
{
	if (p == end || *p++ != '{')
		return NULL;
	while ((p = skip_space(p, end)) < end && *p == '"') {
		const char *name = p + 1;
		if (!(p = skip_string(p, end)))
			return NULL;
		size_t len = (size_t)(p - 1 - name);
		p = skip_space(p, end);
		if (p == end || *p++ != ':')
			return NULL;
		p = skip_space(p, end);
		if (len == n && !memcmp(name, key, n))
			return p;
		if (!(p = skip_value(p, end)))
			return NULL;
		p = skip_space(p, end);
		if (p < end && *p == ',')
			p++;
	}
	return NULL;
}

/* The array at path, from bracket to bracket; 0 when there is none to be seen. */
static int find(const char *text, size_t n, const char *path, const char **from, const char **to)
{
	const char *end = text + n, *p = skip_space(text, end);

	while (p && *path) {
		size_t len = strcspn(path, ".");
		p = member(p, end, path, len);
		path += len + (path[len] == '.');
	}
	if (!p || p == end || *p != '[' || !(*to = skip_value(p, end)))
		return 0;
	*from = p;
	return 1;
}

/* The text with "null" in place of the array, for the JSON library to read. */
struct feed {
	struct {
		const char *p;
		size_t n;
	} piece[3];
	int i;
};

static size_t feed(void *buf, size_t cap, void *arg)
{
	struct feed *f = arg;

	while (f->i < 3 && !f->piece[f->i].n)
		f->i++;
	if (f->i == 3)
		return 0;
	size_t n = f->piece[f->i].n < cap ? f->piece[f->i].n : cap;
	memcpy(buf, f->piece[f->i].p, n);
	f->piece[f->i].p += n;
	f->piece[f->i].n -= n;
	return n;
}

static int refuse(const json_error_t *error, struct err *e)
{
	char what[120];

	return err_set(e, ERR_TROUBLE, "not JSON: line %d column %d: %s", error->line,
	               error->column,
	               err_quote(what, sizeof what, error->text, strlen(error->text)));
}

int json_walk_parse(struct json_walk *w, const char *text, size_t n, const char *path,
                    json_t **root, struct err *e)
{
	const char *from, *to;
	json_error_t error;

	memset(w, 0, sizeof *w);
	if (!find(text, n, path, &from, &to)) {
		if (json_parse(text, n, root, e))
			return -1;
		w->list = json_at(*root, path);
		return 0;
	}
	struct feed f = {
	    {{text, (size_t)(from - text)}, {"null", 4}, {to, (size_t)(text + n - to)}}, 0};
	if (!(*root = json_load_callback(feed, &f, FLAGS, &error)))
		return refuse(&error, e);
	w->at = from + 1;
	w->end = to;
	return 0;
}

int json_walk_found(const struct json_walk *w)
{
	return w->at || json_is_array(w->list);
}

static int next_of_list(struct json_walk *w, json_t **element)
{
	if (w->i >= json_array_size(w->list))
		return 0;
	*element = json_incref(json_array_get(w->list, w->i++));
	return 1;
}

int json_walk_next(struct json_walk *w, json_t **element, struct err *e)
{
	json_error_t error;
	int comma;

	if (!w->at)
		return next_of_list(w, element);
	w->at = skip_space(w->at, w->end);
	comma = w->at < w->end && *w->at == ',';
	if (w->at + 1 == w->end && *w->at == ']')
		return 0;
	if (comma != (w->i > 0))
		return err_set(e, ERR_TROUBLE, "not JSON: element %zu: ',' expected", w->i);
	w->at += comma;
	*element = json_loadb(w->at, (size_t)(w->end - w->at),
	                      FLAGS | JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &error);
	if (!*element) {
		refuse(&error, e);
		return err_in(e, "element %zu", w->i);
	}
	w->at += error.position;
	w->i++;
	return 1;
}
