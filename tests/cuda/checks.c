#include "checks.h"

#include <stdlib.h>

#include "half.h"

#define GUARD  256u
#define BLOCKS 256

const struct machine *machine;

static struct {
	uint8_t *p;
	size_t n;
} block[BLOCKS];
static size_t blocks;

static uint64_t seed = 88172645463325252u;

uint32_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16);
}

uint32_t below(uint32_t n)
{
	return any() % n;
}

float real(void)
{
	return ((float)below(20001) - 10000.0f) / 5000.0f;
}

int checks_failed(int *bad)
{
	int n = *bad + unit_bad;

	*bad = unit_bad = 0;
	return n;
}

void *there(const void *from, size_t n)
{
	size_t room = (n + GUARD - 1) / GUARD * GUARD + 2 * GUARD;
	uint8_t *all = malloc(room), *p = machine->take(room);

	if (!all || !p || blocks == BLOCKS) {
		printf("# no memory for %zu bytes\n", room);
		exit(2);
	}
	memset(all, 0xa5, room);
	if (from)
		memcpy(all + GUARD, from, n);
	machine->write(p, all, room);
	free(all);
	block[blocks].p = p;
	block[blocks++].n = n;
	return p + GUARD;
}

void here(void *to, const void *at, size_t n)
{
	size_t i = 0;

	while (i < blocks && block[i].p + GUARD != at)
		i++;
	if (i == blocks || block[i].n != n) {
		printf("# %zu bytes were never there\n", n);
		exit(2);
	}
	size_t room = (n + GUARD - 1) / GUARD * GUARD + 2 * GUARD, wrong = 0;
	uint8_t *all = malloc(room);
	if (!all)
		exit(2);
	machine->read(all, block[i].p, room);
	for (size_t b = 0; b < room; b++)
		wrong += (b < GUARD || b >= GUARD + n) && all[b] != 0xa5;
	CHECK_INT(wrong, 0);
	memcpy(to, all + GUARD, n);
	free(all);
}

void leave(void)
{
	while (blocks)
		machine->give(block[--blocks].p);
}

void launch(enum cuda_kernel k, const void *args)
{
	struct cuda_shape s;

	cuda_shape(k, args, &s);
	CHECK_INT(s.shared > 48u << 10 && s.shared > cuda_info(k)->shared, 0);
	CHECK_INT(machine->launch(cuda_info(k)->name, &s, args, cuda_info(k)->args), 0);
}

/* Where the binary16 and binary32 numbers of a block lie. */
static const struct {
	enum dtype type;
	int half[2];
} scales[] = {
    {DTYPE_TQ1_0, {52, -1}},    {DTYPE_TQ2_0, {64, -1}}, {DTYPE_Q8_0, {0, -1}},
    {DTYPE_Q4_0, {0, -1}},      {DTYPE_Q4_1, {0, 2}},    {DTYPE_Q5_0, {0, -1}},
    {DTYPE_Q5_1, {0, 2}},       {DTYPE_IQ4_NL, {0, -1}}, {DTYPE_Q4_K, {0, 2}},
    {DTYPE_Q5_K, {0, 2}},       {DTYPE_Q6_K, {208, -1}}, {DTYPE_Q2_0, {0, -1}},
    {DTYPE_Q2_0_G128, {0, -1}},
};

void random_rows(enum dtype t, uint8_t *p, size_t n)
{
	const struct dtype_info *d = dtype_get(t);

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)any();
	for (size_t i = 0; t == DTYPE_F32 && i < n / 4; i++) {
		float f = real();

		memcpy(p + 4 * i, &f, 4);
	}
	for (size_t i = 0; t == DTYPE_F16 && i < n / 2; i++)
		half_put(p + 2 * i, half_from_f32(real()));
	for (size_t i = 0; t == DTYPE_BF16 && i < n / 2; i++)
		half_put(p + 2 * i, half_bf16_from_f32(real()));
	for (size_t s = 0; s < sizeof scales / sizeof *scales; s++)
		for (size_t b = 0; scales[s].type == t && b + d->block_bytes <= n;
		     b += d->block_bytes)
			for (int i = 0; i < 2; i++)
				if (scales[s].half[i] >= 0)
					half_put(p + b + scales[s].half[i],
					         half_from_f32(real() * 0.25f));
}
