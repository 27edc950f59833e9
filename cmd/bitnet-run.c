/*
 * bitnet-run: text from a ternary model, as a filter.
 */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bytes.h"
#include "clock.h"
#include "cuda_driver.h"
#include "dense.h"
#include "device.h"
#include "fmt.h"
#include "gguf.h"
#include "io.h"
#include "model_path.h"
#include "opt.h"
#include "plan_opt.h"
#include "probe_nvml.h"
#include "request.h"
#include "serve.h"
#include "session.h"
#include "threads.h"
#include "vocab.h"

#define PROMPT_LIMIT ((size_t)256 << 20) /* bytes of text that are read at most */
#define LOGITS_ROWS  64                  /* positions per step of --logits */

static struct {
	const char *model, *prompt, *file, *system, *tokens, *logits, *kernel, *pre, *act, *format;
	const char *device; /* "auto", "cpu", "cuda", "cuda:N"; NULL: cpu */
	uint32_t gpu_layers;
	struct opt_list stop;
	int chat, json, jsonl, tokenize, memory, list_kernels, list_devices, ignore_eos, draft;
	int screen, load_auto, pin, no_bos, no_special, quiet, verbose, no_check;
	int64_t n, threads, seed, logprobs, i2s_group, sequences, ubatch, ctx;
	struct sample_options sample;
	enum dtype kv[2]; /* K, V */
	enum weights_load load;
} o = {
    .gpu_layers = PLAN_DEVICE_ALL, .n = -1, .seed = -1, .i2s_group = 32, .sample = SAMPLE_DEFAULTS};

static volatile sig_atomic_t stopped; /* the signal that asked us to stop */

static int set_draft(void *to, const char *value, struct err *e)
{
	if (strcmp(value, "lookup") != 0 && strcmp(value, "off") != 0)
		return err_set(e, ERR_TROUBLE, "'%s' is neither lookup nor off", value);
	*(int *)to = strcmp(value, "off") ? GENERATE_DRAFT : 0;
	return 0;
}

/* auto: a screen pays where tokens are drawn one by one from the greatest logits. */
enum { HEAD_FULL, HEAD_SCREENED, HEAD_AUTO };

static int set_head(void *to, const char *value, struct err *e)
{
	static const char *const name[] = {"full", "screened", "auto"};

	for (int i = 0; i < 3; i++)
		if (!strcmp(value, name[i])) {
			*(int *)to = i;
			return 0;
		}
	return err_set(e, ERR_TROUBLE, "'%s' is none of full, screened, auto", value);
}

static int set_load(void *to, const char *value, struct err *e)
{
	o.load_auto = !strcmp(value, "auto");
	if (o.load_auto || !plan_opt_load(to, value, e))
		return 0;
	return err_set(e, ERR_TROUBLE, "'%s' is not one of mmap, mlock, read, hugetlb, dense, auto",
	               value);
}

static int set_device(void *to, const char *value, struct err *e)
{
	size_t digits = strncmp(value, "cuda:", 5) ? 0 : strspn(value + 5, "0123456789");

	if (strcmp(value, "auto") != 0 && strcmp(value, "cpu") != 0 && strcmp(value, "cuda") != 0 &&
	    (!digits || digits > 3 || value[5 + digits]))
		return err_set(e, ERR_TROUBLE, "'%s' is none of auto, cpu, cuda, cuda:N", value);
	*(const char **)to = value;
	return 0;
}

/* Who speaks of layers of a device wants one. */
static int set_layers(void *to, const char *value, struct err *e)
{
	if (!o.device)
		o.device = "auto";
	return plan_opt_layers(to, value, e);
}

static const struct opt options[] = {
    {OPT_HEAD, .help = "Input"},
    {OPT_STRING, 'm', "model", &o.model, "FILE",
     "GGUF file; without it, the small model that comes with the toolkit"},
    {OPT_STRING, 'p', "prompt", &o.prompt, "TEXT", "text to continue"},
    {OPT_STRING, 'f', "file", &o.file, "FILE",
     "read the prompt from FILE (- is standard input, also the default when it is not a terminal); "
     "one newline at its end is dropped"},
    {OPT_STRING, 0, "tokens", &o.tokens, "IDS",
     "the prompt as token ids, by spaces or commas; nothing is added"},
    {OPT_FLAG, 0, "chat", &o.chat, NULL,
     "the prompt is a user's message in the model's chat format"},
    {OPT_STRING, 's', "system", &o.system, "TEXT", "system message, with --chat"},
    {OPT_STRING, 0, "chat-format", &o.format, "NAME",
     "use this chat format, not the one that the model names"},
    {OPT_FLAG, 0, "jsonl", &o.jsonl, NULL,
     "each line of standard input is a request, each answer a line (see bitnet-jsonl(5))"},
    {OPT_FLAG, 0, "no-bos", &o.no_bos, NULL, "do not put the beginning-of-text token in front"},
    {OPT_FLAG, 0, "no-special", &o.no_special, NULL, "special tokens in the prompt are plain text"},
    {OPT_STRING, 0, "pre", &o.pre, "NAME",
     "use this pre-tokenizer, not the one that the file names"},

    {OPT_HEAD, .help = "Output"},
    {OPT_INT, 'n', "predict", &o.n, "N",
     "generate at most N tokens; -1 (the default) goes on until the model ends or the context is "
     "full",
     .min = -1, .max = INT32_MAX},
    {OPT_FLAG, 'J', "json", &o.json, NULL,
     "one JSON object: text, token ids, finish reason, counts, timings, seed"},
    {OPT_LIST, 0, "stop", &o.stop, "STRING",
     "end in front of STRING, which is not printed (may be given several times)"},
    {OPT_FLAG, 0, "ignore-eos", &o.ignore_eos, NULL, "go on behind an end-of-text token"},
    {OPT_INT, 0, "logprobs", &o.logprobs, "N",
     "with --json or --jsonl: the N most likely tokens of each step", .min = 0,
     .max = SAMPLE_LOGPROBS},
    {OPT_STRING, 0, "logits", &o.logits, "FILE",
     "write the prompt's logits: little-endian float32, [tokens][vocabulary]"},
    {OPT_FLAG, 0, "tokenize", &o.tokenize, NULL, "print the ids of the input and stop"},
    {OPT_FLAG, 0, "memory", &o.memory, NULL,
     "print the bytes of each region of memory that was taken; without -p, -f or --tokens stop "
     "there"},
    {OPT_FLAG, 'q', "quiet", &o.quiet, NULL, "no summary and no warnings on standard error"},
    {OPT_FLAG, 'v', "verbose", &o.verbose, NULL, "say what was decided while loading"},

    {OPT_HEAD, .help = "Sampling"},
    {OPT_REAL, 0, "temperature", &o.sample.temperature, "T",
     "0 takes the likeliest token (default 0.8)", .min = 0, .max = 100},
    {OPT_INT, 0, "top-k", &o.sample.top_k, "K", "draw from the K likeliest; 0 is all (default 40)",
     .min = 0, .max = INT32_MAX},
    {OPT_REAL, 0, "top-p", &o.sample.top_p, "P",
     "draw from the fewest that have probability P together (default 0.95)", .min = 0, .max = 1},
    {OPT_REAL, 0, "min-p", &o.sample.min_p, "P",
     "draw from those of at least P times the best one's probability (default 0.05)", .min = 0,
     .max = 1},
    {OPT_REAL, 0, "repeat-penalty", &o.sample.repeat_penalty, "X",
     "divide the logits of recent tokens by X (default 1)", .min = 0.01, .max = 100},
    {OPT_REAL, 0, "frequency-penalty", &o.sample.frequency_penalty, "X",
     "take X off per recent occurrence (default 0)", .min = -100, .max = 100},
    {OPT_REAL, 0, "presence-penalty", &o.sample.presence_penalty, "X",
     "take X off for any recent occurrence (default 0)", .min = -100, .max = 100},
    {OPT_INT, 0, "penalty-last", &o.sample.penalty_last, "N",
     "recent is the last N tokens (default 64)", .min = 0, .max = INT32_MAX},
    {OPT_INT, 0, "seed", &o.seed, "N", "the same seed gives the same text (default: a random one)",
     .min = 0, .max = 9e18},

    {OPT_HEAD, .help = "Machine"},
    {OPT_CALL, 'c', "ctx-size", &o.ctx, "N|max",
     "tokens of context (default: the model's, at most 4096)", .call = plan_opt_ctx},
    {OPT_CALL, 'k', "kv-type", o.kv, "K[,V]",
     "type of the KV cache: f16 (default), f32, bf16, q8_0, q4_0", .call = plan_opt_kv_type},
    {OPT_INT, 'B', "batch-size", &o.sequences, "N",
     "with --jsonl: requests that are computed together (default 1)", .min = 1, .max = 65536},
    {OPT_INT, 'u', "ubatch-size", &o.ubatch, "N", "prompt tokens computed at once (default 512)",
     .min = 1, .max = 65536},
    {OPT_INT, 't', "threads", &o.threads, "N",
     "threads (default: the cores that this process may use)", .min = 1, .max = 1024},
    {OPT_FLAG, 0, "pin", &o.pin, NULL, "bind each thread to a core"},
    {OPT_CALL, 0, "draft", &o.draft, "HOW",
     "lookup proposes tokens that followed before and checks them together; off (the default)",
     .call = set_draft},
    {OPT_CALL, 0, "head", &o.screen, "HOW",
     "output head: full (the default); screened keeps a small copy that tells which rows can win, "
     "the tokens are the same; auto does so for long answers",
     .call = set_head},
    {OPT_CALL, 0, "load", &o.load, "HOW",
     "weights: mmap (default), mlock, read, hugetlb or dense, which keeps I2_S in 1.6 bits; auto: "
     "dense for long answers where that is faster",
     .call = set_load},
    {OPT_STRING, 0, "kernel", &o.kernel, "NAME", "use this kernel set"},
    {OPT_CALL, 0, "device", &o.device, "WHERE",
     "compute on cpu (the default), cuda or cuda:N (a GPU), or auto: a GPU that can hold it, else "
     "the cpu",
     .call = set_device},
    {OPT_CALL, 'g', "gpu-layers", &o.gpu_layers, "N|all",
     "the last N layers on the device; all (the default there): and the head", .call = set_layers},
    {OPT_FLAG, 0, "list-devices", &o.list_devices, NULL,
     "list where memory can lie, with what is free there, and stop"},
    {OPT_FLAG, 0, "list-kernels", &o.list_kernels, NULL,
     "name the kernel sets of this machine and stop"},
    {OPT_STRING, 0, "ffn-act", &o.act, "NAME",
     "feed-forward activation, silu or relu2, against the file"},
    {OPT_INT, 0, "i2s-group", &o.i2s_group, "N",
     "I2_S packing: 32 (default, all published files) or 16 (made by ARM builds)", .min = 16,
     .max = 32},
    {OPT_FLAG, 0, "no-check", &o.no_check, NULL,
     "do not look for corrupt ternary codes while loading"},
    {OPT_END},
};

static const struct opt_program program = {
    .name = "bitnet-run",
    .synopsis = "[-m FILE] [-p TEXT | -f FILE | --tokens IDS] [-n N] [options]\n"
		"[-m FILE] --jsonl < requests > answers",
    .about = "Generates text with a ternary (BitNet b1.58) model in GGUF form.",
    .examples =
	"  bitnet-run -p 'ROMEO:' -n 60\n"
	"  echo 'What is a ternary weight?' | bitnet-run -m model.gguf --chat > answer.txt\n"
	"  bitnet-run -m model.gguf --json -p Hi | jq -r .text\n",
    .options = options,
};

/* All that is open while we run. */
struct run {
	struct gguf gguf;
	struct vocab *vocab;
	struct session *session;
	struct generate_options gen;
	FILE *logits;
	struct bytes text; /* with --json: the completion */
	double loaded;     /* seconds */
	char device[16];   /* "cuda:0" */
};

static void on_signal(int sig)
{
	stopped = sig;
}

/* The second time the same signal kills. */
static void catch_signals(void)
{
	struct sigaction a = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
	signal(SIGPIPE, SIG_DFL);
}

static void list_kernels(void)
{
	const struct kernels *k;
	const struct kernels *best = kernels_get(NULL);
	int runs;

	for (size_t i = 0; (k = kernels_at(i, &runs)); i++)
		if (runs)
			printf("%s%s\n", k->name, k == best ? " (default)" : "");
}

static int print_json(json_t *j, struct err *e)
{
	int failed = !j || json_dumpf(j, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) ||
	             putchar('\n') == EOF || fflush(stdout);

	json_decref(j);
	return failed ? err_sys(e, "standard output") : 0;
}

static int write_text(void *arg, const char *p, size_t n, struct err *e)
{
	(void)arg;
	if (fwrite(p, 1, n, stdout) != n || fflush(stdout))
		return err_sys(e, "standard output");
	return 0;
}

static int keep_text(void *arg, const char *p, size_t n, struct err *e)
{
	struct run *r = arg;

	return bytes_add(&r->text, p, n, e);
}

static int write_logits(void *arg, const float *rows, size_t n, struct err *e)
{
	struct run *r = arg;
	size_t count = n * session_arch(r->session)->n_vocab;

	for (size_t i = 0; i < count; i++) {
		uint32_t bits;
		memcpy(&bits, &rows[i], 4);
		bits = htole32(bits);
		if (fwrite(&bits, 4, 1, r->logits) != 1)
			return err_sys(e, "%s", o.logits);
	}
	return 0;
}

/* The text of the prompt: borrowed from argv, or read and owned (*owned). */
static int read_prompt(const char **p, size_t *n, char **owned, struct err *e)
{
	const char *file = o.file;

	*owned = NULL;
	if (o.prompt) {
		*p = o.prompt;
		*n = strlen(o.prompt);
		return 0;
	}
	if (!file) {
		if (isatty(STDIN_FILENO))
			return err_set(
			    e, ERR_TROUBLE,
			    "no prompt: give -p TEXT, -f FILE or text on standard input");
		file = "-";
	}
	if (io_slurp(file, PROMPT_LIMIT, owned, n, e))
		return err_in(e, "%s", strcmp(file, "-") ? file : "standard input");
	if (!o.tokenize && *n && (*owned)[*n - 1] == '\n')
		--*n;
	*p = *owned;
	return 0;
}

static int parse_ids(const char *s, struct ids *ids, struct err *e)
{
	while (*s) {
		char *end;
		errno = 0;
		long id = strtol(s, &end, 10);
		if (end == s || errno || id < 0 || id > INT32_MAX)
			return err_set(e, ERR_TROUBLE, "--tokens: '%.20s' is not a token id", s);
		if (ids_push(ids, (int32_t)id, e))
			return -1;
		s = end + strspn(end, " ,\t\n");
	}
	return 0;
}

static struct prompt_options prompt_options(const struct run *r)
{
	return (struct prompt_options){&r->gguf, r->vocab, o.format, o.no_bos, o.no_special};
}

static int encode_prompt(const struct run *r, struct ids *ids, struct err *e)
{
	const struct prompt_options po = prompt_options(r);
	struct chat_message m[2];
	size_t n_messages = 0, n = 0;
	const char *p = NULL;
	char *owned;
	int status;

	if (o.tokens)
		return parse_ids(o.tokens, ids, e);
	if (read_prompt(&p, &n, &owned, e))
		return -1;
	if (o.chat) {
		if (o.system)
			m[n_messages++] =
			    (struct chat_message){"system", o.system, strlen(o.system)};
		m[n_messages++] = (struct chat_message){"user", p, n};
		status = prompt_chat(&po, m, n_messages, ids, e);
	} else {
		status = prompt_text(&po, p, n, ids, e);
	}
	free(owned);
	return status;
}

static int print_ids(const struct run *r, struct err *e)
{
	struct ids ids = {0};
	int status = encode_prompt(r, &ids, e);

	if (status == 0 && o.json) {
		json_t *list = json_array(), *pieces = json_array();
		for (size_t i = 0; i < ids.n; i++) {
			struct gguf_str s = vocab_piece(r->vocab, ids.v[i], NULL);
			json_t *piece = json_stringn(s.p, s.n);
			json_array_append_new(list, json_integer(ids.v[i]));
			json_array_append_new(pieces, piece ? piece : json_string("\xef\xbf\xbd"));
		}
		status = print_json(json_pack("{s:o, s:o}", "ids", list, "pieces", pieces), e);
	} else if (status == 0) {
		for (size_t i = 0; i < ids.n; i++)
			printf("%s%d", i ? " " : "", ids.v[i]);
		putchar('\n');
	}
	ids_free(&ids);
	return status;
}

static void warn(const char *text)
{
	if (!o.quiet)
		fprintf(stderr, "bitnet-run: %s: %s\n", o.model, text);
}

static uint64_t peak_memory(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)u.ru_maxrss * 1024;
}

static void summary(const struct run *r, const struct generate_result *g)
{
	char peak[FMT_SIZE];

	if (o.quiet)
		return;
	fprintf(stderr, "bitnet-run: loaded in %.2f s; %zu prompt tokens", r->loaded, g->n_prompt);
	if (g->prefill > 0)
		fprintf(stderr, " at %.1f tokens/s", (double)g->n_prompt / g->prefill);
	fprintf(stderr, "; %zu tokens", g->tokens.n);
	if (g->decode > 0 && g->tokens.n)
		fprintf(stderr, " at %.1f tokens/s", (double)g->tokens.n / g->decode);
	fprintf(stderr, " (%s); peak memory %s; seed %llu; %s%s%s, %d threads\n",
	        generate_finish_name(g->finish), fmt_size(peak, peak_memory()),
	        (unsigned long long)r->gen.sample.seed,
	        session_device(r->session) ? session_device(r->session) : "",
	        session_device(r->session) ? ", " : "", session_kernel(r->session),
	        session_threads(r->session));
}

/* What the driver holds on the device beside what the plan took there, from the system's own count
 * of this process; negative where that is not told. */
static double driver_memory(const struct run *r)
{
	const pid_t me = getpid();
	struct nvml *n = nvml_open();
	double used = n ? nvml_used(n, &me, 1) : NAN;

	nvml_close(n);
	return isnan(used) ? -1 : used - (double)plan_device_total(session_memory(r->session));
}

static json_t *memory_json(const struct run *r)
{
	json_t *j = plan_json(session_memory(r->session));
	double driver = session_device(r->session) ? driver_memory(r) : -1;

	if (j && session_device(r->session))
		json_object_set_new(j, "driver",
		                    driver < 0 ? json_null() : json_integer((json_int_t)driver));
	return j;
}

static int memory_table(const struct run *r, FILE *out)
{
	int failed = plan_print(session_memory(r->session), out);
	char size[FMT_SIZE];

	if (!session_device(r->session))
		return failed;
	double driver = driver_memory(r);
	if (driver < 0)
		fprintf(out, "%-16s %-9s %16s\n", "driver", "device", "not told");
	else
		fprintf(out, "%-16s %-9s %16llu %12s\n", "driver", "device",
		        (unsigned long long)driver, fmt_size(size, (uint64_t)driver));
	return ferror(out) ? -1 : failed;
}

/* Standard output of one completion: text as it comes, or an object at the end. */
static int complete(struct run *r, struct err *e)
{
	struct generate_result g = {0};
	struct ids ids = {0};
	int status = encode_prompt(r, &ids, e);

	r->gen.text = o.json ? keep_text : write_text;
	r->gen.prompt_logits = r->logits ? write_logits : NULL;
	r->gen.arg = r;
	if (status == 0)
		status = generate_run(&g, r->session, r->vocab, ids.v, ids.n, &r->gen, e);
	if (status == 0 && o.json) {
		json_t *a = request_answer(NULL, r->text.p, r->text.n, r->vocab, &g, &r->gen);
		if (a && o.memory)
			json_object_set_new(a, "memory", memory_json(r));
		status = print_json(a, e);
	}
	if (status == 0 && o.memory && !o.json)
		memory_table(r, stderr);
	if (status == 0 && !o.json && !stopped && g.tokens.n && isatty(STDOUT_FILENO))
		putchar('\n');
	if (status == 0)
		summary(r, &g);
	generate_free(&g);
	ids_free(&ids);
	return status;
}

static int answer_lines(struct run *r, struct err *e)
{
	const struct serve_options so = {
	    .session = r->session,
	    .prompt = prompt_options(r),
	    .defaults = r->gen,
	    .stop = &stopped,
	};

	return serve(&so, STDIN_FILENO, stdout, e);
}

/* Whether so much is to be said that a copy which is read faster pays: making it costs about as
 * much as reading what it stands for 8 to 16 times. */
static int says_much(void)
{
	return o.n < 0 || o.n >= 64;
}

static int head_pays(void)
{
	return says_much() && !o.logprobs && !sample_penalties(&o.sample) &&
	       (o.sample.temperature <= 0 || o.sample.top_k > 0);
}

/* auto: dense where that was measured to be faster. */
static void choose_load(const struct run *r, struct session_options *so)
{
	const struct kernels *k = kernels_get(o.kernel);
	double ratio = INFINITY;
	struct err why = {0};

	/* A kernel set that does not exist is told by the session. */
	if (!o.load_auto || !says_much() || !k || (o.device && strcmp(o.device, "cpu") != 0))
		return;
	/* What cannot be measured is not chosen: the model may fit all the same. */
	if (dense_ratio(&ratio, &r->gguf, k, so->plan.threads, &why) && o.verbose)
		fprintf(stderr, "bitnet-run: %s: dense weights: %s\n", o.model, why.text);
	if (ratio < DENSE_PAYS)
		so->plan.load = WEIGHTS_DENSE;
	if (o.verbose && isfinite(ratio))
		fprintf(stderr,
		        "bitnet-run: %s: products with dense weights take %.0f %% of the time: "
		        "loaded %s\n",
		        o.model, 100 * ratio, plan_load_name(so->plan.load));
}

/* On the first device that can do it; else, when that is allowed, on the host. */
static int open_somewhere(struct run *r, struct session_options *so, struct err *e)
{
	const char *where = o.device ? o.device : "cpu";
	int any = !strcmp(where, "auto"), last = any ? cuda_driver_devices() : 1;

	for (int i = 0; i < last && strcmp(where, "cpu") != 0 && o.gpu_layers; i++) {
		struct err why = {0};
		snprintf(r->device, sizeof r->device, "%s",
		         strcmp(where, "cuda") ? where : "cuda:0");
		if (any)
			snprintf(r->device, sizeof r->device, "cuda:%d", i);
		so->device = r->device;
		so->plan.device_layers = o.gpu_layers;
		if (!session_open(&r->session, &r->gguf, so, &why))
			return 0;
		if (!any) {
			*e = why;
			return -1;
		}
		if (o.verbose)
			fprintf(stderr, "bitnet-run: %s: not on a device: %s\n", o.model, why.text);
	}
	so->device = NULL;
	so->plan.device_layers = 0;
	return session_open(&r->session, &r->gguf, so, e);
}

static int open_session(struct run *r, struct err *e)
{
	struct session_options so = {
	    .plan = {.ctx = (uint32_t)(o.ctx > 0 ? o.ctx : 0),
	             .sequences = (uint32_t)o.sequences,
	             .ubatch = (uint32_t)o.ubatch,
	             .logits_rows = o.logits ? LOGITS_ROWS : (uint32_t)o.draft + 1,
	             .threads = (int)(o.threads ? o.threads : threads_available()),
	             .k_type = o.kv[0],
	             .v_type = o.kv[1],
	             .load = o.load,
	             .screen = o.screen == HEAD_SCREENED},
	    .act = o.act,
	    .kernel = o.kernel,
	    .i2s_group = (int)o.i2s_group,
	    .check = !o.no_check,
	    .pin = o.pin,
	    .stop = &stopped,
	};
	char text[160];

	if (o.screen == HEAD_AUTO)
		so.plan.screen = head_pays();
	if (o.i2s_group != 16 && o.i2s_group != 32)
		return err_set(e, ERR_TROUBLE, "--i2s-group: %lld is neither 16 nor 32",
		               (long long)o.i2s_group);
	if (o.ctx < 0)
		so.plan.ctx = PLAN_CTX_ALL;
	choose_load(r, &so);
	if (vocab_plan(&r->gguf, &so.vocab_bytes, e) || open_somewhere(r, &so, e))
		return -1;
	uint32_t trained = session_arch(r->session)->n_ctx;
	if (session_ctx(r->session) > trained) {
		snprintf(text, sizeof text,
		         "a context of %u tokens is more than the %u it was trained for",
		         session_ctx(r->session), trained);
		warn(text);
	}
	return 0;
}

/* What was decided, for --verbose. */
static void describe(const struct run *r)
{
	const char *pre = vocab_pre(r->vocab);

	for (unsigned i = 0; i < r->gguf.n_warnings; i++)
		fprintf(stderr, "bitnet-run: %s: %s\n", o.model, r->gguf.warnings[i].text);
	fprintf(stderr, "bitnet-run: %s: tokenizer %s of %u tokens\n", o.model,
	        *pre ? pre : "llama", vocab_size(r->vocab));
	if (!r->session)
		return;
	const struct arch *a = session_arch(r->session);
	fprintf(stderr,
	        "bitnet-run: %s: %s, %u layers of %u, feed-forward %u with %s, %u heads, %u of "
	        "keys and "
	        "values, context %u\n",
	        o.model, a->name, a->n_layer, a->n_embd, a->n_ff,
	        a->act == ARCH_RELU2 ? "squared ReLU" : "SiLU", a->n_head, a->n_head_kv,
	        session_ctx(r->session));
}

static int open_model(struct run *r, struct err *e)
{
	double start = clock_now();
	struct arch arch;

	if (gguf_open(&r->gguf, o.model, o.tokenize ? GGUF_HEADER_ONLY : GGUF_FILES_ONLY, e))
		return -1;
	/* What the model is comes first: its tokenizer may be as foreign as the rest. */
	if (!o.tokenize && arch_read(&arch, &r->gguf, o.act, e))
		return -1;
	if (vocab_open(&r->vocab, &r->gguf, o.pre, e))
		return -1;
	if (!o.tokenize && open_session(r, e))
		return -1;
	r->loaded = clock_now() - start;
	if (o.verbose)
		describe(r);
	return 0;
}

static int open_logits(struct run *r, struct err *e)
{
	if (!o.logits)
		return 0;
	r->logits = fopen(o.logits, "wbe");
	return r->logits ? 0 : err_sys(e, "%s", o.logits);
}

static int close_logits(struct run *r, struct err *e)
{
	FILE *f = r->logits;

	r->logits = NULL;
	return f && fclose(f) ? err_sys(e, "%s", o.logits) : 0;
}

static int check_options(struct err *e)
{
	if (!!o.prompt + !!o.file + !!o.tokens + o.jsonl > 1)
		return err_set(e, ERR_TROUBLE,
		               "give one of --prompt, --file, --tokens and --jsonl");
	if (o.logprobs && !o.json && !o.jsonl)
		return err_set(e, ERR_TROUBLE, "--logprobs needs --json or --jsonl");
	if (o.system && !o.chat)
		return err_set(e, ERR_TROUBLE, "--system needs --chat");
	return 0;
}

/* A seed that users can type again: 31 bits. */
static uint64_t choose_seed(void)
{
	uint32_t seed = 0;

	if (o.seed >= 0)
		return (uint64_t)o.seed;
	if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
		seed = (uint32_t)getpid();
	return seed >> 1;
}

static int print_memory(const struct run *r, struct err *e)
{
	if (o.json)
		return print_json(memory_json(r), e);
	return memory_table(r, stdout) ? err_sys(e, "standard output") : 0;
}

static int run(struct run *r, struct err *e)
{
	o.sample.seed = choose_seed();
	r->gen = (struct generate_options){.sample = o.sample,
	                                   .n_predict = o.n,
	                                   .stop = o.stop.v,
	                                   .n_stop = o.stop.n,
	                                   .ignore_eos = o.ignore_eos,
	                                   .logprobs = (int)o.logprobs,
	                                   .draft = o.draft};
	if (open_model(r, e))
		return err_in(e, "%s", o.model);
	if (o.tokenize)
		return print_ids(r, e);
	if (o.memory && !o.prompt && !o.file && !o.tokens && !o.jsonl)
		return print_memory(r, e);
	if (open_logits(r, e))
		return -1;
	return o.jsonl ? answer_lines(r, e) : complete(r, e);
}

static void finish(struct run *r)
{
	session_close(r->session);
	vocab_close(r->vocab);
	gguf_close(&r->gguf);
	bytes_free(&r->text);
}

int main(int argc, char **argv)
{
	struct run r = {0};
	struct err e = {0};
	char path[4200];
	int first, status = opt_parse(&program, argc, argv, &first, &e);

	if (status == OPT_HELP || status == OPT_VERSION) {
		/* A failed write is seen when standard output is closed. */
		status == OPT_HELP ? opt_help(&program, stdout) : opt_version(&program, stdout);
		status = 0;
		goto done;
	}
	if (status == 0 && first < argc)
		status =
		    err_set(&e, ERR_TROUBLE, "no operands are expected, found '%s'", argv[first]);
	if (status == 0)
		status = check_options(&e);
	if (status == 0 && (o.list_kernels || o.list_devices)) {
		if (o.list_devices)
			device_print(stdout);
		if (o.list_kernels)
			list_kernels();
		goto done;
	}
	if (status == 0 && !o.model) {
		status = model_path(path, sizeof path, &e);
		o.model = path;
	}
	if (status == 0) {
		catch_signals();
		status = run(&r, &e);
	}
	if (close_logits(&r, status < 0 ? NULL : &e))
		status = -1;
	if (r.session && session_leave_device(r.session, status < 0 ? NULL : &e))
		status = -1;
	finish(&r);
done:
	if (io_close_stdout(status < 0 ? NULL : &e))
		status = -1;
	if (status < 0) {
		fprintf(stderr, "bitnet-run: %s\n", e.text);
		return e.status;
	}
	return stopped ? 128 + stopped : status;
}
