/* A list that gets a node per step and is never shortened: reachable to the end. */
#include "leaks.h"

struct node {
	struct node *next;
	size_t n;
	char loss[];
};

static struct node *history;

SITE static void history_add(size_t n)
{
	struct node *p = leaks_touch(malloc(sizeof(*p) + n), sizeof(*p) + n);
	p->n = n;
	p->next = history;
	history = p;
}

static void step(unsigned i)
{
	(void)i;
	history_add(leaks_vary(24 * 1024));
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
