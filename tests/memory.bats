#!/usr/bin/env bats
# What a user sees of lib/mem.h and lib/track.h from outside.

setup() {
	[[ $BUILD != */san-* ]] || skip "blocks are malloc's in this build"
}

bats_require_minimum_version 1.5.0

@test "a leak is shown with its call site" {
	BITNET_MEM_TRACK=detailed run --separate-stderr "$BUILD/tests/leak_shown"
	[ "$status" -eq 0 ]
	[ "${lines[0]%, oldest *}" = "99000 bytes in 99 blocks (io), 198 taken, 99 ended" ]
	[[ ${lines[1]} == "    read_row (leak_shown.c:"*")" ]]
	[[ ${lines[2]} == "    main (leak_shown.c:"*")" ]]
	[ "$stderr" = "" ]
}

@test "without tracking nothing is recorded" {
	run --separate-stderr "$BUILD/tests/leak_shown"
	[ "$status" -eq 1 ]
	[ "$output" = "" ]
}

@test "devices of a driver are used through the same interface as the host" {
	[ -e "$BUILD/tests/leaks/libcuda.so.1" ] || skip "the stand-in for a driver is not built here"
	report=$BATS_TEST_TMPDIR/report
	LD_LIBRARY_PATH=$BUILD/tests/leaks LEAKS_CUDA_REPORT=$report run "$BUILD/tests/unit_device"
	echo "$output"
	[ "$status" -eq 0 ]
	[ "$(cat "$report")" = "device 0 pinned 0 objects 0 contexts 0" ]
}
