#include "callsite.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#if __has_include(<elfutils/libdwfl.h>)
#include <elfutils/libdwfl.h>
#define WITH_LIBDW 1
#endif

/* Where the calling thread's stack ends; 0: not asked yet. */
static __thread uintptr_t stack_end;

/* The first thread's stack ends behind the name of the program, and other threads' lie further
 * below than this.  Asking the system takes longer than a hundred walks. */
#define FIRST_STACK (64u << 20)
static uintptr_t first_stack_end(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0), name = getauxval(AT_EXECFN);
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	return name - here < FIRST_STACK ? (name | (page - 1)) + 1 : 0;
}

static uintptr_t find_stack_end(void)
{
	uintptr_t first = first_stack_end();
	pthread_attr_t a;
	void *low = NULL;
	size_t size = 0;

	if (first)
		return first;
	if (pthread_getattr_np(pthread_self(), &a) == 0) {
		pthread_attr_getstack(&a, &low, &size);
		pthread_attr_destroy(&a);
	}
	return low ? (uintptr_t)low + size : 1;
}

/* Executable segments that were there at the start, the program's own first. */
static struct {
	uint64_t lo, hi;
} code[128];
static unsigned codes;

/* Around what calls main. */
static struct {
	uint64_t lo, hi;
} start_code;

static int add_code(struct dl_phdr_info *i, size_t size, void *unused)
{
	(void)size, (void)unused;
	for (unsigned k = 0; k < i->dlpi_phnum && codes < sizeof code / sizeof code[0]; k++)
		if (i->dlpi_phdr[k].p_type == PT_LOAD && i->dlpi_phdr[k].p_flags & PF_X) {
			code[codes].lo = i->dlpi_addr + i->dlpi_phdr[k].p_vaddr;
			code[codes].hi = code[codes].lo + i->dlpi_phdr[k].p_memsz;
			codes++;
		}
	return 0;
}

__attribute__((constructor(101))) static void find_code(void)
{
	const char *start = dlsym(RTLD_DEFAULT, "__libc_start_main");

	dl_iterate_phdr(add_code, NULL);
	if (start) {
		start_code.lo = (uintptr_t)start - 512;
		start_code.hi = (uintptr_t)start + 1024;
	}
}

/* What code without frame pointers leaves in the register may look like a frame; what it would
 * return to then is seldom code. */
static bool is_code(uint64_t pc)
{
	for (unsigned i = 0; i < codes; i++)
		if (pc >= code[i].lo && pc < code[i].hi)
			return true;
	return false;
}

/* The chain of frame pointers from frame outwards, to the first frame that is not plausible. */
static __attribute__((no_sanitize("address", "thread"))) unsigned
walk_frames(const void *frame, uint64_t pc[CALLSITE_DEPTH])
{
	uintptr_t fp = (uintptr_t)frame;
	unsigned n = 0;

	if (!stack_end)
		stack_end = find_stack_end();
	while (n < CALLSITE_DEPTH && fp % 8 == 0 && fp < stack_end - 16 && fp >= (uintptr_t)frame) {
		const uintptr_t *f = (const uintptr_t *)fp;

		if (!is_code(f[1]))
			break;
		pc[n++] = f[1];
		if (f[0] <= fp)
			break;
		fp = f[0];
	}
	return n;
}

/* ---- libunwind, where the chain breaks off ---- */

/* Its unw_backtrace keeps what it has learned of each function: 45 to 114 ns. */
static int (*unwind)(void **pc, int max);

static void open_libunwind(void)
{
	void *lib = NULL;

	/* What it does when a thread ends comes after ThreadSanitizer has ended the thread for its
	 * part, and crashes in it. */
#ifndef __SANITIZE_THREAD__
	lib = dlopen("libunwind.so.8", RTLD_LAZY | RTLD_LOCAL);
#endif

	if (lib)
		*(void **)&unwind = dlsym(lib, "unw_backtrace");
}

/* Where whole chains end: in the C library's code that calls main, which lies in or beside
 * __libc_start_main, or a thread's function, which is learned.  An entry is written once. */
#define ENDS   8
#define BEYOND 3 /* frames of the C library outside it */
static uint64_t ends[ENDS];

static bool is_end(uint64_t pc)
{
	if (pc - start_code.lo < start_code.hi - start_code.lo)
		return true;
	for (unsigned i = 0; i < ENDS; i++)
		if (__atomic_load_n(&ends[i], __ATOMIC_RELAXED) == pc)
			return true;
	return false;
}

static void add_end(uint64_t pc)
{
	for (unsigned i = 0; i < ENDS; i++) {
		uint64_t none = 0;

		if (__atomic_compare_exchange_n(&ends[i], &none, pc, 0, __ATOMIC_RELAXED,
		                                __ATOMIC_RELAXED) ||
		    none == pc)
			return;
	}
}

/* The stack again, by the compiler's tables, where the n addresses of the chain may not be all. */
static unsigned walk_tables(const void *frame, uint64_t pc[CALLSITE_DEPTH], unsigned n)
{
	enum { OWN = 12, ALL = OWN + CALLSITE_DEPTH + BEYOND }; /* OWN: frames of the allocator */
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	void *found[ALL];
	uint64_t first = ((const uint64_t *)frame)[1];
	unsigned from = 0, same = 0;

	pthread_once(&once, open_libunwind);
	int m = unwind ? unwind(found, ALL) : 0;
	unsigned all = m > 0 ? (unsigned)m : 0;
	while (from < all && (uintptr_t)found[from] != first)
		from++;
	unsigned depth = all - from;
	while (same < n && same < depth && pc[same] == (uintptr_t)found[from + same])
		same++;
	if (n && same == n && depth <= n + BEYOND && all < ALL)
		add_end(pc[n - 1]);
	else if (depth > n)
		for (n = 0; n < depth && n < CALLSITE_DEPTH; n++)
			pc[n] = (uintptr_t)found[from + n];
	return n;
}

unsigned callsite_walk(const void *frame, uint64_t pc[CALLSITE_DEPTH])
{
	unsigned n = walk_frames(frame, pc);

	if (n == CALLSITE_DEPTH || (n && is_end(pc[n - 1])))
		return n;
	return walk_tables(frame, pc, n);
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

#ifdef WITH_LIBDW
static struct {
	Dwfl *dwfl;
	Dwfl *(*begin)(const Dwfl_Callbacks *);
	int (*report_proc)(Dwfl *, pid_t);
	int (*report_end)(Dwfl *, int (*)(Dwfl_Module *, void *, const char *, Dwarf_Addr, void *),
	                  void *);
	Dwfl_Module *(*module)(Dwfl *, Dwarf_Addr);
	const char *(*function)(Dwfl_Module *, GElf_Addr);
	Dwfl_Line *(*line)(Dwfl_Module *, Dwarf_Addr);
	const char *(*line_info)(Dwfl_Line *, Dwarf_Addr *, int *, int *, Dwarf_Word *,
	                         Dwarf_Word *);
} dw;

/* Only files of this machine: the network is never asked. */
static char *debug_path;
static Dwfl_Callbacks callbacks = {.debuginfo_path = &debug_path};

static bool bind(void *lib, void *to, const char *name)
{
	return (*(void **)to = dlsym(lib, name)) != NULL;
}

static void open_libdw(void)
{
	void *lib = dlopen("libdw.so.1", RTLD_NOW | RTLD_LOCAL);

	if (!lib || !bind(lib, &callbacks.find_elf, "dwfl_linux_proc_find_elf") ||
	    !bind(lib, &callbacks.find_debuginfo, "dwfl_build_id_find_debuginfo") ||
	    !bind(lib, &dw.begin, "dwfl_begin") ||
	    !bind(lib, &dw.report_proc, "dwfl_linux_proc_report") ||
	    !bind(lib, &dw.report_end, "dwfl_report_end") ||
	    !bind(lib, &dw.module, "dwfl_addrmodule") ||
	    !bind(lib, &dw.function, "dwfl_module_addrname") ||
	    !bind(lib, &dw.line, "dwfl_module_getsrc") ||
	    !bind(lib, &dw.line_info, "dwfl_lineinfo"))
		return;
	dw.dwfl = dw.begin(&callbacks);
	if (dw.dwfl)
		dw.report_proc(dw.dwfl, getpid());
	if (dw.dwfl)
		dw.report_end(dw.dwfl, NULL, NULL);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static bool by_libdw(char *out, size_t cap, uint64_t pc)
{
	int line = 0;

	pthread_once(&once, open_libdw);
	Dwfl_Module *m = dw.dwfl ? dw.module(dw.dwfl, pc) : NULL;
	const char *function = m ? dw.function(m, pc) : NULL;
	if (!function)
		return false;
	Dwfl_Line *l = dw.line(m, pc);
	const char *file = l ? dw.line_info(l, NULL, &line, NULL, NULL, NULL) : NULL;
	if (file)
		snprintf(out, cap, "%s (%s:%d)", function, last_part(file), line);
	else
		snprintf(out, cap, "%s", function);
	return true;
}
#else
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static bool by_libdw(char *out, size_t cap, uint64_t pc)
{
	(void)out, (void)cap, (void)pc;
	return false;
}
#endif

const char *callsite_name(char *out, size_t cap, uint64_t pc)
{
	Dl_info info;

	/* The call lies before the address it returns to. */
	pthread_mutex_lock(&one_at_a_time);
	if (by_libdw(out, cap, pc - 1))
		;
	else if (dladdr((void *)(uintptr_t)pc, &info) && info.dli_fname)
		snprintf(out, cap, "%s+0x%llx", last_part(info.dli_fname),
		         (unsigned long long)(pc - (uintptr_t)info.dli_fbase));
	else
		snprintf(out, cap, "0x%llx", (unsigned long long)pc);
	pthread_mutex_unlock(&one_at_a_time);
	return out;
}
