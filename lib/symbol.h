/*
 * Names of code addresses: function, file and line from a module's symbol and debug tables, read
 * from the files on this machine only.
 */
#ifndef SYMBOL_H
#define SYMBOL_H

#include "report.h"

struct symbols; /* private: modules that were opened */

struct symbols *symbols_open(void); /* NULL: no memory */
void symbols_close(struct symbols *s);

/* Appends the frames of the instruction at offset in the file at path: one, and before it those
 * that the compiler put inline there, innermost first.  Without tables the frame has only module
 * and offset.  Errors: no memory. */
int symbols_frames(struct symbols *s, const char *path, uint64_t offset, struct report_finding *f,
                   struct err *e);

#endif
