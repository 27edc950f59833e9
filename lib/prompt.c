#include "prompt.h"

int prompt_text(const struct prompt_options *o, const char *text, size_t n, struct ids *ids,
                struct err *e)
{
	struct vocab_text piece = {text, n, !o->no_special};

	return vocab_encode(o->vocab, &piece, 1, !o->no_bos, ids, e);
}

int prompt_chat(const struct prompt_options *o, const struct chat_message *m, size_t n,
                struct ids *ids, struct err *e)
{
	const struct chat_format *f = NULL;

	if (o->chat_format && !(f = chat_find(o->chat_format)))
		return err_set(e, ERR_TROUBLE, "--chat-format: there is no format '%s'",
		               o->chat_format);
	if (!f && chat_detect(&f, o->gguf, o->vocab, e))
		return -1;
	return chat_encode(f, o->vocab, m, n, ids, e);
}
