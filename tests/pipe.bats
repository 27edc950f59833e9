#!/usr/bin/env bats
# The tools in pipes: what one writes the next one reads.

model=tests/data/shakespeare.gguf

setup() {
	cd "$BATS_TEST_DIRNAME/.." || return
	work=$BATS_TEST_TMPDIR
}

need() {
	local tool

	for tool; do
		[ -x "$BUILD/bitnet-$tool" ] || skip "bitnet-$tool is not built"
	done
}

greedy() {
	bitnet-run -q -m "$1" -p 'ROMEO:' -n 24 --temperature 0 -t 2
}

# The same by a file and by pipes on both sides.
@test "quantize reads a pipe and writes a pipe, and the bytes are those of files" {
	need quantize
	bitnet-quantize -q -t tq2_0 "$model" "$work/file.gguf"
	cat "$model" | bitnet-quantize -q -t tq2_0 - - | cmp - "$work/file.gguf"
}

@test "every layout that can be run gives the text of the original, also by way of another" {
	need quantize run
	want=$(greedy "$model")
	[ -n "$want" ]
	for type in tq1_0 tq2_0 iq2_bn i2_s; do
		bitnet-quantize -q -t "$type" "$model" - |
			bitnet-quantize -q -t i2_s - - >"$work/back.gguf"
		bitnet-quantize -q -t "$type" "$model" "$work/$type.gguf"
		[ "$(greedy "$work/$type.gguf")" = "$want" ]
		[ "$(greedy "$work/back.gguf")" = "$want" ]
	done
}

@test "raw weights come back from a pipe of packing and unpacking" {
	need quantize
	# A line of escapes for each 256 values of 0, 0.5 and -0.5.
	tail -c 16384 "$model" | od -An -v -tu1 -w1 | awk '{
		printf "%s", $1 % 3 == 0 ? "\\0\\0\\0\\0" : $1 % 3 == 1 ? "\\0\\0\\0\\077" : "\\0\\0\\0\\277"
		if (NR % 256 == 0) print "" }' |
		while read -r line; do printf '%b' "$line"; done >"$work/f32"
	[ "$(wc -c <"$work/f32")" -eq 65536 ]
	bitnet-quantize --raw -t i2_s -k 256 <"$work/f32" |
		bitnet-quantize --raw -d -t i2_s -k 256 >"$work/back"
	cmp "$work/f32" "$work/back"
}

@test "ids that one run prints are a prompt for the next" {
	need run
	ids=$(printf 'ROMEO:' | bitnet-run -q -m "$model" --tokenize)
	run bitnet-run -q -m "$model" --tokens "$ids" -n 24 --temperature 0 -t 2
	[ "$status" -eq 0 ]
	[ "$output" = "$(greedy "$model")" ]
}

@test "answers to a stream of requests are what single runs print" {
	need run
	printf '%s\n' '{"prompt":"ROMEO:","n":8,"temperature":0}' \
		'{"prompt":"JULIET:","n":8,"temperature":0}' |
		bitnet-run -q -m "$model" --jsonl | jq -c .text >"$work/answers"
	for name in ROMEO JULIET; do
		bitnet-run -q -m "$model" -p "$name:" -n 8 --temperature 0 --json | jq -c .text
	done >"$work/single"
	[ "$(wc -l <"$work/answers")" -eq 2 ]
	cmp "$work/answers" "$work/single"
}

@test "a reader that has enough ends the chain quietly" {
	need run
	run bash -c 'bitnet-run -q -m "$0" -p ROMEO: -n 200 --ignore-eos 2>"$1" | head -1' \
		"$model" "$work/err"
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -eq 1 ]
	[ ! -s "$work/err" ]
}

@test "a model that is converted to standard output is the model" {
	need convert run
	bitnet-convert -q "$model" -o - >"$work/a.gguf"
	bitnet-convert -q "$model" -o "$work/b.gguf"
	cmp "$work/a.gguf" "$work/b.gguf"
	[ "$(greedy "$work/a.gguf")" = "$(greedy "$model")" ]
}

@test "convert and quantize in one pipe give the model that two steps give" {
	need convert quantize
	bitnet-convert -q "$model" -o "$work/a.gguf"
	bitnet-quantize -q -t tq2_0 "$work/a.gguf" "$work/b.gguf"
	bitnet-convert -q "$model" -o - | bitnet-quantize -q -t tq2_0 - - | cmp - "$work/b.gguf"
}

@test "the plan of a stream is the plan of the file, and its writer says in a line that nobody reads on" {
	need convert memplan
	bitnet-memplan -J "$model" | jq -S .totals >"$work/file"
	bitnet-convert -q "$model" -o - 2>"$work/err" | bitnet-memplan -J - | jq -S .totals >"$work/stream"
	[ -s "$work/file" ]
	cmp "$work/file" "$work/stream"
	[ "$(grep -c 'Broken pipe' "$work/err")" -eq "$(wc -l <"$work/err")" ]
}

@test "a header without its tensors is planned, and refused by run as incomplete" {
	need memplan run
	head -c 400000 "$model" >"$work/header.gguf"
	run bitnet-memplan -q "$work/header.gguf"
	[ "$status" -eq 0 ]
	run bitnet-run -q -m "$work/header.gguf" -p x -n 1
	[ "$status" -eq 3 ]
}

@test "the context that the plan finds is one that run can take" {
	need memplan run
	ctx=$(bitnet-memplan --solve=ctx -M 64M "$model")
	[ "$ctx" -gt 0 ]
	run bitnet-run -q -m "$model" -c "$ctx" -p 'ROMEO:' -n 2 --temperature 0
	[ "$status" -eq 0 ]
}

@test "what does not fit stops a chain of commands" {
	need memplan
	run bash -c 'bitnet-memplan -q -M 1M "$0" && echo went on' "$model"
	[ "$status" -eq 1 ]
	[[ $output != *"went on"* ]]
}

@test "each command of a broken pipe tells by its status that there was no model" {
	need convert memplan
	run bash -c 'bitnet-convert -q /nonexistent -o - 2>/dev/null | bitnet-memplan -q - 2>/dev/null
		echo "${PIPESTATUS[*]}"'
	[[ $output =~ ^2\ (2|3)$ ]]
}
