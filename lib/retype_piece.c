/* One piece of a retyping: some rows read, surveyed or made into bytes. */
#include "retype_private.h"

#include <math.h>
#include <string.h>

#include "blocks.h"
#include "half.h"

uint64_t retype_piece_rows(const struct retype *r, uint64_t i, uint64_t *row)
{
	uint64_t left;

	*row = i * r->piece_rows;
	left = r->units - *row;
	return left < r->piece_rows ? left : r->piece_rows;
}

static int not_finite(struct retype *r, struct retype_slot *s, uint64_t at, uint64_t n)
{
	uint64_t i = at + quantize_bad(s->x, (size_t)n);

	return err_set(&s->err, ERR_TROUBLE, "row %llu, column %llu is not finite",
	               (unsigned long long)(i / r->src.cols),
	               (unsigned long long)(i % r->src.cols));
}

/* Values of a strip into s->x, all finite; *max: bits of the largest magnitude. */
static int finite_values(struct retype *r, struct retype_slot *s, uint64_t at, uint64_t n,
                         uint32_t *max)
{
	struct bulk_survey survey;

	if (retype_values(r, s, at, n, s->x))
		return -1;
	bulk_survey_init(&survey);
	bulk_get()->survey(&survey, s->x, (size_t)n);
	*max = survey.max_bits;
	return quantize_finite(&survey) ? 0 : not_finite(r, s, at, n);
}

static uint64_t strip(uint64_t i, uint64_t n)
{
	return n - i < RETYPE_STRIP ? n - i : RETYPE_STRIP;
}

/* Scales. */

static void use_scale(struct retype_sums *sums, float scale)
{
	sums->scale_low = scale < sums->scale_low ? scale : sums->scale_low;
	sums->scale_high = scale > sums->scale_high ? scale : sums->scale_high;
}

static int any(const int8_t *q, uint64_t n)
{
	struct bulk_count c = {0, 0};

	bulk_get()->count(q, (size_t)n, &c);
	return c.plus + c.minus > 0;
}

/* The scale of columns [col, col + n) of a row of codes, from the scales of the source's groups;
 * those without a nonzero code do not count. -1: they differ. */
static int merge_scales(const struct retype *r, const int8_t *q, const float *scales, uint64_t col,
                        uint64_t n, float *scale)
{
	uint64_t group = ternary_group(&r->src.form.ternary);
	int found = 0;

	if (!group) {
		*scale = r->src_scale;
		return 0;
	}
	*scale = scales[col / group];
	for (uint64_t c = col; c < col + n;) {
		uint64_t end = (c / group + 1) * group;

		end = end < col + n ? end : col + n;
		if ((!found || scales[c / group] != *scale) && any(q + c, end - c)) {
			if (found)
				return -1;
			*scale = scales[c / group];
			found = 1;
		}
		c = end;
	}
	return 0;
}

static int differ(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t col, uint64_t n)
{
	return err_set(&s->err, ERR_TROUBLE,
	               "row %llu, columns %llu to %llu: scales differ; %s holds one for them",
	               (unsigned long long)row, (unsigned long long)col,
	               (unsigned long long)(col + n - 1), ternary_name(r->dst.form.ternary.kind));
}

static int misfit(struct retype *r, struct retype_slot *s, float scale)
{
	return err_set(&s->err, ERR_TROUBLE, "scale %g does not fit into the 16 bits of %s",
	               (double)scale, ternary_name(r->dst.form.ternary.kind));
}

/* What is stored for scale; accounts for the difference. */
static int store_scale(struct retype *r, struct retype_slot *s, float scale, float *stored)
{
	float relative;

	*stored = ternary_stored(&r->dst.form.ternary, scale);
	if (!isfinite(*stored) || (*stored == 0 && scale != 0))
		return misfit(r, s, scale);
	relative = scale != 0 ? fabsf(*stored - scale) / fabsf(scale) : 0;
	s->sums.scale_error = relative > s->sums.scale_error ? relative : s->sums.scale_error;
	s->sums.scale = fabsf(*stored) > s->sums.scale ? fabsf(*stored) : s->sums.scale;
	return 0;
}

/* n nonzero codes whose scale a became b. */
static void rescaled(struct retype_sums *sums, uint64_t n, float a, float b)
{
	double count = (double)n, da = (double)a, db = (double)b;
	float d = fabsf(a - b);

	if (!n)
		return;
	sums->error.xx[0] += count * da * da;
	sums->error.yy[0] += count * db * db;
	sums->error.dd[0] += count * (da - db) * (da - db);
	sums->error.max = d > sums->error.max ? d : sums->error.max;
}

/* Codes with a scale by group: fills out_scales for n rows of q from the source's scales. */
static int regroup(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n)
{
	const struct ternary *t = &r->dst.form.ternary;
	uint64_t group = ternary_group(t), per_row = ternary_scales(t, 1),
		 src_row = ternary_scales(&r->src.form.ternary, 1);

	for (uint64_t i = 0; i < n * per_row; i++) {
		uint64_t line = i / per_row, col = i % per_row * group, used;
		struct bulk_count c = {0, 0};
		const int8_t *q = s->q + line * t->cols;
		float scale, stored = 0;

		if (merge_scales(r, q, s->scales + line * src_row, col, group, &scale))
			return differ(r, s, row + line, col, group);
		bulk_get()->count(q + col, (size_t)group, &c);
		used = c.plus + c.minus;
		if (used && store_scale(r, s, scale, &stored))
			return -1;
		s->out_scales[i] = scale;
		s->sums.count.plus += c.plus;
		s->sums.count.minus += c.minus;
		rescaled(&s->sums, used, scale, stored);
	}
	return 0;
}

/* Survey. */

static void survey_groups(struct retype *r, struct retype_slot *s, uint64_t n)
{
	uint64_t group = ternary_group(&r->dst.form.ternary);
	float scale;

	for (uint64_t i = 0; s->sums.groups_ternary && i < n; i += group)
		s->sums.groups_ternary = quantize_is_ternary(s->x + i, (size_t)group, &scale);
}

/* Values at once so that whole groups of the target are among them. */
static uint64_t gulp(const struct retype *r)
{
	uint64_t group = r->to_codes ? ternary_group(&r->dst.form.ternary) : 0;

	return group > RETYPE_STRIP ? group : group ? RETYPE_STRIP / group * group : RETYPE_STRIP;
}

static int survey_values(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n)
{
	uint64_t at = row * r->src.cols, end = (row + n) * r->src.cols, step = gulp(r);

	for (uint64_t some; at < end; at += some) {
		some = end - at < step ? end - at : step;
		for (uint64_t i = 0; i < some; i += RETYPE_STRIP)
			if (retype_values(r, s, at + i, strip(i, some), s->x + i))
				return -1;
		bulk_get()->survey(&s->sums.survey, s->x, (size_t)some);
		if (!quantize_finite(&s->sums.survey))
			return not_finite(r, s, at, some);
		if (ternary_group(&r->dst.form.ternary))
			survey_groups(r, s, some);
	}
	return 0;
}

/* The scales that codes use, for a target with one scale. */
static int survey_scales(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n)
{
	const struct ternary *t = &r->src.form.ternary;
	uint64_t group = ternary_group(t);

	if (retype_codes(r, s, row, n, s->q, s->scales))
		return -1;
	for (uint64_t i = 0; i < n * ternary_scales(t, 1); i++)
		if (any(s->q + i * group, group))
			use_scale(&s->sums, s->scales[i]);
	if (s->sums.scale_low < s->sums.scale_high)
		return err_set(&s->err, ERR_TROUBLE,
		               "scales differ (%g and %g in rows %llu to %llu); %s holds one",
		               (double)s->sums.scale_low, (double)s->sums.scale_high,
		               (unsigned long long)row, (unsigned long long)(row + n - 1),
		               ternary_name(r->dst.form.ternary.kind));
	return 0;
}

static void read_ahead(const struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n)
{
	const struct dtype_info *d = dtype_get(r->src.form.type);

	s->ahead = r->from_codes ? 0 : (row + n) * r->src.cols / d->block * d->block_bytes;
}

int retype_survey_piece(struct retype *r, struct retype_slot *s, uint64_t i)
{
	uint64_t row, n = retype_piece_rows(r, i, &row);

	read_ahead(r, s, row, n);
	if (r->from_codes ? survey_scales(r, s, row, n) : survey_values(r, s, row, n))
		return -1;
	if (r->src_bytes > RETYPE_MEMORY) /* a small tensor may as well stay for the second pass */
		retype_release(r, row, n);
	return 0;
}

/* Codes. */

/* Floats to codes by one scale for the tensor. */
static int round_values(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n,
                        int8_t *q)
{
	uint64_t at = row * r->src.cols, all = n * r->src.cols;
	float stored = ternary_stored(&r->dst.form.ternary, r->choice.scale);

	for (uint64_t i = 0, some; i < all; i += some) {
		some = strip(i, all);
		if (retype_values(r, s, at + i, some, s->x))
			return -1;
		if (r->dst.brief && !r->dst.lossless)
			bulk_get()->codes(q + i, s->x, (size_t)some, r->choice.inverse);
		else
			bulk_get()->round(q + i, s->x, (size_t)some, r->choice.inverse, stored,
			                  &s->sums.error, &s->sums.count);
	}
	return 0;
}

/* Floats to codes by the largest value of each group. */
static int round_groups(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n,
                        int8_t *q)
{
	const struct ternary *t = &r->dst.form.ternary;
	uint64_t group = ternary_group(t), groups = ternary_scales(t, n);

	for (uint64_t g = 0; g < groups; g++) {
		uint64_t i = g * group;
		float scale, stored;

		for (uint64_t j = 0; j < group; j += RETYPE_STRIP)
			if (retype_values(r, s, row * t->cols + i + j, strip(j, group), s->x + j))
				return -1;
		quantize_by_max(t->kind, q + i, s->x, (size_t)group, &scale);
		if (store_scale(r, s, scale, &stored))
			return -1;
		s->out_scales[g] = scale;
		bulk_get()->error_codes(&s->sums.error, s->x, q + i, (size_t)group, stored);
		bulk_get()->count(q + i, (size_t)group, &s->sums.count);
	}
	return 0;
}

static void one_scale(struct retype *r, struct retype_slot *s, uint64_t n)
{
	for (uint64_t i = 0; i < ternary_scales(&r->dst.form.ternary, n); i++)
		s->out_scales[i] = r->choice.scale;
}

/* Codes of n rows into q, and their scales into out_scales; counts them. */
static int make_codes(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n, int8_t *q)
{
	if (!r->from_codes && r->by_group)
		return round_groups(r, s, row, n, q);
	if (!r->from_codes) {
		one_scale(r, s, n);
		return round_values(r, s, row, n, q);
	}
	if (retype_codes(r, s, row, n, q, s->scales))
		return -1;
	if (ternary_group(&r->dst.form.ternary))
		return regroup(r, s, row, n);
	if (!r->dst.brief)
		bulk_get()->count(q, (size_t)(n * r->src.cols), &s->sums.count);
	return 0;
}

static int make_hf(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n)
{
	const struct ternary *t = &r->dst.form.ternary;
	const int8_t *plane[4];

	for (uint64_t i = 0; i < 4; i++) {
		uint64_t first = row + i * ternary_hf_rows(t);
		uint64_t have = first < t->rows ? t->rows - first : 0;
		int8_t *q = s->q + i * n * t->cols;

		plane[i] = q;
		if (have && make_codes(r, s, first, have < n ? have : n, q))
			return -1;
		if (have)
			retype_release(r, first, have < n ? have : n);
	}
	ternary_pack_hf(t, row, n, plane, s->out);
	s->out_bytes = (size_t)(n * t->cols);
	return 0;
}

static int make_ternary(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n)
{
	const struct ternary *t = &r->dst.form.ternary;
	struct ternary_span span[TERNARY_SPANS];
	uint8_t *out[TERNARY_SPANS] = {NULL};

	if (make_codes(r, s, row, n, s->q))
		return -1;
	ternary_spans(t, row, n, span);
	out[r->span] = s->out;
	s->out_bytes = (size_t)span[r->span].bytes;
	ternary_pack(t, row, n, s->q, s->out_scales, out);
	return 0;
}

/* Floats and blocks. */

/* Values of codes: element i of s->q, and so on. */
static void expand(const struct retype *r, struct retype_slot *s, uint64_t i, uint64_t n)
{
	uint64_t group = ternary_group(&r->src.form.ternary);

	for (uint64_t j = 0; j < n; j++)
		s->x[j] = (float)s->q[i + j] * (group ? s->scales[(i + j) / group] : r->src_scale);
}

/* One of the n values from at on became none in s->y. */
static int too_large(struct retype *r, struct retype_slot *s, uint64_t at, uint64_t n)
{
	uint64_t bad = quantize_bad(s->y, (size_t)n), i = at + (bad < n ? bad : 0);

	return err_set(&s->err, ERR_TROUBLE, "row %llu, column %llu: %g is too large for %s",
	               (unsigned long long)(i / r->src.cols), (unsigned long long)(i % r->src.cols),
	               (double)s->x[i - at], dtype_get(r->dst.form.type)->name);
}

/* Bits of the smallest magnitude that rounding to a float type makes infinite; 0 for others. */
static uint32_t too_large_bits(enum dtype type)
{
	return type == DTYPE_F16 ? 0x477ff000 : type == DTYPE_BF16 ? 0x7f7f8000 : 0;
}

/* max: bits of the largest magnitude in s->x; UINT32_MAX: not known. */
static int make_strip(struct retype *r, struct retype_slot *s, uint64_t at, uint64_t n,
                      uint32_t max, uint8_t *out)
{
	enum dtype type = r->dst.form.type;

	blocks_write(type, out, s->x, (size_t)n);
	if (type == DTYPE_F32 || (r->dst.brief && !r->dst.lossless && max < too_large_bits(type)))
		return 0;
	blocks_read(type, s->y, out, (size_t)n);
	bulk_get()->error(&s->sums.error, s->x, s->y, (size_t)n);
	return isfinite(s->sums.error.max) ? 0 : too_large(r, s, at, n);
}

static int make_floats(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n)
{
	const struct dtype_info *d = dtype_get(r->dst.form.type);
	uint64_t at = row * r->src.cols, all = n * r->src.cols;
	int finite = r->dst.form.type != DTYPE_F32 || r->src.suspect;
	uint32_t max = UINT32_MAX;

	if (r->from_codes && retype_codes(r, s, row, n, s->q, s->scales))
		return -1;
	for (uint64_t i = 0, some; i < all; i += some) {
		some = strip(i, all);
		if (r->from_codes)
			expand(r, s, i, some);
		else if (finite ? finite_values(r, s, at + i, some, &max)
		                : retype_values(r, s, at + i, some, s->x))
			return -1;
		if (make_strip(r, s, at + i, some, max, s->out + i / d->block * d->block_bytes))
			return -1;
	}
	s->out_bytes = (size_t)(all / d->block * d->block_bytes);
	return 0;
}

/* Whether all floats in n bytes (whole values of an IEEE type) are finite: one is not when adding
 * one to its exponent carries into the sign. */
static int all_finite(enum dtype type, const uint8_t *p, uint64_t n)
{
	uint64_t exponent = type == DTYPE_F16    ? UINT64_C(0x7c007c007c007c00)
	                    : type == DTYPE_BF16 ? UINT64_C(0x7f807f807f807f80)
	                                         : UINT64_C(0x7f8000007f800000);
	uint64_t sign =
	    type == DTYPE_F32 ? UINT64_C(0x8000000080000000) : UINT64_C(0x8000800080008000);
	uint64_t one = exponent & ~(exponent << 1), carry[4] = {0}, v;

	for (; n >= sizeof carry; n -= sizeof carry)
		for (int i = 0; i < 4; i++, p += sizeof v) {
			memcpy(&v, p, sizeof v);
			carry[i] |= (v & exponent) + one;
		}
	for (size_t some; n; n -= some, p += some) {
		some = n < sizeof v ? (size_t)n : sizeof v;
		v = 0;
		memcpy(&v, p, some);
		carry[0] |= (v & exponent) + one;
	}
	return !((carry[0] | carry[1] | carry[2] | carry[3]) & sign);
}

/* Floats that stay as they are. */
static int make_looked(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n)
{
	uint64_t size = dtype_get(r->src.form.type)->block_bytes, bytes = n * r->src.cols * size;

	if (retype_read_bytes(r, s, row * r->src.cols * size, bytes, s->out))
		return -1;
	s->out_bytes = (size_t)bytes;
	/* The slow way tells which one is not. */
	return all_finite(r->src.form.type, s->out, bytes) ? 0 : make_floats(r, s, row, n);
}

static int make_piece(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n)
{
	if (!r->to_codes)
		return (r->look ? make_looked : make_floats)(r, s, row, n);
	if (r->dst.form.ternary.kind == TERNARY_HF_U8)
		return make_hf(r, s, row, n);
	return make_ternary(r, s, row, n);
}

int retype_make_piece(struct retype *r, struct retype_slot *s, uint64_t i)
{
	uint64_t row, n = retype_piece_rows(r, i, &row);

	read_ahead(r, s, row, n);
	if (make_piece(r, s, row, n))
		return -1;
	retype_release(r, row, n);
	return 0;
}
