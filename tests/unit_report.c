/* Reports: JSON there and back, suppressions, baselines, limits of the guard. */
#include "report.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "baseline.h"
#include "guard.h"
#include "mem.h"
#include "report_json.h"
#include "suppress.h"
#include "unit.h"

static char dir[64];

/* A report with one leak in "grow" and a series of constant level. */
static void make(struct report *r, double level)
{
	struct report_finding *f;
	struct report_series *s;

	report_init(r);
	r->verdict = REPORT_LEAK;
	r->steps = 40;
	r->samples = 40;
	r->step = mem_calloc(MEM_OTHER, 40, sizeof *r->step, NULL);
	report_string(&r->command, "cmd \"quoted\" \xff", NULL);
	report_string(&r->host, "here", NULL);
	s = report_series_add(r, NULL);
	s->v = mem_calloc(MEM_OTHER, 40, sizeof *s->v, NULL);
	for (int i = 0; i < 40; i++) {
		r->step[i] = i + 1;
		s->v[i] = level;
	}
	s->v[3] = NAN;
	report_string(&s->name, "RssAnon", NULL);
	report_string(&s->unit, "bytes", NULL);
	report_string(&s->verdict, "clean", NULL);
	f = report_finding_add(r, NULL);
	f->verdict = REPORT_LEAK;
	f->class = CLASS_STEP;
	f->per_step = 16.5;
	report_string(&f->kind, "heap", NULL);
	report_string(&f->unit, "bytes", NULL);
	report_string(&f->why, "because", NULL);
	struct report_frame *frame = report_frame_add(f, NULL);
	report_string(&frame->function, "grow", NULL);
	report_string(&frame->module, "/usr/lib/libgrow.so", NULL);
	frame->offset = 0xabcdef0123;
	frame->line = 7;
}

static char *to_json(const struct report *r, size_t *n)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, n);

	CHECK_INT(report_json_write(r, out, NULL), 0);
	fclose(out);
	return text;
}

static void json_comes_back_the_same(void)
{
	struct report r, back;
	struct err e = {0};
	size_t n, m;

	make(&r, 1e6);
	char *text = to_json(&r, &n);
	report_init(&back);
	CHECK_INT(report_json_read(&back, text, n, &e), 0);
	CHECK_INT(back.verdict, REPORT_LEAK);
	CHECK_STR(back.command, "cmd \"quoted\" ?");
	CHECK(isnan(back.oom_seconds));
	CHECK(isnan(back.series[0].v[3]) && back.series[0].v[4] == 1e6);
	CHECK(back.finding[0].frame[0].offset == 0xabcdef0123);
	char *again = to_json(&back, &m);
	CHECK_STR(again, text);
	free(again);
	free(text);
	report_free(&back);
	report_free(&r);
}

static void unmeasured_is_null_never_zero(void)
{
	struct report r;
	size_t n;

	make(&r, 1e6);
	char *text = to_json(&r, &n);
	CHECK(strstr(text, "\"trim_after\": null") != NULL);
	CHECK(strstr(text, "\"signal\": null") != NULL);
	free(text);
	report_free(&r);
}

static void what_is_no_report_is_refused(void)
{
	static const char *const bad[] = {
	    "",
	    "[]",
	    "{}",
	    "{\"form\": 2}",
	    "{\"form\": 1}",
	    "{\"form\": 1, \"verdict\": \"fine\"}",
	    "{\"form\": 1, \"verdict\": \"leak\", \"step\": 3}",
	    "{\"form\": 1, \"verdict\": \"leak\", \"step\": [1], \"series\": [{}]}",
	    "{\"form\": 1, \"verdict\": \"leak\", \"step\": [], \"findings\": [{}]}",
	    "{\"form\": 1, \"verdict\": \"leak\", \"step\": [], \"notes\": [1]}",
	    "{\"form\": 1, \"verdict\": \"leak\", \"steps\": \"many\", \"step\": []}"};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct report r;
		struct err e = {0};
		report_init(&r);
		CHECK_INT(report_json_read(&r, bad[i], strlen(bad[i]), &e), -1);
		CHECK_INT(e.status, ERR_TROUBLE);
		CHECK(e.text[0] != 0);
		report_free(&r);
	}
}

static void patterns_match_as_LeakSanitizers(void)
{
	CHECK(suppress_match("grow", "list_grow_more"));
	CHECK(suppress_match("^list", "list_grow"));
	CHECK(!suppress_match("^grow", "list_grow"));
	CHECK(suppress_match("grow$", "list_grow"));
	CHECK(!suppress_match("list$", "list_grow"));
	CHECK(suppress_match("l*w", "list_grow"));
	CHECK(!suppress_match("l*x", "list_grow"));
	CHECK(suppress_match("^list_grow$", "list_grow"));
	CHECK(suppress_match("*", ""));
}

static const char *file(const char *name, const char *text)
{
	static char path[128];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	if (text && (f = fopen(path, "w"))) {
		fputs(text, f);
		fclose(f);
	}
	return path;
}

static enum report_verdict suppressed_by(const char *text, int *failed)
{
	struct report r;

	make(&r, 1e6);
	*failed = suppress_apply(file("supp", text), &r, NULL);
	enum report_verdict v = r.verdict;
	report_free(&r);
	return v;
}

static void a_suppressed_leak_is_clean(void)
{
	int failed;

	CHECK_INT(suppressed_by("# why\nleak:grow\n", &failed), REPORT_CLEAN);
	CHECK_INT(suppressed_by("leak:libgrow\r\n", &failed), REPORT_CLEAN);
	CHECK_INT(suppressed_by("  leak:grow   # because\n", &failed), REPORT_CLEAN);
	CHECK_INT(suppressed_by("leak:shrink\n", &failed), REPORT_LEAK);
	CHECK_INT(failed, 0);
	CHECK_INT(suppressed_by("growth:grow\n", &failed), REPORT_LEAK);
	CHECK_INT(suppressed_by("race:grow\n", &failed), REPORT_LEAK);
	CHECK_INT(failed, -1);
}

static enum report_verdict compared(double level, enum report_verdict before)
{
	struct report r;

	make(&r, level);
	r.verdict = before;
	CHECK_INT(baseline_compare(file("base", NULL), &r, NULL), 0);
	enum report_verdict v = r.verdict;
	report_free(&r);
	return v;
}

static void worse_than_the_baseline_is_a_regression(void)
{
	struct report r;

	make(&r, 1e6);
	r.series[0].v[3] = 1e6;
	CHECK_INT(baseline_write(file("base", "other/none/x RssAnon 1 0\n"), &r, NULL), 0);
	CHECK_INT(baseline_write(file("base", NULL), &r, NULL), 0);
	report_free(&r);
	CHECK_INT(compared(1e6, REPORT_CLEAN), REPORT_CLEAN);
	CHECK_INT(compared(1.04e6, REPORT_CLEAN), REPORT_CLEAN);
	CHECK_INT(compared(1.06e6, REPORT_CLEAN), REPORT_REGRESSION);
	CHECK_INT(compared(1.06e6, REPORT_LEAK), REPORT_LEAK);
	CHECK_INT(compared(0.5e6, REPORT_CLEAN), REPORT_CLEAN);
	char text[256];
	FILE *f = fopen(file("base", NULL), "r");
	int lines = 0;
	while (f && fgets(text, sizeof text, f))
		lines++;
	if (f)
		fclose(f);
	CHECK_INT(lines, 2); /* written twice, there once, beside the other's */
}

static void another_host_is_not_compared(void)
{
	struct report r;

	make(&r, 2e6);
	r.verdict = REPORT_CLEAN;
	report_string(&r.host, "elsewhere", NULL);
	CHECK_INT(baseline_compare(file("base", NULL), &r, NULL), 0);
	CHECK_INT(r.verdict, REPORT_CLEAN);
	CHECK_INT(r.n_notes, 1);
	report_free(&r);
	make(&r, 2e6);
	CHECK_INT(baseline_compare("/no/such/file", &r, NULL), -1);
	report_free(&r);
	make(&r, 2e6);
	CHECK_INT(baseline_compare(file("base", "here/none/cmd_\"quoted\"__ RssAnon\n"), &r, NULL),
	          -1);
	report_free(&r);
}

static void limits_are_bytes_percent_or_of_the_device(void)
{
	struct guard_options g = {0};

	CHECK_INT(guard_parse(&g, "8G", 1e9, NULL), 0);
	CHECK(g.memory == 8.0 * (1 << 30));
	CHECK_INT(guard_parse(&g, "25%", 1e9, NULL), 0);
	CHECK(g.memory == 2.5e8);
	CHECK_INT(guard_parse(&g, "device:4G", 1e9, NULL), 0);
	CHECK(g.device == 4.0 * (1 << 30));
	CHECK_INT(guard_parse(&g, "0", 1e9, NULL), -1);
	CHECK_INT(guard_parse(&g, "101%", 1e9, NULL), -1);
	CHECK_INT(guard_parse(&g, "device:5%", 1e9, NULL), -1);
	CHECK_INT(guard_parse(&g, "much", 1e9, NULL), -1);
}

static void the_worst_verdict_stands_for_all(void)
{
	struct report all, one;

	report_init(&all);
	make(&one, 1);
	one.verdict = REPORT_CLEAN;
	CHECK_INT(report_absorb(&all, &one, "a", NULL), 0);
	report_free(&one);
	CHECK_INT(all.verdict, REPORT_CLEAN);
	make(&one, 1);
	CHECK_INT(report_absorb(&all, &one, "b", NULL), 0);
	CHECK_INT(one.n_findings, 0);
	report_free(&one);
	make(&one, 1);
	one.verdict = REPORT_UNSETTLED;
	CHECK_INT(report_absorb(&all, &one, "c", NULL), 0);
	report_free(&one);
	CHECK_INT(all.verdict, REPORT_LEAK);
	CHECK_INT(report_status(&all), ERR_NO);
	CHECK_INT(all.n_findings, 6);
	report_free(&all);
}

static void findings_of_one_function_are_a_group(void)
{
	static const struct {
		const char *site;
		int pid;
	} of[] = {{"grow", 1}, {"other", 1}, {"grow", 1}, {"grow", 2}, {NULL, 1}, {NULL, 1}};
	struct report r;

	report_init(&r);
	for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
		struct report_finding *f = report_finding_add(&r, NULL);
		f->verdict = REPORT_LEAK;
		f->pid = of[i].pid;
		f->per_step = (double)(10 - i);
		report_string(&f->kind, "heap", NULL);
		report_string(&f->site, of[i].site, NULL);
	}
	struct report_group g = report_group(&r, 0);
	CHECK_INT(g.stacks, 3);
	CHECK_INT(g.processes, 2);
	CHECK_INT(g.per_step, 10 + 8 + 7);
	CHECK_INT(report_group(&r, 1).stacks, 1);
	CHECK_INT(report_group(&r, 2).stacks, 0);
	CHECK_INT(report_group(&r, 5).stacks, 1); /* without a function there is nothing alike */
	r.finding[2].suppressed = 1;
	CHECK_INT(report_group(&r, 0).stacks, 2);
	CHECK_INT(report_group(&r, 2).stacks, 1);
	report_free(&r);
}

int main(void)
{
	RUN(findings_of_one_function_are_a_group);
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof dir, "%.40s/unit-report-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return 2;
	RUN(json_comes_back_the_same);
	RUN(unmeasured_is_null_never_zero);
	RUN(what_is_no_report_is_refused);
	RUN(patterns_match_as_LeakSanitizers);
	RUN(a_suppressed_leak_is_clean);
	RUN(worse_than_the_baseline_is_a_regression);
	RUN(another_host_is_not_compared);
	RUN(limits_are_bytes_percent_or_of_the_device);
	RUN(the_worst_verdict_stands_for_all);
	unlink(file("supp", NULL));
	unlink(file("base", NULL));
	rmdir(dir);
	return unit_end();
}
