/*
 * Rules, A being general.architecture, sizes in values unless bytes are said:
 *
 *   attention   KV heads x positions x row(key_length) and row(value_length), where row is the
 *               bytes of one row in the cache's type; KV heads may differ by layer, 0 is none
 *   window      layers with A.attention.sliding_window keep window + ubatch positions at most;
 *               sliding_window_pattern n: every n-th layer looks back at everything; or one bool
 *               per layer; key_length_swa and value_length_swa are the lengths of these layers
 *   latent      A.attention.kv_lora_rank with one KV head: one row of kv_lora_rank +
 *               rope.dimension_count values per token, and no values
 *   shared      the last A.attention.shared_kv_layers layers look into the cache of earlier ones
 *   state       whatever the context, 4 bytes a value, from
 *               A.ssm.*: inner x state + (conv - 1) x (inner + 2 x groups x state)
 *               A.kda.head_dim: heads x head_dim^2 + 3 x (conv - 1) x heads x head_dim
 *               A.wkv.head_size: width x head_size + token_shift_count x width
 *               A.shortconv.l_cache: (l_cache - 1) x width
 *
 * Sources: gguf.md 3, other-architectures.md 3, 4, 7, and allocations that engines printed.
 */
#include "shape.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"

#define MAX_LAYERS 4096
#define MAX_VALUES (1u << 26)

struct reader {
	struct shape *s;
	const struct gguf *g;
	struct err *e;
};

static void assume(struct shape *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void assume(struct shape *s, const char *fmt, ...)
{
	va_list ap;

	if (s->n_assumed == SHAPE_ASSUMED)
		return;
	va_start(ap, fmt);
	vsnprintf(s->assumed[s->n_assumed], sizeof s->assumed[0], fmt, ap);
	va_end(ap);
	s->n_assumed++;
}

static const char *key_of(const struct reader *r, const char *rest, char out[160])
{
	snprintf(out, 160, "%s.%s", r->s->name, rest);
	return out;
}

static const struct gguf_kv *find(const struct reader *r, const char *rest)
{
	char key[160];

	return gguf_find(r->g, key_of(r, rest, key));
}

/* A whole number of layer i: the key's i-th element when it is an array, else its value; absent:
 * otherwise. */
static int number_at(const struct reader *r, const char *rest, uint32_t i, uint64_t most,
                     uint32_t otherwise, uint32_t *out)
{
	const struct gguf_kv *kv = find(r, rest);
	char key[160];
	uint64_t v;

	*out = otherwise;
	if (!kv)
		return 0;
	key_of(r, rest, key);
	if (kv->type == GGUF_ARRAY && i >= kv->count)
		return err_set(r->e, ERR_TROUBLE,
		               "%s has %llu elements, expected one for each layer", key,
		               (unsigned long long)kv->count);
	if (kv->type == GGUF_ARRAY ? gguf_array_u64(r->g, kv, i, &v, r->e)
	                           : gguf_get_u64(r->g, key, &v, r->e))
		return -1;
	if (v > most)
		return err_set(r->e, ERR_TROUBLE, "%s is %llu, expected at most %llu", key,
		               (unsigned long long)v, (unsigned long long)most);
	*out = (uint32_t)v;
	return 0;
}

static int number(const struct reader *r, const char *rest, uint64_t most, uint32_t *out)
{
	return number_at(r, rest, 0, most, 0, out);
}

/* The highest N of tensors blk.N.*, plus one. */
static uint32_t layers_of_tensors(const struct gguf *g)
{
	uint32_t n = 0;

	for (uint64_t t = 0; t < g->n_tensors; t++) {
		const struct gguf_str *s = &g->tensors[t].name;
		uint32_t v = 0;
		if (s->n < 5 || memcmp(s->p, "blk.", 4) != 0)
			continue;
		for (uint64_t i = 4; i < s->n && s->p[i] >= '0' && s->p[i] <= '9' && v < MAX_LAYERS;
		     i++)
			v = v * 10 + (uint32_t)(s->p[i] - '0');
		if (v >= n && v < MAX_LAYERS)
			n = v + 1;
	}
	return n;
}

static int read_name(struct reader *r)
{
	struct gguf_str name;
	int found = gguf_get_str(r->g, "general.architecture", &name, r->e);

	if (found < 0)
		return -1;
	if (found > 0 || !name.n)
		return err_set(r->e, ERR_TROUBLE, "general.architecture is missing");
	if (name.n >= sizeof r->s->name)
		return err_set(r->e, ERR_TROUBLE, "general.architecture is a name of %llu bytes",
		               (unsigned long long)name.n);
	err_quote(r->s->name, sizeof r->s->name, name.p, name.n);
	return 0;
}

static int read_eps(const struct reader *r)
{
	double eps;
	char key[160];
	int found =
	    gguf_get_f64(r->g, key_of(r, "attention.layer_norm_rms_epsilon", key), &eps, r->e);

	if (found == 0 && !(eps > 0 && eps < 1))
		return err_set(r->e, ERR_TROUBLE, "%s is %g, expected between 0 and 1", key, eps);
	return found < 0 ? -1 : 0;
}

static int read_vocab(struct reader *r)
{
	const struct gguf_kv *tokens = gguf_find(r->g, "tokenizer.ggml.tokens");
	const struct gguf_tensor *embd = gguf_tensor(r->g, "token_embd.weight");
	struct shape *s = r->s;

	if (number(r, "vocab_size", UINT32_MAX, &s->n_vocab))
		return -1;
	if (embd && s->n_embd && embd->cols != s->n_embd)
		return err_set(
		    r->e, ERR_TROUBLE,
		    "tensor token_embd.weight: %llu columns, expected embedding_length %u",
		    (unsigned long long)embd->cols, s->n_embd);
	if (embd && embd->rows <= UINT32_MAX)
		s->n_vocab = (uint32_t)embd->rows;
	else if (!s->n_vocab && tokens && tokens->type == GGUF_ARRAY)
		s->n_vocab = (uint32_t)tokens->count;
	return 0;
}

static int read_sizes(struct reader *r)
{
	struct shape *s = r->s;
	uint32_t extra;

	if (number(r, "block_count", MAX_LAYERS, &s->n_layer) ||
	    number(r, "embedding_length", MAX_VALUES, &s->n_embd) ||
	    number(r, "context_length", UINT32_MAX / 2, &s->n_ctx) ||
	    number(r, "nextn_predict_layers", MAX_LAYERS, &extra) || read_eps(r))
		return -1;
	if (!s->n_layer) {
		s->n_layer = layers_of_tensors(r->g);
		if (s->n_layer)
			assume(s, "%s.block_count is missing: %u, by the tensors' names", s->name,
			       s->n_layer);
	} else if (extra && extra < s->n_layer) {
		s->n_layer -= extra;
		assume(s, "the last %u layers predict further tokens: no cache", extra);
	}
	if (!s->n_embd) {
		const struct gguf_tensor *embd = gguf_tensor(r->g, "token_embd.weight");
		if (embd && embd->cols <= MAX_VALUES) {
			s->n_embd = (uint32_t)embd->cols;
			assume(s, "%s.embedding_length is missing: %u, by token_embd.weight",
			       s->name, s->n_embd);
		}
	}
	return read_vocab(r);
}

/* Key and value length of the layers with a window, where they have their own. */
static int read_window_dims(const struct reader *r, struct shape_layer *l)
{
	uint32_t k = l->dim_k, v = l->dim_v;

	return number_at(r, "attention.key_length_swa", 0, 65536, k, &l->dim_k) ||
	               number_at(r, "attention.value_length_swa", 0, 65536, v, &l->dim_v)
	           ? -1
	           : 0;
}

/* Key and value length of layer i: the keys, else width / heads. */
static int read_dims(struct reader *r, uint32_t i, uint32_t heads, struct shape_layer *l)
{
	struct shape *s = r->s;
	uint32_t dim = heads && s->n_embd % heads == 0 ? s->n_embd / heads : 0;

	if (number_at(r, "attention.key_length", i, 65536, dim, &l->dim_k) ||
	    number_at(r, "attention.value_length", i, 65536, dim, &l->dim_v))
		return -1;
	if (!l->dim_k || !l->dim_v)
		return err_set(
		    r->e, ERR_TROUBLE,
		    "%s.attention.key_length is missing, and embedding_length %u is not a "
		    "multiple of head_count %u",
		    s->name, s->n_embd, heads);
	return 0;
}

static int read_attention(struct reader *r, uint32_t i, struct shape_layer *l)
{
	struct shape *s = r->s;
	uint32_t heads;

	if (number_at(r, "attention.head_count", i, 65536, 0, &heads) ||
	    number_at(r, "attention.head_count_kv", i, 65536, heads, &l->kv_heads))
		return -1;
	if (!l->kv_heads)
		return 0;
	if (heads % l->kv_heads)
		return err_set(
		    r->e, ERR_TROUBLE,
		    "%s.attention.head_count_kv is %u, expected a divisor of head_count %u",
		    s->name, l->kv_heads, heads);
	if (i == 0 && !find(r, "attention.head_count_kv"))
		assume(s, "%s.attention.head_count_kv is missing: %u, head_count", s->name,
		       l->kv_heads);
	return read_dims(r, i, heads, l);
}

/* One latent row per token and layer, from which keys and values are made again. */
static int read_latent(struct reader *r)
{
	uint32_t rank, rope;

	if (number(r, "attention.kv_lora_rank", 65536, &rank) ||
	    number(r, "rope.dimension_count", 65536, &rope))
		return -1;
	if (!rank || (r->s->layer[0].kv_heads != 1 && !find(r, "attention.key_length_mla")))
		return 0;
	r->s->latent = 1;
	if (find(r, "attention.indexer.key_length"))
		assume(r->s, "%s.attention.indexer: its own cache of keys is not counted",
		       r->s->name);
	for (uint32_t i = 0; i < r->s->n_layer; i++) {
		struct shape_layer *l = &r->s->layer[i];
		if (!l->kv_heads)
			continue;
		l->kv_heads = 1;
		l->dim_k = rank + rope;
		l->dim_v = 0;
	}
	return 0;
}

/* Windows where the file does not say which layers have them: as the engines that these
 * architectures come from do.  Every pattern-th layer looks back at everything, the last of each
 * group or the first; 1: all of them do. */
struct usual {
	const char *name;
	uint32_t pattern;
	int first;
	uint32_t window; /* where the file has none */
};

static const struct usual *usual_windows(const char *name)
{
	static const struct usual known[] = {
	    {"gemma3", 6},          {"gemma2", 2},          {"cohere2", 4}, {"gpt-oss", 2},
	    {"gemma3n", 5},         {"gemma-embedding", 6}, {"exaone4", 4}, {"olmo2", 4},
	    {"afmoe", 4},           {"smallthinker", 4, 1}, {"plamo3", 8},  {"phi3", 1},
	    {"llama4", 4, 0, 8192},
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (!strcmp(known[i].name, name))
			return &known[i];
	return NULL;
}

static void assume_windows(struct shape *s, const struct usual *u, uint32_t window)
{
	if (u && !u->window)
		assume(s, "%s.attention.sliding_window_pattern is missing: %u, as usual", s->name,
		       u->pattern);
	else if (u)
		assume(s, "%s.attention.sliding_window is missing: %u in 3 of 4 layers, as usual",
		       s->name, window);
	else
		assume(s,
		       "%s.attention.sliding_window_pattern is missing: all layers have the window",
		       s->name);
}

/* Whether layer i has the window: by the file's list or number, or as usual. */
static int has_window(const struct reader *r, uint32_t i, uint32_t every, int first,
                      uint32_t *slides)
{
	const struct gguf_kv *pattern = find(r, "attention.sliding_window_pattern");

	*slides = 1;
	if (pattern && pattern->type == GGUF_ARRAY)
		return number_at(r, "attention.sliding_window_pattern", i, 1, 0, slides);
	if (every)
		*slides = first ? i % every != 0 : (i + 1) % every != 0;
	return 0;
}

static int read_windows(struct reader *r)
{
	const struct gguf_kv *pattern = find(r, "attention.sliding_window_pattern");
	struct shape *s = r->s;
	const struct usual *u = pattern ? NULL : usual_windows(s->name);
	uint32_t window, every = u ? u->pattern : 0, slides;

	if (number_at(r, "attention.sliding_window", 0, UINT32_MAX, u ? u->window : 0, &window))
		return -1;
	if (!window)
		return 0;
	if (!pattern)
		assume_windows(s, u, window);
	else if (pattern->type != GGUF_ARRAY &&
	         number(r, "attention.sliding_window_pattern", MAX_LAYERS, &every))
		return -1;
	for (uint32_t i = 0; i < s->n_layer; i++) {
		struct shape_layer *l = &s->layer[i];
		if (has_window(r, i, every, u && u->first, &slides))
			return -1;
		if (!slides)
			continue;
		l->window = window;
		s->windows = 1;
		if (l->kv_heads && read_window_dims(r, l))
			return -1;
	}
	return 0;
}

/* Bytes of the state of one layer and sequence; 0: the architecture has none. */
static int state_bytes(struct reader *r, uint64_t *bytes)
{
	uint64_t inner, state, conv, groups, head, shift, cache, kda, heads;
	uint64_t width = r->s->n_embd;
	uint32_t v[9];

	if (number(r, "ssm.inner_size", MAX_VALUES, &v[0]) ||
	    number(r, "ssm.state_size", 65536, &v[1]) ||
	    number(r, "ssm.conv_kernel", 65536, &v[2]) ||
	    number(r, "ssm.group_count", 65536, &v[3]) ||
	    number(r, "wkv.head_size", 65536, &v[4]) ||
	    number_at(r, "token_shift_count", 0, 65536, 2, &v[5]) ||
	    number(r, "shortconv.l_cache", 65536, &v[6]) ||
	    number(r, "kda.head_dim", 65536, &v[7]) ||
	    number(r, "attention.head_count", 65536, &v[8]))
		return -1;
	inner = v[0], state = v[1], conv = v[2] ? v[2] - 1 : 0, groups = v[3], head = v[4];
	shift = v[5], cache = v[6], kda = v[7], heads = v[8];
	*bytes = 0;
	if (kda)
		*bytes = 4 * heads * (kda * kda + 3 * conv * kda);
	else if (inner)
		*bytes = 4 * (inner * state + conv * (inner + 2 * groups * state));
	else if (head)
		*bytes = 4 * width * (head + shift);
	else if (cache)
		*bytes = 4 * (cache - 1) * width;
	return 0;
}

/* Which layers keep a state instead of, or beside, keys and values. */
static int read_states(struct reader *r)
{
	const struct gguf_kv *list = find(r, "attention.recurrent_layers");
	struct shape *s = r->s;
	uint64_t bytes;
	uint32_t every, without = 0;

	if (state_bytes(r, &bytes) || number(r, "full_attention_interval", MAX_LAYERS, &every))
		return -1;
	if (!bytes)
		return 0;
	s->recurrent = 1;
	if (!list && !every && !strncmp(s->name, "qwen3", 5))
		every = 4;
	for (uint32_t i = 0; i < s->n_layer; i++)
		without += !s->layer[i].kv_heads;
	for (uint32_t i = 0; i < s->n_layer; i++) {
		struct shape_layer *l = &s->layer[i];
		uint32_t instead = 0;
		if (list ? number_at(r, "attention.recurrent_layers", i, 1, 0, &instead) : 0)
			return -1;
		if (!list && every)
			instead = (i + 1) % every != 0;
		if (instead)
			l->kv_heads = 0;
		/* Where some layers have no attention, these are the ones with the state. */
		l->state = (list || every || without) && l->kv_heads ? 0 : bytes;
	}
	return 0;
}

/* The last layers of some models look into the cache of earlier ones. */
static int read_sharing(struct reader *r)
{
	struct shape *s = r->s;
	uint32_t shared;
	int causal = 1;
	char key[160];

	if (number(r, "attention.shared_kv_layers", MAX_LAYERS, &shared) ||
	    gguf_get_bool(r->g, key_of(r, "attention.causal", key), &causal, r->e) < 0)
		return -1;
	for (uint32_t i = 0; i < s->n_layer; i++)
		if (!causal || i + shared >= s->n_layer)
			s->layer[i].kv_heads = 0;
	return 0;
}

int shape_read(struct shape *s, const struct gguf *g, struct err *e)
{
	struct reader r = {s, g, e};

	memset(s, 0, sizeof *s);
	if (read_name(&r) || read_sizes(&r))
		return -1;
	if (s->n_layer) {
		s->layer = mem_calloc(MEM_IO, s->n_layer, sizeof *s->layer, e);
		if (!s->layer)
			return -1;
	} else {
		assume(s, "%s.block_count is missing: no layers, no cache", s->name);
	}
	for (uint32_t i = 0; i < s->n_layer; i++)
		if (read_attention(&r, i, &s->layer[i]))
			goto fail;
	if (s->n_layer &&
	    (read_latent(&r) || read_windows(&r) || read_states(&r) || read_sharing(&r)))
		goto fail;
	return 0;
fail:
	shape_free(s);
	return -1;
}

void shape_free(struct shape *s)
{
	mem_free(s->layer);
	memset(s, 0, sizeof *s);
}

uint32_t shape_positions(const struct shape *s, uint32_t i, uint32_t ctx, uint32_t ubatch)
{
	uint64_t n = ctx, window = s->layer[i].window;

	if (window && window + ubatch < n)
		n = window + ubatch;
	n = (n + SHAPE_STEP - 1) / SHAPE_STEP * SHAPE_STEP;
	return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

int shape_kv(const struct shape *s, uint32_t i, uint32_t positions, enum dtype t, int values,
             uint64_t *bytes, struct err *e)
{
	const struct shape_layer *l = &s->layer[i];
	const struct dtype_info *d = dtype_get(t);
	uint32_t dim = values ? l->dim_v : l->dim_k;
	uint64_t row;

	*bytes = 0;
	if (!l->kv_heads || !dim)
		return 0;
	if (dim % d->block)
		return err_set(
		    e, ERR_TROUBLE,
		    "a KV cache of type %s needs heads of a multiple of %u values, found %u",
		    d->name, d->block, dim);
	row = dtype_row_bytes(t, dim) * l->kv_heads;
	if (__builtin_mul_overflow(row, (uint64_t)positions, bytes) || *bytes >> 62)
		return err_set(e, ERR_TROUBLE, "a KV cache of %u positions is too large",
		               positions);
	return 0;
}
