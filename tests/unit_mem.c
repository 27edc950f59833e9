/*
 * mem.h: edges, growing blocks, sums by tag, a randomised comparison with a naive model by several
 * threads, and every allocation of a load and a token failing in turn.
 */
#include "unit.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "announce.h"
#include "fail_alloc.h"
#include "gguf.h"
#include "session.h"
#include "vocab.h"

static uint64_t mix(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s * 0x9e3779b97f4a7c15u >> 16;
}

static void edges(void)
{
	struct err e = {0};
	void *a = mem_alloc(MEM_IO, 0, &e), *b = mem_alloc(MEM_IO, 0, &e);

	CHECK(a && b && a != b);
	mem_free(a);
	mem_free(b);
	mem_free(NULL);
	CHECK(!mem_alloc(MEM_KV, SIZE_MAX, &e));
	CHECK_INT(e.status, ERR_TROUBLE);
	CHECK_STR(e.text, "no memory for 18446744073709551615 bytes (kv)");
	CHECK(!mem_alloc(MEM_KV, PTRDIFF_MAX, &e));
	CHECK(!mem_calloc(MEM_KV, SIZE_MAX / 4, 8, &e));
	CHECK(!mem_realloc(MEM_KV, NULL, SIZE_MAX / 4, 8, &e));
	CHECK(!mem_strndup(MEM_KV, "", SIZE_MAX, &e));
	char *s = mem_strndup(MEM_IO, "words and more", 5, &e);
	CHECK_STR(s, "words");
	mem_free(s);
	uint8_t *z = mem_calloc(MEM_IO, 3, 7, &e);
	for (int i = 0; i < 21; i++)
		CHECK_INT(z[i], 0);
	mem_free(z);
	CHECK_STR(mem_tag_name(MEM_SCRATCH), "scratch");
}

/* Up and down through the classes, the edge of a run and of a mapping of its own. */
static void growing_keeps_contents(void)
{
	static const size_t size[] = {1,      16,      17,     1000,     1024, 1025, 100000, 262144,
	                              262145, 3000000, 200000, 40000000, 5000, 64,   1};
	struct err e = {0};
	uint8_t *p = NULL;
	size_t have = 0;

	for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
		size_t kept = have < size[i] ? have : size[i], bad = 0;

		p = mem_realloc(MEM_IO, p, size[i], 1, &e);
		CHECK(p && (uintptr_t)p % 16 == 0);
		for (size_t k = 0; k < kept; k++)
			bad += p[k] != (uint8_t)(k * 7);
		CHECK_INT(bad, 0);
		for (size_t k = 0; k < size[i]; k++)
			p[k] = (uint8_t)(k * 7);
		have = size[i];
	}
	CHECK(!mem_realloc(MEM_IO, p, SIZE_MAX / 2, 4, &e)); /* the block stays */
	CHECK_INT(p[0], 0);
	mem_free(p);
}

static void sums_by_tag(void)
{
	uint64_t kv = mem_live(MEM_KV), io = mem_live(MEM_IO);
	void *a = mem_alloc(MEM_KV, 1000, NULL), *b = mem_alloc(MEM_IO, 300000, NULL);

	CHECK_INT(mem_live(MEM_KV), kv + 1000);
	CHECK_INT(mem_live(MEM_IO), io + 300000);
	CHECK(mem_peak(MEM_IO) >= io + 300000);
	b = mem_realloc(MEM_IO, b, 5000000, 1, NULL);
	CHECK_INT(mem_live(MEM_IO), io + 5000000);
	b = mem_realloc(MEM_KV, b, 10, 1, NULL); /* the tag may change */
	CHECK_INT(mem_live(MEM_IO), io);
	CHECK_INT(mem_live(MEM_KV), kv + 1010);
	CHECK(mem_peak(MEM_IO) >= io + 5000000);
	mem_free(a);
	mem_free(b);
	CHECK_INT(mem_live(MEM_KV), kv);
}

/* ---- the model ---- */

#define SLOTS 128 /* shared blocks: each is guarded by its own flag */

struct block {
	int busy;
	uint8_t *p;
	size_t n;
	enum mem_tag tag;
	uint8_t mark;
};

static struct block slot[SLOTS];
static long bad, ops;

static size_t random_size(uint64_t *s)
{
	uint64_t r = mix(s);

	return r % 32 == 0 ? r / 32 % 2000000 : r % 8 == 0 ? r / 8 % 20000 : r / 8 % 700;
}

/* The ends and some of the middle: whole blocks would make the test slow, not better. */
static size_t next(size_t i, size_t n)
{
	return i + (i < 64 || i + 64 >= n ? 1 : 509);
}

static void mark(struct block *b)
{
	for (size_t i = 0; i < b->n; i = next(i, b->n))
		b->p[i] = (uint8_t)(b->mark + i);
}

/* Whether the first upto bytes of what mark wrote into n bytes stand. */
static bool marked(const struct block *b, size_t n, size_t upto)
{
	for (size_t i = 0; i < upto; i = next(i, n))
		if (b->p[i] != (uint8_t)(b->mark + i))
			return false;
	return true;
}

static void one(struct block *b, uint64_t *s)
{
	size_t n = random_size(s), before = b->n;
	enum mem_tag tag = (enum mem_tag)(mix(s) % MEM_TAGS);

	if (b->p && !marked(b, b->n, b->n))
		__atomic_add_fetch(&bad, 1, __ATOMIC_RELAXED);
	if (b->p && mix(s) % 3 == 0) {
		b->p = mem_realloc(tag, b->p, n, 1, NULL);
		b->n = n;
		if (!marked(b, before, before < n ? before : n))
			__atomic_add_fetch(&bad, 1, __ATOMIC_RELAXED);
	} else if (b->p) {
		mem_free(b->p);
		b->p = NULL;
		b->n = 0;
		return;
	} else {
		b->p = mix(s) % 4 ? mem_alloc(tag, n, NULL) : mem_calloc(tag, 1, n, NULL);
		b->n = n;
	}
	b->tag = tag;
	b->mark = (uint8_t)mix(s);
	mark(b);
}

static void *work(void *arg)
{
	uint64_t s = *(uint64_t *)arg;

	for (long i = 0; i < ops; i++) {
		struct block *b = &slot[mix(&s) % SLOTS];

		if (__atomic_exchange_n(&b->busy, 1, __ATOMIC_ACQUIRE))
			continue;
		one(b, &s);
		__atomic_store_n(&b->busy, 0, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void model(void)
{
	const char *env = getenv("MEM_MODEL_OPS");
	uint64_t before[MEM_TAGS], seed[3] = {88172645463325252u, 3, 77}, held[MEM_TAGS] = {0};

	ops = env ? atol(env) : 200000;
	for (enum mem_tag t = 0; t < MEM_TAGS; t++)
		before[t] = mem_live(t);
	for (int generation = 0; generation < 2; generation++) {
		pthread_t t[3];

		for (int i = 0; i < 3; i++)
			CHECK(pthread_create(&t[i], NULL, work, &seed[i]) == 0);
		for (int i = 0; i < 3; i++)
			pthread_join(t[i], NULL);
	}
	CHECK_INT(bad, 0);
	for (int i = 0; i < SLOTS; i++)
		held[slot[i].tag] += slot[i].p ? slot[i].n : 0;
	for (enum mem_tag t = 0; t < MEM_TAGS; t++)
		CHECK_INT(mem_live(t), before[t] + held[t]);
	for (int i = 0; i < SLOTS; i++)
		mem_free(slot[i].p);
	for (enum mem_tag t = 0; t < MEM_TAGS; t++)
		CHECK_INT(mem_live(t), before[t]);
}

/* ---- misuse: in a child, which must be stopped with these words ---- */

static void grow_what_ended(void)
{
	void *p = mem_alloc(MEM_IO, 40, NULL);

	mem_free(p);
	mem_free(mem_realloc(MEM_IO, p, 50, 1, NULL));
}

static void growing_what_ended_is_caught(void)
{
	char text[2048] = "";
	int fd[2], status = 0;

	CHECK(pipe(fd) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fd[1], STDERR_FILENO);
		grow_what_ended();
		_exit(0);
	}
	close(fd[1]);
	CHECK(read(fd[0], text, sizeof text - 1) > 0);
	close(fd[0]);
	waitpid(pid, &status, 0);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	CHECK(strstr(text, "grown after its end") != NULL);
}

/* ---- a load and a token ---- */

struct loaded {
	struct gguf g;
	struct vocab *v;
	struct session *s;
};

static void unload(void *arg)
{
	struct loaded *l = arg;

	session_close(l->s);
	vocab_close(l->v);
	gguf_close(&l->g);
	memset(l, 0, sizeof *l);
}

static int load_and_token(void *arg, struct err *e)
{
	struct loaded *l = arg;
	struct session_options o = {.plan = {.threads = 1, .ctx = 16, .logits_rows = 1}};
	const float *row;
	int32_t id = 1;

	if (gguf_open(&l->g, "tests/data/shakespeare.gguf", GGUF_FILES_ONLY, e) == 0 &&
	    vocab_open(&l->v, &l->g, NULL, e) == 0 && session_open(&l->s, &l->g, &o, e) == 0 &&
	    session_eval(l->s, 0, &id, 1, e) == 0 && session_logits(l->s, 0, 1, &row, e) == 0)
		return 0;
	unload(l);
	return -1;
}

static void each_allocation_of_a_load_and_a_token_fails(void)
{
	struct loaded l = {0};

	CHECK(fail_alloc(load_and_token, unload, &l) > 10);
}

int main(void)
{
	RUN(edges);
	RUN(growing_keeps_contents);
	RUN(sums_by_tag);
	RUN(model);
#ifdef ANNOUNCE_ASAN
	SKIP(growing_what_ended_is_caught, "blocks are malloc's in this build");
#else
	RUN(growing_what_ended_is_caught);
#endif
	RUN(each_allocation_of_a_load_and_a_token_fails);
	return unit_end();
}
