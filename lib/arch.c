#include "arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_LAYERS 1024
#define MAX_VALUES                                                                                 \
	(1u << 24) /* of a hidden size, a head, a vocabulary: keeps products in 64 bits */

static const struct known {
	const char *name;
	enum arch_act act;
	int neox, sub_norms, output_tensor;
} known[] = {
    {"bitnet", ARCH_SILU, 1, 1, 0},
    {"bitnet-25", ARCH_RELU2, 1, 1, 1},
    {"bitnet-b1.58", ARCH_RELU2, 1, 1, 1},
    {"llama", ARCH_SILU, 0, 0, 1},
};
#define N_KNOWN (sizeof known / sizeof *known)

/* "bitnet-b1.58.block_count" and the like. */
struct key {
	char s[128];
};

static struct key key_of(const struct arch *a, const char *rest)
{
	struct key k;
	snprintf(k.s, sizeof k.s, "%s.%s", a->name, rest);
	return k;
}

static const struct known *find_known(const struct gguf *g, struct err *e)
{
	struct gguf_str name;
	char quoted[80];
	int r = gguf_get_str(g, "general.architecture", &name, e);

	if (r < 0)
		return NULL;
	if (r > 0) {
		err_set(e, ERR_TROUBLE, "general.architecture is missing");
		return NULL;
	}
	for (size_t i = 0; i < N_KNOWN; i++)
		if (strlen(known[i].name) == name.n && !memcmp(known[i].name, name.p, name.n))
			return &known[i];
	err_unsupported(
	    e,
	    "architecture '%s' is not supported (supported: bitnet, bitnet-25, bitnet-b1.58, "
	    "llama)",
	    err_quote(quoted, sizeof quoted, name.p, name.n));
	return NULL;
}

/* A whole number within [1, max]; fallback 0 means that the key is required. */
static int get_count(const struct arch *a, const struct gguf *g, const char *rest, uint64_t max,
                     uint32_t fallback, uint32_t *out, struct err *e)
{
	struct key k = key_of(a, rest);
	const struct gguf_kv *kv = gguf_find(g, k.s);
	uint64_t v = fallback;

	if (!kv && !fallback)
		return err_set(e, ERR_TROUBLE, "%s is missing", k.s);
	if (kv && kv->type == GGUF_ARRAY) {
		/* Per-layer values: computed with only where all layers agree. */
		uint64_t other;
		if (!kv->count || gguf_array_u64(g, kv, 0, &v, e))
			return kv->count ? -1 : err_set(e, ERR_TROUBLE, "%s is empty", k.s);
		for (uint64_t i = 1; i < kv->count; i++) {
			if (gguf_array_u64(g, kv, i, &other, e))
				return -1;
			if (other != v)
				return err_unsupported(
				    e,
				    "%s differs between layers (%llu and %llu), which "
				    "is not supported",
				    k.s, (unsigned long long)v, (unsigned long long)other);
		}
	} else if (kv && gguf_get_u64(g, k.s, &v, e)) {
		return -1;
	}
	if (v < 1 || v > max)
		return err_set(e, ERR_TROUBLE, "%s is %llu, expected 1 to %llu", k.s,
		               (unsigned long long)v, (unsigned long long)max);
	*out = (uint32_t)v;
	return 0;
}

static int get_real(const struct arch *a, const struct gguf *g, const char *rest, double *out,
                    struct err *e)
{
	return gguf_get_f64(g, key_of(a, rest).s, out, e);
}

static int read_sizes(struct arch *a, const struct gguf *g, struct err *e)
{
	if (get_count(a, g, "block_count", MAX_LAYERS, 0, &a->n_layer, e) ||
	    get_count(a, g, "embedding_length", MAX_VALUES, 0, &a->n_embd, e) ||
	    get_count(a, g, "feed_forward_length", MAX_VALUES, 0, &a->n_ff, e) ||
	    get_count(a, g, "context_length", UINT32_MAX / 2, 0, &a->n_ctx, e) ||
	    get_count(a, g, "attention.head_count", 65536, 0, &a->n_head, e) ||
	    get_count(a, g, "attention.head_count_kv", 65536, a->n_head, &a->n_head_kv, e))
		return -1;
	if (a->n_head % a->n_head_kv)
		return err_set(
		    e, ERR_TROUBLE,
		    "%s.attention.head_count_kv is %u, expected a divisor of head_count %u",
		    a->name, a->n_head_kv, a->n_head);
	uint32_t dim = a->n_embd / a->n_head;
	if (!gguf_find(g, key_of(a, "attention.key_length").s) && a->n_embd % a->n_head)
		return err_set(e, ERR_TROUBLE,
		               "%s.embedding_length %u is not a multiple of head_count %u", a->name,
		               a->n_embd, a->n_head);
	if (get_count(a, g, "attention.key_length", 65536, dim, &a->dim_k, e) ||
	    get_count(a, g, "attention.value_length", 65536, dim, &a->dim_v, e) ||
	    get_count(a, g, "rope.dimension_count", 65536, a->dim_k, &a->n_rot, e))
		return -1;
	if (a->n_rot % 2 || a->n_rot > a->dim_k || a->dim_k % 2 || a->dim_v % 2)
		return err_set(e, ERR_TROUBLE,
		               "%s.rope.dimension_count is %u, expected an even number of at most "
		               "key_length %u",
		               a->name, a->n_rot, a->dim_k);
	return 0;
}

static int read_vocab_size(struct arch *a, const struct gguf *g, struct err *e)
{
	const struct gguf_tensor *t = gguf_tensor(g, "token_embd.weight");
	const struct gguf_kv *tokens = gguf_find(g, "tokenizer.ggml.tokens");

	if (!t)
		return err_set(e, ERR_TROUBLE, "tensor token_embd.weight is missing");
	if (t->cols != a->n_embd)
		return err_set(
		    e, ERR_TROUBLE,
		    "tensor token_embd.weight: %llu columns, expected embedding_length %u",
		    (unsigned long long)t->cols, a->n_embd);
	if (t->rows > MAX_VALUES)
		return err_set(e, ERR_TROUBLE,
		               "tensor token_embd.weight: %llu rows, expected at most %u",
		               (unsigned long long)t->rows, MAX_VALUES);
	if (tokens && tokens->type == GGUF_ARRAY && tokens->count > t->rows)
		return err_set(
		    e, ERR_TROUBLE,
		    "tensor token_embd.weight: %llu rows, expected one for each of %llu tokens",
		    (unsigned long long)t->rows, (unsigned long long)tokens->count);
	a->n_vocab = (uint32_t)t->rows;
	return 0;
}

static int read_rope(struct arch *a, const struct gguf *g, struct err *e)
{
	struct gguf_str type = {"none", 4};
	char quoted[80];

	a->rope_base = 10000;
	a->rope_factor = 1;
	if (get_real(a, g, "rope.freq_base", &a->rope_base, e) < 0)
		return -1;
	if (!isfinite(a->rope_base) || a->rope_base <= 0)
		return err_set(e, ERR_TROUBLE,
		               "%s.rope.freq_base is %g, expected a positive number", a->name,
		               a->rope_base);
	if (gguf_get_str(g, key_of(a, "rope.scaling.type").s, &type, e) < 0)
		return -1;
	if (type.n == 6 && !memcmp(type.p, "linear", 6)) {
		if (get_real(a, g, "rope.scaling.factor", &a->rope_factor, e) < 0)
			return -1;
		if (!isfinite(a->rope_factor) || a->rope_factor <= 0)
			return err_set(e, ERR_TROUBLE, "%s.rope.scaling.factor is %g", a->name,
			               a->rope_factor);
	} else if (!(type.n == 4 && !memcmp(type.p, "none", 4))) {
		return err_unsupported(
		    e, "%s.rope.scaling.type '%s' is not supported (supported: none, linear)",
		    a->name, err_quote(quoted, sizeof quoted, type.p, type.n));
	}
	return 0;
}

static int parse_act(const char *s, size_t n, enum arch_act *act)
{
	static const struct {
		const char *name;
		enum arch_act act;
	} names[] = {{"silu", ARCH_SILU},
	             {"swish", ARCH_SILU},
	             {"relu2", ARCH_RELU2},
	             {"relu_squared", ARCH_RELU2}};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strlen(names[i].name) == n && !memcmp(names[i].name, s, n)) {
			*act = names[i].act;
			return 0;
		}
	return -1;
}

/* The file's word, else the architecture's; a 2B-4T model under the name of its predecessor is
 * known by its shape (architectures.md 1). */
static int read_act(struct arch *a, const struct known *k, const struct gguf *g, const char *act,
                    struct err *e)
{
	struct gguf_str s;
	char quoted[80];
	int r;

	a->act = k->act;
	if (act) {
		if (parse_act(act, strlen(act), &a->act))
			return err_set(e, ERR_TROUBLE, "activation '%s' is not silu or relu2", act);
		return 0;
	}
	r = gguf_get_str(g, key_of(a, "hidden_activation").s, &s, e);
	if (r < 0)
		return -1;
	if (r == 0 && parse_act(s.p, s.n, &a->act))
		return err_unsupported(
		    e, "%s.hidden_activation '%s' is not supported (supported: silu, relu2)",
		    a->name, err_quote(quoted, sizeof quoted, s.p, s.n));
	if (r > 0 && !strcmp(a->name, "bitnet") && a->n_layer == 30 && a->n_embd == 2560 &&
	    a->n_ff == 6912)
		a->act = ARCH_RELU2;
	return 0;
}

int arch_read(struct arch *a, const struct gguf *g, const char *act, struct err *e)
{
	const struct known *k = find_known(g, e);
	uint64_t window = 0;
	double eps;

	memset(a, 0, sizeof *a);
	if (!k)
		return -1;
	a->name = k->name;
	a->neox = k->neox;
	a->sub_norms = k->sub_norms;
	a->output_tensor = k->output_tensor;
	if (read_sizes(a, g, e) || read_vocab_size(a, g, e) || read_rope(a, g, e) ||
	    read_act(a, k, g, act, e))
		return -1;
	int r = get_real(a, g, "attention.layer_norm_rms_epsilon", &eps, e);
	if (r < 0)
		return -1;
	if (r > 0)
		return err_set(e, ERR_TROUBLE, "%s.attention.layer_norm_rms_epsilon is missing",
		               a->name);
	if (!(eps > 0 && eps < 1))
		return err_set(
		    e, ERR_TROUBLE,
		    "%s.attention.layer_norm_rms_epsilon is %g, expected between 0 and 1", a->name,
		    eps);
	a->eps = (float)eps;
	if (gguf_get_u64(g, key_of(a, "attention.sliding_window").s, &window, e) < 0)
		return -1;
	if (window)
		return err_unsupported(e, "%s.attention.sliding_window is not supported", a->name);
	if (gguf_get_u64(g, key_of(a, "expert_count").s, &window, e) < 0)
		return -1;
	if (window)
		return err_unsupported(e, "%s.expert_count: mixtures of experts are not supported",
		                       a->name);
	return 0;
}
