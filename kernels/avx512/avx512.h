/*
 * Parts of the AVX-512 set, and what the AMX set takes from it.
 */
#ifndef AVX512_H
#define AVX512_H

#include "../kernels.h"

void avx512_wide_init(struct kernels *k);
void avx512_ternary_init(struct kernels *k);
void avx512_screen_init(struct kernels *k);

/* Products of ternary types: the best of what follows. */
kernel_mul avx512_mul;

/* Products with one token: rows are read where they lie. */
kernel_mul avx512_mul_one;

/* Products with 2 to avx512_few() tokens, for which this is faster than panels. */
kernel_mul avx512_mul_few;
size_t avx512_few(const struct kernel_mat *w, size_t k);

/* Those of the rows that are not one run each, with all tokens. */
kernel_mul avx512_mul_others;

typedef void avx512_unpacker(const struct kernel_mat *w, size_t k, size_t row, size_t rows,
                             size_t c, uint8_t panel[4096]);

/* Products with any number of tokens by panels, of which unpack makes a strip at a time; rows that
 * are not one run are left out. */
void avx512_mul_panels(const struct kernel_mat *w, const struct kernel_input *x, size_t row0,
                       size_t row1, float *y, size_t y_stride, void *scratch,
                       avx512_unpacker *unpack);

/* Unpacks rows row..row+15 (those from rows on are taken for zero codes), columns c..c+255 (c a
 * multiple of 256; columns behind k are zero), to codes 0..3: panel[64 * g + 4 * r + i] is column
 * c + 4 g + i of row r, for 64 groups g. */
avx512_unpacker avx512_unpack;

#endif
