/*
 * Conversions of whole checkpoints compared with the tables beside them: tensors (shape, type,
 * scale, codes of packed bytes), keys, tokens.  And the tricks of config.json.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint.h"
#include "convert.h"
#include "gguf.h"
#include "hash.h"
#include "mem.h"
#include "unit.h"

#define DATA "tests/data/checkpoints/"

static char out[] = "/tmp/unit_convert.XXXXXX/m.gguf";

static int convert(const char *input, struct err *e)
{
	const struct convert_options o = {.input = input, .output = out, .force = 1, .threads = 1};
	struct convert *c;
	struct progress p = {0};

	if (convert_open(&c, &o, e))
		return -1;
	int r = convert_run(c, &p, NULL, e);
	if (!r)
		r = convert_verify(c, &p, NULL, e);
	convert_close(c);
	return r;
}

/* Reads the next line of a table into its fields; 0 at the end. */
static int fields(FILE *f, char *line, size_t cap, char *field[], int n)
{
	static char none[1];

	if (!fgets(line, (int)cap, f))
		return 0;
	line[strcspn(line, "\n")] = 0;
	for (int i = 0; i < n; i++) {
		field[i] = line ? line : none;
		if (!line)
			continue;
		char *tab = strchr(line, '\t');
		if (tab)
			*tab = 0;
		line = tab ? tab + 1 : NULL;
	}
	return 1;
}

static FILE *table(const char *dir, const char *kind, char *line, size_t cap)
{
	char path[200];

	snprintf(path, sizeof path, DATA "%s.%s.tsv", dir, kind);
	FILE *f = fopen(path, "r");
	CHECK(f && fgets(line, (int)cap, f)); /* the head */
	return f;
}

static void compare_tensors(const struct gguf *g, const char *dir)
{
	char line[1024], *v[7];
	FILE *f = table(dir, "tensors", line, sizeof line);
	uint64_t seen = 0;

	while (f && fields(f, line, sizeof line, v, 6)) {
		const struct gguf_tensor *t = gguf_tensor(g, v[0]);
		seen++;
		if (!t)
			printf("# %s: %s is missing\n", dir, v[0]);
		CHECK(t != NULL);
		if (!t)
			continue;
		CHECK_INT(t->cols, atoll(v[1]));
		CHECK_INT(t->rows, atoll(v[2]));
		CHECK_STR(dtype_get(t->type)->name, v[3]);
		if (!*v[5])
			continue;
		float scale, want = strtof(v[5], NULL);
		memcpy(&scale, t->data + t->bytes - 32, 4);
		CHECK(fabsf(scale - want) <= 2 * (nextafterf(want, 2) - want) + 1e-10F * want);
	}
	CHECK_INT(seen, g->n_tensors);
	fclose(f);
}

static void compare_value(const struct gguf *g, const struct gguf_kv *kv, const char *type,
                          const char *value)
{
	if (!strncmp(type, "array", 5)) {
		CHECK_INT(kv->type, GGUF_ARRAY);
		CHECK_INT(kv->count, atoll(value));
	} else if (!strcmp(type, "string")) {
		json_t *want = json_loads(value, JSON_DECODE_ANY, NULL);
		CHECK(want && kv->type == GGUF_STRING &&
		      kv->bytes - 8 == json_string_length(want) &&
		      !memcmp(kv->data + 8, json_string_value(want), kv->bytes - 8));
		json_decref(want);
	} else if (!strcmp(type, "bool")) {
		CHECK_INT(kv->type, GGUF_BOOL);
		CHECK_INT(kv->data[0], !strcmp(value, "true"));
	} else {
		CHECK_STR(gguf_type_name(kv->type), type);
		double want = strtod(value, NULL), got = gguf_array_f64(g, kv, 0);
		CHECK(fabs(got - want) <= 1e-7 * fabs(want));
	}
}

static void compare_keys(const struct gguf *g, const char *dir)
{
	char line[4096], *v[3];
	FILE *f = table(dir, "meta", line, sizeof line);
	int seen = 0;

	while (f && fields(f, line, sizeof line, v, 3)) {
		const struct gguf_kv *kv = gguf_find(g, v[0]);
		int bad = unit_bad;
		CHECK(kv != NULL);
		if (kv)
			compare_value(g, kv, v[1], v[2]);
		if (bad != unit_bad)
			printf("# %s: key %s\n", dir, v[0]);
		seen++;
	}
	CHECK(seen > 15);
	fclose(f);
}

static void compare_tokens(const struct gguf *g, const char *dir)
{
	char line[1024], *v[3];
	FILE *f = table(dir, "tokens", line, sizeof line);
	const struct gguf_kv *tokens = gguf_find(g, "tokenizer.ggml.tokens");
	const struct gguf_kv *types = gguf_find(g, "tokenizer.ggml.token_type");
	struct gguf_walk w = {0};
	struct gguf_str s;

	CHECK(tokens && types);
	while (f && fields(f, line, sizeof line, v, 3)) {
		uint64_t type = 0;
		json_t *want = json_loads(v[2], JSON_DECODE_ANY, NULL);
		CHECK(gguf_next_str(g, tokens, &w, &s));
		CHECK(s.n == json_string_length(want) &&
		      !memcmp(s.p, json_string_value(want), s.n));
		CHECK_INT(w.i - 1, atoll(v[0]));
		CHECK_INT(gguf_array_u64(g, types, w.i - 1, &type, NULL), 0);
		CHECK_INT(type, atoll(v[1]));
		json_decref(want);
	}
	CHECK_INT(w.i, tokens->count);
	fclose(f);
}

static void compare(const char *dir)
{
	char path[200];
	struct gguf g;
	struct err e = {0};

	snprintf(path, sizeof path, DATA "%s", dir);
	CHECK_INT(convert(path, &e), 0);
	CHECK_STR(e.text, "");
	if (e.status)
		return;
	CHECK_INT(gguf_open(&g, out, 0, &e), 0);
	compare_tensors(&g, dir);
	compare_keys(&g, dir);
	compare_tokens(&g, dir);
	gguf_close(&g);
}

static void packed_multiplies(void)
{
	compare("a-packed");
}

static void masters(void)
{
	compare("b-master");
}

static void packed_divides_and_interleaves(void)
{
	compare("c-packed-llama");
}

static void shards_of_another_spelling(void)
{
	compare("d-float-shards");
}

/* The codes of a packed matrix, one by one: row m of the values is in byte row m mod R, bits 2 * (m
 * div R), plus 1; in GGUF 128 values share 32 bytes, the first quarter in the top bits. */
static void codes_one_by_one(void)
{
	struct checkpoint c;
	struct gguf g;
	struct err e = {0};
	uint64_t wrong = 0;
	static uint8_t packed[256 * 128];

	CHECK_INT(convert(DATA "c-packed-llama", &e), 0);
	CHECK_INT(gguf_open(&g, out, 0, &e), 0);
	CHECK_INT(checkpoint_open(&c, DATA "c-packed-llama", CHECKPOINT_AUTO, 0, &e), 0);
	for (uint64_t i = 0; i < c.n_tensors; i++) {
		const struct checkpoint_tensor *t = &c.tensors[i];
		const struct gguf_tensor *to = gguf_tensor(&g, t->name);
		if (!t->scale)
			continue;
		CHECK(t->tensor->bytes <= sizeof packed);
		CHECK(pread(c.st.files[t->tensor->file].fd, packed, t->tensor->bytes,
		            (off_t)t->tensor->offset) == (ssize_t)t->tensor->bytes);
		uint64_t byte_rows = (t->rows + 3) / 4,
			 half = t->heads ? t->rows / t->heads / 2 : 0;
		for (uint64_t r = 0; r < t->rows; r++) {
			/* GGUF row 2j + k of a head is row k * half + j. */
			uint64_t in = r % (2 * (half ? half : t->rows)),
				 m = half ? r - in + in % 2 * half + in / 2 : r;
			for (uint64_t k = 0; k < t->cols; k++) {
				unsigned a =
				    packed[m % byte_rows * t->cols + k] >> 2 * (m / byte_rows) & 3;
				uint64_t n = r * t->cols + k;
				unsigned b =
				    to->data[n / 128 * 32 + n % 32] >> (6 - 2 * (n % 128 / 32)) & 3;
				wrong += a != b;
			}
		}
	}
	CHECK_INT(wrong, 0);
	checkpoint_close(&c);
	gguf_close(&g);
}

/* Status and message for a config.json that was changed: the key at path is set to value (JSON), or
 * removed. */
static int changed(const char *path, const char *value, char *text)
{
	char dir[] = "/tmp/unit_convert_dir.XXXXXX", name[100], command[400];
	json_t *root = json_load_file(DATA "a-packed/config.json", 0, NULL), *at = root;
	struct checkpoint c;
	struct err e = {0};
	const char *dot = strchr(path, '.');

	CHECK(mkdtemp(dir) && root);
	snprintf(command, sizeof command, "cp " DATA "a-packed/* %s", dir);
	CHECK(system(command) == 0);
	if (dot) {
		snprintf(name, sizeof name, "%.*s", (int)(dot - path), path);
		at = json_object_get(root, name);
		path = dot + 1;
	}
	if (value)
		json_object_set_new(at, path, json_loads(value, JSON_DECODE_ANY, NULL));
	else
		json_object_del(at, path);
	snprintf(name, sizeof name, "%s/config.json", dir);
	json_dump_file(root, name, 0);
	json_decref(root);
	if (!checkpoint_open(&c, dir, CHECKPOINT_AUTO, 0, &e))
		checkpoint_close(&c);
	snprintf(command, sizeof command, "rm -r %s", dir);
	CHECK(system(command) == 0);
	strcpy(text, e.text);
	return e.status;
}

static void configurations(void)
{
	char text[ERR_TEXT];

	CHECK_INT(changed("use_cache", "false", text), 0);
	CHECK_INT(changed("architectures", "[\"GPT2LMHeadModel\"]", text), 2);
	CHECK(strstr(text, "GPT2LMHeadModel") != NULL);
	CHECK_INT(changed("hidden_act", "\"gelu\"", text), 2);
	CHECK_INT(changed("hidden_size", "129", text), 2);
	CHECK_INT(changed("hidden_size", "-1", text), 2);
	CHECK_INT(changed("hidden_size", "\"128\"", text), 2);
	CHECK_STR(text, "config.json: hidden_size is a string, expected an integer");
	CHECK_INT(changed("hidden_size", NULL, text), 2);
	CHECK_INT(changed("num_hidden_layers", "3", text), 3);
	CHECK_STR(text, "tensor model.layers.2.input_layernorm.weight is missing");
	CHECK_INT(changed("num_hidden_layers", "1", text), 2);
	CHECK(strstr(text, "is not known") != NULL);
	CHECK_INT(changed("num_key_value_heads", "2", text), 2);
	CHECK(strstr(text, "packed rows, expected 32") != NULL);
	CHECK_INT(changed("rms_norm_eps", "0", text), 2);
	CHECK_INT(changed("tie_word_embeddings", "false", text), 3);
	CHECK_INT(changed("quantization_config", NULL, text), 2);
	CHECK(strstr(text, "--weight-scale") != NULL);
	CHECK_INT(changed("quantization_config.quant_method", "\"gptq\"", text), 2);
	CHECK_INT(changed("quantization_config.linear_class", "\"other\"", text), 2);
	CHECK_INT(changed("quantization_config.use_rms_norm", "true", text), 2);
	CHECK_INT(changed("quantization_config.quantization_mode", "\"online\"", text), 2);
}

/* Llama 3's stretched rotary angles: kept, mixed, divided by the factor. */
static void rope_scaling(void)
{
	struct checkpoint c = {.rope_base = 500000, .head_dim = 128};
	struct err e = {0};
	float *freqs = NULL;

	c.config = json_pack("{s:{s:s, s:f, s:f, s:f, s:i}}", "rope_scaling", "rope_type", "llama3",
	                     "factor", 8.0, "low_freq_factor", 1.0, "high_freq_factor", 4.0,
	                     "original_max_position_embeddings", 8192);
	CHECK_INT(checkpoint_rope_freqs(&c, &freqs, &e), 0);
	CHECK(freqs && freqs[0] == 1 && freqs[63] == 8);
	for (int i = 1; freqs && i < 64; i++)
		CHECK(freqs[i] >= freqs[i - 1]);
	mem_free(freqs);
	checkpoint_close(&c);
	c.config = json_pack("{s:{s:s}}", "rope_scaling", "rope_type", "yarn");
	CHECK_INT(checkpoint_rope_freqs(&c, &freqs, &e), -1);
	checkpoint_close(&c);
}

/* Writes a manifest of one line beside out, and checks it. */
static int check_sum(uint64_t sum)
{
	char path[sizeof out + 8], text[HASH_TEXT], *slash;
	struct err e = {0};
	FILE *sums, *null = fopen("/dev/null", "w");
	int r = -1;

	snprintf(path, sizeof path, "%s", out);
	slash = strrchr(path, '/');
	snprintf(slash, sizeof path - (size_t)(slash - path), "/sums");
	sums = fopen(path, "w");
	CHECK(sums && null);
	if (sums && null) {
		fprintf(sums, "xxh64     %s  m.gguf\n", hash_text(text, sum));
		fclose(sums);
		r = convert_check(path, null, &e);
		CHECK_STR(e.text, "");
	}
	if (null)
		fclose(null);
	unlink(path);
	return r;
}

/* The sum of a file is that of its bytes, or as gguf-hash has it that of its tensors alone. */
static void sums_of_files(void)
{
	struct err e = {0};
	struct hash all, payloads;
	struct gguf g;

	CHECK_INT(convert(DATA "a-packed", &e), 0);
	CHECK_INT(gguf_open(&g, out, 0, &e), 0);
	hash_begin(&all);
	hash_add(&all, g.parts[0].map.data, g.parts[0].map.size);
	hash_begin(&payloads);
	for (uint64_t i = 0; i < g.n_tensors; i++)
		hash_add(&payloads, g.tensors[i].data, g.tensors[i].bytes);
	gguf_close(&g);
	CHECK_INT(check_sum(hash_value(&all)), 0);
	CHECK_INT(check_sum(hash_value(&payloads)), 0);
	CHECK_INT(check_sum(hash_value(&all) + 1), 1);
}

int main(void)
{
	char *slash = strrchr(out, '/');

	*slash = 0;
	if (!mkdtemp(out))
		return 1;
	*slash = '/';
	RUN(packed_multiplies);
	RUN(masters);
	RUN(packed_divides_and_interleaves);
	RUN(shards_of_another_spelling);
	RUN(codes_one_by_one);
	RUN(configurations);
	RUN(rope_scaling);
	RUN(sums_of_files);
	unlink(out);
	*slash = 0;
	rmdir(out);
	return unit_end();
}
