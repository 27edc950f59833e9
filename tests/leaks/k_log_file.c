/* A log file that grows by 256 KiB per step: page cache of the group, not memory of the process. */
#include "leaks.h"

static FILE *file;

static void begin(void)
{
	file = tmpfile();
	if (!file)
		leaks_die("log");
}

static void step(unsigned i)
{
	static char line[4096];
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\n';
	for (int k = 0; k < 64; k++)
		if (fwrite(line, sizeof(line), 1, file) != 1)
			leaks_die("log");
	if (i % 10 == 9)
		fflush(file);
}

static void end(void)
{
	fclose(file);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200,
	                  (struct leaks_program){.begin = begin, .step = step, .end = end});
}
