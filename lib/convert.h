/*
 * From one model file to another: checkpoints to GGUF, GGUF to GGUF (other types, other metadata,
 *split and merged), GGUF to checkpoints.  Everything is planned before a byte is written; then
 *tensors stream through in bounded memory, and the output appears whole or not at all.
 *
 *	convert_open(&c, &options, e);        reads headers, decides, checks; writes nothing
 *	convert_print(c, stdout, e);          the plan
 *	convert_run(c, &progress, &stop, e);  writes
 *	convert_verify(c, &progress, e);      reads back
 *	convert_close(c);
 */
#ifndef CONVERT_H
#define CONVERT_H

#include <signal.h>
#include <stdint.h>
#include <stdio.h>

#include "checkpoint.h"
#include "progress.h"

struct convert_options {
	const char *input;  /* directory, .safetensors, GGUF, "-": GGUF from standard input */
	const char *output; /* GGUF or "-", or with to_safetensors a directory; NULL: plan only */
	int to_safetensors;
	const char *type; /* of the seven matrices of each layer; NULL: as they are, but I2_S
	                     for checkpoints and packed U8 for safetensors */
	const char
	    *embed_type; /* of embedding and head; NULL: as they are, but F16 for checkpoints */
	const char *i2s_layout;   /* of I2_S tensors in the input: "x86", "arm", "rows4"; NULL: as
	                             the file says, else "x86" */
	const char *const *tiles; /* of TL1 and TL2, see retype_hints_tile */
	size_t n_tiles;
	const char *const *set; /* KEY=TYPE:VALUE */
	size_t n_set;
	const char *const *unset; /* KEY */
	size_t n_unset;
	enum checkpoint_scale scale;
	uint64_t split;      /* bytes of a part; 0: one file */
	int merge;           /* the input must be a split file */
	uint64_t max_memory; /* refuse a plan that takes more; 0: any */
	int threads;
	int force;        /* replace an existing output */
	int lossless;     /* refuse what does not keep every value */
	int skip_unknown; /* leave unknown tensors of a checkpoint out */
	int keep;         /* keep a partial output when stopped, with a journal */
	int resume;       /* go on with the partial output that is there */
	int checksums;    /* of tensors and files, see convert_manifest */
	int verbose;      /* more remarks */
	int in_place;     /* output is the input, no symbolic link to it: edit its metadata */
};

struct convert; /* private */

/* Errors: status 2 for everything that is wrong or would go wrong (no space, too little memory
 * allowed, a type that cannot hold a tensor, the output is an input), 3 for incomplete input.
 * Errors name the file that they are about.
 * Owner: the caller; convert_close ends it.  o must outlive it. */
int convert_open(struct convert **c, const struct convert_options *o, struct err *e);
void convert_close(struct convert *c); /* NULL is allowed */

/* The plan: files, then tensors with offsets, bytes and types, then totals. */
int convert_print(const struct convert *c, FILE *out, struct err *e);
json_t *convert_json(const struct convert *c); /* new reference; NULL without memory */

uint64_t convert_bytes(const struct convert *c); /* of all output files */

/* Remarks for people, NULL past the end. */
const char *convert_note(const struct convert *c, size_t i);

/* Writes.  p may be silent.  A nonzero *stop ends it soon with an error; the partial output is
 * removed on every error unless keep is set, then it stays with its journal. */
int convert_run(struct convert *c, struct progress *p, const volatile sig_atomic_t *stop,
                struct err *e);

/* Opens what was written and converts again, comparing instead of writing.  0 equal; 1 with the
 * first difference in e; -1. */
int convert_verify(struct convert *c, struct progress *p, const volatile sig_atomic_t *stop,
                   struct err *e);

/* The checksums of what was written, one per line: "xxh64  HEX  FILE:TENSOR" for payloads and
 * "xxh64  HEX  FILE" for whole files. */
int convert_manifest(const struct convert *c, FILE *out, struct err *e);

/* Compares the files that a manifest ("-": standard input) names, relative to where it lies, with
 * its checksums; lines of
 * other kinds of sums are passed over.  Manifests of llama.cpp's gguf-hash are read too: their sum
 * of a file is that of its payloads alone.  Prints every difference to out.  0 all equal, 1 some
 * differ, -1. */
int convert_check(const char *manifest, FILE *out, struct err *e);

#endif
