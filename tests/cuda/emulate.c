#include "emulate.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

#define THREADS_MAX 1024
#define STACK       (256u << 10)
#define SHARED_MAX  (228u << 10)

/* ---- the kernels by name ---- */

#define NAMES(X)                                                                                   \
	X(embed)                                                                                   \
	X(norm)                                                                                    \
	X(vector)                                                                                  \
	X(batch)                                                                                   \
	X(gemm)                                                                                    \
	X(mixed)                                                                                   \
	X(dense)                                                                                   \
	X(dense_many)                                                                              \
	X(widen)                                                                                   \
	X(act)                                                                                     \
	X(rope)                                                                                    \
	X(attend)                                                                                  \
	X(prompt)                                                                                  \
	X(screen_fill)                                                                             \
	X(screen_input)                                                                            \
	X(screen_bound)                                                                            \
	X(screen_limit)                                                                            \
	X(screen_settle)                                                                           \
	X(pick)                                                                                    \
	X(top)                                                                                     \
	X(probe_copy)                                                                              \
	X(probe_int8)

#define DECLARE(name) void emulate_cuda_##name(const void *args);
NAMES(DECLARE)

#define ENTRY(name) {"cuda_" #name, emulate_cuda_##name},
static const struct {
	const char *name;
	void (*run)(const void *args);
} kernels[] = {NAMES(ENTRY)};

/* ---- fibers ---- */

enum state { READY, AT_WARP, AT_BLOCK, ENDED };

static struct fiber {
	enum state state;
	uint32_t words[2][8]; /* what it last passed to its warp, by turns */
	uint32_t turn;
#ifdef __x86_64__
	void *at;
#else
	ucontext_t at;
#endif
} fiber[THREADS_MAX];

static uint8_t *stacks;
static uint8_t shared_all[SHARED_MAX] __attribute__((aligned(128)));
static void (*entry)(const void *args);
static const void *entry_args;
static char why[256];
static uint32_t lane_order[32], warp_order[THREADS_MAX / 32], order_seed;
static uint32_t seen[2][THREADS_MAX / 32][32][8];

uint8_t *emulate_shared = shared_all;
uint32_t emulate_thread, emulate_threads, emulate_block[3], emulate_blocks[3];

const char *emulate_why(void)
{
	return why;
}

void emulate_order(uint32_t seed)
{
	order_seed = seed;
}

#ifdef __x86_64__

static void *home;

/* Saves what a call must keep on this stack, whose end goes to *save, and goes on with the other.
 */
void emulate_switch(void **save, void *to);
__asm__(".text\n"
        ".type emulate_switch,@function\n"
        "emulate_switch:\n"
        "	push %rbp\n	push %rbx\n	push %r12\n	push %r13\n	push %r14\n"
        "	push %r15\n"
        "	mov %rsp, (%rdi)\n"
        "	mov %rsi, %rsp\n"
        "	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbx\n"
        "	pop %rbp\n"
        "	ret\n"
        ".size emulate_switch,.-emulate_switch\n");

static void leave(struct fiber *f)
{
	emulate_switch(&f->at, home);
}

static void enter(struct fiber *f)
{
	emulate_switch(&home, f->at);
}

#else

static ucontext_t home;

static void leave(struct fiber *f)
{
	swapcontext(&f->at, &home);
}

static void enter(struct fiber *f)
{
	swapcontext(&home, &f->at);
}

#endif

static void body(void)
{
	struct fiber *f = &fiber[emulate_thread];

	entry(entry_args);
	f->state = ENDED;
	leave(f);
	abort();
}

static void start(uint32_t i)
{
	struct fiber *f = &fiber[i];
	uint8_t *stack = stacks + (size_t)i * STACK;

	f->state = READY;
	f->turn = 0;
#ifdef __x86_64__
	/* the return address of a call leaves the stack 8 bytes off a multiple of 16 */
	void **top = (void **)(void *)(stack + STACK - 72);

	top[0] = NULL;
	*--top = (void *)body;
	top -= 6;
	memset(top, 0, 6 * sizeof *top);
	f->at = top;
#else
	getcontext(&f->at);
	f->at.uc_stack.ss_sp = stack;
	f->at.uc_stack.ss_size = STACK;
	f->at.uc_link = NULL;
	makecontext(&f->at, body, 0);
#endif
}

static void stop(enum state s)
{
	struct fiber *f = &fiber[emulate_thread];

	f->state = s;
	leave(f);
}

void block_sync(void)
{
	stop(AT_BLOCK);
}

void warp_sync(void)
{
	stop(AT_WARP);
}

/* The words lie in two places by turns: who is first cannot be two calls ahead of the last. */
emulate_seen *emulate_exchange(const uint32_t *words, int n)
{
	struct fiber *f = &fiber[emulate_thread];
	uint32_t warp = emulate_thread / 32, turn = f->turn++ % 2;

	memcpy(seen[turn][warp][emulate_thread % 32], words, (size_t)n * sizeof *words);
	stop(AT_WARP);
	return (emulate_seen *)seen[turn][warp];
}

/* ---- a block ---- */

static uint32_t count(uint32_t from, uint32_t to, enum state s)
{
	uint32_t n = 0;

	for (uint32_t i = from; i < to; i++)
		n += fiber[i].state == s;
	return n;
}

static void release(uint32_t from, uint32_t to, enum state s)
{
	for (uint32_t i = from; i < to; i++)
		if (fiber[i].state == s)
			fiber[i].state = READY;
}

/* The lanes of a warp run until none can, the warp as far as it comes alone: what other warps ought
 * to have waited for is not there yet. */
static void run_warp(uint32_t warp)
{
	for (;;) {
		for (uint32_t i = 0; i < 32; i++) {
			emulate_thread = 32 * warp + lane_order[i];
			if (fiber[emulate_thread].state == READY)
				enter(&fiber[emulate_thread]);
		}
		if (count(32 * warp, 32 * warp + 32, AT_WARP) < 32)
			return;
		release(32 * warp, 32 * warp + 32, AT_WARP);
	}
}

static void run_warps(void)
{
	for (uint32_t i = 0; i < emulate_threads / 32; i++)
		run_warp(warp_order[i]);
}

/* Lets go who waits for the block; 0 when somebody waits for something else. */
static int meet(void)
{
	uint32_t ended = count(0, emulate_threads, ENDED);

	if (count(0, emulate_threads, AT_BLOCK) + ended < emulate_threads)
		return 0;
	release(0, emulate_threads, AT_BLOCK);
	return 1;
}

static int run_block(const char *name)
{
	for (uint32_t i = 0; i < emulate_threads; i++)
		start(i);
	while (count(0, emulate_threads, ENDED) < emulate_threads) {
		run_warps();
		if (meet())
			continue;
		snprintf(why, sizeof why,
		         "%s: block %u,%u,%u: of %u threads %u wait for their warp, %u for their "
		         "block, %u ended",
		         name, emulate_block[0], emulate_block[1], emulate_block[2],
		         emulate_threads, count(0, emulate_threads, AT_WARP),
		         count(0, emulate_threads, AT_BLOCK), count(0, emulate_threads, ENDED));
		return -1;
	}
	return 0;
}

static void set_order(uint32_t *order, uint32_t n)
{
	uint32_t seed = order_seed;

	for (uint32_t i = 0; i < n; i++)
		order[i] = order_seed == 1 ? n - 1 - i : i;
	for (uint32_t i = n; order_seed > 1 && i > 1; i--) {
		seed = seed * 1664525u + 1013904223u;
		uint32_t j = (seed >> 8) % i, t = order[i - 1];

		order[i - 1] = order[j];
		order[j] = t;
	}
}

static int run_grid(const char *name, uint32_t shared)
{
	for (emulate_block[2] = 0; emulate_block[2] < emulate_blocks[2]; emulate_block[2]++)
		for (emulate_block[1] = 0; emulate_block[1] < emulate_blocks[1]; emulate_block[1]++)
			for (emulate_block[0] = 0; emulate_block[0] < emulate_blocks[0];
			     emulate_block[0]++) {
				memset(shared_all, 0xa5, shared);
				if (run_block(name))
					return -1;
			}
	return 0;
}

int cuda_emulate(const char *name, const uint32_t grid[3], uint32_t block, uint32_t shared,
                 const void *args)
{
	entry = NULL;
	for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
		if (strcmp(kernels[i].name, name) == 0)
			entry = kernels[i].run;
	if (!entry || !block || block > THREADS_MAX || block % 32 || shared > SHARED_MAX ||
	    !grid[0] || !grid[1] || !grid[2] || grid[1] > 65535 || grid[2] > 65535) {
		snprintf(why, sizeof why, "%s: %s", name,
		         entry ? "cannot be launched so" : "no such kernel");
		return -1;
	}
	if (!stacks) {
		stacks = mmap(NULL, (size_t)THREADS_MAX * STACK, PROT_READ | PROT_WRITE,
		              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (stacks == MAP_FAILED)
			abort();
	}
	entry_args = args;
	emulate_threads = block;
	memcpy(emulate_blocks, grid, sizeof emulate_blocks);
	set_order(lane_order, 32);
	set_order(warp_order, block / 32);
	return run_grid(name, shared);
}
