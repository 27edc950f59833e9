#include "progress.h"

#include <string.h>

#include "clock.h"
#include "fmt.h"

#define INTERVAL 0.1 /* seconds between two drawings */

/* Bytes a second; 0 before there is anything to tell. */
static double rate(const struct progress *p)
{
	double seconds = clock_now() - p->start;

	return seconds > 0 ? (double)(p->done - p->skipped) / seconds : 0;
}

/* Seconds that are left; negative: not known. */
static double left(const struct progress *p)
{
	double r = rate(p);

	return p->total && r > 0 ? (double)(p->total - p->done) / r : -1;
}

static void format_left(char *out, size_t cap, double seconds)
{
	unsigned long s = (unsigned long)(seconds + 0.5);

	if (seconds < 0)
		snprintf(out, cap, "--:--");
	else if (s >= 3600)
		snprintf(out, cap, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
	else
		snprintf(out, cap, "%lu:%02lu", s / 60, s % 60);
}

static void draw_bar(struct progress *p)
{
	char done[FMT_SIZE], total[FMT_SIZE], speed[FMT_SIZE], eta[32];
	int columns = fmt_columns(p->out);

	format_left(eta, sizeof eta, left(p));
	fmt_size(done, p->done);
	fmt_size(total, p->total);
	fmt_size(speed, (uint64_t)rate(p));
	int text = (int)(strlen(done) + strlen(total) + strlen(speed) + strlen(eta)) + 14;
	int bar = columns - text - 26;
	fputs("\r\033[K", p->out);
	if (bar > 5) {
		int used = fmt_bar(p->out, (double)p->done, (double)p->total, bar);
		fprintf(p->out, "%*s", bar - used, "");
	}
	fprintf(p->out, " %s of %s, %s/s, %s", done, total, speed, eta);
	if (columns > text + 26)
		fprintf(p->out, "  %.24s", p->item ? p->item : "");
	fflush(p->out);
	p->drawn = 1;
}

/* Items are names of tensors: what JSON would have to escape becomes '?'. */
static void write_json(const struct progress *p)
{
	double seconds = left(p);

	fprintf(p->out, "{\"done\":%llu,\"total\":%llu,\"rate\":%.0f,\"left\":",
	        (unsigned long long)p->done, (unsigned long long)p->total, rate(p));
	if (seconds < 0)
		fputs("null", p->out);
	else
		fprintf(p->out, "%.1f", seconds);
	fputs(",\"item\":\"", p->out);
	for (const char *s = p->item ? p->item : ""; *s; s++)
		fputc(*s < ' ' || *s == '"' || *s == '\\' || *s == 127 ? '?' : *s, p->out);
	fputs("\"}\n", p->out);
	fflush(p->out);
}

static void show(struct progress *p)
{
	p->shown = clock_now();
	if (p->mode == PROGRESS_BAR)
		draw_bar(p);
	else if (p->mode == PROGRESS_JSON)
		write_json(p);
}

static void answer(struct progress *p)
{
	char done[FMT_SIZE], total[FMT_SIZE], speed[FMT_SIZE], eta[32];

	p->asked = 0;
	if (!p->out_asked)
		return;
	format_left(eta, sizeof eta, left(p));
	fprintf(p->out_asked, "%s%s of %s, %s/s, %s left, at %s\n", p->drawn ? "\r\033[K" : "",
	        fmt_size(done, p->done), fmt_size(total, p->total),
	        fmt_size(speed, (uint64_t)rate(p)), eta, p->item ? p->item : "the start");
	fflush(p->out_asked);
	p->drawn = 0;
}

void progress_begin(struct progress *p, enum progress_mode mode, FILE *out, uint64_t total)
{
	p->mode = mode;
	p->out = out;
	p->total = total;
	p->done = p->skipped = 0;
	p->item = NULL;
	p->start = clock_now();
	p->shown = 0;
	p->drawn = 0;
}

void progress_item(struct progress *p, const char *item)
{
	p->item = item;
}

void progress_add(struct progress *p, uint64_t bytes)
{
	p->done += bytes;
	if (p->asked)
		answer(p);
	if (p->mode != PROGRESS_NONE && clock_now() - p->shown >= INTERVAL)
		show(p);
}

void progress_end(struct progress *p)
{
	if (p->mode == PROGRESS_JSON)
		show(p);
	if (p->drawn)
		fputs("\r\033[K", p->out);
	if (p->out)
		fflush(p->out);
	p->mode = PROGRESS_NONE;
}
