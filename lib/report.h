/*
 * What bitnet-leakcheck found, as data: made by judge.c, written and read as JSON, and printed in
 * several forms.  What was not measured is NaN here and null in JSON, never zero.
 * All strings are owned by the report (report_string copies); report_free ends everything.
 */
#ifndef REPORT_H
#define REPORT_H

#include <stdint.h>
#include <stdio.h>

#include "err.h"

enum report_verdict {
	REPORT_CLEAN = 0,
	REPORT_LEAK,       /* grows, and nothing holds it any more */
	REPORT_GROWTH,     /* grows, and is still held: an unbounded list, map or cache */
	REPORT_REGRESSION, /* worse than the baseline */
	REPORT_GUARD,      /* the guard stopped the command */
	REPORT_UNSETTLED,  /* more steps are needed */
	REPORT_RETENTION,  /* findings only: the allocator keeps what was freed */
	REPORT_NOTE,       /* findings only */
	REPORT_VERDICTS
};
const char *report_verdict_name(enum report_verdict v); /* "clean", ... */

enum report_class {
	CLASS_NONE = 0,
	CLASS_STEP,     /* per-step accumulation */
	CLASS_STACK,    /* append, then stack: a buffer that is doubled, parts freed together */
	CLASS_MAP,      /* an unbounded map or cache */
	CLASS_REPLACED, /* replaced but not freed */
	CLASS_ERROR,    /* missing cleanup on the error path */
	CLASS_FRAGMENT, /* fragmentation */
	CLASS_DEVICE,   /* device memory and objects only */
	CLASS_EXIT,     /* did not grow, and was not freed at exit: a note */
	REPORT_CLASSES
};
const char *report_class_name(enum report_class c);
const char *report_class_text(enum report_class c); /* one sentence for people */

struct report_frame {
	char *function, *file, *module; /* NULL: not known */
	int line;                       /* 0: not known */
	uint64_t offset;                /* in the module's file */
};

struct report_finding {
	enum report_verdict verdict;
	enum report_class class;
	char *kind;    /* "heap", "descriptor", ... or the name of a series */
	char *unit;    /* of what grows: "bytes", "descriptors", ... */
	char *site;    /* the function that is accused: the first frame that is no allocator's */
	char *process; /* its name */
	char *why;     /* the evidence, one line */
	int pid;
	int suppressed;
	double per_step, lo, hi; /* growth with its bounds of 99 % */
	double blocks_per_step;
	double live, live_blocks, births;
	double lost, lost_bytes, held; /* of the last snapshot */
	struct report_frame *frame;
	size_t frames;
};

struct report_series {
	char *name, *unit;
	char *verdict; /* "clean", "leak", "unsettled", "information" */
	double slope, lo, hi, first, last, max;
	double *v; /* one per sample */
};

struct report_action { /* of the guard */
	double seconds, step;
	char *what;
};

struct report {
	enum report_verdict verdict;
	char *command, *host, *model, *version, *source; /* source: where the steps come from */
	char *started;                                   /* ISO 8601 */
	double seconds, steps, errors;
	double status, signal; /* of the command: one of them is NaN */
	double could_see; /* the smallest growth per step that the run could have seen, bytes */
	double ledger_could_see;
	double oom_seconds;               /* to the limit at the present rate */
	double limit;                     /* bytes of memory that there are */
	double trim_before, trim_after;   /* RssAnon around malloc_trim */
	double rollup_first, rollup_last; /* steps at which smaps_rollup was read */
	double pss_first, pss_last, dirty_first,
	    dirty_last; /* Pss and Private_Dirty there, bytes */
	double peak;    /* RssAnon, bytes */
	double stop_ms; /* longest stop of the command for a snapshot */
	char *level;    /* of the ledger: "off", "site", ... */
	double events, dropped, dropped_bytes, dropped_sites, foreign;
	double *step; /* number of the step of each sample */
	size_t samples;
	struct report_series *series;
	size_t n_series;
	struct report_finding *finding;
	size_t n_findings;
	struct report_action *action;
	size_t n_actions;
	char **note;
	size_t n_notes;
};

/* All-zero is not a report: everything unmeasured is NaN. */
void report_init(struct report *r);
void report_free(struct report *r);

/* Copies of strings; NULL stays NULL.  Errors: no memory. */
int report_string(char **to, const char *s, struct err *e);
/* A note that is there already is not repeated. */
int report_note(struct report *r, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int report_act(struct report *r, double seconds, double step, const char *what, struct err *e);

/* Append an empty one; NULL without memory. */
struct report_finding *report_finding_add(struct report *r, struct err *e);
struct report_series *report_series_add(struct report *r, struct err *e);
struct report_frame *report_frame_add(struct report_finding *f, struct err *e);

/* Findings that accuse the same function of the same: what is printed is one of them for all. */
struct report_group {
	size_t stacks, processes; /* 0: an earlier finding stands for this one too */
	double per_step;          /* of all of them */
};
struct report_group report_group(const struct report *r, size_t first);

/* Moves the findings and notes of one into all, behind a finding that tells one's verdict, and
 * makes the verdict of all the worse of both.  one keeps its series. */
int report_absorb(struct report *all, struct report *one, const char *name, struct err *e);

/* Exit status: 0 clean, 1 leak, growth, regression or guard, 3 unsettled. */
int report_status(const struct report *r);

#endif
