#include "pretok.h"

#include <stdio.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "mem.h"
#include "utf8.h"

/* White_Space written out: PCRE2's \s also takes U+180E, which Unicode took out of it. */
#define WS                                                                                         \
	"\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}"   \
	"\\x{3000}"

#define ANY_CASE "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define SPACES   "[" WS "]*[\\r\\n]+|[" WS "]+(?![^" WS "])|[" WS "]+"

#define LLAMA3_RE                                                                                  \
	ANY_CASE "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^" WS                              \
		 "\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define QWEN2_RE                                                                                   \
	ANY_CASE "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define QWEN35_RE                                                                                  \
	ANY_CASE "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" WS                           \
		 "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES
#define GPT2_RE                                                                                    \
	"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|[" WS "]+(?![^" WS   \
	"])"
#define THREE_DIGITS "[0-9][0-9][0-9]"

static const struct pretok_kind kinds[] = {
    {"llama-bpe llama3 llama-v3 falcon3 falcon_e falcon-h1 pixtral", {LLAMA3_RE}, 1, 1},
    {"dbrx smaug-bpe", {LLAMA3_RE}, 0, 0},
    {"qwen2 deepseek-r1-qwen stablelm2 megrez", {QWEN2_RE}, 0, 0},
    {"qwen35", {QWEN35_RE}, 0, 0},
    {"gpt-2 phi-2 jina-v2-es jina-v2-de mpt olmo jais", {GPT2_RE}, 0, 0},
    {"starcoder refact command-r smollm", {"\\p{N}", GPT2_RE}, 0, 0},
    {"falcon", {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2_RE, THREE_DIGITS}, 0, 0},
    {"default", {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2_RE, "\\p{N}+", THREE_DIGITS}, 0, 0},
};
#define KINDS   (sizeof kinds / sizeof kinds[0])
#define REGEXES (sizeof kinds[0].regex / sizeof kinds[0].regex[0])

struct pretok {
	pcre2_code *code[REGEXES];
	unsigned n_code;
	pcre2_match_context *match;
	size_t used; /* bytes of the block */
	int full;    /* the block did not suffice */
};

/* What one pretok_split works with. */
struct split {
	const struct pretok *p;
	const char *text; /* well-formed UTF-8, as long as the caller's */
	pcre2_match_data *found;
	int (*word)(void *arg, size_t at, size_t n);
	void *arg;
	struct err *e;
	/* For what the library keeps of a match, some 150 bytes: taking blocks for that from code
	 * without frame pointers would have their stack looked for in its tables. */
	size_t used;
	_Alignas(16) char room[512];
};

const struct pretok_kind *pretok_find(const char *name, size_t n)
{
	for (size_t i = 0; i < KINDS; i++)
		for (const char *s = kinds[i].names; *s;) {
			size_t len = strcspn(s, " ");
			if (len == n && !memcmp(s, name, n))
				return &kinds[i];
			s += len + (s[len] == ' ');
		}
	return NULL;
}

const char *pretok_names(char *out, size_t cap)
{
	size_t at = 0;

	for (size_t i = 0; i < KINDS && at < cap; i++) {
		int n = (int)strcspn(kinds[i].names, " ");
		at += (size_t)snprintf(out + at, cap - at, "%s%.*s", i ? ", " : "", n,
		                       kinds[i].names);
	}
	return out;
}

/* PCRE2's memory is the caller's block, taken from the front; what it frees (the work of its
 * compiler) is not used again, which the size of the block allows for. */
static void *block_take(size_t n, void *block)
{
	struct pretok *p = block;
	size_t need = (n + 15) & ~(size_t)15;

	if (need < n || need > PRETOK_BYTES - p->used) {
		p->full = 1;
		return NULL;
	}
	p->used += need;
	return (char *)block + p->used - need;
}

static void block_free(void *mem, void *block)
{
	(void)mem;
	(void)block;
}

static int too_small(const struct pretok_kind *kind, struct err *e)
{
	return err_set(e, ERR_TROUBLE, "pre-tokenizer %.*s: PCRE2 needs more than its %u bytes",
	               (int)strcspn(kind->names, " "), kind->names, PRETOK_BYTES);
}

static int compile(struct pretok *p, const struct pretok_kind *kind, unsigned i,
                   pcre2_compile_context *ctx, struct err *e)
{
	int code;
	size_t at;

	p->code[i] = pcre2_compile((PCRE2_SPTR)kind->regex[i], PCRE2_ZERO_TERMINATED,
	                           PCRE2_UTF | PCRE2_UCP, &code, &at, ctx);
	if (p->code[i]) {
		p->n_code = i + 1;
		/* Without machine code PCRE2 interprets; that it could not make any is no error. */
		(void)pcre2_jit_compile(p->code[i], PCRE2_JIT_COMPLETE);
	}
	if (p->full)
		return too_small(kind, e);
	if (!p->code[i])
		return err_set(e, ERR_TROUBLE, "pre-tokenizer %.*s: PCRE2 error %d at %zu",
		               (int)strcspn(kind->names, " "), kind->names, code, at);
	return 0;
}

int pretok_open(struct pretok **out, const struct pretok_kind *kind, void *block, struct err *e)
{
	struct pretok *p = memset(block, 0, sizeof *p);

	p->used = (sizeof *p + 15) & ~(size_t)15;
	pcre2_general_context *general = pcre2_general_context_create(block_take, block_free, p);
	pcre2_compile_context *ctx = general ? pcre2_compile_context_create(general) : NULL;
	p->match = general ? pcre2_match_context_create(general) : NULL;
	if (!ctx || !p->match)
		return too_small(kind, e);
	/* Long runs of one class are legitimate text: the work is linear, only the default limits
	 * are not made for it. */
	pcre2_set_match_limit(p->match, UINT32_MAX);
	pcre2_set_heap_limit(p->match, UINT32_MAX);
	for (unsigned i = 0; i < REGEXES && kind->regex[i]; i++)
		if (compile(p, kind, i, ctx, e)) {
			pretok_close(p);
			return -1;
		}
	*out = p;
	return 0;
}

void pretok_close(struct pretok *p)
{
	for (unsigned i = 0; p && i < p->n_code; i++)
		pcre2_code_free(p->code[i]);
}

/* Splits text[at, at + n) by the expressions from level on: matches, and what lies between
 * them, are pieces for the next level.  Each piece is a subject of its own, so that what an
 * expression looks ahead to ends where the piece does. */
static int split(const struct split *s, unsigned level, size_t at, size_t n)
{
	size_t done = 0;
	int r;

	if (level == s->p->n_code)
		return s->word(s->arg, at, n);
	while (done < n) {
		r = pcre2_match(s->p->code[level], (PCRE2_SPTR)s->text + at, n, done,
		                PCRE2_NO_UTF_CHECK, s->found, s->p->match);
		if (r == PCRE2_ERROR_NOMATCH)
			return split(s, level + 1, at + done, n - done);
		if (r < 0)
			return err_set(s->e, ERR_TROUBLE, "pre-tokenizer: PCRE2 error %d", r);
		size_t from = pcre2_get_ovector_pointer(s->found)[0];
		size_t to = pcre2_get_ovector_pointer(s->found)[1];
		if (from > done && split(s, level + 1, at + done, from - done))
			return -1;
		if (split(s, level + 1, at + from, to - from))
			return -1;
		done = to;
	}
	return 0;
}

/* A copy of text in which each byte that is not part of a character is a control character:
 * that is of class "other" and keeps all offsets. */
static char *with_stand_ins(const char *text, size_t n, size_t bad, struct err *e)
{
	char *copy = mem_alloc(MEM_SCRATCH, n, e);

	if (!copy)
		return NULL;
	memcpy(copy, text, n);
	while (bad < n) {
		copy[bad++] = 1;
		bad += utf8_check(copy + bad, n - bad);
	}
	return copy;
}

static void *match_take(size_t n, void *arg)
{
	struct split *s = arg;
	size_t at = s->used;

	if (n > sizeof s->room - at)
		return mem_alloc(MEM_SCRATCH, n, s->e);
	s->used = (at + n + 15) & ~(size_t)15;
	return s->room + at;
}

static void match_free(void *p, void *arg)
{
	const struct split *s = arg;

	if ((char *)p < s->room || (char *)p >= s->room + sizeof s->room)
		mem_free(p);
}

int pretok_split(const struct pretok *p, const char *text, size_t n,
                 int (*word)(void *arg, size_t at, size_t n), void *arg, struct err *e)
{
	struct split s = {.p = p, .text = text, .word = word, .arg = arg, .e = e};
	size_t bad = utf8_check(text, n);
	char *copy = NULL;
	pcre2_general_context *general;
	int r = -1;

	if (bad < n && !(s.text = copy = with_stand_ins(text, n, bad, e)))
		return -1;
	general = pcre2_general_context_create(match_take, match_free, &s);
	s.found = general ? pcre2_match_data_create(1, general) : NULL;
	if (s.found)
		r = split(&s, 0, 0, n);
	pcre2_match_data_free(s.found);
	pcre2_general_context_free(general);
	mem_free(copy);
	return r;
}
