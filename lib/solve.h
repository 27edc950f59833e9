/*
 * The largest option with which a model fits a budget: bisection on the forecast itself, so the
 * answer is exact, and the next larger one does not fit.
 */
#ifndef SOLVE_H
#define SOLVE_H

#include "budget.h"
#include "forecast.h"

/* The question: a model, its options, a budget; on a device also what it has. */
struct solve {
	const struct gguf *g;
	struct forecast_options o;
	const struct budget *budget; /* NULL: none */
	uint64_t device_bytes;       /* of the device; 0: none */
	enum dtype type;             /* of the matrices, NONE: as they are */
	enum dtype embed;            /* of the tables, NONE: as they are */
};

/* What can be asked for. */
enum solve_what {
	SOLVE_CTX,     /* at most the model's context_length */
	SOLVE_BATCH,   /* sequences, at most 2^20 */
	SOLVE_UBATCH,  /* at most the context */
	SOLVE_KV_TYPE, /* the most precise cache type, of f16, q8_0, q4_0 */
	SOLVE_TYPE,    /* the largest type of the matrices, of a list */
	SOLVE_LAYERS,  /* on the device, one more than there are: also the head */
	SOLVE_WHATS
};

/* "ctx", "batch", "ubatch", "kv-type", "type", "gpu-layers". */
const char *solve_name(enum solve_what what);

/* --solve: to is an int: enum solve_what. */
int solve_opt(void *to, const char *value, struct err *e);

struct solve_answer {
	int found;         /* 0: not even the smallest fits */
	int64_t number;    /* of SOLVE_CTX, _BATCH, _UBATCH, _LAYERS */
	enum dtype type;   /* of SOLVE_KV_TYPE, _TYPE */
	const char *lacks; /* what the forecasts lacked (forecast.h), static */
};

/* types[n] are those that SOLVE_TYPE chooses among; n 0: the usual ones.  Errors as
 * forecast_make. */
int solve(const struct solve *s, enum solve_what what, const enum dtype *types, size_t n,
          struct solve_answer *out, struct err *e);

/* The forecast of the model in the types of s, with the options o; *refused (may be NULL) counts
 * the tensors whose shapes the types do not fit.  The caller frees f. */
int solve_forecast(const struct solve *s, const struct forecast_options *o, struct forecast *f,
                   unsigned *refused, struct err *e);

/* What a forecast needs of each kind of limit. */
void solve_needs(const struct forecast *f, uint64_t need[BUDGET_KINDS]);

/* Whether f fits: returns NULL, or the name of what is exceeded (static or in the budget). */
const char *solve_exceeded(const struct solve *s, const struct forecast *f);

#endif
