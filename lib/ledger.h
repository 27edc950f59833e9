/*
 * The ledger from outside: the shared file that the preloaded library of a watched command writes
 * (ledger_abi.h), and what each site of each process held at every sample.
 */
#ifndef LEDGER_H
#define LEDGER_H

#include <stdio.h>

#include "err.h"
#include "ledger_abi.h"

struct ledger_options {
	enum ledger_level level;
	uint64_t period;     /* bytes, at LEDGER_SAMPLED */
	unsigned block_log2; /* entries of each process's table of live blocks */
};

/* What a site held after a sample; entries are made only where something changed. */
struct ledger_sample {
	uint32_t at;                                  /* index of the sample */
	uint64_t births, deaths, bytes_in, bytes_out; /* totals since the start */
};

struct ledger_track {
	struct ledger_sample *v;
	uint32_t n, cap;
};

/* One process in the file.  Copies of everything that is needed after it ended. */
struct ledger_proc {
	int32_t pid;
	uint32_t generation;
	unsigned slot;
	int live; /* its slot is still in use */
	char name[64];
	uint32_t first, last;        /* samples that it was seen at */
	struct ledger_process *head; /* mapped while live, then a copy */
	struct ledger_site *sites;   /* the same */
	struct ledger_module *modules;
	uint32_t n_sites, n_modules;
	struct ledger_track *tracks; /* one per site */
	uint32_t cap_tracks;
	struct ledger_count *counts; /* mapped while live */
	void *map;
};

/* Sums over processes. */
struct ledger_totals {
	uint64_t events;                                /* births and deaths */
	uint64_t dropped, dropped_bytes, dropped_sites; /* what found no room */
	uint64_t foreign;                               /* deaths of blocks that were never seen */
	uint64_t stop_ns; /* the longest stop for a snapshot; 0: there was none */
};

struct ledger_shared {
	int fd;
	struct ledger_control *control;
	uint32_t claims; /* seen so far */
	char path[64];   /* value of $BITNET_LEDGER */
	struct ledger_proc *procs;
	size_t n_procs, cap_procs;
	size_t kept;               /* processes from which on brief ones are forgotten */
	int32_t command;           /* never forgotten; set by who starts it */
	struct ledger_totals gone; /* of processes that were forgotten */
};

/* Makes the file; sparse, but the first slot's tables are there already, so that the command does
 * not pay for them.  ledger_close frees everything. */
int ledger_open(struct ledger_shared *l, struct ledger_options o, struct err *e);
void ledger_close(struct ledger_shared *l);

/* Takes sample number at: finds new processes, reads the counters of all sites, lets go of
 * processes that have ended.  Of a command that starts one process after another, those too brief
 * to be judged are forgotten but for their totals.  Errors: no memory. */
int ledger_take(struct ledger_shared *l, uint32_t at, struct err *e);

/* Of all processes that ever joined. */
struct ledger_totals ledger_totals(const struct ledger_shared *l);

/* Forgets every other sample: sample 2 i becomes i. */
void ledger_thin(struct ledger_shared *l);

/* Forgets all samples; what comes next is number 0. */
void ledger_restart(struct ledger_shared *l);

/* What site held at samples [first, first + n): live blocks, live bytes, births and deaths since
 * the start; any may be NULL. */
void ledger_expand(const struct ledger_proc *p, uint32_t site, uint32_t first, uint32_t n,
                   double *blocks, double *bytes, double *births, double *deaths);

/* Asks a live process for a snapshot or a trim; it acts at its next event or step.
 * ledger_asked_done: it has acted (the snapshot's copy may still run). */
uint32_t ledger_ask(struct ledger_proc *p, enum ledger_request what);
int ledger_asked_done(const struct ledger_proc *p);

/* "heap", "map", ... */
const char *ledger_kind_name(enum ledger_kind kind);
int ledger_kind_is_bytes(enum ledger_kind kind); /* 0: counted by pieces */

#endif
