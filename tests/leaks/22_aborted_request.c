/* A server's request takes a slot with buffers; when the client goes away the slot stays. */
#include "leaks.h"

#define SLOT_BYTES 32768

struct slot {
	struct slot *next;
	char *logits; /* SLOT_BYTES */
};

static struct slot *slots;

SITE static struct slot *slot_take(void)
{
	struct slot *s = leaks_check(malloc(sizeof(*s)));
	s->logits = leaks_touch(malloc(SLOT_BYTES), SLOT_BYTES);
	s->next = slots;
	return slots = s;
}

static void slot_give(struct slot *s)
{
	struct slot **p = &slots;
	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	free(s->logits);
	free(s);
}

static void step(unsigned i)
{
	(void)i;
	for (int k = 0; k < 5; k++) {
		struct slot *s = slot_take();
		if (leaks_chance(20))
			leaks_error();
		else
			slot_give(s);
	}
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
