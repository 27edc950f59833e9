#include "utf8.h"

#include <string.h>

/* The length that a lead byte announces and the range that its second byte must lie in,
 * which is where overlong forms, surrogates and too large values show. */
static size_t lead(unsigned char b, unsigned char *lo, unsigned char *hi)
{
	*lo = 0x80;
	*hi = 0xbf;
	if (b < 0x80)
		return 1;
	if (b < 0xc2 || b > 0xf4)
		return 0;
	if (b < 0xe0)
		return 2;
	if (b < 0xf0) {
		*lo = b == 0xe0 ? 0xa0 : 0x80;
		*hi = b == 0xed ? 0x9f : 0xbf;
		return 3;
	}
	*lo = b == 0xf0 ? 0x90 : 0x80;
	*hi = b == 0xf4 ? 0x8f : 0xbf;
	return 4;
}

/* How many bytes at p, at most n, are a well-formed beginning of a character; *full is
 * the length of the character (0: p begins none). */
static size_t prefix(const unsigned char *p, size_t n, size_t *full)
{
	unsigned char lo, hi;
	size_t len = *full = n ? lead(p[0], &lo, &hi) : 0, i;

	if (len < 2)
		return len;
	for (i = 1; i < len && i < n; i++) {
		if (p[i] < lo || p[i] > hi)
			return i;
		lo = 0x80;
		hi = 0xbf;
	}
	return i;
}

size_t utf8_decode(const char *s, size_t n, uint32_t *c)
{
	static const unsigned char mask[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	const unsigned char *p = (const unsigned char *)s;
	size_t len, i;

	if (!n || prefix(p, n, &len) < len || !len)
		return 0;
	if (c) {
		*c = p[0] & mask[len];
		for (i = 1; i < len; i++)
			*c = *c << 6 | (p[i] & 0x3f);
	}
	return len;
}

size_t utf8_encode(uint32_t c, char out[4])
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

size_t utf8_check(const char *p, size_t n)
{
	size_t i = 0, len;
	uint64_t w;

	while (i < n) {
		/* Eight bytes of ASCII at a time: most text is that. */
		if (n - i >= sizeof w) {
			memcpy(&w, p + i, sizeof w);
			if (!(w & 0x8080808080808080u)) {
				i += sizeof w;
				continue;
			}
		}
		len = utf8_decode(p + i, n - i, NULL);
		if (!len)
			return i;
		i += len;
	}
	return n;
}

size_t utf8_held(const char *p, size_t n)
{
	size_t back, full;

	for (back = 1; back <= 3 && back <= n; back++)
		if (prefix((const unsigned char *)p + n - back, back, &full) == back && full > back)
			return back;
	return 0;
}

int utf8_is_space(uint32_t c)
{
	return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
	       (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
	       c == 0x205f || c == 0x3000;
}
