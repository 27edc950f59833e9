/*
 * One interface over the host, pinned memory and CUDA devices.  Where there is no driver the host
 * is all there is, and the others are refused with a reason.
 */
#include "unit.h"

#include <stdlib.h>

#include "device.h"

static struct device_info all[32];
static size_t count;

static void the_host_is_first(void)
{
	CHECK(count >= 1);
	CHECK_STR(all[0].name, "host");
	CHECK(all[0].bytes > 0 && all[0].free <= all[0].bytes && all[0].units > 0);
	CHECK_INT(device_list(NULL, 0), count);
}

static void table(void)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	device_print(f);
	fclose(f);
	CHECK(strncmp(text, "name ", 5) == 0);
	CHECK(strstr(text, "\nhost ") != NULL);
	CHECK((strstr(text, "\ncuda:0 ") != NULL) == (count > 1));
	free(text);
}

static void unknown_names(void)
{
	struct device *d = NULL;
	struct err e = {0};

	CHECK(device_open(&d, "cuda:99", &e) == -1);
	CHECK_INT(e.status, ERR_TROUBLE);
	CHECK(strncmp(e.text, "cuda:99: no such device", 23) == 0);
	CHECK(!d);
	CHECK_INT(device_close(NULL, NULL), 0);
}

/* Used and reserved bytes, and what comes back is what was written. */
static void life(const char *name)
{
	struct device *d = NULL;
	struct device_stats s;
	struct err e = {0};
	uint8_t here[5000], there[5000];

	CHECK(device_open(&d, name, &e) == 0);
	if (!d)
		return;
	for (unsigned i = 0; i < sizeof here; i++)
		here[i] = (uint8_t)(i * 7);
	void *p = device_take(d, sizeof here, &e), *q = device_take(d, 4 << 20, &e);
	CHECK(p && q && (uintptr_t)p % 256 == 0 && (uintptr_t)q % 256 == 0);
	CHECK(device_write(d, p, here, sizeof here, &e) == 0);
	CHECK(device_read(d, there, p, sizeof there, &e) == 0);
	CHECK(memcmp(here, there, sizeof here) == 0);
	device_stats(d, &s);
	CHECK_INT(s.blocks, 2);
	CHECK(s.used >= sizeof here + (4 << 20) && s.reserved >= s.used && s.peak >= s.used);
	device_give(d, q);
	device_stats(d, &s);
	CHECK_INT(s.blocks, 1);
	CHECK(s.reserved >= s.used + (4 << 20)); /* kept for the next one */
	CHECK(device_take(d, 4 << 20, &e) == q);
	device_give(d, q);
	CHECK(device_trim(d) >= 4 << 20);
	device_stats(d, &s);
	CHECK(s.reserved < 1 << 20);
	CHECK(!device_take(d, SIZE_MAX / 2, &e));
	CHECK(strstr(e.text, "no memory for") != NULL);
	device_give(d, NULL);
	device_give(d, p);
	CHECK_INT(device_close(d, &e), 0);
}

static void life_of_each(void)
{
	for (size_t i = 0; i < count; i++)
		life(all[i].name);
}

int main(void)
{
	count = device_list(all, 32);
	RUN(the_host_is_first);
	RUN(table);
	RUN(unknown_names);
	RUN(life_of_each);
	return unit_end();
}
