/*
 * All float entries of a set that has 16 lanes.  Included last by its wide.c.
 */
#ifndef WIDE_ENTRIES_H
#define WIDE_ENTRIES_H

static void attend(const struct kernel_attn *a)
{
	struct kernels k = {0};

	scalar_decode_init(&k);
	wide_decode_init(&k);
	if (a->dim_k <= WIDTH_MAX && a->dim_v <= WIDTH_MAX)
		attend_with(a, &k);
	else
		scalar_attend(a);
}

static void wide_init(struct kernels *k)
{
	wide_decode_init(k);
	wide_float_init(k);
	wide_vector_init(k);
	k->attend = attend;
	k->probe_read = probe_read;
	k->screen_row = screen_row;
}

#endif
