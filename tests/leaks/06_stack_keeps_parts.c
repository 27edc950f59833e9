/* Parts are appended and stacked into one block every eight steps; the block is freed after
 * use, the parts stay in the list. */
#include "leaks.h"

#define BATCH 8
#define PART  16384

static void **parts; /* (n_parts) blocks of PART bytes */
static size_t n_parts, room;

SITE static void *part_new(void)
{
	return leaks_touch(malloc(PART), PART);
}

static void parts_append(void *p)
{
	if (n_parts == room) {
		room = room ? 2 * room : 16;
		parts = leaks_check(realloc(parts, room * sizeof(*parts)));
	}
	parts[n_parts++] = p;
}

static void parts_stack(void)
{
	char *all = leaks_check(malloc(BATCH * PART));
	for (size_t i = 0; i < BATCH; i++)
		memcpy(all + i * PART, parts[n_parts - BATCH + i], PART);
	free(all);
}

static void step(unsigned i)
{
	parts_append(part_new());
	if (i % BATCH == BATCH - 1)
		parts_stack();
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
