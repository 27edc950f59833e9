/*
 * The other half of the stand-in for libcuda.so.1: copies, modules, launches, graphs.  Device
 * memory is memory of the host here, and a launch runs the kernel's own source on the host where
 * the emulation is linked in (tests/cuda); without it a module finds no code for this device.
 *
 * Everything happens at once, in the order of the calls, or is recorded while a stream is captured.
 */
#include "cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../../kernels/cuda/cuda.h"

#pragma weak cuda_emulate
#pragma weak emulate_why
#pragma weak cuda_info
int cuda_emulate(const char *name, const uint32_t grid[3], uint32_t block, uint32_t shared,
                 const void *args);
const char *emulate_why(void);

int standin_runs(void)
{
	return cuda_emulate != NULL;
}

int cuDriverGetVersion(int *version)
{
	ENTER();
	*version = 12080;
	return OK;
}

int cuGetErrorName(int error, const char **name)
{
	static const struct {
		int error;
		const char *name;
	} all[] = {
	    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
	    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
	    {NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
	    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE"},
	    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
	    {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"},
	    {UNKNOWN, "CUDA_ERROR_UNKNOWN"},
	};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (all[i].error == error) {
			*name = all[i].name;
			return OK;
		}
	return INVALID_VALUE;
}

/* ---- modules ---- */

/* A function: what it is, and how much dynamic shared memory it was allowed. */
static struct function {
	enum cuda_kernel kernel;
	int shared;
} function[CUDA_KERNELS];

int cuModuleLoadData(void **module, const void *image)
{
	ENTER();
	if (!image)
		return INVALID_VALUE;
	return standin_runs() ? standin_object(OBJECT, module) : NO_BINARY_FOR_GPU;
}

int cuModuleUnload(void *module)
{
	END(standin_give(OBJECT, (uintptr_t)module));
}

int cuModuleGetFunction(void **out, void *module, const char *name)
{
	ENTER();
	if (!module)
		return INVALID_HANDLE;
	for (int k = 0; k < CUDA_KERNELS; k++)
		if (!strcmp(cuda_info((enum cuda_kernel)k)->name, name)) {
			function[k] = (struct function){(enum cuda_kernel)k, 48 << 10};
			*out = &function[k];
			return OK;
		}
	return NOT_FOUND;
}

int cuFuncSetAttribute(void *f, int attribute, int value)
{
	ENTER();
	if (attribute != 8 || value < 0 || value > 227 << 10)
		return INVALID_VALUE;
	((struct function *)f)->shared = value;
	return OK;
}

/* ---- what is done, at once or later ---- */

#define ARGS 1024

struct op {
	struct op *next;
	void *to;
	const void *from; /* NULL: bytes are set to value */
	size_t bytes;
	int value;
	struct function *function; /* NULL: a copy */
	struct cuda_shape shape;
	uint8_t args[ARGS];
};

struct graph {
	struct op *first, **last;
	int users; /* the graph, and what was made of it */
};

/* One capture at a time; graphs by handle. */
static void *captured;
static struct graph *capture;
#define GRAPHS 256
static struct {
	void *handle; /* NULL: not used */
	struct graph *graph;
} graphs[GRAPHS];

static int run(const struct op *o)
{
	if (o->function) {
		const struct cuda_info *i = cuda_info(o->function->kernel);

		if (cuda_emulate(i->name, o->shape.grid, o->shape.block, o->shape.shared,
		                 o->args) == 0)
			return OK;
		fprintf(stderr, "stand-in: %s\n", emulate_why());
		return LAUNCH_FAILED;
	}
	if (o->from)
		memcpy(o->to, o->from, o->bytes);
	else
		memset(o->to, o->value, o->bytes);
	return OK;
}

static int run_or_record(const struct op *o, void *stream)
{
	struct op *kept;

	if (!capture || stream != captured)
		return run(o);
	kept = malloc(sizeof *kept);
	if (!kept)
		return OUT_OF_MEMORY;
	*kept = *o;
	kept->next = NULL;
	*capture->last = kept;
	capture->last = &kept->next;
	return OK;
}

static int copy(void *to, const void *from, size_t bytes, void *stream)
{
	return run_or_record(&(struct op){.to = to, .from = from, .bytes = bytes}, stream);
}

static void *at(unsigned long long address)
{
	return (void *)(uintptr_t)address;
}

int cuMemcpyHtoD_v2(unsigned long long to, const void *from, size_t bytes)
{
	ENTER();
	return copy(at(to), from, bytes, NULL);
}

int cuMemcpyDtoH_v2(void *to, unsigned long long from, size_t bytes)
{
	ENTER();
	return copy(to, at(from), bytes, NULL);
}

int cuMemcpyHtoDAsync_v2(unsigned long long to, const void *from, size_t bytes, void *stream)
{
	ENTER();
	return copy(at(to), from, bytes, stream);
}

int cuMemcpyDtoHAsync_v2(void *to, unsigned long long from, size_t bytes, void *stream)
{
	ENTER();
	return copy(to, at(from), bytes, stream);
}

int cuMemcpyDtoDAsync_v2(unsigned long long to, unsigned long long from, size_t bytes, void *stream)
{
	ENTER();
	return copy(at(to), at(from), bytes, stream);
}

int cuMemsetD8Async(unsigned long long to, unsigned char value, size_t bytes, void *stream)
{
	ENTER();
	return run_or_record(&(struct op){.to = at(to), .value = value, .bytes = bytes}, stream);
}

static int launch(struct function *f, const struct cuda_shape *shape, void *stream, void **params,
                  void **extra)
{
	const struct cuda_info *i = cuda_info(f->kernel);
	struct op o = {.function = f, .shape = *shape};

	if (extra || i->args > ARGS || shape->shared > (uint32_t)f->shared)
		return INVALID_VALUE;
	memcpy(o.args, params[0], i->args);
	return run_or_record(&o, stream);
}

/* CUlaunchConfig; what its attributes say changes nothing here. */
struct config {
	unsigned grid[3], block[3], shared;
	void *stream, *attributes;
	unsigned n_attributes;
};

int cuLaunchKernelEx(const struct config *c, void *f, void **params, void **extra)
{
	ENTER();
	if (c->block[1] != 1 || c->block[2] != 1)
		return INVALID_VALUE;
	struct cuda_shape shape = {{c->grid[0], c->grid[1], c->grid[2]}, c->block[0], c->shared};
	return launch(f, &shape, c->stream, params, extra);
}

/* ---- streams, events ---- */

/* Nothing may wait for a stream that is captured. */
int cuStreamSynchronize(void *stream)
{
	ENTER();
	return capture && stream == captured ? 900 : OK;
}

/* When events were recorded, the last of them. */
#define EVENTS 64
static struct {
	void *event;
	struct timespec at;
} recorded[EVENTS];

static double time_of(const void *event)
{
	for (size_t i = 0; i < EVENTS; i++)
		if (recorded[i].event == event)
			return (double)recorded[i].at.tv_sec +
			       (double)recorded[i].at.tv_nsec * 1e-9;
	return 0;
}

int cuEventRecord(void *event, void *stream)
{
	static size_t next;
	size_t i = 0;

	ENTER();
	(void)stream;
	while (i < EVENTS && recorded[i].event != event)
		i++;
	i = i < EVENTS ? i : next++ % EVENTS;
	recorded[i].event = event;
	clock_gettime(CLOCK_MONOTONIC, &recorded[i].at);
	return OK;
}

int cuEventSynchronize(void *event)
{
	ENTER();
	(void)event;
	return OK;
}

int cuEventElapsedTime(float *ms, void *start, void *end)
{
	ENTER();
	*ms = (float)((time_of(end) - time_of(start)) * 1e3);
	return OK;
}

/* ---- graphs ---- */

static struct graph *graph_new(void)
{
	struct graph *g = calloc(1, sizeof *g);

	if (g)
		g->last = &g->first;
	return g;
}

static void graph_drop(struct graph *g)
{
	if (!g || --g->users > 0)
		return;
	while (g->first) {
		struct op *next = g->first->next;

		free(g->first);
		g->first = next;
	}
	free(g);
}

/* A handle for g, of which it is one more user. */
static int handle_new(void **handle, struct graph *g)
{
	for (size_t i = 0; g && i < GRAPHS; i++)
		if (!graphs[i].handle) {
			int r = standin_object(OBJECT, handle);

			if (r == OK) {
				graphs[i].handle = *handle;
				graphs[i].graph = g;
				g->users++;
			}
			return r;
		}
	return OUT_OF_MEMORY;
}

static struct graph *graph_of(void *handle)
{
	for (size_t i = 0; handle && i < GRAPHS; i++)
		if (graphs[i].handle == handle)
			return graphs[i].graph;
	return NULL;
}

static int handle_end(void *handle)
{
	for (size_t i = 0; handle && i < GRAPHS; i++)
		if (graphs[i].handle == handle) {
			graphs[i].handle = NULL;
			graph_drop(graphs[i].graph);
		}
	return standin_give(OBJECT, (uintptr_t)handle);
}

int cuStreamBeginCapture_v2(void *stream, int mode)
{
	ENTER();
	(void)mode;
	if (capture)
		return INVALID_VALUE;
	capture = graph_new();
	captured = stream;
	return capture ? OK : OUT_OF_MEMORY;
}

/* Ends the capture also when it tells of an error, with no graph then. */
int cuStreamEndCapture(void *stream, void **graph)
{
	int failed = standin_enter(__func__);
	struct graph *g = capture;

	*graph = NULL;
	if (!g || stream != captured)
		return INVALID_VALUE;
	capture = NULL;
	int r = failed ? UNKNOWN : handle_new(graph, g);
	if (r)
		graph_drop(g);
	return r;
}

int cuGraphCreate(void **graph, unsigned flags)
{
	ENTER();
	return flags ? INVALID_VALUE : standin_object(OBJECT, graph);
}

int cuGraphDestroy(void *graph)
{
	END(handle_end(graph));
}

int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags)
{
	ENTER();
	(void)flags;
	return graph_of(graph) ? handle_new(executable, graph_of(graph)) : INVALID_HANDLE;
}

int cuGraphExecDestroy(void *executable)
{
	END(handle_end(executable));
}

int cuGraphLaunch(void *executable, void *stream)
{
	struct graph *g = graph_of(executable);
	int r = OK;

	ENTER();
	(void)stream;
	if (!g)
		return INVALID_HANDLE;
	for (const struct op *o = g->first; o && r == OK; o = o->next)
		r = run(o);
	return r;
}
