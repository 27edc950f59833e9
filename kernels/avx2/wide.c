/*
 * The float entries of the AVX2 set.
 */
#include "avx2.h"
#include "lanes.h"

#include "../scalar/scalar.h"
#include "../wide/attend.h"
#include "../wide/float.h"
#include "../wide/ceiling.h"
#include "../wide/screen.h"
#include "../wide/vector.h"
#include "../wide/entries.h"

void avx2_wide_init(struct kernels *k)
{
	wide_init(k);
}
