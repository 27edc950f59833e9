#include "symbol.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <stdlib.h>
#include <string.h>

#include "demangle.h"
#include "mem.h"

#define MODULES 512
#define NAME    512 /* bytes of a function's name */

/* The debuginfod client would ask the network: only the local finders are given. */
static char *debug_path;
static const Dwfl_Callbacks callbacks = {
    .find_elf = dwfl_build_id_find_elf,
    .find_debuginfo = dwfl_build_id_find_debuginfo,
    .section_address = dwfl_offline_section_address,
    .debuginfo_path = &debug_path,
};

struct module {
	char *path;
	Dwfl *dwfl;
	Dwfl_Module *module;
	GElf_Addr bias;
};

struct symbols {
	struct module module[MODULES];
	size_t n;
};

struct symbols *symbols_open(void)
{
	return mem_calloc(MEM_OTHER, 1, sizeof(struct symbols), NULL);
}

void symbols_close(struct symbols *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++) {
		mem_free(s->module[i].path);
		if (s->module[i].dwfl)
			dwfl_end(s->module[i].dwfl);
	}
	mem_free(s);
}

static void load(struct module *m)
{
	m->dwfl = dwfl_begin(&callbacks);
	if (!m->dwfl)
		return;
	dwfl_report_begin(m->dwfl);
	m->module = dwfl_report_offline(m->dwfl, "", m->path, -1);
	dwfl_report_end(m->dwfl, NULL, NULL);
	if (m->module && !dwfl_module_getelf(m->module, &m->bias))
		m->module = NULL;
}

static struct module *find(struct symbols *s, const char *path, struct err *e)
{
	for (size_t i = 0; i < s->n; i++)
		if (!strcmp(s->module[i].path, path))
			return &s->module[i];
	if (s->n == MODULES) {
		err_set(e, ERR_TROUBLE, "more than %d modules", MODULES);
		return NULL;
	}
	struct module *m = &s->module[s->n];
	m->path = mem_strndup(MEM_OTHER, path, strlen(path), e);
	if (!m->path)
		return NULL;
	s->n++;
	load(m);
	return m;
}

/* With its scope where the compiler tells it. */
static const char *die_name(Dwarf_Die *die)
{
	Dwarf_Attribute a;
	const char *linked = dwarf_formstring(dwarf_attr_integrate(die, DW_AT_linkage_name, &a));

	return linked ? linked : dwarf_formstring(dwarf_attr_integrate(die, DW_AT_name, &a));
}

static int number(Dwarf_Die *die, unsigned what)
{
	Dwarf_Attribute a;
	Dwarf_Word v = 0;

	return dwarf_formudata(dwarf_attr(die, what, &a), &v) == 0 ? (int)v : 0;
}

/* The file that an inlined call stands in. */
static const char *call_file(Dwarf_Die *cu, Dwarf_Die *die)
{
	Dwarf_Files *files;
	size_t n, i = (size_t)number(die, DW_AT_call_file);

	return i && dwarf_getsrcfiles(cu, &files, &n) == 0 && i < n
	           ? dwarf_filesrc(files, i, NULL, NULL)
	           : NULL;
}

static int add(struct report_finding *f, const char *function, const char *file, int line,
               const char *module, uint64_t offset, struct err *e)
{
	struct report_frame *r = report_frame_add(f, e);
	char name[NAME];

	if (!r)
		return -1;
	r->line = line;
	r->offset = offset;
	if (function)
		demangle(function, name, sizeof name);
	return report_string(&r->function, function ? name : NULL, e) ||
	       report_string(&r->file, file, e) || report_string(&r->module, module, e);
}

/* Frames of the functions that were put inline at the address; *file and *line become those of the
 * call in the function around them. */
static int inlined(const struct module *m, GElf_Addr at, struct report_finding *f,
                   const char **file, int *line, uint64_t offset, struct err *e)
{
	Dwarf_Addr bias = 0;
	Dwarf_Die *cu = dwfl_module_addrdie(m->module, at, &bias), *scope = NULL;
	int n = cu ? dwarf_getscopes(cu, at - bias, &scope) : 0, r = 0;

	if (n > 0) {
		/* The scopes by address stop at the first concrete one; its own chain goes on out.
		 */
		Dwarf_Die inner = scope[0];
		Dwarf_Die *chain = NULL;
		int k = dwarf_getscopes_die(&inner, &chain);
		for (int i = 0; i < k && !r && dwarf_tag(&chain[i]) != DW_TAG_subprogram; i++) {
			if (dwarf_tag(&chain[i]) != DW_TAG_inlined_subroutine)
				continue;
			r = add(f, die_name(&chain[i]), *file, *line, m->path, offset, e);
			*file = call_file(cu, &chain[i]);
			*line = number(&chain[i], DW_AT_call_line);
		}
		free(chain);
	}
	free(scope);
	return r;
}

int symbols_frames(struct symbols *s, const char *path, uint64_t offset, struct report_finding *f,
                   struct err *e)
{
	struct module *m = find(s, path, e);
	const char *file = NULL, *function = NULL;
	int line = 0;

	if (!m)
		return -1;
	if (m->module) {
		GElf_Addr at = m->bias + offset;
		Dwfl_Line *l = dwfl_module_getsrc(m->module, at);
		file = l ? dwfl_lineinfo(l, NULL, &line, NULL, NULL, NULL) : NULL;
		if (inlined(m, at, f, &file, &line, offset, e))
			return -1;
		function = dwfl_module_addrname(m->module, at);
	}
	return add(f, function, file, line, path, offset, e);
}
