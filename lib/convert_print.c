/* The plan, for people and for programs. */
#include "convert_private.h"

#include <string.h>

#include "fmt.h"

static const char *file_name(const struct convert_file *f)
{
	return f->path ? f->path : "(no output)";
}

/* Whether a tensor's values are stored in another type than they were. */
static int changes(const struct convert_job *job)
{
	return strcmp(job->from_type, job->to_type) != 0;
}

static void print_job(FILE *out, const struct convert_job *job)
{
	char shape[64];
	int n = 0;

	for (unsigned d = 0; d < (job->n_dims ? job->n_dims : 1); d++)
		n += snprintf(shape + n, sizeof shape - (size_t)n, "%s%llu", d ? " x " : "",
		              (unsigned long long)job->ne[d]);
	fprintf(out, "%14llu %14llu  %-8s %-8s %-18s %s\n", (unsigned long long)job->out_offset,
	        (unsigned long long)job->bytes, job->from_type, changes(job) ? job->to_type : "=",
	        shape, job->name);
}

static uint64_t n_changes(const struct convert *c)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < c->n_jobs; i++)
		n += changes(&c->jobs[i]) != 0;
	return n;
}

int convert_print(const struct convert *c, FILE *out, struct err *e)
{
	char total[FMT_SIZE], memory[FMT_SIZE], space[FMT_SIZE];

	for (unsigned f = 0; f < c->n_files; f++) {
		const struct convert_file *file = &c->files[f];
		fprintf(out, "%s: %llu bytes, header %llu\n", file_name(file),
		        (unsigned long long)file->size, (unsigned long long)file->header_size);
		fprintf(out, "%14s %14s  %-8s %-8s %-18s %s\n", "offset", "bytes", "from", "to",
		        "shape", "tensor");
		for (uint64_t i = file->first; i < file->first + file->n; i++)
			print_job(out, &c->jobs[i]);
	}
	fprintf(out, "tensors %llu, of other type %llu\n", (unsigned long long)c->n_jobs,
	        (unsigned long long)n_changes(c));
	fprintf(out, "total %llu bytes (%s)\n", (unsigned long long)c->bytes,
	        fmt_size(total, c->bytes));
	if (c->patch)
		fprintf(out, "written where it lies, within one page\n");
	if (c->space != UINT64_MAX)
		fprintf(out, "free %llu bytes (%s)\n", (unsigned long long)c->space,
		        fmt_size(space, c->space));
	fprintf(out, "memory at most %llu bytes (%s)\n", (unsigned long long)c->memory,
	        fmt_size(memory, c->memory));
	return ferror(out) ? err_sys(e, "cannot write") : 0;
}

static json_t *job_json(const struct convert_job *job, const struct convert_file *file)
{
	json_t *shape = json_array();

	for (unsigned d = 0; d < job->n_dims; d++)
		json_array_append_new(shape, json_integer((json_int_t)job->ne[d]));
	return json_pack("{s:s, s:s?, s:o, s:s, s:s, s:I, s:I}", "name", job->name, "file",
	                 file->path, "shape", shape, "from", job->from_type, "to", job->to_type,
	                 "offset", (json_int_t)job->out_offset, "bytes", (json_int_t)job->bytes);
}

json_t *convert_json(const struct convert *c)
{
	json_t *files = json_array(), *tensors = json_array();

	for (unsigned f = 0; f < c->n_files; f++) {
		const struct convert_file *file = &c->files[f];
		json_array_append_new(files, json_pack("{s:s?, s:I, s:I}", "path", file->path,
		                                       "bytes", (json_int_t)file->size, "header",
		                                       (json_int_t)file->header_size));
		for (uint64_t i = file->first; i < file->first + file->n; i++)
			json_array_append_new(tensors, job_json(&c->jobs[i], file));
	}
	return json_pack("{s:o, s:o, s:I, s:o, s:I, s:I}", "files", files, "tensors", tensors,
	                 "bytes", (json_int_t)c->bytes, "free",
	                 c->space == UINT64_MAX ? json_null() : json_integer((json_int_t)c->space),
	                 "memory", (json_int_t)c->memory, "changed", (json_int_t)n_changes(c));
}
