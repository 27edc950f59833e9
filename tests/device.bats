#!/usr/bin/env bats
# Models on a device, where there is none: refused in one line, or run on the stand-in for a driver,
# on which the kernels' own source computes.

bats_require_minimum_version 1.5.0

model=tests/data/golden/b158-flt-i2s.gguf

setup() {
	report=$BATS_TEST_TMPDIR/report
	standin=$BUILD/tests/cuda
}

# The command on the stand-in; what it left behind goes to $report.
on_standin() {
	[ -e "$standin/libcuda.so.1" ] || skip "the stand-in for a driver is not built here"
	[[ $BUILD != */san-* ]] || skip "the emulation's fibers are foreign to sanitizers"
	LD_LIBRARY_PATH=$standin bitnet-run -q --device cuda -m "$model" --tokens '1 2' -n 0 >/dev/null 2>"$BATS_TEST_TMPDIR/why" ||
		! grep -q 'no code for CUDA' "$BATS_TEST_TMPDIR/why" || skip "built without nvcc"
	LD_LIBRARY_PATH=$standin LEAKS_CUDA_REPORT=$report run --separate-stderr "$@"
}

nothing_left() {
	[ "$(cat "$report")" = "device 0 pinned 0 objects 0 contexts 0" ]
}

@test "without a driver --device cuda ends with one line and status 2" {
	LD_LIBRARY_PATH= run --separate-stderr bitnet-run --device cuda -m "$model" --tokens '1 2' -n 1
	[ "$status" -eq 0 ] && skip "there is a device"
	[ "$status" -eq 2 ]
	[ "$output" = "" ]
	[[ $stderr == "bitnet-run: $model: cuda:0: "* ]]
	[ "$(wc -l <<<"$stderr")" -eq 1 ]
}

@test "--device auto computes on the host where no device can do it" {
	LD_LIBRARY_PATH= run --separate-stderr bitnet-run -q --device auto -m "$model" --tokens '7 9' --temperature 0 -n 8
	[ "$status" -eq 0 ]
	want=$output
	[ "$(bitnet-run -q -m "$model" --tokens '7 9' --temperature 0 -n 8)" = "$want" ]
}

@test "a device that there is not, and words that are none, are refused" {
	run --separate-stderr bitnet-run --device cuda:999 -m "$model" -p a -n 1
	[ "$status" -eq 2 ]
	[[ $stderr == *"cuda:999: "* ]]
	for word in gpu cuda: cuda:x cuda:1x cuda:-1; do
		run --separate-stderr bitnet-run --device "$word" -m "$model" -p a -n 1
		[ "$status" -eq 2 ]
		[[ $stderr == *"'$word' is none of auto, cpu, cuda, cuda:N" ]]
	done
	run --separate-stderr bitnet-run -g some -m "$model" -p a -n 1
	[ "$status" -eq 2 ]
	[[ $stderr == *"'some' is neither a count of layers nor all" ]]
}

@test "on a device greedy text is that of the host, however the layers are split" {
	want=$(bitnet-run -q -m "$model" --tokens '7 100 33' --temperature 0 -n 12 --ignore-eos)
	for layers in 1 2 all; do
		on_standin bitnet-run -q --device cuda -g $layers -m "$model" --tokens '7 100 33' --temperature 0 -n 12 --ignore-eos
		echo "$layers: $status $stderr"
		[ "$status" -eq 0 ]
		[ "$output" = "$want" ]
		[ "$stderr" = "" ]
		nothing_left
	done
}

@test "drawing from the likeliest tokens gives the same on a device, from the same seed" {
	args=(-q -m "$model" --tokens '7 100 33' -n 12 --ignore-eos --seed 7)
	for how in '--top-k 40' '--top-k 0' '--top-k 5 --repeat-penalty 1.3' '--top-k 200'; do
		want=$(bitnet-run "${args[@]}" $how)
		on_standin bitnet-run "${args[@]}" --device cuda $how
		[ "$status" -eq 0 ]
		[ "$output" = "$want" ]
	done
}

@test "what is taken on the device is what bitnet-memplan says, region by region" {
	for options in '-g all' '-g 1 -c 200' '-g 2 -k q8_0 -u 17'; do
		on_standin bitnet-run $options --device cuda -t 1 --memory --json -m "$model"
		[ "$status" -eq 0 ]
		taken=$(jq -c '[.regions[] | [.name, .bytes, .device]]' <<<"$output")
		[ "$(jq .totals.device <<<"$output")" -gt 0 ]
		[ "$(jq .driver <<<"$output")" = null ]
		planned=$(bitnet-memplan -J $options -t 1 "$model" 2>/dev/null | jq -c '[.regions[] | [.name, .bytes, .device]]')
		[ "$taken" = "$planned" ]
	done
}

@test "a device that is too small is refused with the region's name, and auto goes on without" {
	export LEAKS_CUDA_MEMORY=1
	on_standin bitnet-run --device cuda -c 4096 -m "$model" --tokens '7' -n 1
	[ "$status" -eq 2 ]
	[[ $stderr =~ ^"bitnet-run: $model: cuda:0: "[a-z.]+": the plan needs "[0-9]+" bytes up to here and "[0-9]+" in all, "[0-9]+" are free"$ ]]
	nothing_left
	on_standin bitnet-run -q -v --device auto -c 4096 -m "$model" --tokens '7' -n 1
	[ "$status" -eq 0 ]
	[[ $stderr == *"not on a device: cuda:0: "*"the plan needs"* ]]
}

@test "whichever call of the driver fails first, a run ends with one line and gives all back" {
	for n in 1 2 3 5 8 13 21 34 55 89 144 233; do
		LEAKS_CUDA_FAIL=$n on_standin bitnet-run -q --device cuda -m "$model" --tokens '7 8' --temperature 0 -n 4
		[ "$status" -eq 0 ] && continue
		[ "$status" -eq 2 ] || { echo "$n: $status $stderr"; return 1; }
		[ "$(wc -l <<<"$stderr")" -eq 1 ]
		[[ $stderr == *CUDA_ERROR* ]] || { echo "$n: $stderr"; return 1; }
		nothing_left
	done
}

@test "the vectors' logits and greedy tokens come from a device" {
	on_standin env BITNET_TEST_DEVICE=cuda:0 BITNET_SHARED= "$BUILD/tests/unit_golden"
	echo "$output"
	[ "$status" -eq 0 ]
	nothing_left
}

@test "the tests for a real device say why they are skipped where there is none" {
	LD_LIBRARY_PATH= run --separate-stderr bitnet-run -q --device cuda -m "$model" --tokens 1 -n 1
	[ "$status" -eq 2 ] || skip "there is a device"
	LD_LIBRARY_PATH= run scripts/cuda-tests "$BUILD"
	[ "$status" -eq 0 ]
	[[ $output == "check-cuda: SKIP: cuda:0: "* ]]
}

@test "serving from a device leaks nothing" {
	for i in {1..40}; do
		echo '{"tokens":[7,100],"n":2,"temperature":0}'
	done >"$BATS_TEST_TMPDIR/requests"
	on_standin bitnet-leakcheck -z -S '"text"' -o "json:$BATS_TEST_TMPDIR/report.json" -- \
		bitnet-run -q --device cuda -m "$model" --jsonl <"$BATS_TEST_TMPDIR/requests"
	[ "$status" -eq 0 ]
	[ "$(jq -r .verdict "$BATS_TEST_TMPDIR/report.json")" = clean ]
	nothing_left
}
