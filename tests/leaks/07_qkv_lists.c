/* Three lists, of queries, keys and values, that each keep a tensor per step. */
#include "leaks.h"

struct list {
	void **v;
	size_t n, room;
};

static struct list q, k, v;

static void list_push(struct list *l, void *p)
{
	if (l->n == l->room) {
		l->room = l->room ? 2 * l->room : 32;
		l->v = leaks_check(realloc(l->v, l->room * sizeof(*l->v)));
	}
	l->v[l->n++] = p;
}

SITE static void *projection(size_t n)
{
	return leaks_touch(malloc(n), n);
}

static void step(unsigned i)
{
	(void)i;
	list_push(&q, projection(leaks_vary(16384)));
	list_push(&k, projection(leaks_vary(4096)));
	list_push(&v, projection(leaks_vary(4096)));
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
