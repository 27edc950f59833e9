/*
 * Options that every tool with a plan has, as OPT_CALL takes them: the same letters and the same
 * words mean the same everywhere.
 */
#ifndef PLAN_OPT_H
#define PLAN_OPT_H

#include <stdint.h>

#include "err.h"

/* -c: to is an int64_t: tokens, or -1 for "max". */
int plan_opt_ctx(void *to, const char *value, struct err *e);

/* -k: to is an enum dtype[2]: "K" or "K,V". */
int plan_opt_kv_type(void *to, const char *value, struct err *e);

/* "12" or "12%": to is a struct plan_amount. */
struct plan_amount {
	int given, percent; /* n is percent, at most 100 */
	uint64_t n;
};
int plan_opt_amount(void *to, const char *value, struct err *e);

/* The same, or a size: "1G", "12%". */
int plan_opt_reserve(void *to, const char *value, struct err *e);

/* A tensor type by its name: to is an enum dtype. */
int plan_opt_type(void *to, const char *value, struct err *e);

/* --head: to is an int: 1 for "screened", 0 for "full". */
int plan_opt_head(void *to, const char *value, struct err *e);

/* -g: to is a uint32_t: layers, or PLAN_DEVICE_ALL for "all". */
int plan_opt_layers(void *to, const char *value, struct err *e);

/* --load: to is an enum weights_load. */
int plan_opt_load(void *to, const char *value, struct err *e);

#endif
