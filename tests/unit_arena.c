/*
 * Arenas: edges, scopes that nest, what outlives a scope, and use after a scope's end.
 */
#include "unit.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "announce.h"
#include "arena.h"
#include "track.h"

static void edges(void)
{
	struct arena a = {0};
	struct err e = {0};

	CHECK(!arena_take(&a, 1));
	CHECK(arena_init(&a, MEM_KV, "region", 1000, &e) == 0);
	uint8_t *p = arena_take(&a, 1), *q = arena_take(&a, 64), *r = arena_take(&a, 0);
	CHECK(p && q == p + 64 && r == q + 64);
	CHECK((uintptr_t)p % ARENA_ALIGN == 0);
	CHECK(arena_take(&a, 0) == r);
	CHECK(!arena_take(&a, 1000));
	CHECK(!arena_take(&a, SIZE_MAX));
	CHECK(!arena_take(&a, SIZE_MAX - 62));
	CHECK(arena_take(&a, 832) != NULL);
	CHECK_INT(a.used, 960);
	CHECK(!arena_take(&a, 41));
	arena_fini(&a);
	CHECK(arena_init(&a, MEM_KV, "none", 0, &e) == 0);
	CHECK(!arena_take(&a, 1));
	arena_fini(&a);
	CHECK(arena_init(&a, MEM_KV, "kv cache", SIZE_MAX / 2, &e) == -1);
	CHECK(strncmp(e.text, "kv cache: no memory for ", 24) == 0);
	CHECK_INT(e.status, ERR_TROUBLE);
}

/* On huge pages or not: as others, at a multiple of 2 MiB. */
static void huge_pages(void)
{
	struct arena a;
	size_t bytes = (5 << 20) + 640;

	CHECK(arena_init_huge(&a, MEM_KV, "kv", bytes, NULL) == 0);
	uint8_t *p = arena_take(&a, bytes);
	CHECK(p && (uintptr_t)p % (2 << 20) == 0);
	if (!p)
		return;
	CHECK(p[0] == 0 && p[bytes - 1] == 0);
	p[0] = p[bytes - 1] = 1;
	CHECK(!arena_take(&a, 1));
	arena_forget(&a);
	CHECK(p[0] == 0 && p[bytes - 1] == 0);
	arena_fini(&a);
	CHECK(arena_init_huge(&a, MEM_KV, "none", 0, NULL) == 0);
	arena_fini(&a);
}

static void scopes_nest(void)
{
	struct arena a;

	CHECK(arena_init(&a, MEM_SCRATCH, "scratch", 1 << 20, NULL) == 0);
	uint8_t *kept = arena_take(&a, 100);
	kept[0] = 7;
	for (int i = 0; i < 10; i++) {
		size_t outer = arena_begin(&a);
		uint8_t *p = arena_take(&a, 5000);
		p[4999] = 1;
		size_t inner = arena_begin(&a);
		CHECK(arena_take(&a, 500000) != NULL);
		arena_end(&a, inner);
		CHECK_INT(a.used, 128 + 5056);
		arena_end(&a, outer);
		CHECK_INT(a.used, 128);
	}
	CHECK_INT(arena_peak(&a), 128 + 5056 + 500032);
	CHECK(kept[0] == 7);
	CHECK(arena_trim(&a) == (1 << 20) - 4096);
	uint8_t *again = arena_take(&a, 100000);
	CHECK(again[50000] == 0 && again[99999] == 0);
	arena_fini(&a);
}

static void count_site(void *arg, const struct track_site *s)
{
	uint64_t *blocks = arg;

	*blocks += s->blocks;
}

static void scope_tells_what_outlived_it(void)
{
	struct arena a;
	struct arena_scope s;
	struct arena_left left;
	uint64_t blocks = 0;

	track_start(TRACK_STANDARD);
	CHECK(arena_init(&a, MEM_SCRATCH, "scratch", 65536, NULL) == 0);
	void *before = mem_alloc(MEM_IO, 500, NULL);
	arena_scope_begin(&s, &a);
	CHECK(arena_take(&a, 100) != NULL);
	void *gone = mem_alloc(MEM_IO, 300, NULL);
	void *stays = mem_alloc(MEM_VOCAB, 1234, NULL);
	mem_free(gone);
	arena_scope_end(&s, &left);
	CHECK_INT(a.used, 0);
	CHECK_INT(left.all, 1234);
	CHECK_INT(left.bytes[MEM_VOCAB], 1234);
	CHECK_INT(left.bytes[MEM_IO], 0);
#ifndef ANNOUNCE_ASAN
	CHECK(track_sites_since(left.epoch, false, count_site, &blocks, NULL) == 0);
	CHECK_INT(blocks, 1);
#else
	(void)count_site, (void)blocks;
#endif
	mem_free(stays);
	mem_free(before);
	arena_fini(&a);
	track_start(TRACK_BASIC);
}

/* ---- misuse, in a child ---- */

static __attribute__((noinline)) uint8_t *take_here(struct arena *a)
{
	uint8_t *p = arena_take(a, 200);

	__asm__ volatile("" : : "r"(p) : "memory");
	return p;
}

static __attribute__((noinline)) void end_here(struct arena *a, size_t mark)
{
	arena_end(a, mark);
	__asm__ volatile("" : : : "memory");
}

static void use_after_end(void)
{
	struct arena a;

	arena_init(&a, MEM_SCRATCH, "scratch", 65536, NULL);
	size_t mark = arena_begin(&a);
	uint8_t *p = take_here(&a);
	end_here(&a, mark);
	p[77] = 1;
	arena_take(&a, 4000);
}

static void ends_in_wrong_order(void)
{
	struct arena a;

	arena_init(&a, MEM_SCRATCH, "scratch", 65536, NULL);
	size_t outer = arena_begin(&a);
	arena_take(&a, 100);
	size_t inner = arena_begin(&a);
	arena_end(&a, outer);
	arena_end(&a, inner);
}

static const char *child(void (*fn)(void))
{
	static char text[65536];
	int fd[2], status = 0;
	size_t n = 0;
	ssize_t r;

	CHECK(pipe(fd) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fd[1], STDERR_FILENO);
		track_start(TRACK_GUARD);
		fn();
		_exit(0);
	}
	close(fd[1]);
	while ((r = read(fd[0], text + n, sizeof text - 1 - n)) > 0)
		n += (size_t)r;
	text[n] = 0;
	close(fd[0]);
	waitpid(pid, &status, 0);
	CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
	return text;
}

static void use_after_end_is_reported(void)
{
	const char *t = child(use_after_end);
#ifdef ANNOUNCE_ASAN
	CHECK(strstr(t, "use-after-poison") != NULL);
#else
	CHECK(strstr(t, "scratch: written to after its scope ended") != NULL);
	CHECK(strstr(t, "taken at take_here (unit_arena.c:") != NULL);
	CHECK(strstr(t, "ended at end_here (unit_arena.c:") != NULL);
#endif
	CHECK(strstr(child(ends_in_wrong_order), "scope ended after its outer one") != NULL);
}

static void failing_on_purpose(void)
{
	struct arena a;
	struct err e = {0};

	mem_fail_at(2);
	void *p = mem_alloc(MEM_IO, 10, &e);
	CHECK(p != NULL);
	CHECK(arena_init(&a, MEM_KV, "kv cache", 4096, &e) == -1);
	CHECK_STR(e.text, "kv cache: no memory for 4096 bytes: Cannot allocate memory");
	CHECK(!a.base);
	CHECK_INT(mem_attempts(), 2);
	mem_fail_at(0);
	CHECK(arena_init(&a, MEM_KV, "kv cache", 4096, &e) == 0);
	arena_fini(&a);
	mem_free(p);
}

int main(void)
{
	RUN(edges);
	RUN(huge_pages);
	RUN(scopes_nest);
	RUN(scope_tells_what_outlived_it);
#ifndef ANNOUNCE_ASAN
	if (announce_on)
		SKIP(use_after_end_is_reported, "a tool that looks at memory does it");
	else
#endif
		RUN(use_after_end_is_reported);
	RUN(failing_on_purpose);
	return unit_end();
}
