/* Where the model lies that comes with the toolkit. */
#ifndef MODEL_PATH_H
#define MODEL_PATH_H

#include <stddef.h>

#include "err.h"

/* Writes the path of shakespeare.gguf into out: beside an installed program
 * (../share/bitnet), in the place that was configured at build time, or in the source tree of a
 * program that was not installed.  Status 2 when it is nowhere. */
int model_path(char *out, size_t cap, struct err *e);

#endif
