#include "resident.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t resident_bytes(void)
{
	char text[128];
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = 0;
	char *rest;
	strtoull(text, &rest, 10); /* size */
	return strtoull(rest, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int says(const char *file, const char *word)
{
	char text[128];
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	return strstr(text, word) != NULL;
}

int resident_huge(void)
{
	static const char all[] = "/sys/kernel/mm/transparent_hugepage/enabled";
	static const char size[] = "/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/enabled";

	if (says(size, "[never]"))
		return 0;
	return says(all, "[madvise]") || says(all, "[always]") || says(size, "[madvise]") ||
	       says(size, "[always]");
}
