#include "timeline_report.h"

#include <stdlib.h>
#include <string.h>

#include "fmt.h"
#include "mem.h"
#include "pattern.h"
#include "symbol.h"

#define HASH_NONFATAL_OOM 1
#define uthash_malloc(n)  mem_alloc(MEM_OTHER, n, NULL)
#define uthash_free(p, n) mem_free(p)
#include <uthash.h>

#define ROWS   12 /* of the curve */
#define SHOWN  8  /* sites of a table */
#define FRAMES 3  /* of a stack */
#define BAR    24 /* columns */

struct block {
	uint64_t address, bytes;
	uint16_t site;
	UT_hash_handle hh;
};

struct site {
	uint32_t id;
	uint64_t births, bytes; /* taken */
	uint64_t live, live_bytes;
};

struct summary {
	const struct timeline *t;
	struct block *block; /* one for each event, of which those of births are used */
	struct block *live;  /* by address */
	struct site *site;   /* TIMELINE_SITES */
	struct pattern_finding *finding;
	long findings;
	struct symbols *symbols;
	uint64_t now, blocks, peak, peak_blocks;
	uint32_t peak_ms;
	uint64_t curve[ROWS]; /* the most that was live, by time, or by events in short runs */
	bool thread[256];
	unsigned threads;
};

static uint32_t length_ms(const struct timeline *t)
{
	return t->n ? t->event[t->n - 1].ms + 1 : 1;
}

/* Shorter runs are drawn by events: the clock of a timeline has steps of 4 ms. */
#define SHORT_MS 200

static size_t row_of(const struct timeline *t, size_t event)
{
	uint32_t all = length_ms(t);

	return all < SHORT_MS ? event * ROWS / t->n : (size_t)t->event[event].ms * ROWS / all;
}

static void end_block(struct summary *s, struct block *b)
{
	s->now -= b->bytes;
	s->blocks--;
	s->site[b->site].live--;
	s->site[b->site].live_bytes -= b->bytes;
	HASH_DEL(s->live, b);
}

static int add_block(struct summary *s, struct block *b, const struct timeline_event *v,
                     struct err *e)
{
	*b = (struct block){.address = v->address, .bytes = v->bytes, .site = v->site};
	HASH_ADD(hh, s->live, address, sizeof b->address, b);
	if (!b->hh.tbl)
		return err_set(e, ERR_TROUBLE, "no memory for a table of blocks");
	struct site *k = &s->site[v->site];
	k->births++;
	k->bytes += v->bytes;
	k->live++;
	k->live_bytes += v->bytes;
	s->now += v->bytes;
	s->blocks++;
	if (s->now > s->peak) {
		s->peak = s->now;
		s->peak_blocks = s->blocks;
		s->peak_ms = v->ms;
	}
	return 0;
}

/* Goes through the events once.  A block that is taken where one lives has lost that one's end. */
static int add_up(struct summary *s, struct err *e)
{
	size_t row = 0;

	for (size_t i = 0; i < s->t->n; i++) {
		const struct timeline_event *v = &s->t->event[i];
		struct block *b;

		HASH_FIND(hh, s->live, &v->address, sizeof v->address, b);
		if (b)
			end_block(s, b);
		if (v->bytes && add_block(s, &s->block[i], v, e))
			return -1;
		while (row < row_of(s->t, i))
			s->curve[++row] = s->now;
		if (s->now > s->curve[row])
			s->curve[row] = s->now;
		s->threads += !s->thread[v->thread];
		s->thread[v->thread] = true;
	}
	return 0;
}

/* ---- names ---- */

static int frames_of(struct summary *s, uint32_t id, struct report_finding *f, struct err *e)
{
	const struct timeline_site *k = &s->t->site[id];

	for (uint32_t i = 0; i < k->depth && f->frames < FRAMES + 1; i++) {
		/* The call lies before the address it returns to. */
		uint64_t pc = k->pc[i] - 1;
		const struct timeline_module *m = timeline_module(s->t, pc);

		if (symbols_frames(s->symbols, m ? m->path : "", m ? pc - m->base : pc, f, e))
			return -1;
	}
	return 0;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void frame_text(char *out, size_t cap, const struct report_frame *f)
{
	if (f->function && f->file)
		snprintf(out, cap, "%s (%s:%d)", f->function, last_part(f->file), f->line);
	else if (f->function)
		snprintf(out, cap, "%s", f->function);
	else
		snprintf(out, cap, "%s+0x%llx", f->module ? last_part(f->module) : "?",
		         (unsigned long long)f->offset);
}

static void finding_done(struct report_finding *f)
{
	for (size_t i = 0; i < f->frames; i++) {
		mem_free(f->frame[i].function);
		mem_free(f->frame[i].file);
		mem_free(f->frame[i].module);
	}
	mem_free(f->frame);
}

/* ---- writing ---- */

/* Writes a line "AMOUNT BAR SITE" and the callers of that below it, where callers is set. */
static int print_site(struct summary *s, uint32_t id, const char *left, double share, bool callers,
                      FILE *out, struct err *e)
{
	struct report_finding f = {0};
	char text[256] = "not recorded";
	int rc = frames_of(s, id, &f, e);

	if (f.frames)
		frame_text(text, sizeof text, &f.frame[0]);
	fprintf(out, "  %s ", left);
	fmt_bar_cell(out, share, 1, BAR);
	fprintf(out, "  %s\n", text);
	for (size_t i = 1; callers && i < f.frames; i++) {
		frame_text(text, sizeof text, &f.frame[i]);
		fprintf(out, "  %*s   %s\n", (int)strlen(left) + BAR, "", text);
	}
	finding_done(&f);
	return rc;
}

static void print_head(const struct summary *s, FILE *out)
{
	char a[FMT_SIZE], b[FMT_SIZE];

	fprintf(out, "%zu events of %u thread%s in %.2f s\n", s->t->n, s->threads,
	        s->threads == 1 ? "" : "s", (double)length_ms(s->t) / 1000);
	fprintf(out, "at most %s in %llu blocks, after %.2f s; at the end %s in %llu blocks\n",
	        fmt_size(a, s->peak), (unsigned long long)s->peak_blocks, (double)s->peak_ms / 1000,
	        fmt_size(b, s->now), (unsigned long long)s->blocks);
}

static void print_curve(const struct summary *s, FILE *out)
{
	bool by_events = length_ms(s->t) < SHORT_MS;
	char size[FMT_SIZE];

	fprintf(out, "\nlive, from %s\n", by_events ? "event" : "second");
	for (int i = 0; i < ROWS; i++) {
		if (by_events)
			fprintf(out, "  %10zu ", s->t->n * (size_t)i / ROWS);
		else
			fprintf(out, "  %10.2f ", (double)length_ms(s->t) * i / ROWS / 1000);
		fmt_bar_cell(out, (double)s->curve[i], (double)s->peak, BAR * 2);
		fprintf(out, " %s\n", fmt_size(size, s->curve[i]));
	}
}

static int by_live(const void *a, const void *b)
{
	const struct site *x = a, *y = b;

	if (x->live_bytes != y->live_bytes)
		return x->live_bytes < y->live_bytes ? 1 : -1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static int by_bytes(const void *a, const void *b)
{
	const struct site *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* Sites by what they hold at the end, or by what they took in all. */
static int print_sites(struct summary *s, bool live, FILE *out, struct err *e)
{
	qsort(s->site, TIMELINE_SITES, sizeof *s->site, live ? by_live : by_bytes);
	double most = live ? (double)s->site[0].live_bytes : (double)s->site[0].bytes;

	fprintf(out, "\n%s\n",
	        live ? "live at the end, by call site" : "taken in all, by call site");
	for (int i = 0; i < SHOWN; i++) {
		const struct site *k = &s->site[i];
		uint64_t bytes = live ? k->live_bytes : k->bytes, n = live ? k->live : k->births;
		char size[FMT_SIZE], left[64];

		if (!n)
			break;
		snprintf(left, sizeof left, "%9s in %6llu", fmt_size(size, bytes),
		         (unsigned long long)n);
		if (print_site(s, k->id, left, most > 0 ? (double)bytes / most : 0, live, out, e))
			return -1;
	}
	return 0;
}

static int print_habits(struct summary *s, FILE *out, struct err *e)
{
	int rc = 0;

	for (long i = 0; i < s->findings && !rc; i++) {
		struct report_finding f = {0};
		char text[256] = "an unknown place";

		rc = frames_of(s, s->finding[i].site, &f, e);
		if (f.frames)
			frame_text(text, sizeof text, &f.frame[0]);
		pattern_print(&s->finding[i], text, out);
		finding_done(&f);
	}
	return rc;
}

static int prepare(struct summary *s, struct err *e)
{
	size_t n = s->t->n ? s->t->n : 1, max = (size_t)TRACK_SITES * PATTERN_KINDS;

	s->block = mem_calloc(MEM_OTHER, n, sizeof *s->block, e);
	s->site = s->block ? mem_calloc(MEM_OTHER, TIMELINE_SITES, sizeof *s->site, e) : NULL;
	s->finding = s->site ? mem_calloc(MEM_OTHER, max, sizeof *s->finding, e) : NULL;
	if (!s->finding)
		return -1;
	for (uint32_t i = 0; i < TIMELINE_SITES; i++)
		s->site[i].id = i;
	s->symbols = symbols_open();
	if (!s->symbols)
		return err_set(e, ERR_TROUBLE, "no memory for names");
	s->findings = pattern_find(s->t->event, s->t->n, s->finding, max, e);
	return s->findings < 0 || add_up(s, e) ? -1 : 0;
}

int timeline_report(const struct timeline *t, bool quiet, FILE *out, bool *grows, struct err *e)
{
	struct summary s = {.t = t};
	int rc = prepare(&s, e);

	*grows = false;
	for (long i = 0; i < s.findings && !rc; i++)
		*grows |= s.finding[i].kind == PATTERN_GROWTH;
	if (!rc && !quiet) {
		print_head(&s, out);
		print_curve(&s, out);
		if (s.blocks)
			rc = print_sites(&s, true, out, e);
		if (!rc && s.t->n)
			rc = print_sites(&s, false, out, e);
		fprintf(out, "\n%s\n", s.findings ? "habits" : "no habits found");
	}
	if (!rc)
		rc = print_habits(&s, out, e);
	if (!rc && ferror(out))
		rc = err_sys(e, "cannot write the report");
	HASH_CLEAR(hh, s.live);
	if (s.symbols)
		symbols_close(s.symbols);
	mem_free(s.finding);
	mem_free(s.site);
	mem_free(s.block);
	return rc;
}
