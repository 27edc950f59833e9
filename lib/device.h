/*
 * Where memory lies: the host, page-locked host memory, and CUDA devices, behind one interface.
 *
 * CUDA is reached through the driver's library, opened at run time: the same binary runs with and
 * without a driver, and where there is none, neither are its devices.  A device keeps what was
 * given back and uses it again for requests of about that size: used and reserved bytes differ.
 */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdint.h>
#include <stdio.h>

#include "err.h"

enum device_kind { DEVICE_HOST = 0, DEVICE_PINNED, DEVICE_CUDA };

struct device_info {
	enum device_kind kind;
	char name[16];    /* "host", "pinned", "cuda:0": what device_open takes */
	char model[96];   /* of the processor or the board */
	uint64_t bytes;   /* of memory */
	uint64_t free;    /* of these, not in use by anybody */
	unsigned units;   /* processors, or multiprocessors */
	int major, minor; /* compute capability; 0 where there is none */
};

struct device_stats {
	uint64_t used;     /* bytes in blocks that are handed out */
	uint64_t reserved; /* taken from the system for these and for later */
	uint64_t peak;     /* the most that used was */
	uint64_t blocks;
};

/* Every take is rounded up to this many bytes, so a plan can add sizes up exactly. */
#define DEVICE_ALIGN 256

struct device; /* private */

/* Fills at most max entries, the host first; how many there are. */
size_t device_list(struct device_info *list, size_t max);

/* The table that --list-devices prints. */
void device_print(FILE *out);

/* A device by name; "pinned:N" is page-locked memory for cuda:N ("pinned": for the first).  Status
 * 2: no such device, no driver.  Owner: the caller. */
int device_open(struct device **d, const char *name, struct err *e);
/* Returns all its memory; NULL is allowed.  -1: the driver refused a part, or tells now of an
 * earlier failure; d is gone all the same. */
int device_close(struct device *d, struct err *e);
const struct device_info *device_info(const struct device *d);

/* Makes the driver's calls of this thread mean this device (cuda_driver.h). */
int device_enter(const struct device *d, struct err *e);

/* Bytes that nobody uses, now. */
int device_free(const struct device *d, uint64_t *bytes, struct err *e);

/* Takes bytes, aligned to 256 and rounded up to that, not zeroed.  The address is one of the
 * device: only device_write and device_read may follow it where kind is DEVICE_CUDA.  NULL with
 * status 2. */
void *device_take(struct device *d, size_t bytes, struct err *e);
void device_give(struct device *d, void *p); /* NULL is allowed */

/* Copies between the device's memory and ordinary memory. */
int device_write(struct device *d, void *to, const void *from, size_t bytes, struct err *e);
int device_read(struct device *d, void *to, const void *from, size_t bytes, struct err *e);

/* Returns what is kept; its bytes. */
size_t device_trim(struct device *d);
void device_stats(const struct device *d, struct device_stats *s);

#endif
