/*
 * The machine code of the kernels, as the assembler puts it in: a file that nvcc wrote.  It fills
 * whole windows of what the kernel maps around a fault, so that a host which reads the constants
 * beside it maps none of it.
 */
#include "cuda.h"

#ifdef CUDA_IMAGE

__asm__(".section .rodata\n"
        ".balign 65536\n"
        "cuda_image_first:\n"
        ".incbin \"" CUDA_IMAGE "\"\n"
        "cuda_image_last:\n"
        ".balign 65536\n"
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
