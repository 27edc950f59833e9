/* The source of a retyping: bytes, then codes or values, by rows in the order of the result. */
#include "retype_private.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blocks.h"
#include "io.h"

/* What is read ahead: as much as the buffer holds, when rows follow each other. */
static uint64_t window(const struct retype *r, const struct retype_slot *s, uint64_t offset,
                       uint64_t n)
{
	uint64_t left = s->ahead > offset ? s->ahead - offset : 0;

	if (r->src.row || left < n)
		return n;
	return left < s->in_cap ? left : s->in_cap;
}

static int short_payload(struct retype_slot *s)
{
	return err_set(&s->err, ERR_SHORT, "the file ends within the tensor");
}

const uint8_t *retype_bytes_at(const struct retype *r, struct retype_slot *s, uint64_t offset,
                               uint64_t n)
{
	if (n > r->src_bytes || offset > r->src_bytes - n) {
		short_payload(s);
		return NULL;
	}
	if (r->src.data)
		return r->src.data + offset;
	if (s->in_from > offset || offset + n > s->in_to) {
		uint64_t take = window(r, s, offset, n);

		s->in_from = s->in_to = 0;
		if (io_pread(r->src.fd, s->in, (size_t)take, r->src.offset + offset, &s->err))
			return NULL;
		s->in_from = offset;
		s->in_to = offset + take;
	}
	return s->in + (offset - s->in_from);
}

int retype_read_bytes(const struct retype *r, struct retype_slot *s, uint64_t offset, uint64_t n,
                      uint8_t *p)
{
	if (n > r->src_bytes || offset > r->src_bytes - n)
		return short_payload(s);
	if (!r->src.data)
		return io_pread(r->src.fd, p, (size_t)n, r->src.offset + offset, &s->err);
	memcpy(p, r->src.data + offset, (size_t)n);
	return 0;
}

/* Whole pages: the one where the range ends is left to what follows. */
void retype_release_bytes(const struct retype *r, uint64_t from, uint64_t to)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)r->src.data;
	uintptr_t a = (start + from) & ~(page - 1), b = (start + to) & ~(page - 1);

	if (r->src.mapped && b > a)
		madvise((void *)a, b - a, MADV_DONTNEED);
}

static void release_lying(const struct retype *r, uint64_t row, uint64_t n)
{
	const struct dtype_info *d = dtype_get(r->src.form.type);
	struct ternary_span span[TERNARY_SPANS];

	if (!r->from_codes) {
		retype_release_bytes(r, row * r->src.cols / d->block * d->block_bytes,
		                     (row + n) * r->src.cols / d->block * d->block_bytes);
		return;
	}
	for (int i = ternary_spans(&r->src.form.ternary, row, n, span); i-- > 0;)
		retype_release_bytes(r, span[i].offset, span[i].offset + span[i].bytes);
}

void retype_release(const struct retype *r, uint64_t row, uint64_t n)
{
	if (!r->src.mapped)
		return;
	if (!r->src.row) {
		release_lying(r, row, n);
		return;
	}
	for (uint64_t i = 0; i < n; i++)
		release_lying(r, r->src.row(r->src.row_arg, row + i), 1);
}

uint64_t retype_band(const struct retype *r)
{
	return r->from_codes ? ternary_band(&r->src.form.ternary) : 1;
}

/* Reads what is kept of the rows of a first quarter, in the first turn. */
static int fill(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n)
{
	const struct ternary *t = &r->src.form.ternary;
	struct ternary_span span[TERNARY_SPANS];

	if (!r->filling || r->span || row >= ternary_hf_rows(t))
		return 0;
	ternary_spans(t, row, n, span);
	return io_pread(r->src.fd, r->kept + span[0].offset, (size_t)span[0].bytes,
	                r->src.offset + span[0].offset, &s->err);
}

/* Rows of the source as they lie, aligned to bands. */
static int decode(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n, int8_t *q,
                  float *scales)
{
	const struct ternary *t = &r->src.form.ternary;
	struct ternary_span span[TERNARY_SPANS];
	const uint8_t *in[TERNARY_SPANS] = {NULL};
	uint8_t *at = s->in;
	int spans = ternary_spans(t, row, n, span);

	if (fill(r, s, row, n))
		return -1;
	if (spans == 1) {
		in[0] = retype_bytes_at(r, s, span[0].offset, span[0].bytes);
		if (!in[0])
			return -1;
		return ternary_unpack(t, row, n, in, q, scales, &s->err);
	}
	s->in_from = s->in_to = 0; /* several places side by side: no window */
	for (int i = 0; i < spans; i++, at += span[i - 1].bytes) {
		in[i] = at;
		if (r->src.data)
			in[i] = r->src.data + span[i].offset;
		else if (io_pread(r->src.fd, at, (size_t)span[i].bytes,
		                  r->src.offset + span[i].offset, &s->err))
			return -1;
	}
	return ternary_unpack(t, row, n, in, q, scales, &s->err);
}

/* Rows of the source in any order and number: bands are decoded aside and cut. */
static int decode_cut(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n, int8_t *q,
                      float *scales)
{
	const struct ternary *t = &r->src.form.ternary;
	uint64_t band = ternary_band(t), per_row = ternary_scales(t, 1);

	while (n > 0) {
		uint64_t first = row / band * band, skip = row - first;
		uint64_t some = band - skip < n ? band - skip : n;

		if (s->band_row != first) {
			s->band_row = UINT64_MAX;
			if (decode(r, s, first, band, s->band, s->band_scales))
				return -1;
			s->band_row = first;
		}
		memcpy(q, s->band + skip * t->cols, (size_t)(some * t->cols));
		if (scales && per_row)
			memcpy(scales, s->band_scales + skip * per_row,
			       (size_t)(some * per_row) * sizeof *scales);
		row += some;
		n -= some;
		q += some * t->cols;
		scales = scales ? scales + some * per_row : NULL;
	}
	return 0;
}

static int decode_any(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n, int8_t *q,
                      float *scales)
{
	const struct ternary *t = &r->src.form.ternary;

	if (ternary_band(t) > 1)
		return decode_cut(r, s, row, n, q, scales);
	while (n > 0) {
		uint64_t run = ternary_run(t, row), some = run < n ? run : n;

		if (decode(r, s, row, some, q, scales))
			return -1;
		row += some;
		n -= some;
		q += some * t->cols;
		scales = scales ? scales + ternary_scales(t, some) : NULL;
	}
	return 0;
}

int retype_codes(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n, int8_t *q,
                 float *scales)
{
	const struct ternary *t = &r->src.form.ternary;
	uint64_t per_row = ternary_scales(t, 1);

	if (!r->src.row) {
		if (decode_any(r, s, row, n, q, scales))
			return -1;
	} else {
		for (uint64_t i = 0; i < n; i++)
			if (decode_any(r, s, r->src.row(r->src.row_arg, row + i), 1,
			               q + i * t->cols, scales + i * per_row))
				return -1;
	}
	for (uint64_t i = 0; r->src.factor != 1 && i < n * per_row; i++)
		scales[i] *= r->src.factor;
	return 0;
}

static void swap_bytes(uint8_t *p, size_t n, size_t size)
{
	for (size_t i = 0; i < n; i++, p += size)
		for (size_t j = 0; j < size / 2; j++) {
			uint8_t b = p[j];

			p[j] = p[size - 1 - j];
			p[size - 1 - j] = b;
		}
}

/* n values, elements [at, at + n) of the source as it lies. */
static int values_at(struct retype *r, struct retype_slot *s, uint64_t at, uint64_t n, float *x)
{
	const struct dtype_info *d = dtype_get(r->src.form.type);
	uint8_t turned[8 * 64];
	const uint8_t *p =
	    retype_bytes_at(r, s, at / d->block * d->block_bytes, n / d->block * d->block_bytes);

	if (!p)
		return -1;
	if (!r->src.swapped) {
		blocks_read(r->src.form.type, x, p, (size_t)n);
		return 0;
	}
	for (uint64_t i = 0, some; i < n; i += some) {
		some = n - i < 64 ? n - i : 64;
		memcpy(turned, p + i * d->block_bytes, (size_t)some * d->block_bytes);
		swap_bytes(turned, (size_t)some, d->block_bytes);
		blocks_read(r->src.form.type, x + i, turned, (size_t)some);
	}
	return 0;
}

int retype_values(struct retype *r, struct retype_slot *s, uint64_t at, uint64_t n, float *x)
{
	uint64_t cols = r->src.cols;

	if (!r->src.row) {
		if (values_at(r, s, at, n, x))
			return -1;
	} else {
		for (uint64_t i = 0, some; i < n; i += some) {
			uint64_t row = (at + i) / cols, col = (at + i) % cols;

			some = cols - col < n - i ? cols - col : n - i;
			if (values_at(r, s, r->src.row(r->src.row_arg, row) * cols + col, some,
			              x + i))
				return -1;
		}
	}
	for (uint64_t i = 0; r->src.factor != 1 && i < n; i++)
		x[i] *= r->src.factor;
	return 0;
}

int retype_read_scale(struct retype *r, struct retype_slot *s, float *scale)
{
	uint64_t at = ternary_scale_offset(&r->src.form.ternary);
	const uint8_t *p;

	*scale = 1;
	if (at) {
		p = retype_bytes_at(r, s, at, sizeof *scale);
		if (!p)
			return -1;
		memcpy(scale, p, sizeof *scale);
	}
	*scale *= r->src.factor;
	if (!isfinite(*scale))
		return err_set(&s->err, ERR_TROUBLE, "the scale of the tensor is not finite");
	return 0;
}
