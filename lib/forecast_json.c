/* A forecast as JSON: the schema is in bitnet-memplan(1). */
#include "forecast_report.h"

#include <string.h>

static json_t *number(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *json_sum(const char *key, const char *name, const struct tally_sum *s)
{
	return json_pack("{s:s, s:o, s:o, s:o}", key, name, "tensors", number(s->tensors),
	                 "elements", number(s->elements), "bytes", number(s->bytes));
}

static json_t *json_weights(const struct tally *t)
{
	json_t *types = json_array(), *groups = json_array();

	for (int i = 1; i < DTYPE_COUNT; i++) {
		if (!t->type[i].tensors)
			continue;
		json_t *x = json_sum("type", dtype_get((enum dtype)i)->name, &t->type[i]);
		json_object_set_new(x, "overhead", number(t->overhead[i]));
		if (t->lookup[i])
			json_object_set_new(x, "lookup", number(t->lookup[i]));
		json_array_append_new(types, x);
	}
	for (int i = 0; i < TALLY_GROUPS; i++)
		if (t->group[i].tensors)
			json_array_append_new(
			    groups,
			    json_sum("group", tally_group_name((enum tally_group)i), &t->group[i]));
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "tensors",
	                 number(t->all.tensors), "elements", number(t->all.elements), "bytes",
	                 number(t->all.bytes), "ternary_elements", number(t->ternary.elements),
	                 "padding", number(t->padding), "header_bytes", number(t->header_bytes),
	                 "data_bytes", number(t->data_bytes), "file_bytes", number(t->file_bytes),
	                 "types", types, "groups", groups);
}

static json_t *known(const struct forecast_region *x, uint64_t v)
{
	return x->unknown ? json_null() : number(v);
}

static json_t *json_regions(const struct forecast_report *r, int planned)
{
	json_t *a = json_array();
	int first = planned ? 0 : PLAN_REGIONS, end = planned ? PLAN_REGIONS : FORECAST_REGIONS;

	for (int i = first; i < end; i++) {
		const struct forecast_region *x = &r->f->region[i];
		json_array_append_new(
		    a, json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:s, s:s}", "name", x->name,
		                 "kind", plan_kind_name(x->kind), "tag", mem_tag_name(x->tag),
		                 "bytes", known(x, x->bytes), "rss_start", known(x, x->start),
		                 "rss_full", known(x, x->full), "device", number(x->device),
		                 "formula", x->formula, "rss_formula", x->touched));
	}
	return a;
}

static const char *type_name(enum dtype t)
{
	return t ? dtype_get(t)->name : NULL;
}

static json_t *json_options(const struct forecast_report *r)
{
	const struct forecast *f = r->f;
	const struct plan_options *o = &f->options;

	return json_pack("{s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:s?, s:s?}",
	                 "ctx", (int)o->ctx, "sequences", (int)o->sequences, "ubatch",
	                 (int)o->ubatch, "logits_rows", (int)o->logits_rows, "threads", o->threads,
	                 "k_type", dtype_get(o->k_type)->name, "v_type", dtype_get(o->v_type)->name,
	                 "load", plan_load_name(o->load), "head", o->screen ? "screened" : "full",
	                 "fill", (int)f->fill, "prompt", (int)f->prompt, "gpu_layers",
	                 (int)f->device_layers + f->device_head, "as_type", type_name(r->type),
	                 "embed_type", type_name(r->embed));
}

json_t *forecast_json_totals(const struct forecast_totals *t)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}",
	                 "reserved", number(t->reserved), "private", number(t->private), "data",
	                 number(t->data), "rss_start", number(t->start), "rss_full",
	                 number(t->full), "rss_peak", number(t->peak), "page_tables",
	                 number(t->tables), "kernel_stacks", number(t->stacks), "page_cache",
	                 number(t->cache), "charged", number(t->charged), "huge_pages",
	                 number(t->huge), "device", number(t->device), "complete", t->complete);
}

json_t *forecast_json_name(const char *file)
{
	char quoted[4400];
	json_t *name = json_string(file);

	return name ? name : json_string(err_quote(quoted, sizeof quoted, file, strlen(file)));
}

static json_t *json_warnings(const struct forecast_report *r)
{
	json_t *a = json_array();
	char text[FORECAST_WARNING];

	for (unsigned i = 0; forecast_report_warning(r, i, text); i++)
		json_array_append_new(a, json_string(text));
	return a;
}

static json_t *json_budget(const struct forecast_report *r)
{
	json_t *a = json_array();
	uint64_t need = 0, all[BUDGET_KINDS];
	const struct budget_source *tight = forecast_report_limit(r, &need);

	solve_needs(r->f, all);

	for (unsigned i = 0; i < r->budget->n; i++) {
		const struct budget_source *s = &r->budget->source[i];
		json_array_append_new(a, json_pack("{s:s, s:o, s:o}", "source", s->name, "bytes",
		                                   number(s->bytes), "need", number(all[s->of])));
	}
	return json_pack("{s:o, s:s?, s:b}", "sources", a, "tightest", tight ? tight->name : NULL,
	                 "fits", !tight || need <= tight->bytes);
}

static json_t *json_advice(const struct advice *v)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < v->n; i++)
		json_array_append_new(a,
		                      json_pack("{s:s, s:o, s:s}", "what", v->item[i].what, "value",
		                                number(v->item[i].bytes), "text", v->item[i].text));
	return a;
}

static json_t *json_layers(const struct forecast_report *r)
{
	json_t *a = json_array();
	uint64_t weights, kv;

	for (uint32_t i = 0; i < r->f->layers; i++) {
		forecast_layer(r->f, r->g, i, &weights, &kv);
		json_array_append_new(a,
		                      json_pack("{s:i, s:o, s:o, s:b}", "layer", (int)i, "weights",
		                                number(weights), "cache", number(kv), "device",
		                                i + r->f->device_layers >= r->f->layers));
	}
	return a;
}

static json_t *json_tensors(const struct forecast_report *r)
{
	json_t *a = json_array();
	char name[200];

	for (uint64_t i = 0; i < r->g->n_tensors; i++) {
		const struct gguf_tensor *t = &r->g->tensors[i];
		json_array_append_new(
		    a, json_pack("{s:s, s:s, s:o, s:o, s:o}", "name",
		                 err_quote(name, sizeof name, t->name.p, t->name.n), "type",
		                 dtype_get(t->type)->name, "rows", number(t->rows), "columns",
		                 number(t->cols), "bytes", number(t->bytes)));
	}
	return a;
}

json_t *forecast_report_json(const struct forecast_report *r,
                             const struct forecast_report_options *o)
{
	const struct forecast *f = r->f;
	uint64_t k = f->region[PLAN_KV_K].bytes + f->region[PLAN_KV_K].device;
	uint64_t v = f->region[PLAN_KV_V].bytes + f->region[PLAN_KV_V].device;
	json_t *j = json_pack(
	    "{s:s, s:o, s:s, s:b, s:s?, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "schema",
	    "bitnet-memplan/1", "file", forecast_json_name(r->file), "architecture", f->shape.name,
	    "computed", f->computed, "reason", f->computed ? NULL : f->reason, "layer_count",
	    (int)f->layers, "options", json_options(r), "weights", json_weights(&f->tally), "kv",
	    json_pack("{s:o, s:o, s:o, s:o}", "bytes", number(k + v), "k", number(k), "v",
	              number(v), "state",
	              number(f->region[FORECAST_STATE].bytes + f->region[FORECAST_STATE].device)),
	    "logits_row", number((uint64_t)f->shape.n_vocab * 4), "regions", json_regions(r, 1),
	    "process", json_regions(r, 0), "totals", forecast_json_totals(&f->total));

	if (!j)
		return NULL;
	json_object_set_new(j, "warnings", json_warnings(r));
	if (r->budget)
		json_object_set_new(j, "budget", json_budget(r));
	if (r->advice)
		json_object_set_new(j, "recommendations", json_advice(r->advice));
	if (o->layers)
		json_object_set_new(j, "layers", json_layers(r));
	if (o->tensors)
		json_object_set_new(j, "tensors_list", json_tensors(r));
	return j;
}
