/*
 * The binary interface of the ledger: the shared memory that the preloaded library writes and
 * bitnet-leakcheck reads, and the calls by which a program announces blocks that malloc never
 * sees (pools, arenas, device memory).  Both sides are built together; version tells them apart.
 *
 *	+---------+----------------+----------------+-- ... one sparse file, named by $BITNET_LEDGER
 *	| control | slot 0         | slot 1         |
 *	+---------+----------------+----------------+
 *	           process | modules | sites | counts[stripe][site] | caches | maps | fds | blocks
 *
 * A slot belongs to one process from its first event to its end.  All numbers only grow (births
 * and deaths are counted apart), so a reader needs no lock.
 *
 * Announcing from a program:
 *
 *	const struct ledger_api *api = ledger_api_find();	// once; NULL when nobody watches
 *	if (api)
 *		api->born(p, bytes, LEDGER_POOL);
 */
#ifndef LEDGER_ABI_H
#define LEDGER_ABI_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define LEDGER_ENV "BITNET_LEDGER" /* path of the shared file, set by bitnet-leakcheck */
#define LEDGER_STEP_FD                                                                             \
	"BITNET_LEAKCHECK_FD"              /* descriptor for lines "step", "mark NAME", "error"    \
	                                    */
#define LEDGER_MAGIC   0x31726567646c7462u /* "btldger1" */
#define LEDGER_VERSION 2u

/* What a site's blocks are.  Totals are kept by kind: a pool's blocks lie inside its maps. */
enum ledger_kind {
	LEDGER_HEAP = 0, /* malloc family */
	LEDGER_MAP,      /* anonymous mappings */
	LEDGER_FILE,     /* mappings of files */
	LEDGER_FD,       /* descriptors: one "byte" each */
	LEDGER_THREAD,   /* threads not ended and joined; bytes are their stacks */
	LEDGER_POOL,     /* blocks inside a pool or arena that announced itself */
	LEDGER_BACKING,  /* memory that such a pool holds in stock: growth here is the pool's */
	LEDGER_DEVICE,   /* device memory */
	LEDGER_PINNED,   /* page-locked host memory */
	LEDGER_OBJECT,   /* device objects: streams, events, graphs, contexts: one "byte" each */
	LEDGER_KINDS
};

/* Announcements.  All may be called from any thread, also while malloc runs; none fails. */
struct ledger_api {
	uint32_t version;
	/* A block of bytes at p begins; its site is the caller's stack. */
	void (*born)(const void *p, size_t bytes, enum ledger_kind kind);
	/* The block at p ends; a p that was never announced is ignored. */
	void (*died)(const void *p);
	/* The heap block or mapping at p, already seen by the ledger, is a pool's stock: it
	 * changes to LEDGER_BACKING, keeping its site. */
	void (*backing)(const void *p);
	/* A step ends here, as by the line "step"; a step that failed is followed by error(). */
	void (*step)(void);
	void (*mark)(const char *name);
	void (*error)(void);
};

#define LEDGER_API_SYMBOL "bitnet_ledger_api"

/* The table of the preloaded library; NULL when the program is not watched. */
static inline const struct ledger_api *ledger_api_find(void)
{
	const struct ledger_api *api;

	/* Not asked without need: a failing dlsym allocates its message. */
	if (!getenv(LEDGER_ENV))
		return NULL;
	api = (const struct ledger_api *)dlsym(RTLD_DEFAULT, LEDGER_API_SYMBOL);
	return api && api->version == LEDGER_VERSION ? api : NULL;
}

/* ---- shared memory ---- */

#define LEDGER_SLOTS   128   /* processes at one time */
#define LEDGER_SITES   16384 /* distinct stacks of one process; id 0: see struct ledger_count */
#define LEDGER_INDEX   32768 /* places of the table that finds a site by its hash */
#define LEDGER_FRAMES  24    /* return addresses kept of a stack */
#define LEDGER_STRIPES 16    /* sets of counters: one per thread, the last is shared */
#define LEDGER_CACHES  32    /* threads that have a cache of stacks at one time */
#define LEDGER_CACHED  1024  /* stacks in such a cache */
#define LEDGER_MODULES 768
#define LEDGER_PATH    232
#define LEDGER_FDS     65536
#define LEDGER_MAPS    16384
#define LEDGER_RUN     64 /* buckets in a row that one byte tells about */

enum ledger_level {
	LEDGER_OFF = 0,
	LEDGER_SITE,    /* return address only */
	LEDGER_STACK,   /* whole stack */
	LEDGER_SAMPLED, /* whole stack of one block in every period bytes */
};

enum ledger_request { LEDGER_ASK_NONE = 0, LEDGER_ASK_REACH, LEDGER_ASK_TRIM };

/* Facts found in the process, as bits of ledger_process.flags. */
#define LEDGER_OWN_MALLOC 1u  /* the program brings its own malloc: heap blocks are not seen */
#define LEDGER_DEEPBIND   2u  /* a library was loaded with RTLD_DEEPBIND: its blocks are not seen */
#define LEDGER_FORKED     4u  /* began by fork: blocks of the parent are not known */
#define LEDGER_ENDED      8u  /* ended by exit() */
#define LEDGER_NO_UNWIND  16u /* stacks by frame pointers only */

struct ledger_control { /* written by the tool, but for the lines marked (p) */
	uint64_t magic;
	uint32_t version;
	uint32_t level;         /* enum ledger_level */
	uint64_t period;        /* bytes between samples at LEDGER_SAMPLED */
	uint64_t slot_bytes;    /* distance between slots */
	uint64_t step_pipe;     /* where LEDGER_STEP_FD leads: the pipe's inode */
	uint32_t block_log2;    /* entries of a block table */
	uint32_t step;          /* number of the step that runs now */
	uint32_t step_fd;       /* the descriptor of LEDGER_STEP_FD */
	uint32_t wait;          /* steps wait for their sample (at most LEDGER_WAIT_MS) */
	uint32_t written;       /* (p) lines written to step_fd through the library */
	uint32_t acked;         /* lines that the tool has dealt with; a futex */
	uint32_t line_buffered; /* the command's standard output is read by lines */
	int32_t tool;           /* PID of the tool */
	uint32_t claims;        /* (p) slots that were ever claimed */
	uint32_t no_slot;       /* (p) processes that found no free slot */
};
#define LEDGER_WAIT_MS 1000

struct ledger_module {   /* an ELF file in the process */
	uint64_t base;   /* load bias */
	uint64_t lo, hi; /* addresses of its segments */
	char path[LEDGER_PATH];
};

struct ledger_site {
	uint64_t hash;              /* of kind and pcs; 0: free; written last */
	uint32_t kind;              /* enum ledger_kind */
	uint32_t n;                 /* frames */
	uint64_t pc[LEDGER_FRAMES]; /* return addresses, innermost first, repeats left out */
	/* Of the last snapshot (ledger_process.reach_done): blocks older than two steps. */
	uint64_t lost, lost_bytes; /* not reachable */
	uint64_t held, held_bytes; /* reachable */
	uint32_t lost_steps;       /* distinct steps in which the lost ones were born, at most 64 */
	uint32_t lost_after_warm;  /* of the lost blocks, those born after step warm */
	uint64_t lost_bytes_after_warm;
};

/* All only grow.  Site 0 counts the births that found no place in the tables, and the deaths of
 * blocks that were never seen. */
struct ledger_count {
	uint64_t births, deaths;
	uint64_t bytes_in, bytes_out;
};

/* A live block.  key: address >> 4 in the upper 44 bits, step of birth modulo 2^20 below; value:
 * two flags, bytes in 38 bits (more is cut), site in the lower 24.  A key of 0 is free, a value of
 * 0 is about to be written. */
#define LEDGER_KEY_STEP     0xfffffu
#define LEDGER_VALUE_SITE   0xffffffu
#define LEDGER_VALUE_BYTES  ((1ull << 38) - 1) /* after >> 24 */
#define LEDGER_DETACHED     (1ull << 62)       /* threads only */
#define LEDGER_THREAD_ENDED (1ull << 63)
struct ledger_block {
	uint64_t key, value;
};

struct ledger_map { /* a mapping, sorted by address; [lo, hi) */
	uint64_t lo, hi;
	uint32_t site, step;
};

struct ledger_fd {
	uint32_t site; /* 0: not known */
	uint32_t step;
};

/* A stack seen by one thread: valid for a call when the same words still lie at the same places. */
struct ledger_cached {
	uint64_t pc, sp;
	uint32_t site, n;
	uint32_t at[LEDGER_FRAMES]; /* offset of the return address from sp, in words */
	uint64_t ret[LEDGER_FRAMES];
};

struct ledger_process {
	int32_t pid; /* 0: slot free; claimed by compare-and-swap */
	int32_t ppid;
	uint32_t generation; /* counts claims */
	uint32_t flags;
	uint32_t step0; /* step at the first event */
	uint32_t sites; /* in use, id 0 included */
	uint32_t modules;
	uint32_t maps;
	uint32_t stripes;    /* bitmap of stripes in use by threads */
	uint32_t stripe_top; /* stripes that were ever used lie below */
	uint32_t caches;     /* the same of caches */
	uint32_t map_lock, site_lock;
	uint64_t dropped_sites; /* stacks that found no place: their blocks are not followed */
	uint32_t request;       /* sequence number << 8 | enum ledger_request, by the tool */
	uint32_t request_done;  /* the last that was acted on */
	uint32_t reach_begun, reach_done; /* sequence numbers of snapshots */
	uint32_t reach_warm;     /* by the tool: blocks born at or before this step are not new */
	uint32_t reach_failed;   /* the last snapshot gave no answer (no memory, too slow) */
	int32_t reach_pid;       /* of the copy that marks: no child of the program's own */
	uint32_t reach_gathered; /* snapshots whose copy has read the table of blocks */
	uint64_t reach_stop_ns;  /* the process stood still for this long */
	uint64_t reach_bytes;    /* scanned */
	uint64_t trim_ns;
	char name[64]; /* of the executable */
};

/* Where the parts of a slot lie, from its start. */
enum ledger_part {
	LEDGER_AT_PROCESS = 0,
	LEDGER_AT_MODULES,
	LEDGER_AT_SITES,
	LEDGER_AT_INDEX,
	LEDGER_AT_COUNTS,
	LEDGER_AT_CACHES,
	LEDGER_AT_MAPS,
	LEDGER_AT_FDS,
	LEDGER_AT_BLOCKS,
	LEDGER_AT_END
};

static inline uint64_t ledger_at(enum ledger_part part, unsigned block_log2)
{
	const uint64_t bytes[LEDGER_AT_END] = {
	    sizeof(struct ledger_process),
	    sizeof(struct ledger_module) * LEDGER_MODULES,
	    sizeof(struct ledger_site) * LEDGER_SITES,
	    sizeof(uint32_t) * LEDGER_INDEX,
	    sizeof(struct ledger_count) * LEDGER_STRIPES * LEDGER_SITES,
	    sizeof(struct ledger_cached) * LEDGER_CACHES * LEDGER_CACHED,
	    sizeof(struct ledger_map) * LEDGER_MAPS,
	    sizeof(struct ledger_fd) * LEDGER_FDS,
	    /* Behind the entries a byte per bucket of four: whether one was placed elsewhere; and
	     * a byte per LEDGER_RUN buckets: whether any was ever used. */
	    (sizeof(struct ledger_block) << block_log2) + ((uint64_t)1 << (block_log2 - 2)) +
		((uint64_t)1 << (block_log2 - 2)) / LEDGER_RUN,
	};
	uint64_t at = 0;

	for (int i = 0; i < (int)part; i++)
		at += (bytes[i] + 4095) & ~(uint64_t)4095;
	return at;
}

/* The control block takes this much at the start of the file. */
#define LEDGER_CONTROL_BYTES 4096

#endif
