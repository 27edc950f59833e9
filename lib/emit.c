#include "emit.h"

#include <string.h>

#include "fmt.h"

#define MIB            (UINT64_C(1) << 20)
#define LEAST_HEADROOM (32 * MIB)

struct numbers {
	char file[300];                    /* quoted: it stands in comments */
	unsigned long long request, limit; /* MiB */
	unsigned long long huge;           /* MiB in huge pages */
	char meaning[2][160];              /* of each */
	char arguments[160];               /* of bitnet-run */
};

/* The request is what a group is charged with all tokens stored; the limit leaves a twentieth for
 * what other processes of the group and the page cache need. */
static void compute(const struct forecast_report *r, struct numbers *n)
{
	uint64_t need = forecast_need(r->f), room = need / 20;
	const struct plan_options *o = &r->f->options;

	if (room < LEAST_HEADROOM)
		room = LEAST_HEADROOM;
	err_quote(n->file, sizeof n->file, r->file, strlen(r->file));
	n->request = (need + MIB - 1) / MIB;
	n->limit = (need + room + MIB - 1) / MIB;
	n->huge = (r->f->total.huge + MIB - 1) / MIB;
	snprintf(n->meaning[0], sizeof n->meaning[0],
	         "charged with %u tokens stored: weights, cache, buffers, page tables%s",
	         r->f->fill, forecast_lacks(r->f));
	snprintf(n->meaning[1], sizeof n->meaning[1], "the same and %llu MiB of headroom",
	         n->limit - n->request);
	snprintf(n->arguments, sizeof n->arguments, "-c %u -u %u -t %d -k %s,%s --load %s%s",
	         o->ctx, o->ubatch, o->threads, dtype_get(o->k_type)->name,
	         dtype_get(o->v_type)->name, plan_load_name(o->load),
	         o->screen ? " --head screened" : "");
}

static void emit_sh(const struct forecast_report *r, const struct numbers *n, FILE *out)
{
	fprintf(out,
	        "# %s, planned by bitnet-memplan\n"
	        "MEMORY_REQUEST=%llu # bytes: %s\n"
	        "MEMORY_LIMIT=%llu # bytes: %s\n"
	        "MEMORY_PRIVATE=%llu # bytes of anonymous memory: what swap can take\n"
	        "MEMORY_DATA=%llu # bytes of private mappings: what ulimit -d sees\n"
	        "MEMORY_ADDRESSES=%llu # bytes of address space: what ulimit -v sees\n"
	        "MEMORY_HUGE=%llu # bytes in huge pages, beside the others\n"
	        "BITNET_RUN_ARGUMENTS='%s'\n",
	        n->file, n->request * MIB, n->meaning[0], n->limit * MIB, n->meaning[1],
	        (unsigned long long)r->f->total.private, (unsigned long long)r->f->total.data,
	        (unsigned long long)r->f->total.reserved, n->huge * MIB, n->arguments);
}

static void emit_k8s(const struct forecast_report *r, const struct numbers *n, FILE *out)
{
	char huge[60] = "";

	if (n->huge)
		snprintf(huge, sizeof huge, "    hugepages-2Mi: %lluMi # weights\n", n->huge);
	fprintf(out,
	        "# %s, planned by bitnet-memplan: for bitnet-run %s\n"
	        "resources:\n"
	        "  requests:\n"
	        "    memory: %lluMi # %s\n"
	        "    cpu: \"%d\" # one per thread\n"
	        "%s"
	        "  limits:\n"
	        "    memory: %lluMi # %s\n"
	        "%s",
	        n->file, n->arguments, n->request, n->meaning[0], r->f->options.threads, huge,
	        n->limit, n->meaning[1], huge);
	if (r->f->total.device)
		fprintf(out, "    nvidia.com/gpu: 1 # %llu MiB of it are used\n",
		        (unsigned long long)((r->f->total.device + MIB - 1) / MIB));
}

static void emit_systemd(const struct forecast_report *r, const struct numbers *n, FILE *out)
{
	fprintf(out,
	        "# %s, planned by bitnet-memplan: for bitnet-run %s\n"
	        "[Service]\n"
	        "# %s: above it the kernel takes pages back\n"
	        "MemoryHigh=%lluM\n"
	        "# %s: above it the service is killed\n"
	        "MemoryMax=%lluM\n",
	        n->file, n->arguments, n->meaning[0], n->request, n->meaning[1], n->limit);
	if (r->f->options.load == WEIGHTS_MLOCK)
		fprintf(out, "# the weights are locked in memory\nLimitMEMLOCK=infinity\n");
	if (n->huge)
		fprintf(out, "# the machine needs vm.nr_hugepages of %llu\n", n->huge / 2);
}

static void emit_docker(const struct forecast_report *r, const struct numbers *n, FILE *out)
{
	fprintf(out,
	        "# %s, planned by bitnet-memplan: for bitnet-run %s\n"
	        "# --memory-reservation: %s\n"
	        "# --memory: %s\n",
	        n->file, n->arguments, n->meaning[0], n->meaning[1]);
	if (n->huge)
		fprintf(out, "# the machine needs vm.nr_hugepages of %llu\n", n->huge / 2);
	fprintf(out, "--memory-reservation=%llum --memory=%llum --memory-swap=%llum%s%s\n",
	        n->request, n->limit, n->limit,
	        r->f->options.load == WEIGHTS_MLOCK ? " --ulimit=memlock=-1" : "",
	        r->f->total.device ? " --gpus=1" : "");
}

static const struct {
	const char *name;
	void (*write)(const struct forecast_report *r, const struct numbers *n, FILE *out);
} forms[] = {
    {"sh", emit_sh}, {"k8s", emit_k8s}, {"systemd", emit_systemd}, {"docker", emit_docker}};

int emit_opt(void *to, const char *value, struct err *e)
{
	for (int i = 0; i < (int)(sizeof forms / sizeof *forms); i++)
		if (!strcmp(forms[i].name, value)) {
			*(int *)to = i;
			return 0;
		}
	return err_set(e, ERR_TROUBLE, "'%s' is not sh, k8s, systemd or docker", value);
}

int emit(const struct forecast_report *r, int form, FILE *out, struct err *e)
{
	struct numbers n;

	compute(r, &n);
	forms[form].write(r, &n, out);
	return ferror(out) ? err_sys(e, "cannot write") : 0;
}
