#include "json.h"

#include <stdlib.h>
#include <string.h>

#include "io.h"

int json_parse(const char *text, size_t n, json_t **root, struct err *e)
{
	json_error_t error;
	char what[120];

	*root = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	if (*root)
		return 0;
	return err_set(e, ERR_TROUBLE, "not JSON: line %d column %d: %s", error.line, error.column,
	               err_quote(what, sizeof what, error.text, strlen(error.text)));
}

int json_parse_file(const char *path, size_t limit, json_t **root, struct err *e)
{
	char *text;
	size_t n;

	if (io_slurp_file(path, limit, &text, &n, e))
		return -1;
	int r = json_parse(text, n, root, e);
	free(text);
	return r;
}

const json_t *json_at(const json_t *root, const char *path)
{
	while (root && *path) {
		size_t n = strcspn(path, ".");
		root = json_object_getn(root, path, n);
		path += n + (path[n] == '.');
	}
	return root && !json_is_null(root) ? root : NULL;
}

const char *json_kind(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "an integer";
	case JSON_REAL:
		return "a real number";
	case JSON_TRUE:
	case JSON_FALSE:
		return "a boolean";
	default:
		return "null";
	}
}

static int wrong(const char *path, const json_t *v, const char *expected, struct err *e)
{
	return err_set(e, ERR_TROUBLE, "%s is %s, expected %s", path, json_kind(v), expected);
}

int json_get_u64(const json_t *root, const char *path, uint64_t *out, struct err *e)
{
	const json_t *v = json_at(root, path);

	if (!v)
		return 1;
	if (!json_is_integer(v))
		return wrong(path, v, "an integer", e);
	if (json_integer_value(v) < 0)
		return err_set(e, ERR_TROUBLE, "%s is %lld, expected a number from 0", path,
		               (long long)json_integer_value(v));
	*out = (uint64_t)json_integer_value(v);
	return 0;
}

int json_get_f64(const json_t *root, const char *path, double *out, struct err *e)
{
	const json_t *v = json_at(root, path);

	if (!v)
		return 1;
	if (!json_is_number(v))
		return wrong(path, v, "a number", e);
	*out = json_number_value(v);
	return 0;
}

int json_get_bool(const json_t *root, const char *path, int *out, struct err *e)
{
	const json_t *v = json_at(root, path);

	if (!v)
		return 1;
	if (!json_is_boolean(v))
		return wrong(path, v, "true or false", e);
	*out = json_is_true(v);
	return 0;
}

int json_get_str(const json_t *root, const char *path, const char **out, struct err *e)
{
	const json_t *v = json_at(root, path);

	if (!v)
		return 1;
	if (!json_is_string(v))
		return wrong(path, v, "a string", e);
	*out = json_string_value(v);
	return 0;
}
