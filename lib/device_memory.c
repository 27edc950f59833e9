#include "device_memory.h"

#include <dlfcn.h>
#include <string.h>

/* Of the driver's interface (NVML), what is asked here. */
struct nvml_memory {
	unsigned long long total, free, used;
};
struct nvml {
	void *library;
	int (*init)(void);
	int (*device)(unsigned index, void **device);
	int (*memory)(void *device, struct nvml_memory *m);
	int (*shutdown)(void);
};

/* dlsym gives an object pointer: copied, as POSIX asks, not cast. */
static int symbol(const struct nvml *n, const char *name, void *to)
{
	void *p = dlsym(n->library, name);

	memcpy(to, &p, sizeof p);
	return !p;
}

static int load(struct nvml *n, struct err *e)
{
	n->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!n->library)
		return err_set(e, ERR_TROUBLE,
		               "no NVIDIA driver is found here; give the size instead");
	if (symbol(n, "nvmlInit_v2", &n->init) ||
	    symbol(n, "nvmlDeviceGetHandleByIndex_v2", &n->device) ||
	    symbol(n, "nvmlDeviceGetMemoryInfo", &n->memory) ||
	    symbol(n, "nvmlShutdown", &n->shutdown))
		return err_set(e, ERR_TROUBLE, "the NVIDIA driver is too old to be asked");
	return 0;
}

int device_memory(uint64_t *bytes, struct err *e)
{
	struct nvml n = {0};
	struct nvml_memory m;
	void *device;
	int r = -1;

	if (load(&n, e))
		goto done;
	if (n.init()) {
		err_set(e, ERR_TROUBLE, "the NVIDIA driver does not answer; give the size instead");
		goto done;
	}
	if (n.device(0, &device) || n.memory(device, &m)) {
		err_set(e, ERR_TROUBLE, "the NVIDIA driver knows no device");
	} else {
		*bytes = m.free;
		r = 0;
	}
	n.shutdown();
done:
	if (n.library)
		dlclose(n.library);
	return r;
}
