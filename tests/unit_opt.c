/* Options: what is stored, what is refused, and that --help is printed from the same table. */
#include "unit.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include "opt.h"

static int64_t threads;
static uint64_t size, count;
static double temp;
static int quiet, mapped;
static const char *name;
static struct opt_list stops;

static int even(void *to, const char *value, struct err *e)
{
	long v = strtol(value, NULL, 10);

	if (v % 2)
		return err_set(e, ERR_TROUBLE, "'%s' is odd", value);
	*(long *)to = v;
	return 0;
}

static long pairs;

static const struct opt options[] = {
    {.kind = OPT_HEAD, .help = "First things"},
    {.kind = OPT_INT,
     .letter = 't',
     .name = "threads",
     .to = &threads,
     .arg = "N",
     .help = "workers",
     .min = 1,
     .max = 64},
    {.kind = OPT_SIZE,
     .letter = 'M',
     .name = "max-memory",
     .to = &size,
     .arg = "SIZE",
     .help = "budget"},
    {.kind = OPT_COUNT, .name = "count", .to = &count, .arg = "N", .help = "how many"},
    {.kind = OPT_REAL,
     .name = "temp",
     .to = &temp,
     .arg = "T",
     .help = "temperature",
     .min = 0,
     .max = 2},
    {.kind = OPT_FLAG, .letter = 'q', .name = "quiet", .to = &quiet, .help = "say nothing"},
    {.kind = OPT_OFF, .name = "no-map", .to = &mapped, .help = "read, do not map"},
    {.kind = OPT_STRING,
     .letter = 'm',
     .name = "model",
     .to = &name,
     .arg = "FILE",
     .help = "the model"},
    {.kind = OPT_LIST, .name = "stop", .to = &stops, .arg = "TEXT", .help = "ends the text"},
    {.kind = OPT_CALL,
     .name = "pairs",
     .to = &pairs,
     .arg = "N",
     .call = even,
     .help = "an even number"},
    {.kind = OPT_END},
};
static const struct opt_program program = {"prog", "[-q] FILE...", "does things", "  prog x\n",
                                           options};

static int parse(struct err *e, int *first, int argc, ...)
{
	char *argv[16] = {(char *)(uintptr_t) "prog"};
	va_list ap;

	va_start(ap, argc);
	for (int i = 1; i <= argc; i++)
		argv[i] = va_arg(ap, char *);
	va_end(ap);
	return opt_parse(&program, argc + 1, argv, first, e);
}

static void values_are_stored(void)
{
	struct err e = {0};
	int first = 0;

	mapped = 1;
	CHECK_INT(parse(&e, &first, 9, "-t", "4", "op", "-qM8G", "--temp=0.5", "--stop=a", "--stop",
	                "b", "--no-map"),
	          OPT_RUN);
	CHECK_INT(threads, 4);
	CHECK_INT(size, 8LL << 30);
	CHECK(temp > 0.49 && temp < 0.51);
	CHECK_INT(quiet, 1);
	CHECK_INT(mapped, 0);
	CHECK_INT(stops.n, 2);
	CHECK_STR(stops.v[1], "b");
	CHECK_INT(first, 9);
	CHECK_INT(parse(&e, &first, 5, "--count", "7", "--pairs=4", "--model", "x"), OPT_RUN);
	CHECK_INT(count, 7);
	CHECK_INT(pairs, 4);
	CHECK_STR(name, "x");
}

static void bad_values_are_named(void)
{
	static const struct {
		const char *arg, *text;
	} bad[] = {
	    {"--threads=0", "--threads: 0 is not within 1 and 64"},
	    {"--threads=x", "--threads: 'x' is not a whole number"},
	    {"--count=-1", "--count: '-1' is not a count"},
	    {"--temp=nan", "--temp: 'nan' is not a number"},
	    {"--temp=3", "--temp: 3 is not within 0 and 2"},
	    {"--max-memory=8Q", "--max-memory: '8Q' is not a size (8G, 8GiB, 8GB, 500M)"},
	    {"--pairs=3", "--pairs: '3' is odd"},
	    {"--quiet=1", "--quiet takes no value (see --help)"},
	    {"--model", "--model needs a value (see --help)"},
	    {"-t", "a value is needed for -t (see --help)"},
	    {"-z", "no such option: -z (see --help)"},
	    {"--none", "no such option: --none (see --help)"},
	};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct err e = {0};
		int first;
		CHECK_INT(parse(&e, &first, 1, bad[i].arg), -1);
		CHECK_INT(e.status, ERR_TROUBLE);
		CHECK_STR(e.text, bad[i].text);
	}
}

static void help_and_version_are_asked_for(void)
{
	struct err e = {0};
	int first;

	CHECK_INT(parse(&e, &first, 1, "--help"), OPT_HELP);
	CHECK_INT(parse(&e, &first, 1, "-h"), OPT_HELP);
	CHECK_INT(parse(&e, &first, 1, "-V"), OPT_VERSION);
	CHECK_INT(parse(&e, &first, 2, "--", "--help"), OPT_RUN);
	CHECK_INT(first, 2);
}

static void help_names_every_option(void)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	CHECK_INT(opt_help(&program, f), 0);
	fclose(f);
	CHECK(strstr(text, "usage: prog [-q] FILE...\n") == text);
	CHECK(strstr(text, "\nFirst things:\n") != NULL);
	for (const struct opt *o = options; o->kind != OPT_END; o++) {
		if (o->kind == OPT_HEAD)
			continue;
		CHECK(strstr(text, o->name) != NULL);
		CHECK(strstr(text, o->help) != NULL);
	}
	CHECK(strstr(text, "  -M, --max-memory=SIZE") != NULL);
	free(text);
}

int main(void)
{
	RUN(values_are_stored);
	RUN(bad_values_are_named);
	RUN(help_and_version_are_asked_for);
	RUN(help_names_every_option);
	return unit_end();
}
