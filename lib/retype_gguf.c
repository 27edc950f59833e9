#include "retype_gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "mem.h"

/* Two or three numbers with commas between them, and nothing else: how many, or 0. */
static int parse_tile(const char *text, uint32_t v[3])
{
	int n = 0;

	for (;; text++) {
		size_t digits = strspn(text, "0123456789");

		if (n == 3 || !digits || digits > 7)
			return 0;
		v[n++] = (uint32_t)strtoul(text, NULL, 10);
		text += digits;
		if (!*text)
			return n > 1 ? n : 0;
		if (*text != ',')
			return 0;
	}
}

int retype_hints_tile(struct retype_hints *h, const char *text, struct err *e)
{
	struct retype_tile t = {0};
	unsigned long long rows, cols;
	uint32_t v[3] = {0, 0, 32};
	int shape = 0;

	if (sscanf(text, "%llux%llu:%n", &rows, &cols, &shape) == 2 && shape) {
		t.rows = rows;
		t.cols = cols;
	}
	if (!parse_tile(text + shape, v))
		return err_set(e, ERR_TROUBLE, "'%s' is not [ROWSxCOLS:]BM,BY[,bm]", text);
	if (h->n_tiles == RETYPE_TILES)
		return err_set(e, ERR_TROUBLE, "more than %d tilings", RETYPE_TILES);
	t.tile = (struct ternary_tile){v[0], v[1], v[2]};
	h->tiles[h->n_tiles++] = t;
	return 0;
}

const struct ternary_tile *retype_hints_find(const struct retype_hints *h, uint64_t rows,
                                             uint64_t cols)
{
	const struct ternary_tile *any = NULL;

	for (unsigned i = 0; i < h->n_tiles; i++) {
		const struct retype_tile *t = &h->tiles[i];

		if (t->rows == rows && t->cols == cols)
			return &t->tile;
		if (!t->rows && !any)
			any = &t->tile;
	}
	return any;
}

/* The tiling that the file names for a shape: 1 found, 0 not, -1 a bad key. */
static int file_tile(const struct gguf *g, enum ternary_kind kind, uint64_t rows, uint64_t cols,
                     struct ternary_tile *out, struct err *e)
{
	const char *key = kind == TERNARY_TL1 ? TERNARY_KEY_TL1 : TERNARY_KEY_TL2;
	const struct gguf_kv *kv = gguf_find(g, key);
	uint64_t v[5];

	if (!kv)
		return 0;
	if (kv->type != GGUF_ARRAY || kv->count % 5)
		return err_set(e, ERR_TROUBLE, "key %s is not an array of five numbers per shape",
		               key);
	for (uint64_t i = 0; i < kv->count; i += 5) {
		for (uint64_t j = 0; j < 5; j++)
			if (gguf_array_u64(g, kv, i + j, &v[j], e))
				return -1;
		if (v[0] != rows || v[1] != cols)
			continue;
		if (v[2] > UINT32_MAX || v[3] > UINT32_MAX || v[4] > UINT32_MAX)
			return err_set(e, ERR_TROUBLE, "key %s: a tiling is out of range", key);
		*out = (struct ternary_tile){(uint32_t)v[2], (uint32_t)v[3], (uint32_t)v[4]};
		return 1;
	}
	return 0;
}

static int find_tile(const struct gguf *g, const struct gguf_tensor *t, enum ternary_kind kind,
                     const struct retype_hints *h, struct ternary_tile *tile, int *assumed,
                     struct err *e)
{
	const struct ternary_tile *hint = retype_hints_find(h, t->rows, t->cols);
	struct ternary_tile known[2];
	int n;

	if (hint) {
		*tile = *hint;
		return 0;
	}
	n = file_tile(g, kind, t->rows, t->cols, tile, e);
	if (n)
		return n < 0 ? -1 : 0;
	n = ternary_presets(kind, t->rows, t->cols, known);
	if (!n)
		return err_set(e, ERR_TROUBLE,
		               "the tiling of %s for %llu x %llu is not known (the file does not "
		               "say; use --tl)",
		               ternary_name(kind), (unsigned long long)t->rows,
		               (unsigned long long)t->cols);
	*tile = known[0];
	*assumed |= RETYPE_ASSUMED_TILE | (n > 1 ? RETYPE_ASSUMED_ONE_OF : 0);
	return 0;
}

static int find_i2s(const struct gguf *g, const struct retype_hints *h, enum ternary_kind *kind,
                    int *assumed, struct err *e)
{
	struct gguf_str s;
	char layout[16];
	int absent = 1;

	*kind = h->i2s;
	if (*kind != TERNARY_NONE)
		return 0;
	absent = gguf_get_str(g, TERNARY_KEY_I2S, &s, e);
	if (absent < 0)
		return -1;
	*kind = TERNARY_I2_S;
	if (absent) {
		*assumed |= RETYPE_ASSUMED_I2S;
		return 0;
	}
	snprintf(layout, sizeof layout, "%.*s", (int)(s.n < 15 ? s.n : 15), s.p);
	*kind = ternary_find_i2s(layout);
	if (*kind == TERNARY_NONE)
		return err_set(e, ERR_TROUBLE, "key %s: layout is not known", TERNARY_KEY_I2S);
	return 0;
}

int retype_gguf_form(struct retype_form *f, const struct gguf *g, const struct gguf_tensor *t,
                     const struct retype_hints *h, int *assumed, struct err *e)
{
	enum ternary_kind kind = ternary_of_dtype(t->type);
	struct ternary_tile tile;

	if (kind == TERNARY_NONE)
		return retype_form(f, t->type, t->rows, t->cols, NULL, e);
	if (kind == TERNARY_I2_S && find_i2s(g, h, &kind, assumed, e))
		return -1;
	if ((kind == TERNARY_TL1 || kind == TERNARY_TL2) &&
	    find_tile(g, t, kind, h, &tile, assumed, e))
		return -1;
	return retype_form_ternary(f, kind, t->rows, t->cols, &tile, e);
}

int retype_gguf_source(struct retype_source *src, const struct gguf *g, const struct gguf_tensor *t,
                       const struct retype_hints *h, int *assumed, struct err *e)
{
	const struct gguf_part *part = &g->parts[t->part];

	memset(src, 0, sizeof *src);
	if (retype_gguf_form(&src->form, g, t, h, assumed, e))
		return -1;
	src->rows = t->rows;
	src->cols = t->cols;
	src->factor = 1;
	src->swapped = part->swapped;
	src->data = t->data;
	src->mapped = part->map.open;
	return t->data ? 0 : err_set(e, ERR_SHORT, "its data is not there");
}

static int scale_value(const struct gguf *g, const struct gguf_tensor *s, float *value,
                       struct err *e)
{
	const struct gguf_part *part = &g->parts[s->part];
	uint32_t bytes = dtype_get(s->type)->block_bytes;
	uint8_t b[8] = {0};

	if (s->cols != 1 || s->rows != 1 ||
	    (s->type != DTYPE_F32 && s->type != DTYPE_F16 && s->type != DTYPE_BF16))
		return err_set(e, ERR_TROUBLE, "is not one number");
	if (s->data)
		memcpy(b, s->data, bytes);
	else
		return err_set(e, ERR_SHORT, "its data is not there");
	for (uint32_t i = 0; part->swapped && i < bytes / 2; i++) {
		uint8_t x = b[i];

		b[i] = b[bytes - 1 - i];
		b[bytes - 1 - i] = x;
	}
	blocks_read(s->type, value, b, 1);
	return isfinite(*value) ? 0 : err_set(e, ERR_TROUBLE, "is not finite");
}

int retype_gguf_factor(const struct gguf *g, const struct gguf_tensor *t,
                       const struct gguf_tensor **scale, float *factor, struct err *e)
{
	static const char end[] = ".weight";
	char name[128];
	uint64_t stem = t->name.n - (sizeof end - 1);

	*scale = NULL;
	*factor = 1;
	if (t->name.n < sizeof end || t->name.n > 100 ||
	    memcmp(t->name.p + stem, end, sizeof end - 1) != 0)
		return 0;
	snprintf(name, sizeof name, "%.*s.scale", (int)stem, t->name.p);
	*scale = gguf_tensor(g, name);
	if (*scale && scale_value(g, *scale, factor, e))
		return err_in(e, "tensor %s", name);
	return 0;
}

int retype_gguf_is_ternary_role(const struct gguf_tensor *t)
{
	static const char *const roles[] = {
	    "attn_q",        "attn_k",      "attn_v",         "attn_qkv",      "attn_output",
	    "ffn_gate",      "ffn_up",      "ffn_down",       "ffn_gate_exps", "ffn_up_exps",
	    "ffn_down_exps", "ffn_gate_up", "ffn_gate_shexp", "ffn_up_shexp",  "ffn_down_shexp",
	};
	char name[64], role[64];
	int end = 0;

	if (t->n_dims < 2 || t->name.n >= sizeof name)
		return 0;
	snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
	if (sscanf(name, "blk.%*u.%63[^.].weight%n", role, &end) != 1 || !end || name[end])
		return 0;
	for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
		if (!strcmp(role, roles[i]))
			return 1;
	return 0;
}

static int add_tile(struct gguf_write *w, const char *key, const uint32_t tile[5], struct err *e)
{
	const struct gguf_write_kv *kv = gguf_write_find(w, key);
	uint64_t n = kv ? kv->count : 0;
	uint32_t *all = mem_alloc(MEM_IO, (n + 5) * sizeof *all, e);

	if (!all)
		return -1;
	if (n)
		memcpy(all, kv->data, n * sizeof *all);
	memcpy(all + n, tile, 5 * sizeof *all);
	int r = gguf_write_numbers(w, key, GGUF_U32, 1, all, n + 5, e);
	mem_free(all);
	return r;
}

int retype_gguf_mark_tile(struct gguf_write *w, const struct ternary *t, struct err *e)
{
	const char *key = t->kind == TERNARY_TL1 ? TERNARY_KEY_TL1 : TERNARY_KEY_TL2;
	const uint32_t tile[5] = {(uint32_t)t->rows, (uint32_t)t->cols, t->tile.rows, t->tile.cols,
	                          t->tile.step};
	const struct gguf_write_kv *kv = gguf_write_find(w, key);
	uint32_t there[5];

	if (t->kind != TERNARY_TL1 && t->kind != TERNARY_TL2)
		return 0;
	if (t->rows > UINT32_MAX || t->cols > UINT32_MAX)
		return err_set(e, ERR_TROUBLE, "the shape is too large for %s", key);
	for (uint64_t i = 0; kv && i + 5 <= kv->count; i += 5) {
		memcpy(there, (const uint8_t *)kv->data + i * sizeof *there, sizeof there);
		if (memcmp(there, tile, 2 * sizeof *there) != 0)
			continue;
		if (!memcmp(there, tile, sizeof there))
			return 0;
		return err_set(e, ERR_TROUBLE, "%s: two tilings of one shape", key);
	}
	return add_tile(w, key, tile, e);
}

int retype_gguf_mark_i2s(struct gguf_write *w, enum ternary_kind kind, struct err *e)
{
	const char *layout = ternary_i2s_layout(kind);

	gguf_write_delete(w, TERNARY_KEY_I2S);
	if (kind == TERNARY_NONE || kind == TERNARY_I2_S)
		return 0;
	return gguf_write_str(w, TERNARY_KEY_I2S, layout, strlen(layout), e);
}

int retype_gguf_file_type(enum dtype type)
{
	static const struct {
		enum dtype type;
		int file_type;
	} known[] = {
	    {DTYPE_F32, 0},      {DTYPE_F16, 1},         {DTYPE_Q4_0, 2},
	    {DTYPE_Q8_0, 7},     {DTYPE_Q4_K, 15},       {DTYPE_Q6_K, 18},
	    {DTYPE_BF16, 32},    {DTYPE_TQ1_0, 36},      {DTYPE_TQ2_0, 37},
	    {DTYPE_TL1, 38},     {DTYPE_TL2, 39},        {DTYPE_I2_S, 40},
	    {DTYPE_Q2_0, 41},    {DTYPE_Q2_0_G128, 141}, {DTYPE_IQ1_BN, 136},
	    {DTYPE_IQ2_BN, 137}, {DTYPE_IQ2_BN_R4, 337},
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i].type == type)
			return known[i].file_type;
	return -1;
}
