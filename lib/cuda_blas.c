#include "cuda_blas.h"

#include <dlfcn.h>
#include <string.h>

#include "mem.h"

/* Numbers of cublasOperation_t. */
enum { PLAIN = 0, TRANSPOSED = 1 };

struct cuda_blas {
	void *library, *handle;
	int (*create)(void **handle);
	int (*destroy)(void *handle);
	int (*set_stream)(void *handle, void *stream);
	int (*set_workspace)(void *handle, void *work, size_t bytes);
	int (*sgemm)(void *handle, int trans_a, int trans_b, int m, int n, int k,
	             const float *alpha, const void *a, int lda, const void *b, int ldb,
	             const float *beta, void *c, int ldc);
};

static void *library(void)
{
	static const char *const name[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so.11"};
	void *lib = NULL;

	for (size_t i = 0; !lib && i < sizeof name / sizeof *name; i++)
		lib = dlopen(name[i], RTLD_NOW | RTLD_LOCAL);
	return lib;
}

/* 0 when all of it is there. */
static int find(struct cuda_blas *b)
{
	const struct {
		const char *name;
		void *to;
	} entry[] = {
	    {"cublasCreate_v2", &b->create},        {"cublasDestroy_v2", &b->destroy},
	    {"cublasSetStream_v2", &b->set_stream}, {"cublasSetWorkspace_v2", &b->set_workspace},
	    {"cublasSgemm_v2", &b->sgemm},
	};

	for (size_t i = 0; i < sizeof entry / sizeof *entry; i++) {
		void *p = dlsym(b->library, entry[i].name);

		if (!p)
			return -1;
		memcpy(entry[i].to, &p, sizeof p);
	}
	return 0;
}

static int checked(int status, const char *call, struct err *e)
{
	return status ? err_set(e, ERR_TROUBLE, "%s: cuBLAS status %d", call, status) : 0;
}

int cuda_blas_open(struct cuda_blas **out, void *stream, cuda_address work, size_t bytes,
                   struct err *e)
{
	void *lib = library();
	struct cuda_blas *b;

	*out = NULL;
	if (!lib)
		return 0;
	b = mem_calloc(MEM_OTHER, 1, sizeof *b, e);
	if (!b) {
		dlclose(lib);
		return -1;
	}
	b->library = lib;
	if (find(b))
		return cuda_blas_close(b, e);
	if (checked(b->create(&b->handle), "cublasCreate", e) ||
	    checked(b->set_stream(b->handle, stream), "cublasSetStream", e) ||
	    checked(b->set_workspace(b->handle, (void *)(uintptr_t)work, bytes),
	            "cublasSetWorkspace", e)) {
		cuda_blas_close(b, NULL);
		return -1;
	}
	*out = b;
	return 0;
}

/* The library stays open: it does not bear being unloaded while the driver runs. */
int cuda_blas_close(struct cuda_blas *b, struct err *e)
{
	int failed = b && b->handle ? checked(b->destroy(b->handle), "cublasDestroy", e) : 0;

	mem_free(b);
	return failed;
}

/* Its matrices lie in columns: W is (k, rows) there, transposed once more by it. */
int cuda_blas_mul(const struct cuda_blas *b, size_t n, size_t rows, size_t k, cuda_address x,
                  size_t x_stride, cuda_address w, int add, cuda_address y, size_t y_stride,
                  struct err *e)
{
	const float one = 1, beta = add ? 1 : 0;

	return checked(b->sgemm(b->handle, TRANSPOSED, PLAIN, (int)rows, (int)n, (int)k, &one,
	                        (const void *)(uintptr_t)w, (int)k, (const void *)(uintptr_t)x,
	                        (int)x_stride, &beta, (void *)(uintptr_t)y, (int)y_stride),
	               "cublasSgemm", e);
}
