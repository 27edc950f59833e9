#!/usr/bin/env bats
# The leak catalogue: its truth, and a sample of it under bitnet-leakcheck.  All of it, and other
# checkers beside: make check-leaks.

setup() {
	[ -x "$BUILD/tests/leaks/01_list" ] || skip "the catalogue is not built here"
	[[ $BUILD != */san-* ]] || skip "a sanitizer and the counter both replace malloc"
}

@test "every leak of the catalogue grows as its table says, and no clean program does" {
	run tests/leaks/truth "$BUILD"
	echo "$output"
	[ "$status" -eq 0 ]
	[ "$(grep -c '^ok ' <<<"$output")" -eq 54 ]
}

@test "a program of the catalogue tells its steps and errors to the descriptor that it was given" {
	steps=$BATS_TEST_TMPDIR/steps
	BITNET_LEAKCHECK_FD=9 run "$BUILD/tests/leaks/22_aborted_request" -n 30 -p 0 9>"$steps"
	[ "$status" -eq 0 ]
	[ "$(grep -cx step "$steps")" -eq 30 ]
	[ "$(grep -cx error "$steps")" -gt 0 ]
	[ "$(grep -cvx 'step\|error' "$steps")" -eq 0 ]
}

@test "the same seed gives the same run" {
	for i in 1 2; do
		BITNET_LEAKCHECK_FD=9 LEAKS_COUNT=$BATS_TEST_TMPDIR/$i \
			LD_PRELOAD=$BUILD/tests/leaks/counter.so \
			"$BUILD/tests/leaks/s_in_flight" -n 50 -p 0 -s 7 9>/dev/null
	done
	cut -d' ' -f1 "$BATS_TEST_TMPDIR/1" >"$BATS_TEST_TMPDIR/a"
	cut -d' ' -f1 "$BATS_TEST_TMPDIR/2" >"$BATS_TEST_TMPDIR/b"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/a")" -eq 50 ]
	cmp "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b"
}

@test "without a device and its stand-in a program that needs one is skipped" {
	[ -z "$(ldconfig -p 2>/dev/null | grep libcuda.so.1)" ] || skip "there is a CUDA driver"
	LD_LIBRARY_PATH= run "$BUILD/tests/leaks/30_device_memory"
	[ "$status" -eq 77 ]
	[ "$output" = "SKIP: no CUDA driver" ]
}

@test "the gpu workload passes on the stand-in for a device" {
	LD_LIBRARY_PATH=$BUILD/tests/leaks run "$BUILD/tests/unit_workload"
	[ "$status" -eq 0 ]
	[[ $output != *"no CUDA driver"* ]]
	[[ $output == *"ok gpu"* ]]
}

@test "bitnet-leakcheck does as well as it must on a third of the catalogue" {
	[ -x "$BUILD/bitnet-leakcheck" ] || skip "bitnet-leakcheck is not built"
	run scripts/leak-catalogue -s -b "$BUILD" -t ledger
	echo "$output"
	[ "$status" -eq 0 ]
	[ "$(grep -c '1/1 s1' <<<"$output")" -ge 11 ]
}
