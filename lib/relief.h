/*
 * Memory given back by a program that waits for requests: when memory is short, the pages of the KV
 * cache, of idle units and of malloc go to the system, and come again with the next request.
 */
#ifndef RELIEF_H
#define RELIEF_H

#include "session.h"

struct relief; /* private */

/* Watches from now on, in threads that take no signals; nothing is in use.  s outlives it.  Where
 * pressure cannot be read, nothing is ever given back.  Errors: no memory, no thread. */
int relief_start(struct relief **r, struct session *s, struct err *e);
void relief_stop(struct relief *r); /* NULL is allowed */

/* The session is in use from busy to idle: its tokens stand.  Afterwards they may be forgotten. */
void relief_busy(struct relief *r);
void relief_idle(struct relief *r);

/* Times that memory was given back so far. */
unsigned relief_count(struct relief *r);

#endif
