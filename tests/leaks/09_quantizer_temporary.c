/* A quantizer that forgets its temporary of 256 KiB. */
#include "leaks.h"

#define N 65536

static float weights[N]; /* (N) */

SITE static signed char *quantize(const float *w)
{
	signed char *out = leaks_check(malloc(N));
	float *scaled = leaks_check(malloc(N * sizeof(*scaled)));
	for (int i = 0; i < N; i++) {
		scaled[i] = w[i] * 0.5f;
		out[i] = (signed char)(scaled[i] > 0.5f);
	}
	return out;
}

static void step(unsigned i)
{
	weights[i % N] = (float)leaks_random(3);
	free(quantize(weights));
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
