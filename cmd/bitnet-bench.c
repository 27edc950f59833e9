/*
 * bitnet-bench: how fast a model runs here, and how far that is from what the machine allows.
 */
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "bench_model.h"
#include "io.h"
#include "model_path.h"
#include "opt.h"
#include "plan_opt.h"
#include "threads.h"

struct types {
	enum dtype v[BENCH_LIST];
	size_t n;
};

static struct {
	struct bench_options run;
	const char *model, *shape, *vs, *ours;
	struct types types, heads; /* of a shape */
	enum dtype kv[2];
	int64_t decode, repeat;
	int json, csv, markdown;
} o = {.types = {{DTYPE_I2_S}, 1},
       .heads = {{DTYPE_F16}, 1},
       .kv = {DTYPE_F16, DTYPE_F16},
       .decode = 32,
       .repeat = 5,
       .run = {.prompts = {{128, 512}, 2},
               .ubatches = {{512}, 1},
               .depths = {{0}, 1},
               .batches = {{1}, 1},
               .heads = BENCH_FULL,
               .loads = BENCH_MMAP}};

static int set_from_one(void *to, const char *value, struct err *e)
{
	return bench_list_parse(to, value, 1, e);
}

static int set_from_zero(void *to, const char *value, struct err *e)
{
	return bench_list_parse(to, value, 0, e);
}

static int set_device(void *to, const char *value, struct err *e)
{
	size_t digits = strncmp(value, "cuda:", 5) ? 0 : strspn(value + 5, "0123456789");

	if (!strcmp(value, "cpu"))
		value = NULL;
	else if (!strcmp(value, "cuda"))
		value = "cuda:0";
	else if (!digits || digits > 3 || value[5 + digits])
		return err_set(e, ERR_TROUBLE, "'%s' is none of cpu, cuda, cuda:N", value);
	*(const char **)to = value;
	return 0;
}

/* The next word of a list that is separated by commas; NULL behind the last. */
static const char *next_word(const char *list, char *word, size_t size)
{
	size_t n = strcspn(list, ",");

	snprintf(word, size, "%.*s", (int)n, list);
	return list[n] ? list + n + 1 : NULL;
}

static int set_types(void *to, const char *value, struct err *e)
{
	struct types *t = to;
	char word[32];

	for (t->n = 0; value; t->n++) {
		value = next_word(value, word, sizeof word);
		if (t->n == BENCH_LIST)
			return err_set(e, ERR_TROUBLE, "more than %d types", BENCH_LIST);
		t->v[t->n] = dtype_find(word);
		if (!t->v[t->n])
			return err_set(e, ERR_TROUBLE, "'%s' is not a tensor type", word);
	}
	return 0;
}

/* A list of two words: bit 1 for the one, bit 2 for the other. */
static int set_either(int *to, const char *value, const char *one, const char *other, struct err *e)
{
	char word[32];

	for (*to = 0; value;) {
		value = next_word(value, word, sizeof word);
		int bit = !strcmp(word, one) ? 1 : !strcmp(word, other) ? 2 : 0;
		if (!bit)
			return err_set(e, ERR_TROUBLE, "'%s' is neither %s nor %s", word, one,
			               other);
		*to |= bit;
	}
	return 0;
}

static int set_head(void *to, const char *value, struct err *e)
{
	_Static_assert(BENCH_FULL == 1 && BENCH_SCREENED == 2, "bits");
	return set_either(to, value, "full", "screened", e);
}

static int set_load(void *to, const char *value, struct err *e)
{
	_Static_assert(BENCH_MMAP == 1 && BENCH_DENSE == 2, "bits");
	return set_either(to, value, "mmap", "dense", e);
}

static const struct opt options[] = {
    {OPT_HEAD, .help = "What is measured"},
    {OPT_STRING, 'm', "model", &o.model, "FILE",
     "GGUF file, of which the header is enough: missing weights are made at random; without it and "
     "--shape, the small model that comes with the toolkit"},
    {OPT_STRING, 0, "shape", &o.shape, "SHAPE",
     "random weights made in memory: width,layers,ffn,heads,kv-heads,vocabulary, or the name "
     "2b-4t, "
     "3b, large or tiny"},
    {OPT_CALL, 0, "type", &o.types, "LIST", "types of the matrices of --shape (default I2_S)",
     .call = set_types},
    {OPT_CALL, 0, "head-type", &o.heads, "LIST",
     "types of its embedding table and head (default F16)", .call = set_types},
    {OPT_CALL, 't', "threads", &o.run.threads, "LIST",
     "numbers of threads (default: 1 and the cores that this process may use)",
     .call = set_from_one},
    {OPT_CALL, 'p', "prompt", &o.run.prompts, "LIST",
     "tokens of prefills (default 128,512; 0 is none)", .call = set_from_zero},
    {OPT_CALL, 'u', "ubatch-size", &o.run.ubatches, "LIST",
     "prompt tokens computed at once (default 512)", .call = set_from_one},
    {OPT_INT, 'n', "predict", &o.decode, "N", "tokens of a decoding (default 32; 0 is none)",
     .min = 0, .max = 1 << 20},
    {OPT_CALL, 'd', "depth", &o.run.depths, "LIST",
     "tokens in the cache where decoding begins (default 0)", .call = set_from_zero},
    {OPT_CALL, 'B', "batch-size", &o.run.batches, "LIST",
     "sequences that are decoded at once (default 1)", .call = set_from_one},
    {OPT_CALL, 'k', "kv-type", o.kv, "K[,V]", "type of the KV cache (default f16)",
     .call = plan_opt_kv_type},
    {OPT_INT, 'r', "repeat", &o.repeat, "N", "runs of each figure (default 5)", .min = 1,
     .max = 101},
    {OPT_CALL, 0, "head", &o.run.heads, "LIST",
     "decode with the output head full (the default) or screened (see bitnet-run(1)), or both",
     .call = set_head},
    {OPT_CALL, 0, "load", &o.run.loads, "LIST",
     "weights where they lie (mmap, the default) or dense (see bitnet-run(1)), or both",
     .call = set_load},
    {OPT_CALL, 0, "device", &o.run.device, "WHERE",
     "measure cpu (the default), cuda or cuda:N: a GPU, by its copy rate, int8 rate and a product "
     "first",
     .call = set_device},
    {OPT_STRING, 0, "kernel", &o.run.kernel, "NAME", "use this kernel set"},
    {OPT_FLAG, 0, "pin", &o.run.pin, NULL, "bind each thread to a core"},

    {OPT_HEAD, .help = "Another program"},
    {OPT_STRING, 0, "vs", &o.vs, "COMMAND",
     "run --ours and COMMAND in turns and print their times and ratios"},
    {OPT_STRING, 0, "ours", &o.ours, "COMMAND", "what --vs is compared with"},

    {OPT_HEAD, .help = "Output"},
    {OPT_FLAG, 0, "markdown", &o.markdown, NULL, "a Markdown table"},
    {OPT_FLAG, 0, "csv", &o.csv, NULL, "comma-separated values"},
    {OPT_FLAG, 'J', "json", &o.json, NULL, "one JSON object per figure, a line each"},
    {OPT_END},
};

static const struct opt_program program = {
    .name = "bitnet-bench",
    .synopsis = "[-m FILE | --shape SHAPE] [options]\n"
		"--vs COMMAND --ours COMMAND [-r N]",
    .about = "Measures a model's speed and its share of what this machine gives at best.",
    .examples = "  bitnet-bench --shape 2b-4t -t 1,2\n"
		"  bitnet-bench -m model.gguf -d 0,4096 --markdown\n"
		"  bitnet-bench --ours 'bitnet-run -p Hi -n 64 -q' --vs 'other -p Hi -n 64'\n",
    .options = options,
};

static int print_row(void *arg, const struct bench_row *r, struct err *e)
{
	return bench_print_row(arg, r, e);
}

static int print_pair(void *arg, const struct bench_pair *p, struct err *e)
{
	return bench_print_pair(arg, p, e);
}

/* Lists that were left open; a prompt of 0 tokens is none. */
static void settle(void)
{
	struct bench_list *t = &o.run.threads, *p = &o.run.prompts;
	uint32_t cores = (uint32_t)threads_available();

	if (!t->n) {
		t->v[t->n++] = 1;
		if (cores > 1)
			t->v[t->n++] = cores;
	}
	if (p->n == 1 && p->v[0] == 0)
		p->n = 0;
	o.run.decode = (uint32_t)o.decode;
	o.run.repeat = (unsigned)o.repeat;
	o.run.k_type = o.kv[0];
	o.run.v_type = o.kv[1];
}

/* A model of each pair of types. */
static int measure_shapes(struct bench_print *p, struct err *e)
{
	struct bench_shape shape;
	struct bench_model m;

	if (bench_shape_parse(&shape, o.shape, e))
		return -1;
	for (size_t i = 0; i < o.types.n; i++)
		for (size_t k = 0; k < o.heads.n; k++) {
			shape.type = o.types.v[i];
			shape.head = o.heads.v[k];
			if (bench_model_make(&m, &shape, e))
				return -1;
			int failed = bench_run(&o.run, &m.gguf, print_row, p, e);
			bench_model_close(&m);
			if (failed)
				return -1;
		}
	return 0;
}

/* Whether the file ends behind its header: it describes a model. */
static int is_description(const struct gguf *g)
{
	uint64_t bytes = 0;

	for (uint64_t i = 0; i < g->n_tensors; i++)
		bytes += g->tensors[i].bytes;
	return bytes && g->data_missing >= bytes;
}

/* A file, or one like it when it holds no weights. */
static int measure_file(const char *path, struct bench_print *p, struct err *e)
{
	struct bench_model m = {0};
	struct gguf g;

	if (gguf_open(&g, path, GGUF_HEADER_ONLY, e))
		return -1;
	int described = is_description(&g);
	if (!described) {
		/* what is cut in its middle is an error */
		gguf_close(&g);
		if (gguf_open(&g, path, 0, e))
			return -1;
	}
	int failed = described && bench_model_fill(&m, &g, e);
	if (!failed)
		failed = bench_run(&o.run, described ? &m.gguf : &g, print_row, p, e);
	bench_model_close(&m);
	gguf_close(&g);
	return failed ? -1 : 0;
}

static int measure(struct bench_print *p, struct err *e)
{
	char path[4096];

	settle();
	if (o.shape)
		return measure_shapes(p, e);
	if (o.model)
		return measure_file(o.model, p, e) ? err_in(e, "%s", o.model) : 0;
	return model_path(path, sizeof path, e) || measure_file(path, p, e) ? -1 : 0;
}

static int compare(struct bench_print *p, struct err *e)
{
	struct bench_row sum;

	if (bench_versus(o.ours, o.vs, (unsigned)o.repeat, &sum, print_pair, p, e))
		return -1;
	return bench_print_sum(p, &sum, e);
}

static int check(int operands, struct err *e)
{
	if (operands)
		return err_set(e, ERR_TROUBLE, "operands are not taken (see --help)");
	if (o.model && o.shape)
		return err_set(e, ERR_TROUBLE, "--model and --shape exclude each other");
	if (!o.vs != !o.ours)
		return err_set(e, ERR_TROUBLE, "--vs and --ours need each other");
	if (o.json + o.csv + o.markdown > 1)
		return err_set(e, ERR_TROUBLE, "give one of --json, --csv and --markdown");
	return 0;
}

int main(int argc, char **argv)
{
	struct err e = {0};
	struct bench_print print = {.out = stdout};
	setlocale(LC_CTYPE, "");
	int first, status = opt_parse(&program, argc, argv, &first, &e);

	if (status == OPT_HELP)
		status = opt_help(&program, stdout);
	else if (status == OPT_VERSION)
		status = opt_version(&program, stdout);
	else if (status == OPT_RUN && check(argc - first, &e))
		status = -1;
	else if (status == OPT_RUN) {
		print.style = o.json       ? BENCH_JSON
		              : o.markdown ? BENCH_MARKDOWN
		              : o.csv      ? BENCH_CSV
		                           : BENCH_TABLE;
		status = o.vs ? compare(&print, &e) : measure(&print, &e);
	}
	if (io_close_stdout(status < 0 ? NULL : &e))
		status = -1;
	if (status < 0)
		fprintf(stderr, "bitnet-bench: %s\n", e.text);
	return status < 0 ? e.status : 0;
}
