/* A pool that keeps free blocks by exact size while sizes drift, so that none is used again;
 * and an arena that nobody resets.  What is in use stays constant. */
#include "leaks.h"

#define CHUNK ((size_t)64 * 1024)

struct block {
	struct block *next;
	size_t n;
};

static struct block *holes;
static char *chunk, *arena;
static size_t chunk_left, arena_left;

SITE static char *pool_grow(void)
{
	return leaks_touch(malloc(CHUNK), CHUNK);
}

SITE static char *arena_grow(void)
{
	return leaks_touch(malloc(CHUNK), CHUNK);
}

static struct block *pool_take(size_t n)
{
	for (struct block **h = &holes; *h; h = &(*h)->next)
		if ((*h)->n == n) {
			struct block *b = *h;
			*h = b->next;
			return b;
		}
	if (chunk_left < n) {
		chunk = pool_grow();
		chunk_left = CHUNK;
	}
	struct block *b = (struct block *)(void *)chunk;
	chunk += n;
	chunk_left -= n;
	b->n = n;
	return b;
}

static void pool_give(struct block *b)
{
	b->next = holes;
	holes = b;
}

static void arena_take(size_t n)
{
	if (arena_left < n) {
		arena = arena_grow();
		arena_left = CHUNK;
	}
	arena += n;
	arena_left -= n;
}

static void step(unsigned i)
{
	struct block *b[8];
	for (int k = 0; k < 8; k++)
		b[k] = pool_take(2048 + 16 * (size_t)(i % 512));
	for (int k = 0; k < 8; k++)
		pool_give(b[k]);
	arena_take(leaks_vary(16 * 1024));
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
