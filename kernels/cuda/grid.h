/*
 * What the kernels use of the machine, in functions that exist twice: for nvcc here, for the host
 * in emulate.h of the tests, where each thread of a block is a fiber.  So kernels are written in
 * the part of C that both compilers know, and every one of them runs in the tests.
 */
#ifndef CUDA_GRID_H
#define CUDA_GRID_H

#include "layout.h"

#ifdef __CUDACC__

#define DEVICE      static __device__ __forceinline__
#define UNROLL      _Pragma("unroll")
#define UNROLL_ONCE _Pragma("unroll 1")

/* A kernel of at most `threads` threads a block, at least `blocks` of which share a
 * multiprocessor; its arguments are called a. */
#define KERNEL(name, type, threads, blocks)                                                        \
	extern "C" __global__ void __launch_bounds__(threads, blocks)                              \
	    name(const __grid_constant__ type a)
#define SHARED(type, name, n) __shared__ type name[n]
#define SHARED_ALL(name)      extern __shared__ __align__(16) uint8_t name[]

#define THREAD   ((uint32_t)threadIdx.x)
#define THREADS  ((uint32_t)blockDim.x)
#define BLOCK_X  ((uint32_t)blockIdx.x)
#define BLOCK_Y  ((uint32_t)blockIdx.y)
#define BLOCK_Z  ((uint32_t)blockIdx.z)
#define BLOCKS_X ((uint32_t)gridDim.x)

DEVICE void block_sync(void)
{
	__syncthreads();
}

DEVICE void warp_sync(void)
{
	__syncwarp();
}

DEVICE float warp_xor_f32(float v, int mask)
{
	return __shfl_xor_sync(0xffffffffu, v, mask);
}

DEVICE int32_t warp_xor_i32(int32_t v, int mask)
{
	return __shfl_xor_sync(0xffffffffu, v, mask);
}

/* The value of lane `from`, the same for all. */
DEVICE int32_t warp_from_i32(int32_t v, int from)
{
	return __shfl_sync(0xffffffffu, v, from);
}

/* Whether v is set in any lane. */
DEVICE int warp_any(int v)
{
	return __any_sync(0xffffffffu, v);
}

/* What the grids before this one wrote is there; and those after may start (they wait as well). */
DEVICE void grid_wait(void)
{
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

DEVICE void grid_next(void)
{
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* 16 bytes that are read once. */
DEVICE struct words load_once(const void *p)
{
	struct words v;

	asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
	             : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])
	             : "l"(p));
	return v;
}

/* 16 bytes from shared or global memory. */
DEVICE struct words load_words(const void *p)
{
	uint4 u = *(const uint4 *)p;
	struct words v = {{u.x, u.y, u.z, u.w}};

	return v;
}

DEVICE void store_words(void *p, struct words v)
{
	*(uint4 *)p = make_uint4(v.w[0], v.w[1], v.w[2], v.w[3]);
}

/* 16 bytes from global to shared memory, on their way until copies_wait; zeros when not `there`. */
DEVICE void copy_start(void *to, const void *from, int there)
{
	uint32_t at = (uint32_t)__cvta_generic_to_shared(to);

	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from),
	             "r"(there ? 16 : 0)
	             : "memory");
}

/* Closes a group of copies; waits until at most `left` groups are on their way. */
DEVICE void copies_close(void)
{
	asm volatile("cp.async.commit_group;" ::: "memory");
}

#define copies_wait(left) asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory")

/* c + four products of bytes: a unsigned, b signed; both signed. */
DEVICE int32_t dot4_us(uint32_t a, uint32_t b, int32_t c)
{
	int32_t d;

	asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
	return d;
}

DEVICE int32_t dot4_ss(uint32_t a, uint32_t b, int32_t c)
{
	return __dp4a((int)a, (int)b, c);
}

/* c (16, 8) += a (16, 32) b (32, 8), bytes: a unsigned, b signed; both signed.  Lane l, g = l / 4,
 * t = l % 4: word r of a is row g + 8 (r % 2), columns 4 t + 16 (r / 2) ..; word r of b is rows 4 t
 * + 16 r .., column g; c[r] is row g + 8 (r / 2), column 2 t + r % 2. */
DEVICE void mma_us(int32_t c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
	asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
	    "{%8,%9}, {%0,%1,%2,%3};"
	    : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
	    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

DEVICE void mma_ss(int32_t c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
	asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
	    "{%8,%9}, {%0,%1,%2,%3};"
	    : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
	    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* The same of binary16 with k = 16, sums in float32: word r of a is row g + 8 (r % 2), columns 2 t
 * + 8 (r / 2) ..; word r of b is rows 2 t + 8 r .., column g. */
DEVICE void mma_half(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
	asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
	    "{%8,%9}, {%0,%1,%2,%3};"
	    : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
	    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

DEVICE float half_float(uint16_t h)
{
	float f;

	asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
	return f;
}

DEVICE uint16_t float_half(float f)
{
	uint16_t h;

	asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
	return h;
}

DEVICE float bits_float(uint32_t u)
{
	return __uint_as_float(u);
}

DEVICE uint32_t float_bits(float f)
{
	return __float_as_uint(f);
}

/* Sums and maxima in memory that blocks (global) or threads (shared) have in common. */
DEVICE uint32_t atomic_add_u32(uint32_t *p, uint32_t v)
{
	return atomicAdd(p, v);
}

DEVICE void atomic_add_i32(int32_t *p, int32_t v)
{
	atomicAdd(p, v);
}

DEVICE void atomic_add_u64(uint64_t *p, uint64_t v)
{
	atomicAdd((unsigned long long *)p, (unsigned long long)v);
}

DEVICE void atomic_max_u32(uint32_t *p, uint32_t v)
{
	atomicMax(p, v);
}

DEVICE void atomic_max_u64(uint64_t *p, uint64_t v)
{
	atomicMax((unsigned long long *)p, (unsigned long long)v);
}

/* What this thread wrote before is seen before what it writes next. */
DEVICE void memory_fence(void)
{
	__threadfence();
}

/* A value that other blocks wrote in this launch. */
DEVICE float load_fresh(const float *p)
{
	return __ldcg(p);
}

DEVICE uint64_t load_fresh_u64(const uint64_t *p)
{
	return (uint64_t)__ldcg((const unsigned long long *)p);
}

#else
#include "emulate.h"
#endif

#define WARP (THREAD / 32)
#define LANE (THREAD % 32)

#endif
