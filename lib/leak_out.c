#include "leak_out.h"

#include <string.h>
#include <unistd.h>

#include "io.h"
#include "report_ci.h"
#include "report_human.h"
#include "report_json.h"

static int text(const struct report *r, FILE *out, struct err *e)
{
	return report_human(r, report_style(out), 0, out, e);
}

static const struct form {
	const char *name;
	int (*write)(const struct report *, FILE *, struct err *);
} form[] = {{"json", report_json_write},
            {"tap", report_tap},
            {"junit", report_junit},
            {"csv", report_csv},
            {"svg", plot_svg},
            {"text", text},
            {NULL, NULL}};

static const struct form *find(const char *s, const char **file, struct err *e)
{
	size_t n = strcspn(s, ":");

	for (const struct form *f = form; f->name; f++)
		if (n == strlen(f->name) && !strncmp(s, f->name, n)) {
			*file = s[n] ? s + n + 1 : "-";
			if (**file)
				return f;
		}
	err_set(e, ERR_TROUBLE,
	        "'%s' is not FORM:FILE with a form of json, tap, junit, csv, svg, text", s);
	return NULL;
}

int leak_out_check(const char *s, struct err *e)
{
	const char *file;

	return find(s, &file, e) ? 0 : -1;
}

int leak_out(const struct report *r, const char *s, struct err *e)
{
	struct io_out o;
	const char *file;
	const struct form *f = find(s, &file, e);

	if (!f)
		return -1;
	if (!strcmp(file, "-"))
		return f->write(r, stdout, e);
	if (io_create(&o, file, 1, e))
		return err_in(e, "%s", file);
	int fd = dup(o.fd);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	int failed = out ? f->write(r, out, e) : err_sys(e, "cannot open");
	if (out && fclose(out) && !failed)
		failed = err_sys(e, "cannot write");
	if (failed)
		io_abort(&o);
	else
		failed = io_commit(&o, e);
	return failed ? err_in(e, "%s", file) : 0;
}
