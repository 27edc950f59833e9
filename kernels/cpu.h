/*
 * What this CPU and its system can run.
 */
#ifndef CPU_H
#define CPU_H

enum cpu_flag {
	CPU_AVX2 = 1,     /* with FMA and F16C, and the system saves ymm */
	CPU_AVX512 = 2,   /* F, BW, VL, DQ, VNNI, and the system saves zmm */
	CPU_AMX_INT8 = 4, /* VBMI, and tiles that the system grants this process */
	CPU_AVXVNNI = 8,  /* AVX2's registers with VNNI */
	CPU_NEON = 16,    /* with dot product and half precision arithmetic */
	CPU_ZEN4 = 32,    /* VBMI of AMD, whose permutations run beside its products */
	CPU_VBMI = 64,    /* AVX512 with permutes of bytes */
};

/* A set of enum cpu_flag; asks anew each time. */
unsigned cpu_flags(void);

#endif
