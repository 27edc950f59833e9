/*
 * Instruction sets are usable when the CPU has them and the system saves their registers;
 * for AMX tiles the system must also be asked, once per process.
 */
#include "cpu.h"

#if defined(KERNEL_SETS_x86_64)

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Bits of XCR0: which register files the system saves. */
#define XCR0_YMM   0x06u
#define XCR0_ZMM   0xe6u
#define XCR0_TILES 0x60000u

/* Not every compiler's cpuid.h has these. */
#define CPUID_7_EDX_AMX_TILE (1u << 24)
#define CPUID_7_EDX_AMX_INT8 (1u << 25)

#define CPUID_71_EAX_AVXVNNI (1u << 4)

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA  18

static unsigned saved_state(void)
{
	unsigned a, d;

	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return a;
}

static int has(unsigned reg, unsigned bits)
{
	return (reg & bits) == bits;
}

static int tiles_granted(void)
{
	return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* "AuthenticAMD" */
static int is_amd(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx && c == signature_AMD_ecx &&
	       d == signature_AMD_edx;
}

unsigned cpu_flags(void)
{
	unsigned a, b, c, d, c1, flags = 0;

	if (!__get_cpuid(1, &a, &b, &c1, &d) || !has(c1, bit_OSXSAVE | bit_AVX))
		return 0;
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return 0;
	unsigned xcr0 = saved_state();
	if (has(xcr0, XCR0_YMM) && has(c1, bit_FMA | bit_F16C) && has(b, bit_AVX2))
		flags |= CPU_AVX2;
	if (flags && has(xcr0, XCR0_ZMM) &&
	    has(b, bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ) &&
	    has(c, bit_AVX512VNNI))
		flags |= CPU_AVX512;
	if ((flags & CPU_AVX512) && has(c, bit_AVX512VBMI))
		flags |= CPU_VBMI;
	if ((flags & CPU_VBMI) && is_amd())
		flags |= CPU_ZEN4;
	if ((flags & CPU_VBMI) && has(xcr0, XCR0_TILES) &&
	    has(d, CPUID_7_EDX_AMX_TILE | CPUID_7_EDX_AMX_INT8) && tiles_granted())
		flags |= CPU_AMX_INT8;
	if ((flags & CPU_AVX2) && __get_cpuid_count(7, 1, &a, &b, &c, &d) &&
	    has(a, CPUID_71_EAX_AVXVNNI))
		flags |= CPU_AVXVNNI;
	return flags;
}

#elif defined(KERNEL_SETS_aarch64)

#include <asm/hwcap.h>
#include <sys/auxv.h>

unsigned cpu_flags(void)
{
	unsigned long want = HWCAP_ASIMD | HWCAP_ASIMDDP | HWCAP_ASIMDHP;

	return (getauxval(AT_HWCAP) & want) == want ? CPU_NEON : 0;
}

#else

unsigned cpu_flags(void)
{
	return 0;
}

#endif
