/*
 * Stacks of this process, by frame pointers and libunwind, and the names of its code addresses:
 * function, file and line, by libdw, which is opened when the first name is asked for; without it,
 * module and offset.
 */
#ifndef CALLSITE_H
#define CALLSITE_H

#include <stddef.h>
#include <stdint.h>

/* Frames kept of a stack. */
#define CALLSITE_DEPTH 12

/* "function (file.c:12)" or "module+0x1234" of the call that returns to pc; returns out. */
const char *callsite_name(char *out, size_t cap, uint64_t pc);

/* The return addresses from frame (a frame pointer: __builtin_frame_address(0)) outwards, at most
 * CALLSITE_DEPTH; how many.  The chain of frame pointers breaks off where code without them called;
 * then libunwind, opened when it is first needed, is asked, by the tables of the compiler; without
 * it the stack ends there. */
unsigned callsite_walk(const void *frame, uint64_t pc[CALLSITE_DEPTH]);

#endif
