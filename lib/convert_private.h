/*
 * What the parts of convert share: the job, a tensor of the output with where it comes from, and
 * the files that jobs lie in.
 *
 * convert_hf.c, convert_gguf.c and convert_st.c fill the jobs in, by kind of input and output;
 * convert.c lays files out and checks; convert_run.c writes and reads back; convert_out.c is about
 * partial files, the journal and how the output appears.
 */
#ifndef CONVERT_PRIVATE_H
#define CONVERT_PRIVATE_H

#include "convert.h"
#include "gguf.h"
#include "gguf_write.h"
#include "hash.h"
#include "retype_gguf.h"

#define CONVERT_NOTES 16

enum convert_order { CONVERT_AS_IS = 0, CONVERT_INTERLEAVE, CONVERT_SEPARATE };

struct convert_job {
	char *name; /* in the output, owned */
	unsigned n_dims;
	uint64_t ne[GGUF_MAX_DIMS]; /* as in GGUF: ne[0] contiguous */
	uint64_t rows, cols;

	/* Source: bytes of a file, or made ones. */
	const char *from_file, *from_name; /* for people; borrowed, NULL when made */
	struct retype_form from;
	const char *from_type; /* for people */
	int fd;
	uint64_t offset, in_bytes;
	float factor;
	int swapped;
	enum convert_order order;
	struct retype_heads heads;
	uint8_t *made;     /* owned; the payload itself */
	int scale_of_last; /* made is the scale of the job before, a float, known when that is done
	                    */

	/* Target. */
	struct retype_form to;
	int copy;                               /* bytes as they are */
	const struct safetensors_type *st_type; /* of safetensors output */
	const char *to_type;                    /* for people */
	uint64_t bytes;

	/* By the layout. */
	uint64_t out_offset; /* in its file */
	uint64_t padding;    /* zeros behind the payload */

	uint64_t hash; /* of the payload, when it was written or found by a resumed run */
};

/* A file of the output with its jobs [first, first + n). */
struct convert_file {
	char *path; /* when it is complete, owned */
	char *part; /* while it is written, owned; NULL: standard output */
	uint64_t first, n;
	uint64_t size;
	uint64_t header_size;
	char *header; /* of safetensors, owned; that of GGUF is written from c->w */
	int fd;       /* -1: not open */
	struct hash hash;
	uint64_t value; /* the hash of the whole file, when it is complete */
};

struct convert {
	const struct convert_options *o;
	struct gguf g;
	struct checkpoint hf;
	int from_hf;
	struct retype_hints hints;
	int assumed; /* enum retype_assumed, what was told already */
	int stream;  /* the input is a stream that stands at stream_at */
	uint64_t stream_at;
	struct gguf_write w; /* metadata, for GGUF output also the tensors */
	struct convert_job *jobs;
	uint64_t n_jobs, cap_jobs;
	struct convert_file *files;
	unsigned n_files;
	uint64_t bytes;  /* of all files */
	uint64_t memory; /* that running takes, at most */
	uint64_t vocab;  /* that reading the tokenizer took, about */
	uint64_t space;  /* free where the output goes; UINT64_MAX: not known */
	char *dir_part;  /* directory that safetensors are written in before it gets its name */
	int dir_fd;      /* it, locked; -1: not open */
	char *journal;   /* its name, owned; NULL: none */
	FILE *journal_out;
	uint64_t done;        /* jobs that a resumed run found complete */
	uint64_t fingerprint; /* of plan and inputs, for the journal */
	int patch; /* in_place: what changes lies within one page and is written where it lies */
	int spool; /* an unlinked file for tensors of a stream that need two passes; -1: none */
	struct threads *threads;
	int masters;        /* floats are masters of ternary weights, and lose by right */
	uint64_t untrained; /* matrices that lost too much */
	char notes[CONVERT_NOTES][256];
	size_t n_notes;
};

/* A target type by name. */
struct convert_type {
	int given;
	enum dtype dtype;
	enum ternary_kind kind;
};
int convert_type(const char *name, struct convert_type *t, struct err *e);

/* By role, from -t and -e, without which they are linear and embed; NULL: not given, which means
 * that tensors stay as they are. */
int convert_types(const struct convert *c, const char *linear, const char *embed,
                  struct convert_type type[CHECKPOINT_ROLES], struct err *e);

void convert_add_note(struct convert *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The next job, zeroed but for name, factor 1 and fd -1; NULL without memory. */
struct convert_job *convert_add_job(struct convert *c, const char *name, struct err *e);

/* Sets to, bytes and to_type for GGUF; TL1 and TL2 get a tiling, which is noted in the metadata. */
int convert_target(struct convert *c, struct convert_job *job, const struct convert_type *t,
                   struct err *e);

/* A job whose payload is these values. */
int convert_made(struct convert *c, const char *name, const float *v, uint64_t n, struct err *e);

enum checkpoint_role convert_role(const struct gguf_tensor *t);

/* general.file_type of a type. */
int convert_file_type(struct convert *c, const struct convert_type *t, struct err *e);

/* Plans, by input and output. */
int convert_plan_hf(struct convert *c, struct err *e);
int convert_plan_gguf(struct convert *c, struct err *e);
int convert_plan_st(struct convert *c, struct err *e);
int convert_source_gguf(struct convert *c, const struct gguf_tensor *t, struct convert_job *job,
                        struct err *e);

/* -s and -d. */
int convert_edit(struct gguf_write *w, const char *const *set, size_t n_set,
                 const char *const *unset, size_t n_unset, struct err *e);

/* convert_edit.c: sets c->patch; and, when it is set, does the edit. */
int convert_plan_patch(struct convert *c, struct err *e);
int convert_patch(const struct convert *c, struct err *e);

/* convert_st.c: the files of a checkpoint besides the tensors, into the partial directory. */
int convert_write_config(const struct convert *c, const char *dir, struct err *e);

/* convert_out.c */
int convert_name_files(struct convert *c, struct err *e);
int convert_check_output(struct convert *c, struct err *e);
int convert_begin_output(struct convert *c, struct err *e);
int convert_finish_job(struct convert *c, uint64_t i, struct err *e);
int convert_commit(struct convert *c, struct err *e);
void convert_abandon(struct convert *c);

/* convert_run.c: the header of file f. */
int convert_put_header(const struct convert *c, unsigned f, gguf_write_put *put, void *arg,
                       struct err *e);

#endif
