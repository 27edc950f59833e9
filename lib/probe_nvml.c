#include "probe_nvml.h"

#include <dlfcn.h>
#include <math.h>

#include "mem.h"

#define PROCESSES 256

/* nvmlProcessInfo_t of interface version 2 and later. */
struct process_info {
	unsigned pid;
	unsigned long long used;
	unsigned gpu_instance, compute_instance;
};

struct nvml {
	void *library;
	unsigned devices;
	int (*init)(void);
	int (*shutdown)(void);
	int (*count)(unsigned *);
	int (*by_index)(unsigned, void **);
	int (*processes)(void *, unsigned *, struct process_info *);
};

static int look_up(struct nvml *n)
{
	const struct {
		const char *name;
		void *to;
	} want[] = {
	    {"nvmlInit_v2", &n->init},
	    {"nvmlShutdown", &n->shutdown},
	    {"nvmlDeviceGetCount_v2", &n->count},
	    {"nvmlDeviceGetHandleByIndex_v2", &n->by_index},
	    {"nvmlDeviceGetComputeRunningProcesses_v3", &n->processes},
	};

	for (size_t i = 0; i < sizeof want / sizeof *want; i++)
		if (!(*(void **)want[i].to = dlsym(n->library, want[i].name)))
			return 0;
	return 1;
}

struct nvml *nvml_open(void)
{
	struct nvml *n = mem_calloc(MEM_OTHER, 1, sizeof *n, NULL);

	if (!n)
		return NULL;
	n->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	if (n->library && look_up(n) && n->init() == 0) {
		if (n->count(&n->devices) == 0 && n->devices)
			return n;
		n->shutdown();
	}
	if (n->library)
		dlclose(n->library);
	mem_free(n);
	return NULL;
}

void nvml_close(struct nvml *n)
{
	if (!n)
		return;
	n->shutdown();
	dlclose(n->library);
	mem_free(n);
}

static double used_on(const struct nvml *n, void *device, const pid_t *pid, size_t pids)
{
	struct process_info info[PROCESSES];
	unsigned count = PROCESSES;
	double sum = 0;

	if (n->processes(device, &count, info))
		return NAN;
	for (unsigned i = 0; i < count; i++)
		for (size_t k = 0; k < pids; k++)
			if ((pid_t)info[i].pid == pid[k])
				sum += (double)info[i].used;
	return sum;
}

double nvml_used(const struct nvml *n, const pid_t *pid, size_t pids)
{
	double sum = 0;

	for (unsigned i = 0; i < n->devices; i++) {
		void *device;
		if (n->by_index(i, &device))
			return NAN;
		sum += used_on(n, device, pid, pids);
	}
	return sum;
}
