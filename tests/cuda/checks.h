/*
 * Every CUDA kernel against kernels/scalar, on a machine that is given: the emulator of emulate.h
 * or a device.  Memory of the machine lies between guard bytes, which are looked at when it is read
 * back.
 */
#ifndef CHECKS_H
#define CHECKS_H

#include "cuda/cuda.h"
#include "unit.h"

struct machine {
	void *(*take)(size_t bytes); /* aligned to 256 */
	void (*give)(void *p);
	void (*write)(void *to, const void *from, size_t bytes);
	void (*read)(void *to, const void *from, size_t bytes);
	/* 0; else why is printed */
	int (*launch)(const char *name, const struct cuda_shape *s, const void *args, size_t bytes);
};

extern const struct machine *machine;

/* Memory of the machine with n bytes of `from` in it (NULL: 0xa5 everywhere). */
void *there(const void *from, size_t n);
/* The same for results; here() copies its n bytes back, and counts a failure when bytes around it
 * were written. */
void here(void *to, const void *at, size_t n);
/* Gives all of it back. */
void leave(void);
/* Launches as cuda_shape says; a failure is counted. */
void launch(enum cuda_kernel k, const void *args);

/* The same numbers in every run. */
uint32_t any(void);
uint32_t below(uint32_t n);
float real(void); /* -2 .. 2 */
/* Fills n bytes of a tensor of type t so that all scales are finite. */
void random_rows(enum dtype t, uint8_t *p, size_t n);

/* How many checks failed in this file since it was last asked, and in checks.c. */
int checks_failed(int *bad);
#define CHECKED() checks_failed(&unit_bad)

/* Each returns how many of its checks failed. */
int check_products(void);
int check_tokens(void);
int check_dense(void);
int check_attention(void);
int check_prompts(void);
int check_head(void);
int check_probes(void);

#endif
