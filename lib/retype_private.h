/* What the parts of retype share: the job, and one thread's buffers. */
#ifndef RETYPE_PRIVATE_H
#define RETYPE_PRIVATE_H

#include <stdatomic.h>

#include "retype.h"

/* Values that are converted at once: small enough for the first-level cache, a multiple of every
 * block. */
#define RETYPE_STRIP 4096

/* Elements of a piece: what one thread does at once; a multiple of the strip. */
#define RETYPE_PIECE (256 * 1024)

/* Bytes that all slots together may take, mapped pages of the source and what is kept of it
 * included; one slot is always made. */
#define RETYPE_MEMORY (12u << 20)

/* The largest payload that is kept in memory when it would have to be read several times. */
#define RETYPE_KEPT (8u << 20)

/* What one piece gives besides bytes; joined in the order of the pieces. */
struct retype_sums {
	struct bulk_survey survey;
	struct bulk_error error;
	struct bulk_count count;
	float scale;        /* largest |scale| in use */
	float scale_error;  /* largest relative change of a scale */
	int groups_ternary; /* every group of the target's is ternary by itself */
	float scale_low,
	    scale_high; /* smallest and largest scale that codes use; low > high: none */
};

/* One thread's memory. */
struct retype_slot {
	uint8_t *in; /* a window on the source's payload: bytes [in_from, in_to) */
	size_t in_cap;
	uint64_t in_from, in_to;
	uint64_t ahead;    /* where reading ahead ends: behind the piece */
	int8_t *q;         /* codes of a piece */
	float *scales;     /* source scales of a piece */
	float *out_scales; /* target scales of a piece */
	float *x, *y;      /* values before and after: a strip or a group */
	uint8_t *out;      /* bytes of the target */
	int8_t *band;      /* one decoded band of a source whose rows do not stand alone */
	float *band_scales;
	uint64_t band_row; /* its first row; UINT64_MAX: none */
	size_t out_bytes;  /* in use */
	struct retype_sums sums;
	struct err err;
};

struct retype {
	struct retype_source src;
	struct retype_target dst;
	struct threads *threads;
	int copy; /* bytes are taken as they are */
	int look; /* they are, but have to be finite floats */
	int from_codes, to_codes;
	uint64_t src_bytes, bytes; /* payloads */
	float src_scale;           /* of a source with one scale, factor included */
	struct quantize_choice choice;
	int by_group;        /* codes of floats by groups: rule KEEP (each is ternary) or MAX */
	uint64_t piece_rows; /* rows of a piece, or byte rows of HF_U8 */
	uint64_t units;      /* rows, or byte rows, that pieces divide */
	int surveying;       /* which pass a piece belongs to */
	int span;            /* the region of the target that is written (TL2 has three) */

	/* A pass: threads take pieces as they come, and give them on in order. */
	retype_put *put; /* where to; NULL when surveying */
	void *put_arg;
	struct err *err;       /* the caller's */
	_Atomic uint64_t next; /* piece that nobody has taken yet */
	_Atomic int stop;      /* there was an error */

	uint8_t *kept; /* the source's payload, when that is small and needed several times */
	int filling;   /* kept is read by the pieces that need its bytes first */
	struct retype_slot *slots;
	int n_slots;
	struct retype_sums total;
	struct quantize_report report;
};

/* retype_read.c: the source. */

/* n bytes at offset of the payload, at most in_cap, valid until the next call; NULL with an error
 * in slot->err. */
const uint8_t *retype_bytes_at(const struct retype *r, struct retype_slot *s, uint64_t offset,
                               uint64_t n);

/* The same n bytes, any number, into p. */
int retype_read_bytes(const struct retype *r, struct retype_slot *s, uint64_t offset, uint64_t n,
                      uint8_t *p);

/* Codes of rows [row, row + n) into q, (n, cols), their scales (factor included) into scales when
 * the source has scales by row or group. */
int retype_codes(struct retype *r, struct retype_slot *s, uint64_t row, uint64_t n, int8_t *q,
                 float *scales);

/* Values at elements [at, at + n) of the result's rows into x; n <= RETYPE_STRIP, within one row
 * when rows are reordered. */
int retype_values(struct retype *r, struct retype_slot *s, uint64_t at, uint64_t n, float *x);

/* Rows [row, row + n) of the result are done with. */
void retype_release(const struct retype *r, uint64_t row, uint64_t n);

/* The same for bytes [from, to) of the payload. */
void retype_release_bytes(const struct retype *r, uint64_t from, uint64_t to);

/* The scale of a source that has one for all codes, factor included. */
int retype_read_scale(struct retype *r, struct retype_slot *s, float *scale);

/* Whether rows of the source can only be decoded as parts of a band; and the rows of a band. */
uint64_t retype_band(const struct retype *r);

/* retype_piece.c: what a thread does with piece i, into slot->out and slot->sums. */
int retype_survey_piece(struct retype *r, struct retype_slot *s, uint64_t i);
int retype_make_piece(struct retype *r, struct retype_slot *s, uint64_t i);

/* The rows that piece i is about: [*row, *row + the result). */
uint64_t retype_piece_rows(const struct retype *r, uint64_t i, uint64_t *row);

#endif
