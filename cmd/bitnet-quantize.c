/*
 * bitnet-quantize: tensors of a GGUF file to other types; or, with --raw, a filter between floats
 * and packed bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "blocks.h"
#include "fmt.h"
#include "gguf.h"
#include "io.h"
#include "opt.h"
#include "progress.h"
#include "requantize.h"
#include "requantize_report.h"
#include "threads.h"

static struct {
	struct requantize_options plan;
	struct requantize_type raw_type;
	const char *report;
	double max_mse, scale;
	uint64_t cols, max_memory;
	int64_t threads;
	int raw, dequantize, dry, force, quiet, verbose;
} o = {.max_mse = -1, .scale = 1, .raw_type = {.type = DTYPE_F32}};

static volatile sig_atomic_t stopped; /* the signal that asked us to stop */

static void on_signal(int sig)
{
	stopped = sig;
}

/* The second time the same signal kills. */
static void catch_signals(void)
{
	struct sigaction a = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

	/* A pipe that closes and a file that may grow no further are errors like others. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
	sigaction(SIGHUP, &a, NULL);
}

static int set_type(void *to, const char *value, struct err *e)
{
	return requantize_type_parse(to, value, e);
}

static int set_rule(void *to, const char *value, struct err *e)
{
	return requantize_rule_add(to, value, e);
}

static int set_tile(void *to, const char *value, struct err *e)
{
	return retype_hints_tile(to, value, e);
}

static int set_layout(void *to, const char *value, struct err *e)
{
	enum ternary_kind *kind = to;

	*kind = ternary_find_i2s(value);
	return *kind != TERNARY_NONE
	           ? 0
	           : err_set(e, ERR_TROUBLE, "'%s' is not a layout (x86, arm, rows4)", value);
}

static int set_method(void *to, const char *value, struct err *e)
{
	enum quantize_rule *rule = to;

	*rule = !strcmp(value, "absmean") ? QUANTIZE_ABSMEAN
	        : !strcmp(value, "max")   ? QUANTIZE_MAX
	                                  : QUANTIZE_COPY;
	return *rule != QUANTIZE_COPY
	           ? 0
	           : err_set(e, ERR_TROUBLE, "'%s' is not a rule (absmean, max)", value);
}

static const struct opt options[] = {
    {OPT_HEAD, .help = "What becomes what"},
    {OPT_CALL, 't', "type", &o.plan.matrices, "TYPE",
     "type of the projections: i2_s, i2_s_arm, i2_s_rows4, tl1, tl2, tq1_0, tq2_0, q2_0, pq2_0, "
     "ptq1_0, iq1_bn, "
     "iq2_bn, iq2_bn_r4, or f32, f16, bf16, q8_0, q6_k, q4_0, q4_k",
     0, 0, set_type},
    {OPT_CALL, 0, "embed-type", &o.plan.embed, "TYPE",
     "type of the embeddings (default: as they are)", 0, 0, set_type},
    {OPT_CALL, 0, "output-type", &o.plan.output, "TYPE",
     "type of the output head (default: as it is)", 0, 0, set_type},
    {OPT_CALL, 0, "tensor-type", &o.plan, "PATTERN=TYPE",
     "type of the tensors that a shell pattern names; the first pattern that matches decides", 0, 0,
     set_rule},
    {OPT_CALL, 0, "rule", &o.plan.rule, "RULE",
     "for floats that are not ternary: absmean, or max (of each group; the default of --raw for "
     "types with a "
     "scale per group)",
     0, 0, set_method},
    {OPT_FLAG, 0, "lossless", &o.plan.lossless, NULL, "refuse whatever would change a value", 0, 0,
     NULL},
    {OPT_CALL, 0, "i2s-layout", &o.plan.hints.i2s, "LAYOUT",
     "how I2_S lies in the input: x86 (published files), arm or rows4", 0, 0, set_layout},
    {OPT_CALL, 0, "tl", &o.plan.hints, "TILES",
     "tiling of TL1 and TL2, [ROWSxCOLS:]BM,BY[,bm], for one shape or all; may be repeated", 0, 0,
     set_tile},

    {OPT_HEAD, .help = "As a filter"},
    {OPT_FLAG, 0, "raw", &o.raw, NULL, "float32 values in, packed bytes of -t out; no file format",
     0, 0, NULL},
    {OPT_COUNT, 'k', "cols", &o.cols, "N", "columns of a row", 0, 0, NULL},
    {OPT_FLAG, 'd', "dequantize", &o.dequantize, NULL, "packed bytes of -t in, float32 values out",
     0, 0, NULL},
    {OPT_CALL, 0, "raw-type", &o.raw_type, "TYPE",
     "values in this type instead of f32: f16, bf16, ...", 0, 0, set_type},
    {OPT_REAL, 0, "scale", &o.scale, "S",
     "with -d: a factor of all values (for hf_u8, whose scale lies outside)", 0, 0, NULL},

    {OPT_HEAD, .help = "How"},
    {OPT_STRING, 0, "report", &o.report, "FILE",
     "write what was done to each tensor as JSON; - is standard output", 0, 0, NULL},
    {OPT_REAL, 0, "max-mse", &o.max_mse, "X",
     "end with status 1, and no output, when a tensor's mean squared error is larger", 0, 1e300,
     NULL},
    {OPT_FLAG, 'n', "dry-run", &o.dry, NULL, "print what would be written, and stop", 0, 0, NULL},
    {OPT_FLAG, 'f', "force", &o.force, NULL, "replace an output that exists", 0, 0, NULL},
    {OPT_INT, 'j', "threads", &o.threads, "N", "threads (default: the cores this process may use)",
     1, 256, NULL},
    {OPT_SIZE, 'M', "max-memory", &o.max_memory, "SIZE",
     "refuse what would take more memory (not with --raw)", 0, 0, NULL},
    {OPT_FLAG, 'q', "quiet", &o.quiet, NULL, "only errors and warnings on standard error", 0, 0,
     NULL},
    {OPT_FLAG, 'v', "verbose", &o.verbose, NULL,
     "a table of all tensors, and what was assumed, on standard error", 0, 0, NULL},
    {OPT_END, 0, NULL, NULL, NULL, NULL, 0, 0, NULL},
};

static const struct opt_program program = {
    .name = "bitnet-quantize",
    .synopsis = "[-t TYPE] [options] IN.gguf OUT.gguf\n--raw -t TYPE -k COLS [-d] [IN [OUT]]",
    .about = "Turns the tensors of a GGUF file into other types, ternary ones above all.",
    .examples = "  bitnet-quantize -t i2_s model-f32.gguf model-i2_s.gguf\n"
		"  bitnet-quantize -t tl2 --embed-type q6_k --report report.json in.gguf out.gguf\n"
		"  bitnet-quantize --raw -t i2_s -k 2560 < weights.f32 > weights.i2s\n",
    .options = options,
};

/* Bytes on their way out. */
struct output {
	struct io_out out;
	struct progress bar;
	uint64_t at, synced; /* bytes written; see io_write_behind */
	int failed;          /* an error is about the output, not the input */
};

/* Names of files for people. */
static const char *input_name(const char *path)
{
	return strcmp(path, "-") ? path : "standard input";
}

static const char *output_name(const char *path)
{
	return strcmp(path, "-") ? path : "standard output";
}

static int put(void *arg, const void *p, size_t n, struct err *e)
{
	struct output *w = arg;

	if (stopped)
		return err_set(e, ERR_TROUBLE, "interrupted");
	progress_add(&w->bar, n);
	w->failed = io_write(w->out.fd, p, n, e) != 0;
	if (w->failed)
		return -1;
	w->at += n;
	io_write_behind(w->out.fd, &w->synced, w->at);
	return 0;
}

/* Standard input that cannot be read twice goes to a nameless file. */
static int spool(int *fd, struct err *e)
{
	const char *dir = getenv("TMPDIR");
	static uint8_t buf[1 << 16];
	char path[4096];
	size_t got;
	int to;

	snprintf(path, sizeof path, "%s/bitnet-quantize.XXXXXX", dir && *dir ? dir : "/tmp");
	to = mkostemp(path, O_CLOEXEC);
	if (to < 0)
		return err_sys(e, "cannot create %s", path);
	unlink(path);
	do {
		if (io_read(*fd, buf, sizeof buf, &got, e) || io_write(to, buf, got, e)) {
			close(to);
			return -1;
		}
	} while (got == sizeof buf && !stopped);
	*fd = to;
	return 0;
}

/* A file that can be read at any place; *start: where its content begins. */
static int open_seekable(const char *path, int *fd, uint64_t *start, uint64_t *size, struct err *e)
{
	struct stat st;
	off_t at;

	if (io_open(path, fd, e))
		return -1;
	at = lseek(*fd, 0, SEEK_CUR);
	if (fstat(*fd, &st))
		return err_sys(e, "cannot read");
	if (at < 0 || !S_ISREG(st.st_mode)) {
		if (spool(fd, e) || fstat(*fd, &st))
			return -1;
		at = 0;
	}
	*start = (uint64_t)at;
	*size = st.st_size > at ? (uint64_t)(st.st_size - at) : 0;
	return 0;
}

/* Ends a job whose bytes are all put (status 0) or not; returns the exit status. */
static int finish(struct output *w, const char *path, int failed, struct err *e)
{
	progress_end(&w->bar);
	if (!failed && io_commit(&w->out, e)) {
		err_in(e, "%s", path);
		failed = -1;
	}
	if (failed)
		io_abort(&w->out);
	if (stopped)
		return 128 + stopped;
	if (failed)
		fprintf(stderr, "%s: %s\n", program.name, e->text);
	return failed ? e->status : ERR_OK;
}

static int fail(const struct err *e)
{
	fprintf(stderr, "%s: %s\n", program.name, e->text);
	return e->status;
}

static int start_threads(struct threads **t, struct err *e)
{
	return threads_start(t, o.threads ? (int)o.threads : threads_available(), e);
}

/* The filter. */

/* Rows of a tensor of `bytes` bytes; 0: no number of rows gives this size. */
static uint64_t rows_of(struct requantize_type t, uint64_t bytes)
{
	uint64_t low = 1, high = bytes, n = 0;

	if (t.kind == TERNARY_HF_U8)
		return bytes % o.cols ? 0 : bytes / o.cols * 4;
	while (low <= high && high) {
		uint64_t mid = low + (high - low) / 2;

		if (dtype_bytes(t.type, mid, o.cols, &n, NULL) || n > bytes)
			high = mid - 1;
		else if (n < bytes)
			low = mid + 1;
		else
			return mid;
	}
	return 0;
}

static int raw_form(struct retype_form *f, struct requantize_type t, uint64_t rows, struct err *e)
{
	const struct ternary_tile *tile = retype_hints_find(&o.plan.hints, rows, o.cols);
	struct ternary_tile known[2];

	if (t.kind == TERNARY_NONE)
		return retype_form(f, t.type, rows, o.cols, NULL, e);
	if (!tile && (t.kind == TERNARY_TL1 || t.kind == TERNARY_TL2)) {
		if (!ternary_presets(t.kind, rows, o.cols, known))
			return err_set(e, ERR_TROUBLE,
			               "the tiling of %s for %llu x %llu is not known (use --tl)",
			               ternary_name(t.kind), (unsigned long long)rows,
			               (unsigned long long)o.cols);
		tile = &known[0];
	}
	return retype_form_ternary(f, t.kind, rows, o.cols, tile, e);
}

static int raw_plan(struct retype_source *src, struct retype_target *dst, uint64_t size,
                    struct err *e)
{
	struct requantize_type in = o.dequantize ? o.plan.matrices : o.raw_type;
	struct requantize_type to = o.dequantize ? o.raw_type : o.plan.matrices;
	uint64_t rows = rows_of(in, size);

	if (!rows)
		return err_set(
		    e, ERR_SHORT, "%llu bytes are no whole number of rows of %llu columns in %s",
		    (unsigned long long)size, (unsigned long long)o.cols,
		    in.kind != TERNARY_NONE ? ternary_name(in.kind) : dtype_get(in.type)->name);
	src->rows = rows;
	src->cols = o.cols;
	src->factor = o.dequantize ? (float)o.scale : 1;
	if (raw_form(&src->form, in, rows, e) || raw_form(&dst->form, to, rows, e))
		return -1;
	dst->lossless = o.plan.lossless;
	dst->rule = o.plan.rule;
	if (dst->rule == QUANTIZE_COPY && dst->form.ternary.kind != TERNARY_NONE &&
	    ternary_group(&dst->form.ternary))
		dst->rule = QUANTIZE_MAX;
	return 0;
}

static int raw_check(struct err *e)
{
	if (o.plan.matrices.type == DTYPE_NONE && o.plan.matrices.kind == TERNARY_NONE)
		return err_set(e, ERR_TROUBLE, "--raw needs -t TYPE");
	if (!o.cols)
		return err_set(e, ERR_TROUBLE, "--raw needs -k COLS");
	return 0;
}

static int over_mse(const struct quantize_report *r, struct err *e)
{
	if (o.max_mse < 0 || r->mse <= o.max_mse)
		return 0;
	return err_set(e, ERR_NO, "mean squared error %.6g is over %.6g", r->mse, o.max_mse);
}

static int raw_write(const struct retype_source *src, const struct retype_target *dst,
                     struct output *w, struct threads *threads, struct err *e)
{
	struct retype *r;
	int bad;

	if (retype_open(&r, src, dst, threads, e))
		return -1;
	w->bar.total = retype_bytes(r);
	bad = retype_write(r, put, w, e) || over_mse(retype_report(r), e);
	if (!bad && o.verbose)
		requantize_report_lines(stderr, retype_report(r));
	retype_close(r);
	return bad ? -1 : 0;
}

static int raw(const char *in, const char *out)
{
	struct retype_source src = {.factor = 1};
	struct retype_target dst = {.rule = QUANTIZE_COPY};
	struct threads *threads = NULL;
	struct output w = {.bar = {.mode = PROGRESS_NONE}};
	struct err e = {0};
	uint64_t size = 0;
	int bad;

	if (raw_check(&e))
		return fail(&e);
	if (open_seekable(in, &src.fd, &src.offset, &size, &e) || raw_plan(&src, &dst, size, &e)) {
		err_in(&e, "%s", input_name(in));
		return fail(&e);
	}
	if (start_threads(&threads, &e))
		return fail(&e);
	if (io_create(&w.out, out, o.force, &e)) {
		err_in(&e, "%s", out);
		threads_stop(threads);
		return fail(&e);
	}
	bad = raw_write(&src, &dst, &w, threads, &e);
	if (bad)
		err_in(&e, "%s", w.failed ? output_name(out) : input_name(in));
	threads_stop(threads);
	close(src.fd);
	return finish(&w, out, bad, &e);
}

/* Files. */

static int same_file(const struct gguf *g, const char *out)
{
	struct stat a, b;

	if (!strcmp(out, "-") || stat(out, &a))
		return 0;
	for (unsigned i = 0; i < g->n_parts; i++)
		if (g->parts[i].map.open && !fstat(g->parts[i].map.fd, &b) &&
		    a.st_dev == b.st_dev && a.st_ino == b.st_ino)
			return 1;
	return 0;
}

static int enough_space(const char *out, uint64_t bytes, struct err *e)
{
	char *dir, need[FMT_SIZE], have[FMT_SIZE];
	struct statvfs st;
	int r;

	if (!strcmp(out, "-"))
		return 0;
	if (!(dir = io_parent(out, e)))
		return -1;
	r = statvfs(dir, &st) ? err_sys(e, "%s", dir) : 0;
	free(dir);
	if (r)
		return -1;
	uint64_t space = (uint64_t)st.f_bavail * (uint64_t)st.f_frsize;
	if (space >= bytes)
		return 0;
	return err_set(e, ERR_TROUBLE, "needs %s, %s are free", fmt_size(need, bytes),
	               fmt_size(have, space));
}

/* What was assumed about the input, for people. */
static void say_assumed(const char *in, int assumed)
{
	if (o.verbose && assumed & RETYPE_ASSUMED_I2S)
		fprintf(stderr,
		        "%s: %s: I2_S is taken to lie as in published files (--i2s-layout)\n",
		        program.name, in);
	if (assumed & RETYPE_ASSUMED_ONE_OF)
		fprintf(stderr,
		        "%s: %s: two tilings are in use for its shapes; the first one is taken "
		        "(--tl)\n",
		        program.name, in);
	else if (o.verbose && assumed & RETYPE_ASSUMED_TILE)
		fprintf(stderr,
		        "%s: %s: the tiling is taken from the known ones for its shapes (--tl)\n",
		        program.name, in);
}

static int is_bitnet(const struct gguf *g)
{
	struct gguf_str s;

	return gguf_get_str(g, "general.architecture", &s, NULL) == 0 && s.n >= 6 &&
	       !memcmp(s.p, "bitnet", 6);
}

/* One line when the numbers say that ternary weights are not what this model was made for. */
static void warn_untrained(const struct requantize *q, const char *in)
{
	uint64_t n = 0, lost = 0;
	double sum = 0;

	for (uint64_t i = 0; i < q->n; i++) {
		const struct quantize_report *r = &q->tensors[i].report;

		n += q->tensors[i].changes && r->ternary;
		if ((r->rule == QUANTIZE_ABSMEAN || r->rule == QUANTIZE_MAX) &&
		    quantize_is_untrained(r)) {
			lost++;
			sum += r->loss;
		}
	}
	if (lost && !is_bitnet(q->g))
		fprintf(stderr,
		        "%s: %s: %llu of %llu matrices lose %.0f %% of their energy on average: "
		        "this model was not "
		        "trained with ternary weights, the result is of no use\n",
		        program.name, in, (unsigned long long)lost, (unsigned long long)n,
		        100 * sum / (double)lost);
}

static void summary(const struct requantize *q, const char *out)
{
	char size[FMT_SIZE];
	uint64_t changed = 0;
	double worst = 0;

	for (uint64_t i = 0; i < q->n; i++) {
		changed += (uint64_t)q->tensors[i].changes;
		if (q->tensors[i].report.scale_error > worst)
			worst = q->tensors[i].report.scale_error;
	}
	fprintf(stderr, "%s: %s: %llu tensors converted, %llu copied, %s", program.name, out,
	        (unsigned long long)changed, (unsigned long long)(q->n - changed),
	        fmt_size(size, requantize_bytes(q)));
	if (worst > 0)
		fprintf(stderr, "; scales change by up to %.2g (relative)", worst);
	fputc('\n', stderr);
}

struct rows {
	struct output *w;
	int head;
};

static void tensor_done(void *arg, const struct requantize_tensor *t)
{
	struct rows *rows = arg;

	if (!o.verbose || !t->changes)
		return;
	progress_end(&rows->w->bar);
	if (!rows->head++)
		requantize_report_head(stderr);
	requantize_report_row(stderr, t);
}

static int check_mse(const struct requantize *q, struct err *e)
{
	char name[96];

	for (uint64_t i = 0; i < q->n; i++)
		if (over_mse(&q->tensors[i].report, e))
			return err_in(e, "tensor %s",
			              err_quote(name, sizeof name, q->tensors[i].t->name.p,
			                        (size_t)q->tensors[i].t->name.n));
	return 0;
}

static int write_report(const struct requantize *q, struct err *e)
{
	FILE *f;
	int bad;

	if (!o.report)
		return 0;
	f = strcmp(o.report, "-") ? fopen(o.report, "w") : stdout;
	if (!f)
		return err_sys(e, "%s", o.report);
	bad = requantize_report_json(f, q, e);
	if (f != stdout && fclose(f) && !bad)
		bad = err_sys(e, "cannot write the report");
	return bad ? err_in(e, "%s", o.report) : 0;
}

static int write_file(struct requantize *q, const char *in, const char *out, struct output *w,
                      struct err *e)
{
	struct rows rows = {w, 0};
	struct threads *threads = NULL;
	int bad;

	if (start_threads(&threads, e))
		return -1;
	progress_begin(&w->bar, !o.quiet && isatty(STDERR_FILENO) ? PROGRESS_BAR : PROGRESS_NONE,
	               stderr, requantize_bytes(q));
	bad = requantize_write(q, threads, put, w, tensor_done, &rows, e);
	threads_stop(threads);
	if (bad)
		return err_in(e, "%s", w->failed ? output_name(out) : input_name(in));
	if (write_report(q, e))
		return -1;
	if (check_mse(q, e))
		return err_in(e, "%s", input_name(in));
	progress_end(&w->bar);
	warn_untrained(q, in);
	if (!o.quiet)
		summary(q, out);
	return 0;
}

static int job(struct requantize *q, const char *in, const char *out)
{
	struct output w = {.bar = {.mode = PROGRESS_NONE}};
	struct err e = {0};

	if (o.dry) {
		requantize_report_plan(stdout, q);
		return ERR_OK;
	}
	if (same_file(q->g, out)) {
		err_set(&e, ERR_TROUBLE, "%s: is the input too", out);
		return fail(&e);
	}
	if (enough_space(out, requantize_bytes(q), &e) || io_create(&w.out, out, o.force, &e)) {
		err_in(&e, "%s", out);
		return fail(&e);
	}
	return finish(&w, out, write_file(q, in, out, &w, &e), &e);
}

static int enough_memory(const struct requantize *q, struct err *e)
{
	char need[FMT_SIZE], may[FMT_SIZE];
	uint64_t bytes = requantize_memory(q);

	if (!o.max_memory || bytes <= o.max_memory)
		return 0;
	return err_set(e, ERR_TROUBLE, "takes %s of memory, %s are allowed", fmt_size(need, bytes),
	               fmt_size(may, o.max_memory));
}

/* A pipe is read into a nameless file first, and opened as that. */
static int open_gguf(struct gguf *g, const char *in, struct err *e)
{
	char path[32];
	uint64_t start, size;
	int fd, bad;

	if (strcmp(in, "-"))
		return gguf_open(g, in, 0, e);
	if (open_seekable(in, &fd, &start, &size, e))
		return -1;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	bad = gguf_open(g, path, 0, e);
	if (fd != STDIN_FILENO)
		close(fd);
	return bad;
}

static int file(const char *in, const char *out)
{
	struct requantize q = {0};
	struct gguf g;
	struct err e = {0};
	int status;

	if (open_gguf(&g, in, &e)) {
		err_in(&e, "%s", input_name(in));
		return fail(&e);
	}
	o.plan.brief = !o.report && !o.verbose && o.max_mse < 0 && is_bitnet(&g);
	if (requantize_plan(&q, &g, &o.plan, &e) || enough_memory(&q, &e)) {
		err_in(&e, "%s", input_name(in));
		status = fail(&e);
	} else {
		say_assumed(in, q.assumed);
		status = job(&q, in, out);
	}
	requantize_close(&q);
	gguf_close(&g);
	return status;
}

static int run(int n, char **operands)
{
	struct err e = {0};

	if (o.raw) {
		if (n <= 2)
			return raw(n > 0 ? operands[0] : "-", n > 1 ? operands[1] : "-");
	} else if (o.dequantize) {
		err_set(&e, ERR_TROUBLE, "-d is for --raw; for a file say -t f32");
		return fail(&e);
	} else if (n == 2 || (n == 1 && o.dry)) {
		return file(operands[0], n == 2 ? operands[1] : "-");
	}
	err_set(&e, ERR_TROUBLE, "%s (try --help)",
	        n < 2 ? "an input and an output are needed" : "too many operands");
	return fail(&e);
}

int main(int argc, char **argv)
{
	struct err e = {0};
	int first = 0, status;

	switch (opt_parse(&program, argc, argv, &first, &e)) {
	case OPT_RUN:
		catch_signals();
		status = run(argc - first, argv + first);
		break;
	case OPT_HELP:
		status = opt_help(&program, stdout) ? ERR_TROUBLE : ERR_OK;
		break;
	case OPT_VERSION:
		status = opt_version(&program, stdout) ? ERR_TROUBLE : ERR_OK;
		break;
	default:
		return fail(&e);
	}
	if (io_close_stdout(&e) && status == ERR_OK)
		return fail(&e);
	return status;
}
