#include "lookup.h"

/* How many tokens in front of a and of b are the same, a < b. */
static size_t agreement(const int32_t *history, size_t a, size_t b)
{
	size_t n = 0;

	while (n < a && n < LOOKUP_LONGEST && history[a - 1 - n] == history[b - 1 - n])
		n++;
	return n;
}

/* The index behind the best earlier place, which agrees in *agreed tokens; 0 when there is none. */
static size_t find_ending(const int32_t *history, size_t n, size_t *agreed)
{
	size_t best = LOOKUP_SHORTEST - 1, at = 0;

	for (size_t i = n - 1; i > best && best < LOOKUP_LONGEST; i--) {
		size_t g = history[i - 1] == history[n - 1] ? agreement(history, i, n) : 0;

		if (g > best) {
			best = g;
			at = i;
		}
	}
	*agreed = at ? best : 0;
	return at;
}

size_t lookup_draft(struct lookup *l, const int32_t *history, size_t n, int32_t *out, size_t max)
{
	size_t agreed = 0, at = n > LOOKUP_SHORTEST ? find_ending(history, n, &agreed) : 0;

	if (!at && l->resume && l->resume < n) {
		at = l->resume;
		max = max < LOOKUP_GUESS ? max : LOOKUP_GUESS;
	}
	l->at = at;
	l->resume = 0;
	if (!at)
		return 0;
	/* What goes round in circles goes on so. */
	size_t k = n - at < max && agreed < n - at ? n - at : max;
	for (size_t i = 0; i < k; i++)
		out[i] = at + i < n ? history[at + i] : out[at + i - n];
	return k;
}

void lookup_learn(struct lookup *l, size_t came_true)
{
	l->resume = l->at && came_true >= LOOKUP_TRUST ? l->at + came_true + 1 : 0;
}
