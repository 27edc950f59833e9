/*
 * What plain C reads and multiplies at best.
 */
#include "scalar.h"

#include <string.h>

static uint64_t probe_read(const uint8_t *p, size_t n)
{
	uint64_t s[8] = {0}, v[8];

	for (size_t i = 0; i < n; i += sizeof v) {
		memcpy(v, p + i, sizeof v);
		for (size_t j = 0; j < 8; j++)
			s[j] ^= v[j];
	}
	for (size_t j = 1; j < 8; j++)
		s[0] ^= s[j];
	return s[0];
}

static uint64_t probe_int8(uint64_t rounds)
{
	static int8_t a[9 * 32] = {1, 2, 0, 1};
	static volatile int32_t keep;
	int32_t s = 0;

	for (uint64_t r = 0; r < rounds; r++)
		for (size_t i = 0; i < 256; i++)
			s += a[i] * a[i + (r & 31)];
	keep = s;
	(void)keep;
	return rounds * 256;
}

void scalar_probe_init(struct kernels *k)
{
	k->probe_read = probe_read;
	k->probe_int8 = probe_int8;
}
