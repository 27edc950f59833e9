#!/usr/bin/env bats
# Allocations that fail on purpose: each in turn, until a run needs no more of them.  In a build for
# AddressSanitizer what such a run leaves behind fails the test too.

bats_require_minimum_version 1.5.0

# Runs the command with its first, second, ... allocation failing, up to the one that it never makes.
each_allocation_fails() {
	local n said

	for ((n = 1; n < 500; n++)); do
		BITNET_MEM_FAIL=$n run --separate-stderr "$@"
		[ "$status" -eq 0 ] && break
		said="allocation $n: status $status: $stderr"
		[ "$status" -eq 2 ] || { echo "$said"; return 1; }
		[[ $stderr =~ no\ memory\ for\ [0-9]+\ bytes ]] || { echo "$said"; return 1; }
		[ "$(wc -l <<<"$stderr")" -eq 1 ] || { echo "$said"; return 1; }
	done
	echo "$n allocations"
	[ "$n" -gt 10 ] && [ "$n" -lt 500 ]
}

@test "bitnet-run says which memory is missing, whichever allocation fails, and leaves nothing" {
	each_allocation_fails bitnet-run -q -t 1 -m tests/data/shakespeare.gguf -p Hi -n 1
}

@test "the message names the region of the plan that finds no memory" {
	seen=
	for n in {1..60}; do
		BITNET_MEM_FAIL=$n run bitnet-run -q -t 1 -m tests/data/shakespeare.gguf -p Hi -n 1
		[ "$status" -eq 0 ] && break
		seen+="$output"$'\n'
	done
	for region in kv activation scratch; do
		grep -qi "$region" <<<"$seen" || { echo "$region: $seen"; return 1; }
	done
}

@test "a measurement that finds no memory leaves the weights where they lie" {
	bitnet-run --list-kernels | grep -qw vbmi || skip "nothing is measured on this CPU"
	for n in {1..60}; do
		BITNET_MEM_FAIL=$n run --separate-stderr bitnet-run -v --load=auto -t 1 \
			-m tests/data/shakespeare.gguf -p Hi -n 64 --temp 0
		[[ $stderr == *"dense weights: trial of dense weights: no memory for "* ]] && break
	done
	[ "$status" -eq 0 ]
	[ "$output" = "$(bitnet-run -q -t 1 -m tests/data/shakespeare.gguf -p Hi -n 64 --temp 0)" ]
}
