/*
 * The CUDA driver's interface, opened at run time: the same binary runs with and without a driver.
 * Nothing of CUDA is linked, and no header of it is needed.
 *
 *	CUDA_CALL(e, MemAlloc, &p, bytes)   0, or -1 with "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY"
 *
 * Types and numbers are those of the published interface (CUDA driver API); handles are pointers.
 */
#ifndef CUDA_DRIVER_H
#define CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

typedef unsigned long long cuda_address; /* of a device's memory */

/* CUlaunchAttribute, CUlaunchConfig. */
struct cuda_launch_attribute {
	int id, unused;
	int value[16];
};

struct cuda_launch {
	unsigned grid[3], block[3], shared;
	void *stream;
	const struct cuda_launch_attribute *attribute;
	unsigned attributes;
};

/* field, exported name, parameters */
#define CUDA_ENTRIES(X)                                                                            \
	X(Init, "cuInit", (unsigned flags))                                                        \
	X(DriverGetVersion, "cuDriverGetVersion", (int *version))                                  \
	X(GetErrorName, "cuGetErrorName", (int error, const char **name))                          \
	X(DeviceGetCount, "cuDeviceGetCount", (int *n))                                            \
	X(DeviceGet, "cuDeviceGet", (int *device, int i))                                          \
	X(DeviceGetName, "cuDeviceGetName", (char *name, int cap, int device))                     \
	X(DeviceTotalMem, "cuDeviceTotalMem_v2", (size_t * bytes, int device))                     \
	X(DeviceGetAttribute, "cuDeviceGetAttribute", (int *value, int attribute, int device))     \
	X(PrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (void **context, int device))              \
	X(PrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", (int device))                         \
	X(CtxSetCurrent, "cuCtxSetCurrent", (void *context))                                       \
	X(MemGetInfo, "cuMemGetInfo_v2", (size_t * left, size_t * all))                            \
	X(MemAlloc, "cuMemAlloc_v2", (cuda_address * p, size_t bytes))                             \
	X(MemFree, "cuMemFree_v2", (cuda_address p))                                               \
	X(MemAllocHost, "cuMemAllocHost_v2", (void **p, size_t bytes))                             \
	X(MemFreeHost, "cuMemFreeHost", (void *p))                                                 \
	X(MemcpyHtoD, "cuMemcpyHtoD_v2", (cuda_address to, const void *from, size_t bytes))        \
	X(MemcpyDtoH, "cuMemcpyDtoH_v2", (void *to, cuda_address from, size_t bytes))              \
	X(MemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2",                                                 \
	  (cuda_address to, const void *from, size_t bytes, void *stream))                         \
	X(MemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2",                                                 \
	  (void *to, cuda_address from, size_t bytes, void *stream))                               \
	X(MemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2",                                                 \
	  (cuda_address to, cuda_address from, size_t bytes, void *stream))                        \
	X(MemsetD8Async, "cuMemsetD8Async",                                                        \
	  (cuda_address to, unsigned char value, size_t bytes, void *stream))                      \
	X(ModuleLoadData, "cuModuleLoadData", (void **module, const void *image))                  \
	X(ModuleUnload, "cuModuleUnload", (void *module))                                          \
	X(ModuleGetFunction, "cuModuleGetFunction",                                                \
	  (void **function, void *module, const char *name))                                       \
	X(FuncSetAttribute, "cuFuncSetAttribute", (void *function, int attribute, int value))      \
	X(LaunchKernelEx, "cuLaunchKernelEx",                                                      \
	  (const struct cuda_launch *config, void *function, void **parameters, void **extra))     \
	X(StreamCreate, "cuStreamCreate", (void **stream, unsigned flags))                         \
	X(StreamDestroy, "cuStreamDestroy_v2", (void *stream))                                     \
	X(StreamSynchronize, "cuStreamSynchronize", (void *stream))                                \
	X(StreamBeginCapture, "cuStreamBeginCapture_v2", (void *stream, int mode))                 \
	X(StreamEndCapture, "cuStreamEndCapture", (void *stream, void **graph))                    \
	X(GraphInstantiate, "cuGraphInstantiateWithFlags",                                         \
	  (void **executable, void *graph, unsigned long long flags))                              \
	X(GraphLaunch, "cuGraphLaunch", (void *executable, void *stream))                          \
	X(GraphExecDestroy, "cuGraphExecDestroy", (void *executable))                              \
	X(GraphDestroy, "cuGraphDestroy", (void *graph))                                           \
	X(EventCreate, "cuEventCreate", (void **event, unsigned flags))                            \
	X(EventRecord, "cuEventRecord", (void *event, void *stream))                               \
	X(EventSynchronize, "cuEventSynchronize", (void *event))                                   \
	X(EventElapsedTime, "cuEventElapsedTime", (float *ms, void *start, void *end))             \
	X(EventDestroy, "cuEventDestroy_v2", (void *event))

/* NOLINTNEXTLINE(bugprone-macro-parentheses): a name and a list of parameters */
#define CUDA_ENTRY_FIELD(name, symbol, parameters) int(*name) parameters;
struct cuda_driver {
	CUDA_ENTRIES(CUDA_ENTRY_FIELD)
};
#undef CUDA_ENTRY_FIELD

/* Numbers of CUdevice_attribute, of CUfunction_attribute and of flags. */
enum {
	CUDA_MULTIPROCESSORS = 16,
	CUDA_COMPUTE_MAJOR = 75,
	CUDA_COMPUTE_MINOR = 76,
	CUDA_FUNCTION_SHARED = 8,      /* most bytes of dynamic shared memory */
	CUDA_STREAM_NON_BLOCKING = 1,  /* does not wait for the stream without a name */
	CUDA_CAPTURE_THREAD_LOCAL = 1, /* calls of other threads do not disturb a capture */
	CUDA_LAUNCH_EARLY = 6,         /* a kernel may start before those in front of it end */
};

/* The driver, opened and initialised once for the process; NULL with status 2 and the reason when
 * there is none or it does not work.  Borrowed. */
const struct cuda_driver *cuda_driver(struct err *e);

/* Devices that the driver has; 0 without a driver. */
int cuda_driver_devices(void);

/* 0, or -1 with status 2 and "CALL: NAME" when result is an error number. */
int cuda_driver_result(int result, const char *call, struct err *e);

/* Calls an entry of a driver that is known to be there (whoever holds a device has one). */
#define CUDA_CALL(e, name, ...)                                                                    \
	cuda_driver_result(cuda_driver(NULL)->name(__VA_ARGS__), "cu" #name, e)

#endif
