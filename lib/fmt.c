#include "fmt.h"

#include <ctype.h>
#include <langinfo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "utf8.h"

static const char *size_in(char out[FMT_SIZE], uint64_t bytes, double step, const char *const *unit)
{
	double v = (double)bytes;
	int u = 0;

	if (bytes < (uint64_t)step) {
		snprintf(out, FMT_SIZE, "%llu B", (unsigned long long)bytes);
		return out;
	}
	/* 999.5 would print as four digits: it belongs to the next unit. */
	while (v >= 999.5 && u < 6) {
		v /= step;
		u++;
	}
	snprintf(out, FMT_SIZE, "%.*f %s", v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v, unit[u]);
	return out;
}

const char *fmt_size(char out[FMT_SIZE], uint64_t bytes)
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	return size_in(out, bytes, 1024, unit);
}

const char *fmt_size_si(char out[FMT_SIZE], uint64_t bytes)
{
	static const char *const unit[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
	return size_in(out, bytes, 1000, unit);
}

const char *fmt_size_as(char out[FMT_SIZE], enum fmt_units units, uint64_t bytes)
{
	if (units == FMT_BINARY)
		return fmt_size(out, bytes);
	if (units == FMT_SI)
		return fmt_size_si(out, bytes);
	snprintf(out, FMT_SIZE, "%llu", (unsigned long long)bytes);
	return out;
}

/* Digits and an optional fraction.  strtod would also take signs, "inf", hexadecimal, and an
 * exponent, whose 'e' is a unit here. */
static const char *parse_decimal(const char *s, long double *v)
{
	long double step = 1;

	for (*v = 0; isdigit((unsigned char)*s); s++)
		*v = *v * 10 + (*s - '0');
	if (*s == '.')
		for (s++; isdigit((unsigned char)*s); s++)
			*v += (*s - '0') * (step /= 10);
	return s;
}

int fmt_parse_size(const char *s, uint64_t *bytes, struct err *e)
{
	static const char units[] = "KMGTPE";
	long double v;
	const char *p = parse_decimal(s, &v);

	if (!isdigit((unsigned char)*s))
		return err_set(e, ERR_TROUBLE, "'%s' is not a size", s);
	if (*p) {
		const char *u = strchr(units, toupper((unsigned char)*p));
		int power = u ? (int)(u - units) + 1 : 0;
		long double step = 1024;

		if (u)
			p++;
		if (u && !strcmp(p, "B"))
			step = 1000;
		if (!(!*p || !strcmp(p, "B") || (u && (!strcmp(p, "i") || !strcmp(p, "iB")))))
			return err_set(e, ERR_TROUBLE, "'%s' is not a size (8G, 8GiB, 8GB, 500M)",
			               s);
		v *= powl(step, power);
	}
	if (v >= 18446744073709551616.0L)
		return err_set(e, ERR_TROUBLE, "'%s' is over 2^64 bytes", s);
	*bytes = (uint64_t)v;
	return 0;
}

int fmt_columns(FILE *stream)
{
	const char *env = getenv("COLUMNS");
	struct winsize w;
	long asked = env ? strtol(env, NULL, 10) : 0;

	if (asked > 0 && asked < 10000)
		return (int)asked;
	if (ioctl(fileno(stream), TIOCGWINSZ, &w) == 0 && w.ws_col > 0)
		return w.ws_col;
	return 80;
}

int fmt_colour(FILE *stream)
{
	const char *no = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	return isatty(fileno(stream)) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

int fmt_bar(FILE *out, double value, double max, int width)
{
	static const char *const part[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
	int utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	double share = max > 0 ? value / max : 0;
	int eighths = (int)lround(fmin(fmax(share, 0), 1) * width * 8);
	int used = eighths / 8;

	for (int i = 0; i < used; i++)
		fputs(utf8 ? "█" : "#", out);
	if (utf8 && eighths % 8) {
		fputs(part[eighths % 8], out);
		used++;
	}
	return used;
}

void fmt_bar_cell(FILE *out, double value, double max, int width)
{
	int used = fmt_bar(out, value, max, width);

	fprintf(out, "%*s", width - used, "");
}

void fmt_xml(const char *s, FILE *out)
{
	static const char *const name[128] = {
	    ['<'] = "&lt;", ['>'] = "&gt;", ['&'] = "&amp;", ['"'] = "&quot;"};
	size_t left = s ? strlen(s) : 0;

	while (left) {
		uint32_t c = 0;
		size_t n = utf8_decode(s, left, &c);
		int said = n && (c >= ' ' || c == '\n' || c == '\t') && c != 0xfffe && c != 0xffff;
		if (!said)
			fputc('?', out);
		else if (c < 128 && name[c])
			fputs(name[c], out);
		else
			fwrite(s, 1, n, out);
		n = n ? n : 1;
		s += n;
		left -= n;
	}
}
