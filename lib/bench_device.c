/*
 * What a device gives at best, and the share of it that a product of one vector reaches when its
 * weights come from memory: matrices by turns, more of them than caches hold.
 */
#include "bench_private.h"

#include "gpu_private.h"

#define COPY_BYTES (UINT64_C(1) << 30)
#define GEMV_BYTES (UINT64_C(512) << 20) /* of all matrices */
#define GEMV_ROWS  13824u
#define GEMV_COLS  2560u
#define INT8_TIME  0.01 /* seconds of one probe */
#define WARM       1    /* runs that do not count */

struct probe {
	struct gpu *g;
	void *event[2], *graph, *executable;
	uint64_t bytes; /* of the copy, of a matrix */
	uint32_t matrices;
	struct cuda_probe copy, int8;
	struct cuda_product product;
};

static void *at(void *p, uint64_t offset)
{
	return (uint8_t *)p + offset;
}

static int copy(struct probe *p, struct err *e)
{
	return gpu_launch(p->g, CUDA_PROBE_COPY, &p->copy, e);
}

static int int8(struct probe *p, struct err *e)
{
	return gpu_launch(p->g, CUDA_PROBE_INT8, &p->int8, e);
}

static int launch_products(struct probe *p, struct err *e)
{
	struct cuda_product a = p->product;

	for (uint32_t i = 0; i < p->matrices; i++) {
		if (gpu_launch(p->g, CUDA_VECTOR, &a, e))
			return -1;
		a.part[0].codes += p->bytes;
	}
	return 0;
}

/* All of them as one graph: launched one by one they would wait for the host. */
static int capture_products(struct probe *p, struct err *e)
{
	if (CUDA_CALL(e, StreamBeginCapture, p->g->stream, CUDA_CAPTURE_THREAD_LOCAL))
		return -1;
	int failed = launch_products(p, e);
	failed |= CUDA_CALL(failed ? NULL : e, StreamEndCapture, p->g->stream, &p->graph);
	return failed || CUDA_CALL(e, GraphInstantiate, &p->executable, p->graph, 0) ? -1 : 0;
}

static int products(struct probe *p, struct err *e)
{
	return CUDA_CALL(e, GraphLaunch, p->executable, p->g->stream);
}

/* Seconds of one run, from its begin to its end on the device. */
static int timed(struct probe *p, int (*run)(struct probe *p, struct err *e), double *seconds,
                 struct err *e)
{
	float ms;

	if (CUDA_CALL(e, EventRecord, p->event[0], p->g->stream) || run(p, e) ||
	    CUDA_CALL(e, EventRecord, p->event[1], p->g->stream) ||
	    CUDA_CALL(e, EventSynchronize, p->event[1]) ||
	    CUDA_CALL(e, EventElapsedTime, &ms, p->event[0], p->event[1]))
		return -1;
	*seconds = ms > 0 ? (double)ms * 1e-3 : 1e-9;
	return 0;
}

/* A figure of `work` units a run, in 10^9 a second. */
static int measure(struct bench *b, struct probe *p, struct bench_row *r, double work,
                   int (*run)(struct probe *p, struct err *e), struct err *e)
{
	double seconds;

	for (unsigned i = 0; i < b->o->repeat + WARM; i++) {
		if (timed(p, run, &seconds, e))
			return -1;
		if (i >= WARM)
			b->run[i - WARM] = work / seconds * 1e-9;
	}
	return bench_figure(b, r, e);
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* A copy reads and writes each byte. */
static int measure_copy(struct bench *b, struct probe *p, struct err *e)
{
	struct bench_row r = {.what = BENCH_COPY};
	uint64_t left, bytes;

	if (device_free(p->g->device, &left, e))
		return -1;
	bytes = least(COPY_BYTES, left / 8) / 4096 * 4096;
	void *memory = device_take(p->g->device, 2 * bytes, e);
	if (!memory)
		return -1;
	p->copy = (struct cuda_probe){.from = memory,
	                              .to = at(memory, bytes),
	                              .bytes = bytes,
	                              .blocks = device_info(p->g->device)->units * 8};
	int failed = measure(b, p, &r, 2.0 * (double)bytes, copy, e);
	b->read = r.median * 1e9;
	device_give(p->g->device, memory);
	device_trim(p->g->device);
	return failed;
}

/* As many rounds as take long enough to be timed. */
static int settle_rounds(struct probe *p, struct err *e)
{
	double seconds = 0;

	for (;; p->int8.rounds *= 4) {
		if (timed(p, int8, &seconds, e))
			return -1;
		if (seconds >= INT8_TIME || p->int8.rounds >= 1u << 24)
			return 0;
	}
}

static int measure_int8(struct bench *b, struct probe *p, struct err *e)
{
	struct bench_row r = {.what = BENCH_INT8};
	uint32_t blocks = device_info(p->g->device)->units * 4;
	void *sink = device_take(p->g->device, blocks * sizeof(int32_t), e);

	if (!sink)
		return -1;
	p->int8 = (struct cuda_probe){.blocks = blocks, .rounds = 1, .sink = sink};
	int failed = settle_rounds(p, e);
	double work = (double)blocks * p->int8.rounds * CUDA_PROBE_OPS;
	failed = failed || measure(b, p, &r, work, int8, e);
	b->int8 = r.median * 1e9;
	device_give(p->g->device, sink);
	return failed;
}

static int measure_product(struct bench *b, struct probe *p, struct err *e)
{
	struct bench_row r = {
	    .what = BENCH_GEMV, .tokens = 1, .ubatch = 1, .bound = b->read * 1e-9};
	struct cuda_packing k;
	uint64_t left;

	if (device_free(p->g->device, &left, e))
		return -1;
	cuda_packing(&k, DTYPE_I2_S, 32, GEMV_ROWS, GEMV_COLS, 0);
	p->bytes = k.bytes;
	p->matrices = (uint32_t)(least(GEMV_BYTES, left / 4) / k.bytes);
	p->matrices = p->matrices ? p->matrices : 1;
	uint64_t x = plan_device_round(GEMV_COLS * sizeof(float)), all = k.bytes * p->matrices;
	uint64_t y = plan_device_round(GEMV_ROWS * sizeof(float));
	void *memory = device_take(p->g->device, all + x + y, e);
	if (!memory)
		return -1;
	p->product = (struct cuda_product){
	    .parts = 1,
	    .n = 1,
	    .k = GEMV_COLS,
	    .units = device_info(p->g->device)->units,
	    .x = at(memory, all),
	    .y_stride = GEMV_ROWS,
	    .part = {{.codes = memory, .scale = 1, .rows = GEMV_ROWS, .y = at(memory, all + x)}}};
	/* Codes 1 and 2 by turns; the input is small. */
	int failed =
	    CUDA_CALL(e, MemsetD8Async, (uintptr_t)memory, 0x99, all, p->g->stream) ||
	    CUDA_CALL(e, MemsetD8Async, (uintptr_t)at(memory, all), 0x3c, x, p->g->stream) ||
	    capture_products(p, e) || measure(b, p, &r, (double)all, products, e);
	device_give(p->g->device, memory);
	return failed ? -1 : 0;
}

static int measure_all(struct bench *b, struct probe *p, struct err *e)
{
	return device_enter(p->g->device, e) || CUDA_CALL(e, EventCreate, &p->event[0], 0) ||
	               CUDA_CALL(e, EventCreate, &p->event[1], 0) || measure_copy(b, p, e) ||
	               measure_int8(b, p, e) || measure_product(b, p, e)
	           ? -1
	           : 0;
}

int bench_device(struct bench *b, struct err *e)
{
	struct probe p = {0};

	if (gpu_open(&p.g, b->o->device, e))
		return -1;
	int failed = measure_all(b, &p, e) && err_in(e, "%s", b->o->device);
	if (p.executable)
		failed |= CUDA_CALL(failed ? NULL : e, GraphExecDestroy, p.executable);
	if (p.graph)
		failed |= CUDA_CALL(failed ? NULL : e, GraphDestroy, p.graph);
	for (int i = 0; i < 2; i++)
		if (p.event[i])
			failed |= CUDA_CALL(failed ? NULL : e, EventDestroy, p.event[i]);
	return gpu_close(p.g, failed ? NULL : e) || failed ? -1 : 0;
}
