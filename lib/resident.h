/* What the system says is resident of this process. */
#ifndef RESIDENT_H
#define RESIDENT_H

#include <stdint.h>

/* Bytes (RSS, from /proc/self/statm); 0 where it cannot be read. */
uint64_t resident_bytes(void);

/* Whether the system gives huge pages of 2 MiB to memory for which madvise asks. */
int resident_huge(void);

#endif
