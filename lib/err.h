/*
 * Errors that travel upwards.  A function that can fail returns 0 or -1 and
 * fills the caller's struct err; each floor may put what it knows in front
 * ("file: tensor: ...").  Only commands print it, as one line behind the
 * tool's name, and exit with its status.
 */
#ifndef ERR_H
#define ERR_H

#include <stddef.h>

/* Exit statuses, the same in all tools. */
enum err_status {
	ERR_OK = 0,
	ERR_NO = 1,      /* the answer is no: does not fit, differs, leaks */
	ERR_TROUBLE = 2, /* usage, a bad file, I/O, no memory, no space, no device */
	ERR_SHORT = 3,   /* the input ends too early, or a part of it is missing */
};

#define ERR_TEXT 512

/* All-zero is "no error". */
struct err {
	int status;          /* enum err_status */
	int unsupported;     /* the input may be right, but this is not done here */
	char text[ERR_TEXT]; /* one line without newline; longer text is cut */
};

/* Sets status and text; returns -1, so that callers can "return err_set(...)".
 * A NULL e is allowed everywhere and only gives the return value. */
int err_set(struct err *e, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same with status ERR_TROUBLE, for what may be right but is not done here. */
int err_unsupported(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same with ": strerror(errno)" appended and status ERR_TROUBLE; keeps errno. */
int err_sys(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "context: " in front of the text; returns -1. */
int err_in(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The static analyser sees one file at a time: it is told here that these return -1. */
#if defined(__clang_analyzer__) && !defined(ERR_C)
#define err_set(...)         (err_set(__VA_ARGS__), -1)
#define err_unsupported(...) (err_unsupported(__VA_ARGS__), -1)
#define err_sys(...)         (err_sys(__VA_ARGS__), -1)
#define err_in(...)          (err_in(__VA_ARGS__), -1)
#endif

/* Writes n bytes of s as printable text into out (control and invalid bytes as
 * \xHH, cut with "..." when it does not fit): for names that come from files. */
const char *err_quote(char *out, size_t cap, const char *s, size_t n);

#endif
