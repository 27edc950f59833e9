/* A list whose head is overwritten in each step: the nodes of the step before are lost. */
#include "leaks.h"

struct node {
	struct node *next;
	char activation[];
};

static struct node *batch;

SITE static struct node *node_new(struct node *next, size_t n)
{
	struct node *p = leaks_touch(malloc(sizeof(*p) + n), sizeof(*p) + n);
	p->next = next;
	return p;
}

static void step(unsigned i)
{
	(void)i;
	batch = NULL;
	for (int k = 0; k < 6; k++)
		batch = node_new(batch, leaks_vary(4096));
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
