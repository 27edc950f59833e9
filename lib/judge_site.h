/* The verdict on one site of the ledger. */
#ifndef JUDGE_SITE_H
#define JUDGE_SITE_H

#include "ledger.h"
#include "report.h"

/* One site's history, n samples each; shared buffers of the judge. */
struct site_history {
	const struct ledger_proc *proc;
	uint32_t site, n;
	const double *blocks, *bytes, *births, *deaths;
	const double *errors;        /* errors up to each sample */
	double steps;                /* steps per sample */
	int live_process_turns_over; /* blocks elsewhere were freed after the warm-up */
};

struct site_verdict {
	enum report_verdict verdict; /* REPORT_CLEAN: nothing to say */
	enum report_class class;
	double per_step, lo, hi; /* bytes, or pieces */
	double blocks_per_step;
	int by_size; /* the number of blocks is constant, they get larger */
	char why[200];
};

struct site_verdict judge_site(const struct site_history *h);

#endif
