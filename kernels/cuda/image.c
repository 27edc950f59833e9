/*
 * The machine code of the kernels, as the assembler puts it in: a file that nvcc wrote.
 */
#include "cuda.h"

#ifdef CUDA_IMAGE

__asm__(".section .rodata\n"
        ".balign 64\n"
        "cuda_image_first:\n"
        ".incbin \"" CUDA_IMAGE "\"\n"
        "cuda_image_last:\n"
        ".byte 0\n"
        ".previous\n");

extern const uint8_t cuda_image_first[], cuda_image_last[];

const void *cuda_image(size_t *bytes)
{
	*bytes = (size_t)(cuda_image_last - cuda_image_first);
	return cuda_image_first;
}

#else

const void *cuda_image(size_t *bytes)
{
	*bytes = 0;
	return NULL;
}

#endif
