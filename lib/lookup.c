#include "lookup.h"

#include <string.h>

/* Where the last g tokens occurred before, latest first: the index behind them; 0 when nowhere. */
static size_t find_ending(const int32_t *history, size_t n, size_t g)
{
	const int32_t *ending = history + n - g;

	for (size_t i = n - 1; i >= g; i--)
		if (history[i - 1] == ending[g - 1] &&
		    !memcmp(history + i - g, ending, g * sizeof *ending))
			return i;
	return 0;
}

size_t lookup_draft(const int32_t *history, size_t n, int32_t *out, size_t max)
{
	for (size_t g = LOOKUP_LONGEST; g >= LOOKUP_SHORTEST; g--) {
		size_t at = n > g ? find_ending(history, n, g) : 0;
		if (!at)
			continue;
		size_t k = n - at < max ? n - at : max;
		memcpy(out, history + at, k * sizeof *out);
		return k;
	}
	return 0;
}
