/*
 * All float entries of a set that has 16 lanes.  Included last by its wide.c.
 */
#ifndef WIDE_ENTRIES_H
#define WIDE_ENTRIES_H

static int narrow(const struct kernel_attn *a)
{
	return a->dim_k <= WIDTH_MAX && a->dim_v <= WIDTH_MAX;
}

static struct kernels conversions(void)
{
	struct kernels k = {0};

	scalar_decode_init(&k);
	wide_decode_init(&k);
	return k;
}

static void attend(const struct kernel_attn *a)
{
	struct kernels k = conversions();

	if (narrow(a))
		attend_with(a, &k);
	else
		scalar_attend(a);
}

static void attend_chunk(const struct kernel_attn *a, size_t chunk, float *state)
{
	struct kernels k = conversions();

	if (narrow(a))
		attend_chunk_with(a, &k, chunk, state);
	else
		scalar_attend_chunk(a, chunk, state);
}

static void attend_join(const struct kernel_attn *a, const float *state, size_t step)
{
	if (narrow(a))
		attend_join_of(a, state, step);
	else
		scalar_attend_join(a, state, step);
}

static void wide_init(struct kernels *k)
{
	wide_decode_init(k);
	wide_float_init(k);
	wide_vector_init(k);
	k->attend = attend;
	k->attend_chunk = attend_chunk;
	k->attend_join = attend_join;
	k->probe_read = probe_read;
	k->screen_row = screen_row;
}

#endif
