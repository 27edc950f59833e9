#!/usr/bin/env bats
# What a user sees of lib/mem.h and lib/track.h from outside.

setup() {
	[[ $BUILD != */san-* ]] || skip "blocks are malloc's in this build"
}

bats_require_minimum_version 1.5.0

@test "a leak is shown with its call site" {
	BITNET_MEM_TRACK=detailed run --separate-stderr "$BUILD/tests/leak_shown"
	[ "$status" -eq 0 ]
	[ "${lines[0]%, oldest *}" = "99000 bytes in 99 blocks (io), 198 taken by 1 thread, 99 ended" ]
	[[ ${lines[1]} == "    read_row (leak_shown.c:"*")" ]]
	[[ ${lines[2]} == "    main (leak_shown.c:"*")" ]]
	[ "$stderr" = "" ]
}

@test "without tracking nothing is recorded" {
	run --separate-stderr "$BUILD/tests/leak_shown"
	[ "$status" -eq 1 ]
	[ "$output" = "" ]
}

@test "a timeline tells who held what, and a site that grows makes status 1" {
	BITNET_MEM_TRACE=$BATS_TEST_TMPDIR/t.%p run "$BUILD/tests/leak_shown"
	[ "$(ls "$BATS_TEST_TMPDIR"/t.* | wc -l)" -eq 1 ]
	run --separate-stderr bitnet-leakcheck -t "$BATS_TEST_TMPDIR"/t.*
	[ "$status" -eq 1 ]
	[[ ${lines[0]} == "297 events of 1 thread in "*" s" ]]
	[ "${lines[1]%, after*}" = "at most 96.7 KiB in 99 blocks" ]
	[[ ${lines[1]} == *"at the end 96.7 KiB in 99 blocks" ]]
	[[ $output == *"live at the end, by call site"*"96.7 KiB in     99 "*"read_row (leak_shown.c:"* ]]
	[[ $output == *"growth at read_row (leak_shown.c:"*"): 99 blocks, 99000 bytes stay, 50 % of what was taken"* ]]
	[ "$stderr" = "" ]
}

@test "the timeline of a program that ends all its blocks is clean, with the regions of its plan" {
	export BITNET_MEM_TRACE=$BATS_TEST_TMPDIR/t
	bitnet-run -q -m tests/data/shakespeare.gguf -p Hi -n 2 >/dev/null
	unset BITNET_MEM_TRACE
	run --separate-stderr bitnet-leakcheck -t "$BATS_TEST_TMPDIR/t"
	[ "$status" -eq 0 ]
	[[ ${lines[1]} == *"at the end 0 B in 0 blocks" ]]
	[[ $output == *"take_regions (session.c:"* ]]
	run --separate-stderr bitnet-leakcheck -q -t "$BATS_TEST_TMPDIR/t"
	[ "$status$output" = 0 ]
}

@test "a timeline that is cut is told as far as it goes, and what is none is refused" {
	BITNET_MEM_TRACE=$BATS_TEST_TMPDIR/t run "$BUILD/tests/leak_shown"
	head -c -5 "$BATS_TEST_TMPDIR/t" >"$BATS_TEST_TMPDIR/cut"
	run --separate-stderr bitnet-leakcheck -t "$BATS_TEST_TMPDIR/cut"
	[ "$status" -eq 3 ]
	[[ ${lines[0]} == "296 events of 1 thread"* ]]
	[[ $stderr == "bitnet-leakcheck: $BATS_TEST_TMPDIR/cut: ends within record "* ]]
	run --separate-stderr bitnet-leakcheck -t tests/memory.bats
	[ "$status" -eq 2 ]
	[ "$stderr" = "bitnet-leakcheck: tests/memory.bats: not a timeline of \$BITNET_MEM_TRACE" ]
	run --separate-stderr bitnet-leakcheck -t "$BATS_TEST_TMPDIR/t" -o json:-
	[ "$status" -eq 2 ]
}

@test "settings of the environment that mean nothing are told" {
	BITNET_MEM_TRACK=detailled run --separate-stderr "$BUILD/tests/leak_shown"
	[ "$stderr" = "mem: \$BITNET_MEM_TRACK: 'detailled' is not none, basic, standard, detailed or guard" ]
	BITNET_MEM_TRACE=/nowhere/t run --separate-stderr "$BUILD/tests/leak_shown"
	[ "$stderr" = "mem: \$BITNET_MEM_TRACE: /nowhere/t: cannot write: No such file or directory" ]
	BITNET_MEM_TRACK=none run --separate-stderr "$BUILD/tests/leak_shown"
	[ "$stderr" = "" ]
}

@test "valgrind sees blocks inside the pools, and that they are lost" {
	command -v valgrind >/dev/null || skip "valgrind is not installed"
	[ -z "${VALGRIND-}" ] || skip "this runs under valgrind itself"
	run valgrind --leak-check=full "$BUILD/tests/leak_shown"
	[[ $output == *"99,000 bytes in 99 blocks are definitely lost"*"read_row (leak_shown.c:"* ]]
}

@test "heaptrack sees blocks inside the pools" {
	command -v heaptrack >/dev/null || skip "heaptrack is not installed"
	heaptrack -o "$BATS_TEST_TMPDIR/h" "$BUILD/tests/leak_shown" >/dev/null 2>&1 || true
	run heaptrack_print -l 1 -f "$(ls "$BATS_TEST_TMPDIR"/h.*)"
	[[ $output == *"99.00K leaked over 198 calls"*"read_row"* ]]
}

@test "a timeline tells of blocks on devices" {
	[ -e "$BUILD/tests/leaks/libcuda.so.1" ] || skip "the stand-in for a driver is not built here"
	LD_LIBRARY_PATH=$BUILD/tests/leaks BITNET_MEM_TRACE=$BATS_TEST_TMPDIR/t run "$BUILD/tests/unit_device"
	run --separate-stderr bitnet-leakcheck -t "$BATS_TEST_TMPDIR/t"
	[[ $output == *" life (unit_device.c:"* ]]
}

@test "devices of a driver are used through the same interface as the host" {
	[ -e "$BUILD/tests/leaks/libcuda.so.1" ] || skip "the stand-in for a driver is not built here"
	report=$BATS_TEST_TMPDIR/report
	LD_LIBRARY_PATH=$BUILD/tests/leaks LEAKS_CUDA_REPORT=$report run "$BUILD/tests/unit_device"
	echo "$output"
	[ "$status" -eq 0 ]
	[ "$(cat "$report")" = "device 0 pinned 0 objects 0 contexts 0" ]
}
