#include "rd.h"

int rd_fetch(struct rd *r, uint64_t n, const char *what, struct err *e)
{
	uint64_t end;

	if (!__builtin_add_overflow(r->pos, n, &end) && r->more && r->more(r, end, e))
		return -1;
	if (n <= r->size - r->pos)
		return 0;
	return err_set(e, ERR_SHORT, "ends inside %s: %llu bytes are needed, %llu are left", what,
	               (unsigned long long)n, (unsigned long long)(r->size - r->pos));
}
