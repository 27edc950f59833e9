/*
 * The float entries of the NEON set.
 */
#include "neon.h"
#include "lanes.h"

#include "../scalar/scalar.h"
#include "../wide/attend.h"
#include "../wide/float.h"
#include "../wide/ceiling.h"
#include "../wide/screen.h"
#include "../wide/vector.h"
#include "../wide/entries.h"

void neon_wide_init(struct kernels *k)
{
	wide_init(k);
}
