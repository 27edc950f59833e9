/*
 * The tables, made once: each is the one before it with some entries replaced.
 */
#include "kernels.h"

#include <pthread.h>
#include <string.h>

#include "cpu.h"
#include "sets.h"

static const struct set {
	const char *name;
	void (*init)(struct kernels *k);
	unsigned needs; /* enum cpu_flag */
} sets[] = {
    {"scalar", kernels_scalar, 0},
#if defined(KERNEL_SETS_x86_64)
    {"avx2", kernels_avx2, CPU_AVX2},       {"avxvnni", kernels_avxvnni, CPU_AVX2 | CPU_AVXVNNI},
    {"avx512", kernels_avx512, CPU_AVX512}, {"vbmi", kernels_vbmi, CPU_VBMI},
    {"zen4", kernels_zen4, CPU_ZEN4},       {"amx", kernels_amx, CPU_AMX_INT8},
#elif defined(KERNEL_SETS_aarch64)
    {"neon", kernels_neon, CPU_NEON},
#endif
};

#define SETS (sizeof sets / sizeof *sets)

static struct kernels tables[SETS];
static unsigned have;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
	have = cpu_flags();
	for (size_t i = 0; i < SETS; i++) {
		if (i)
			tables[i] = tables[i - 1];
		/* Filling in a table is already code of that instruction set. */
		if ((sets[i].needs & ~have) == 0)
			sets[i].init(&tables[i]);
		tables[i].name = sets[i].name;
	}
}

const struct kernels *kernels_at(size_t i, int *runs)
{
	pthread_once(&once, make_tables);
	if (i >= SETS)
		return NULL;
	*runs = (sets[i].needs & ~have) == 0;
	return &tables[i];
}

const struct kernels *kernels_get(const char *name)
{
	const struct kernels *k, *best = NULL;
	int runs;

	for (size_t i = 0; (k = kernels_at(i, &runs)); i++)
		if (runs && (!name || !strcmp(name, k->name)))
			best = k;
	return best;
}
