#include "chat.h"

#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "utf8.h"

enum role { SYSTEM, USER, ASSISTANT, ROLES };

/* A conversation is, for each message, the head of its role, the text, and the tail; then the
 * prompt.  Heads, tails and the prompt are the format's own words: special tokens are
 * recognised there and nowhere else. */
struct chat_format {
	const char *name;
	const char *head[ROLES]; /* NULL: system text goes in front of the user's, see joint */
	const char *joint;
	const char *tail;
	const char *prompt;
	int trims;            /* white space around texts is dropped */
	int has_bos;          /* the template writes a bos; otherwise the vocabulary decides */
	const char *needs[3]; /* tokens that the vocabulary must have */
	const char *marks[3]; /* what the template of this format contains */
	const char *lacks;    /* and does not contain */
};

#define HEADER(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"

static const struct chat_format formats[] = {
    {.name = "bitnet",
     .head = {"System: ", "User: ", "Assistant: "},
     .tail = "<|eot_id|>",
     .prompt = "Assistant: ",
     .trims = 1,
     .has_bos = 1,
     .needs = {"<|eot_id|>"},
     .marks = {"<|eot_id|>", "capitalize"},
     .lacks = "<|start_header_id|>"},
    {.name = "llama3",
     .head = {HEADER("system"), HEADER("user"), HEADER("assistant")},
     .tail = "<|eot_id|>",
     .prompt = HEADER("assistant"),
     .trims = 1,
     .has_bos = 1,
     .needs = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
     .marks = {"<|start_header_id|>", "<|eot_id|>"}},
    {.name = "chatml",
     .head = {"<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n"},
     .tail = "<|im_end|>\n",
     .prompt = "<|im_start|>assistant\n",
     .needs = {"<|im_start|>", "<|im_end|>"},
     .marks = {"<|im_start|>"}},
    {.name = "gemma",
     .head = {NULL, "<start_of_turn>user\n", "<start_of_turn>model\n"},
     .joint = "\n\n",
     .tail = "<end_of_turn>\n",
     .prompt = "<start_of_turn>model\n",
     .trims = 1,
     .has_bos = 1,
     .needs = {"<start_of_turn>", "<end_of_turn>"},
     .marks = {"<start_of_turn>"}},
    {.name = "phi3",
     .head = {"<|system|>\n", "<|user|>\n", "<|assistant|>\n"},
     .tail = "<|end|>\n",
     .prompt = "<|assistant|>\n",
     .needs = {"<|user|>", "<|assistant|>", "<|end|>"},
     .marks = {"<|assistant|>", "<|end|>"}},
    {.name = "falcon3",
     .head = {"<|system|>\n", "<|user|>\n", "<|assistant|>\n"},
     .tail = "\n",
     .prompt = "<|assistant|>\n",
     .needs = {"<|user|>", "<|assistant|>"},
     .marks = {"<|assistant|>", "<|user|>", "</s>"},
     .lacks = "<|end|>"},
};
#define FORMATS (sizeof formats / sizeof formats[0])
#define NEEDS   (sizeof formats[0].needs / sizeof formats[0].needs[0])

const struct chat_format *chat_find(const char *name)
{
	for (size_t i = 0; i < FORMATS; i++)
		if (!strcmp(formats[i].name, name))
			return &formats[i];
	return NULL;
}

const char *chat_name(const struct chat_format *f)
{
	return f->name;
}

static const char *names(char *out, size_t cap)
{
	size_t at = 0;

	for (size_t i = 0; i < FORMATS && at < cap; i++)
		at += (size_t)snprintf(out + at, cap - at, "%s%s", i ? ", " : "", formats[i].name);
	return out;
}

static int contains(struct gguf_str s, const char *text)
{
	return memmem(s.p, s.n, text, strlen(text)) != NULL;
}

static int matches(const struct chat_format *f, struct gguf_str template)
{
	for (size_t i = 0; i < sizeof f->marks / sizeof f->marks[0] && f->marks[i]; i++)
		if (!contains(template, f->marks[i]))
			return 0;
	return !f->lacks || !contains(template, f->lacks);
}

/* The template in the first files of bitnet-b1.58-2B-4T is known to be wrong (answers do not
 * end), so that model is known by its architecture and vocabulary. */
static int is_bitnet_2b(const struct gguf *g, const struct vocab *v)
{
	struct gguf_str arch = {"", 0};

	return !gguf_get_str(g, "general.architecture", &arch, NULL) && arch.n >= 6 &&
	       !memcmp(arch.p, "bitnet", 6) && vocab_size(v) == 128256 && *vocab_pre(v);
}

int chat_detect(const struct chat_format **f, const struct gguf *g, const struct vocab *v,
                struct err *e)
{
	struct gguf_str template;
	char known[128];
	int absent;

	if (is_bitnet_2b(g, v)) {
		*f = chat_find("bitnet");
		return 0;
	}
	absent = gguf_get_str(g, "tokenizer.chat_template", &template, e);
	if (absent < 0)
		return -1;
	for (size_t i = 0; !absent && i < FORMATS; i++)
		if (matches(&formats[i], template)) {
			*f = &formats[i];
			return 0;
		}
	return err_set(e, ERR_TROUBLE, "%s; choose a chat format: %s",
	               absent ? "the model has no chat template"
	                      : "the model's chat template is none that is known",
	               names(known, sizeof known));
}

/* White space as the templates' language strips it. */
static int is_blank(uint32_t c)
{
	return utf8_is_space(c) || (c >= 0x1c && c <= 0x1f);
}

static struct vocab_text trimmed(const char *p, size_t n)
{
	uint32_t c;
	size_t len;

	while ((len = utf8_decode(p, n, &c)) && is_blank(c)) {
		p += len;
		n -= len;
	}
	for (len = 1; len <= 4 && len <= n; len++)
		if (utf8_decode(p + n - len, len, &c) == len && is_blank(c)) {
			n -= len;
			len = 0;
		}
	return (struct vocab_text){p, n, 0};
}

static int role_of(const struct chat_message *m, enum role *role)
{
	static const char *const name[ROLES] = {"system", "user", "assistant"};

	for (*role = SYSTEM; *role < ROLES; ++*role)
		if (!strcmp(m->role, name[*role]))
			return 0;
	return -1;
}

/* The pieces of the whole conversation. */
struct script {
	const struct chat_format *f;
	struct vocab_text *text;
	size_t n;
	struct vocab_text system; /* waiting for the user's message that it goes in front of */
	int waits;
};

static void literal(struct script *s, const char *p)
{
	s->text[s->n++] = (struct vocab_text){p, strlen(p), 1};
}

static void message(struct script *s, enum role role, const struct chat_message *m)
{
	struct vocab_text text =
	    s->f->trims ? trimmed(m->text, m->n) : (struct vocab_text){m->text, m->n, 0};

	if (!s->f->head[role]) {
		s->system = text;
		s->waits = 1;
		return;
	}
	literal(s, s->f->head[role]);
	if (s->waits && role == USER) {
		s->text[s->n++] = s->system;
		literal(s, s->f->joint);
		s->waits = 0;
	}
	s->text[s->n++] = text;
	literal(s, s->f->tail);
}

static int write_all(struct script *s, const struct chat_message *m, size_t n, struct err *e)
{
	enum role role;
	char quoted[40];

	for (size_t i = 0; i < n; i++) {
		if (role_of(&m[i], &role))
			return err_set(
			    e, ERR_TROUBLE,
			    "message %zu: role '%s' is not system, user or assistant", i + 1,
			    err_quote(quoted, sizeof quoted, m[i].role, strlen(m[i].role)));
		if (s->waits && role != USER)
			break;
		message(s, role, &m[i]);
	}
	if (s->waits)
		return err_set(e, ERR_TROUBLE,
		               "chat format %s: a user message must follow the system message",
		               s->f->name);
	literal(s, s->f->prompt);
	return 0;
}

/* A format whose tokens the vocabulary lacks would be read as plain words by the model. */
static int check_needs(const struct chat_format *f, const struct vocab *v, struct err *e)
{
	for (size_t i = 0; i < NEEDS && f->needs[i]; i++)
		if (vocab_find(v, f->needs[i], strlen(f->needs[i])) < 0)
			return err_set(e, ERR_TROUBLE,
			               "chat format %s: the vocabulary has no token %s", f->name,
			               f->needs[i]);
	return 0;
}

int chat_encode(const struct chat_format *f, const struct vocab *v, const struct chat_message *m,
                size_t n, struct ids *out, struct err *e)
{
	struct script s = {.f = f};
	size_t before = out->n;
	int r;

	if (check_needs(f, v, e))
		return -1;
	/* At most head, system text, joint, text and tail each, and the prompt. */
	if (n > SIZE_MAX / 8 || !(s.text = mem_calloc(MEM_SCRATCH, 5 * n + 1, sizeof *s.text, e)))
		return -1;
	r = write_all(&s, m, n, e);
	if (!r && vocab_bos(v) >= 0 && (f->has_bos || vocab_adds_bos(v)))
		r = ids_push(out, vocab_bos(v), e);
	if (!r)
		r = vocab_encode(v, s.text, s.n, 0, out, e);
	if (r)
		out->n = before;
	mem_free(s.text);
	return r;
}
