/*
 * Live blocks by address: open addressing in buckets of one cache line.
 *
 * The first bucket keeps neighbours in memory neighbours in the table (a bucket for every 128
 * bytes, which hold at most four heap blocks; each MiB starts elsewhere), so that a program that
 * walks its memory walks the table too.  A full bucket sends blocks to others by a second hash,
 * and remembers it, so that looking up a block that is not there stops at once elsewhere.
 */
#include "preload.h"

#define ENTRIES 4  /* of a bucket */
#define PROBES  24 /* buckets tried */
#define GOLDEN  0x9e3779b97f4a7c15u

static inline uint64_t home(uintptr_t p)
{
	return ((p >> 7) + ((p >> 20) * GOLDEN >> 32)) & (ledger->buckets - 1);
}

static inline uint64_t other(uintptr_t p, unsigned i)
{
	uint64_t h = (p >> 4) * GOLDEN;

	return ((h >> 24) + i * ((h >> 8) | 1)) & (ledger->buckets - 1);
}

/* Takes a free entry of a bucket. */
static inline int bucket_put(uint64_t h, uint64_t key, uint64_t value)
{
	struct ledger_block *b = ledger->blocks + h * ENTRIES;

	for (int i = 0; i < ENTRIES; i++) {
		uint64_t none = 0;
		if (__atomic_load_n(&b[i].key, __ATOMIC_RELAXED))
			continue;
		if (!ledger->threads)
			b[i].key = key;
		else if (!__atomic_compare_exchange_n(&b[i].key, &none, key, 0, __ATOMIC_ACQ_REL,
		                                      __ATOMIC_RELAXED))
			continue;
		ledger->used[h / LEDGER_RUN] = 1;
		__atomic_store_n(&b[i].value, value, __ATOMIC_RELEASE);
		return 1;
	}
	return 0;
}

int block_put(uintptr_t p, uint64_t key_step, uint64_t value)
{
	uint64_t key = (uint64_t)(p >> 4) << 20 | (key_step & LEDGER_KEY_STEP), h = home(p);

	if (LIKELY(bucket_put(h, key, value)))
		return 1;
	ledger->spilled[h] = 1;
	for (unsigned i = 0; i < PROBES; i++)
		if (bucket_put(other(p, i), key, value))
			return 1;
	return 0;
}

static inline struct ledger_block *bucket_find(struct ledger_block *b, uint64_t address)
{
	for (int i = 0; i < ENTRIES; i++)
		if (__atomic_load_n(&b[i].key, __ATOMIC_RELAXED) >> 20 == address)
			return &b[i];
	return NULL;
}

static struct ledger_block *find(uintptr_t p)
{
	uint64_t h = home(p);
	struct ledger_block *b = bucket_find(ledger->blocks + h * ENTRIES, p >> 4);

	if (LIKELY(b || !ledger->spilled[h]))
		return b;
	for (unsigned i = 0; i < PROBES && !b; i++)
		b = bucket_find(ledger->blocks + other(p, i) * ENTRIES, p >> 4);
	return b;
}

int block_take(uintptr_t p, struct ledger_block *was)
{
	struct ledger_block *b = find(p);

	if (!b)
		return 0;
	*was = *b;
	b->value = 0;
	__atomic_store_n(&b->key, 0, __ATOMIC_RELEASE);
	return was->value != 0;
}

int block_flag(uintptr_t p, uint64_t flag, uint64_t *before)
{
	struct ledger_block *b = find(p);

	if (!b)
		return 0;
	*before = __atomic_fetch_or(&b->value, flag, __ATOMIC_ACQ_REL);
	return 1;
}
