/*
 * bitnet-convert: from one model file to another.
 */
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert.h"
#include "fmt.h"
#include "io.h"
#include "opt.h"
#include "threads.h"

static struct {
	struct convert_options convert;
	struct opt_list set, unset, tiles;
	const char *check;
	int64_t threads;
	int dry_run, verify, quiet, json;
	int progress; /* AUTO ... */
} o;

enum { AUTO, BAR, LINES, SILENT };

static volatile sig_atomic_t stopped; /* the signal that asked us to stop */
static struct progress progress;

static int set_to(void *to, const char *value, struct err *e)
{
	if (strcmp(value, "gguf") && strcmp(value, "safetensors"))
		return err_set(e, ERR_TROUBLE, "'%s' is not one of gguf, safetensors", value);
	*(int *)to = !strcmp(value, "safetensors");
	return 0;
}

/* "out/" is the directory out. */
static int set_output(void *to, const char *value, struct err *e)
{
	size_t n = strlen(value);
	char *path = (char *)(uintptr_t)value; /* a word of argv: ours to cut */

	if (!n)
		return err_set(e, ERR_TROUBLE, "an empty name");
	while (n > 1 && path[n - 1] == '/')
		path[--n] = 0;
	*(const char **)to = path;
	return 0;
}

static int set_scale(void *to, const char *value, struct err *e)
{
	enum checkpoint_scale *scale = to;

	if (strcmp(value, "multiply") && strcmp(value, "divide"))
		return err_set(e, ERR_TROUBLE, "'%s' is not one of multiply, divide", value);
	*scale = !strcmp(value, "divide") ? CHECKPOINT_DIVIDE : CHECKPOINT_MULTIPLY;
	return 0;
}

static int set_progress(void *to, const char *value, struct err *e)
{
	static const char *const name[] = {"auto", "bar", "json", "none"};

	for (int i = 0; i < 4; i++)
		if (!strcmp(value, name[i])) {
			*(int *)to = i;
			return 0;
		}
	return err_set(e, ERR_TROUBLE, "'%s' is not one of auto, bar, json, none", value);
}

static const struct opt options[] = {
    {OPT_HEAD, .help = "Output"},
    {OPT_CALL, 'o', "output", &o.convert.output, "FILE",
     "write FILE (- is standard output); with --to=safetensors, a directory", .call = set_output},
    {OPT_CALL, 0, "to", &o.convert.to_safetensors, "FORMAT", "gguf (the default) or safetensors",
     .call = set_to},
    {OPT_STRING, 't', "type", &o.convert.type, "TYPE",
     "type of the seven matrices of each layer; without it they stay as they are, but become i2_s "
     "from a checkpoint and packed bytes in safetensors"},
    {OPT_STRING, 'e', "embed-type", &o.convert.embed_type, "TYPE",
     "type of embedding and output head; without it they stay as they are, but become f16 from a "
     "checkpoint"},
    {OPT_FLAG, 0, "lossless", &o.convert.lossless, NULL, "refuse what does not keep every value"},
    {OPT_SIZE, 0, "split-size", &o.convert.split, "SIZE",
     "write parts of at most SIZE, NAME-00001-of-0000N"},
    {OPT_FLAG, 0, "merge", &o.convert.merge, NULL, "the input is a split file: write one"},
    {OPT_FLAG, 'f', "force", &o.convert.force, NULL, "replace an existing output"},

    {OPT_HEAD, .help = "Metadata"},
    {OPT_LIST, 's', "set", &o.set, "KEY=TYPE:VALUE",
     "set a key; TYPE is u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool or str (may be given several "
     "times)"},
    {OPT_LIST, 'd', "delete", &o.unset, "KEY", "remove a key (may be given several times)"},
    {OPT_FLAG, 'i', "in-place", &o.convert.in_place, NULL, "edit the metadata of the input itself"},

    {OPT_HEAD, .help = "Reading"},
    {OPT_CALL, 0, "weight-scale", &o.convert.scale, "HOW",
     "packed weights: multiply or divide by weight_scale, whatever config.json says",
     .call = set_scale},
    {OPT_STRING, 0, "i2s-layout", &o.convert.i2s_layout, "NAME",
     "order of the elements in I2_S tensors of the input: x86, arm or rows4"},
    {OPT_LIST, 0, "tl", &o.tiles, "TILES",
     "tiling of TL1 and TL2, [ROWSxCOLS:]BM,BY[,bm], for one shape or all (may be given several "
     "times)"},
    {OPT_FLAG, 0, "skip-unknown", &o.convert.skip_unknown, NULL,
     "leave tensors out that are not known, and do not fail"},

    {OPT_HEAD, .help = "Work"},
    {OPT_FLAG, 'n', "dry-run", &o.dry_run, NULL, "print the plan and write nothing"},
    {OPT_INT, 'j', "threads", &o.threads, "N",
     "threads (default: the cores that may be used); the bytes written do not depend on it",
     .min = 1, .max = 1024},
    {OPT_SIZE, 'M', "max-memory", &o.convert.max_memory, "SIZE",
     "refuse a conversion that needs more memory"},
    {OPT_FLAG, 'k', "keep", &o.convert.keep, NULL,
     "keep the partial output and a journal when stopped"},
    {OPT_FLAG, 'r', "resume", &o.convert.resume, NULL,
     "go on with a partial output that -k or -r kept, after hashing what is there"},

    {OPT_HEAD, .help = "Checks and messages"},
    {OPT_FLAG, 'c', "checksums", &o.convert.checksums, NULL,
     "print XXH64 sums of every tensor and file: a manifest"},
    {OPT_STRING, 0, "check", &o.check, "MANIFEST",
     "compare the files that MANIFEST names, relative to where it lies, with its sums"},
    {OPT_FLAG, 0, "verify", &o.verify, NULL, "read the output again and compare every value"},
    {OPT_CALL, 0, "progress", &o.progress, "HOW",
     "auto (a bar on a terminal), bar, json or none, on standard error", .call = set_progress},
    {OPT_FLAG, 'J', "json", &o.json, NULL, "print the plan, or what was done, as JSON"},
    {OPT_FLAG, 'q', "quiet", &o.quiet, NULL, "no remarks and no progress on standard error"},
    {OPT_FLAG, 'v', "verbose", &o.convert.verbose, NULL,
     "print the plan on standard error before writing"},
    {OPT_END},
};

static const struct opt_program program = {
    .name = "bitnet-convert",
    .synopsis = "[-t TYPE] [-e TYPE] INPUT -o FILE\n"
		"--to=safetensors INPUT -o DIRECTORY\n"
		"-i [-s KEY=TYPE:VALUE] [-d KEY] FILE\n"
		"--check MANIFEST",
    .about =
	"Convert checkpoints to GGUF, GGUF to GGUF, and GGUF to checkpoints, in bounded memory.",
    .examples = "bitnet-convert bitnet-b1.58-2B-4T -o model.gguf\n"
		"bitnet-convert -t tq2_0 -e q6_k model.gguf -o small.gguf\n"
		"bitnet-convert --to=safetensors model.gguf -o checkpoint\n"
		"bitnet-convert -s general.name=str:mine - -o - <in.gguf >out.gguf",
    .options = options,
};

static void stop(int sig)
{
	stopped = sig;
}

static void ask(int sig)
{
	(void)sig;
	progress.asked = 1;
}

/* Output to a pipe leaves nothing to clean up: signals end it at once. */
static void catch_signals(void)
{
	struct sigaction sa = {.sa_handler = stop};
	struct sigaction info = {.sa_handler = ask, .sa_flags = SA_RESTART};

	/* A pipe that closes and a file that may grow no further are errors like others. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	sigaction(SIGUSR1, &info, NULL);
	if (!strcmp(o.convert.output, "-"))
		return;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

static void show_notes(const struct convert *c, size_t *shown)
{
	const char *note;

	while ((note = convert_note(c, *shown))) {
		if (!o.quiet)
			fprintf(stderr, "bitnet-convert: %s\n", note);
		(*shown)++;
	}
}

static void begin_progress(uint64_t total)
{
	enum progress_mode mode = PROGRESS_NONE;

	if (o.progress == LINES)
		mode = PROGRESS_JSON;
	else if (o.progress == BAR || (o.progress == AUTO && isatty(STDERR_FILENO)))
		mode = PROGRESS_BAR;
	if (o.quiet)
		mode = PROGRESS_NONE;
	progress_begin(&progress, mode, stderr, total);
	progress.out_asked = stderr;
}

static int print_json(const struct convert *c, struct err *e)
{
	json_t *root = convert_json(c);
	int r;

	if (!root)
		return err_set(e, ERR_TROUBLE, "no memory for JSON");
	r = json_dumpf(root, stdout, JSON_INDENT(1)) || putchar('\n') == EOF
	        ? err_sys(e, "standard output")
	        : 0;
	json_decref(root);
	return r;
}

static int print_plan(const struct convert *c, FILE *out, struct err *e)
{
	return o.json ? print_json(c, e) : convert_print(c, out, e);
}

static int write_output(struct convert *c, struct err *e)
{
	int r;

	if (o.convert.verbose && convert_print(c, stderr, e))
		return -1;
	catch_signals();
	begin_progress(convert_bytes(c));
	r = convert_run(c, &progress, &stopped, e);
	progress_end(&progress);
	if (!r && o.verify) {
		begin_progress(convert_bytes(c));
		r = convert_verify(c, &progress, &stopped, e);
		progress_end(&progress);
	}
	if (!r && o.convert.checksums)
		r = convert_manifest(c, stdout, e);
	if (!r && o.json)
		r = print_json(c, e);
	return r;
}

static int convert(const char *input, struct err *e)
{
	struct convert *c;
	size_t shown = 0;
	int r;

	o.convert.input = input;
	if (convert_open(&c, &o.convert, e))
		return -1;
	show_notes(c, &shown);
	r = o.dry_run ? print_plan(c, stdout, e) : write_output(c, e);
	show_notes(c, &shown);
	convert_close(c);
	return r;
}

static int check_options(int n_operands, struct err *e)
{
	const struct convert_options *c = &o.convert;

	if (o.check && n_operands)
		return err_set(e, ERR_TROUBLE,
		               "--check takes no operand: the manifest names the files");
	if (o.check)
		return 0;
	if (n_operands != 1)
		return err_set(e, ERR_TROUBLE, "one input is expected, found %d", n_operands);
	if (c->in_place && c->output)
		return err_set(e, ERR_TROUBLE, "--in-place and -o exclude each other");
	if (!c->output && !c->in_place && !o.dry_run)
		return err_set(e, ERR_TROUBLE, "no output is given (-o FILE)");
	if (c->output && !strcmp(c->output, "-") && (c->checksums || o.json) && !o.dry_run)
		return err_set(e, ERR_TROUBLE, "-c and -J need standard output, which -o - takes");
	if (c->checksums && o.json)
		return err_set(e, ERR_TROUBLE, "-c and -J exclude each other");
	if (c->output && !strcmp(c->output, "-") && !o.dry_run && isatty(STDOUT_FILENO))
		return err_set(e, ERR_TROUBLE, "standard output is a terminal");
	return 0;
}

/* The file itself, for -i: a symbolic link to it must stay one. */
static const char *real_name(const char *path)
{
	static char real[PATH_MAX];

	return realpath(path, real) ? real : path;
}

static void set_options(const char *input)
{
	o.convert.tiles = o.tiles.v;
	o.convert.n_tiles = o.tiles.n;
	o.convert.set = o.set.v;
	o.convert.n_set = o.set.n;
	o.convert.unset = o.unset.v;
	o.convert.n_unset = o.unset.n;
	o.convert.threads = o.threads ? (int)o.threads : threads_available();
	if (o.convert.in_place)
		o.convert.output = real_name(input);
}

static int check_manifest(struct err *e)
{
	int r = convert_check(o.check, stdout, e);

	if (r < 0)
		return err_in(e, "%s", o.check);
	return r ? ERR_NO : 0;
}

int main(int argc, char **argv)
{
	struct err e = {0};
	int first, status = opt_parse(&program, argc, argv, &first, &e);

	if (status == OPT_HELP || status == OPT_VERSION) {
		status =
		    status == OPT_HELP ? opt_help(&program, stdout) : opt_version(&program, stdout);
	} else if (status == 0 && !(status = check_options(argc - first, &e))) {
		set_options(argv[first]);
		status = o.check ? check_manifest(&e) : convert(argv[first], &e);
	}
	/* A difference that --verify found is in e, one that --check found was printed. */
	int told = status < 0 || e.status;
	if (io_close_stdout(told ? NULL : &e)) {
		status = -1;
		told = 1;
	}
	if (stopped)
		return 128 + stopped;
	if (told)
		fprintf(stderr, "bitnet-convert: %s\n", e.text);
	return told ? e.status : status;
}
