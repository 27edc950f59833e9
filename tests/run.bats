#!/usr/bin/env bats
# bitnet-run: what a user sees.

bats_require_minimum_version 1.5.0
load refuses

setup() {
	cd "$BATS_TEST_DIRNAME/.."
	model=tests/data/shakespeare.gguf
	golden=tests/data/golden
	hostile=tests/data/hostile
	tmp=$BATS_TEST_TMPDIR
}

# Greedy text after ROMEO:, from the reference; its first 7 ids are firm.
greedy() {
	jq -r ".greedy[0].ids[:$1] | map(tostring) | join(\" \")" tests/data/shakespeare.json
}

# --- text ---------------------------------------------------------------------------------------

@test "text goes to standard output and a summary with speed and memory to standard error" {
	run --separate-stderr bitnet-run -p 'ROMEO:' -n 12 --temp 0 -m "$model"
	[ "$status" -eq 0 ]
	[[ $output == ' thou art thou'* ]]
	[ "${#stderr_lines[@]}" -eq 1 ]
	[[ $stderr == *'tokens/s'*'peak memory'* ]]
}

@test "without -m the model that comes with the toolkit speaks" {
	run --separate-stderr bitnet-run -q -p 'ROMEO:' -n 7 --temp 0
	[ "$status" -eq 0 ]
	[ "$output" = ' thou art thou, thou art dead' ]
	[ -z "$stderr" ]
}

@test "the greedy ids are those of the reference as far as they are firm" {
	run --separate-stderr bitnet-run -q --json -p 'ROMEO:' -n 7 --temp 0
	[ "$(jq -r '.tokens | map(tostring) | join(" ")' <<<"$output")" = "$(greedy 7)" ]
}

@test "the prompt comes from -p, from a file and from standard input alike" {
	printf 'ROMEO:\n' >"$tmp/prompt"
	want=$(bitnet-run -q -p 'ROMEO:' -n 9 --temp 0)
	[ "$(bitnet-run -q -f "$tmp/prompt" -n 9 --temp 0)" = "$want" ]
	[ "$(bitnet-run -q -n 9 --temp 0 <"$tmp/prompt")" = "$want" ]
	[ "$(bitnet-run -q -f - -n 9 --temp 0 <"$tmp/prompt")" = "$want" ]
}

@test "a prompt given as ids is taken exactly, by spaces or commas" {
	want=$(bitnet-run -q --no-bos -p 'ROMEO:' -n 9 --temp 0)
	[ "$(bitnet-run -q --tokens '824 25' -n 9 --temp 0)" = "$want" ]
	[ "$(bitnet-run -q --tokens '824,25' -n 9 --temp 0)" = "$want" ]
}

@test "the same seed gives the same text whatever the thread count and the chunk size" {
	want=$(bitnet-run -q -p 'KING HENRY:' -n 40 --seed 5 -t 1)
	[ "$(bitnet-run -q -p 'KING HENRY:' -n 40 --seed 5 -t 2)" = "$want" ]
	[ "$(bitnet-run -q -p 'KING HENRY:' -n 40 --seed 5 -t 3 -u 1)" = "$want" ]
	[ "$(bitnet-run -q -p 'KING HENRY:' -n 40 --seed 6 -t 1)" != "$want" ]
}

@test "a stop string ends the text and is not printed, not even in part" {
	run --separate-stderr bitnet-run -q --json -p 'ROMEO:' -n 40 --temp 0 --stop 'xyzzy' --stop 'dead.'
	[ "$(jq -r .text <<<"$output")" = ' thou art thou, thou art dead, thou art ' ]
	[ "$(jq -r .finish_reason <<<"$output")" = stop ]
	run --separate-stderr bitnet-run -q -p 'ROMEO:' -n 3 --temp 0 --stop ' thou art thou,'
	[ "$output" = ' thou art thou' ]
}

@test "--pin binds threads to cores, and changes nothing else" {
	ids() { bitnet-run -q --json -p 'ROMEO:' -n 40 --seed 1 "$@" | jq -c .tokens; }
	[ "$(ids -t 3 --pin)" = "$(ids -t 1)" ]
	! strace -V >/dev/null 2>&1 || [ "$(strace -f -e trace=sched_setaffinity bitnet-run -q -p a -n 1 -t 2 --pin 2>&1 >/dev/null | grep -c 'sched_setaffinity(.* = 0')" -ge 2 ]
}

@test "-n limits the tokens, and -n 0 prints nothing" {
	[ "$(bitnet-run -q --json -p a -n 5 | jq '.tokens | length')" -eq 5 ]
	[ -z "$(bitnet-run -q -p a -n 0)" ]
}

@test "drafts change the speed, not the tokens" {
	for seed in 1 2 3; do
		ids() { bitnet-run -q --json -p 'ROMEO: ROMEO: ROMEO:' -n 150 --seed "$seed" --temp 0.7 "$@"; }
		want=$(ids | jq -c .tokens)
		got=$(ids --draft lookup)
		[ "$(jq -c .tokens <<<"$got")" = "$want" ]
		jq -e '.draft.proposed > 0 and .draft.proposed >= .draft.accepted' <<<"$got"
		[ "$(ids --draft lookup --head screened | jq -c .tokens)" = "$want" ]
		[ "$(ids --draft lookup --temp 0 --head screened -n 300 | jq -c .tokens)" = "$(ids --temp 0 -n 300 | jq -c .tokens)" ]
	done
	jq -e '.draft.accepted > 10' < <(bitnet-run -q --json -p 'ROMEO: ROMEO:' -n 150 --temp 0 --draft lookup)
	[ "$(bitnet-run -q --draft lookup -p 'ROMEO: ROMEO:' -c 20 --ignore-eos --temp 0)" = \
		"$(bitnet-run -q -p 'ROMEO: ROMEO:' -c 20 --ignore-eos --temp 0)" ]
}

@test "generation ends where the context is full" {
	run --separate-stderr bitnet-run -q --json -p 'ROMEO:' -c 20 --ignore-eos --temp 0
	[ "$status" -eq 0 ]
	[ "$(jq -r .finish_reason <<<"$output")" = length ]
	[ "$(jq '.usage.prompt_tokens + .usage.completion_tokens' <<<"$output")" -eq 21 ]
}

@test "a prompt longer than the context is refused with both numbers" {
	refuses 2 'bitnet-run: the prompt has 30 tokens, the context only 8*' \
		bitnet-run -q -c 8 --tokens "$(seq -s' ' 1 30)"
}

@test "output is a stream of whole characters, also where tokens split them" {
	# Sampling at a high temperature draws bytes that are no characters.
	bitnet-run -q -p a -n 300 --temp 5 --top-k 0 --top-p 1 --min-p 0 --seed 3 --ignore-eos >"$tmp/text"
	[ -s "$tmp/text" ]
	iconv -f UTF-8 -t UTF-16 "$tmp/text" >/dev/null
}

# --- JSON ---------------------------------------------------------------------------------------

@test "--json gives one object with text, ids, reason, counts, timings and seed" {
	run --separate-stderr bitnet-run -q --json -p 'ROMEO:' -n 4 --temp 0 --seed 9
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -eq 1 ]
	jq -e '.text == " thou art thou," and .finish_reason == "length" and .seed == 9
		and (.tokens | length) == 4 and .usage == {"prompt_tokens": 2, "completion_tokens": 4}
		and .timings.prefill_seconds > 0 and .timings.decode_seconds > 0' <<<"$output"
}

@test "--logprobs lists the likeliest tokens with the logarithms of their probabilities" {
	run --separate-stderr bitnet-run -q --json -p 'ROMEO:' -n 3 --temp 0 --logprobs 4
	jq -e '(.logprobs | length) == 3 and all(.logprobs[];
		(.top | length) == 4 and .top[0].id == .id and .logprob == .top[0].logprob
		and .top[0].logprob >= .top[1].logprob and ([.top[].logprob | exp] | add) <= 1.000001)' <<<"$output"
}

@test "--jsonl answers each line in order, bad ones with an error object and status 1 at the end" {
	run --separate-stderr bitnet-run -q --jsonl <<-'EOF'
		{"id": 1, "prompt": "ROMEO:", "n": 4, "temperature": 0}
		this is not JSON
		{"id": "b", "tokens": [824, 25], "n": 2, "temperature": 0, "stop": ["art"], "seed": 4}

		{"id": 3, "prompt": "x", "promt": 1}
		{"id": 4, "prompt": "x", "temperature": "hot"}
		{"id": 5, "tokens": [99999]}
		{"id": 6, "prompt": "ROMEO:", "n": 4, "temperature": 0}
	EOF
	echo "$output"
	[ "$status" -eq 1 ]
	[ "${#lines[@]}" -eq 7 ]
	[ "$(jq -r .text <<<"${lines[0]}")" = ' thou art thou,' ]
	[[ $(jq -r .error.message <<<"${lines[1]}") == 'not a JSON object'* ]]
	[ "$(jq -r '.id + .text + .finish_reason' <<<"${lines[2]}")" = 'b thou stop' ]
	[ "$(jq -r .error.message <<<"${lines[3]}")" = 'there is no field "promt"' ]
	[ "$(jq -r .error.message <<<"${lines[4]}")" = '"temperature" is not a number' ]
	[[ $(jq -r .error.message <<<"${lines[5]}") == 'token id 99999, expected 0 to 1023' ]]
	[ "$(jq -r .text <<<"${lines[6]}")" = "$(jq -r .text <<<"${lines[0]}")" ]
}

# Requests of every kind, as a stream.
mixed_requests() {
	cat <<-'EOF'
		{"id": 1, "prompt": "ROMEO:", "n": 40, "temperature": 0}
		{"id": 2, "prompt": "JULIET:", "n": 3, "seed": 3}
		this is not JSON
		{"id": 3, "prompt": "KING", "n": 90, "seed": 5, "top_k": 0}
		{"id": 4, "prompt": "The", "n": 1, "logprobs": 2}
		{"id": 5, "prompt": "My lord", "n": 33, "repeat_penalty": 1.2, "logprobs": 2}
		{"id": 6, "prompt": "", "n": 33}
		{"id": 7, "prompt": "x", "n": 0}
		{"id": 8, "prompt": "Good", "n": 60, "seed": 2, "stop": ["the"]}
	EOF
}

@test "requests that are computed together get the answers that each gets alone, in order" {
	local alone options
	alone=$(mixed_requests | bitnet-run -q --jsonl --seed 1 | jq -c 'del(.timings)') || true
	[ "$(wc -l <<<"$alone")" = 9 ]
	[ "$(jq -s '[.[] | select(.text)] | length' <<<"$alone")" = 7 ]
	for options in '-B 2' '-B 3 -t 1' '-B 8' '-B 8 -u 3' '-B 3 --head=screened --draft=lookup'; do
		# shellcheck disable=SC2086
		run --separate-stderr bitnet-run -q --jsonl --seed 1 $options < <(mixed_requests)
		[ "$status" -eq 1 ]
		[ "$(jq -c 'del(.timings, .draft)' <<<"$output")" = "$alone" ] || { echo "$options"; return 1; }
	done
}

@test "a request is answered before the next one has come, however many could be computed together" {
	mkfifo "$tmp/ask"
	bitnet-run -q --jsonl -B 4 <"$tmp/ask" >"$tmp/answers" 3>&- &
	exec 5>"$tmp/ask"
	echo '{"prompt": "ROMEO:", "n": 2}' >&5
	soon has_lines "$tmp/answers" 1
	printf '{"prompt": "x", "n": 1}\n{"prompt": "y", "n": 1' >&5
	soon has_lines "$tmp/answers" 2
	echo '}' >&5
	soon has_lines "$tmp/answers" 3
	exec 5>&-
	wait $!
}

@test "a signal gives the answers of all requests that have begun, as far as they are" {
	mkfifo "$tmp/long"
	exec 5<>"$tmp/long"
	bitnet-run -q --jsonl -B 3 -c 4096 --ignore-eos <"$tmp/long" >"$tmp/cut" 5>&- 3>&- &
	printf '{"id": %s, "prompt": "ROMEO:", "n": 4000}\n' 1 2 3 4 >&5
	sleep 0.5
	kill -INT $!
	status=0
	wait $! || status=$?
	exec 5>&-
	[ "$status" -eq 130 ]
	[ "$(jq -c '[.id, .finish_reason]' "$tmp/cut" | paste -sd' ')" = \
		'[1,"aborted"] [2,"aborted"] [3,"aborted"]' ]
	[ "$(jq -s 'all(.[]; .tokens | length > 1)' "$tmp/cut")" = true ]
}

# Waits 10 s at most for the command to succeed.
soon() {
	for _ in {1..200}; do
		"$@" && return
		sleep 0.05
	done
	return 1
}

has_lines() {
	[ "$(wc -l <"$1")" -ge "$2" ]
}

holds_less() {
	[ "$(awk '/^RssAnon/ { print $2 }' "/proc/$1/status")" -le "$2" ]
}

@test "--jsonl gives the cache back when the service manager says so, and answers as before" {
	local request='{"prompt": "ROMEO:", "n": 150, "temperature": 0}' before

	mkfifo "$tmp/in" "$tmp/watch"
	exec 5<>"$tmp/in" 6<>"$tmp/watch"
	MEMORY_PRESSURE_WATCH=$tmp/watch bitnet-run -q --jsonl -c 4096 -m "$model" \
		<"$tmp/in" >"$tmp/out" 5>&- 6>&- 3>&- &
	echo "$request" >&5
	soon has_lines "$tmp/out" 1
	before=$(awk '/^RssAnon/ { print $2 }' "/proc/$!/status")
	echo now >&6
	soon holds_less $! $((before - 256))
	echo "$request" >&5
	soon has_lines "$tmp/out" 2
	exec 5>&- 6>&-
	wait $!
	[ "$(jq -s '.[0].text == .[1].text and (.[0].tokens | length) == 150' "$tmp/out")" = true ]
}

@test "--json and --jsonl give a text also where none was asked for" {
	[ "$(bitnet-run -q --json -n 0 -p x | jq -c .text)" = '""' ]
	[ "$(bitnet-run -q --jsonl <<<'{"prompt": "x", "n": 0}' | jq -c .text)" = '""' ]
}

@test "--jsonl without a line is an empty answer" {
	run --separate-stderr bitnet-run -q --jsonl </dev/null
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

# --- tokens and logits --------------------------------------------------------------------------

@test "--tokenize prints the ids of the input, and with --json the pieces" {
	run --separate-stderr bitnet-run --tokenize --no-bos -p 'ROMEO:'
	[ "$status" -eq 0 ]
	[ "$output" = '824 25' ]
	[ "$(printf 'ROMEO:' | bitnet-run --tokenize --no-bos --json | jq -c .)" = '{"ids":[824,25],"pieces":["ROMEO",":"]}' ]
}

@test "special tokens in the prompt are recognised, and plain text with --no-special" {
	piece=$(bitnet-run --tokenize --no-bos --json --tokens 1023 | jq -r '.pieces[0]')
	[ "$(bitnet-run --tokenize --no-bos -p "$piece")" = 1023 ]
	[ "$(bitnet-run --tokenize --no-bos --no-special -p "$piece" | wc -w)" -gt 1 ]
}

@test "--logits writes float32 rows for every prompt token, whatever the chunk" {
	bitnet-run -q --tokens "$(seq -s' ' 1 70)" --logits "$tmp/a" -n 0
	bitnet-run -q --tokens "$(seq -s' ' 1 70)" --logits "$tmp/b" -n 0 -u 9 -t 1
	[ "$(stat -c %s "$tmp/a")" -eq $((70 * 1024 * 4)) ]
	cmp "$tmp/a" "$tmp/b"
}

@test "behind several chunks of the cache, threads and steps give the same bits" {
	tokens=$(awk 'BEGIN { for (i = 0; i < 600; i++) print i * 37 % 1000 + 1 }' | xargs)
	for kv in f16 q8_0; do
		bitnet-run -q -c 640 -k $kv --tokens "$tokens" --logits "$tmp/a" -n 0 -t 1
		for how in '-t 2 -u 1' '-t 3 -u 7' '-t 2 -u 64'; do
			bitnet-run -q -c 640 -k $kv --tokens "$tokens" --logits "$tmp/b" -n 0 $how
			cmp "$tmp/a" "$tmp/b"
		done
	done
}

@test "a missing chat template is refused with the formats to choose from" {
	refuses 2 'bitnet-run: *chat*' bitnet-run -q --chat -p Hello
	refuses 2 'bitnet-run: *<|im_start|>*' bitnet-run -q --chat --chat-format chatml -p Hello
	refuses 2 "bitnet-run: *there is no format 'morse'" bitnet-run -q --chat --chat-format morse -p Hello
}

# --- the machine --------------------------------------------------------------------------------

@test "--memory prints the regions, as text and as JSON with the same numbers" {
	run --separate-stderr bitnet-run --memory -c 100 -t 2
	[ "$status" -eq 0 ]
	json=$(bitnet-run --memory --json -c 100 -t 2)
	while read -r name bytes; do
		[ "$(awk -v n="$name" '$1 == n { print $3 }' <<<"$output")" = "$bytes" ]
	done < <(jq -r '.regions[] | "\(.name) \(.bytes)"' <<<"$json")
	# 4 layers, 2 heads of 64 values, 100 positions rounded up to 256, 2 bytes
	[ "$(jq '.regions[] | select(.name == "kv.k").bytes' <<<"$json")" -eq $((4 * 2 * 64 * 256 * 2)) ]
}

@test "the ways to load the weights give the same text" {
	want=$(bitnet-run -q -p 'ROMEO:' -n 9 --temp 0)
	[ "$(bitnet-run -q -p 'ROMEO:' -n 9 --temp 0 --load read)" = "$want" ]
	[ "$(bitnet-run --memory --json --load read | jq '.regions[0].bytes')" -eq 0 ]
	refuses 2 "bitnet-run: --load: 'floppy' is not*" bitnet-run --load floppy -p a
}

@test "TL1 and TL2 give the text of I2_S, within the plan, and need a tiling that is known" {
	for type in i2_s tl1 tl2; do
		bitnet-quantize -q -t $type "$model" "$tmp/$type.gguf"
		bitnet-run -q -m "$tmp/$type.gguf" -p 'ROMEO:' -n 12 --temp 0 >"$tmp/$type.txt"
		cmp "$tmp/i2_s.txt" "$tmp/$type.txt"
	done
	sed 's/ternary.tl1.tiles/ternary.xxx.tiles/' "$tmp/tl1.gguf" >"$tmp/unmarked.gguf"
	refuses 2 'bitnet-run: *unmarked.gguf: tensor blk.0.attn_q.weight: no tiling is known of TL1 for * x *' \
		bitnet-run -m "$tmp/unmarked.gguf" -p x
	[[ $BUILD != */san-* ]] || skip "sanitizers take more"
	bitnet-memplan -q -t 1 -c 1024 -f 8 --prompt-tokens 5 --tolerance=5 "$tmp/tl2.gguf" \
		--verify -- bitnet-run -q -m "$tmp/tl2.gguf" -t 1 -c 1024 --tokens '1 2 3 4 5' -n 4 \
		--ignore-eos >/dev/null
}

@test "each cache type runs, and a type that is none is refused" {
	for k in f16 f32 bf16 q8_0 q4_0 q8_0,q4_0; do
		run --separate-stderr bitnet-run -q -p 'ROMEO:' -n 9 --temp 0 -k "$k"
		[ "$status" -eq 0 ]
		[ -n "$output" ]
	done
	refuses 2 "bitnet-run: --kv-type: 'q9' is not*" bitnet-run -k q9 -p a
}

@test "every kernel set that is listed gives the reference's ids" {
	run --separate-stderr bitnet-run --list-kernels
	[ "$status" -eq 0 ]
	[[ $output == scalar* ]]
	while read -r name _; do
		[ "$(bitnet-run -q --json -p 'ROMEO:' -n 7 --temp 0 --kernel "$name" |
			jq -r '.tokens | map(tostring) | join(" ")')" = "$(greedy 7)" ]
	done <<<"$output"
	refuses 2 "bitnet-run: *kernel set 'abacus'*" bitnet-run --kernel abacus -p a
}

@test "--list-devices names the host first" {
	run --separate-stderr bitnet-run --list-devices
	[ "$status" -eq 0 ]
	[[ $output == *host* ]]
	[ -z "$stderr" ]
}

@test "split files open by any part, and a missing part is status 3" {
	first=$golden/b158-split-i2s-00001-of-00003.gguf
	want=$(bitnet-run -q --json -m "$first" --tokens '1 2 3' -n 4 --temp 0 | jq -c .tokens)
	[ "$(bitnet-run -q --json -m "${first/00001-/00002-}" --tokens '1 2 3' -n 4 --temp 0 | jq -c .tokens)" = "$want" ]
	cp "$first" "$tmp/"
	refuses 3 'bitnet-run: *00002-of-00003*' bitnet-run -q -m "$tmp/${first##*/}" --tokens 1
}

@test "a file of the other byte order gives the same ids as the reference" {
	run --separate-stderr bitnet-run -q --json -m $golden/b158-be-f16.gguf -n 16 --temp 0 --ignore-eos \
		--tokens "$(awk -F'\t' '$1 == "b158-be-f16.gguf" && $11 != "" { print $6; exit }' $golden/manifest.tsv)"
	[ "$(jq -r '.tokens | map(tostring) | join(" ")' <<<"$output")" = \
		"$(awk -F'\t' '$1 == "b158-be-f16.gguf" && $11 != "" { print $11; exit }' $golden/manifest.tsv)" ]
}

# --- streams and signals ------------------------------------------------------------------------

@test "a full disk on standard output is an error" {
	run --separate-stderr bash -c "bitnet-run -q -p a -n 5 >/dev/full"
	[ "$status" -eq 2 ]
	[ "$stderr" = 'bitnet-run: standard output: No space left on device' ]
	run --separate-stderr bash -c "bitnet-run --help >/dev/full"
	[ "$status" -eq 2 ]
}

@test "a full disk under --logits is an error" {
	refuses 2 'bitnet-run: /dev/full: No space left on device' bitnet-run -q -p 'a b c' -n 0 --logits /dev/full
}

@test "a reader that goes away ends the run quietly" {
	run bash -c "bitnet-run -q -p a --ignore-eos -n 2000 2>$tmp/err | head -c 10 | wc -c; exit \${PIPESTATUS[0]}"
	[ "$status" -eq 141 ]
	[ "$output" -eq 10 ]
	[ ! -s "$tmp/err" ]
}

@test "an interrupt stops at once, keeps what was printed and ends with status 130" {
	for signal in INT:130 TERM:143; do
		( trap - INT TERM; exec bitnet-run -q -p a --ignore-eos --seed 1 -n -1 -c 1000000 -k f16 ) >"$tmp/out" 2>"$tmp/err" &
		pid=$!
		for _ in $(seq 100); do [ -s "$tmp/out" ] && break; sleep 0.05; done
		kill -"${signal%:*}" $pid
		status=0
		wait $pid || status=$?
		[ "$status" -eq "${signal#*:}" ]
		[ -s "$tmp/out" ]
	done
}

@test "nothing asks for input when standard input is a terminal and no prompt was given" {
	run script -qec "timeout 5 bitnet-run -q" /dev/null </dev/null
	[ "$status" -eq 2 ]
	[[ $output == *'no prompt'* ]]
}

# --- bad input ----------------------------------------------------------------------------------

@test "what is not a model is named" {
	printf '\x40\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}            ....' >"$tmp/m.safetensors"
	: >"$tmp/empty"
	mkfifo "$tmp/fifo"
	refuses 2 "bitnet-run: $tmp/m.safetensors: this is a safetensors file; bitnet-convert reads those" bitnet-run -m "$tmp/m.safetensors" -p a
	refuses 3 "bitnet-run: $tmp/empty: *" bitnet-run -m "$tmp/empty" -p a
	refuses 2 "bitnet-run: $tmp: is a directory*" bitnet-run -m "$tmp" -p a
	refuses 2 "bitnet-run: $tmp/fifo: is a FIFO*" bitnet-run -m "$tmp/fifo" -p a
	refuses 2 "bitnet-run: $tmp/none: cannot open: No such file or directory" bitnet-run -m "$tmp/none" -p a
	refuses 2 "bitnet-run: README.md: not a GGUF file*" bitnet-run -m README.md -p a
}

@test "every hostile file gets its status and one line" {
	while IFS=$'\t' read -r file _ want _; do
		[ -e "$hostile/$file" ] || continue
		run --separate-stderr timeout 5 bitnet-run -q -m "$hostile/$file" --tokens 1 -n 0
		echo "$file: status $status, expected $want: $stderr"
		[ "$status" -eq "$want" ]
		[ -z "$output" ]
		[ "${#stderr_lines[@]}" -eq $((want != 0)) ]
	done < <(tail -n +2 $hostile/manifest.tsv)
}

@test "a model cut anywhere is refused, its header at every byte" {
	small=$hostile/ok-good.gguf
	size=$(stat -c %s "$small")
	for ((n = 0; n < size - 32; n += 97)); do
		head -c $n "$small" >"$tmp/cut"
		run --separate-stderr timeout 5 bitnet-run -q -m "$tmp/cut" --tokens 1 -n 0
		[ "$status" -eq 3 ] || { echo "cut at $n: status $status: $stderr"; false; }
		[ "${#stderr_lines[@]}" -eq 1 ]
	done
}

@test "weights that are loaded dense give the same tokens in less memory" {
	local name want
	ids() { bitnet-run -q --json -p 'ROMEO:' -n 60 --seed 4 "$@" | jq -c .tokens; }
	want=$(ids -t 1)
	[ "$(ids --load=dense --kernel scalar)" = "$want" ]
	while read -r name _; do
		run --separate-stderr bitnet-run -q --json -p 'ROMEO:' -n 60 --seed 4 --load=dense --kernel "$name"
		if [ "$status" -eq 0 ]; then
			[ "$(jq -c .tokens <<<"$output")" = "$want" ]
			[ "$(ids --load=dense --kernel "$name" -t 3 --head=screened --draft=lookup)" = "$want" ]
		else
			[[ $stderr == "bitnet-run: "*": dense weights are not computed with by the kernel set $name" ]]
		fi
	done < <(bitnet-run --list-kernels)
	[ "$(ids --load=auto)" = "$want" ]
	# matrices of other types stay as they are
	[ "$(ids -m tests/data/golden/llama-h4-tq1.gguf --load=dense --kernel scalar)" = \
		"$(ids -m tests/data/golden/llama-h4-tq1.gguf --kernel scalar)" ]
	bytes() { bitnet-run "$@" --memory --json | jq "[.regions[] | select(.name | startswith(\"weights\")).bytes] | add"; }
	[ "$(bytes --load=dense --kernel scalar)" -lt "$(bytes)" ]
	refuses 2 "bitnet-run: --load: 'denser' is not one of mmap, mlock, read, hugetlb, dense, auto*" bitnet-run --load denser -p a
}

@test "corrupt ternary codes and scales are found while loading" {
	# blk.0.attn_q of the trained model: its first code byte, and its scale
	at=$(bitnet-convert -n --json $model -o "$tmp/x.gguf" |
		jq '.tensors[] | select(.name == "blk.0.attn_q.weight").offset')
	cp $model "$tmp/m.gguf"
	printf '\xff' | dd of="$tmp/m.gguf" bs=1 seek="$at" conv=notrunc status=none
	refuses 2 "bitnet-run: $tmp/m.gguf: tensor blk.0.attn_q.weight: holds the code 3*" bitnet-run -q -m "$tmp/m.gguf" -p a
	# the first of several is named, whichever thread finds what
	last=$(bitnet-convert -n --json $model -o "$tmp/x.gguf" |
		jq '[.tensors[] | select(.name | endswith("ffn_down.weight")).offset] | max')
	printf '\xff' | dd of="$tmp/m.gguf" bs=1 seek="$last" conv=notrunc status=none
	for t in 1 2 3 5; do
		refuses 2 "bitnet-run: $tmp/m.gguf: tensor blk.0.attn_q.weight: holds the code 3*" bitnet-run -t $t -m "$tmp/m.gguf" -p a
	done
	cp $model "$tmp/m.gguf"
	printf '\xff' | dd of="$tmp/m.gguf" bs=1 seek="$last" conv=notrunc status=none
	refuses 2 "bitnet-run: $tmp/m.gguf: tensor blk.*.ffn_down.weight: holds the code 3*" bitnet-run -m "$tmp/m.gguf" -p a
	bitnet-run -q -m "$tmp/m.gguf" --no-check -p a -n 1 >"$tmp/out"
	# dense weights have no code 3
	refuses 2 "bitnet-run: $tmp/m.gguf: tensor blk.*.ffn_down.weight: holds the code 3*" \
		bitnet-run -m "$tmp/m.gguf" --no-check --load=dense --kernel scalar -p a
	cp $model "$tmp/m.gguf"
	printf '\0\0\xc0\x7f' | dd of="$tmp/m.gguf" bs=1 seek=$((at + 256 * 256 / 4)) conv=notrunc status=none
	refuses 2 "bitnet-run: $tmp/m.gguf: tensor blk.0.attn_q.weight: I2_S scale is nan*" bitnet-run -q -m "$tmp/m.gguf" -p a
}

@test "usage errors are status 2 and one line" {
	refuses 2 'bitnet-run: no such option: --frobnicate*' bitnet-run --frobnicate
	refuses 2 'bitnet-run: --predict: *' bitnet-run -n many
	refuses 2 'bitnet-run: --temperature: *' bitnet-run --temp nan -p a
	refuses 2 'bitnet-run: no operands are expected*' bitnet-run -p a b
	refuses 2 'bitnet-run: give one of*' bitnet-run -p a -f b
	refuses 2 'bitnet-run: --logprobs needs*' bitnet-run -p a --logprobs 3
	refuses 2 "bitnet-run: --tokens: 'x' is not a token id" bitnet-run -q --tokens '1 x'
	refuses 2 'bitnet-run: the prompt is empty' bitnet-run -q --no-bos -p ''
	refuses 2 'bitnet-run: token id 5000, expected 0 to 1023' bitnet-run -q --tokens 5000
	refuses 2 'bitnet-run: /nowhere/x: *' bitnet-run -q -p a --logits /nowhere/x
}

@test "-v says what was decided while loading" {
	run --separate-stderr bitnet-run -v -q -p 'ROMEO:' -n 1 --temp 0
	[ "$status" -eq 0 ]
	[[ $stderr == *'tokenizer llama-bpe of 1024 tokens'* ]]
	[[ $stderr == *'bitnet-b1.58, 4 layers of 256, feed-forward 768 with squared ReLU, 4 heads'* ]]
}

@test "--help and --version answer on standard output with status 0" {
	run --separate-stderr bitnet-run --help
	[ "$status" -eq 0 ]
	[[ ${lines[0]} == 'usage: bitnet-run'* ]]
	[ -z "$stderr" ]
	run --separate-stderr bitnet-run --version
	[ "$status" -eq 0 ]
	[[ $output =~ ^bitnet-run\ [0-9]+\.[0-9]+\.[0-9]+$ ]]
}

# bats test_tags=valgrind
@test "a short run and a refusal leave nothing behind" {
	run --separate-stderr bitnet-run -q -p 'ROMEO:' -n 4 --temp 0 -t 1 --kernel scalar
	[ "$status" -eq 0 ]
	[ "$output" = ' thou art thou,' ]
	run --separate-stderr bitnet-run -q -m $hostile/name-64.gguf -p a
	[ "$status" -eq 2 ]
}
