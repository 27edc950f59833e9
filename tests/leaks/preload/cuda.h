/* What the two halves of the stand-in for libcuda.so.1 share; a test that loaded it may call the
 * standin_ functions through dlsym. */
#ifndef STANDIN_CUDA_H
#define STANDIN_CUDA_H

#include <stddef.h>
#include <stdint.h>

enum kind { DEVICE, PINNED, OBJECT, CONTEXT, KINDS };

/* Numbers of CUresult. */
enum {
	OK = 0,
	INVALID_VALUE = 1,
	OUT_OF_MEMORY = 2,
	NO_BINARY_FOR_GPU = 209,
	INVALID_HANDLE = 400,
	NOT_FOUND = 500,
	LAUNCH_FAILED = 719,
	UNKNOWN = 999
};

/* A handle of an object, and its end. */
int standin_object(enum kind kind, void **out);
int standin_give(enum kind kind, uintptr_t p);

/* Counts a call; not 0 when it is the one that must fail. */
int standin_enter(const char *call);
#define ENTER()                                                                                    \
	do {                                                                                       \
		if (standin_enter(__func__))                                                       \
			return UNKNOWN;                                                            \
	} while (0)
/* Of a call that ends something: it does so also when it tells of an error, as the driver's do when
 * they report what went wrong before. */
#define END(ending)                                                                                \
	do {                                                                                       \
		int failed_ = standin_enter(__func__), r_ = (ending);                              \
		return failed_ ? UNKNOWN : r_;                                                     \
	} while (0)

/* Whether kernels run: the emulation is linked in. */
int standin_runs(void);

/* The nth call from now on fails; 0: none. */
void standin_fail_at(uint64_t n);
uint64_t standin_calls(void);       /* since then */
const char *standin_failed(void);   /* the call that failed; NULL: none */
uint64_t standin_live(enum kind k); /* bytes, or objects */

#endif
