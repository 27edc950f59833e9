#include "reach_mark.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define OLD         2     /* blocks of the last steps may live in registers or be on their way */
#define AREAS       65536 /* mappings of the process */
#define ARENA       (64ull << 20)   /* glibc's arenas begin at multiples of this */
#define SPARSE_FROM (256ull * 1024) /* larger ranges are asked page by page whether they exist */

#define PAGES 4096 /* asked about at once */

struct node {
	uint64_t lo;
	uint64_t bytes;
	uint32_t site, step;
	uint8_t marked, opaque; /* opaque: never holds pointers (files) */
};

struct area { /* a writable private mapping */
	uint64_t lo, hi;
	uint8_t heap, stack;
};

static struct node *node, *spare;
static struct ledger_block *raw;
static uint64_t n_raw;
static struct ledger_map maps[LEDGER_MAPS];
static uint32_t n_maps;
static uint32_t *todo;
static uint64_t n_nodes, n_todo, scanned, min_lo, max_hi, deadline;
static struct area *area;
static uint32_t n_areas;
static int pagemap = -1, late;

static void *take(uint64_t bytes)
{
	void *p = (void *)syscall(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE,
	                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	/* A fault for every page would cost more than what is written there. */
	madvise(p, bytes, MADV_HUGEPAGE);
	return p;
}

static uint64_t now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec;
}

/* ---- nodes ---- */

static void add_node(const struct state *s, uint64_t lo, uint64_t bytes, uint32_t site,
                     uint32_t step)
{
	uint32_t kind = s->sites[site].kind;

	/* A pool's stock is seen through the blocks that it handed out. */
	if (kind != LEDGER_HEAP && kind != LEDGER_MAP && kind != LEDGER_FILE && kind != LEDGER_POOL)
		return;
	node[n_nodes++] = (struct node){.lo = lo,
	                                .bytes = bytes ? bytes : 1,
	                                .site = site,
	                                .step = step,
	                                .opaque = kind == LEDGER_FILE};
}

/* What the process waits for: only the entries in use are copied, and nothing is made of them. */
static int gather(const struct state *s)
{
	uint64_t entries = s->buckets * 4;

	raw = take(entries * sizeof *raw);
	if (!raw)
		return 0;
	for (uint64_t run = 0; run < s->buckets / LEDGER_RUN; run++)
		for (uint64_t i = 0; s->used[run] && i < LEDGER_RUN * 4; i++) {
			raw[n_raw] = s->blocks[run * LEDGER_RUN * 4 + i];
			n_raw += raw[n_raw].key != 0;
		}
	n_maps = s->process->maps < LEDGER_MAPS ? s->process->maps : LEDGER_MAPS;
	memcpy(maps, s->maps, n_maps * sizeof *maps);
	return 1;
}

static int make_nodes(const struct state *s)
{
	uint64_t room = n_raw + n_maps + 1;

	node = take(room * sizeof *node);
	spare = take(room * sizeof *node);
	todo = take(room * sizeof *todo);
	if (!node || !spare || !todo)
		return 0;
	for (uint64_t i = 0; i < n_raw; i++)
		if (raw[i].value)
			add_node(s, raw[i].key >> 20 << 4, raw[i].value >> 24 & LEDGER_VALUE_BYTES,
			         (uint32_t)(raw[i].value & LEDGER_VALUE_SITE),
			         (uint32_t)(raw[i].key & LEDGER_KEY_STEP));
	for (uint32_t i = 0; i < n_maps; i++)
		add_node(s, maps[i].lo, maps[i].hi - maps[i].lo, maps[i].site,
		         maps[i].step & LEDGER_KEY_STEP);
	return 1;
}

/* By address: a radix sort, four passes of twelve bits over address >> 4 below 2^52. */
static void sort(void)
{
	static uint64_t at[4096];

	for (int shift = 4; shift < 52; shift += 12) {
		uint64_t sum = 0;
		memset(at, 0, sizeof at);
		for (uint64_t i = 0; i < n_nodes; i++)
			at[node[i].lo >> shift & 4095]++;
		for (int d = 0; d < 4096; d++) {
			uint64_t n = at[d];
			at[d] = sum;
			sum += n;
		}
		for (uint64_t i = 0; i < n_nodes; i++)
			spare[at[node[i].lo >> shift & 4095]++] = node[i];
		struct node *t = node;
		node = spare;
		spare = t;
	}
	min_lo = n_nodes ? node[0].lo : UINT64_MAX;
	max_hi = n_nodes ? node[n_nodes - 1].lo + node[n_nodes - 1].bytes : 0;
}

/* The first node that begins above p. */
static uint64_t above(uint64_t p)
{
	uint64_t a = 0, b = n_nodes;

	while (a < b) {
		uint64_t m = (a + b) / 2;
		if (node[m].lo > p)
			b = m;
		else
			a = m + 1;
	}
	return a;
}

/* ---- marking ---- */

static void point(uint64_t word)
{
	if (word < min_lo || word >= max_hi)
		return;
	uint64_t i = above(word);
	if (!i--)
		return;
	if (word < node[i].lo + node[i].bytes && !node[i].marked) {
		node[i].marked = 1;
		if (!node[i].opaque)
			todo[n_todo++] = (uint32_t)i;
	}
}

static void scan_words(uint64_t lo, uint64_t hi)
{
	lo = (lo + 7) & ~7ull;
	for (const uint64_t *p = (const uint64_t *)lo; (uint64_t)(p + 1) <= hi; p++)
		point(*p);
	scanned += hi > lo ? hi - lo : 0;
}

/* Only pages that exist: reading another would only make a page of zeros.  The kernel tells by a
 * word for each page; where it does not, all are read. */
static void scan_pages(uint64_t lo, uint64_t hi)
{
	static uint64_t entry[PAGES];

	for (uint64_t p = lo & ~4095ull; p < hi && !late; p += PAGES * 4096) {
		ssize_t n = pread(pagemap, entry, sizeof entry, (off_t)(p / 4096 * sizeof *entry));
		uint64_t told = n > 0 ? (uint64_t)n / sizeof *entry : 0;
		for (uint64_t i = 0; i < PAGES && p + i * 4096 < hi; i++) {
			uint64_t from = p + i * 4096, to = from + 4096;
			if (i >= told || entry[i] >> 62)
				scan_words(from < lo ? lo : from, to < hi ? to : hi);
		}
		late = now_s() > deadline;
	}
}

/* The part of [lo, hi) that may be read: within one writable mapping. */
static uint64_t readable(uint64_t lo, uint64_t hi)
{
	uint32_t a = 0, b = n_areas;

	while (a < b) {
		uint32_t m = (a + b) / 2;
		if (area[m].hi > lo)
			b = m;
		else
			a = m + 1;
	}
	if (a == n_areas || area[a].lo > lo)
		return lo;
	return hi < area[a].hi ? hi : area[a].hi;
}

static void scan(uint64_t lo, uint64_t hi)
{
	if (late || hi <= lo)
		return;
	hi = readable(lo, hi);
	if (hi - lo < SPARSE_FROM)
		scan_words(lo, hi);
	else
		scan_pages(lo, hi);
	late = now_s() > deadline;
}

static void drain(void)
{
	while (n_todo && !late) {
		const struct node *n = &node[todo[--n_todo]];
		scan(n->lo, n->lo + n->bytes);
	}
}

/* ---- roots ---- */

static uint64_t hex(const char **p)
{
	uint64_t v = 0;

	for (;; (*p)++) {
		char c = **p;
		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint64_t)(c - 'a' + 10);
		else
			return v;
	}
}

/* "7f0000000000-7f0000001000 rw-p 00000000 00:00 0   [heap]" */
static void one_area(const char *line, const char *end)
{
	const char *p = line;
	struct area a = {.lo = hex(&p)};

	p++;
	a.hi = hex(&p);
	if (end - p < 5 || p[1] != 'r' || p[2] != 'w' || p[4] != 'p' || n_areas == AREAS)
		return;
	a.heap = end - line > 6 && !memcmp(end - 6, "[heap]", 6);
	area[n_areas++] = a;
}

static int read_areas(void)
{
	uint64_t room = 16ull << 20, have = 0;
	char *text = take(room);
	ssize_t n;

	area = take(AREAS * sizeof *area);
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (!text || !area || fd < 0)
		return 0;
	while (have < room && (n = read(fd, text + have, room - have)) > 0)
		have += (uint64_t)n;
	close(fd);
	for (char *p = text, *end; (end = memchr(p, '\n', (size_t)(text + have - p))); p = end + 1)
		one_area(p, end);
	munmap(text, room);
	return 1;
}

/* The allocator's own areas are read only through live blocks: the [heap], and the arenas of
 * threads, which begin at a multiple of their size and hold blocks. */
static int is_allocators(const struct area *a)
{
	if (a->heap)
		return 1;
	uint64_t i = above(a->lo);
	return a->lo % ARENA == 0 && i < n_nodes && node[i].lo < a->hi && node[i].lo - a->lo < 4096;
}

/* What no block covers. */
static void scan_gaps(const struct area *a)
{
	uint64_t at = a->lo, i = above(a->lo);

	if (i && node[i - 1].lo + node[i - 1].bytes > at)
		at = node[i - 1].lo + node[i - 1].bytes;
	for (; i < n_nodes && node[i].lo < a->hi; i++) {
		scan(at, node[i].lo);
		at = node[i].lo + node[i].bytes;
	}
	scan(at, a->hi);
}

static int is_ours(const struct area *a)
{
	const void *own[] = {node, spare, todo, area, raw};

	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		if ((uint64_t)own[i] >= a->lo && (uint64_t)own[i] < a->hi)
			return 1;
	return 0;
}

static void scan_roots(const uint64_t *sp, uint32_t n_sp)
{
	for (uint32_t k = 0; k < n_sp; k++)
		for (uint32_t i = 0; i < n_areas; i++)
			if (sp[k] >= area[i].lo && sp[k] < area[i].hi && !area[i].heap) {
				/* The red zone below belongs to the function that runs. */
				uint64_t from = sp[k] - 128;
				if (!area[i].stack)
					scan(from < area[i].lo ? area[i].lo : from, area[i].hi);
				area[i].stack = 1;
			}
	for (uint32_t i = 0; i < n_areas; i++)
		if (!area[i].stack && !is_allocators(&area[i]) && !is_ours(&area[i]))
			scan_gaps(&area[i]);
}

/* ---- result ---- */

static void count(const struct state *s, uint32_t step)
{
	static uint64_t steps[LEDGER_SITES];

	for (uint32_t i = 0; i < s->process->sites; i++) {
		struct ledger_site *t = &s->sites[i];
		t->lost = t->lost_bytes = t->held = t->held_bytes = 0;
		t->lost_after_warm = t->lost_steps = 0;
		t->lost_bytes_after_warm = 0;
	}
	for (uint64_t i = 0; i < n_nodes; i++) {
		const struct node *n = &node[i];
		struct ledger_site *t = &s->sites[n->site];
		uint32_t age = (step - n->step) & LEDGER_KEY_STEP;
		/* Half of the circle ahead: born after the snapshot. */
		if (age < OLD || age > LEDGER_KEY_STEP / 2)
			continue;
		if (n->marked) {
			t->held++;
			t->held_bytes += n->bytes;
			continue;
		}
		t->lost++;
		t->lost_bytes += n->bytes;
		if (n->step > s->process->reach_warm) {
			t->lost_after_warm++;
			t->lost_bytes_after_warm += n->bytes;
			steps[n->site] |= 1ull << (n->step % 64);
		}
	}
	for (uint32_t i = 0; i < s->process->sites; i++)
		s->sites[i].lost_steps = (uint32_t)__builtin_popcountll(steps[i]);
}

int reach_gather(struct state *s)
{
	/* The areas first: what is taken for the nodes must not be among them. */
	return read_areas() && gather(s);
}

int reach_mark(struct state *s, uint32_t step, const uint64_t *sp, uint32_t n)
{
	deadline = now_s() + REACH_S;
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (!make_nodes(s))
		return 0;
	sort();
	scan_roots(sp, n);
	drain();
	if (late)
		return 0;
	count(s, step);
	s->process->reach_bytes = scanned;
	return 1;
}
