/*
 * Ternary weights in 1.6 bits: strips of 16 rows, made of I2_S while loading.
 *
 * A strip is a sequence of blocks of 64 bytes, each with 20 columns of its rows.  Byte 4 r + i of a
 * block is a base-3 number, 81 d0 + 27 d1 + 9 d2 + 3 d3 + d4, whose digit dj is the code (0..2 for
 * -1..1) of row r and column 4 j + i of the block.  So digit j of all bytes is a vector that
 * vpdpbusd takes with four activations that all lanes share.  Behind the last column digits are 0.
 */
#ifndef STRIPS_H
#define STRIPS_H

#include <stddef.h>
#include <stdint.h>

#define STRIP_ROWS   16
#define STRIP_DIGITS 5
#define STRIP_COLS   (4 * STRIP_DIGITS) /* of a block */
#define STRIP_BLOCK  64                 /* bytes of a block */

/* Bytes of a strip. */
static inline size_t strip_bytes(size_t cols)
{
	return (cols + STRIP_COLS - 1) / STRIP_COLS * STRIP_BLOCK;
}

/* Bytes of a matrix; rows is a multiple of STRIP_ROWS. */
static inline size_t strips_bytes(size_t rows, size_t cols)
{
	return rows / STRIP_ROWS * strip_bytes(cols);
}

#endif
