#include "half.h"

#include "bulk.h"

void half_read_f16(float *y, const uint8_t *x, size_t n)
{
	bulk_get()->read_f16(y, x, n);
}

void half_read_bf16(float *y, const uint8_t *x, size_t n)
{
	bulk_get()->read_bf16(y, x, n);
}

void half_write_f16(uint8_t *y, const float *x, size_t n)
{
	bulk_get()->write_f16(y, x, n);
}

void half_write_bf16(uint8_t *y, const float *x, size_t n)
{
	bulk_get()->write_bf16(y, x, n);
}
