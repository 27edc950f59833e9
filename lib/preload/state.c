/*
 * The slot of this process in the shared file: opened at start, claimed again after exec, and by a
 * forked child when it turns out to live longer than to the next exec.
 */
#include "preload.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATIENCE   256 /* events of a child before it claims a slot: enough for fork and exec */
#define STACK_MOST ((uintptr_t)1 << 30) /* bytes of a stack without a limit */

extern void *__libc_stack_end; /* of the first thread */

static struct state nothing;
struct state *ledger = &nothing;
struct ledger_control *control;
__thread struct thread self __attribute__((tls_model("initial-exec")));

static char shared_path[64];

/* Empties the slot, mapped at p, that an earlier image of this process left behind.  Nothing is
 * written through fd: the process may have a limit on the size of files. */
static void slot_clear(int fd, off_t at, struct ledger_process *p)
{
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, (off_t)control->slot_bytes);
	__atomic_store_n(&p->pid, (int32_t)getpid(), __ATOMIC_RELEASE);
}

/* The pid field of a slot, mapped by itself: a whole slot is mapped only when it is ours. */
static int slot_claim(int fd, unsigned slot)
{
	off_t at = (off_t)(LEDGER_CONTROL_BYTES + slot * control->slot_bytes);
	struct ledger_process *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, at);
	int32_t none = 0, pid = (int32_t)getpid();

	if (p == MAP_FAILED)
		return 0;
	uint32_t generation = p->generation + 1;
	int mine = p->pid == pid;
	if (mine)
		slot_clear(fd, at, p);
	else
		mine = __atomic_compare_exchange_n(&p->pid, &none, pid, 0, __ATOMIC_ACQ_REL,
		                                   __ATOMIC_RELAXED);
	if (mine)
		p->generation = generation;
	munmap(p, 4096);
	return mine;
}

static int slot_of_pid(int fd)
{
	int32_t pid = (int32_t)getpid(), held;
	int empty = -1;

	for (unsigned i = 0; i < LEDGER_SLOTS; i++) {
		off_t at = (off_t)(LEDGER_CONTROL_BYTES + i * control->slot_bytes);
		if (pread(fd, &held, sizeof held, at) != sizeof held)
			return -1;
		if (held == pid)
			return slot_claim(fd, i) ? (int)i : -1;
		if (held == 0 && empty < 0)
			empty = (int)i;
	}
	for (unsigned i = empty < 0 ? LEDGER_SLOTS : (unsigned)empty; i < LEDGER_SLOTS; i++)
		if (slot_claim(fd, i))
			return (int)i;
	return -1;
}

static void name_self(struct ledger_process *p)
{
	char path[512];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

	if (n <= 0)
		return;
	path[n] = 0;
	const char *slash = strrchr(path, '/');
	snprintf(p->name, sizeof p->name, "%.63s", slash ? slash + 1 : path);
}

static void place_parts(struct state *s, char *base)
{
	unsigned log2 = control->block_log2;

	s->process = (void *)base;
	s->modules = (void *)(base + ledger_at(LEDGER_AT_MODULES, log2));
	s->sites = (void *)(base + ledger_at(LEDGER_AT_SITES, log2));
	s->index = (void *)(base + ledger_at(LEDGER_AT_INDEX, log2));
	s->counts = (void *)(base + ledger_at(LEDGER_AT_COUNTS, log2));
	s->caches = (void *)(base + ledger_at(LEDGER_AT_CACHES, log2));
	s->maps = (void *)(base + ledger_at(LEDGER_AT_MAPS, log2));
	s->fds = (void *)(base + ledger_at(LEDGER_AT_FDS, log2));
	s->blocks = (void *)(base + ledger_at(LEDGER_AT_BLOCKS, log2));
	s->spilled = (uint8_t *)s->blocks + (sizeof(struct ledger_block) << log2);
	s->buckets = (uint64_t)1 << (log2 - 2);
	s->used = s->spilled + s->buckets;
}

/* Whether malloc, as programs find it, is ours. */
static int own_malloc(void)
{
	void *(*found)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "malloc");
	Dl_info there, here;

	return dladdr((void *)(uintptr_t)found, &there) && dladdr((void *)&ledger, &here) &&
	       there.dli_fbase != here.dli_fbase;
}

/* Maps a slot and fills the state.  first: at the start of a program, not in a forked child. */
static RARELY void claim(int first)
{
	int saved = errno;
	struct state s = {
	    .pid = (int32_t)getpid(), .level = control->level, .period = control->period};

	ledger->refused = 1;
	int fd = open(shared_path, O_RDWR | O_CLOEXEC);
	int slot = fd < 0 ? -1 : slot_of_pid(fd);
	char *base =
	    slot < 0 ? MAP_FAILED
		     : mmap(NULL, control->slot_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
	                    (off_t)(LEDGER_CONTROL_BYTES + (unsigned)slot * control->slot_bytes));
	if (fd >= 0)
		close(fd);
	if (base == MAP_FAILED) {
		__atomic_add_fetch(&control->no_slot, 1, __ATOMIC_RELAXED);
		errno = saved;
		return;
	}
	place_parts(&s, base);
	s.process->ppid = (int32_t)getppid();
	s.process->step0 = control->step;
	s.process->sites = 1;
	s.process->flags =
	    (first ? 0 : LEDGER_FORKED) | (first && own_malloc() ? LEDGER_OWN_MALLOC : 0);
	s.threads = !first;
	name_self(s.process);
	s.ready = 1;
	*ledger = s;
	__atomic_add_fetch(&control->claims, 1, __ATOMIC_RELEASE);
	errno = saved;
}

static int bit_take(uint32_t *set, int n)
{
	uint32_t now = __atomic_load_n(set, __ATOMIC_RELAXED);

	for (;;) {
		int i = now == UINT32_MAX ? 32 : __builtin_ctz(~now);
		if (i >= n)
			return -1;
		if (__atomic_compare_exchange_n(set, &now, now | 1u << i, 0, __ATOMIC_ACQUIRE,
		                                __ATOMIC_RELAXED))
			return i;
	}
}

/* Of a stack whose size nobody told us. */
static uintptr_t stack_limit(void)
{
	struct rlimit r;

	return getrlimit(RLIMIT_STACK, &r) == 0 && r.rlim_cur < STACK_MOST ? r.rlim_cur
	                                                                   : STACK_MOST;
}

/* Without asking the C library, which would allocate: an allocator may be waiting for us with its
 * lock held.  A thread whose beginning we saw knows its bounds already. */
static void stack_bounds(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	/* A thread's own record lies at the upper end of its stack. */
	const uintptr_t end[] = {(uintptr_t)__libc_stack_end, (uintptr_t)pthread_self()};

	for (int i = 0; i < 2 && !self.hi; i++)
		if (here < end[i] && end[i] - here < stack_limit()) {
			self.lo = end[i] - stack_limit();
			self.hi = end[i];
		}
}

void state_thread_begin(size_t stack)
{
	self.hi = (uintptr_t)pthread_self();
	self.lo = self.hi - stack;
}

/* First event of this thread in this process. */
static RARELY void thread_begin(void)
{
	int saved = errno;
	int stripe = self.ended ? -1 : bit_take(&ledger->process->stripes, LEDGER_STRIPES - 1);
	int cache = self.ended ? -1 : bit_take(&ledger->process->caches, LEDGER_CACHES);

	uint32_t top = stripe < 0 ? LEDGER_STRIPES : (uint32_t)stripe + 1;
	uint32_t now = __atomic_load_n(&ledger->process->stripe_top, __ATOMIC_RELAXED);
	while (now < top && !__atomic_compare_exchange_n(&ledger->process->stripe_top, &now, top, 1,
	                                                 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	self.pid = ledger->pid;
	self.stripe = (int8_t)stripe;
	self.cache_id = (int8_t)cache;
	self.shared = stripe < 0;
	self.counts =
	    ledger->counts + (size_t)(stripe < 0 ? LEDGER_STRIPES - 1 : stripe) * LEDGER_SITES;
	self.cache = cache < 0 ? NULL : ledger->caches + (size_t)cache * LEDGER_CACHED;
	if (!self.ended)
		stack_bounds();
	errno = saved;
}

void state_thread_end(void)
{
	if (self.pid != ledger->pid || !ledger->ready)
		return;
	self.busy = 1;
	if (self.stripe >= 0)
		__atomic_and_fetch(&ledger->process->stripes, ~(1u << self.stripe),
		                   __ATOMIC_RELEASE);
	if (self.cache_id >= 0)
		__atomic_and_fetch(&ledger->process->caches, ~(1u << self.cache_id),
		                   __ATOMIC_RELEASE);
	self.ended = 1;
	thread_begin();
	self.busy = 0;
}

/* A forked child sees zeros here until it has a slot. */
static RARELY int enter_slowly(int patient)
{
	if (!control || ledger->refused || ledger == &nothing)
		return 0;
	if (!ledger->ready) {
		if (patient && __atomic_add_fetch(&ledger->events, 1, __ATOMIC_RELAXED) < PATIENCE)
			return 0;
		self.busy = 1;
		claim(0);
		self.busy = 0;
	}
	if (!ledger->ready)
		return 0;
	self.busy = 1;
	if (self.pid != ledger->pid)
		thread_begin();
	return 1;
}

int state_enter(int patient)
{
	if (self.busy)
		return 0;
	if (LIKELY(ledger->ready && self.pid == ledger->pid)) {
		self.busy = 1;
		return 1;
	}
	return enter_slowly(patient);
}

int state_foreign(void)
{
	return ledger->ready && (int32_t)syscall(SYS_getpid) != ledger->pid;
}

/* The wipe-on-fork page; without that advice (Linux before 4.14) nothing is recorded. */
static struct state *state_page(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (madvise(p, 4096, MADV_WIPEONFORK)) {
		munmap(p, 4096);
		return NULL;
	}
	return p;
}

static struct ledger_control *control_open(void)
{
	const char *path = getenv(LEDGER_ENV);
	int fd = path && strlen(path) < sizeof shared_path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	if (fd < 0)
		return NULL;
	strcpy(shared_path, path);
	struct ledger_control *c =
	    mmap(NULL, LEDGER_CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (c == MAP_FAILED)
		return NULL;
	if (c->magic == LEDGER_MAGIC && c->version == LEDGER_VERSION)
		return c;
	munmap(c, LEDGER_CONTROL_BYTES);
	return NULL;
}

__attribute__((constructor(101))) static void begin(void)
{
	struct ledger_control *c = control_open();
	struct state *page = c ? state_page() : NULL;

	if (!page)
		return;
	self.busy = 1;
	control = c;
	ledger = page;
	if (c->level != LEDGER_OFF)
		claim(1);
	else
		ledger->refused = 1;
	if (c->line_buffered)
		setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	self.busy = 0;
}

__attribute__((destructor)) static void end(void)
{
	deepbind_look();
	if (ledger->ready)
		__atomic_or_fetch(&ledger->process->flags, LEDGER_ENDED, __ATOMIC_RELAXED);
}
