#include "quantize.h"

#include <math.h>
#include <string.h>

#include "half.h"

const char *quantize_rule_name(enum quantize_rule rule)
{
	static const char *const names[QUANTIZE_RULES] = {"copy", "keep", "absmean", "max",
	                                                  "round"};

	return names[rule];
}

int quantize_finite(const struct bulk_survey *s)
{
	return s->max_bits < 0x7f800000u;
}

size_t quantize_bad(const float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isfinite(x[i]))
			return i;
	return n;
}

/* Nonzero magnitudes that are one value but for rounding: the value is their mean, or exactly that.
 */
static int choose_kept(const struct bulk_survey *s, struct quantize_choice *out)
{
	float max = half_bits_f32(s->max_bits), min = half_bits_f32(s->min_bits);

	if (!s->nonzero)
		max = min = 0;
	if (min < max * 0.999f)
		return 0;
	out->rule = QUANTIZE_KEEP;
	out->scale = min == max ? max : (float)(bulk_sum(s->abs) / (double)s->nonzero);
	out->inverse = max > 0 ? 1 / out->scale : 0;
	out->spread = min == max ? 0 : (double)(max - min) / (double)out->scale;
	return 1;
}

void quantize_choose(const struct bulk_survey *s, uint64_t n, struct quantize_choice *out)
{
	float mean = (float)(bulk_sum(s->abs) / (double)n);

	if (choose_kept(s, out))
		return;
	if (mean < 1e-5f)
		mean = 1e-5f;
	out->rule = QUANTIZE_ABSMEAN;
	out->inverse = 1 / mean;
	out->scale = 1 / out->inverse; /* as the models' own code does: the reciprocal, twice */
	out->spread = 0;
}

int quantize_is_ternary(const float *x, size_t n, float *s)
{
	*s = 0;
	for (size_t i = 0; i < n; i++) {
		float a = fabsf(x[i]);

		if (a == 0)
			continue;
		if (*s == 0)
			*s = a;
		else if (a != *s)
			return 0;
	}
	return 1;
}

void quantize_by_max(enum ternary_kind kind, int8_t *q, const float *x, size_t n, float *scale)
{
	int rows = kind == TERNARY_IQ1_BN || kind == TERNARY_IQ2_BN || kind == TERNARY_IQ2_BN_R4;
	float max = 0;

	for (size_t i = 0; i < n; i++)
		max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
	float inverse = max > 0 ? 1 / max : 0;
	/* The sum is rounded to float32, as the reference has it: the value just below a half goes
	 * up too. */
	for (size_t i = 0; i < n; i++) {
		int big = rows ? fabsf(x[i]) >= 0.5f * max : fabsf(x[i] * inverse) + 0.5f >= 1;

		q[i] = (int8_t)(max > 0 && big ? (x[i] < 0 ? -1 : 1) : 0);
	}
	*scale = max;
}

void quantize_errors(struct quantize_report *r, const struct bulk_error *sums)
{
	double xx = bulk_sum(sums->xx), yy = bulk_sum(sums->yy), dd = bulk_sum(sums->dd);
	double xy = (xx + yy - dd) / 2;

	r->mse = r->n ? dd / (double)r->n : 0;
	r->max_error = (double)sums->max;
	r->loss = xx > 0 ? dd / xx : dd > 0;
	r->cosine = dd == 0 ? 1 : xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
}

int quantize_is_untrained(const struct quantize_report *r)
{
	return r->loss > 0.1;
}
