/*
 * One tensor from one type to another, piece by piece: from floats, blocks or any ternary layout,
 *in a file or in memory, to any type that can be written, in bounded memory whatever the tensor's
 *size.
 *
 *	retype_open(&r, &source, &target, threads, e);    surveys where that is needed
 *	retype_write(r, put, arg, e);                     retype_bytes(r) bytes, in order
 *	retype_report(r)                                  what was done, and what it cost
 *	retype_close(r);
 *
 * The bytes, and the report, do not depend on the number of threads.
 */
#ifndef RETYPE_H
#define RETYPE_H

#include <stdint.h>

#include "dtype.h"
#include "err.h"
#include "quantize.h"
#include "ternary.h"
#include "threads.h"

/* How elements lie: a ternary layout, or, where ternary.kind is TERNARY_NONE, a type of blocks.h.
 */
struct retype_form {
	enum dtype type;
	struct ternary ternary;
};

/* Sets *f up for a type without parameters (TL1 and TL2: with the tiling given).
 * Errors: a shape that the type cannot hold.  (A type that cannot be converted can still be
 * copied.) */
int retype_form(struct retype_form *f, enum dtype type, uint64_t rows, uint64_t cols,
                const struct ternary_tile *tile, struct err *e);

/* The same for a ternary layout by name (I2_S in its other orders, packed bytes of checkpoints). */
int retype_form_ternary(struct retype_form *f, enum ternary_kind kind, uint64_t rows, uint64_t cols,
                        const struct ternary_tile *tile, struct err *e);

struct retype_source {
	struct retype_form form;
	uint64_t rows, cols;
	const uint8_t *data; /* the payload; or NULL, and: */
	int mapped;          /* data is a mapped file: pages that are done with are let go */
	int fd;              /* the file that holds it (read with pread: no memory is mapped) */
	uint64_t offset;     /* where in the file */
	float factor; /* of every value, on top of the scales inside: 1, a .scale tensor, ... */
	int swapped;  /* F32, F16 and BF16 in the other byte order */
	int suspect;  /* values are looked at, for what is not finite, even if nothing changes */
	/* The row of the source that becomes row r of the result; NULL: r itself. */
	uint64_t (*row)(const void *arg, uint64_t r);
	const void *row_arg;
};

struct retype_target {
	struct retype_form form;
	enum quantize_rule rule; /* for floats that are not ternary: QUANTIZE_ABSMEAN (also 0) or
	                            QUANTIZE_MAX (for layouts with a scale per row or group) */
	int brief;    /* the report need not tell errors and counts of codes: that takes a fifth of
	                 the time */
	int lossless; /* refuse what would not keep every value; where that shows only on the
	                 way, retype_write fails */
};

struct retype; /* private */

/* What a retyping adds to the resident set, at most; measured, rounded up. */
#define RETYPE_RESIDENT (20u << 20)

/* Checks, takes memory (less than RETYPE_RESIDENT), reads the tensor once where a scale must be
 * known first. threads may be NULL.  Owner: the caller, retype_close ends it.  source and target
 * are copied. Errors (status 2): forms that do not fit each other (scales that differ, for a layout
 * with one), values that are not finite (with row and column), codes that are not ternary; 3: the
 * file ends too early. */
int retype_open(struct retype **r, const struct retype_source *source,
                const struct retype_target *target, struct threads *threads, struct err *e);

uint64_t retype_bytes(const struct retype *r);

/* The scale of the tensor, for layouts that keep it outside (HF_U8) or in one place. */
float retype_scale(const struct retype *r);

/* Puts the bytes in order, from any of the threads, one at a time.  The errors of put pass through.
 */
typedef int retype_put(void *arg, const void *p, size_t n, struct err *e);
int retype_write(struct retype *r, retype_put *put, void *arg, struct err *e);

/* After retype_open: rule, scale, scale_error (of a tensor with one scale); after retype_write:
 * all. */
const struct quantize_report *retype_report(const struct retype *r);

void retype_close(struct retype *r); /* NULL is allowed */

/* The q and k rows of the llama family: HF keeps the two halves of a head apart, GGUF interleaves
 * them. struct retype_heads is row_arg; row r of the result is row ... of the source. */
struct retype_heads {
	uint64_t rows, heads; /* heads must divide rows into even parts */
};
uint64_t retype_interleave(const void *heads, uint64_t r); /* HF to GGUF */
uint64_t retype_separate(const void *heads, uint64_t r);   /* GGUF to HF */

#endif
