/*
 * bitnet-bench: how fast a model runs here, and how far that is from what the machine allows.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "bench_model.h"
#include "io.h"
#include "model_path.h"
#include "opt.h"
#include "plan_opt.h"
#include "threads.h"

static struct {
	struct bench_options run;
	const char *model, *shape, *vs, *ours;
	enum dtype type, head, kv[2];
	int64_t decode, repeat;
	int json, csv, markdown;
} o = {.type = DTYPE_I2_S,
       .head = DTYPE_F16,
       .kv = {DTYPE_F16, DTYPE_F16},
       .decode = 32,
       .repeat = 5,
       .run = {.prompts = {{128, 512}, 2}, .ubatches = {{512}, 1}, .depths = {{0}, 1}}};

static int set_from_one(void *to, const char *value, struct err *e)
{
	return bench_list_parse(to, value, 1, e);
}

static int set_from_zero(void *to, const char *value, struct err *e)
{
	return bench_list_parse(to, value, 0, e);
}

static int set_type(void *to, const char *value, struct err *e)
{
	*(enum dtype *)to = dtype_find(value);
	return *(enum dtype *)to ? 0 : err_set(e, ERR_TROUBLE, "'%s' is not a tensor type", value);
}

static const struct opt options[] = {
    {OPT_HEAD, .help = "What is measured"},
    {OPT_STRING, 'm', "model", &o.model, "FILE",
     "GGUF file; without it and --shape, the small model that comes with the toolkit"},
    {OPT_STRING, 0, "shape", &o.shape, "SHAPE",
     "random weights made in memory: width,layers,ffn,heads,kv-heads,vocabulary, or the name "
     "2b-4t, "
     "3b, large or tiny"},
    {OPT_CALL, 0, "type", &o.type, "TYPE", "of the matrices of --shape (default I2_S)",
     .call = set_type},
    {OPT_CALL, 0, "head-type", &o.head, "TYPE", "of its embedding table and head (default F16)",
     .call = set_type},
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
    {OPT_CALL, 'k', "kv-type", o.kv, "K[,V]", "type of the KV cache (default f16)",
     .call = plan_opt_kv_type},
    {OPT_INT, 'r', "repeat", &o.repeat, "N", "runs of each figure (default 5)", .min = 1,
     .max = 101},
    {OPT_FLAG, 0, "screened", &o.run.screen, NULL,
     "decode greedily with the screened output head (see bitnet-run(1), --head)"},
    {OPT_STRING, 0, "kernel", &o.run.kernel, "NAME", "use this kernel set"},
    {OPT_FLAG, 0, "pin", &o.run.pin, NULL, "bind the threads of the ceilings to cores"},

    {OPT_HEAD, .help = "Another program"},
    {OPT_STRING, 0, "vs", &o.vs, "COMMAND",
     "run COMMAND and --ours in turns and print their times and ratios"},
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

static enum bench_style style(void)
{
	return o.markdown ? BENCH_MARKDOWN : o.csv ? BENCH_CSV : BENCH_TABLE;
}

static int print_row(void *arg, const struct bench_row *r, struct err *e)
{
	json_t *j;

	int *rows = arg;

	if (!o.json) {
		if (!(*rows)++)
			bench_print_head(stdout, style());
		bench_print_row(stdout, style(), r);
	} else {
		j = bench_json(r);
		if (!j || json_dumpf(j, stdout, JSON_COMPACT) || putchar('\n') == EOF) {
			json_decref(j);
			return err_set(e, ERR_TROUBLE, "cannot write JSON");
		}
		json_decref(j);
	}
	if (fflush(stdout))
		return err_sys(e, "standard output");
	return 0;
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

static int measure(struct err *e)
{
	struct bench_shape shape = {.type = o.type, .head = o.head};
	char made[64], path[4096];
	int fd = -1, rows = 0;

	settle();
	o.run.model = o.model;
	if (o.shape) {
		if (bench_shape_parse(&shape, o.shape, e) || bench_model_make(&shape, &fd, made, e))
			return -1;
		o.run.model = made;
	} else if (!o.model) {
		if (model_path(path, sizeof path, e))
			return -1;
		o.run.model = path;
	}
	int failed = bench_run(&o.run, print_row, &rows, e);
	if (fd >= 0)
		close(fd);
	return failed && o.model ? err_in(e, "%s", o.model) : failed;
}

static int check(int operands, struct err *e)
{
	if (operands)
		return err_set(e, ERR_TROUBLE, "operands are not taken (see --help)");
	if (o.model && o.shape)
		return err_set(e, ERR_TROUBLE, "--model and --shape exclude each other");
	if (!o.vs != !o.ours)
		return err_set(e, ERR_TROUBLE, "--vs and --ours need each other");
	return 0;
}

int main(int argc, char **argv)
{
	struct err e = {0};
	int first, status = opt_parse(&program, argc, argv, &first, &e);

	if (status == OPT_HELP)
		status = opt_help(&program, stdout);
	else if (status == OPT_VERSION)
		status = opt_version(&program, stdout);
	else if (status == OPT_RUN && check(argc - first, &e))
		status = -1;
	else if (status == OPT_RUN && o.vs)
		status = bench_versus(o.ours, o.vs, (unsigned)o.repeat, stdout, &e);
	else if (status == OPT_RUN)
		status = measure(&e);
	if (io_close_stdout(status < 0 ? NULL : &e))
		status = -1;
	if (status < 0)
		fprintf(stderr, "bitnet-bench: %s\n", e.text);
	return status < 0 ? e.status : 0;
}
