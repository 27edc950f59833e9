/*
 * Options that every tool with a plan has, as OPT_CALL takes them: the same letters and the same
 * words mean the same everywhere.
 */
#ifndef PLAN_OPT_H
#define PLAN_OPT_H

#include "err.h"

/* -c: to is an int64_t: tokens, or -1 for "max". */
int plan_opt_ctx(void *to, const char *value, struct err *e);

/* -k: to is an enum dtype[2]: "K" or "K,V". */
int plan_opt_kv_type(void *to, const char *value, struct err *e);

/* --load: to is an enum weights_load. */
int plan_opt_load(void *to, const char *value, struct err *e);

#endif
