/*
 * Who holds the blocks of mem.h: a ledger whose entries are the notes of the blocks themselves.
 *
 *	level      kept                                          read by
 *	basic      bytes and peak per tag                        mem_live, mem_peak
 *	standard   + the site (return address) of each block     track_sites, track_report
 *	detailed   + the whole stack, births and deaths          the same, pattern.h
 *	guard      + ended bytes of arenas are filled, checked   arena.h
 *
 * Chosen by $BITNET_MEM_TRACK before the program starts.  At standard and above, ending a block
 * twice or ending a foreign pointer is reported with the sites of its allocation and end.
 * $BITNET_MEM_TRACE names a file that each event is written to (timeline.h); it raises the level to
 * standard at least.  "none" is basic: its counters cost less than asking whether they are wanted.
 */
#ifndef TRACK_H
#define TRACK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "callsite.h"
#include "mem.h"

enum track_level { TRACK_BASIC = 0, TRACK_STANDARD, TRACK_DETAILED, TRACK_GUARD };

/* Sites of a process; blocks of further ones are site 0, "not recorded". */
#define TRACK_SITES 32768

struct track_site {
	uint32_t id;
	unsigned depth;              /* of the stack */
	uint64_t pc[CALLSITE_DEPTH]; /* return addresses, innermost first */
	uint64_t births, deaths;     /* blocks; 0 below detailed */
	unsigned threads;            /* that took some; one that ended counts with its successor */
	uint64_t blocks, bytes;      /* live */
	uint64_t least, most;        /* bytes of the smallest and the largest live block */
	uint64_t oldest_ms;          /* age of the oldest live block; 0 below detailed */
	enum mem_tag tag;            /* of the last live block seen */
};

/* The level at work. */
enum track_level track_level(void);

/* Sets it; call before other threads allocate.  Blocks taken earlier belong to site 0. */
void track_start(enum track_level level);

/* Writes each event to the file from now on (timeline.h); NULL ends it.  Call before other threads
 * allocate, at TRACK_STANDARD or above.  Status 2 when it cannot be written. */
int track_trace(const char *path, struct err *e);

/* Calls fn for each site with live blocks (all sites with births, when ever is set), largest
 * first.  Exact while no other thread allocates.  Status 2: no memory for the list. */
int track_sites(bool ever, void (*fn)(void *arg, const struct track_site *s), void *arg,
                struct err *e);

/* The same for blocks that were taken in epoch since (not 0) or later.  track_epoch begins a new
 * epoch and returns it. */
int track_sites_since(uint32_t since, bool ever, void (*fn)(void *arg, const struct track_site *s),
                      void *arg, struct err *e);
uint32_t track_epoch(void);

/* Writes live blocks by site, with names, at most max sites (0: all); the number of sites. */
size_t track_report(FILE *out, size_t max, struct err *e);

/* Bytes of the ledger's own tables. */
size_t track_bytes(void);

/* For mem.c: */

struct heap;

/* Whether events must be recorded. */
bool track_on(void);

/* note.b of a block that is taken now by the function with this frame address. */
uint64_t track_born(struct heap *h, const void *frame);

/* note.b of a block that ends now; born is what it was. */
uint64_t track_died(struct heap *h, uint64_t born, const void *frame);

/* For other blocks than mem.c's: the site of the caller of the function with this frame, and a note
 * for track_blame of one that was taken and ended at these sites. */
uint32_t track_caller(const void *frame);
uint64_t track_both(uint32_t taken, uint32_t ended);

/* Writes the event to the trace, if there is one. */
void track_event(const struct heap *h, const void *p, size_t bytes, uint64_t note);

/* For memory that is not mem.h's, arenas and devices (0: the host), and for the trace alone: bytes
 * at p were taken, or end (0), by the caller of the function with this frame. */
void track_outside(unsigned device, const void *p, size_t bytes, const void *frame);

/* Says on standard error what is wrong with the block p, where it was taken and ended (note: its
 * note.b, or 0), and where it is seen. */
void track_blame(const void *p, const char *what, uint64_t note, const void *frame);

/* Of mem.c: the parts of note.a, and taking up that the level or a failure has changed. */
size_t mem_note_bytes(uint64_t a);
enum mem_tag mem_note_tag(uint64_t a);
void mem_special(void);

#endif
