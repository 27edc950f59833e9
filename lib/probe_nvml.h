/* Device bytes by process from NVIDIA's management library, opened at run time. */
#ifndef PROBE_NVML_H
#define PROBE_NVML_H

#include <stddef.h>
#include <sys/types.h>

struct nvml; /* private */

struct nvml *nvml_open(void); /* NULL: no library, or no device */
void nvml_close(struct nvml *n);

/* Bytes held by the processes on all devices; NaN when that is not told. */
double nvml_used(const struct nvml *n, const pid_t *pid, size_t pids);

#endif
