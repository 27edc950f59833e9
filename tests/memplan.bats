#!/usr/bin/env bats
# bitnet-memplan: what a user sees, and that the plan is what bitnet-run takes.

bats_require_minimum_version 1.5.0
load refuses

setup_file() {
	export models=$BATS_FILE_TMPDIR
	local gen=$BUILD/tests/gen_model

	cd "$BATS_TEST_DIRNAME/.."
	for arch in bitnet bitnet-25 bitnet-b1.58 llama; do
		"$gen" --arch=$arch -o "$models/$arch.gguf"
	done
	"$gen" --arch=llama --output-type=q6_k --embd-type=bf16 --type=tq2_0 -o "$models/untied.gguf"
	"$gen" --preset=2b-4t --header-only -o "$models/2b.gguf"
	"$gen" --layers=8 --embd=512 --heads=8 --kv-heads=4 --ffn=1408 --vocab=4096 --merges=6000 \
		--ctx=1024 -o "$models/middle.gguf"
}

setup() {
	cd "$BATS_TEST_DIRNAME/.."
	shared=${BITNET_SHARED:-../shared}
	model=tests/data/shakespeare.gguf
	tmp=$BATS_TEST_TMPDIR
}

header() { # FILE KEY=VALUE...
	"$BUILD/tests/gen_header" "$@"
}

# The planned and the taken regions, as text to compare.
planned() {
	bitnet-memplan -J "$@" | jq -c '[.regions[] | [.name, .bytes]]'
}

taken() {
	local file=$1
	shift
	bitnet-run -m "$file" --memory --json "$@" | jq -c '[.regions[] | [.name, .bytes]]'
}

# --- one plan, two users ------------------------------------------------------------------------

@test "what is planned is what bitnet-run takes, to the byte, over the whole grid" {
	local n=0 file kv ctx ubatch threads load options
	for file in "$models"/{bitnet,bitnet-25,bitnet-b1.58,llama,untied}.gguf; do
		for kv in f16 q8_0,f16 f32; do
			for ctx in 64 200; do
				for ubatch in 1 33; do
					for threads in 1 3; do
						for load in mmap read; do
							options="-k $kv -c $ctx -u $ubatch -t $threads --load $load"
							# shellcheck disable=SC2086
							[ "$(planned $options "$file")" = "$(taken "$file" $options)" ] ||
								{ echo "$file $options"; return 1; }
							n=$((n + 1))
						done
					done
				done
			done
		done
	done
	[ $n = 240 ]
}

@test "the defaults of both programs give the same regions" {
	[ "$(planned "$model")" = "$(taken "$model")" ]
	[ "$(planned -c max "$model")" = "$(taken "$model" -c max)" ]
}

@test "regions have the same names, kinds and tags in both programs" {
	a=$(bitnet-memplan -J "$model" | jq -c '[.regions[] | [.name, .kind, .tag]]')
	b=$(bitnet-run -m "$model" --memory --json | jq -c '[.regions[] | [.name, .kind, .tag]]')
	[ "$a" = "$b" ]
}

# --- numbers that others published ----------------------------------------------------------------

@test "published allocations come out to 0.005 MiB" {
	local n=0 source arch hyper options quantity mib binding keys key kv ctx field got
	while IFS=$'\t' read -r source arch hyper options quantity mib binding; do
		[ "$binding" = yes ] && [ "$quantity" != weights ] || continue
		keys=("general.architecture=$arch")
		for key in $hyper; do
			case $key in
			head_count*) keys+=("$arch.attention.$key") ;;
			key_length=*) keys+=("$arch.attention.$key" "$arch.attention.value_length=${key#*=}") ;;
			*) keys+=("$arch.$key") ;;
			esac
		done
		header "$tmp/h.gguf" "${keys[@]}"
		kv=f16 ctx=512
		for key in $options; do
			case $key in
			kv=*) kv=${key#*=} ;;
			ctx=*) ctx=${key#*=} ;;
			esac
		done
		case $quantity in
		kv) field=.kv.bytes ;;
		kv_k) field=.kv.k ;;
		logits_one_row) field=.logits_row ;;
		recurrent_state*) field=.kv.state ;;
		*) return 1 ;;
		esac
		got=$(bitnet-memplan -J -c "$ctx" -k "$kv" "$tmp/h.gguf" 2>/dev/null | jq "$field / 1048576")
		echo "$source $quantity: $got, published $mib"
		awk -v a="$got" -v b="$mib" 'BEGIN { d = a - b; exit !(d <= 0.005 && d >= -0.005) }'
		n=$((n + 1))
	done < <(tail -n +2 tests/data/memplan/published.tsv)
	[ $n = 12 ]
}

@test "the weights of the 2B-4T shape are those of the published file" {
	run bitnet-memplan -J "$models/2b.gguf"
	[ "$(jq -c '[.weights.tensors, .weights.bytes, .weights.ternary_elements]' <<<"${lines[-1]}")" = \
		'[332,1179449920,2084044800]' ]
	[ "$(jq -c '[.weights.types[] | [.type, .tensors, .bytes]]' <<<"${lines[-1]}")" = \
		'[["F32",121,1761280],["F16",1,656670720],["I2_S",210,521017920]]' ]
	[ "$(jq .kv.bytes <<<"${lines[-1]}")" = 314572800 ]
}

@test "real headers plan to the expected totals and types, from files and pipes" {
	[ -d "$shared/vectors/memplan" ] || skip "no $shared"
	local file arch tensors header data whole params ternary kv ctx type bytes got
	while IFS=$'\t' read -r file arch tensors header data whole params ternary kv ctx; do
		gunzip -c "$shared/vectors/memplan/$file" >"$tmp/$file"
		got=$(bitnet-memplan -J -c "$ctx" "$tmp/$file" 2>/dev/null | jq -r '[.architecture,
			.weights.tensors, .weights.header_bytes, .weights.data_bytes, .weights.file_bytes,
			.weights.elements, .weights.ternary_elements, .kv.bytes] | map(tostring) | join(" ")')
		[ "$got" = "$arch $tensors $header $data $whole $params $ternary $kv" ]
		[ "$(bitnet-memplan -J - <"$tmp/$file" | jq .weights.file_bytes)" = "$whole" ]
	done < <(tail -n +2 "$shared/vectors/memplan/expected-totals.tsv")
	while IFS=$'\t' read -r file arch type tensors bytes; do
		got=$(bitnet-memplan -J "$tmp/$file" 2>/dev/null |
			jq -r --arg t "$type" '.weights.types[] | select(.type == $t) | "\(.tensors) \(.bytes)"')
		[ "$got" = "$tensors $bytes" ]
	done < <(tail -n +2 "$shared/vectors/memplan/expected-types.tsv")
}

@test "headers of other programs plan without error, vocabulary-only as they are" {
	[ -d "$shared/vectors/tokenizers" ] || skip "no $shared"
	for file in "$shared"/vectors/tokenizers/*.gguf; do
		run --separate-stderr bitnet-memplan -J "$file"
		[ "$status" -eq 0 ]
		[ "$(jq -r '.computed, .totals.complete' <<<"$output" | sort -u)" = false ]
		[[ $(jq -r .reason <<<"$output") == *'no tensors'* ]]
	done
}

# --- any architecture -----------------------------------------------------------------------------

kv_of() { # KEY=VALUE...: bytes of k, v and state, with -c 1000 -u 24 in f16
	header "$tmp/a.gguf" "$@"
	bitnet-memplan -J -c 1000 -u 24 -f 1000 "$tmp/a.gguf" 2>"$tmp/err" |
		jq -r '"\(.kv.k) \(.kv.v) \(.kv.state)"'
}

@test "layers with a window keep the window and a ubatch" {
	# 6 layers of 2 heads of 64 values: 5 keep 128 positions (100 + 24, rounded), one 1024
	[ "$(kv_of general.architecture=gemma3 gemma3.block_count=6 gemma3.embedding_length=256 \
		gemma3.attention.head_count=4 gemma3.attention.head_count_kv=2 \
		gemma3.attention.sliding_window=100)" = \
		"$((2 * 64 * 2 * (5 * 128 + 1024))) $((2 * 64 * 2 * (5 * 128 + 1024))) 0" ]
	grep -q 'sliding_window_pattern is missing: 6' "$tmp/err"
	[ "$(kv_of general.architecture=x x.block_count=2 x.embedding_length=256 \
		x.attention.head_count=4 x.attention.sliding_window=100 \
		x.attention.sliding_window_pattern=1,0)" = \
		"$((4 * 64 * 2 * (128 + 1024))) $((4 * 64 * 2 * (128 + 1024))) 0" ]
}

@test "KV heads may differ by layer, and keys and values in length" {
	[ "$(kv_of general.architecture=x x.block_count=3 x.embedding_length=256 \
		x.attention.head_count=4 x.attention.head_count_kv=4,0,1 \
		x.attention.key_length=96 x.attention.value_length=32)" = \
		"$((5 * 96 * 2 * 1024)) $((5 * 32 * 2 * 1024)) 0" ]
}

@test "latent attention keeps one row per token" {
	[ "$(kv_of general.architecture=deepseek2 deepseek2.block_count=2 deepseek2.embedding_length=256 \
		deepseek2.attention.head_count=8 deepseek2.attention.head_count_kv=1 \
		deepseek2.attention.key_length=576 deepseek2.attention.value_length=512 \
		deepseek2.attention.kv_lora_rank=512 deepseek2.rope.dimension_count=64)" = \
		"$((2 * 576 * 2 * 1024)) 0 0" ]
}

@test "recurrent layers keep a state, whatever the context" {
	# 3 of 4 layers: 4 x (64 x 16 + 3 x (64 + 2 x 2 x 16)) bytes
	[ "$(kv_of general.architecture=qwen35 qwen35.block_count=4 qwen35.embedding_length=256 \
		qwen35.attention.head_count=4 qwen35.ssm.inner_size=64 qwen35.ssm.state_size=16 \
		qwen35.ssm.conv_kernel=4 qwen35.ssm.group_count=2)" = \
		"$((4 * 64 * 2 * 1024)) $((4 * 64 * 2 * 1024)) $((3 * 4 * (64 * 16 + 3 * 128)))" ]
}

@test "what cannot be known is unknown, never a guess" {
	header "$tmp/a.gguf" general.architecture=x x.block_count=1 x.embedding_length=64 x.attention.head_count=1
	run --separate-stderr bitnet-memplan "$tmp/a.gguf"
	[ "$status" -eq 0 ]
	[[ $output == *'compute: unknown'* ]]
	[[ $output == *'without compute, which is unknown'* ]]
	[ "$(bitnet-memplan -J "$tmp/a.gguf" 2>/dev/null | jq -c '[.regions[] | select(.bytes == null) | .name]')" = \
		'["activation","logits","sampler","scratch"]' ]
}

# --- types ------------------------------------------------------------------------------------------

@test "--as-type plans the matrices in other types, with the tables as they are or not" {
	run bitnet-memplan -b -n --as-type=i2_s,tq2_0,tq1_0,f16 "$models/2b.gguf"
	[ "$status" -eq 0 ]
	[ "$(printf '%s\n' "${lines[@]}" | awk '/^(I2_S|T|F)/ { printf "%s %s ", $1, $2 }')" = \
		'I2_S 1179449920 TQ2_0 1195724800 TQ1_0 1098035200 F16 4826521600 ' ]
	a=$(bitnet-memplan -J --as-type=tq1_0 --embed-type=q6_k "$models/2b.gguf" 2>/dev/null | jq .weights.bytes)
	[ "$a" = $((1098035200 - 656670720 + 128256 * 2560 / 256 * 210)) ]
}

@test "a file that is really of a type has the weights that --as-type said" {
	"$BUILD/tests/gen_model" --type=tq1_0 -o "$tmp/t.gguf"
	a=$(bitnet-memplan -J --as-type=tq1_0 "$models/bitnet-b1.58.gguf" | jq -c '[.weights.bytes, .totals.rss_full]')
	b=$(bitnet-memplan -J "$tmp/t.gguf" | jq -c '[.weights.bytes, .totals.rss_full]')
	[ "$a" = "$b" ]
}

@test "a tensor whose shape does not fit keeps its type, and that is said" {
	"$BUILD/tests/gen_model" --embd=192 --heads=3 --kv-heads=1 --type=f16 -o "$tmp/t.gguf"
	run --separate-stderr bitnet-memplan --as-type=tq2_0 "$tmp/t.gguf"
	[ "$status" -eq 0 ]
	[[ $stderr == *'tensors keep their type'* ]]
}

@test "type ids with two meanings are decided by the room, with a warning" {
	run --separate-stderr bitnet-memplan "$model"
	[[ $stderr == *'type 36 '*'I2_S'* ]]
	[[ $(bitnet-memplan -J "$model" 2>/dev/null | jq -r '.warnings[]') == *'type 36 '*'I2_S'* ]]
	run --separate-stderr bitnet-memplan "$models/untied.gguf"
	[ -z "$stderr" ]
}

# --- budgets ----------------------------------------------------------------------------------------

@test "a budget is answered by the status, and by a line with both numbers" {
	run bitnet-memplan -q -M 1G "$model"
	[ "$status" -eq 0 ] && [ -z "$output" ]
	run bitnet-memplan -q -M 4M "$model"
	[ "$status" -eq 1 ] && [ -z "$output" ]
	run bitnet-memplan -M 4M "$model"
	[ "$status" -eq 1 ]
	[[ ${lines[-1]} == *'does not fit: needs '*' of 4.00 MiB (--max-memory)' ]]
	run bitnet-memplan -q -M 100M -r 97% "$model"
	[ "$status" -eq 1 ]
	run bitnet-memplan -q -M 100M -r 50M "$model"
	[ "$status" -eq 0 ]
}

@test "-M auto names its source and takes the tightest limit" {
	run bitnet-memplan -M auto "$model"
	[ "$status" -eq 0 ]
	[[ ${lines[-1]} == *': fits: needs '*' of '*')' ]]
	run bash -c "ulimit -v 300000; bitnet-memplan -M auto -J $model 2>/dev/null | jq -r .budget.tightest"
	[ "$output" = RLIMIT_AS ]
}

@test "--solve gives the largest that fits: the next one does not" {
	local f=$models/2b.gguf n
	for what in ctx batch ubatch; do
		m=1300M
		case $what in
		ctx) o=-c ;; batch) o=-B ;; *) o=-u m=1220M ;;
		esac
		extra=
		[ $what = ctx ] || extra='-c 512'
		# shellcheck disable=SC2086
		n=$(bitnet-memplan $extra --solve=$what -M $m "$f" 2>/dev/null)
		[ "$n" -ge 1 ]
		# shellcheck disable=SC2086
		bitnet-memplan -q $extra $o "$n" -M $m "$f"
		# shellcheck disable=SC2086
		run -1 bitnet-memplan -q $extra $o $((n + 1)) -M $m "$f"
	done
}

@test "--solve=kv-type and type go from the most precise down" {
	[ "$(bitnet-memplan --solve=kv-type -M 3G "$models/2b.gguf" 2>/dev/null)" = F16 ]
	[ "$(bitnet-memplan --solve=kv-type -M 1430M "$models/2b.gguf" 2>/dev/null)" = Q8_0 ]
	[ "$(bitnet-memplan --solve=type -M 6G "$models/2b.gguf" 2>/dev/null)" = F16 ]
	[ "$(bitnet-memplan --solve=type -M 1600M "$models/2b.gguf" 2>/dev/null)" = TQ2_0 ]
	refuses 1 '*no kv-type fits' bitnet-memplan --solve=kv-type -M 100M "$model" -c 1000000000
}

@test "layers go to a device from the last one, and --solve finds how many" {
	f=$models/2b.gguf
	n=$(bitnet-memplan --solve=gpu-layers --gpu=900M "$f" 2>/dev/null)
	bitnet-memplan -q -g "$n" --gpu=900M "$f" 2>/dev/null
	run -1 bitnet-memplan -q -g $((n + 1)) --gpu=900M "$f"
	[ "$(bitnet-memplan -J -g all "$f" 2>/dev/null | jq '.regions[0].device')" = 1179449920 ]
	[ "$(bitnet-memplan -J -g 0 "$f" 2>/dev/null | jq '.totals.device')" = 0 ]
	a=$(bitnet-memplan -J -g 10 "$f" 2>/dev/null | jq '[.regions[] | select(.tag == "kv") | .bytes + .device] | add')
	[ "$a" = 314572800 ]
}

@test "advice is derived from the plan and only given where it applies" {
	run bitnet-memplan -J "$models/2b.gguf" 
	[ "$(jq -r '[.recommendations[].what] | join(" ")' <<<"${lines[-1]}")" = 'ram.minimum ram.comfortable swap device.all' ]
	run --separate-stderr bitnet-memplan -J -M 1300M "$models/2b.gguf"
	[ "$status" -eq 1 ]
	jq -e '[.recommendations[].what] | index("ctx-size") and index("kv-type")' <<<"$output"
	c=$(jq -r '.recommendations[] | select(.what == "ctx-size") | .text' <<<"$output" | grep -o -- '-c [0-9]*')
	# shellcheck disable=SC2086
	bitnet-memplan -q $c -M 1300M "$models/2b.gguf"
}

# --- output -----------------------------------------------------------------------------------------

@test "the table has the regions, and totals that are its sums" {
	run bitnet-memplan -b -o name,full "$model"
	[ "$status" -eq 0 ]
	sum=$(printf '%s\n' "${lines[@]}" | awk 'NR > 1 { s += $2 } END { print s }')
	[ "$sum" = "$(bitnet-memplan -J "$model" | jq .totals.rss_peak)" ]
}

@test "--explain gives each number its formula, and products are right" {
	run bitnet-memplan -b --explain -c 128 "$model"
	[[ $output == *'= 4 layers x 1 sequences x 2 KV heads x 128 positions x 128 bytes (a row of 64 values in F16)'* ]]
	bitnet-memplan -J -c 128 -B 3 -t 2 "$model" | jq -r '(.regions + .process)[] |
		select(.formula | test("^[0-9]+ ?[a-zA-Z ]*( x [0-9]+ ?[a-zA-Z ]*)+")) |
		select(.name | test("kv|logits|sampler|scratch|stacks")) | "\(.name) \(.bytes) \(.formula)"' |
		while read -r name bytes formula; do
			product=$(sed 's/(.*//' <<<"$formula" | grep -o '[0-9]\+' | awk 'BEGIN { p = 1 } { p *= $1 } END { print p }')
			echo "$name $bytes $formula"
			[ "$product" = "$bytes" ]
		done
}

@test "layers and tensors are listed, and add up" {
	run bitnet-memplan -J -l -x "$model"
	[ "$(jq '[.tensors_list[].bytes] | add' <<<"$output")" = "$(jq .weights.bytes <<<"$output")" ]
	[ "$(jq '[.layers[].cache] | add' <<<"$output")" = "$(jq .kv.bytes <<<"$output")" ]
	[ "$(bitnet-memplan -l "$model" | grep -c '^ *[0-3]  ')" -eq 4 ]
}

@test "bars are drawn when asked for, and colour only on a terminal" {
	run bitnet-memplan --plot=always "$model"
	[[ $output == *'####'* || $output == *'█'* ]]
	[[ $output != *$'\033'* ]]
	run bitnet-memplan "$model"
	[[ $output != *'####'* && $output != *'█'* ]]
}

@test "several files: each is planned, -T adds up, and the highest status counts" {
	run --separate-stderr bitnet-memplan -J -T "$model" "$tmp/none" "$models/llama.gguf"
	[ "$status" -eq 2 ]
	[ "${#lines[@]}" -eq 3 ]
	[[ $stderr == *"bitnet-memplan: $tmp/none: cannot open: No such file or directory"* ]]
	[ "$(jq -s '.[0].totals.rss_peak + .[1].totals.rss_peak == .[2].sum.rss_peak' <<<"$output")" = true ]
}

@test "--emit gives settings with the plan's numbers" {
	need=$(bitnet-memplan -J "$model" | jq '.totals.charged')
	mib=$(((need + 1048575) / 1048576))
	run --separate-stderr bitnet-memplan --emit=sh "$model"
	(eval "$output" && [ "$MEMORY_REQUEST" = $((mib * 1048576)) ] && [ "$MEMORY_LIMIT" -gt "$MEMORY_REQUEST" ])
	run --separate-stderr bitnet-memplan --emit=k8s "$model"
	[[ $output == *"memory: ${mib}Mi # "* ]]
	run --separate-stderr bitnet-memplan --emit=systemd "$model"
	[[ $output == *"MemoryHigh=${mib}M"* && $output == *MemoryMax=* ]]
	run --separate-stderr bitnet-memplan --emit=docker "$model"
	[[ $output == *"--memory-reservation=${mib}m"* ]]
	refuses 2 "*'helm' is not sh*" bitnet-memplan --emit=helm "$model"
}

@test "a stream is read to the end of its header and no further" {
	{ cat "$models/2b.gguf"; sleep 20; echo more; } | timeout 15 bitnet-memplan -q -
	split=$(bitnet-memplan -J "$model" | jq .weights.header_bytes)
	(bitnet-memplan -q - 2>/dev/null; wc -c) <"$model" >"$tmp/rest"
	[ "$(cat "$tmp/rest")" = $(($(wc -c <"$model") - split)) ]
}

# --- reality ----------------------------------------------------------------------------------------

peak_within() { # PERCENT FILE PROMPT TOKENS OPTIONS...
	local percent=$1 file=$2 prompt=$3 n=$4 p
	shift 4
	p=$(bitnet-run -m "$file" --tokenize -p "$prompt" | wc -w)
	bitnet-memplan --tolerance="$percent" -t 2 -c 1024 -f $((p + n - 1)) --prompt-tokens "$p" "$@" \
		"$file" --verify -- bitnet-run -m "$file" -t 2 -c 1024 "$@" -p "$prompt" -n "$n" --ignore-eos
}

@test "the forecast peak is what a run holds, within 2 % (5 % below 16 MB)" {
	long=$(head -c 700 tests/data/shakespeare-held-out.txt)
	for load in mmap read; do
		for prompt in 'Once upon a time' "$long"; do
			peak_within 5 "$model" "$prompt" 8 --load $load
			peak_within 2 "$models/middle.gguf" "$prompt" 8 --load $load
		done
	done
}

@test "--verify compares a running process, and tells when it is out of tolerance" {
	mkfifo "$tmp/in"
	bitnet-run -m "$model" -c 256 -t 1 --jsonl <"$tmp/in" >"$tmp/out" 3>&- &
	pid=$!
	exec 9>"$tmp/in"
	echo '{"prompt": "ROMEO:", "n": 4}' >&9
	for _ in $(seq 100); do [ -s "$tmp/out" ] && break; sleep 0.1; done
	run --separate-stderr bitnet-memplan -c 256 -t 1 -f 6 --prompt-tokens 2 --tolerance=10 --verify=$pid -J "$model"
	echo "$output"
	[ "$status" -eq 0 ]
	[ "$(jq -c '[.verify[] | select(.name == "kv.k") | .seen > 0]' <<<"$output")" = '[true]' ]
	run bitnet-memplan -c 1024 -f 1024 --tolerance=10 --verify=$pid "$model"
	[ "$status" -eq 1 ]
	exec 9>&-
	wait $pid
	refuses 2 '*process 999999999: No such file*' bitnet-memplan -q --verify=999999999 "$model"
}

# --- bad input --------------------------------------------------------------------------------------

@test "a header that is cut anywhere gives status 3, with one line" {
	header "$tmp/whole" general.architecture=llama llama.block_count=2 llama.embedding_length=64 \
		llama.attention.head_count=4,4 llama.flag=true llama.eps=0.5 general.name=abc
	size=$(wc -c <"$tmp/whole")
	bitnet-memplan -q "$tmp/whole"
	for ((at = 4; at < size; at++)); do
		head -c "$at" "$tmp/whole" >"$tmp/cut"
		got=0
		bitnet-memplan -q "$tmp/cut" 2>"$tmp/err" || got=$?
		[ "$got $(wc -l <"$tmp/err")" = '3 1' ] || { echo "at $at: $got"; return 1; }
	done
	[ "$at" -gt 200 ]
}

@test "hostile headers give the status that they must, at once" {
	dir=$shared/vectors/hostile
	[ -d "$dir" ] || skip "no $shared"
	while IFS=$'\t' read -r file what of_run want; do
		[[ $file == *.gguf ]] || continue
		run --separate-stderr timeout 5 bitnet-memplan -q "$dir/$file"
		echo "$file ($what): $status $stderr"
		[ "$status" -eq "$want" ]
		[ "$want" -eq 0 ] || [ "${#stderr_lines[@]}" -eq 1 ]
	done < <(tail -n +2 "$dir/manifest.tsv")
}

@test "what is broken is named" {
	refuses 2 '*general.architecture is missing' bitnet-memplan -q tests/data/hostile/arch-missing.gguf
	header "$tmp/a" general.architecture=x x.block_count=4294967295
	refuses 2 '*x.block_count is 4294967295, expected at most 4096' bitnet-memplan -q "$tmp/a"
	header "$tmp/a" general.architecture=x x.block_count=2 x.embedding_length=64 x.attention.head_count=4 x.attention.head_count_kv=3
	refuses 2 '*head_count_kv is 3, expected a divisor of head_count 4' bitnet-memplan -q "$tmp/a"
	header "$tmp/a" general.architecture=x x.block_count=4096 x.attention.head_count=65536 \
		x.attention.key_length=65536 x.attention.value_length=65536
	refuses 2 '*too large*' bitnet-memplan -q -c 2000000000 -B 1048576 "$tmp/a"
	refuses 2 '*this is a safetensors file*' bitnet-memplan -q tests/data/hostile/looks-like-st.gguf
	refuses 2 '*is a directory*' bitnet-memplan -q "$tmp"
	: >"$tmp/empty"
	refuses 3 '*' bitnet-memplan -q "$tmp/empty"
}

@test "options that make no sense are refused, with the option" {
	refuses 2 "*--max-memory: 'many' is not a size" bitnet-memplan -M many "$model"
	refuses 2 "*--solve: 'x' is not one of *" bitnet-memplan --solve=x -M 1G "$model"
	refuses 2 '*--solve=ctx needs --max-memory' bitnet-memplan --solve=ctx "$model"
	refuses 2 "*--fill: '101%' is neither*" bitnet-memplan -f 101% "$model"
	refuses 2 "*'zz' is not one of name*" bitnet-memplan -o name,zz "$model"
	refuses 2 "*'int3' is not a tensor type" bitnet-memplan --as-type=i2_s,int3 "$model"
	refuses 2 '*a FILE is needed*' bitnet-memplan
	header "$tmp/a" general.architecture=x x.block_count=1 x.embedding_length=48 x.attention.head_count=1
	refuses 2 '*heads of a multiple of 32 values, found 48' bitnet-memplan -q -k q8_0 "$tmp/a"
	run bash -c "bitnet-memplan $model >/dev/full"
	[ "$status" -eq 2 ]
}

# bats test_tags=valgrind
@test "a plan and a refusal are clean under valgrind" {
	bitnet-memplan -l -x --explain -M 4M "$model" || [ $? -eq 1 ]
	bitnet-memplan -J --as-type=tq1_0 "$model"
	run -2 bitnet-memplan -q tests/data/hostile/arch-missing.gguf
}
