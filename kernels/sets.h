/*
 * The kernel sets, each a function that replaces the entries that it has better code for.
 * They are laid over each other in the order of dispatch.c.
 */
#ifndef SETS_H
#define SETS_H

#include "kernels.h"

void kernels_scalar(struct kernels *k); /* every entry that exists */
void kernels_avx2(struct kernels *k);
void kernels_avxvnni(struct kernels *k);
void kernels_avx512(struct kernels *k);
void kernels_vbmi(struct kernels *k);
void kernels_zen4(struct kernels *k);
void kernels_amx(struct kernels *k);
void kernels_neon(struct kernels *k);

#endif
