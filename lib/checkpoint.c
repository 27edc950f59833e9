#include "checkpoint.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "half.h"
#include "io.h"
#include "mem.h"

#define MAX_CONFIG (16 << 20) /* bytes of config.json */
#define MAX_LAYERS 1024
#define MAX_SIZE   (UINT64_C(1) << 31)

/* Sizes that shapes are made of. */
enum size { ONE, VOCAB, EMBD, FF, HEADS, KV_HEADS };

/* What a layer has; {0} in front of "layers." names stands for the whole model. */
struct known {
	const char *hf,
	    *other; /* names in checkpoints: transformers', and 1bitLLM's where it differs */
	const char *gguf;
	enum checkpoint_role role;
	enum size rows, cols;
	int per_layer, sub_norm, interleave;
};

/* In the order of GGUF files. */
static const struct known known[] = {
    {"embed_tokens", NULL, "token_embd", CHECKPOINT_EMBED, VOCAB, EMBD, 0, 0, 0},
    {"input_layernorm", NULL, "attn_norm", CHECKPOINT_NORM, ONE, EMBD, 1, 0, 0},
    {"self_attn.q_proj", NULL, "attn_q", CHECKPOINT_LINEAR, HEADS, EMBD, 1, 0, 1},
    {"self_attn.k_proj", NULL, "attn_k", CHECKPOINT_LINEAR, KV_HEADS, EMBD, 1, 0, 1},
    {"self_attn.v_proj", NULL, "attn_v", CHECKPOINT_LINEAR, KV_HEADS, EMBD, 1, 0, 0},
    {"self_attn.o_proj", NULL, "attn_output", CHECKPOINT_LINEAR, EMBD, HEADS, 1, 0, 0},
    {"self_attn.attn_sub_norm", "self_attn.inner_attn_ln", "attn_sub_norm", CHECKPOINT_NORM, ONE,
     HEADS, 1, 1, 0},
    {"post_attention_layernorm", NULL, "ffn_norm", CHECKPOINT_NORM, ONE, EMBD, 1, 0, 0},
    {"mlp.gate_proj", NULL, "ffn_gate", CHECKPOINT_LINEAR, FF, EMBD, 1, 0, 0},
    {"mlp.up_proj", NULL, "ffn_up", CHECKPOINT_LINEAR, FF, EMBD, 1, 0, 0},
    {"mlp.ffn_sub_norm", "mlp.ffn_layernorm", "ffn_sub_norm", CHECKPOINT_NORM, ONE, FF, 1, 1, 0},
    {"mlp.down_proj", NULL, "ffn_down", CHECKPOINT_LINEAR, EMBD, FF, 1, 0, 0},
    {"norm", NULL, "output_norm", CHECKPOINT_NORM, ONE, EMBD, 0, 0, 0},
    {"lm_head", NULL, "output", CHECKPOINT_HEAD, VOCAB, EMBD, 0, 0, 0},
};
#define N_KNOWN (sizeof known / sizeof *known)

/* Tensors that say nothing. */
static const char *const ignored[] = {".rotary_emb.inv_freq", ".attention.bias", ".masked_bias"};

static uint64_t size_of(const struct checkpoint *c, enum size s)
{
	switch (s) {
	case VOCAB:
		return c->n_vocab;
	case EMBD:
		return c->n_embd;
	case FF:
		return c->n_ff;
	case HEADS:
		return c->n_head * c->head_dim;
	case KV_HEADS:
		return c->n_head_kv * c->head_dim;
	default:
		return 1;
	}
}

static int is_llama(const struct checkpoint *c)
{
	return !strcmp(c->arch, "llama");
}

/* --- config.json --------------------------------------------------------------------------- */

static int needed(const json_t *config, const char *key, uint64_t most, uint64_t *v, struct err *e)
{
	int r = json_get_u64(config, key, v, e);

	if (r > 0)
		return err_set(e, ERR_TROUBLE, "%s is missing", key);
	if (!r && (*v == 0 || *v > most))
		return err_set(e, ERR_TROUBLE, "%s is %llu, expected 1 to %llu", key,
		               (unsigned long long)*v, (unsigned long long)most);
	return r;
}

static int read_arch(struct checkpoint *c, struct err *e)
{
	/* Both capitalisations exist: 1bitLLM's models and Microsoft's. */
	static const char *const arch[][2] = {{"BitnetForCausalLM", "bitnet"},
	                                      {"BitNetForCausalLM", "bitnet-b1.58"},
	                                      {"LlamaForCausalLM", "llama"}};
	const json_t *list = json_at(c->config, "architectures");
	const char *name = json_string_value(json_array_get(list, 0));
	char q[80];

	if (!name)
		return err_set(e, ERR_TROUBLE, "architectures is missing or no array of strings");
	for (size_t i = 0; i < sizeof arch / sizeof *arch; i++)
		if (!strcmp(name, arch[i][0]))
			c->arch = arch[i][1];
	if (c->arch)
		return 0;
	return err_set(
	    e, ERR_TROUBLE,
	    "architecture %s is not known, expected BitNetForCausalLM, BitnetForCausalLM "
	    "or LlamaForCausalLM",
	    err_quote(q, sizeof q, name, strlen(name)));
}

static int read_act(struct checkpoint *c, struct err *e)
{
	const char *act = NULL;
	char q[40];

	if (json_get_str(c->config, "hidden_act", &act, e) < 0)
		return -1;
	if (!act)
		return err_set(e, ERR_TROUBLE, "hidden_act is missing");
	if (!strcmp(act, "relu2") || !strcmp(act, "relu_squared"))
		c->act = "relu2";
	else if (!strcmp(act, "silu") || !strcmp(act, "swish"))
		c->act = "silu";
	else
		return err_set(e, ERR_TROUBLE, "hidden_act %s is not known, expected relu2 or silu",
		               err_quote(q, sizeof q, act, strlen(act)));
	if (is_llama(c) && strcmp(c->act, "silu"))
		return err_set(e, ERR_TROUBLE, "hidden_act %s in a LlamaForCausalLM", c->act);
	return 0;
}

static int read_heads(struct checkpoint *c, struct err *e)
{
	const json_t *j = c->config;

	if (needed(j, "num_attention_heads", 65536, &c->n_head, e))
		return -1;
	c->n_head_kv = c->n_head;
	if (json_at(j, "num_key_value_heads") &&
	    needed(j, "num_key_value_heads", 65536, &c->n_head_kv, e))
		return -1;
	c->head_dim = c->n_embd / c->n_head;
	if (json_at(j, "head_dim") && needed(j, "head_dim", 65536, &c->head_dim, e))
		return -1;
	if (c->n_head % c->n_head_kv)
		return err_set(e, ERR_TROUBLE,
		               "num_key_value_heads %llu does not divide num_attention_heads %llu",
		               (unsigned long long)c->n_head_kv, (unsigned long long)c->n_head);
	if (!json_at(j, "head_dim") && c->n_embd % c->n_head)
		return err_set(e, ERR_TROUBLE,
		               "num_attention_heads %llu does not divide hidden_size %llu",
		               (unsigned long long)c->n_head, (unsigned long long)c->n_embd);
	if (c->head_dim % 2)
		return err_set(e, ERR_TROUBLE, "a head of %llu values, expected an even number",
		               (unsigned long long)c->head_dim);
	return 0;
}

static int read_reals(struct checkpoint *c, struct err *e)
{
	int r = json_get_f64(c->config, "rms_norm_eps", &c->eps, e);

	if (r)
		return r < 0 ? -1 : err_set(e, ERR_TROUBLE, "rms_norm_eps is missing");
	c->rope_base = 10000;
	r = json_get_f64(c->config, "rope_theta", &c->rope_base, e);
	if (r > 0)
		r = json_get_f64(c->config, "rope_parameters.rope_theta", &c->rope_base, e);
	if (r < 0)
		return -1;
	if (!(c->eps > 0 && c->eps < 1))
		return err_set(e, ERR_TROUBLE, "rms_norm_eps is %g, expected between 0 and 1",
		               c->eps);
	if (!(c->rope_base > 0) || !isfinite(c->rope_base))
		return err_set(e, ERR_TROUBLE, "rope_theta is %g, expected more than 0",
		               c->rope_base);
	return 0;
}

static int read_sizes(struct checkpoint *c, struct err *e)
{
	const json_t *j = c->config;

	c->tied = -1;
	if (needed(j, "vocab_size", MAX_SIZE, &c->n_vocab, e) ||
	    needed(j, "max_position_embeddings", MAX_SIZE, &c->n_ctx, e) ||
	    needed(j, "hidden_size", MAX_SIZE, &c->n_embd, e) ||
	    needed(j, "num_hidden_layers", MAX_LAYERS, &c->n_layer, e) ||
	    needed(j, "intermediate_size", MAX_SIZE, &c->n_ff, e) || read_heads(c, e) ||
	    read_reals(c, e))
		return -1;
	return json_get_bool(j, "tie_word_embeddings", &c->tied, e) < 0 ? -1 : 0;
}

/* Which of the two conventions packed weights follow, and whether they may be packed at all. */
static int read_quantization(struct checkpoint *c, enum checkpoint_scale wanted, struct err *e)
{
	const char *method = "bitnet", *class = "bitlinear", *mode = "offline";
	const json_t *q = json_at(c->config, "quantization_config");
	int norm = 0;
	char text[60];

	if (q && !json_is_object(q))
		return err_set(e, ERR_TROUBLE, "quantization_config is %s, expected an object",
		               json_kind(q));
	if (json_at(q, "modules_to_not_convert") &&
	    !json_is_array(json_at(q, "modules_to_not_convert")))
		return err_set(
		    e, ERR_TROUBLE,
		    "quantization_config: modules_to_not_convert is %s, expected an array",
		    json_kind(json_at(q, "modules_to_not_convert")));
	if (json_get_str(q, "quant_method", &method, e) < 0 ||
	    json_get_str(q, "linear_class", &class, e) < 0 ||
	    json_get_str(q, "quantization_mode", &mode, e) < 0 ||
	    json_get_bool(q, "use_rms_norm", &norm, e) < 0)
		return err_in(e, "quantization_config");
	if (strcmp(method, "bitnet"))
		return err_set(e, ERR_TROUBLE, "quant_method %s is not known, expected bitnet",
		               err_quote(text, sizeof text, method, strlen(method)));
	if (norm)
		return err_set(
		    e, ERR_TROUBLE,
		    "use_rms_norm: norms in front of every matrix have no place in GGUF");
	if (strcmp(class, "bitlinear") && strcmp(class, "autobitlinear"))
		return err_set(e, ERR_TROUBLE,
		               "linear_class %s is not known, expected bitlinear or autobitlinear",
		               err_quote(text, sizeof text, class, strlen(class)));
	if (strcmp(mode, "offline") && strcmp(mode, "online"))
		return err_set(e, ERR_TROUBLE,
		               "quantization_mode %s is not known, expected offline or online",
		               err_quote(text, sizeof text, mode, strlen(mode)));
	c->scale = wanted;
	if (wanted == CHECKPOINT_AUTO && q && !strcmp(class, "bitlinear"))
		c->scale = CHECKPOINT_DIVIDE;
	else if (wanted == CHECKPOINT_AUTO && q && !strcmp(mode, "offline"))
		c->scale = CHECKPOINT_MULTIPLY;
	return 0;
}

static int read_config(struct checkpoint *c, enum checkpoint_scale scale, struct err *e)
{
	size_t n = strlen(c->dir) + sizeof "/config.json";
	char *path = mem_alloc(MEM_IO, n, e);
	int r = -1;

	if (!path)
		return -1;
	snprintf(path, n, "%s/config.json", c->dir);
	if (json_parse_file(path, MAX_CONFIG, &c->config, e)) {
		if (!c->config && access(path, F_OK) && e)
			e->status = ERR_SHORT;
	} else if (!json_is_object(c->config)) {
		err_set(e, ERR_TROUBLE, "is %s, expected an object", json_kind(c->config));
	} else {
		r = read_arch(c, e) || read_act(c, e) || read_sizes(c, e) ||
		            read_quantization(c, scale, e)
		        ? -1
		        : 0;
	}
	mem_free(path);
	return r ? err_in(e, "config.json") : 0;
}

/* --- tensors ------------------------------------------------------------------------------- */

/* Tensors may lack the "model." in front. */
static const struct safetensors_tensor *find(const struct checkpoint *c, const struct known *k,
                                             const char *hf, uint64_t layer, const char *tail,
                                             char *name, size_t cap)
{
	/* The usual name last: it is the one that is told to be missing. */
	for (int i = 0; i < (k->role == CHECKPOINT_HEAD ? 1 : 2); i++) {
		const char *model = i ? "model." : "";
		if (k->per_layer)
			snprintf(name, cap, "%slayers.%llu.%s.%s", model, (unsigned long long)layer,
			         hf, tail);
		else
			snprintf(name, cap, "%s%s.%s", model, hf, tail);
		const struct safetensors_tensor *t = safetensors_find(&c->st, name);
		if (t)
			return t;
	}
	return NULL;
}

static const struct safetensors_tensor *find_any(const struct checkpoint *c, const struct known *k,
                                                 uint64_t layer, const char *tail, char *name,
                                                 size_t cap)
{
	const struct safetensors_tensor *t = NULL;

	if (k->other)
		t = find(c, k, k->other, layer, tail, name, cap);
	return t ? t : find(c, k, k->hf, layer, tail, name, cap);
}

static int wrong_shape(const struct checkpoint_tensor *t, const char *what, uint64_t found,
                       uint64_t expected, struct err *e)
{
	return err_set(e, ERR_TROUBLE, "tensor %s: %llu %s, expected %llu", t->tensor->name,
	               (unsigned long long)found, what, (unsigned long long)expected);
}

static int check_shape(const struct checkpoint_tensor *t, struct err *e)
{
	const struct safetensors_tensor *st = t->tensor;
	unsigned dims = t->role == CHECKPOINT_NORM ? 1 : 2;
	uint64_t rows = t->scale ? (t->rows + 3) / 4 : t->rows;

	if (st->n_dims != dims)
		return wrong_shape(t, "dimensions", st->n_dims, dims, e);
	if (st->shape[dims - 1] != t->cols)
		return wrong_shape(t, "columns", st->shape[dims - 1], t->cols, e);
	if (dims == 2 && st->shape[0] != rows)
		return wrong_shape(t, t->scale ? "packed rows" : "rows", st->shape[0], rows, e);
	return 0;
}

static int is_packed(const struct safetensors_tensor *t)
{
	return !strcmp(t->type->name, "U8");
}

/* A packed matrix and its scale belong together. */
static int find_scale(const struct checkpoint *c, const struct known *k, uint64_t layer,
                      struct checkpoint_tensor *t, struct err *e)
{
	char name[160];

	t->scale = t->role == CHECKPOINT_LINEAR
	               ? find_any(c, k, layer, "weight_scale", name, sizeof name)
	               : NULL;
	if (t->role == CHECKPOINT_LINEAR && is_packed(t->tensor)) {
		if (!t->scale)
			return err_set(e, ERR_SHORT, "tensor %s is packed, but %s is missing",
			               t->tensor->name, name);
		if (c->scale == CHECKPOINT_AUTO)
			return err_set(e, ERR_TROUBLE,
			               "tensor %s is packed, but config.json does not say how "
			               "(quantization_config); --weight-scale tells",
			               t->tensor->name);
		return 0;
	}
	if (t->scale)
		return err_set(e, ERR_TROUBLE, "tensor %s is %s, but has a weight_scale",
		               t->tensor->name, t->tensor->type->name);
	if (t->tensor->type->type != DTYPE_F32 && t->tensor->type->type != DTYPE_F16 &&
	    t->tensor->type->type != DTYPE_BF16)
		return err_set(e, ERR_TROUBLE, "tensor %s is %s, expected F32, F16 or BF16",
		               t->tensor->name, t->tensor->type->name);
	return 0;
}

/* Whether config.json says that this module never became a ternary one; names are matched in part,
 * as transformers does. */
static int is_kept(const struct checkpoint *c, const char *name)
{
	const json_t *list = json_at(c->config, "quantization_config.modules_to_not_convert");
	size_t i;
	json_t *module;

	json_array_foreach((json_t *)(uintptr_t)list, i, module)
	{
		const char *part = json_string_value(module);
		if (part && *part && strstr(name, part))
			return 1;
	}
	return 0;
}

static int add(struct checkpoint *c, const struct known *k, uint64_t layer, uint8_t *used,
               struct err *e)
{
	struct checkpoint_tensor *t = &c->tensors[c->n_tensors];
	char name[160];

	memset(t, 0, sizeof *t);
	t->role = k->role;
	t->rows = size_of(c, k->rows);
	t->cols = size_of(c, k->cols);
	t->heads = !k->interleave || !is_llama(c) ? 0 : k->rows == HEADS ? c->n_head : c->n_head_kv;
	if (k->per_layer)
		snprintf(t->name, sizeof t->name, "blk.%u.%s.weight", (unsigned)layer, k->gguf);
	else
		snprintf(t->name, sizeof t->name, "%s.weight", k->gguf);
	t->tensor = find_any(c, k, layer, "weight", name, sizeof name);
	if (!t->tensor)
		return err_set(e, ERR_SHORT, "tensor %s is missing", name);
	if (t->role == CHECKPOINT_LINEAR && is_kept(c, name))
		t->role = CHECKPOINT_FLOAT;
	if (find_scale(c, k, layer, t, e) || check_shape(t, e))
		return -1;
	used[t->tensor - c->st.tensors] = 1;
	if (t->scale)
		used[t->scale - c->st.tensors] = 1;
	c->n_tensors++;
	return 0;
}

static int add_all(struct checkpoint *c, uint8_t *used, struct err *e)
{
	for (size_t i = 0; i < N_KNOWN; i++) {
		const struct known *k = &known[i];
		char name[160];
		if (k->role == CHECKPOINT_HEAD && c->tied) {
			/* Some files carry the embedding a second time. */
			const struct safetensors_tensor *t =
			    find(c, k, k->hf, 0, "weight", name, sizeof name);
			if (t)
				used[t - c->st.tensors] = 1;
			continue;
		}
		if (!k->per_layer) {
			if (add(c, k, 0, used, e))
				return -1;
			continue;
		}
		/* A layer's tensors stay together. */
		if (known[i - 1].per_layer)
			continue;
		for (uint64_t layer = 0; layer < c->n_layer; layer++)
			for (size_t j = i; known[j].per_layer; j++)
				if ((!known[j].sub_norm || !is_llama(c)) &&
				    add(c, &known[j], layer, used, e))
					return -1;
	}
	return 0;
}

static int is_ignored(const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
		size_t m = strlen(ignored[i]);
		if (n > m && !strcmp(name + n - m, ignored[i]))
			return 1;
	}
	return 0;
}

static int check_unknown(struct checkpoint *c, const uint8_t *used, int skip, struct err *e)
{
	char q[120];

	for (uint32_t i = 0; i < c->st.n_tensors; i++) {
		const char *name = c->st.tensors[i].name;
		if (used[i] || is_ignored(name))
			continue;
		if (!skip)
			return err_set(e, ERR_TROUBLE,
			               "tensor %s is not known (--skip-unknown leaves it out)",
			               err_quote(q, sizeof q, name, strlen(name)));
		c->n_skipped++;
	}
	return 0;
}

static int find_tensors(struct checkpoint *c, int skip_unknown, struct err *e)
{
	uint8_t *used = mem_calloc(MEM_IO, c->st.n_tensors + 1, 1, e);
	int r;

	if (c->tied < 0) /* not told: whoever brings a head wants it used */
		c->tied = safetensors_find(&c->st, "lm_head.weight") == NULL;
	c->tensors = mem_calloc(MEM_IO, c->n_layer * N_KNOWN + N_KNOWN, sizeof *c->tensors, e);
	r = !used || !c->tensors || add_all(c, used, e) || check_unknown(c, used, skip_unknown, e)
	        ? -1
	        : 0;
	mem_free(used);
	return r;
}

/* --- opening ------------------------------------------------------------------------------- */

static int open_all(struct checkpoint *c, const char *path, enum checkpoint_scale scale,
                    int skip_unknown, struct err *e)
{
	struct stat st;
	const char *slash = strrchr(path, '/');

	if (stat(path, &st)) {
		err_sys(e, "cannot open");
		if (errno == ENOENT && e)
			e->status = ERR_TROUBLE;
		return -1;
	}
	if (S_ISDIR(st.st_mode)) {
		c->dir = mem_strndup(MEM_IO, path, strlen(path), e);
		if (!c->dir || read_config(c, scale, e) || safetensors_open_dir(&c->st, path, e))
			return -1;
	} else {
		c->dir = slash ? mem_strndup(MEM_IO, path, (size_t)(slash - path) + 1, e)
		               : mem_strndup(MEM_IO, ".", 1, e);
		if (!c->dir || safetensors_open(&c->st, path, e) || read_config(c, scale, e))
			return -1;
	}
	return find_tensors(c, skip_unknown, e);
}

int checkpoint_open(struct checkpoint *c, const char *path, enum checkpoint_scale scale,
                    int skip_unknown, struct err *e)
{
	memset(c, 0, sizeof *c);
	if (open_all(c, path, scale, skip_unknown, e)) {
		checkpoint_close(c);
		return -1;
	}
	return 0;
}

void checkpoint_close(struct checkpoint *c)
{
	safetensors_close(&c->st);
	json_decref(c->config);
	mem_free(c->dir);
	mem_free(c->tensors);
	memset(c, 0, sizeof *c);
}

/* --- scales -------------------------------------------------------------------------------- */

int checkpoint_factor(const struct checkpoint *c, const struct checkpoint_tensor *t, float *factor,
                      struct err *e)
{
	const struct safetensors_tensor *s = t->scale;
	uint8_t raw[4] = {0};
	float v;

	if (s->elements != 1 || (s->type->type != DTYPE_BF16 && s->type->type != DTYPE_F16 &&
	                         s->type->type != DTYPE_F32))
		return err_set(e, ERR_TROUBLE,
		               "tensor %s: %llu x %s, expected one value of F32, F16 or BF16",
		               s->name, (unsigned long long)s->elements, s->type->name);
	if (io_pread(c->st.files[s->file].fd, raw, s->bytes, s->offset, e))
		return err_in(e, "tensor %s", s->name);
	if (s->type->type == DTYPE_F32)
		v = half_bits_f32((uint32_t)raw[0] | (uint32_t)raw[1] << 8 |
		                  (uint32_t)raw[2] << 16 | (uint32_t)raw[3] << 24);
	else
		v = s->type->type == DTYPE_F16 ? half_to_f32(half_get(raw))
		                               : half_bf16_to_f32(half_get(raw));
	*factor = c->scale == CHECKPOINT_DIVIDE ? 1 / v : v;
	if (!isfinite(v) || v <= 0 || !isfinite(*factor))
		return err_set(e, ERR_TROUBLE, "tensor %s is %g, expected more than 0", s->name,
		               (double)v);
	return 0;
}

/* rope_scaling, in newer configurations rope_parameters. */
static const json_t *rope_of(const struct checkpoint *c, const char **type, struct err *e)
{
	const json_t *r = json_at(c->config, "rope_scaling");

	*type = "default";
	if (!r)
		r = json_at(c->config, "rope_parameters");
	if (json_get_str(r, "type", type, e) < 0 || json_get_str(r, "rope_type", type, e) < 0)
		*type = NULL;
	return r;
}

/* The rule of Llama 3.1: long waves are stretched, short ones kept, those between mixed. */
static float stretch(const struct checkpoint *c, uint64_t j, double factor, double low, double high,
                     double old)
{
	double freq = pow(c->rope_base, -2.0 * (double)j / (double)c->head_dim);
	double wave = 2 * M_PI / freq;

	if (wave < old / high)
		return 1;
	if (wave > old / low)
		return (float)factor;
	double smooth = (old / wave - low) / (high - low);
	return (float)(1 / ((1 - smooth) / factor + smooth));
}

int checkpoint_rope_freqs(const struct checkpoint *c, float **freqs, struct err *e)
{
	double factor = 8, low = 1, high = 4, old = 8192;
	const char *type;
	char q[40];
	const json_t *r = rope_of(c, &type, e);

	*freqs = NULL;
	if (!type)
		return err_in(e, "config.json: rope_scaling");
	if (!strcmp(type, "default"))
		return 0;
	if (strcmp(type, "llama3"))
		return err_set(e, ERR_TROUBLE,
		               "config.json: rope_scaling of type %s is not supported, only llama3",
		               err_quote(q, sizeof q, type, strlen(type)));
	if (json_get_f64(r, "factor", &factor, e) < 0 ||
	    json_get_f64(r, "low_freq_factor", &low, e) < 0 ||
	    json_get_f64(r, "high_freq_factor", &high, e) < 0 ||
	    json_get_f64(r, "original_max_position_embeddings", &old, e) < 0)
		return err_in(e, "config.json: rope_scaling");
	if (!(factor > 0) || !(low > 0) || !(high > low) || !(old > 0) || !isfinite(factor) ||
	    !isfinite(high) || !isfinite(old))
		return err_set(e, ERR_TROUBLE, "config.json: rope_scaling: factors out of order");
	*freqs = mem_calloc(MEM_IO, c->head_dim / 2, sizeof **freqs, e);
	for (uint64_t j = 0; *freqs && j < c->head_dim / 2; j++)
		(*freqs)[j] = stretch(c, j, factor, low, high, old);
	return *freqs ? 0 : -1;
}

/* --- the way back -------------------------------------------------------------------------- */

int checkpoint_name(const char *gguf_name, const char *arch, char *out, size_t cap)
{
	unsigned layer;
	int at = 0;

	if (sscanf(gguf_name, "blk.%u.%n", &layer, &at) != 1)
		at = 0;
	for (size_t i = 0; i < N_KNOWN; i++) {
		const struct known *k = &known[i];
		size_t n = strlen(k->gguf);
		const char *hf = k->other && !strcmp(arch, "bitnet") ? k->other : k->hf;
		if (k->per_layer != (at > 0) || strncmp(gguf_name + at, k->gguf, n) ||
		    strcmp(gguf_name + at + n, ".weight"))
			continue;
		if (k->per_layer)
			snprintf(out, cap, "model.layers.%u.%s", layer, hf);
		else
			snprintf(out, cap, "%s%s", k->role == CHECKPOINT_HEAD ? "" : "model.", hf);
		return 0;
	}
	return 1;
}
