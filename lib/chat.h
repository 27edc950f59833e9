/*
 * Chat formats: messages to token ids.  The formats are built in and recognised from the model's
 * template; what users wrote is never read as special tokens.
 */
#ifndef CHAT_H
#define CHAT_H

#include "vocab.h"

struct chat_message {
	const char *role; /* "system", "user", "assistant" */
	const char *text;
	size_t n; /* bytes of text */
};

struct chat_format; /* private, static data */

/* By name ("bitnet", "llama3", "falcon3", "chatml", ...); NULL when there is none. */
const struct chat_format *chat_find(const char *name);

/* From tokenizer.chat_template and the architecture; status 2 when there is no template or it
 * matches no known format (the text lists the names to choose from). */
int chat_detect(const struct chat_format **f, const struct gguf *g, const struct vocab *v,
                struct err *e);

const char *chat_name(const struct chat_format *f);

/* Appends the ids of the conversation, ending where the assistant's answer begins. */
int chat_encode(const struct chat_format *f, const struct vocab *v, const struct chat_message *m,
                size_t n, struct ids *out, struct err *e);

#endif
