/* A socket, an epoll set or an eventfd per step that is not closed. */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "leaks.h"

SITE static int channel_open(unsigned i)
{
	int fd = i % 3 == 0   ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
	         : i % 3 == 1 ? epoll_create1(EPOLL_CLOEXEC)
	                      : eventfd(0, EFD_CLOEXEC);
	if (fd < 0)
		leaks_die("descriptor");
	return fd;
}

static void step(unsigned i)
{
	channel_open(i);
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.step = step});
}
