#!/usr/bin/env bats
# bitnet-bench: what a user sees.

bats_require_minimum_version 1.5.0

setup() {
	cd "$BATS_TEST_DIRNAME/.."
	tmp=$BATS_TEST_TMPDIR
	quick=(-t 1 -p 16 -n 2 -r 1)
}

# The command ends with status 2, nothing on standard output and the one line $1 (a pattern).
refuses() {
	local pattern=$1
	shift
	run --separate-stderr "$@"
	echo "status $status, stderr: $stderr"
	[ "$status" -eq 2 ]
	[ -z "$output" ]
	[[ $stderr == $pattern ]]
}

@test "the small model: two ceilings, a prefill and a decoding" {
	run --separate-stderr bitnet-bench "${quick[@]}" --csv
	[ "$status" -eq 0 ]
	[ -z "$stderr" ]
	[ "${#lines[@]}" -eq 5 ]
	[ "${lines[0]}" = "what,threads,tokens,at_once,depth,weights,head,median,low,high,unit,share" ]
	[[ ${lines[1]} == read,1,0,0,0,,,* ]]
	[[ ${lines[2]} == int8,1,0,0,0,,,* ]]
	[[ ${lines[3]} == prefill,1,16,16,0,I2_S,F16,* ]]
	[[ ${lines[4]} == decode,1,2,1,0,I2_S,F16,* ]]
}

@test "figures are positive and in order, shares only where there is a ceiling" {
	bitnet-bench "${quick[@]}" -r 3 --json >"$tmp/out"
	[ "$(jq -s 'map(select(.low > 0 and .low <= .median and .median <= .high)) | length' "$tmp/out")" -eq 4 ]
	[ "$(jq -s 'map(select(has("share")) | .what) | join(" ")' -r "$tmp/out")" = "prefill decode" ]
}

@test "lists of threads, prompts, batches and depths each give a row" {
	bitnet-bench -t 1,2 -p 8,16 -u 4,8 -n 2 -d 0,32 -r 1 --json >"$tmp/out"
	[ "$(jq -s 'map(select(.what == "prefill")) | length' "$tmp/out")" -eq 8 ]
	[ "$(jq -s 'map(select(.what == "decode") | .depth) | join(" ")' -r "$tmp/out")" = "0 32 0 32" ]
}

@test "a shape is made in memory, in each type" {
	for type in I2_S TQ1_0 TQ2_0; do
		run --separate-stderr bitnet-bench --shape 256,1,512,4,2,300 --type $type "${quick[@]}"
		[ "$status" -eq 0 ]
		[ "${#lines[@]}" -eq 5 ]
	done
	for head in F32 BF16 Q8_0 Q6_K Q4_0; do
		bitnet-bench --shape 256,1,512,4,2,300 --head-type $head "${quick[@]}"
	done
}

@test "lists of types: each pair is measured, under its names" {
	bitnet-bench --shape 256,1,512,4,2,300 --type i2_s,tq2_0 --head-type f16,q6_k "${quick[@]}" --json >"$tmp/out"
	[ "$(jq -s 'map(select(.what == "decode") | .weights + "/" + .head) | join(" ")' -r "$tmp/out")" = \
		"I2_S/F16 I2_S/Q6_K TQ2_0/F16 TQ2_0/Q6_K" ]
}

@test "the head is read in full, screened, or both ways; only heads of floats are screened" {
	bitnet-bench "${quick[@]}" --head full,screened --json >"$tmp/out"
	[ "$(jq -s 'map(select(.what == "decode") | .screened) | join(" ")' -r "$tmp/out")" = "false true" ]
	bitnet-bench "${quick[@]}" --head screened --json >"$tmp/out"
	[ "$(jq -s 'map(select(.what == "decode") | .screened) | join(" ")' -r "$tmp/out")" = "true" ]
	bitnet-bench --shape 256,1,512,4,2,300 --head-type q6_k --head full,screened "${quick[@]}" --json >"$tmp/out"
	[ "$(jq -s 'map(select(.what == "decode") | .screened) | join(" ")' -r "$tmp/out")" = "false" ]
}

@test "weights are measured where they lie, dense, or both ways, where that makes a difference" {
	bitnet-bench "${quick[@]}" --kernel scalar --load mmap,dense --json >"$tmp/out"
	[ "$(jq -s 'map(select(.what == "decode") | .dense) | join(" ")' -r "$tmp/out")" = "false true" ]
	bitnet-bench --shape 256,1,512,4,2,300 --type tq2_0 --load mmap,dense "${quick[@]}" --kernel scalar --json >"$tmp/out"
	[ "$(jq -s 'map(select(.what == "decode") | .dense) | join(" ")' -r "$tmp/out")" = "false" ]
	refuses "bitnet-bench: *'denser' is neither mmap nor dense" bitnet-bench --load denser
}

@test "a header without weights is enough; a file that is cut in its weights is not" {
	"$BUILD/tests/gen_model" --type=tq2_0 --embd-type=bf16 --header-only -o "$tmp/h.gguf"
	bitnet-bench -m "$tmp/h.gguf" "${quick[@]}" --json >"$tmp/out"
	[ "$(jq -s 'map(select(.what == "decode") | .weights + "/" + .head) | join(" ")' -r "$tmp/out")" = "TQ2_0/BF16" ]
	head -c 500000 tests/data/shakespeare.gguf >"$tmp/cut.gguf"
	run --separate-stderr bitnet-bench -m "$tmp/cut.gguf" "${quick[@]}"
	[ "$status" -eq 3 ]
	[ -z "$output" ]
	[[ $stderr == "bitnet-bench: $tmp/cut.gguf: "*" but the file has 500000 bytes" ]]
	"$BUILD/tests/gen_model" --type=iq2_bn --header-only -o "$tmp/h.gguf"
	refuses "bitnet-bench: $tmp/h.gguf: random weights of type IQ2_BN are not made" bitnet-bench -m "$tmp/h.gguf" "${quick[@]}"
}

@test "bars are drawn beside the shares, in the characters of the locale" {
	LC_ALL=C run --separate-stderr bitnet-bench "${quick[@]}"
	[[ ${lines[1]} == read*GB/s ]]
	[[ ${lines[3]} =~ ' % '[#\ ]{20}'|'$ ]]
	[[ ${lines[3]} != *█* ]]
	LC_ALL=C.UTF-8 run --separate-stderr bitnet-bench "${quick[@]}" -p 128
	[[ ${lines[3]} == *█*'|' ]]
}

@test "a Markdown table has a head, a rule and a row per figure" {
	run --separate-stderr bitnet-bench "${quick[@]}" --markdown
	[ "${#lines[@]}" -eq 6 ]
	[[ ${lines[1]} == "| --- |"* ]]
	for l in "${lines[@]}"; do [ "$(tr -cd '|' <<<"$l" | wc -c)" -eq 13 ]; done
}

@test "another command is run in turns" {
	run --separate-stderr bitnet-bench -r 3 --ours "echo a | tee -a $tmp/log" --vs "cat; echo b >>$tmp/log"
	[ "$status" -eq 0 ]
	[ "$(tr -d '\n' <"$tmp/log")" = ababab ]
	[ "${#lines[@]}" -eq 5 ]
	[[ ${lines[4]} == median* ]]
	bitnet-bench -r 3 --ours true --vs true --json >"$tmp/out"
	[ "$(jq -s 'map(select(.ratio > 0 and .ours > 0 and .theirs > 0) | .pair) | join(" ")' -r "$tmp/out")" = "1 2 3" ]
	[ "$(jq -s '.[3] | .low <= .median and .median <= .high' "$tmp/out")" = true ]
	run --separate-stderr bitnet-bench -r 2 --ours true --vs true --csv
	[ "${lines[0]}" = "pair,ours,theirs,ratio" ]
	[ "${#lines[@]}" -eq 4 ]
}

@test "a command that fails is named" {
	run --separate-stderr bitnet-bench -r 1 --ours true --vs 'exit 3'
	[ "$status" -eq 2 ]
	[ "$stderr" = "bitnet-bench: 'exit 3' failed" ]
}

@test "every kernel set of this machine runs" {
	for set in $(bitnet-run --list-kernels | cut -d' ' -f1); do
		bitnet-bench --kernel "$set" "${quick[@]}" -p 4
	done
}

@test "usage errors are one line" {
	refuses "bitnet-bench: *'x' is not a list*" bitnet-bench -t x
	refuses "bitnet-bench: *'0' is not a list*" bitnet-bench -t 0
	refuses "bitnet-bench: --vs and --ours need each other" bitnet-bench --vs true
	refuses "bitnet-bench: --model and --shape exclude each other" bitnet-bench -m a --shape tiny
	refuses "bitnet-bench: operands are not taken*" bitnet-bench a
	refuses "bitnet-bench: *'all' is neither full nor screened" bitnet-bench --head all
	refuses "bitnet-bench: *'i3_s' is not a tensor type" bitnet-bench --shape tiny --type i2_s,i3_s
	refuses "bitnet-bench: give one of --json, --csv and --markdown" bitnet-bench --json --csv
	refuses "bitnet-bench: *'oddly' is not a shape*" bitnet-bench --shape oddly
	refuses "bitnet-bench: *'256,1,512,3,2,300' is not a shape*" bitnet-bench --shape 256,1,512,3,2,300
	refuses "bitnet-bench: *Q4_K*not made" bitnet-bench --shape tiny --type Q4_K
	refuses "bitnet-bench: kernel set 'none' does not exist*" bitnet-bench --kernel none --csv -t 1
}

@test "a file that is not there" {
	run --separate-stderr bitnet-bench -m "$tmp/none.gguf" "${quick[@]}" --json
	[ "$status" -eq 2 ]
	[[ $stderr == "bitnet-bench: $tmp/none.gguf: "* ]]
}

@test "several sequences are decoded at once" {
	bitnet-bench "${quick[@]}" -B 1,3 --json >"$tmp/out"
	[ "$(jq -s 'map(select(.what == "decode") | .at_once) | join(" ")' -r "$tmp/out")" = "1 3" ]
	refuses '*9999 sequences at once, expected at most 256' bitnet-bench "${quick[@]}" -B 9999
}

@test "a device is measured by its copy and int8 rates first, then by shares of them" {
	[ -e "$BUILD/tests/cuda/libcuda.so.1" ] || skip "the stand-in for a driver is not built here"
	[[ $BUILD != */san-* ]] || skip "the emulation's fibers are foreign to sanitizers"
	export LD_LIBRARY_PATH=$BUILD/tests/cuda LEAKS_CUDA_MEMORY=64
	run --separate-stderr bitnet-bench --device cuda -m tests/data/golden/b158-flt-i2s.gguf -p 8 -n 2 -B 1,2 -r 1 --json
	[[ $stderr != *"no code for CUDA"* ]] || skip "built without nvcc"
	[ "$status" -eq 0 ]
	[ "$(jq -s 'map(.what) | join(" ")' -r <<<"$output")" = "copy int8 gemv prefill decode decode" ]
	[ "$(jq -s 'map(select(has("share")) | .what) | join(" ")' -r <<<"$output")" = "gemv prefill decode decode" ]
}

@test "a device that is not there is refused" {
	refuses "*cuda:999: *" bitnet-bench --device cuda:999 "${quick[@]}"
	refuses "*'gpu' is none of cpu, cuda, cuda:N" bitnet-bench --device gpu "${quick[@]}"
}
