/* A buffer that gets 16 KiB per step and is doubled by realloc for ever. */
#include "leaks.h"

static char *text;
static size_t n, room;

SITE static void text_reserve(size_t want)
{
	if (want <= room)
		return;
	room = room ? 2 * room : 32 * 1024;
	text = leaks_check(realloc(text, room));
}

static void step(unsigned i)
{
	size_t more = leaks_vary(16 * 1024);
	text_reserve(n + more);
	memset(text + n, (int)(i & 0x7f) | 1, more);
	n += more;
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
