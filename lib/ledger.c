#include "ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem.h"

#define KEPT  64 /* processes from which on brief ones are forgotten */
#define BRIEF 20 /* samples */

const char *ledger_kind_name(enum ledger_kind kind)
{
	static const char *const name[LEDGER_KINDS] = {
	    "heap", "map",        "file map", "descriptor", "thread",
	    "pool", "pool stock", "device",   "pinned",     "device object"};

	return kind < LEDGER_KINDS ? name[kind] : "unknown";
}

int ledger_kind_is_bytes(enum ledger_kind kind)
{
	return kind != LEDGER_FD && kind != LEDGER_OBJECT && kind != LEDGER_THREAD;
}

static off_t slot_at(const struct ledger_shared *l, unsigned slot)
{
	return (off_t)(LEDGER_CONTROL_BYTES + (uint64_t)slot * l->control->slot_bytes);
}

int ledger_open(struct ledger_shared *l, struct ledger_options o, struct err *e)
{
	uint64_t slot = ledger_at(LEDGER_AT_END, o.block_log2);

	memset(l, 0, sizeof *l);
	l->kept = KEPT;
	l->fd = memfd_create("bitnet-ledger", MFD_CLOEXEC);
	if (l->fd < 0)
		return err_sys(e, "cannot make the ledger's shared memory");
	if (ftruncate(l->fd, (off_t)(LEDGER_CONTROL_BYTES + LEDGER_SLOTS * slot))) {
		err_sys(e, "cannot make a ledger of %llu bytes", (unsigned long long)slot);
		goto fail;
	}
	/* Not fatal: the pages then come when they are touched. */
	posix_fallocate(l->fd, 0, (off_t)(LEDGER_CONTROL_BYTES + slot));
	void *p = mmap(NULL, LEDGER_CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, l->fd, 0);
	if (p == MAP_FAILED) {
		err_sys(e, "cannot map the ledger");
		goto fail;
	}
	l->control = p;
	*l->control = (struct ledger_control){.version = LEDGER_VERSION,
	                                      .level = o.level,
	                                      .period = o.period,
	                                      .slot_bytes = slot,
	                                      .block_log2 = o.block_log2,
	                                      .tool = (int32_t)getpid(),
	                                      .magic = LEDGER_MAGIC};
	snprintf(l->path, sizeof l->path, "/proc/%d/fd/%d", (int)getpid(), l->fd);
	return 0;
fail:
	close(l->fd);
	l->fd = -1;
	return -1;
}

/* ---- processes ---- */

static void *map_slot(const struct ledger_shared *l, unsigned slot, size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, l->fd, slot_at(l, slot));

	return p == MAP_FAILED ? NULL : p;
}

/* Whether the process in a slot is known.  A slot that was emptied counts its claims anew. */
static int is_known(const struct ledger_shared *l, unsigned slot, const struct ledger_process *head)
{
	for (size_t i = l->n_procs; i-- > 0;) {
		const struct ledger_proc *p = &l->procs[i];
		if (p->slot == slot && p->live)
			return p->pid == head->pid && p->generation == head->generation;
	}
	return 0;
}

static struct ledger_proc *add(struct ledger_shared *l, unsigned slot, uint32_t at, struct err *e)
{
	if (l->n_procs == l->cap_procs) {
		size_t cap = l->cap_procs ? 2 * l->cap_procs : 16;
		void *p = mem_realloc(MEM_OTHER, l->procs, cap, sizeof *l->procs, e);
		if (!p)
			return NULL;
		l->procs = p;
		l->cap_procs = cap;
	}
	struct ledger_proc *p = &l->procs[l->n_procs];
	memset(p, 0, sizeof *p);
	char *base = map_slot(l, slot, l->control->slot_bytes);
	if (!base) {
		err_sys(e, "cannot map slot %u of the ledger", slot);
		return NULL;
	}
	unsigned log2 = l->control->block_log2;
	p->map = base;
	p->head = (void *)base;
	p->modules = (void *)(base + ledger_at(LEDGER_AT_MODULES, log2));
	p->sites = (void *)(base + ledger_at(LEDGER_AT_SITES, log2));
	p->counts = (void *)(base + ledger_at(LEDGER_AT_COUNTS, log2));
	p->slot = slot;
	p->pid = p->head->pid;
	p->generation = p->head->generation;
	p->live = 1;
	p->first = at;
	memcpy(p->name, p->head->name, sizeof p->name);
	p->name[sizeof p->name - 1] = 0;
	l->n_procs++;
	return p;
}

static void *copy_of(const void *p, size_t bytes)
{
	void *q = mem_alloc(MEM_OTHER, bytes, NULL);

	return q ? memcpy(q, p, bytes) : NULL;
}

/* Keeps what the report needs and gives the mapping back; on failure the process is forgotten. */
static void detach(struct ledger_shared *l, struct ledger_proc *p)
{
	struct ledger_process *head = copy_of(p->head, sizeof *head);
	struct ledger_site *sites = copy_of(p->sites, p->n_sites * sizeof *sites);
	struct ledger_module *modules = copy_of(p->modules, p->n_modules * sizeof *modules);

	munmap(p->map, l->control->slot_bytes);
	p->map = NULL;
	p->counts = NULL;
	p->live = 0;
	p->head = head;
	p->sites = sites;
	p->modules = modules;
	if (!head || !sites || !modules)
		p->n_sites = p->n_modules = 0;
}

/* The slot can be used again. */
static void recycle(struct ledger_shared *l, unsigned slot)
{
	fallocate(l->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, slot_at(l, slot),
	          (off_t)l->control->slot_bytes);
}

/* ---- samples ---- */

static int push(struct ledger_track *t, struct ledger_sample s, struct err *e)
{
	if (t->n == t->cap) {
		uint32_t cap = t->cap ? 2 * t->cap : 4;
		void *v = mem_realloc(MEM_OTHER, t->v, cap, sizeof *t->v, e);
		if (!v)
			return -1;
		t->v = v;
		t->cap = cap;
	}
	t->v[t->n++] = s;
	return 0;
}

static int more_tracks(struct ledger_proc *p, uint32_t want, struct err *e)
{
	if (want <= p->cap_tracks)
		return 0;
	uint32_t cap = p->cap_tracks ? p->cap_tracks : 64;
	while (cap < want)
		cap *= 2;
	void *t = mem_realloc(MEM_OTHER, p->tracks, cap, sizeof *p->tracks, e);
	if (!t)
		return -1;
	p->tracks = t;
	memset(p->tracks + p->cap_tracks, 0, (cap - p->cap_tracks) * sizeof *p->tracks);
	p->cap_tracks = cap;
	return 0;
}

static struct ledger_sample sum(const struct ledger_proc *p, uint32_t site, uint32_t at)
{
	struct ledger_sample s = {.at = at};

	for (uint32_t i = 0; i < p->head->stripe_top && i < LEDGER_STRIPES; i++) {
		const struct ledger_count *c = &p->counts[(size_t)i * LEDGER_SITES + site];
		s.births += __atomic_load_n(&c->births, __ATOMIC_RELAXED);
		s.deaths += __atomic_load_n(&c->deaths, __ATOMIC_RELAXED);
		s.bytes_in += __atomic_load_n(&c->bytes_in, __ATOMIC_RELAXED);
		s.bytes_out += __atomic_load_n(&c->bytes_out, __ATOMIC_RELAXED);
	}
	return s;
}

static int differs(const struct ledger_track *t, const struct ledger_sample *s)
{
	const struct ledger_sample *last = &t->v[t->n - 1];

	return last->births != s->births || last->deaths != s->deaths ||
	       last->bytes_in != s->bytes_in || last->bytes_out != s->bytes_out;
}

static int take_one(struct ledger_proc *p, uint32_t at, struct err *e)
{
	uint32_t n = __atomic_load_n(&p->head->sites, __ATOMIC_ACQUIRE);

	n = n < LEDGER_SITES ? n : LEDGER_SITES;
	p->n_modules = __atomic_load_n(&p->head->modules, __ATOMIC_ACQUIRE);
	if (p->n_modules > LEDGER_MODULES)
		p->n_modules = LEDGER_MODULES;
	if (more_tracks(p, n, e))
		return -1;
	for (uint32_t i = 0; i < n; i++) {
		struct ledger_sample s = sum(p, i, at);
		struct ledger_track *t = &p->tracks[i];
		if (t->n && t->v[t->n - 1].at == at)
			t->v[t->n - 1] = s;
		else if ((t->n ? differs(t, &s) : s.births != 0) && push(t, s, e))
			return -1;
	}
	p->n_sites = n;
	p->last = at;
	return 0;
}

/* A slot whose process exists, or whose snapshot is still being written. */
static int in_use(const struct ledger_proc *p)
{
	return kill(p->pid, 0) == 0 || errno == EPERM;
}

static int find_new(struct ledger_shared *l, unsigned slot, uint32_t at, struct err *e)
{
	struct ledger_process head;
	ssize_t n = pread(l->fd, &head, sizeof head, slot_at(l, slot));

	if (n != (ssize_t)sizeof head || !head.pid || !head.sites)
		return 0;
	if (is_known(l, slot, &head))
		return 0;
	/* The same process after exec began anew in its slot. */
	for (size_t i = 0; i < l->n_procs; i++)
		if (l->procs[i].live && l->procs[i].slot == slot)
			detach(l, &l->procs[i]);
	return add(l, slot, at, e) ? 0 : -1;
}

static void count(struct ledger_totals *t, const struct ledger_proc *p)
{
	if (!p->head)
		return;
	if (p->head->reach_begun && p->head->reach_stop_ns > t->stop_ns)
		t->stop_ns = p->head->reach_stop_ns;
	t->dropped_sites += p->head->dropped_sites;
	for (uint32_t s = 0; s < p->n_sites && s < p->cap_tracks; s++) {
		const struct ledger_track *track = &p->tracks[s];
		if (!track->n)
			continue;
		const struct ledger_sample *last = &track->v[track->n - 1];
		t->events += last->births + last->deaths;
		if (s == 0) {
			t->dropped += last->births;
			t->dropped_bytes += last->bytes_in;
			t->foreign += last->deaths;
		}
	}
}

struct ledger_totals ledger_totals(const struct ledger_shared *l)
{
	struct ledger_totals t = l->gone;

	for (size_t i = 0; i < l->n_procs; i++)
		count(&t, &l->procs[i]);
	return t;
}

static void proc_free(const struct ledger_shared *l, struct ledger_proc *p)
{
	for (uint32_t s = 0; s < p->cap_tracks; s++)
		mem_free(p->tracks[s].v);
	mem_free(p->tracks);
	if (p->map) {
		munmap(p->map, l->control->slot_bytes);
	} else {
		mem_free(p->head);
		mem_free(p->sites);
		mem_free(p->modules);
	}
}

static void forget_brief(struct ledger_shared *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n_procs; i++) {
		struct ledger_proc *p = &l->procs[i];
		if (p->live || p->pid == l->command || p->last - p->first >= BRIEF) {
			l->procs[n++] = *p;
			continue;
		}
		count(&l->gone, p);
		proc_free(l, p);
	}
	l->n_procs = n;
}

int ledger_take(struct ledger_shared *l, uint32_t at, struct err *e)
{
	uint32_t claims = __atomic_load_n(&l->control->claims, __ATOMIC_ACQUIRE);

	for (unsigned s = 0; s < LEDGER_SLOTS && claims != l->claims; s++)
		if (find_new(l, s, at, e))
			return -1;
	l->claims = claims;
	for (size_t i = 0; i < l->n_procs; i++) {
		struct ledger_proc *p = &l->procs[i];
		if (!p->live)
			continue;
		int alive = in_use(p);
		/* It has just begun anew after exec: the next sample finds it. */
		if (__atomic_load_n(&p->head->generation, __ATOMIC_ACQUIRE) != p->generation) {
			detach(l, p);
			continue;
		}
		if (take_one(p, at, e))
			return -1;
		if (!alive) {
			unsigned slot = p->slot;
			detach(l, p);
			recycle(l, slot);
		}
	}
	if (l->n_procs > l->kept)
		forget_brief(l);
	return 0;
}

static void thin_track(struct ledger_track *t)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->n; i++) {
		uint32_t at = (t->v[i].at + 1) / 2;
		if (n && t->v[n - 1].at == at)
			n--;
		t->v[n] = t->v[i];
		t->v[n++].at = at;
	}
	t->n = n;
}

void ledger_thin(struct ledger_shared *l)
{
	for (size_t i = 0; i < l->n_procs; i++) {
		struct ledger_proc *p = &l->procs[i];
		for (uint32_t s = 0; s < p->cap_tracks; s++)
			thin_track(&p->tracks[s]);
		p->first = (p->first + 1) / 2;
		p->last = p->last / 2;
	}
}

void ledger_restart(struct ledger_shared *l)
{
	for (size_t i = 0; i < l->n_procs; i++) {
		struct ledger_proc *p = &l->procs[i];
		for (uint32_t s = 0; s < p->cap_tracks; s++)
			p->tracks[s].n = 0;
		p->first = p->last = 0;
	}
}

void ledger_expand(const struct ledger_proc *p, uint32_t site, uint32_t first, uint32_t n,
                   double *blocks, double *bytes, double *births, double *deaths)
{
	const struct ledger_track *t = &p->tracks[site];
	struct ledger_sample now = {0};
	uint32_t k = 0;

	for (uint32_t i = 0; i < n; i++) {
		while (k < t->n && t->v[k].at <= first + i)
			now = t->v[k++];
		if (blocks)
			blocks[i] = (double)(int64_t)(now.births - now.deaths);
		if (bytes)
			bytes[i] = (double)(int64_t)(now.bytes_in - now.bytes_out);
		if (births)
			births[i] = (double)now.births;
		if (deaths)
			deaths[i] = (double)now.deaths;
	}
}

uint32_t ledger_ask(struct ledger_proc *p, enum ledger_request what)
{
	uint32_t seq = (p->head->request >> 8) + 1;

	__atomic_store_n(&p->head->request, seq << 8 | (uint32_t)what, __ATOMIC_RELEASE);
	return seq;
}

int ledger_asked_done(const struct ledger_proc *p)
{
	return __atomic_load_n(&p->head->request_done, __ATOMIC_ACQUIRE) == p->head->request;
}

void ledger_close(struct ledger_shared *l)
{
	for (size_t i = 0; i < l->n_procs; i++)
		proc_free(l, &l->procs[i]);
	mem_free(l->procs);
	if (l->control) {
		munmap(l->control, LEDGER_CONTROL_BYTES);
		close(l->fd);
	}
	memset(l, 0, sizeof *l);
}
