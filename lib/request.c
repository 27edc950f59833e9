#include "request.h"

#include <math.h>
#include <string.h>

#define BAD ERR_NO /* a bad line is an answer of "no", not the end of the run */

static int wrong(struct err *e, const char *key, const char *want)
{
	return err_set(e, BAD, "\"%s\" is not %s", key, want);
}

static int read_int(const json_t *v, const char *key, int64_t min, int64_t max, int64_t *out,
                    struct err *e)
{
	if (!json_is_integer(v))
		return wrong(e, key, "a whole number");
	if (json_integer_value(v) < min || json_integer_value(v) > max)
		return err_set(e, BAD, "\"%s\" is %lld, expected %lld to %lld", key,
		               (long long)json_integer_value(v), (long long)min, (long long)max);
	*out = json_integer_value(v);
	return 0;
}

static int read_real(const json_t *v, const char *key, double min, double max, double *out,
                     struct err *e)
{
	if (!json_is_number(v))
		return wrong(e, key, "a number");
	double x = json_number_value(v);
	if (!(x >= min && x <= max))
		return err_set(e, BAD, "\"%s\" is %g, expected %g to %g", key, x, min, max);
	*out = x;
	return 0;
}

static int read_tokens(struct request *r, const json_t *v, struct err *e)
{
	size_t i;
	json_t *one;

	if (!json_is_array(v))
		return wrong(e, "tokens", "an array of ids");
	json_array_foreach(v, i, one)
	{
		int64_t id;
		if (read_int(one, "tokens", 0, INT32_MAX, &id, e) ||
		    ids_push(&r->tokens, (int32_t)id, e))
			return -1;
	}
	return 0;
}

static int read_messages(struct request *r, const json_t *v, struct err *e)
{
	size_t i;
	json_t *one;

	if (!json_is_array(v) || !json_array_size(v))
		return wrong(e, "messages", "an array of messages");
	if (json_array_size(v) > REQUEST_MESSAGES)
		return err_set(e, BAD, "\"messages\" has %zu entries, expected at most %d",
		               json_array_size(v), REQUEST_MESSAGES);
	json_array_foreach(v, i, one)
	{
		const json_t *role = json_object_get(one, "role");
		const json_t *content = json_object_get(one, "content");
		if (!json_is_string(role) || !json_is_string(content))
			return err_set(e, BAD, "message %zu lacks a \"role\" or a \"content\"", i);
		r->message[r->n_messages++] =
		    (struct chat_message){json_string_value(role), json_string_value(content),
		                          json_string_length(content)};
	}
	return 0;
}

static int read_stops(struct request *r, const json_t *v, struct err *e)
{
	size_t i, n = 0;
	json_t *one;

	if (json_is_string(v)) {
		r->stop[n++] = json_string_value(v);
	} else if (json_is_array(v)) {
		if (json_array_size(v) > REQUEST_STOPS)
			return err_set(e, BAD, "\"stop\" has %zu entries, expected at most %d",
			               json_array_size(v), REQUEST_STOPS);
		json_array_foreach(v, i, one)
		{
			if (!json_is_string(one))
				return wrong(e, "stop", "a string or an array of strings");
			r->stop[n++] = json_string_value(one);
		}
	} else {
		return wrong(e, "stop", "a string or an array of strings");
	}
	r->options.stop = r->stop;
	r->options.n_stop = n;
	return 0;
}

static int read_field(struct request *r, const char *key, json_t *v, struct err *e)
{
	struct generate_options *o = &r->options;
	struct sample_options *s = &o->sample;
	int64_t n = 0;
	int status;
	const struct {
		const char *key;
		double min, max, *to;
	} reals[] = {
	    {"temperature", 0, 100, &s->temperature},
	    {"top_p", 0, 1, &s->top_p},
	    {"min_p", 0, 1, &s->min_p},
	    {"repeat_penalty", 0.01, 100, &s->repeat_penalty},
	    {"frequency_penalty", -100, 100, &s->frequency_penalty},
	    {"presence_penalty", -100, 100, &s->presence_penalty},
	};
	const struct {
		const char *key;
		int64_t min, max, *to;
	} ints[] = {
	    {"n", -1, INT32_MAX, &o->n_predict},
	    {"top_k", 0, INT32_MAX, &s->top_k},
	    {"penalty_last", 0, INT32_MAX, &s->penalty_last},
	};

	for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
		if (!strcmp(key, reals[i].key))
			return read_real(v, key, reals[i].min, reals[i].max, reals[i].to, e);
	for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
		if (!strcmp(key, ints[i].key))
			return read_int(v, key, ints[i].min, ints[i].max, ints[i].to, e);
	if (!strcmp(key, "seed")) {
		status = read_int(v, key, 0, INT64_MAX, &n, e);
		s->seed = (uint64_t)n;
		return status;
	}
	if (!strcmp(key, "logprobs")) {
		status = read_int(v, key, 0, SAMPLE_LOGPROBS, &n, e);
		o->logprobs = (int)n;
		return status;
	}
	if (!strcmp(key, "ignore_eos")) {
		o->ignore_eos = json_is_true(v);
		return json_is_boolean(v) ? 0 : wrong(e, key, "true or false");
	}
	if (!strcmp(key, "prompt")) {
		r->prompt = json_string_value(v);
		r->prompt_n = json_string_length(v);
		return r->prompt ? 0 : wrong(e, key, "a string");
	}
	if (!strcmp(key, "tokens"))
		return read_tokens(r, v, e);
	if (!strcmp(key, "messages"))
		return read_messages(r, v, e);
	if (!strcmp(key, "stop"))
		return read_stops(r, v, e);
	return err_set(e, BAD, "there is no field \"%.60s\"", key);
}

int request_parse(struct request *r, const char *line, size_t n,
                  const struct generate_options *defaults, struct err *e)
{
	json_error_t je;
	const char *key;
	json_t *v;

	memset(r, 0, sizeof *r);
	r->options = *defaults;
	r->root = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
	if (!r->root)
		return err_set(e, BAD, "not a JSON object: %s (column %d)", je.text, je.column);
	r->id = json_object_get(r->root, "id");
	if (!json_is_object(r->root))
		return err_set(e, BAD, "not a JSON object");
	json_object_foreach(r->root, key, v)
	{
		if (strcmp(key, "id") != 0 && read_field(r, key, v, e))
			return -1;
	}
	if (!!r->prompt + !!r->tokens.n + !!r->n_messages != 1)
		return err_set(e, BAD, "expected one of \"prompt\", \"messages\" and \"tokens\"");
	return 0;
}

void request_free(struct request *r)
{
	ids_free(&r->tokens);
	json_decref(r->root);
	memset(r, 0, sizeof *r);
}

/* A piece as JSON text: bytes that are not UTF-8 on their own become U+FFFD. */
static json_t *piece_json(const struct vocab *v, int32_t id)
{
	char bytes[256];
	size_t n = vocab_decode(v, id, 1, bytes, sizeof bytes);
	json_t *s = json_stringn(bytes, n < sizeof bytes ? n : sizeof bytes);

	return s ? s : json_string("\xef\xbf\xbd");
}

static json_t *logprob_json(const struct vocab *v, const struct sample_logprob *p)
{
	return json_pack("{s:i, s:o, s:o}", "id", (int)p->id, "text", piece_json(v, p->id),
	                 "logprob", isfinite(p->logprob) ? json_real(p->logprob) : json_null());
}

static json_t *logprobs_json(const struct vocab *v, const struct generate_result *r, int n)
{
	json_t *all = json_array();
	size_t row = (size_t)n + 1;

	for (size_t i = 0; i < r->tokens.n; i++) {
		json_t *one = logprob_json(v, &r->logprobs[i * row]), *top = json_array();
		for (size_t k = 1; k < row && r->logprobs[i * row + k].id >= 0; k++)
			json_array_append_new(top, logprob_json(v, &r->logprobs[i * row + k]));
		json_object_set_new(one, "top", top);
		json_array_append_new(all, one);
	}
	return all;
}

static json_t *rate(size_t n, double seconds)
{
	return seconds > 0 && n ? json_real((double)n / seconds) : json_null();
}

json_t *request_answer(const json_t *id, const char *text, size_t n, const struct vocab *v,
                       const struct generate_result *r, const struct generate_options *o)
{
	json_t *a = json_object(), *tokens = json_array();

	if (id)
		json_object_set(a, "id", (json_t *)(uintptr_t)id);
	json_object_set_new(a, "text", json_stringn(n ? text : "", n));
	json_object_set_new(a, "finish_reason", json_string(generate_finish_name(r->finish)));
	json_object_set_new(a, "seed", json_integer((json_int_t)o->sample.seed));
	json_object_set_new(a, "usage",
	                    json_pack("{s:I, s:I}", "prompt_tokens", (json_int_t)r->n_prompt,
	                              "completion_tokens", (json_int_t)r->tokens.n));
	json_object_set_new(a, "timings",
	                    json_pack("{s:f, s:f, s:o, s:o}", "prefill_seconds", r->prefill,
	                              "decode_seconds", r->decode, "prefill_tokens_per_second",
	                              rate(r->n_prompt, r->prefill), "decode_tokens_per_second",
	                              rate(r->tokens.n, r->decode)));
	if (o->draft)
		json_object_set_new(a, "draft",
		                    json_pack("{s:I, s:I}", "proposed", (json_int_t)r->drafted,
		                              "accepted", (json_int_t)r->accepted));
	if (o->logprobs)
		json_object_set_new(a, "logprobs", logprobs_json(v, r, o->logprobs));
	for (size_t i = 0; i < r->tokens.n; i++)
		json_array_append_new(tokens, json_integer(r->tokens.v[i]));
	json_object_set_new(a, "tokens", tokens);
	return a;
}

json_t *request_error(const json_t *id, const struct err *e)
{
	json_t *a = json_object();

	if (id)
		json_object_set(a, "id", (json_t *)(uintptr_t)id);
	json_object_set_new(a, "error",
	                    json_pack("{s:s, s:i}", "message", e->text, "status", e->status));
	return a;
}
