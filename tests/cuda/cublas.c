/*
 * A stand-in for libcublas.so.13: the one product that is used of it, on the host's own memory, at
 * once.  Beside the stand-in for the driver, so that tests never open the real one.
 */
#include <stddef.h>
#include <stdlib.h>

enum { PLAIN = 0, TRANSPOSED = 1, OK = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7 };

/* A handle that is lost shows as a leak. */
int cublasCreate_v2(void **handle);
int cublasCreate_v2(void **handle)
{
	*handle = calloc(1, 16);
	return *handle ? OK : NOT_INITIALIZED;
}

int cublasDestroy_v2(void *handle);
int cublasDestroy_v2(void *handle)
{
	free(handle);
	return OK;
}

int cublasSetStream_v2(void *handle, void *stream);
int cublasSetStream_v2(void *handle, void *stream)
{
	return handle && stream ? OK : INVALID_VALUE;
}

int cublasSetWorkspace_v2(void *handle, void *work, size_t bytes);
int cublasSetWorkspace_v2(void *handle, void *work, size_t bytes)
{
	return handle && work && bytes ? OK : INVALID_VALUE;
}

int cublasSgemm_v2(void *handle, int trans_a, int trans_b, int m, int n, int k, const float *alpha,
                   const float *a, int lda, const float *b, int ldb, const float *beta, float *c,
                   int ldc);
int cublasSgemm_v2(void *handle, int trans_a, int trans_b, int m, int n, int k, const float *alpha,
                   const float *a, int lda, const float *b, int ldb, const float *beta, float *c,
                   int ldc)
{
	if (!handle || trans_a != TRANSPOSED || trans_b != PLAIN || lda < k || ldb < k || ldc < m)
		return INVALID_VALUE;
	for (size_t j = 0; j < (size_t)n; j++)
		for (size_t i = 0; i < (size_t)m; i++) {
			float *y = &c[j * (size_t)ldc + i], sum = 0;

			for (size_t l = 0; l < (size_t)k; l++)
				sum += a[i * (size_t)lda + l] * b[j * (size_t)ldb + l];
			*y = *alpha * sum + (*beta != 0 ? *beta * *y : 0);
		}
	return OK;
}
