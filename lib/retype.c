/* Retyping as a whole: what has to be known first, memory, threads, order. */
#include "retype.h"

#include <math.h>
#include <string.h>

#include "blocks.h"
#include "io.h"
#include "mem.h"
#include "retype_private.h"

/* A window on the source: long enough that a system call costs little. */
#define WINDOW (256 * 1024)

/* The longest row: one must fit into memory. */
#define MAX_COLS (UINT64_C(1) << 22)

/* Forms. */

static int form_blocks(struct retype_form *f, enum dtype type, uint64_t rows, uint64_t cols,
                       struct err *e)
{
	uint64_t bytes;

	*f = (struct retype_form){.type = type};
	if (!blocks_readable(type))
		return err_set(e, ERR_TROUBLE, "type %s cannot be converted",
		               dtype_get(type)->name);
	return dtype_bytes(type, rows, cols, &bytes, e);
}

int retype_form_ternary(struct retype_form *f, enum ternary_kind kind, uint64_t rows, uint64_t cols,
                        const struct ternary_tile *tile, struct err *e)
{
	static const struct ternary_tile none;

	f->type = ternary_dtype(kind);
	return ternary_init(&f->ternary, kind, rows, cols, tile ? tile : &none, e);
}

int retype_form(struct retype_form *f, enum dtype type, uint64_t rows, uint64_t cols,
                const struct ternary_tile *tile, struct err *e)
{
	enum ternary_kind kind = ternary_of_dtype(type);

	if (kind == TERNARY_NONE)
		return form_blocks(f, type, rows, cols, e);
	return retype_form_ternary(f, kind, rows, cols, tile, e);
}

static uint64_t form_bytes(const struct retype_form *f, uint64_t rows, uint64_t cols)
{
	uint64_t bytes = 0;

	if (f->ternary.kind != TERNARY_NONE)
		return ternary_bytes(&f->ternary);
	dtype_bytes(f->type, rows, cols, &bytes, NULL);
	return bytes;
}

static int same_form(const struct retype_form *a, const struct retype_form *b)
{
	return a->type == b->type && a->ternary.kind == b->ternary.kind &&
	       !memcmp(&a->ternary.tile, &b->ternary.tile, sizeof a->ternary.tile);
}

uint64_t retype_interleave(const void *heads, uint64_t r)
{
	const struct retype_heads *h = heads;
	uint64_t size = h->rows / h->heads, i = r % size;

	return r - i + i % 2 * (size / 2) + i / 2;
}

uint64_t retype_separate(const void *heads, uint64_t r)
{
	const struct retype_heads *h = heads;
	uint64_t size = h->rows / h->heads, i = r % size;

	return r - i + i % (size / 2) * 2 + i / (size / 2);
}

/* Planning. */

static int check(const struct retype *r, struct err *e)
{
	const struct retype_form *to = &r->dst.form;

	if (r->src.cols > MAX_COLS)
		return err_set(e, ERR_TROUBLE, "rows of %llu columns are too long",
		               (unsigned long long)r->src.cols);
	if (!r->from_codes && !blocks_readable(r->src.form.type))
		return err_set(e, ERR_TROUBLE, "type %s cannot be converted",
		               dtype_get(r->src.form.type)->name);
	if (!r->to_codes && !blocks_writable(to->type))
		return err_set(e, ERR_TROUBLE, "type %s cannot be written",
		               dtype_get(to->type)->name);
	if (r->dst.rule == QUANTIZE_MAX && r->to_codes && !ternary_group(&to->ternary))
		return err_set(e, ERR_TROUBLE,
		               "%s has one scale: the rule max is for types with one per group",
		               ternary_name(to->ternary.kind));
	if (r->src.swapped && (r->from_codes || dtype_get(r->src.form.type)->block != 1))
		return err_set(e, ERR_TROUBLE, "%s in the other byte order cannot be converted",
		               dtype_get(r->src.form.type)->name);
	return 0;
}

static void plan_pieces(struct retype *r)
{
	uint64_t band = r->to_codes ? ternary_band(&r->dst.form.ternary) : 1;
	/* What is only looked at stays in the second-level cache until it is written. */
	uint64_t rows = RETYPE_PIECE / (r->look ? 4u : 1u) / r->src.cols;

	if (r->to_codes && r->dst.form.ternary.kind == TERNARY_HF_U8)
		rows /= 4;
	r->piece_rows = rows < band ? band : rows / band * band;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Bytes of the source that decoding n rows takes at once. */
static uint64_t decode_bytes(const struct retype *r, uint64_t n)
{
	const struct ternary *t = &r->src.form.ternary;
	struct ternary_span span[TERNARY_SPANS];
	uint64_t sum = 0;

	if (ternary_band(t) > 1)
		n = ternary_band(t);
	if (n > t->rows)
		n = t->rows;
	for (int i = ternary_spans(t, 0, n, span); i-- > 0;)
		sum += span[i].bytes;
	return sum;
}

struct sizes {
	uint64_t in, q, scales, out_scales, x, out, band, band_scales;
	uint64_t mapped; /* pages of the source that a piece touches */
};

static void plan_slot(const struct retype *r, struct sizes *z)
{
	const struct ternary *from = &r->src.form.ternary, *to = &r->dst.form.ternary;
	uint64_t cols = r->src.cols, rows = r->piece_rows,
		 hf = r->to_codes && to->kind == TERNARY_HF_U8;
	const struct dtype_info *d = dtype_get(r->dst.form.type);

	memset(z, 0, sizeof *z);
	z->in = WINDOW;
	z->x = RETYPE_STRIP;
	z->mapped = r->src.mapped ? r->src_bytes / r->src.rows * larger(rows, retype_band(r)) : 0;
	if (r->from_codes) {
		z->in = larger(WINDOW, decode_bytes(r, rows));
		z->scales = ternary_scales(from, rows);
		z->band = ternary_band(from) > 1 ? ternary_band(from) * cols : 0;
		z->band_scales = z->band ? ternary_scales(from, ternary_band(from)) : 0;
	}
	if (r->from_codes || r->to_codes)
		z->q = rows * cols * (hf ? 4 : 1);
	if (r->to_codes) {
		z->x = larger(z->x, ternary_group(to));
		z->out_scales = ternary_scales(to, rows);
		z->out = hf ? rows * cols : larger(rows * cols / 2, 64) + 4 * z->out_scales;
	} else {
		z->out = (rows * cols + d->block) / d->block * d->block_bytes;
	}
}

static uint64_t slot_bytes(const struct sizes *z)
{
	return z->mapped + z->in + z->q + 4 * (z->scales + z->out_scales + 2 * z->x) + z->out +
	       z->band + 4 * z->band_scales;
}

static int make_slot(struct retype_slot *s, const struct sizes *z, struct err *e)
{
	s->in_cap = (size_t)z->in;
	s->band_row = UINT64_MAX;
	s->in = mem_alloc(MEM_SCRATCH, s->in_cap, e);
	s->q = mem_alloc(MEM_SCRATCH, (size_t)z->q, e);
	s->scales = mem_calloc(MEM_SCRATCH, (size_t)z->scales + 1, sizeof(float), e);
	s->out_scales = mem_calloc(MEM_SCRATCH, (size_t)z->out_scales + 1, sizeof(float), e);
	s->x = mem_calloc(MEM_SCRATCH, (size_t)z->x, sizeof(float), e);
	s->y = mem_calloc(MEM_SCRATCH, (size_t)z->x, sizeof(float), e);
	s->out = mem_alloc(MEM_SCRATCH, (size_t)z->out, e);
	s->band = mem_alloc(MEM_SCRATCH, (size_t)z->band, e);
	s->band_scales = mem_calloc(MEM_SCRATCH, (size_t)z->band_scales + 1, sizeof(float), e);
	return s->in && s->q && s->scales && s->out_scales && s->x && s->y && s->out && s->band &&
	               s->band_scales
	           ? 0
	           : -1;
}

static void free_slot(struct retype_slot *s)
{
	mem_free(s->in);
	mem_free(s->q);
	mem_free(s->scales);
	mem_free(s->out_scales);
	mem_free(s->x);
	mem_free(s->y);
	mem_free(s->out);
	mem_free(s->band);
	mem_free(s->band_scales);
}

/* Whether the pieces of the first quarter of rows may read what the others look at again: those
 * that are made at the same time must all be of one quarter, or of this piece and the next ones. */
static int fills(const struct retype *r)
{
	const struct ternary *t = &r->src.form.ternary;
	uint64_t threads = r->threads ? (uint64_t)threads_count(r->threads) : 1;

	return t->kind == TERNARY_HF_U8 && !r->src.row &&
	       ternary_hf_rows(t) >= (threads + 1) * r->piece_rows;
}

/* Floats are read for the scale, then for the codes; packed bytes of checkpoints hold four rows and
 * are read for each of them. */
static int keep_source(struct retype *r, struct err *e)
{
	int again = r->to_codes && (!r->from_codes || r->src.form.ternary.kind == TERNARY_HF_U8);

	if (!again || r->src.data || r->src_bytes > RETYPE_KEPT)
		return 0;
	r->kept = mem_alloc(MEM_SCRATCH, (size_t)r->src_bytes, e);
	if (!r->kept)
		return -1;
	r->src.data = r->kept;
	r->filling = fills(r);
	return r->filling ? 0
	                  : io_pread(r->src.fd, r->kept, (size_t)r->src_bytes, r->src.offset, e);
}

static int make_slots(struct retype *r, struct err *e)
{
	int want = r->threads ? threads_count(r->threads) : 1;
	uint64_t room = RETYPE_MEMORY - (r->kept ? r->src_bytes : 0);
	struct sizes z;

	plan_slot(r, &z);
	while (want > 1 && slot_bytes(&z) * (uint64_t)want > room)
		want--;
	r->slots = mem_calloc(MEM_SCRATCH, (size_t)want, sizeof *r->slots, e);
	if (!r->slots)
		return -1;
	for (; r->n_slots < want; r->n_slots++)
		if (make_slot(&r->slots[r->n_slots], &z, e)) {
			free_slot(&r->slots[r->n_slots]);
			return -1;
		}
	return 0;
}

/* Passes. */

static void clear_sums(struct retype_sums *s)
{
	memset(s, 0, sizeof *s);
	bulk_survey_init(&s->survey);
	s->groups_ternary = 1;
	s->scale_low = INFINITY;
	s->scale_high = -INFINITY;
}

static void join_sums(struct retype_sums *a, const struct retype_sums *b)
{
	bulk_survey_join(&a->survey, &b->survey);
	bulk_error_join(&a->error, &b->error);
	a->count.plus += b->count.plus;
	a->count.minus += b->count.minus;
	a->scale = fmaxf(a->scale, b->scale);
	a->scale_error = fmaxf(a->scale_error, b->scale_error);
	a->groups_ternary &= b->groups_ternary;
	a->scale_low = fminf(a->scale_low, b->scale_low);
	a->scale_high = fmaxf(a->scale_high, b->scale_high);
}

static uint64_t pieces(const struct retype *r)
{
	return (r->units + r->piece_rows - 1) / r->piece_rows;
}

/* What a piece gave, in the order of the pieces; the first error in this order counts. */
static int collect(struct retype *r, const struct retype_slot *s)
{
	if (s->err.status)
		return err_set(r->err, s->err.status, "%s", s->err.text);
	if (r->span == 0) /* later turns see the same codes again */
		join_sums(&r->total, &s->sums);
	return r->put ? r->put(r->put_arg, s->out, s->out_bytes, r->err) : 0;
}

/* Collects a piece when all pieces before it are collected. */
static void take_turn(struct retype *r, const struct retype_slot *s, uint64_t piece)
{
	if (r->n_slots > 1)
		threads_turn(r->threads, (uint32_t)piece);
	/* Nobody else is here, and stop only changes here. */
	if (!atomic_load(&r->stop) && collect(r, s))
		atomic_store(&r->stop, 1);
	if (r->n_slots > 1)
		threads_turn_end(r->threads);
}

/* A thread makes one piece after the other, each while others write theirs. */
static void work(void *arg, int i, int count)
{
	struct retype *r = arg;
	uint64_t piece;

	(void)count;
	if (i >= r->n_slots)
		return;
	struct retype_slot *s = &r->slots[i];
	while (!atomic_load(&r->stop) && (piece = atomic_fetch_add(&r->next, 1)) < pieces(r)) {
		clear_sums(&s->sums);
		s->err.status = ERR_OK;
		s->out_bytes = 0;
		if ((r->surveying ? retype_survey_piece : retype_make_piece)(r, s, piece) &&
		    !s->err.status)
			s->err.status = ERR_TROUBLE;
		take_turn(r, s, piece);
	}
}

/* A survey goes over rows; so does writing, but for byte rows that hold four. */
static int pass(struct retype *r, retype_put *put, void *arg, struct err *e)
{
	r->units = r->src.rows;
	if (!r->surveying && r->to_codes && r->dst.form.ternary.kind == TERNARY_HF_U8)
		r->units = ternary_hf_rows(&r->dst.form.ternary);
	r->put = put;
	r->put_arg = arg;
	r->err = e;
	atomic_store(&r->next, 0);
	if (r->n_slots > 1)
		threads_run(r->threads, work, r);
	else
		work(r, 0, 1);
	return atomic_load(&r->stop) ? -1 : 0;
}

/* Opening: which scale, which rule. */

static int read_scale(struct retype *r, struct err *e)
{
	struct retype_slot *s = &r->slots[0];

	if (!r->from_codes || ternary_group(&r->src.form.ternary))
		return 0;
	if (retype_read_scale(r, s, &r->src_scale))
		return err_set(e, s->err.status, "%s", s->err.text);
	return 0;
}

/* Codes from codes: the one scale, where the source has several. */
static int choose_scale(struct retype *r, struct err *e)
{
	r->choice = (struct quantize_choice){QUANTIZE_KEEP, r->src_scale, 0, 0};
	if (!ternary_group(&r->src.form.ternary) || ternary_group(&r->dst.form.ternary))
		return 0;
	r->surveying = 1;
	if (pass(r, NULL, NULL, e))
		return -1;
	r->choice.scale = r->total.scale_low > r->total.scale_high ? 0 : r->total.scale_low;
	if (r->total.scale_low < r->total.scale_high)
		return err_set(e, ERR_TROUBLE, "scales differ (%g and %g); %s holds one",
		               (double)r->total.scale_low, (double)r->total.scale_high,
		               ternary_name(r->dst.form.ternary.kind));
	return 0;
}

static int choose_values(struct retype *r, struct err *e)
{
	int groups = ternary_group(&r->dst.form.ternary) > 0;

	r->surveying = 1;
	if (pass(r, NULL, NULL, e))
		return -1;
	quantize_choose(&r->total.survey, r->src.rows * r->src.cols, &r->choice);
	if (r->choice.rule == QUANTIZE_KEEP)
		return 0;
	if (groups && r->total.groups_ternary) {
		r->by_group = 1;
		r->choice.rule = QUANTIZE_KEEP;
	} else if (r->dst.rule == QUANTIZE_MAX) {
		r->by_group = 1;
		r->choice.rule = QUANTIZE_MAX;
	}
	return 0;
}

static int would_lose(const struct retype *r, double change, struct err *e)
{
	const char *to = r->to_codes ? ternary_name(r->dst.form.ternary.kind)
	                             : dtype_get(r->dst.form.type)->name;

	if (r->choice.rule == QUANTIZE_ABSMEAN || r->choice.rule == QUANTIZE_MAX)
		return err_set(e, ERR_TROUBLE, "the values are not ternary: %s would not keep them",
		               to);
	return err_set(e, ERR_TROUBLE, "%s would change values by up to %.3g (relative)", to,
	               change);
}

/* The scale of the tensor, as it is stored. */
static int settle_scale(struct retype *r, struct err *e)
{
	const struct ternary *t = &r->dst.form.ternary;
	float scale = r->choice.scale, stored = ternary_stored(t, scale);

	r->report.scale_error = r->choice.spread;
	if (r->by_group ||
	    (r->from_codes && ternary_group(&r->src.form.ternary) && ternary_group(t)))
		return 0;
	if (!isfinite(stored) || (stored == 0 && scale != 0))
		return err_set(e, ERR_TROUBLE, "scale %g does not fit into the 16 bits of %s",
		               (double)scale, ternary_name(t->kind));
	r->report.scale = (double)stored;
	if (r->choice.rule == QUANTIZE_KEEP && scale != 0)
		r->report.scale_error =
		    fmax(r->choice.spread, fabs(((double)stored - (double)scale) / (double)scale));
	return 0;
}

static int choose(struct retype *r, struct err *e)
{
	clear_sums(&r->total);
	if (read_scale(r, e))
		return -1;
	r->choice.rule = QUANTIZE_ROUND;
	if (r->to_codes) {
		if ((r->from_codes ? choose_scale : choose_values)(r, e) || settle_scale(r, e))
			return -1;
	}
	r->surveying = 0;
	r->report.rule = r->choice.rule;
	if (r->dst.lossless && (r->choice.rule == QUANTIZE_ABSMEAN ||
	                        r->choice.rule == QUANTIZE_MAX || r->report.scale_error > 0))
		return would_lose(r, r->report.scale_error, e);
	return 0;
}

static int open_copy(struct retype *r, struct err *e)
{
	static const struct sizes window = {.in = 1 << 20};

	r->report.rule = QUANTIZE_COPY;
	r->report.cosine = 1;
	r->slots = mem_calloc(MEM_SCRATCH, 1, sizeof *r->slots, e);
	if (!r->slots)
		return -1;
	r->n_slots = 1;
	if (make_slot(r->slots, &window, e))
		return -1;
	return 0;
}

/* Whether a piece is right as it is when its floats are finite. */
static int looks(const struct retype *r)
{
	enum dtype type = r->src.form.type;

	return same_form(&r->src.form, &r->dst.form) && r->src.factor == 1 && !r->src.row &&
	       !r->src.swapped && r->dst.brief &&
	       (type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16);
}

static int open_job(struct retype *r, struct err *e)
{
	r->from_codes = r->src.form.ternary.kind != TERNARY_NONE;
	r->to_codes = r->dst.form.ternary.kind != TERNARY_NONE;
	r->src_bytes = form_bytes(&r->src.form, r->src.rows, r->src.cols);
	r->bytes = form_bytes(&r->dst.form, r->src.rows, r->src.cols);
	r->report.n = r->src.rows * r->src.cols;
	r->report.ternary = r->to_codes;
	r->copy = same_form(&r->src.form, &r->dst.form) && r->src.factor == 1 && !r->src.row &&
	          !r->src.swapped && !r->src.suspect;
	if (r->copy)
		return open_copy(r, e);
	r->look = looks(r);
	if (check(r, e))
		return -1;
	plan_pieces(r);
	if (keep_source(r, e) || make_slots(r, e))
		return -1;
	return choose(r, e);
}

int retype_open(struct retype **out, const struct retype_source *source,
                const struct retype_target *target, struct threads *threads, struct err *e)
{
	struct retype *r = mem_calloc(MEM_SCRATCH, 1, sizeof *r, e);

	*out = NULL;
	if (!r)
		return -1;
	r->src = *source;
	r->dst = *target;
	r->threads = threads;
	if (open_job(r, e)) {
		retype_close(r);
		return -1;
	}
	*out = r;
	return 0;
}

uint64_t retype_bytes(const struct retype *r)
{
	return r->bytes;
}

float retype_scale(const struct retype *r)
{
	return r->choice.scale;
}

const struct quantize_report *retype_report(const struct retype *r)
{
	return &r->report;
}

/* Writing. */

static int write_copy(struct retype *r, retype_put *put, void *arg, struct err *e)
{
	struct retype_slot *s = &r->slots[0];

	for (uint64_t at = 0, n; at < r->src_bytes; at += n) {
		n = r->src_bytes - at < s->in_cap ? r->src_bytes - at : s->in_cap;
		const uint8_t *p = retype_bytes_at(r, s, at, n);

		if (!p)
			return err_set(e, s->err.status, "%s", s->err.text);
		if (put(arg, p, (size_t)n, e))
			return -1;
		retype_release_bytes(r, at, at + n);
	}
	return 0;
}

/* Zeros between the codes and the scale can be many (TL2's size rule), so they go in steps. */
static int write_tail(struct retype *r, retype_put *put, void *arg, struct err *e)
{
	static const uint8_t zeros[4096];
	uint64_t gap;
	uint8_t tail[32] = {0};
	float scale = r->choice.scale;

	if (!ternary_scale_offset(&r->dst.form.ternary))
		return 0;
	gap = ternary_scale_offset(&r->dst.form.ternary) - ternary_code_bytes(&r->dst.form.ternary);
	for (uint64_t n; gap > 0; gap -= n) {
		n = gap < sizeof zeros ? gap : sizeof zeros;
		if (put(arg, zeros, (size_t)n, e))
			return -1;
	}
	memcpy(tail, &scale, sizeof scale);
	return put(arg, tail, sizeof tail, e);
}

static void finish_report(struct retype *r)
{
	struct quantize_report *p = &r->report;

	quantize_errors(p, &r->total.error);
	p->scale_error = fmax(p->scale_error, (double)r->total.scale_error);
	if (p->scale == 0)
		p->scale = (double)r->total.scale;
	if (!r->to_codes)
		return;
	p->plus = r->total.count.plus;
	p->minus = r->total.count.minus;
	p->zeros = p->n - p->plus - p->minus;
}

int retype_write(struct retype *r, retype_put *put, void *arg, struct err *e)
{
	struct ternary_span span[TERNARY_SPANS];
	int spans = 1;

	if (r->copy)
		return write_copy(r, put, arg, e);
	if (r->to_codes && r->dst.form.ternary.kind != TERNARY_HF_U8)
		spans = ternary_spans(&r->dst.form.ternary, 0, ternary_band(&r->dst.form.ternary),
		                      span);
	clear_sums(&r->total);
	for (r->span = 0; r->span < spans; r->span++)
		if (pass(r, put, arg, e))
			return -1;
	if (r->to_codes && write_tail(r, put, arg, e))
		return -1;
	finish_report(r);
	if (r->dst.lossless && (r->report.loss > 0 || r->report.scale_error > 0))
		return would_lose(r, fmax(r->report.scale_error, sqrt(r->report.loss)), e);
	return 0;
}

void retype_close(struct retype *r)
{
	if (!r)
		return;
	/* Threads that read side by side bring pages back that others had let go of. */
	if (r->src_bytes)
		retype_release_bytes(r, 0, r->src_bytes);
	for (int i = 0; i < r->n_slots; i++)
		free_slot(&r->slots[i]);
	mem_free(r->slots);
	mem_free(r->kept);
	mem_free(r);
}
