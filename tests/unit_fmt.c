/* Sizes as people write and read them. */
#include "unit.h"

#include <stdlib.h>

#include "fmt.h"

static uint64_t size_of(const char *s)
{
	uint64_t n = 0;
	struct err e = {0};

	return fmt_parse_size(s, &n, &e) ? UINT64_MAX : n;
}

static void sizes_are_read(void)
{
	CHECK_INT(size_of("0"), 0);
	CHECK_INT(size_of("512"), 512);
	CHECK_INT(size_of("8G"), 8LL << 30);
	CHECK_INT(size_of("8Gi"), 8LL << 30);
	CHECK_INT(size_of("8GiB"), 8LL << 30);
	CHECK_INT(size_of("8GB"), 8000000000LL);
	CHECK_INT(size_of("1.5K"), 1536);
	CHECK_INT(size_of("3k"), 3072);
	CHECK_INT(size_of("12B"), 12);
}

static void what_is_no_size_is_refused(void)
{
	static const char *const bad[] = {
	    "",    "G",   "-1",     "1X", "1GG",  "0x10", "1.5e3", "1 G",  "inf",
	    "nan", "16E", "1.5.2G", "+1", "1Gib", "1iB",  "1Bi",   "8 GB", "99999999999999999999"};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		uint64_t n;
		struct err e = {0};
		CHECK(fmt_parse_size(bad[i], &n, &e) == -1);
		CHECK_INT(e.status, ERR_TROUBLE);
		CHECK(e.text[0]);
	}
}

static void sizes_are_written_with_three_digits(void)
{
	char out[FMT_SIZE];

	CHECK_STR(fmt_size(out, 0), "0 B");
	CHECK_STR(fmt_size(out, 1023), "1023 B");
	CHECK_STR(fmt_size(out, 1024), "1.00 KiB");
	CHECK_STR(fmt_size(out, 1187801280), "1.11 GiB");
	CHECK_STR(fmt_size(out, 1048575), "1.00 MiB");
	CHECK_STR(fmt_size(out, 314572800), "300 MiB");
	CHECK_STR(fmt_size_si(out, 1187801280), "1.19 GB");
	CHECK_STR(fmt_size_si(out, 999), "999 B");
	CHECK_STR(fmt_size(out, UINT64_MAX), "16.0 EiB");
}

static void a_bar_is_as_wide_as_its_share(void)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	CHECK_INT(fmt_bar(f, 3, 6, 10), 5);
	CHECK_INT(fmt_bar(f, 0, 6, 4), 0);
	CHECK_INT(fmt_bar(f, 9, 6, 3), 3);
	fclose(f);
	CHECK_STR(text, "########");
	free(text);
}

static void columns_come_from_the_environment(void)
{
	setenv("COLUMNS", "132", 1);
	CHECK_INT(fmt_columns(stdout), 132);
	setenv("COLUMNS", "none", 1);
	CHECK(fmt_columns(stdout) > 0);
	unsetenv("COLUMNS");
}

static void xml_is_escaped_and_well_formed(void)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	fmt_xml("a<b> & \"c\"\x01 \xff\xc3\xa9\n", f);
	fmt_xml(NULL, f);
	fclose(f);
	CHECK_STR(text, "a&lt;b&gt; &amp; &quot;c&quot;? ?\xc3\xa9\n");
	free(text);
}

int main(void)
{
	RUN(sizes_are_read);
	RUN(what_is_no_size_is_refused);
	RUN(sizes_are_written_with_three_digits);
	RUN(a_bar_is_as_wide_as_its_share);
	RUN(columns_come_from_the_environment);
	RUN(xml_is_escaped_and_well_formed);
	return unit_end();
}
