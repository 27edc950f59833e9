#include "model_path.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAME "shakespeare.gguf"

int model_path(char *out, size_t cap, struct err *e)
{
	/* Builds with other flags lie deeper below build/, hence the last ones. */
	static const char *const beside[] = {"../share/bitnet/", "../tests/data/",
	                                     "../../tests/data/", "../../../tests/data/"};
	char exe[4096];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

	exe[n > 0 ? n : 0] = 0;
	char *slash = strrchr(exe, '/');
	if (slash) {
		slash[1] = 0;
		for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
			snprintf(out, cap, "%s%s" NAME, exe, beside[i]);
			if (access(out, R_OK) == 0)
				return 0;
		}
	}
	snprintf(out, cap, "%s/" NAME, BITNET_SHARE);
	if (access(out, R_OK) == 0)
		return 0;
	return err_set(e, ERR_TROUBLE, "no model: -m was not given and %s does not exist", out);
}
