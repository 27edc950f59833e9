#include "emit.h"

#include <string.h>

#include "fmt.h"

#define MIB            (UINT64_C(1) << 20)
#define LEAST_HEADROOM (32 * MIB)

struct numbers {
	unsigned long long request, limit; /* MiB */
	char meaning[2][160];              /* of each */
	char arguments[160];               /* of bitnet-run */
};

/* The request is what a group is charged with all tokens stored; the limit leaves a twentieth for
 * what other processes of the group and the page cache need. */
static void compute(const struct report *r, struct numbers *n)
{
	uint64_t need = forecast_need(r->f), room = need / 20;
	const struct plan_options *o = &r->f->options;
	static const char *const load[] = {"mmap", "mlock", "read", "hugetlb"};

	if (room < LEAST_HEADROOM)
		room = LEAST_HEADROOM;
	n->request = (need + MIB - 1) / MIB;
	n->limit = (need + room + MIB - 1) / MIB;
	snprintf(n->meaning[0], sizeof n->meaning[0],
	         "charged with %u tokens stored: weights, cache, buffers, page tables", r->f->fill);
	snprintf(n->meaning[1], sizeof n->meaning[1], "the same and %llu MiB of headroom",
	         n->limit - n->request);
	snprintf(n->arguments, sizeof n->arguments, "-c %u -u %u -t %d -k %s,%s --load %s", o->ctx,
	         o->ubatch, o->threads, dtype_get(o->k_type)->name, dtype_get(o->v_type)->name,
	         load[o->load]);
}

static void emit_sh(const struct report *r, const struct numbers *n, FILE *out)
{
	fprintf(out,
	        "# %s, planned by bitnet-memplan\n"
	        "MEMORY_REQUEST=%llu # bytes: %s\n"
	        "MEMORY_LIMIT=%llu # bytes: %s\n"
	        "MEMORY_PRIVATE=%llu # bytes of anonymous memory: what swap and RLIMIT_DATA see\n"
	        "MEMORY_ADDRESSES=%llu # bytes of address space: what ulimit -v sees\n"
	        "BITNET_RUN_ARGUMENTS='%s'\n",
	        r->file, n->request * MIB, n->meaning[0], n->limit * MIB, n->meaning[1],
	        (unsigned long long)r->f->total.private, (unsigned long long)r->f->total.reserved,
	        n->arguments);
}

static void emit_k8s(const struct report *r, const struct numbers *n, FILE *out)
{
	fprintf(out,
	        "# %s, planned by bitnet-memplan: for bitnet-run %s\n"
	        "resources:\n"
	        "  requests:\n"
	        "    memory: %lluMi # %s\n"
	        "    cpu: \"%d\" # one per thread\n"
	        "  limits:\n"
	        "    memory: %lluMi # %s\n",
	        r->file, n->arguments, n->request, n->meaning[0], r->f->options.threads, n->limit,
	        n->meaning[1]);
	if (r->f->total.device)
		fprintf(out, "    nvidia.com/gpu: 1 # %llu MiB of it are used\n",
		        (unsigned long long)((r->f->total.device + MIB - 1) / MIB));
}

static void emit_systemd(const struct report *r, const struct numbers *n, FILE *out)
{
	fprintf(out,
	        "# %s, planned by bitnet-memplan: for bitnet-run %s\n"
	        "[Service]\n"
	        "# %s: above it the kernel takes pages back\n"
	        "MemoryHigh=%lluM\n"
	        "# %s: above it the service is killed\n"
	        "MemoryMax=%lluM\n",
	        r->file, n->arguments, n->meaning[0], n->request, n->meaning[1], n->limit);
	if (r->f->options.load == WEIGHTS_MLOCK)
		fprintf(out, "# the weights are locked in memory\nLimitMEMLOCK=infinity\n");
}

static void emit_docker(const struct report *r, const struct numbers *n, FILE *out)
{
	fprintf(out,
	        "# %s, planned by bitnet-memplan: for bitnet-run %s\n"
	        "# --memory-reservation: %s\n"
	        "# --memory: %s\n"
	        "--memory-reservation=%llum --memory=%llum --memory-swap=%llum%s\n",
	        r->file, n->arguments, n->meaning[0], n->meaning[1], n->request, n->limit, n->limit,
	        r->f->total.device ? " --gpus=1" : "");
}

static const struct {
	const char *name;
	void (*write)(const struct report *r, const struct numbers *n, FILE *out);
} forms[] = {
    {"sh", emit_sh}, {"k8s", emit_k8s}, {"systemd", emit_systemd}, {"docker", emit_docker}};

int emit_find(const char *form, struct err *e)
{
	for (int i = 0; i < (int)(sizeof forms / sizeof *forms); i++)
		if (!strcmp(forms[i].name, form))
			return i;
	return err_set(e, ERR_TROUBLE, "--emit: '%s' is not sh, k8s, systemd or docker", form);
}

int emit(const struct report *r, int form, FILE *out, struct err *e)
{
	struct numbers n;

	compute(r, &n);
	forms[form].write(r, &n, out);
	return ferror(out) ? err_sys(e, "cannot write") : 0;
}
