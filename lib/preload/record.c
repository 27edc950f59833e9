/* Births and deaths: a block's entry in the table, and the counters of its site. */
#include "preload.h"

void count_birth(uint32_t site, uint64_t births, uint64_t bytes)
{
	struct ledger_count *c = &self.counts[site];

	if (LIKELY(!self.shared)) {
		c->births += births;
		c->bytes_in += bytes;
	} else {
		__atomic_add_fetch(&c->births, births, __ATOMIC_RELAXED);
		__atomic_add_fetch(&c->bytes_in, bytes, __ATOMIC_RELAXED);
	}
}

void count_death(uint32_t site, uint64_t deaths, uint64_t bytes)
{
	struct ledger_count *c = &self.counts[site];

	if (LIKELY(!self.shared)) {
		c->deaths += deaths;
		c->bytes_out += bytes;
	} else {
		__atomic_add_fetch(&c->deaths, deaths, __ATOMIC_RELAXED);
		__atomic_add_fetch(&c->bytes_out, bytes, __ATOMIC_RELAXED);
	}
}

static inline uint64_t value_of(uint32_t site, uint64_t bytes)
{
	return (bytes < LEDGER_VALUE_BYTES ? bytes : LEDGER_VALUE_BYTES) << 24 | site;
}

static inline uint64_t bytes_of(const struct ledger_block *b)
{
	return b->value >> 24 & LEDGER_VALUE_BYTES;
}

/* When sampling, one block in every period bytes stands for that many. */
static int sampled(size_t *bytes)
{
	self.until -= (int64_t)*bytes;
	if (self.until > 0)
		return 0;
	self.until = (int64_t)ledger->period;
	if (*bytes < ledger->period)
		*bytes = ledger->period;
	return 1;
}

static inline void birth(uintptr_t p, size_t bytes, enum ledger_kind kind, uint64_t flags,
                         struct place at)
{
	if (ledger->level == LEDGER_SAMPLED && kind == LEDGER_HEAP && !sampled(&bytes))
		return;
	uint32_t site = stack_site(kind, at);
	if (LIKELY(site && block_put(p, control->step, value_of(site, bytes) | flags)))
		count_birth(site, 1, bytes);
	else
		count_birth(0, 1, bytes);
}

void record_birth(const void *p, size_t bytes, enum ledger_kind kind, struct place at)
{
	if (!p || !state_enter(kind == LEDGER_HEAP))
		return;
	birth((uintptr_t)p, bytes, kind, 0, at);
	int asked = ledger->process->request != ledger->process->request_done;
	state_leave();
	if (!LIKELY(!asked))
		request_run();
}

int record_take(const void *p, struct ledger_block *was)
{
	if (!p || !ledger->ready || !state_enter(1))
		return 0;
	int found = block_take((uintptr_t)p, was);
	if (LIKELY(found))
		count_death(was->value & LEDGER_VALUE_SITE, 1, bytes_of(was));
	else
		count_death(0, 1, 0);
	state_leave();
	return found;
}

void record_death(const void *p)
{
	struct ledger_block was;

	record_take(p, &was);
}

void record_back(const void *p, const struct ledger_block *was)
{
	uint32_t site = was->value & LEDGER_VALUE_SITE;

	if (!state_enter(1))
		return;
	if (block_put((uintptr_t)p, was->key, was->value))
		count_birth(site, 1, bytes_of(was));
	else
		count_birth(0, 1, bytes_of(was));
	state_leave();
}

/* The same stack under another kind is another site. */
static uint32_t site_as(uint32_t site, enum ledger_kind kind)
{
	struct ledger_site *s = &ledger->sites[site];

	return s->kind == (uint32_t)kind ? site : stack_store(kind, s->pc, s->n);
}

void record_backing(const void *p)
{
	struct ledger_block was;

	map_backing(p);
	if (!p || !state_enter(0))
		return;
	if (block_take((uintptr_t)p, &was)) {
		uint32_t site = was.value & LEDGER_VALUE_SITE,
			 stock = site_as(site, LEDGER_BACKING);
		count_death(site, 1, bytes_of(&was));
		if (block_put((uintptr_t)p, was.key, value_of(stock, bytes_of(&was))))
			count_birth(stock, 1, bytes_of(&was));
		else
			count_birth(0, 1, bytes_of(&was));
	}
	state_leave();
}

void record_thread(uintptr_t id, size_t stack, int detached, struct place at)
{
	if (!state_enter(0))
		return;
	birth(id, stack, LEDGER_THREAD, detached ? LEDGER_DETACHED : 0, at);
	state_leave();
}

/* A thread is gone when it has ended and was joined or detached. */
void record_thread_flag(uintptr_t id, uint64_t flag)
{
	uint64_t before = 0, both = LEDGER_DETACHED | LEDGER_THREAD_ENDED;
	struct ledger_block was;

	if (!ledger->ready || !state_enter(0))
		return;
	if (block_flag(id, flag, &before) && ((before | flag) & both) == both &&
	    block_take(id, &was))
		count_death(was.value & LEDGER_VALUE_SITE, 1, bytes_of(&was));
	state_leave();
}
