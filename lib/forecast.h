/*
 * What a run will take, from a header alone: the regions of the plan that bitnet-run allocates,
 * what the process takes beside them, and how much of each will be resident.  The plan's own rules
 * are in plan.c (what is allocated, on a device too) and shape.c (caches of other architectures);
 * this file adds the pages that are touched, four totals, and an estimate of a device's share where
 * there is no plan.
 */
#ifndef FORECAST_H
#define FORECAST_H

#include "plan.h"
#include "shape.h"
#include "tally.h"

/* All-zero is what bitnet-run does without options, with a full context. */
struct forecast_options {
	struct plan_options plan; /* zeros as plan_settle says */
	int has_fill;             /* fill is given: */
	uint64_t fill;            /* tokens stored per sequence; over ctx: ctx */
	int fill_percent;         /* fill is percent of ctx */
	uint64_t prompt;          /* tokens of the longest prompt; 0: as many as are stored */
	uint64_t device_overhead; /* what its driver takes there */
	/* A view of the same model in types that are computed: its graph is planned, with the
	 * weights of g in place of its own.  NULL: g itself. */
	const struct gguf *graph;
};

/* Regions of the process that no plan lists, behind those of the plan. */
enum forecast_index {
	FORECAST_STATE = PLAN_REGIONS, /* recurrent state */
	FORECAST_HEADER,               /* metadata and tensor list, where the file is mapped */
	FORECAST_TABLES,               /* our lists of tensors and keys */
	FORECAST_PROCESS,              /* private pages of libraries, heap and stack */
	FORECAST_POOL,                 /* address space of the allocator behind lib/mem */
	FORECAST_CODE,                 /* program and libraries */
	FORECAST_REGIONS
};

#define FORECAST_FORMULA 320

struct forecast_region {
	const char *name, *what; /* static */
	enum mem_tag tag;
	enum plan_kind kind;
	int unknown;     /* of an architecture that we do not compute: bytes is 0 */
	uint64_t bytes;  /* address space, as allocated */
	uint64_t start;  /* resident when the model is loaded and the cache is empty */
	uint64_t full;   /* resident when the tokens asked for are stored */
	uint64_t device; /* bytes on the device; the others are the host's part */
	char formula[FORECAST_FORMULA]; /* of bytes, with the values put into it */
	char touched[160];              /* how start and full come about */
};

/* Bytes.  With load=read the file goes through the page cache, which a cgroup is charged too and
 * which the kernel takes back when it needs room; huge pages come from a pool of their own, which
 * is neither resident nor charged. */
struct forecast_totals {
	uint64_t reserved; /* address space */
	uint64_t private;  /* anonymous memory that is allocated, touched or not */
	uint64_t data;     /* private mappings, the allocator's and stacks too: RLIMIT_DATA */
	uint64_t start;    /* resident: the model is loaded, nothing is computed */
	uint64_t full;     /* resident: the tokens are stored */
	uint64_t load; /* resident at most while loading: a file that is copied is there in part */
	uint64_t peak; /* resident at most: full or load */
	uint64_t tables;  /* page tables then */
	uint64_t stacks;  /* of the threads, in the kernel */
	uint64_t cache;   /* page cache of a file that is copied */
	uint64_t charged; /* what a cgroup is charged then: full + tables + stacks + cache */
	uint64_t huge;    /* huge pages */
	uint64_t device;  /* on the device, driver included */
	int complete;     /* nothing is unknown */
};

struct forecast {
	struct shape shape;
	struct tally tally;
	struct arch arch; /* when computed */
	int computed;     /* bitnet-run runs this model: nothing is unknown */
	char reason[200]; /* why not */
	char shared[120]; /* an id that means several types, and which it is here; or "" */
	char vocab[200];  /* why the tokenizer is unknown, or "" */
	struct plan_options options; /* settled */
	uint32_t ctx;                /* positions per sequence, rounded */
	uint32_t fill, prompt;       /* tokens */
	uint32_t layers;
	uint32_t device_layers; /* of them on the device */
	int device_head;        /* and the output head */
	int huge_cache;         /* caches lie on huge pages */
	uint64_t kv_layer;      /* bytes of the caches of the largest layer, for all sequences */
	struct forecast_region region[FORECAST_REGIONS];
	struct forecast_totals total;
};

/* Errors (status 2): what is broken in the model (not: what is only unsupported), options that it
 * cannot have, sums over 2^62.  Owner: the caller, forecast_free. */
int forecast_make(struct forecast *f, const struct gguf *g, const struct forecast_options *o,
                  struct err *e);
void forecast_free(struct forecast *f);

/* Adds t to a sum over several models. */
void forecast_add(struct forecast_totals *sum, const struct forecast_totals *t);

/* Bytes of layer i: its tensors, and its caches for all sequences. */
void forecast_layer(const struct forecast *f, const struct gguf *g, uint32_t i, uint64_t *weights,
                    uint64_t *kv);

/* What the totals lack, to be put behind them: "" or " (without compute, which is unknown)". */
const char *forecast_lacks(const struct forecast *f);

/* What a cgroup must allow: charged without the page cache that can be taken back. */
uint64_t forecast_need(const struct forecast *f);

/* What a machine must have: the same and huge pages. */
uint64_t forecast_ram(const struct forecast *f);

/* Driver and context on a device where nothing else is said: an assumption, to be replaced by what
 * the device at hand takes (it differs by driver and model). */
#define FORECAST_DEVICE_OVERHEAD (UINT64_C(512) << 20)

#endif
