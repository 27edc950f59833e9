/*
 * Tokenizers of checkpoints: what the vectors say (where they are at hand), small ones written here
 * in every spelling, and files whose parts contradict each other.
 */
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "hf_vocab.h"
#include "io.h"
#include "json.h"
#include "unit.h"
#include "vocab.h"

static char dir[] = "/tmp/unit_hf_vocab.XXXXXX";

static void clear_dir(void)
{
	DIR *d = opendir(dir);
	struct dirent *f;

	while (d && (f = readdir(d)))
		if (f->d_name[0] != '.')
			unlinkat(dirfd(d), f->d_name, 0);
	if (d)
		closedir(d);
}

static void put_n(const char *name, const void *p, size_t n)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	if ((f = fopen(path, "wb"))) {
		fwrite(p, 1, n, f);
		fclose(f);
	}
}

static void put(const char *name, const char *text)
{
	put_n(name, text, strlen(text));
}

static struct hf_vocab v;

static int read_dir(uint32_t size)
{
	struct err e = {0};

	CHECK_INT(hf_vocab_open(&v, dir, size, 2, &e), 0);
	CHECK_STR(e.text, "");
	return e.status;
}

static void refuse(uint32_t size, int status, const char *text)
{
	struct err e = {0};

	CHECK_INT(hf_vocab_open(&v, dir, size, 2, &e), -1);
	CHECK_INT(e.status, status);
	CHECK_STR(e.text, text);
	CHECK(!v.owned && !v.merges);
}

static void check_token(uint32_t id, const char *piece, int type)
{
	CHECK_INT(v.tokens[id].n, strlen(piece));
	CHECK(v.tokens[id].n == strlen(piece) && !memcmp(v.tokens[id].p, piece, strlen(piece)));
	CHECK_INT(v.types[id], type);
}

static void check_merge(uint32_t i, const char *text)
{
	CHECK(i < v.n_merges && v.merges[i].n == strlen(text) &&
	      !memcmp(v.merges[i].p, text, strlen(text)));
}

#define LLAMA3_STEPS                                                                               \
	"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"    \
	"\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?"  \
	"[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},"    \
	"\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\","                     \
	"\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false}]}"
#define BYTE_STEP "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"

/* A byte-level tokenizer.json with these merges and this pre-tokenizer. */
static void put_bpe(const char *merges, const char *steps, const char *added)
{
	char text[4096];

	snprintf(
	    text, sizeof text,
	    "{\"added_tokens\":[%s],\"normalizer\":null,\"pre_tokenizer\":%s,\"model\":{\"type\":"
	    "\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"\xc4\xa0\":3,\"abab\":4},\"merges\":[%s]"
	    "}}",
	    added, steps, merges);
	clear_dir();
	put("tokenizer.json", text);
}

static void merges_in_both_spellings(void)
{
	static const char *const spelling[] = {"\"a b\",\"ab ab\"",
	                                       "[\"a\",\"b\"],[\"ab\",\"ab\"]"};

	for (int i = 0; i < 2; i++) {
		put_bpe(spelling[i], LLAMA3_STEPS,
		        "{\"id\":6,\"content\":\"<s>\",\"special\":true},{\"id\":7,\"content\":\"x "
		        "y\",\"special\":false}");
		if (read_dir(9))
			return;
		CHECK_STR(v.model, "gpt2");
		CHECK_STR(v.pre, "llama-bpe");
		CHECK_INT(v.n, 9);
		CHECK_INT(v.n_merges, 2);
		check_merge(0, "a b");
		check_merge(1, "ab ab");
		check_token(2, "ab", 1);
		check_token(5, "[PAD5]", 5);
		check_token(6, "<s>", 3);
		check_token(7, "x y", 4);
		check_token(8, "[PAD8]", 5);
		CHECK(!v.scores);
		CHECK_INT(v.bos, -1);
		CHECK_INT(v.add_bos, 0);
		CHECK_INT(v.add_space_prefix, -1);
		hf_vocab_close(&v);
	}
}

static void pre_tokenizers_by_their_steps(void)
{
	static const struct {
		const char *steps, *pre;
	} t[] = {
	    {BYTE_STEP, "gpt-2"},
	    {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":"
	     "true}," BYTE_STEP "]}",
	     "starcoder"},
	    {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Punctuation\",\"behavior\":"
	     "\"Contiguous\"}," BYTE_STEP
	     ",{\"type\":\"Digits\",\"individual_digits\":false},{\"type\":\"Split\",\"pattern\":{"
	     "\"Regex\":\"[0-9][0-9][0-9]\"},\"behavior\":\"Isolated\",\"invert\":false}]}",
	     "falcon"},
	    {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
	     "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "
	     "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}"
	     ",\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_"
	     "space\":false,\"use_regex\":false}]}",
	     "qwen2"},
	};

	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		put_bpe("\"a b\"", t[i].steps, "");
		if (!read_dir(5))
			CHECK_STR(v.pre, t[i].pre);
		hf_vocab_close(&v);
	}
	put_bpe("\"a b\"",
	        "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\d\"},\"behavior\":\"Isolated\"}",
	        "");
	refuse(5, ERR_TROUBLE, "tokenizer.json: pre_tokenizer: Split '\\d' is none that is known");
	put_bpe("\"a b\"", "{\"type\":\"Whitespace\"}", "");
	refuse(5, ERR_TROUBLE, "tokenizer.json: pre_tokenizer: Whitespace is none that is known");
	put_bpe("\"a b\"", "null", "");
	refuse(5, ERR_TROUBLE,
	       "tokenizer.json: pre_tokenizer: its steps are together none that is known");
	put_bpe("\"a b\"", "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", "");
	refuse(5, ERR_TROUBLE, "tokenizer.json: pre_tokenizer: ByteLevel is none that is known");
}

static void special_ids_and_templates(void)
{
	put_bpe("\"a b\"", BYTE_STEP,
	        "{\"id\":5,\"content\":\"<s>\",\"special\":true},{\"id\":6,\"content\":\"</"
	        "s>\",\"special\":true}");
	put("config.json", "{\"bos_token_id\":0,\"eos_token_id\":[6,5],\"pad_token_id\":-1}");
	put("generation_config.json",
	    "{\"eos_token_id\":[6,7],\"pad_token_id\":3,\"bos_token_id\":99}");
	put("special_tokens_map.json", "{\"unk_token\":{\"content\":\"ab\"},\"bos_token\":\"b\"}");
	put("tokenizer_config.json",
	    "{\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"</s>\",\"add_bos_token\":true,"
	    "\"chat_template\":[{\"name\":\"rag\",\"template\":\"R\"},{\"name\":\"default\","
	    "\"template\":\"D\"}],\"added_tokens_decoder\":{\"7\":{\"content\":\"<e>\",\"special\":"
	    "true},\"5\":{\"content\":\"<s>\",\"special\":false}}}");
	if (read_dir(8))
		return;
	CHECK_INT(v.bos, 5);
	CHECK_INT(v.eos, 6);
	CHECK_INT(v.eot, 5);
	CHECK_INT(v.unk, 2);
	CHECK_INT(v.pad, 3);
	CHECK_INT(v.add_bos, 1);
	CHECK_INT(v.add_eos, 0);
	check_token(7, "<e>", 3);
	check_token(5, "<s>", 3);
	CHECK(v.chat_template.n == 1 && *v.chat_template.p == 'D');
	hf_vocab_close(&v);
	put("chat_template.jinja", "{{ J }}");
	if (read_dir(8))
		return;
	CHECK(v.chat_template.n == 7 && !memcmp(v.chat_template.p, "{{ J }}", 7));
	hf_vocab_close(&v);
}

/* Files beside a tokenizer that speak of what it does not have, or in other kinds of values. */
static void settings_that_contradict(void)
{
	static const struct {
		const char *file, *text, *error;
	} bad[] = {
	    {"tokenizer_config.json", "{\"eos_token\":\"nowhere\"}",
	     "tokenizer_config.json: eos_token 'nowhere' is no token of the tokenizer"},
	    {"special_tokens_map.json", "{\"bos_token\":{\"content\":\"<x>\"}}",
	     "special_tokens_map.json: bos_token '<x>' is no token of the tokenizer"},
	    {"tokenizer_config.json", "{\"bos_token\":{}}",
	     "tokenizer_config.json: bos_token is an object without content, expected a string"},
	    {"tokenizer_config.json", "{\"unk_token\":5}",
	     "tokenizer_config.json: unk_token is an integer, expected a string"},
	    {"tokenizer_config.json", "{\"chat_template\":5}",
	     "tokenizer_config.json: chat_template is an integer, expected a string"},
	    {"tokenizer_config.json", "{\"added_tokens_decoder\":[]}",
	     "tokenizer_config.json: added_tokens_decoder is an array, expected an object"},
	    {"generation_config.json", "{\"eos_token_id\":[\"b\"]}",
	     "generation_config.json: eos_token_id is a string, expected an id"},
	};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		put_bpe("\"a b\"", BYTE_STEP, "");
		put(bad[i].file, bad[i].text);
		refuse(5, ERR_TROUBLE, bad[i].error);
	}
	/* What no text begins or ends with may be missing. */
	put_bpe("\"a b\"", BYTE_STEP, "");
	put("tokenizer_config.json", "{\"pad_token\":\"nowhere\",\"bos_token\":null}");
	if (read_dir(5))
		return;
	CHECK_INT(v.pad, -1);
	CHECK_INT(v.bos, -1);
	hf_vocab_close(&v);
}

/* What the last step of a tokenizer.json puts around a text. */
static void post_processor_adds_tokens(void)
{
	static const char text[] =
	    "{\"added_tokens\":[{\"id\":1,\"content\":\"<s>\",\"special\":true}],\"pre_"
	    "tokenizer\":" BYTE_STEP
	    ",\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},{"
	    "\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{"
	    "\"Sequence\":{\"id\":\"A\"}}]}]},\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}";

	clear_dir();
	put("tokenizer.json", text);
	if (read_dir(2))
		return;
	CHECK_INT(v.bos, 1);
	CHECK_INT(v.add_bos, 1);
	CHECK_INT(v.add_eos, 0);
	CHECK_INT(v.n_merges, 0);
	hf_vocab_close(&v);
}

#define FALLBACK(normalizer, pre)                                                                  \
	"{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":9,"          \
	"\"content\":\"x\",\"special\":false}],\"normalizer\":" normalizer                         \
	",\"pre_tokenizer\":" pre                                                                  \
	",\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"byte_fallback\":true,\"vocab\":{"  \
	"\"<unk>\":0,\"<0x41>\":1,\"a\":2,\"b\":3,\"ab\":4,\"aab\":5,\"far\":6,\"\\n\":7},"        \
	"\"merges\":[\"a b\",\"a ab\",\"a b\"]}}"
#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}"

static void byte_fallback_becomes_llama(void)
{
	clear_dir();
	put("tokenizer.json", FALLBACK(REPLACE, "null"));
	if (read_dir(10))
		return;
	CHECK_STR(v.model, "llama");
	CHECK_STR(v.pre, "default");
	CHECK_INT(v.unk, 0);
	CHECK_INT(v.add_space_prefix, 0);
	CHECK_INT(v.n_merges, 0);
	check_token(0, "<unk>", 2);
	check_token(1, "<0x41>", 6);
	check_token(7, "\n", 1);
	check_token(8, "[PAD8]", 5);
	check_token(9, "x", 4);
	CHECK(v.scores[2] == 0 && v.scores[4] == 0 && v.scores[5] == -1);
	CHECK(v.scores[6] < -2); /* no merge makes it: after all that merges make */
	CHECK(v.scores[8] == -1000 && v.scores[9] == -1000);
	hf_vocab_close(&v);
	put("tokenizer.json", FALLBACK("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":"
	                               "\"Prepend\",\"prepend\":\"\xe2\x96\x81\"}," REPLACE "]}",
	                               "null"));
	if (!read_dir(10))
		CHECK_INT(v.add_space_prefix, 1);
	hf_vocab_close(&v);
	put("tokenizer.json",
	    FALLBACK("null", "{\"type\":\"Metaspace\",\"prepend_scheme\":\"first\"}"));
	if (!read_dir(10))
		CHECK_INT(v.add_space_prefix, 1);
	hf_vocab_close(&v);
	put("tokenizer.json", FALLBACK("null", "null"));
	refuse(10, ERR_TROUBLE, "tokenizer.json: normalizer: nothing replaces spaces by U+2581");
	put("tokenizer.json", FALLBACK("{\"type\":\"Lowercase\"}", "null"));
	refuse(10, ERR_TROUBLE, "tokenizer.json: normalizer: Lowercase is not supported");
}

static void contradictions_are_refused(void)
{
	put_bpe("\"a b\"", BYTE_STEP, "");
	refuse(4, ERR_TROUBLE,
	       "tokenizer.json: model.vocab: token 'abab' has id 4, but the vocabulary size is 4");
	put_bpe("\"a b\"", BYTE_STEP, "{\"id\":2,\"content\":\"c\"}");
	refuse(9, ERR_TROUBLE,
	       "tokenizer.json: added_tokens: id 2 has two tokens, the second is 'c'");
	put_bpe("\"a b\"", BYTE_STEP, "{\"id\":7,\"content\":\"ab\"}");
	refuse(9, ERR_TROUBLE, "tokenizer.json: added_tokens: token 'ab' has two ids, 2 and 7");
	put_bpe("\"a b\"", BYTE_STEP, "{\"content\":\"ab\"}");
	refuse(9, ERR_TROUBLE, "tokenizer.json: added_tokens: entry 0 has no id");
	put_bpe("\"a b\"", BYTE_STEP, "{\"id\":7}");
	refuse(9, ERR_TROUBLE,
	       "tokenizer.json: added_tokens: the added token of id 7 has no content");
	put_bpe("\"a b\",\"b a\"", BYTE_STEP, "");
	refuse(9, ERR_TROUBLE,
	       "tokenizer.json: model.merges: merge 1 is of or makes what is no token");
	put_bpe("\"a b\",\"ab\"", BYTE_STEP, "");
	refuse(9, ERR_TROUBLE, "tokenizer.json: model.merges: merge 1 is not two pieces");
	put_bpe("[\"a\",1]", BYTE_STEP, "");
	refuse(9, ERR_TROUBLE, "tokenizer.json: model.merges: merge 0 is not two pieces");
	put_bpe("\"a b\"", BYTE_STEP, "");
	put("tokenizer_config.json", "{\"added_tokens_decoder\":{\"1\":{\"content\":\"z\"}}}");
	refuse(
	    9, ERR_TROUBLE,
	    "tokenizer_config.json: added_tokens_decoder: id 1 has two tokens, the second is 'z'");
	put("tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":{\"content\":\"z\"}}}");
	refuse(9, ERR_TROUBLE, "tokenizer_config.json: added_tokens_decoder: a key that is no id");
	put("tokenizer_config.json", "[]");
	refuse(9, ERR_TROUBLE, "tokenizer_config.json: an array, expected an object");
	clear_dir();
	refuse(9, ERR_SHORT, "no tokenizer.json and no tokenizer.model");
	refuse(0, ERR_TROUBLE, "a vocabulary of 0 tokens (1 to 4194304 are possible)");
	put("tokenizer.json", "{\"model\":{\"type\":\"Unigram\"}}");
	refuse(9, ERR_TROUBLE,
	       "tokenizer.json: model.type: 'Unigram' is not supported (supported: BPE)");
	put("tokenizer.json", "{\"model\":{\"vocab\":{},\"merges\":1}}");
	refuse(9, ERR_TROUBLE, "tokenizer.json: model.merges: missing, or not an array");
	put("tokenizer.json", "{}");
	refuse(9, ERR_TROUBLE, "tokenizer.json: model: missing, or not an object");
	put("tokenizer.json", "{");
	refuse(
	    9, ERR_TROUBLE,
	    "tokenizer.json: not JSON: line 1 column 1: string or '}' expected near end of file");
}

/* Ten million brackets are refused at the depth that the JSON library allows. */
static void nested_brackets_are_refused(void)
{
	size_t n = 10000000;
	char *text = malloc(n);
	struct err e = {0};

	memset(text, '[', n);
	clear_dir();
	put_n("tokenizer.json", text, n);
	CHECK_INT(hf_vocab_open(&v, dir, 9, 1, &e), -1);
	CHECK_INT(e.status, ERR_TROUBLE);
	CHECK(strstr(e.text, "maximum parsing depth") != NULL);
	free(text);
}

/* Every beginning of a file is refused or, where it happens to be whole, read. */
static void cut_files_are_refused(const char *name, const uint8_t *p, size_t n)
{
	clear_dir();
	for (size_t i = 0; i < n; i++) {
		struct err e = {0};
		put_n(name, p, i);
		if (hf_vocab_open(&v, dir, 16, 1, &e))
			CHECK(e.status == ERR_TROUBLE && e.text[0]);
		else
			hf_vocab_close(&v);
	}
}

static void cut_json_is_refused(void)
{
	static const char text[] = FALLBACK(REPLACE, "null");

	cut_files_are_refused("tokenizer.json", (const uint8_t *)text, sizeof text - 1);
}

/* Pieces <unk> (2), <s> (3), a with score -1.5, <0x41> (6), trainer: BPE, ids; normalizer: no
 * space. */
static const uint8_t spm[] = {0x0a, 9,    0x0a, 5,    '<',  'u',  'n',  'k',  '>',  0x18, 2,
                              0x0a, 7,    0x0a, 3,    '<',  's',  '>',  0x18, 3,    0x0a, 8,
                              0x0a, 1,    'a',  0x15, 0x00, 0x00, 0xc0, 0xbf, 0x0a, 10,   0x0a,
                              6,    '<',  '0',  'x',  '4',  '1',  '>',  0x18, 6,    0x12, 18,
                              0x18, 2,    0xc0, 0x02, 0,    0xc8, 0x02, 1,    0xd0, 0x02, 2,
                              0xd8, 0x02, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x1a, 2,    0x18, 0};
#define SPM_MODEL_TYPE 45

static void sentencepiece_models(void)
{
	uint8_t copy[sizeof spm];

	clear_dir();
	put_n("tokenizer.model", spm, sizeof spm);
	put("added_tokens.json", "{\"<pad>\":4}");
	if (read_dir(6))
		return;
	CHECK_STR(v.model, "llama");
	check_token(0, "<unk>", 2);
	check_token(1, "<s>", 3);
	check_token(2, "a", 1);
	check_token(3, "<0x41>", 6);
	check_token(4, "<pad>", 4);
	check_token(5, "[PAD5]", 5);
	CHECK(v.scores[2] == -1.5f && v.scores[4] == -1000 && v.scores[5] == -1000);
	CHECK_INT(v.unk, 0);
	CHECK_INT(v.bos, 1);
	CHECK_INT(v.eos, 2);
	CHECK_INT(v.pad, -1);
	CHECK_INT(v.add_space_prefix, 0);
	hf_vocab_close(&v);
	memcpy(copy, spm, sizeof spm);
	copy[SPM_MODEL_TYPE] = 1;
	put_n("tokenizer.model", copy, sizeof spm);
	refuse(6, ERR_TROUBLE,
	       "tokenizer.model: model type 1 is not supported (supported: 2, BPE)");
	refuse(3, ERR_TROUBLE,
	       "tokenizer.model: token '<0x41>' has id 3, but the vocabulary size is 3");
	cut_files_are_refused("tokenizer.model", spm, sizeof spm);
}

/* Ranks as Llama 3's: all bytes, then made-up tokens; merges follow from the ranks. */
static void tiktoken_ranks(void)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *text = malloc(128000 * 24), *p = text;
	char a, b, c;

	for (int i = 0; i < 128000; i++) {
		uint32_t three = i < 256 ? (uint32_t)i << 16 : 0x800000u + (uint32_t)(i - 256);
		a = digits[three >> 18];
		b = digits[three >> 12 & 63];
		c = digits[three >> 6 & 63];
		if (i < 256)
			p += sprintf(p, "%c%c== %d\n", a, b, i);
		else
			p += sprintf(p, "%c%c%c%c %d\n", a, b, c, digits[three & 63], i);
	}
	clear_dir();
	put_n("tokenizer.model", text, (size_t)(p - text));
	if (!read_dir(128256)) {
		CHECK_STR(v.model, "gpt2");
		CHECK_STR(v.pre, "llama-bpe");
		CHECK_INT(v.n_merges, 0);
		check_token('a', "a", 1);
		check_token(' ', "\xc4\xa0", 1);
		check_token(0xad, "\xc5\x83", 1);
		check_token(0x7f, "\xc4\xa1", 1);
		check_token(128000, "<|begin_of_text|>", 3);
		check_token(128002, "<|reserved_special_token_0|>", 3);
		check_token(128008, "<|reserved_special_token_4|>", 3);
		check_token(128009, "<|eot_id|>", 3);
		check_token(128255, "<|reserved_special_token_250|>", 3);
		CHECK_INT(v.bos, 128000);
		CHECK_INT(v.eos, 128001);
	}
	hf_vocab_close(&v);
	/* "ab" (YWI=) and "abc" (YWJj) as the last two: "a b", "ab c" */
	p = strstr(text, " 127998\n");
	while (p[-1] != '\n')
		p--;
	p += sprintf(p, "YWI= 127998\nYWJj 127999\n");
	put_n("tokenizer.model", text, (size_t)(p - text));
	if (!read_dir(128256)) {
		CHECK_INT(v.n_merges, 2);
		check_merge(0, "a b");
		check_merge(1, "ab c");
	}
	hf_vocab_close(&v);
	put("tokenizer.model", "IQ== 0\nIg== 1\n");
	refuse(
	    9, ERR_TROUBLE,
	    "tokenizer.model: 2 ranks; only the file of Llama 3 (128000) says all that is needed");
	put("tokenizer.model", "IQ== 1\n");
	refuse(9, ERR_TROUBLE, "tokenizer.model: line 1 has rank 1, expected 0");
	put("tokenizer.model", "I?== 0\n");
	refuse(9, ERR_TROUBLE, "tokenizer.model: line 1 is not a rank file's");
	put("tokenizer.model", "IQ==\n");
	refuse(9, ERR_TROUBLE, "tokenizer.model: line 1 is not a rank file's");
	free(text);
}

static const char *shared(char *out, size_t cap, const char *file)
{
	const char *base = getenv("BITNET_SHARED");

	snprintf(out, cap, "%s/vectors/checkpoints/%s", base ? base : "../shared", file);
	return out;
}

/* Lines "id TAB type TAB JSON string" behind a heading. */
static void check_tokens(const char *name, uint32_t size)
{
	char path[1024], file[64], *text, *line;
	struct err e = {0};
	size_t n;
	uint32_t i = 0;

	CHECK_INT(hf_vocab_open(&v, shared(path, sizeof path, name), size, 1, &e), 0);
	CHECK_STR(e.text, "");
	snprintf(file, sizeof file, "%s.tokens.tsv", name);
	CHECK_INT(io_slurp(shared(path, sizeof path, file), 1 << 20, &text, &n, &e), 0);
	if (e.status)
		return;
	for (line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1, i++) {
		char *type = strchr(line, '\t') + 1, *piece = strchr(type, '\t') + 1;
		json_t *want = json_loadb(piece, strcspn(piece, "\n"), JSON_DECODE_ANY, NULL);
		CHECK_INT(atoi(line), i);
		check_token(i, json_string_value(want), atoi(type));
		json_decref(want);
	}
	CHECK_INT(i, size);
	CHECK_INT(v.n, size);
	free(text);
}

static void vectors_of_checkpoints(void)
{
	check_tokens("a-packed", 320);
	CHECK_INT(v.bos, 286);
	CHECK_INT(v.eos, 288);
	CHECK_INT(v.eot, -1); /* the other end, <|end_of_text|>, is known by its name */
	CHECK_INT(v.add_bos, 1);
	CHECK_INT(v.n_merges, 30);
	CHECK(v.chat_template.n > 100 && !memcmp(v.chat_template.p, "{% set loop", 11));
	hf_vocab_close(&v);
	check_tokens("b-master", 320);
	CHECK_INT(v.n_merges, 30);
	hf_vocab_close(&v);
	check_tokens("c-packed-llama", 320);
	CHECK_STR(v.pre, "llama-bpe");
	hf_vocab_close(&v);
	check_tokens("d-float-shards", 352);
	CHECK_STR(v.model, "llama");
	CHECK_INT(v.bos, 1);
	CHECK_INT(v.eos, 2);
	CHECK_INT(v.add_bos, 1);
	hf_vocab_close(&v);
}

/* Bytes that a header is put into. */
struct bytes {
	uint8_t *p;
	size_t n;
};

static int append(void *arg, const void *p, size_t n, struct err *e)
{
	struct bytes *b = arg;

	(void)e;
	b->p = realloc(b->p, b->n + n + 1);
	memcpy(b->p + b->n, p, n);
	b->n += n;
	return 0;
}

/* v as the GGUF file that hf_vocab_write makes; the bytes must outlive g. */
static void to_gguf(struct bytes *b, struct gguf *g)
{
	struct gguf_write w = {0};
	struct err e = {0};

	memset(b, 0, sizeof *b);
	CHECK_INT(gguf_write_str(&w, "general.architecture", "llama", 5, &e), 0);
	CHECK_INT(hf_vocab_write(&v, &w, &e), 0);
	CHECK_INT(gguf_write_layout(&w, 0, &e), 0);
	CHECK_INT(gguf_write_header(&w, 0, append, b, &e), 0);
	CHECK_INT(gguf_parse(g, b->p, b->n, GGUF_HEADER_ONLY, &e), 0);
	CHECK_STR(e.text, "");
	gguf_write_free(&w);
}

static int same_value(const struct gguf *a, const struct gguf *b, const char *key)
{
	const struct gguf_kv *x = gguf_find(a, key), *y = gguf_find(b, key);

	return x && y && x->type == y->type && x->count == y->count && x->bytes == y->bytes &&
	       !memcmp(x->data, y->data, x->bytes);
}

/* Writes g into the directory, reads that, and leaves the file that it makes in back. */
static void there_and_back(const struct gguf *g, uint32_t size, struct bytes *b, struct gguf *back)
{
	struct err e = {0};

	clear_dir();
	CHECK_INT(hf_vocab_export(g, dir, &e), 0);
	CHECK_STR(e.text, "");
	CHECK_INT(hf_vocab_open(&v, dir, size, 1, &e), 0);
	CHECK_STR(e.text, "");
	to_gguf(b, back);
	hf_vocab_close(&v);
}

#define KEY "tokenizer.ggml."

/* Byte-level: nothing is lost. */
static void check_exact(const char *pre, const struct gguf *g, uint32_t size)
{
	static const char *const keys[] = {KEY "model",  KEY "tokens",       KEY "token_type",
	                                   KEY "merges", KEY "bos_token_id", KEY "eos_token_id"};
	struct gguf_str got = {"", 0};
	struct bytes b;
	struct gguf back;

	there_and_back(g, size, &b, &back);
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		CHECK(gguf_find(g, keys[i]) ? same_value(g, &back, keys[i])
		                            : !gguf_find(&back, keys[i]));
	gguf_get_str(&back, KEY "pre", &got, NULL);
	CHECK(got.n == strlen(pre) && !memcmp(got.p, pre, got.n));
	gguf_close(&back);
	free(b.p);
}

static void every_pre_tokenizer_comes_back(void)
{
	static const char *const pre[] = {"llama-bpe", "qwen2",  "qwen35", "gpt-2",
	                                  "starcoder", "falcon", "default"};

	for (size_t i = 0; i < sizeof pre / sizeof pre[0]; i++) {
		struct bytes b;
		struct gguf g;
		put_bpe("\"a b\",\"ab ab\"", LLAMA3_STEPS,
		        "{\"id\":5,\"content\":\"<s>\",\"special\":true},{\"id\":6,\"content\":"
		        "\"u\\u0000\\\"\",\"special\":false}");
		put("config.json", "{\"bos_token_id\":5,\"eos_token_id\":[4,5]}");
		put("chat_template.jinja", "{{ \"x\" }}");
		if (read_dir(9))
			return;
		v.pre = pre[i];
		v.add_bos = 1;
		to_gguf(&b, &g);
		hf_vocab_close(&v);
		check_exact(pre[i], &g, 9);
		gguf_close(&g);
		free(b.p);
	}
}

/* Special tokens between the others, and rows without a token, keep their ids. */
static void holes_come_back(void)
{
	struct bytes b;
	struct gguf g;

	put_bpe("\"a b\"", BYTE_STEP, "{\"id\":7,\"content\":\"<s>\",\"special\":true}");
	if (read_dir(9))
		return;
	to_gguf(&b, &g);
	hf_vocab_close(&v);
	check_exact("gpt-2", &g, 9);
	gguf_close(&g);
	free(b.p);
}

static void no_merges_are_a_vocabulary(void)
{
	struct vocab *vocab = NULL;
	struct err e = {0};
	struct bytes b;
	struct gguf g;

	put_bpe("", BYTE_STEP, "");
	if (read_dir(5))
		return;
	to_gguf(&b, &g);
	hf_vocab_close(&v);
	CHECK_INT(vocab_open(&vocab, &g, NULL, &e), 0);
	CHECK_STR(e.text, "");
	vocab_close(vocab);
	gguf_close(&g);
	free(b.p);
}

static void exports_what_it_can(void)
{
	struct err e = {0};
	struct bytes b;
	struct gguf g;

	put_bpe("\"a b\"", BYTE_STEP, "");
	if (read_dir(5))
		return;
	v.tokens[4].p = "\xff\xff\xff\xff";
	to_gguf(&b, &g);
	hf_vocab_close(&v);
	CHECK_INT(hf_vocab_export(&g, dir, &e), -1);
	CHECK_STR(e.text,
	          "tokenizer.json: token '\\xff\\xff\\xff\\xff' is not UTF-8, which JSON needs");
	CHECK_INT(hf_vocab_export(&g, "/no/such", &e), -1);
	CHECK_INT(e.status, ERR_TROUBLE);
	gguf_close(&g);
	free(b.p);
}

static int try_read(void *arg, struct err *e)
{
	return hf_vocab_open(&v, dir, *(const uint32_t *)arg, 1, e);
}

static int try_read_ahead(void *arg, struct err *e)
{
	return hf_vocab_open(&v, dir, *(const uint32_t *)arg, 2, e);
}

static void undo_read(void *arg)
{
	(void)arg;
	hf_vocab_close(&v);
}

static int try_export(void *arg, struct err *e)
{
	clear_dir();
	return hf_vocab_export(arg, dir, e);
}

static void memory_may_end(void)
{
	struct bytes b;
	struct gguf g;
	uint32_t size = 10;

	put_bpe("\"a b\"", BYTE_STEP, "{\"id\":5,\"content\":\"<s>\",\"special\":true}");
	put("chat_template.jinja", "{{ x }}");
	CHECK(fail_alloc(try_read, undo_read, &size) >= 2);
	CHECK(fail_alloc(try_read_ahead, undo_read, &size) >= 2);
	put("tokenizer.json", FALLBACK(REPLACE, "null"));
	CHECK(fail_alloc(try_read, undo_read, &size) >= 1);
	if (read_dir(10))
		return;
	to_gguf(&b, &g);
	hf_vocab_close(&v);
	CHECK(fail_alloc(try_export, NULL, &g) >= 1);
	gguf_close(&g);
	free(b.p);
}

static const char *vocab_file(char *out, size_t cap, const char *name, const char *end)
{
	const char *base = getenv("BITNET_SHARED");

	snprintf(out, cap, "%s/vectors/tokenizers/ggml-vocab-%s.gguf%s", base ? base : "../shared",
	         name, end);
	return out;
}

static void published_vocabularies_come_back(void)
{
	static const struct {
		const char *name;
		uint32_t size;
	} t[] = {{"llama-bpe", 128256}, {"gpt-2", 50257}, {"falcon", 65024}};
	char path[1024];
	struct gguf g;

	for (size_t i = getenv("VALGRIND") ? 1 : 0; i < sizeof t / sizeof t[0]; i++) {
		CHECK_INT(gguf_open(&g, vocab_file(path, sizeof path, t[i].name, ""),
		                    GGUF_HEADER_ONLY, NULL),
		          0);
		check_exact(t[i].name, &g, t[i].size);
		gguf_close(&g);
	}
}

/* The ids of one text, and the line that says what they must be. */
static void check_line(const struct vocab *vocab, const char *p, size_t n, const char *line)
{
	struct vocab_text text = {p, n, 0};
	struct ids l = {NULL, 0, 0};
	char *end = (char *)line;
	size_t i;

	CHECK_INT(vocab_encode(vocab, &text, 1, 0, &l, NULL), 0);
	for (i = 0; i < l.n && *end != '\n'; i++)
		CHECK_INT(l.v[i], strtol(end, &end, 10));
	CHECK_INT(l.n, i);
	CHECK_INT(*end, '\n');
	ids_free(&l);
}

/* SentencePiece: scores become merges and scores again, and the ids of all texts stay. */
static void llama_vocabulary_comes_back(void)
{
	static const char mark[] = "\n__ggml_vocab_test__\n";
	char path[1024], *in = NULL, *out = NULL, *text, *line, *end;
	struct err e = {0};
	struct vocab *vocab;
	struct gguf g, back;
	struct bytes b;
	size_t n;
	int texts = 0;

	CHECK_INT(
	    gguf_open(&g, vocab_file(path, sizeof path, "llama-spm", ""), GGUF_HEADER_ONLY, &e), 0);
	CHECK_INT(
	    io_slurp(vocab_file(path, sizeof path, "llama-spm", ".inp"), 1 << 20, &in, &n, &e), 0);
	CHECK_INT(
	    io_slurp(vocab_file(path, sizeof path, "llama-spm", ".out"), 1 << 20, &out, &n, &e), 0);
	if (e.status)
		return;
	there_and_back(&g, 32000, &b, &back);
	CHECK(same_value(&g, &back, KEY "tokens"));
	CHECK(same_value(&g, &back, KEY "token_type"));
	CHECK_INT(vocab_open(&vocab, &back, NULL, &e), 0);
	for (text = in, line = out; (end = strstr(text, mark));
	     text = end + strlen(mark), texts++) {
		check_line(vocab, text, (size_t)(end - text), line);
		line = strchr(line, '\n') + 1;
	}
	CHECK_INT(texts, 46);
	vocab_close(vocab);
	gguf_close(&back);
	gguf_close(&g);
	free(b.p);
	free(in);
	free(out);
}

static int have_vectors(void)
{
	char path[1024];

	return !access(shared(path, sizeof path, "manifest.tsv"), R_OK);
}

#define RUN_IF_VECTORS(test)                                                                       \
	do {                                                                                       \
		if (have_vectors())                                                                \
			RUN(test);                                                                 \
		else                                                                               \
			SKIP(test, "the vectors are not at hand");                                 \
	} while (0)

int main(void)
{
	if (!mkdtemp(dir))
		return 2;
	RUN(merges_in_both_spellings);
	RUN(pre_tokenizers_by_their_steps);
	RUN(special_ids_and_templates);
	RUN(settings_that_contradict);
	RUN(post_processor_adds_tokens);
	RUN(byte_fallback_becomes_llama);
	RUN(contradictions_are_refused);
	RUN(nested_brackets_are_refused);
	RUN(cut_json_is_refused);
	RUN(sentencepiece_models);
	RUN(tiktoken_ranks);
	RUN(every_pre_tokenizer_comes_back);
	RUN(holes_come_back);
	RUN(no_merges_are_a_vocabulary);
	RUN(exports_what_it_can);
	RUN(memory_may_end);
	RUN_IF_VECTORS(vectors_of_checkpoints);
	RUN_IF_VECTORS(published_vocabularies_come_back);
	RUN_IF_VECTORS(llama_vocabulary_comes_back);
	clear_dir();
	rmdir(dir);
	return unit_end();
}
