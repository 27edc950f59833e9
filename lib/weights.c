#include "weights.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "../kernels/strips.h"
#include "weights_tiles.h"

#define I2S_BLOCK 128 /* elements of a packing unit */

/* Bytes of a row that begins on a unit of its own. */
static uint64_t i2s_row(uint64_t cols)
{
	return (cols + I2S_BLOCK - 1) / I2S_BLOCK * (I2S_BLOCK / 4);
}

uint64_t weights_dense_bytes(const struct gguf_tensor *t)
{
	return t->type == DTYPE_I2_S && t->cols % I2S_BLOCK == 0 && t->rows % STRIP_ROWS == 0
	           ? strips_bytes(t->rows, t->cols)
	           : 0;
}

struct finder {
	const struct gguf *g;
	const struct weights_options *o;
	uint64_t found; /* tensors that have a role, scales included */
	struct weights *w;
};

static int wrong_shape(const char *name, const struct gguf_tensor *t, uint64_t rows, uint64_t cols,
                       struct err *e)
{
	return err_set(e, ERR_TROUBLE,
	               "tensor %s: %llu x %llu, expected %llu x %llu (rows x columns)", name,
	               (unsigned long long)t->rows, (unsigned long long)t->cols,
	               (unsigned long long)rows, (unsigned long long)cols);
}

enum role { VECTOR, MATRIX, MATRIX_OF_LAYER };

/* A copy is needed for another byte order or packing, and where the user wants private memory;
 * vectors are used as float32. */
static void place(struct finder *f, struct weight *w, enum role role)
{
	const struct gguf_tensor *t = w->t;
	int vector = role == VECTOR, dense = f->o->load == WEIGHTS_DENSE;
	int repack = weights_tiles_is(t->type) ||
	             (t->type == DTYPE_I2_S && (f->o->i2s_group != 32 || t->cols % I2S_BLOCK));
	int in_place = f->o->load != WEIGHTS_READ && f->o->load != WEIGHTS_HUGETLB &&
	               !f->g->parts[t->part].swapped &&
	               (!vector || (t->type == DTYPE_F32 && !dense)) && !repack;

	w->dense = dense && role == MATRIX_OF_LAYER && in_place && weights_dense_bytes(t);
	in_place = in_place && !w->dense;
	w->copy = in_place   ? 0
	          : vector   ? t->rows * t->cols * sizeof(float)
	          : w->dense ? weights_dense_bytes(t)
	          : repack   ? t->rows * i2s_row(t->cols) + sizeof(float)
	                     : t->bytes;
	if (in_place)
		f->w->mapped += t->bytes;
	else
		f->w->copied += arena_round(w->copy);
}

static int find_scale(struct finder *f, struct weight *w, const char *name, struct err *e)
{
	char scale[96];
	size_t stem = strlen(name) - strlen(".weight");

	snprintf(scale, sizeof scale, "%.*s.scale", (int)stem, name);
	w->scale = gguf_tensor(f->g, scale);
	if (!w->scale)
		return 0;
	f->found++;
	if (w->scale->rows * w->scale->cols != 1)
		return wrong_shape(scale, w->scale, 1, 1, e);
	if (!kernels_get("scalar")->dequantize[w->scale->type] ||
	    dtype_get(w->scale->type)->block != 1)
		return err_set(e, ERR_TROUBLE, "tensor %s: type %s, expected F32, F16 or BF16",
		               scale, dtype_get(w->scale->type)->name);
	return 0;
}

/* Of a matrix whose bytes lie in tiles. */
static int check_tiles(struct finder *f, const char *name, const struct gguf_tensor *t,
                       struct err *e)
{
	struct ternary form;

	if (f->g->parts[t->part].swapped)
		return err_unsupported(
		    e, "tensor %s: %s in a file of the other byte order is not supported", name,
		    dtype_get(t->type)->name);
	return weights_tiles_find(&form, f->g, t, e) ? err_in(e, "tensor %s", name) : 0;
}

static int check_type(struct finder *f, const char *name, const struct gguf_tensor *t,
                      struct err *e)
{
	const struct dtype_info *d = dtype_get(t->type);

	if (weights_tiles_is(t->type))
		return check_tiles(f, name, t, e);
	if (!kernels_get("scalar")->mul[t->type])
		return err_unsupported(
		    e,
		    "tensor %s: type %s is not supported (supported: F32, F16, BF16, I2_S, TL1, "
		    "TL2, TQ1_0, TQ2_0, Q8_0, Q6_K, Q5_K, Q4_K, Q4_0)",
		    name, d->name);
	if (t->type == DTYPE_I2_S && t->rows * t->cols % I2S_BLOCK)
		return err_unsupported(
		    e, "tensor %s: I2_S of %llu elements, expected a multiple of %d", name,
		    (unsigned long long)(t->rows * t->cols), I2S_BLOCK);
	if (t->type == DTYPE_I2_S && f->g->parts[t->part].swapped)
		return err_unsupported(
		    e, "tensor %s: I2_S in a file of the other byte order is not supported", name);
	return 0;
}

static int find_matrix(struct finder *f, struct weight *w, const char *name, enum role role,
                       uint64_t rows, uint64_t cols, struct err *e)
{
	w->t = gguf_tensor(f->g, name);
	if (!w->t)
		return err_set(e, ERR_TROUBLE, "tensor %s is missing", name);
	f->found++;
	if (w->t->rows != rows || w->t->cols != cols)
		return wrong_shape(name, w->t, rows, cols, e);
	if (check_type(f, name, w->t, e) || find_scale(f, w, name, e))
		return -1;
	place(f, w, role);
	return 0;
}

static int find_vector(struct finder *f, struct weight *w, const char *name, uint64_t n,
                       struct err *e)
{
	w->t = gguf_tensor(f->g, name);
	if (!w->t)
		return err_set(e, ERR_TROUBLE, "tensor %s is missing", name);
	f->found++;
	if (w->t->rows != 1 || w->t->cols != n)
		return wrong_shape(name, w->t, 1, n, e);
	if (w->t->type != DTYPE_F32 && w->t->type != DTYPE_F16 && w->t->type != DTYPE_BF16)
		return err_set(e, ERR_TROUBLE, "tensor %s: type %s, expected F32, F16 or BF16",
		               name, dtype_get(w->t->type)->name);
	place(f, w, VECTOR);
	return 0;
}

static int find_layer(struct finder *f, struct weights_layer *l, unsigned i, const struct arch *a,
                      struct err *e)
{
	uint64_t heads_k = (uint64_t)a->n_head * a->dim_k, kv_k = (uint64_t)a->n_head_kv * a->dim_k;
	uint64_t heads_v = (uint64_t)a->n_head * a->dim_v, kv_v = (uint64_t)a->n_head_kv * a->dim_v;
	const struct {
		struct weight *w;
		const char *name;
		uint64_t rows, cols; /* rows 0: a vector */
		int wanted;
	} roles[] = {
	    {&l->attn_norm, "attn_norm", 0, a->n_embd, 1},
	    {&l->q, "attn_q", heads_k, a->n_embd, 1},
	    {&l->k, "attn_k", kv_k, a->n_embd, 1},
	    {&l->v, "attn_v", kv_v, a->n_embd, 1},
	    {&l->attn_sub_norm, "attn_sub_norm", 0, heads_v, a->sub_norms},
	    {&l->o, "attn_output", a->n_embd, heads_v, 1},
	    {&l->ffn_norm, "ffn_norm", 0, a->n_embd, 1},
	    {&l->gate, "ffn_gate", a->n_ff, a->n_embd, 1},
	    {&l->up, "ffn_up", a->n_ff, a->n_embd, 1},
	    {&l->ffn_sub_norm, "ffn_sub_norm", 0, a->n_ff, a->sub_norms},
	    {&l->down, "ffn_down", a->n_embd, a->n_ff, 1},
	};

	for (size_t r = 0; r < sizeof roles / sizeof *roles; r++) {
		char name[64];
		snprintf(name, sizeof name, "blk.%u.%s.weight", i, roles[r].name);
		if (!roles[r].wanted)
			continue;
		if (roles[r].rows ? find_matrix(f, roles[r].w, name, MATRIX_OF_LAYER, roles[r].rows,
		                                roles[r].cols, e)
		                  : find_vector(f, roles[r].w, name, roles[r].cols, e))
			return -1;
	}
	return 0;
}

/* A tensor without a role means a graph that we would compute wrongly. */
static int refuse_unknown(const struct finder *f, const struct arch *a, struct err *e)
{
	const struct weights *w = f->w;

	if (f->found == f->g->n_tensors)
		return 0;
	for (uint64_t i = 0; i < f->g->n_tensors; i++) {
		const struct gguf_tensor *t = &f->g->tensors[i];
		char quoted[80];
		int known = t == w->embd.t || t == w->output.t || t == w->output_norm.t ||
		            t == w->rope_freqs.t;

		/* bitnet's graph has always used token_embd, whatever else the file holds. */
		if (!a->output_tensor && t->name.n == 13 && !memcmp(t->name.p, "output.weight", 13))
			known = 1;
		for (uint32_t l = 0; l < w->n_layer && !known; l++) {
			const struct weights_layer *y = &w->layer[l];
			const struct weight *all[] = {
			    &y->attn_norm, &y->q,        &y->k,    &y->v,  &y->attn_sub_norm,
			    &y->o,         &y->ffn_norm, &y->gate, &y->up, &y->ffn_sub_norm,
			    &y->down};
			for (size_t r = 0; r < sizeof all / sizeof *all; r++)
				known |= t == all[r]->t || t == all[r]->scale;
		}
		if (!known)
			return err_unsupported(
			    e, "tensor %s is not part of a %s model that is supported",
			    err_quote(quoted, sizeof quoted, t->name.p, t->name.n), a->name);
	}
	return 0;
}

/* A file may say itself how its I2_S lies (bitnet-quantize writes that): this counts more than the
 * option, whose 32 may be the default. */
static int marked_packing(struct weights_options *o, const struct gguf *g, struct err *e)
{
	struct gguf_str s;
	char name[32];
	int absent = gguf_get_str(g, TERNARY_KEY_I2S, &s, e);

	if (absent)
		return absent < 0 ? -1 : 0;
	if (s.n == 3 && !memcmp(s.p, "arm", 3))
		o->i2s_group = 16;
	else if (s.n == 3 && !memcmp(s.p, "x86", 3))
		o->i2s_group = 32;
	else
		return err_set(
		    e, ERR_TROUBLE,
		    "I2_S in the layout %s is not computed with; bitnet-quantize -t i2_s "
		    "turns it into another",
		    err_quote(name, sizeof name, s.p, s.n));
	return 0;
}

int weights_find(struct weights *w, const struct arch *a, const struct gguf *g,
                 const struct weights_options *options, struct err *e)
{
	struct weights_options o = *options;
	struct finder f = {g, &o, 0, w};

	memset(w, 0, sizeof *w);
	if (marked_packing(&o, g, e))
		return -1;
	w->n_layer = a->n_layer;
	/* Before allocating by block_count: each layer takes at least its seven matrices. */
	if (a->n_layer > g->n_tensors)
		return err_set(e, ERR_TROUBLE, "%u layers, but only %llu tensors", a->n_layer,
		               (unsigned long long)g->n_tensors);
	w->layer = mem_calloc(MEM_WEIGHTS, a->n_layer, sizeof *w->layer, e);
	if (!w->layer)
		return -1;
	if (find_matrix(&f, &w->embd, "token_embd.weight", MATRIX, a->n_vocab, a->n_embd, e) ||
	    find_vector(&f, &w->output_norm, "output_norm.weight", a->n_embd, e))
		goto fail;
	for (uint32_t i = 0; i < a->n_layer; i++)
		if (find_layer(&f, &w->layer[i], i, a, e))
			goto fail;
	if (a->output_tensor && gguf_tensor(g, "output.weight")) {
		if (find_matrix(&f, &w->output, "output.weight", MATRIX, a->n_vocab, a->n_embd, e))
			goto fail;
	} else {
		w->output.t = w->embd.t;
	}
	if (gguf_tensor(g, "rope_freqs.weight") &&
	    find_vector(&f, &w->rope_freqs, "rope_freqs.weight", a->n_rot / 2, e))
		goto fail;
	if (refuse_unknown(&f, a, e))
		goto fail;
	return 0;
fail:
	weights_close(w);
	return -1;
}

/* Offsets within a block of the 16-bit scales, which another byte order reverses. */
static void swap_payload(uint8_t *p, const struct gguf_tensor *t)
{
	static const struct {
		enum dtype type;
		int n, at[2];
	} halves[] = {{DTYPE_Q8_0, 1, {0}},    {DTYPE_Q4_0, 1, {0}},    {DTYPE_Q6_K, 1, {208}},
	              {DTYPE_Q4_K, 2, {0, 2}}, {DTYPE_Q5_K, 2, {0, 2}}, {DTYPE_TQ1_0, 1, {52}},
	              {DTYPE_TQ2_0, 1, {64}},  {DTYPE_F16, 1, {0}},     {DTYPE_BF16, 1, {0}}};
	uint64_t step = dtype_get(t->type)->block_bytes;

	if (t->type == DTYPE_F32) {
		for (uint64_t i = 0; i < t->bytes; i += 4) {
			uint32_t v;
			memcpy(&v, p + i, 4);
			v = __builtin_bswap32(v);
			memcpy(p + i, &v, 4);
		}
		return;
	}
	for (size_t k = 0; k < sizeof halves / sizeof *halves; k++) {
		if (halves[k].type != t->type)
			continue;
		for (uint64_t i = 0; i < t->bytes; i += step)
			for (int h = 0; h < halves[k].n; h++) {
				uint8_t *b = p + i + halves[k].at[h];
				uint8_t first = b[0];
				b[0] = b[1];
				b[1] = first;
			}
	}
}

/*
 * Rows that begin on a unit of their own, in the published 128/32 packing, filled up with zeros
 * (code 1): from 64/16 packing, or where a unit holds the end of one row and the beginning of the
 * next.  The scale moves behind the last row.
 */
static void repack_i2s(uint8_t *out, const uint8_t *p, const struct gguf_tensor *t, int group)
{
	uint64_t unit = 4 * (uint64_t)group, row = i2s_row(t->cols), i = 0;

	memset(out, 0x55, t->rows * row);
	for (uint64_t r = 0; r < t->rows; r++, out += row)
		for (uint64_t c = 0; c < t->cols; c++, i++) {
			uint64_t in = i % unit, to = c % I2S_BLOCK;
			unsigned byte = p[i / unit * (uint64_t)group + in % (uint64_t)group];
			unsigned code = byte >> (6 - 2 * (in / (uint64_t)group)) & 3u;
			unsigned shift = (unsigned)(6 - 2 * (to / 32));
			uint8_t *b = &out[c / I2S_BLOCK * 32 + to % 32];
			*b = (uint8_t)((*b & ~(3u << shift)) | code << shift);
		}
	memcpy(out, p + t->rows * t->cols / 4, sizeof(float));
}

static int has_code3(const uint8_t *p, uint64_t bytes)
{
	const uint64_t ones = UINT64_C(0x5555555555555555);
	uint64_t seen = 0;

	for (uint64_t i = 0; i + 32 <= bytes; i += 32) {
		uint64_t v[4];
		memcpy(v, p + i, 32);
		for (int k = 0; k < 4; k++)
			seen |= v[k] & v[k] >> 1;
	}
	return (seen & ones) != 0;
}

static int tensor_err(const struct gguf_tensor *t, struct err *e)
{
	char quoted[80];
	return err_in(e, "tensor %s", err_quote(quoted, sizeof quoted, t->name.p, t->name.n));
}

/* The tensor's bytes in the mapped file, or NULL with an error. */
static const uint8_t *source(const struct gguf_tensor *t, struct err *e)
{
	if (!t->data) {
		err_set(e, ERR_SHORT, "the file ends before its data (%llu bytes at %llu)",
		        (unsigned long long)t->bytes, (unsigned long long)t->offset);
		tensor_err(t, e);
	}
	return t->data;
}

static int load_scale(const struct gguf *g, const struct gguf_tensor *t, const struct kernels *kern,
                      float *scale, struct err *e)
{
	const uint8_t *data = source(t, e);
	uint8_t copy[8];
	float s;

	if (!data)
		return -1;
	memcpy(copy, data, t->bytes);
	if (g->parts[t->part].swapped)
		swap_payload(copy, t);
	kern->dequantize[t->type](&s, copy, 1);
	if (!isfinite(s)) {
		err_set(e, ERR_TROUBLE, "scale is not finite");
		return tensor_err(t, e);
	}
	*scale *= s;
	return 0;
}

static int check_i2s(const struct weight *w, struct err *e)
{
	float s = w->mat.scale;

	if (!isfinite(s) || s < 0) {
		err_set(e, ERR_TROUBLE, "I2_S scale is %g, expected a finite number of at least 0",
		        (double)s);
		return tensor_err(w->t, e);
	}
	return 0;
}

/* Lets go of the pages of a mapped file that lie whole in n bytes from `from` on. */
static void let_go_of(const struct gguf *g, const struct gguf_tensor *t, const uint8_t *from,
                      uint64_t n)
{
	const uint64_t page = 4096;
	uintptr_t first = ((uintptr_t)from + page - 1) & ~(uintptr_t)(page - 1);
	uintptr_t end = ((uintptr_t)from + n) & ~(uintptr_t)(page - 1);

	if (g->parts[t->part].map.open && end > first)
		madvise((void *)first, end - first, MADV_DONTNEED);
}

/* Copies a tensor, letting go of its pages on the way, so that a model that is read is not resident
 * twice. */
static void copy_out(const struct gguf *g, const struct gguf_tensor *t, uint8_t *to)
{
	const uint64_t piece = WEIGHTS_PIECE;

	for (uint64_t at = 0; at < t->bytes; at += piece) {
		uint64_t n = t->bytes - at < piece ? t->bytes - at : piece;

		memcpy(to + at, t->data + at, n);
		let_go_of(g, t, t->data + at, n);
	}
}

static int load_matrix(struct weight *w, const struct gguf *g, const struct weights_options *o,
                       const struct kernels *kern, struct arena *copies, struct err *e)
{
	const struct gguf_tensor *t = w->t;
	const uint8_t *data = source(t, e);
	uint64_t cols = t->cols, row = dtype_row_bytes(t->type, cols);
	enum dtype type = t->type;
	float tail = 1;

	if (!data)
		return -1;
	if (w->dense) {
		w->packed = arena_take(copies, w->copy);
	} else if (w->copy) {
		uint8_t *p = arena_take(copies, w->copy);
		if (weights_tiles_is(t->type)) {
			struct ternary form;

			row = i2s_row(cols);
			cols = row * 4;
			if (weights_tiles_find(&form, g, t, e) ||
			    weights_tiles_load(p, row, &form, data, e))
				return tensor_err(t, e);
			let_go_of(g, t, data, t->bytes);
			type = DTYPE_I2_S;
		} else if (t->type == DTYPE_I2_S && (o->i2s_group != 32 || cols % I2S_BLOCK)) {
			row = i2s_row(cols);
			cols = row * 4;
			repack_i2s(p, data, t, o->i2s_group);
		} else {
			copy_out(g, t, p);
		}
		if (g->parts[t->part].swapped)
			swap_payload(p, t);
		data = p;
	}
	if (type == DTYPE_I2_S)
		memcpy(&tail, data + t->rows * row, sizeof tail);
	w->mat = (struct kernel_mat){type, t->rows, cols, data, row, tail, 0};
	if (type == DTYPE_I2_S && check_i2s(w, e))
		return -1;
	if (w->scale && load_scale(g, w->scale, kern, &w->mat.scale, e))
		return -1;
	return 0;
}

static int load_vector(struct weight *w, const struct gguf *g, const struct kernels *kern,
                       struct arena *copies, struct err *e)
{
	const uint8_t *data;

	if (!w->t)
		return 0;
	data = source(w->t, e);
	if (!data)
		return -1;
	if (w->copy) {
		float *v = arena_take(copies, w->copy);
		/* The raw values lie in the end of the copy, so that widening runs forward. */
		uint8_t *raw = (uint8_t *)v + w->copy - w->t->bytes;
		memcpy(raw, data, w->t->bytes);
		if (g->parts[w->t->part].swapped)
			swap_payload(raw, w->t);
		for (uint64_t i = 0, step = w->t->bytes / w->t->cols; i < w->t->cols; i++) {
			float one;
			kern->dequantize[w->t->type](&one, raw + i * step, 1);
			v[i] = one;
		}
		w->v = v;
	} else {
		w->v = (const float *)(const void *)data;
	}
	for (uint64_t i = 0; i < w->t->cols; i++)
		if (!isfinite(w->v[i])) {
			err_set(e, ERR_TROUBLE, "value %llu is not finite", (unsigned long long)i);
			return tensor_err(w->t, e);
		}
	return 0;
}

static int load_layer(struct weights_layer *l, const struct gguf *g,
                      const struct weights_options *o, const struct kernels *kern,
                      struct arena *copies, struct err *e)
{
	struct weight *vectors[] = {&l->attn_norm, &l->attn_sub_norm, &l->ffn_norm,
	                            &l->ffn_sub_norm};
	struct weight *matrices[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};

	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
		if (load_vector(vectors[i], g, kern, copies, e))
			return -1;
	for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
		if (load_matrix(matrices[i], g, o, kern, copies, e))
			return -1;
	return 0;
}

#define LAYER_MATRICES 7

static long matrices(const struct weights *w)
{
	return LAYER_MATRICES * (long)w->n_layer + 2;
}

/* In the order of loading: the embedding table, those of the layers, the head. */
static struct weight *matrix_at(struct weights *w, long m)
{
	if (m == 0)
		return &w->embd;
	if (m == matrices(w) - 1)
		return &w->output;
	struct weights_layer *l = &w->layer[(m - 1) / LAYER_MATRICES];
	struct weight *part[LAYER_MATRICES] = {&l->q,    &l->k,  &l->v,   &l->o,
	                                       &l->gate, &l->up, &l->down};
	return part[(m - 1) % LAYER_MATRICES];
}

/* Makes the strips of a matrix, letting go of its pages on the way.  Returns 1 when a code is 3. */
static int pack(struct weight *w, const struct gguf *g, const struct kernels *kern)
{
	struct kernel_mat *m = &w->mat;
	size_t step = WEIGHTS_PIECE / m->row_bytes / STRIP_ROWS * STRIP_ROWS;
	int bad = 0;

	step = step ? step : STRIP_ROWS;
	for (size_t r = 0; r < m->rows; r += step) {
		size_t end = m->rows - r < step ? m->rows : r + step;

		bad |= kern->pack_strips(m, r, end, w->packed + strips_bytes(r, m->cols));
		let_go_of(g, w->t, m->data + r * m->row_bytes, (end - r) * m->row_bytes);
	}
	m->data = w->packed;
	m->row_bytes = 0;
	m->strips = 1;
	w->packed = NULL;
	return bad;
}

struct codes {
	struct weights *w;
	const struct gguf *g;
	const struct kernels *kern;
	struct threads *pool;
	int check;      /* those that are not packed, too */
	long first_bad; /* the lowest number of a matrix with a code 3; LONG_MAX: none */
};

static int bad_codes(const struct codes *c, struct weight *w)
{
	const struct kernel_mat *m = &w->mat;

	if (w->packed)
		return pack(w, c->g, c->kern);
	return c->check && m->type == DTYPE_I2_S && has_code3(m->data, m->rows * m->row_bytes);
}

static void go_through_codes(void *arg, int i, int count)
{
	struct codes *c = arg;
	long m;

	(void)i;
	(void)count;
	while ((m = threads_claim(c->pool, matrices(c->w))) >= 0) {
		long old = __atomic_load_n(&c->first_bad, __ATOMIC_RELAXED);

		if (!bad_codes(c, matrix_at(c->w, m)))
			continue;
		while (m < old && !__atomic_compare_exchange_n(&c->first_bad, &old, m, 0,
		                                               __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			;
	}
}

/* Reads every I2_S matrix once, by all threads, which also brings the pages in of those that are
 * used in place. */
static int read_codes(struct codes *c, struct err *e)
{
	threads_run(c->pool, go_through_codes, c);
	if (c->first_bad == LONG_MAX)
		return 0;
	err_set(e, ERR_TROUBLE, "holds the code 3, which no I2_S weight has: the file is corrupt");
	return tensor_err(matrix_at(c->w, c->first_bad)->t, e);
}

/* Asks for pages of 2 MiB where the file is read from now on: a model is then mapped with some
 * hundred faults, not some ten thousand.  A wish: systems without them refuse. */
static void want_large_pages(const struct gguf *g)
{
	for (unsigned i = 0; i < g->n_parts; i++)
		if (g->parts[i].map.open)
			madvise((void *)(uintptr_t)g->parts[i].map.data, g->parts[i].map.size,
			        MADV_HUGEPAGE);
}

static int lock_parts(const struct gguf *g, struct err *e)
{
	for (unsigned i = 0; i < g->n_parts; i++)
		if (mlock(g->parts[i].map.data, g->parts[i].map.size))
			return err_sys(e, "cannot lock %llu bytes of weights (see ulimit -l)",
			               (unsigned long long)g->parts[i].map.size);
	return 0;
}

/* When nothing but tables is used in place: reading ahead may have brought pages back that were let
 * go of. */
static void let_go(const struct gguf *g)
{
	for (unsigned i = 0; i < g->n_parts; i++) {
		const struct gguf_part *p = &g->parts[i];
		uint64_t first = (p->header_size + 4095) & ~UINT64_C(4095);
		if (p->map.open && first < p->map.size)
			madvise((void *)(uintptr_t)(p->map.data + first), p->map.size - first,
			        MADV_DONTNEED);
	}
}

int weights_load(struct weights *w, const struct gguf *g, const struct weights_options *options,
                 const struct kernels *kern, struct arena *copies, struct threads *pool,
                 struct err *e)
{
	struct weights_options settled = *options, *o = &settled;

	if (marked_packing(o, g, e))
		return -1;
	if (w->mapped)
		want_large_pages(g);
	if (load_matrix(&w->embd, g, o, kern, copies, e) ||
	    load_vector(&w->output_norm, g, kern, copies, e) ||
	    load_vector(&w->rope_freqs, g, kern, copies, e))
		return -1;
	for (uint32_t i = 0; i < w->n_layer; i++)
		if (load_layer(&w->layer[i], g, o, kern, copies, e))
			return -1;
	if (w->output.t == w->embd.t)
		w->output = w->embd;
	else if (load_matrix(&w->output, g, o, kern, copies, e))
		return -1;
	struct codes c = {w, g, kern, pool, o->check, LONG_MAX};
	if ((o->check || o->load == WEIGHTS_DENSE) && read_codes(&c, e))
		return -1;
	if (!w->mapped || o->load == WEIGHTS_DENSE)
		let_go(g);
	return o->load == WEIGHTS_MLOCK ? lock_parts(g, e) : 0;
}

void weights_close(struct weights *w)
{
	mem_free(w->layer);
	memset(w, 0, sizeof *w);
}
