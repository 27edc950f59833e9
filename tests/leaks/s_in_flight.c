/* Requests whose number in flight differs at each step. */
#include "leaks.h"

enum { SLOTS = 32 };

struct request {
	char *prompt, *kv;
};

static struct request *slot[SLOTS];

SITE static struct request *request_new(void)
{
	struct request *r = leaks_check(malloc(sizeof(*r)));
	size_t prompt = leaks_vary(2048), kv = 4096 + (size_t)leaks_random(65536);
	r->prompt = leaks_touch(malloc(prompt), prompt);
	r->kv = leaks_touch(malloc(kv), kv);
	return r;
}

static void request_free(struct request *r)
{
	if (!r)
		return;
	free(r->prompt);
	free(r->kv);
	free(r);
}

static void step(unsigned i)
{
	(void)i;
	for (int k = 0; k < SLOTS; k++) {
		if (slot[k] ? leaks_chance(35) : leaks_chance(25)) {
			struct request *r = slot[k] ? NULL : request_new();
			request_free(slot[k]);
			slot[k] = r;
		}
	}
}

static void end(void)
{
	for (int k = 0; k < SLOTS; k++)
		request_free(slot[k]);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step, .end = end});
}
