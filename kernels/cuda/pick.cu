/*
 * From logits to tokens: the greatest, or the k greatest in order.  A logit and its id are one
 * number of 64 bits, larger for larger logits and, among equals, for lower ids.
 */
#include "numbers.h"

#define PICK_THREADS 256u

DEVICE uint64_t pick_key(float logit, uint32_t id)
{
	return (uint64_t)float_rank(logit) << 32 | (0xffffffffu - id);
}

DEVICE uint32_t pick_id(uint64_t key)
{
	return 0xffffffffu - (uint32_t)key;
}

KERNEL(cuda_pick, struct cuda_pick, PICK_THREADS, 1)
{
	SHARED(uint64_t, best, 1);
	uint32_t t = BLOCK_Y, end = (BLOCK_X + 1) * PICK_ROWS;
	const float *logits = a.logits + t * a.logits_stride;
	uint64_t mine = 0, key;

	grid_next();
	grid_wait();
	if (THREAD == 0)
		best[0] = 0;
	block_sync();
	end = end < a.rows ? end : a.rows;
	for (uint32_t i = BLOCK_X * PICK_ROWS + THREAD; i < end; i += PICK_THREADS) {
		key = pick_key(logits[i], i);
		mine = key > mine ? key : mine;
	}
	atomic_max_u64(best, mine);
	block_sync();
	if (THREAD)
		return;
	atomic_max_u64(a.best + t, best[0]);
	memory_fence();
	if (atomic_add_u32(a.ticket + t, 1) != BLOCKS_X - 1)
		return;
	memory_fence();
	key = load_fresh_u64(a.best + t);
	a.best[t] = 0;
	a.ticket[t] = 0;
	a.id[t] = (int32_t)pick_id(key);
	if (a.value)
		a.value[t] = rank_float((uint32_t)(key >> 32));
	if (a.next_id)
		a.next_id[t] = (int32_t)pick_id(key);
	if (a.next_pos)
		a.next_pos[t]++;
}

#define TOP_THREADS 1024u
#define TOP_MAX     1024u
#define TOP_LIST    2048u

struct top_space {
	uint32_t count[256];
	uint64_t list[TOP_LIST], found[TOP_MAX];
	uint32_t listed, digit, left, n;
};

/* What the k greatest are among: all logits, or those that are not -INFINITY where these are few
 * but enough, as a screen leaves them. */
struct top_keys {
	const float *logits;
	const uint64_t *list; /* or NULL */
	uint32_t n;
};

DEVICE uint64_t top_key(const struct top_keys *k, uint32_t i)
{
	return k->list ? k->list[i] : pick_key(k->logits[i], i);
}

DEVICE struct top_keys top_gather(const struct cuda_pick *a, uint32_t t, struct top_space *s)
{
	struct top_keys k = {a->logits + t * a->logits_stride, NULL, a->rows};

	if (THREAD == 0)
		s->listed = 0;
	block_sync();
	for (uint32_t i = THREAD; i < a->rows; i += TOP_THREADS) {
		float logit = k.logits[i];
		uint32_t at;

		if (logit == -INFINITY)
			continue;
		at = atomic_add_u32(&s->listed, 1);
		if (at >= TOP_LIST)
			break;
		s->list[at] = pick_key(logit, i);
	}
	block_sync();
	if (s->listed >= a->k && s->listed <= TOP_LIST) {
		k.list = s->list;
		k.n = s->listed;
	}
	return k;
}

/* The k'th greatest key, a byte at a time from the top. */
DEVICE uint64_t top_least(const struct top_keys *k, uint32_t left, struct top_space *s)
{
	uint64_t least = 0;

	for (int shift = 56; shift >= 0; shift -= 8) {
		if (THREAD < 256)
			s->count[THREAD] = 0;
		block_sync();
		for (uint32_t i = THREAD; i < k->n; i += TOP_THREADS) {
			uint64_t key = top_key(k, i);

			if (shift == 56 || key >> (shift + 8) == least >> (shift + 8))
				atomic_add_u32(&s->count[key >> shift & 255], 1);
		}
		block_sync();
		if (THREAD == 0) {
			uint32_t digit = 255;

			for (; digit && s->count[digit] < left; digit--)
				left -= s->count[digit];
			s->digit = digit;
			s->left = left;
		}
		block_sync();
		least |= (uint64_t)s->digit << shift;
		left = s->left;
	}
	return least;
}

KERNEL(cuda_top, struct cuda_pick, TOP_THREADS, 1)
{
	SHARED(struct top_space, s, 1);
	uint32_t t = BLOCK_X;
	struct top_keys k;
	uint64_t least;

	grid_next();
	grid_wait();
	k = top_gather(&a, t, s);
	least = top_least(&k, a.k, s);
	if (THREAD == 0)
		s->n = 0;
	block_sync();
	for (uint32_t i = THREAD; i < k.n; i += TOP_THREADS) {
		uint64_t key = top_key(&k, i);

		if (key >= least)
			s->found[atomic_add_u32(&s->n, 1)] = key;
	}
	block_sync();
	for (uint32_t i = THREAD; i < a.k; i += TOP_THREADS) {
		uint64_t key = s->found[i];
		uint32_t place = 0;

		for (uint32_t j = 0; j < a.k; j++)
			place += s->found[j] > key;
		a.id[t * a.k + place] = (int32_t)pick_id(key);
		if (a.value)
			a.value[t * a.k + place] = rank_float((uint32_t)(key >> 32));
	}
}
