/*
 * The file of $BITNET_MEM_TRACE: every block that is taken and ended, in order, and the code that
 *did it, so that a reader needs nothing of the process.
 *
 *	head      magic, version, bytes of the text behind it
 *	text      a line "LO HI BASE PATH" for each module, hexadecimal; zeros up to a whole record
 *	records   24 bytes each: an event; or, with address 0, a site, whose return addresses
 *follow, three in a record
 *
 * A site stands before the first event that names it.  Numbers are the machine's own.
 */
#ifndef TIMELINE_H
#define TIMELINE_H

#include <stdbool.h>

#include "io.h"

struct timeline_event {
	uint64_t address;
	uint64_t bytes; /* 0: the block ends */
	uint16_t site;  /* where the block was taken; 0: not known */
	uint8_t device; /* 0: the host */
	uint8_t thread; /* number of its heap, modulo 256 */
	uint32_t ms;    /* since the file was begun */
};

/* ---- writing ---- */

/* Begins a file, in place of one that was begun before; "%p" in path stands for the process's
 * number.  A child that was forked writes nothing.  Status 2 when it cannot be written. */
int timeline_begin(const char *path, struct err *e);
bool timeline_on(void);
void timeline_site(uint32_t id, const uint64_t *pc, unsigned n);
void timeline_put(const struct timeline_event *event); /* ms is filled in */
void timeline_end(void);

/* ---- reading ---- */

struct timeline_site {
	uint32_t depth;     /* 0: no such site */
	const uint64_t *pc; /* return addresses, innermost first; borrowed */
};

struct timeline_module {
	uint64_t lo, hi, base; /* addresses of its code, and where its file begins */
	char *path;
};

/* All-zero is closed.  site has TIMELINE_SITES entries. */
#define TIMELINE_SITES 65536
struct timeline {
	struct timeline_event *event; /* without the sites */
	size_t n;
	struct timeline_site *site;
	struct timeline_module *module;
	size_t modules;
	struct io_map file; /* private */
};

/* Status 2: not such a file, or no memory; 3: it ends within a record (t holds what stands before).
 * timeline_close is due after every result. */
int timeline_open(struct timeline *t, const char *path, struct err *e);
void timeline_close(struct timeline *t);

/* The module that the code address lies in, or NULL. */
const struct timeline_module *timeline_module(const struct timeline *t, uint64_t pc);

#endif
