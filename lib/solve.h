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
	enum dtype embed;            /* of the tables, NONE: as they are */
};

/* Whether f fits: returns NULL, or the name of what is exceeded (static or in the budget). */
const char *solve_exceeded(const struct solve *s, const struct forecast *f);

/* Largest values that fit; *out 0: not even the smallest does.  ctx: at most the model's
 * context_length; batch: sequences, at most 2^20; ubatch: at most ctx; device layers: layers + 1
 * is everything.  Errors as forecast_make. */
int solve_ctx(const struct solve *s, uint32_t *out, struct err *e);
int solve_batch(const struct solve *s, uint32_t *out, struct err *e);
int solve_ubatch(const struct solve *s, uint32_t *out, struct err *e);
int solve_device_layers(const struct solve *s, uint32_t *out, int *none, struct err *e);

/* The most precise cache type that fits, of f16, q8_0, q4_0; DTYPE_NONE: none does. */
int solve_kv_type(const struct solve *s, enum dtype *out, struct err *e);

/* The forecast of the model with its matrices in another type (NONE: as they are) and its tables in
 * s->embed; *refused counts the tensors whose shapes the types do not fit.  The caller frees f. */
int solve_as_type(const struct solve *s, enum dtype type, struct forecast *f, unsigned *refused,
                  struct err *e);

/* The largest type of the matrices that fits, of those in types[n]; DTYPE_NONE: none does. */
int solve_type(const struct solve *s, const enum dtype *types, size_t n, enum dtype *out,
               struct err *e);

#endif
