/*
 * From what a user wrote to the ids that a model continues.
 */
#ifndef PROMPT_H
#define PROMPT_H

#include "chat.h"

struct prompt_options {
	const struct gguf *gguf;
	const struct vocab *vocab;
	const char *chat_format; /* by name; NULL: the model's own */
	int no_bos;              /* no beginning-of-text token in front */
	int no_special;          /* special tokens in the text are plain text */
};

/* Appends the ids of a text of n bytes. */
int prompt_text(const struct prompt_options *o, const char *text, size_t n, struct ids *ids,
                struct err *e);

/* Appends the ids of a conversation, up to where the assistant's answer begins.  Errors: no such
 * format, or none that is known. */
int prompt_chat(const struct prompt_options *o, const struct chat_message *m, size_t n,
                struct ids *ids, struct err *e);

#endif
