/*
 * The second half of opening a GGUF file, used by gguf.c alone: from the stored type ids and
 * offsets of the tensor infos to types, sizes and places that are known to be right.
 */
#ifndef GGUF_LAYOUT_H
#define GGUF_LAYOUT_H

#include "gguf.h"

/* Expects every part's infos as read, with offset counted from the start of the part's data
 * section. Decides ids that have several meanings by the room that each tensor has, sets type,
 * bytes, offset (from the start of the file), room and data, and g->data_missing.  Errors: unknown
 * or removed types, sizes that overflow, misaligned or overlapping payloads (status 2), missing
 * data without GGUF_HEADER_ONLY (status 3). */
int gguf_layout(struct gguf *g, unsigned flags, struct err *e);

/* Adds a remark for people to g->warnings (the ones that do not fit are dropped). */
void gguf_warn(struct gguf *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
