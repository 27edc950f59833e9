#include "cuda_driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct cuda_driver cu;
static struct err why; /* status 0: the driver works */
static int devices;

/* "number 999" where the driver has no name for it. */
static const char *error_name(int number, char text[24])
{
	const char *name = NULL;

	if (cu.GetErrorName && cu.GetErrorName(number, &name) == 0 && name)
		return name;
	snprintf(text, 24, "number %d", number);
	return text;
}

int cuda_driver_result(int result, const char *call, struct err *e)
{
	char text[24];

	return result ? err_set(e, ERR_TROUBLE, "%s: %s", call, error_name(result, text)) : 0;
}

static int find_entries(void *lib)
{
#define ENTRY(name, symbol, parameters) {symbol, &cu.name},
	static const struct {
		const char *name;
		void *to;
	} entry[] = {CUDA_ENTRIES(ENTRY)};
#undef ENTRY

	for (size_t i = 0; i < sizeof entry / sizeof *entry; i++) {
		void *p = dlsym(lib, entry[i].name);

		if (!p)
			return err_set(&why, ERR_TROUBLE, "the CUDA driver here is too old: no %s",
			               entry[i].name);
		/* dlsym gives an object pointer: copied, as POSIX asks, not cast. */
		memcpy(entry[i].to, &p, sizeof p);
	}
	return 0;
}

/* The library stays open: its memory and threads do not bear being unloaded. */
static void load(void)
{
	void *lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);

	if (!lib) {
		err_set(&why, ERR_TROUBLE, "no CUDA driver is found here");
		return;
	}
	if (find_entries(lib) || cuda_driver_result(cu.Init(0), "cuInit", &why) ||
	    cuda_driver_result(cu.DeviceGetCount(&devices), "cuDeviceGetCount", &why)) {
		devices = 0;
		return;
	}
	if (!devices)
		err_set(&why, ERR_TROUBLE, "the CUDA driver knows no device");
}

const struct cuda_driver *cuda_driver(struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load);
	if (!why.status)
		return &cu;
	if (e)
		*e = why;
	return NULL;
}

int cuda_driver_devices(void)
{
	return cuda_driver(NULL) ? devices : 0;
}
