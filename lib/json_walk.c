#include "json_walk.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "spin.h"

#define FLAGS (JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL)

/* Elements that are parsed at once. */
#define BATCH 256

/* Batches parsed ahead. */
#define AHEAD 8

/* How often a thread looks before it sleeps: some 20 to 100 microseconds, what a batch takes. */
#define SPINS 2000

/* A batch that waits to be walked, or was. */
struct batch {
	struct json_arena arena; /* of list */
	const json_t *list;
	int r; /* of next_batch, with its error */
	struct err err;
};

/* Two threads and a ring between them: made and used only rise. */
struct json_ahead {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	_Atomic size_t made, used;
	_Atomic int stop;
	struct json_walk walk; /* of the thread that parses */
	struct batch ring[AHEAD];
};

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

/* Behind the string that begins at p; NULL when it does not end. */
static const char *skip_string(const char *p, const char *end)
{
	const char *from = ++p, *back;

	/* A quote ends it unless the number of backslashes in front of it is odd. */
	for (; p < end && (p = memchr(p, '"', (size_t)(end - p))); p++) {
		for (back = p; back > from && back[-1] == '\\'; back--)
			;
		if ((p - back) % 2 == 0)
			return p + 1;
	}
	return NULL;
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

/* The same, in no time when it is one of the places that were found. */
static const char *skip_found(const struct json_walk *w, size_t n_walks, const char *p,
                              const char *end)
{
	for (size_t k = 0; k < n_walks; k++)
		if (w[k].at == p + 1)
			return w[k].end;
	return skip_value(p, end);
}

/* The value of a member of the object at p; NULL when it is not found.  w: places found before. */
static const char *member(const struct json_walk *w, size_t n_walks, const char *p, const char *end,
                          const char *key, size_t n)
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
		if (!(p = skip_found(w, n_walks, p, end)))
			return NULL;
		p = skip_space(p, end);
		if (p < end && *p == ',')
			p++;
	}
	return NULL;
}

/* Sets w[k] to the array or object at path, from bracket to bracket, when there is one to be seen.
 * Those before it are set. */
static void find(struct json_walk *w, size_t k, const char *text, size_t n, const char *path)
{
	const char *end = text + n, *p = skip_space(text, end);

	while (p && *path) {
		size_t len = strcspn(path, ".");
		p = member(w, k, p, end, path, len);
		path += len + (path[len] == '.');
	}
	if (!p || p == end || (*p != '[' && *p != '{') || !(end = skip_value(p, end)))
		return;
	w[k].open = *p;
	w[k].at = p + 1;
	w[k].end = end;
}

/* Pieces of text that the JSON library reads as one. */
#define PIECES (2 * JSON_WALK_MAX + 1)
struct feed {
	struct {
		const char *p;
		size_t n;
	} piece[PIECES];
	int n, i;
};

static void feed_add(struct feed *f, const char *p, size_t n)
{
	f->piece[f->n].p = p;
	f->piece[f->n++].n = n;
}

static size_t feed(void *buf, size_t cap, void *arg)
{
	struct feed *f = arg;

	while (f->i < f->n && !f->piece[f->i].n)
		f->i++;
	if (f->i == f->n)
		return 0;
	size_t n = f->piece[f->i].n < cap ? f->piece[f->i].n : cap;
	memcpy(buf, f->piece[f->i].p, n);
	f->piece[f->i].p += n;
	f->piece[f->i].n -= n;
	return n;
}

static int load(struct feed *f, json_t **out, struct err *e)
{
	json_error_t error;
	char what[120];

	if ((*out = json_load_callback(feed, f, FLAGS, &error)))
		return 0;
	return err_set(e, ERR_TROUBLE, "not JSON: line %d column %d: %s", error.line, error.column,
	               err_quote(what, sizeof what, error.text, strlen(error.text)));
}

/* The walk whose place comes first behind p; NULL: none does. */
static const struct json_walk *next_place(const struct json_walk *w, size_t n_walks, const char *p)
{
	const struct json_walk *first = NULL;

	for (size_t k = 0; k < n_walks; k++)
		if (w[k].at && w[k].at > p && (!first || w[k].at < first->at))
			first = &w[k];
	return first;
}

int json_walk_parse(struct json_walk *w, const char *const *path, size_t n_walks, const char *text,
                    size_t n, json_t **root, struct err *e)
{
	const struct json_walk *place;
	const char *p = text;
	struct feed f = {0};

	memset(w, 0, n_walks * sizeof *w);
	for (size_t k = 0; k < n_walks; k++)
		find(w, k, text, n, path[k]);
	for (; (place = next_place(w, n_walks, p)); p = place->end) {
		feed_add(&f, p, (size_t)(place->at - 1 - p));
		feed_add(&f, "null", 4);
	}
	feed_add(&f, p, (size_t)(text + n - p));
	if (load(&f, root, e))
		return -1;
	for (size_t k = 0; k < n_walks; k++)
		if (!w[k].at) {
			w[k].list = json_at(*root, path[k]);
			w[k].iter = json_object_iter((json_t *)(uintptr_t)w[k].list);
		}
	return 0;
}

json_type json_walk_type(const struct json_walk *w)
{
	if (w->end)
		return w->open == '[' ? JSON_ARRAY : JSON_OBJECT;
	return json_is_array(w->list)    ? JSON_ARRAY
	       : json_is_object(w->list) ? JSON_OBJECT
	                                 : JSON_NULL;
}

size_t json_walk_count(const struct json_walk *w)
{
	return w->n + w->i;
}

/* Behind the element that begins at p: in an object a name, a colon and a value. */
static const char *skip_element(const char *p, const char *end, int in_object)
{
	if (in_object && p < end && *p == '"') {
		if (!(p = skip_string(p, end)))
			return NULL;
		p = skip_space(p, end);
		p = skip_space(p + (p < end && *p == ':'), end);
	}
	return skip_value(p, end);
}

/* The next elements in the text, as a list of their own: 1, 0 when there are none. */
static int next_batch(struct json_walk *w, struct err *e)
{
	const char *open = w->open == '[' ? "[" : "{", *close = w->open == '[' ? "]" : "}";
	const char *p = skip_space(w->at, w->end), *from, *to;
	struct feed f = {0};
	json_t *list;
	int r;

	w->n += w->i;
	w->i = 0;
	w->list = NULL;
	if (p + 1 == w->end && *p == *close)
		return 0;
	if (w->n && *p++ != ',')
		return err_set(e, ERR_TROUBLE, "not JSON: element %zu: ',' expected", w->n);
	from = p;
	for (int k = 0;; p++) {
		to = skip_element(skip_space(p, w->end), w->end, w->open == '{');
		if (!to)
			return err_set(e, ERR_TROUBLE, "not JSON: element %zu has no end",
			               w->n + (size_t)k);
		p = skip_space(to, w->end);
		if (*p != ',' || ++k == BATCH)
			break;
	}
	w->at = to;
	feed_add(&f, open, 1);
	feed_add(&f, from, (size_t)(to - from));
	feed_add(&f, close, 1);
	json_arena_begin(&w->arena);
	r = load(&f, &list, e);
	json_arena_end();
	if (json_arena_failed(&w->arena))
		return err_set(e, ERR_TROUBLE, "no memory for what is behind element %zu", w->n);
	if (r)
		return err_in(e, "behind element %zu", w->n);
	w->list = list;
	if (!json_array_size(list) && !json_object_size(list))
		return err_set(e, ERR_TROUBLE, "not JSON: element %zu is missing", w->n);
	return 1;
}

/* --- ahead --------------------------------------------------------------------------------- */

/* The batch that was taken last is still being walked. */
static int has_room(const struct json_ahead *a)
{
	return a->stop || a->made - a->used < AHEAD - 1;
}

static int has_batch(const struct json_ahead *a)
{
	return a->made != a->used;
}

/* Who sleeps at once is woken beside the other one, and then both share its processor. */
static void wait_until(struct json_ahead *a, int (*ready)(const struct json_ahead *a))
{
	for (int i = 0; i < SPINS; i++) {
		if (ready(a))
			return;
		spin_pause();
	}
	pthread_mutex_lock(&a->lock);
	while (!ready(a))
		pthread_cond_wait(&a->changed, &a->lock);
	pthread_mutex_unlock(&a->lock);
}

/* After what the other thread may wait for. */
static void tell(struct json_ahead *a)
{
	pthread_mutex_lock(&a->lock);
	pthread_cond_signal(&a->changed);
	pthread_mutex_unlock(&a->lock);
}

static void *parse_ahead(void *arg)
{
	struct json_ahead *a = arg;
	struct json_walk *w = &a->walk;
	struct batch *b;
	int r = 1;

	while (r > 0) {
		wait_until(a, has_room);
		if (a->stop)
			break;
		b = &a->ring[a->made % AHEAD];
		w->arena = b->arena;
		r = b->r = next_batch(w, &b->err);
		b->arena = w->arena;
		b->list = w->list;
		w->i = json_array_size(w->list) + json_object_size(w->list);
		a->made++;
		tell(a);
	}
	return NULL;
}

void json_walk_ahead(struct json_walk *w)
{
	struct json_ahead *a;

	if (!w->end || w->ahead || !(a = calloc(1, sizeof *a)))
		return;
	a->walk = *w;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->changed, NULL);
	if (!pthread_create(&a->thread, NULL, parse_ahead, a)) {
		w->ahead = a;
		return;
	}
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static int take_ahead(struct json_walk *w, struct err *e)
{
	struct json_ahead *a = w->ahead;
	const struct batch *b;

	w->n += w->i;
	w->i = 0;
	wait_until(a, has_batch);
	b = &a->ring[a->used % AHEAD];
	if (b->r > 0) {
		a->used++;
		tell(a);
	}
	w->list = b->list;
	return b->r < 0 ? err_set(e, b->err.status, "%s", b->err.text) : b->r;
}

static void end_ahead(struct json_ahead *a)
{
	a->stop = 1;
	tell(a);
	pthread_join(a->thread, NULL);
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->lock);
	for (int i = 0; i < AHEAD; i++)
		json_arena_free(&a->ring[i].arena);
	free(a);
}

/* --- elements ------------------------------------------------------------------------------ */

void json_walk_end(struct json_walk *w)
{
	if (w->ahead)
		end_ahead(w->ahead);
	json_arena_free(&w->arena);
	memset(w, 0, sizeof *w);
}

/* The next of the elements at hand. */
static int next_of_list(struct json_walk *w, const char **name, size_t *name_n, json_t **element)
{
	json_t *list = (json_t *)(uintptr_t)w->list;

	if (json_is_object(list)) {
		if (!w->iter)
			return 0;
		*name = json_object_iter_key(w->iter);
		*name_n = json_object_iter_key_len(w->iter);
		*element = json_object_iter_value(w->iter);
		w->iter = json_object_iter_next(list, w->iter);
	} else {
		if (w->i >= json_array_size(list))
			return 0;
		*element = json_array_get(list, w->i);
	}
	w->i++;
	return 1;
}

int json_walk_next(struct json_walk *w, const char **name, size_t *name_n, json_t **element,
                   struct err *e)
{
	int r;

	*name = NULL;
	*name_n = 0;
	if (next_of_list(w, name, name_n, element))
		return 1;
	if (!w->end)
		return 0;
	r = w->ahead ? take_ahead(w, e) : next_batch(w, e);
	w->iter = json_object_iter((json_t *)(uintptr_t)w->list);
	return r > 0 ? next_of_list(w, name, name_n, element) : r;
}
