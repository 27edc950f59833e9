/* A stream, an event and a graph per step that are not destroyed. */
#include "leaks_cuda.h"

SITE static void pipeline_new(void)
{
	void *stream, *event, *graph;
	cu_check(cu.stream_create(&stream, 0), "cuStreamCreate");
	cu_check(cu.event_create(&event, 0), "cuEventCreate");
	cu_check(cu.graph_create(&graph, 0), "cuGraphCreate");
}

static void step(unsigned i)
{
	(void)i;
	pipeline_new();
}

int main(int argc, char **argv)
{
	return leaks_main(argc, argv, 200, (struct leaks_program){.begin = cu_begin, .step = step});
}
