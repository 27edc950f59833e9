/*
 * Libraries loaded with RTLD_DEEPBIND look up malloc in what they depend on before they look here,
 * so their blocks are not seen.  That shows in their relocated addresses of malloc.
 */
#include "preload.h"

#include <link.h>
#include <string.h>

static unsigned long long looked_at; /* libraries that were ever loaded, when we looked last */

struct dynamic {
	const ElfW(Sym) * symbol;
	const char *string;
	const ElfW(Rela) * rela[2]; /* of the procedure table, and of data */
	size_t n[2];
};

static struct dynamic read_dynamic(const ElfW(Dyn) * d)
{
	struct dynamic t = {0};

	/* The C library has put the load address into all of these already. */
	for (; d->d_tag != DT_NULL; d++) {
		if (d->d_tag == DT_SYMTAB)
			t.symbol = (const ElfW(Sym) *)d->d_un.d_ptr;
		else if (d->d_tag == DT_STRTAB)
			t.string = (const char *)d->d_un.d_ptr;
		else if (d->d_tag == DT_JMPREL)
			t.rela[0] = (const ElfW(Rela) *)d->d_un.d_ptr;
		else if (d->d_tag == DT_PLTRELSZ)
			t.n[0] = d->d_un.d_val / sizeof(ElfW(Rela));
		else if (d->d_tag == DT_RELA)
			t.rela[1] = (const ElfW(Rela) *)d->d_un.d_ptr;
		else if (d->d_tag == DT_RELASZ)
			t.n[1] = d->d_un.d_val / sizeof(ElfW(Rela));
	}
	return t;
}

/* Whether the library's malloc is one outside of it and of us. */
static int binds_elsewhere(const struct dl_phdr_info *info, const struct dynamic *t, uint64_t lo,
                           uint64_t hi)
{
	for (int k = 0; k < 2; k++)
		for (size_t i = 0; t->rela[k] && i < t->n[k]; i++) {
			uint32_t s = (uint32_t)ELF64_R_SYM(t->rela[k][i].r_info);
			if (!s || strcmp(t->string + t->symbol[s].st_name, "malloc") != 0)
				continue;
			uint64_t to = *(const uint64_t *)(info->dlpi_addr + t->rela[k][i].r_offset);
			/* Inside of itself: not called yet. */
			if (to != (uint64_t)(uintptr_t)malloc && (to < lo || to >= hi))
				return 1;
		}
	return 0;
}

static int one(struct dl_phdr_info *info, size_t size, void *arg)
{
	const ElfW(Dyn) *dynamic = NULL;
	uint64_t lo = UINT64_MAX, hi = 0;
	(void)size;
	(void)arg;

	if (info->dlpi_adds == looked_at)
		return 1;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		uint64_t at = info->dlpi_addr + h->p_vaddr;
		if (h->p_type == PT_DYNAMIC)
			dynamic = (const ElfW(Dyn) *)at;
		if (h->p_type != PT_LOAD)
			continue;
		lo = at < lo ? at : lo;
		hi = at + h->p_memsz > hi ? at + h->p_memsz : hi;
	}
	/* Only what comes from a file with a path: not the kernel's page, and not the loader and
	 * the C library, which are asked by nobody but themselves. */
	if (!dynamic || !strchr(info->dlpi_name, '/') || strstr(info->dlpi_name, "/ld-linux") ||
	    strstr(info->dlpi_name, "/libc.so") || (uint64_t)(uintptr_t)malloc - lo < hi - lo)
		return 0;
	struct dynamic t = read_dynamic(dynamic);
	if (t.symbol && t.string && binds_elsewhere(info, &t, lo, hi))
		__atomic_or_fetch(&ledger->process->flags, LEDGER_DEEPBIND, __ATOMIC_RELAXED);
	return 0;
}

static int count_loads(struct dl_phdr_info *info, size_t size, void *to)
{
	(void)size;
	*(unsigned long long *)to = info->dlpi_adds;
	return 1;
}

void deepbind_look(void)
{
	unsigned long long now = looked_at;

	if (!ledger->ready || ledger->process->flags & (LEDGER_OWN_MALLOC | LEDGER_DEEPBIND))
		return;
	dl_iterate_phdr(one, NULL);
	dl_iterate_phdr(count_loads, &now);
	looked_at = now;
}
