/*
 * UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF.
 */
#ifndef UTF8_H
#define UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The length (1 to 4 bytes) of the well-formed character that p[0..n) begins with, its code
 * point in *c (NULL is allowed); 0 when it begins with none. */
size_t utf8_decode(const char *p, size_t n, uint32_t *c);

/* Writes the character c (a valid code point) to out, returns its length, 1 to 4. */
size_t utf8_encode(uint32_t c, char out[4]);

/* The offset of the first byte that is not part of a well-formed character; n when all are. */
size_t utf8_check(const char *p, size_t n);

/* How many bytes (0 to 3) at the end of p[0..n) begin a character that more bytes could
 * complete: what a writer of a stream holds back. */
size_t utf8_held(const char *p, size_t n);

/* Whether c is white space: the White_Space property of Unicode. */
int utf8_is_space(uint32_t c);

#endif
