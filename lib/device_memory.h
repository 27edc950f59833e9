/* What the driver of the first GPU says is free.  The driver's library is looked for at run time.
 */
#ifndef DEVICE_MEMORY_H
#define DEVICE_MEMORY_H

#include <stdint.h>

#include "err.h"

/* Free bytes of device 0.  Errors (status 2): no driver, no device. */
int device_memory(uint64_t *bytes, struct err *e);

#endif
