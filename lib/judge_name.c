#include "judge_name.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static int begins(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

static const char *base_name(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash ? slash + 1 : path;
}

/* Modules whose frames are never the site: they allocate for others. */
static int is_runtime(const char *module)
{
	static const char *const name[] = {"libc.so",  "libc-2",     "libstdc++",
	                                   "ld-linux", "libpthread", "libbitnet-ledger",
	                                   "libcuda",  "libc++"};
	const char *base = base_name(module);

	for (size_t i = 0; base && i < sizeof name / sizeof *name; i++)
		if (begins(base, name[i]))
			return 1;
	return 0;
}

static int ends(const char *s, const char *with)
{
	size_t n = strlen(s), k = strlen(with);

	return n >= k && !strcasecmp(s + n - k, with);
}

/* Functions that are an allocator's by their name: anything that ends like malloc, and the others
 * of the family with a usual prefix. */
static int is_wrapper(const char *function)
{
	static const char *const prefix[] = {"", "x", "mem_", "g_", "safe_", "my_", "s_", "e"};
	static const char *const name[] = {"reallocarray", "alloc",  "zalloc",        "strdup",
	                                   "strndup",      "memdup", "aligned_alloc", "memalign"};

	if (begins(function, "operator new") || begins(function, "_Znw") ||
	    begins(function, "_Zna") || ends(function, "malloc") || ends(function, "calloc") ||
	    ends(function, "realloc"))
		return 1;
	for (size_t i = 0; i < sizeof prefix / sizeof *prefix; i++)
		for (size_t k = 0; k < sizeof name / sizeof *name; k++)
			if (begins(function, prefix[i]) &&
			    !strcmp(function + strlen(prefix[i]), name[k]))
				return 1;
	return 0;
}

/* Blocks of pools are announced by the pool's own code; the toolkit's lies in these files. */
static int is_pool(const struct report_finding *f, const struct report_frame *a)
{
	static const char *const name[] = {"announce.c", "pool.c", "mem.c", "arena.c"};
	const char *base = base_name(a->file);

	for (size_t i = 0; base && i < sizeof name / sizeof *name; i++)
		if (!strcmp(base, name[i]))
			return !strcmp(f->kind, ledger_kind_name(LEDGER_POOL));
	return 0;
}

/* Containers and smart pointers are put inline everywhere: they allocate for others too. */
static int is_template(const struct report_frame *a)
{
	return begins(a->function, "std::") || begins(a->function, "__gnu_cxx::") ||
	       (a->file && strstr(a->file, "/include/c++/"));
}

/* NULL when there is no stack. */
static const struct report_frame *accused(const struct report_finding *f)
{
	for (size_t i = 0; i < f->frames; i++) {
		const struct report_frame *a = &f->frame[i];
		if (is_runtime(a->module))
			continue;
		/* Stripped: its address in the file tells it from others. */
		if (!a->function || (!is_wrapper(a->function) && !is_pool(f, a) && !is_template(a)))
			return a;
	}
	return f->frames ? &f->frame[0] : NULL;
}

static const struct ledger_module *module_of(const struct ledger_proc *p, uint64_t pc)
{
	for (uint32_t i = p->n_modules; i-- > 0;)
		if (pc >= p->modules[i].lo && pc < p->modules[i].hi)
			return &p->modules[i];
	return NULL;
}

int judge_name(struct symbols *symbols, const struct ledger_proc *p, uint32_t site,
               struct report_finding *f, struct err *e)
{
	const struct ledger_site *s = &p->sites[site];

	for (uint32_t i = 0; i < s->n && i < LEDGER_FRAMES; i++) {
		/* The instruction of the call lies before the one that it returns to. */
		uint64_t pc = s->pc[i] - 1;
		const struct ledger_module *m = module_of(p, pc);
		if (m ? symbols_frames(symbols, m->path, pc - m->base, f, e)
		      : symbols_frames(symbols, "", pc, f, e))
			return -1;
	}
	const struct report_frame *a = accused(f);
	char text[300];
	if (a && a->function)
		return report_string(&f->site, a->function, e);
	snprintf(text, sizeof text, "%.255s+0x%llx",
	         a && a->module && *a->module ? base_name(a->module) : "?",
	         (unsigned long long)(a ? a->offset : 0));
	return report_string(&f->site, text, e);
}
