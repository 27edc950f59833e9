#!/usr/bin/env bats
# bitnet-quantize: what a user sees.

bats_require_minimum_version 1.5.0
load refuses

setup() {
	cd "$BATS_TEST_DIRNAME/.." || return
	model=tests/data/shakespeare.gguf
	quant=tests/data/quant
	tmp=$BATS_TEST_TMPDIR
}

# The model with its matrices in type $1, as $tmp/$1.gguf.
in_type() {
	[ -e "$tmp/$1.gguf" ] || bitnet-quantize -q -t "$1" "$model" "$tmp/$1.gguf"
	echo "$tmp/$1.gguf"
}

# Lines of the manifest as "file format cols layout input scales packed values", absent fields as -.
manifest() {
	awk -F'\t' 'NR > 1 { for (i = 1; i <= NF; i++) if ($i == "") $i = "-"
		gsub(/ /, ",", $6); print $1, $2, $5, $6, $7, $9, $10, $11 }' "$quant/manifest.tsv"
}

# Options that a layout of the manifest needs: BM=64,BY=96,bm=32.
tiling() {
	[[ $1 == BM=* ]] || return 0
	echo "--tl $(sed 's/[A-Za-z]*=//g' <<<"$1")"
}

float_of() {
	od -An -tf4 -N4 "$1" | tr -d ' '
}

# --- as a filter --------------------------------------------------------------------------------

@test "packed bytes are those of the vectors, for every type" {
	n=0
	while read -r file format cols layout input scales packed values; do
		[ "$input" = - ] && continue
		case $format in
		q8_0 | q4_0 | q6_k | q4_k) continue ;; # any good scale will do
		absmean_i2_s) format=i2_s ;;
		esac
		[ "$file" = master-zero-absmean_i2_s ] && continue # any scale will do
		bitnet-quantize --raw -t "$format" -k "$cols" $(tiling "$layout") <"$quant/$input" >"$tmp/out" ||
			{ echo "$file"; return 1; }
		cmp "$tmp/out" "$quant/$packed" || { echo "$file"; return 1; }
		n=$((n + 1))
	done < <(manifest)
	[ "$n" -gt 70 ]
}

@test "values are those of the vectors, for every type" {
	n=0
	while read -r file format cols layout input scales packed values; do
		[ "$values" = - ] && continue
		more=$(tiling "$layout")
		case $format in
		absmean_i2_s) format=i2_s ;;
		hf_u8) more="--scale $(float_of "$quant/$scales")" ;;
		esac
		bitnet-quantize --raw -d -t "$format" -k "$cols" $more <"$quant/$packed" >"$tmp/out" ||
			{ echo "$file"; return 1; }
		# -0 and 0 are one value; those of 6 and 4 bits are known to 1e-6.
		od -An -v -tf4 -w4 "$tmp/out" >"$tmp/a"
		od -An -v -tf4 -w4 "$quant/$values" >"$tmp/b"
		paste "$tmp/a" "$tmp/b" | awk -v f="$format" '{ d = $1 - $2; d = d < 0 ? -d : d; m = $2 < 0 ? -$2 : $2
			if (d > (f ~ /_k$/ ? 1e-6 * m : 0)) { print NR, $0; bad = 1 } } END { exit bad }' ||
			{ echo "$file"; return 1; }
		n=$((n + 1))
	done < <(manifest)
	[ "$n" -gt 70 ]
}

@test "input from a file, from a pipe and from the middle of a file is the same input" {
	in=$quant/master-norm.f32
	bitnet-quantize --raw -t i2_s -k 256 "$in" "$tmp/a"
	cat "$in" | bitnet-quantize --raw -t i2_s -k 256 >"$tmp/b"
	{ head -c 1024 "$in"; cat "$in"; } >"$tmp/longer"
	{ head -c 1024 >/dev/null; bitnet-quantize --raw -t i2_s -k 256; } <"$tmp/longer" >"$tmp/c"
	cmp "$tmp/a" "$tmp/b"
	cmp "$tmp/a" "$tmp/c"
}

@test "half floats in and out" {
	in=$quant/tern-rows.f32
	bitnet-quantize --raw -t bf16 -k 512 <"$in" >"$tmp/bf16"
	bitnet-quantize --raw --raw-type bf16 -t i2_s -k 512 <"$tmp/bf16" >"$tmp/packed"
	bitnet-quantize --raw -d --raw-type bf16 -t i2_s -k 512 <"$tmp/packed" | cmp - "$tmp/bf16"
}

@test "the rule decides what becomes of values that are not ternary" {
	in=$quant/float-max.f32
	bitnet-quantize --raw -t tq2_0 -k 512 <"$in" >"$tmp/default"
	bitnet-quantize --raw -t tq2_0 --rule max -k 512 <"$in" | cmp - "$tmp/default"
	bitnet-quantize --raw -t tq2_0 --rule absmean -k 512 <"$in" >"$tmp/mean"
	run ! cmp -s "$tmp/mean" "$tmp/default"
	refuses 2 'bitnet-quantize: standard input: i2_s has one scale: the rule max is for types with one per group' \
		bitnet-quantize --raw -t i2_s --rule max -k 512 <"$in"
}

@test "-v tells scale, shares and errors of a filter's work" {
	run --separate-stderr bash -c 'bitnet-quantize -v --raw -t i2_s -k 256 <"$1" >/dev/null' - "$quant/master-ties.f32"
	[ "$status" -eq 0 ]
	[ "${stderr_lines[0]}" = 'rule absmean' ]
	[[ ${stderr_lines[1]} == 'scale '[0-9]* ]]
	[[ $stderr == *$'\nmse '* ]]
}

@test "a filter refuses what does not fit, and says what" {
	in=$quant/tern-rows.f32
	refuses 2 'bitnet-quantize: --raw needs -t TYPE' bitnet-quantize --raw -k 512 <"$in"
	refuses 2 'bitnet-quantize: --raw needs -k COLS' bitnet-quantize --raw -t i2_s <"$in"
	refuses 2 'bitnet-quantize: standard input: i2_s needs a multiple of 128 columns, found 64' \
		bitnet-quantize --raw -t i2_s -k 64 <"$in"
	refuses 2 'bitnet-quantize: standard input: tq1_0 needs a multiple of 256 columns, found 128' \
		bitnet-quantize --raw -t tq1_0 -k 128 <"$in"
	refuses 2 'bitnet-quantize: standard input: the tiling of tl2 for 8 x 512 is not known (use --tl)' \
		bitnet-quantize --raw -t tl2 -k 512 <"$in"
	refuses 2 "bitnet-quantize: --tl: '1,x' is not \[ROWSxCOLS:\]BM,BY\[,bm\]" \
		bitnet-quantize --raw -t tl2 --tl 1,x -k 512 <"$in"
	head -c 1000 "$in" >"$tmp/cut"
	refuses 3 'bitnet-quantize: standard input: 1000 bytes are no whole number of rows of 512 columns in F32' \
		bitnet-quantize --raw -t i2_s -k 512 <"$tmp/cut"
	refuses 3 'bitnet-quantize: standard input: 0 bytes are no whole number of rows of 512 columns in i2_s' \
		bitnet-quantize --raw -d -t i2_s -k 512 </dev/null
}

@test "values that are not finite and codes that mean nothing are named" {
	in=$quant/master-norm.f32
	{ head -c 1032 "$in"; printf '\0\0\300\177'; tail -c +1037 "$in"; } >"$tmp/nan"
	refuses 2 'bitnet-quantize: standard input: row 1, column 2 is not finite' \
		bitnet-quantize --raw -t i2_s -k 256 <"$tmp/nan"
	bitnet-quantize --raw -t i2_s -k 256 <"$in" >"$tmp/packed"
	{ head -c 70 "$tmp/packed"; printf '\003'; tail -c +72 "$tmp/packed"; } >"$tmp/bad"
	refuses 2 'bitnet-quantize: standard input: i2_s: row 1, column 102: code 3 is not ternary' \
		bitnet-quantize --raw -d -t i2_s -k 256 <"$tmp/bad"
}

# --- models -------------------------------------------------------------------------------------

@test "I2_S by way of each type with a scale of 32 bits is the same file again" {
	for type in i2_s_arm i2_s_rows4 tl1 tl2 iq2_bn iq2_bn_r4 f32; do
		bitnet-quantize -q -f -t i2_s "$(in_type $type)" "$tmp/back.gguf"
		cmp "$tmp/back.gguf" "$(in_type i2_s)" || { echo "$type"; return 1; }
	done
}

@test "by way of types with scales of 16 bits the codes are the same, and the report tells the change" {
	for type in tq1_0 tq2_0 q2_0 pq2_0 ptq1_0 iq1_bn; do
		run --separate-stderr bitnet-quantize -f -t "$type" "$model" "$tmp/there.gguf"
		[[ $stderr == *'scales change by up to 0.000'* ]]
		bitnet-quantize -q -f -t i2_s --report "$tmp/$type.json" "$tmp/there.gguf" "$tmp/back.gguf"
		bitnet-quantize -q -f -t i2_s_arm --report "$tmp/direct.json" "$model" "$tmp/direct.gguf"
		for f in "$type" direct; do
			jq -c '.tensors[] | select(.to | startswith("I2_S") or startswith("i2_s")) |
				[.name, .zeros, .plus, .minus]' "$tmp/$f.json" >"$tmp/$f.counts"
		done
		[ -s "$tmp/direct.counts" ]
		cmp "$tmp/$type.counts" "$tmp/direct.counts"
		# Scales of 16 bits stay as they are the second time.
		bitnet-quantize -q -f --lossless -t "$type" "$tmp/back.gguf" "$tmp/again.gguf"
		cmp "$tmp/there.gguf" "$tmp/again.gguf"
	done
}

@test "--lossless keeps every value or refuses" {
	bitnet-quantize -q --lossless -t tl2 "$model" "$tmp/ok.gguf"
	refuses 2 'bitnet-quantize: *shakespeare.gguf: tensor blk.0.*.weight: tq2_0 would change values by up to 0.000* (relative)' \
		bitnet-quantize --lossless -t tq2_0 "$model" "$tmp/no.gguf"
	refuses 2 'bitnet-quantize: *: tensor token_embd.weight: Q8_0 would change values by up to * (relative)' \
		bitnet-quantize --lossless --embed-type q8_0 "$model" "$tmp/no.gguf"
	refuses 2 'bitnet-quantize: *: tensor token_embd.weight: the values are not ternary: i2_s would not keep them' \
		bitnet-quantize --lossless --embed-type i2_s "$model" "$tmp/no.gguf"
	[ ! -e "$tmp/no.gguf" ]
	[ ! -e "$tmp/no.gguf.part" ]
}

@test "one thread and four threads write the same bytes" {
	for type in i2_s tl2 tq1_0 q6_k; do
		from=$(in_type f32)
		bitnet-quantize -q -f -j 1 -t "$type" --embed-type q4_k "$from" "$tmp/one.gguf"
		bitnet-quantize -q -f -j 4 -t "$type" --embed-type q4_k "$from" "$tmp/four.gguf"
		cmp "$tmp/one.gguf" "$tmp/four.gguf"
	done
}

@test "the report has a line of numbers for each tensor" {
	bitnet-quantize -q -t tq2_0 --embed-type q6_k --report "$tmp/r.json" "$model" "$tmp/o.gguf"
	[ "$(jq '.tensors | length' "$tmp/r.json")" -gt 30 ]
	[ "$(jq .bytes "$tmp/r.json")" -eq "$(wc -c <"$tmp/o.gguf")" ]
	jq -e '.tensors[] | select(.name == "blk.0.ffn_up.weight") |
		.rule == "keep" and .from == "I2_S" and .to == "TQ2_0" and .rows == 768 and .cols == 256 and
		.zeros + .plus + .minus == 196608 and .scale > 0 and .scale_error < 0.0005 and .cosine > 0.999999 and
		.mse < 1e-6' "$tmp/r.json"
	jq -e '.tensors[] | select(.name == "token_embd.weight") |
		.rule == "round" and .to == "Q6_K" and .loss > 0 and .loss < 0.001 and has("zeros") == false' "$tmp/r.json"
	jq -e '.tensors[] | select(.name == "output_norm.weight") | .rule == "copy"' "$tmp/r.json"
	bitnet-quantize -q -f -t i2_s --report - "$model" "$tmp/o.gguf" | jq -e '.tensors | length > 30'
}

@test "the table of -v has a row for each tensor that changes" {
	run --separate-stderr bitnet-quantize -v -t tq2_0 "$model" "$tmp/o.gguf"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	[[ $stderr == *'I2_S is taken to lie as in published files'* ]]
	[ "$(grep -c ' TQ2_0 ' <<<"$stderr")" -eq 28 ]
	[[ ${stderr_lines[-1]} == *'28 tensors converted, '*' copied'* ]]
}

@test "types by pattern: the first that matches decides, and what no one names stays" {
	bitnet-quantize -q -t tq2_0 --tensor-type 'blk.0.attn_*=f16' --tensor-type 'blk.*.attn_q.weight=tq1_0' \
		--output-type f32 --report "$tmp/r.json" "$model" "$tmp/o.gguf"
	to() { jq -r --arg n "$1" '.tensors[] | select(.name == $n) | .to' "$tmp/r.json"; }
	[ "$(to blk.0.attn_q.weight)" = F16 ]
	[ "$(to blk.1.attn_q.weight)" = TQ1_0 ]
	[ "$(to blk.1.attn_k.weight)" = TQ2_0 ]
	[ "$(to blk.0.attn_norm.weight)" = F16 ]
	[ "$(to blk.1.attn_norm.weight)" = F32 ]
	[ "$(to token_embd.weight)" = F16 ]
}

@test "a dry run prints every type and offset, and writes nothing" {
	run --separate-stderr bitnet-quantize -n -t tq1_0 "$model"
	[ "$status" -eq 0 ]
	[ -z "$stderr" ]
	[[ $output == *'blk.3.ffn_down.weight '*'I2_S '*' TQ1_0 '*' bytes at '* ]]
	total=$(sed -n 's/.* tensors, \([0-9]*\) bytes .*/\1/p' <<<"$output")
	[ "$(wc -c <"$(in_type tq1_0)")" -eq "$total" ]
	run bitnet-quantize -n -t tq1_0 "$model" "$tmp/none.gguf"
	[ "$status" -eq 0 ]
	[ ! -e "$tmp/none.gguf" ]
}

@test "tilings are written into the file, and are needed to read it" {
	tl1=$(in_type tl1)
	grep -qa ternary.tl1.tiles "$tl1"
	# With another tiling the bytes mean other weights; with one that does not fit, nothing.
	bitnet-quantize -q -t i2_s --tl 64,32,32 "$tl1" "$tmp/other.gguf"
	run ! cmp -s "$tmp/other.gguf" "$(in_type i2_s)"
	refuses 2 'bitnet-quantize: *: tensor blk.0.*: tl1 of * with BM,BY,bm = 100,64,32: the number of rows * is not a multiple of 100' \
		bitnet-quantize -t i2_s --tl 100,64,32 "$tl1" "$tmp/no.gguf"
	sed 's/ternary.tl1.tiles/ternary.xxx.tiles/' "$tl1" >"$tmp/unmarked.gguf"
	refuses 2 'bitnet-quantize: *: tensor blk.0.*: the tiling of tl1 for * x * is not known (the file does not say; use --tl)' \
		bitnet-quantize -t i2_s "$tmp/unmarked.gguf" "$tmp/no.gguf"
	[ ! -e "$tmp/no.gguf" ]
}

@test "the layout of I2_S comes from the file, or from --i2s-layout" {
	arm=$(in_type i2_s_arm)
	grep -qa ternary.i2_s.layout "$arm"
	bitnet-quantize -q -t i2_s "$arm" "$tmp/a.gguf"
	cmp "$tmp/a.gguf" "$(in_type i2_s)"
	sed 's/ternary.i2_s.layout/ternary.xxxx.layout/' "$arm" >"$tmp/unmarked.gguf"
	bitnet-quantize -q -t f32 "$tmp/unmarked.gguf" "$tmp/wrong.gguf"
	bitnet-quantize -q -t f32 --i2s-layout arm "$tmp/unmarked.gguf" "$tmp/right.gguf"
	cmp -s "$tmp/wrong.gguf" "$tmp/right.gguf" && return 1
	bitnet-quantize -q -f -t f32 "$arm" "$tmp/marked.gguf"
	[ "$(tail -c 100000 "$tmp/right.gguf" | cksum)" = "$(tail -c 100000 "$tmp/marked.gguf" | cksum)" ]
	refuses 2 "bitnet-quantize: --i2s-layout: 'mips' is not a layout (x86, arm, rows4)" \
		bitnet-quantize -t f32 --i2s-layout mips "$arm" "$tmp/no.gguf"
}

@test "a float model that was not trained to be ternary is told so" {
	sed 's/bitnet-b1.58/quinet-b1.58/g' "$model" >"$tmp/float.gguf"
	run --separate-stderr bitnet-quantize -q --embed-type i2_s "$tmp/float.gguf" "$tmp/o.gguf"
	[ "$status" -eq 0 ]
	[ "${#stderr_lines[@]}" -eq 1 ]
	[[ $stderr == 'bitnet-quantize: '*'/float.gguf: 1 of 1 matrices lose 45 % of their energy on average: this model was not trained with ternary weights'* ]]
	run --separate-stderr bitnet-quantize -q -f -t tq2_0 "$tmp/float.gguf" "$tmp/o.gguf"
	[ "$status" -eq 0 ]
	[ -z "$stderr" ]
}

@test "--max-mse ends with status 1 and leaves no output" {
	bitnet-quantize -q --max-mse 1 --embed-type i2_s "$model" "$tmp/ok.gguf"
	refuses 1 'bitnet-quantize: *shakespeare.gguf: tensor token_embd.weight: mean squared error * is over 1e-09' \
		bitnet-quantize --max-mse 1e-9 --embed-type i2_s --report "$tmp/r.json" "$model" "$tmp/no.gguf"
	[ ! -e "$tmp/no.gguf" ]
	[ "$(jq '.tensors | length' "$tmp/r.json")" -gt 30 ]
}

# --- what the models compute --------------------------------------------------------------------

# The largest difference between two files of float32 is at most $3.
near() {
	[ "$(wc -c <"$1")" -eq "$(wc -c <"$2")" ] || return 1
	paste <(od -An -v -tf4 -w4 "$1") <(od -An -v -tf4 -w4 "$2") | awk -v t="$3" '
		{ d = $1 - $2; d = d < 0 ? -d : d; if (!(d <= t)) { bad = 1; if (d > m) m = d } }
		END { if (bad) print "differs by " m; exit bad }'
}

# Logits of model $1 (in type $2) are those that the manifest in $3 gives for $4 with int8 activations.
computes() {
	local n=0 ids logits tol

	while IFS=$'\t' read -r ids logits tol; do
		bitnet-run -q -m "$1" -k f32 --tokens "$ids" --logits "$tmp/logits" -n 0 ||
			return 1
		near "$tmp/logits" "$3/$logits" "$tol" || { echo "$4 in $2: $logits"; return 1; }
		n=$((n + 1))
	done < <(awk -F'\t' -v f="$4" '$1 == f && $4 == "int8" && $5 == "f32" { print $6 "\t" $7 "\t" $9 }' \
		"$3/manifest.tsv")
	[ "$n" -ge 3 ]
}

@test "a float model, quantized to each type that is computed with, gives its reference logits" {
	[ -x "$BUILD/bitnet-run" ] || skip "bitnet-run is not built"
	for type in i2_s i2_s_arm iq1_bn iq2_bn; do
		# The file is in the other byte order: the result is in this machine's.
		bitnet-quantize -q -f -t "$type" tests/data/golden/b158-be-f16.gguf "$tmp/o.gguf"
		computes "$tmp/o.gguf" "$type" tests/data/golden b158-be-f16.gguf
	done
}

@test "every float model of the shared vectors, in each type, gives its reference logits" {
	[ -x "$BUILD/bitnet-run" ] || skip "bitnet-run is not built"
	dir=${BITNET_SHARED:-../shared}/vectors/logits
	[ -d "$dir" ] || skip "no shared vectors"
	n=0
	for file in $(awk -F'\t' '$3 ~ /^f(16|32)$/ && $4 == "int8" && !seen[$1]++ { print $1 }' "$dir/manifest.tsv"); do
		for type in i2_s i2_s_arm tq1_0 tq2_0 iq1_bn iq2_bn; do
			run --separate-stderr bitnet-quantize -q -f -t "$type" "$dir/$file" "$tmp/o.gguf"
			[[ $stderr == *'multiple of 256 columns'* ]] && continue
			[ "$status" -eq 0 ]
			computes "$tmp/o.gguf" "$type" "$dir" "$file"
			n=$((n + 1))
		done
	done
	[ "$n" -ge 20 ]
}

@test "scales beside the weights go into the scale of the result" {
	[ -x "$BUILD/bitnet-run" ] || skip "bitnet-run is not built"
	dir=${BITNET_SHARED:-../shared}/vectors/logits
	[ -e "$dir/bitnet-scale16-f16.gguf" ] || skip "no shared vectors"
	beside() { jq '[.tensors[] | select(.name | endswith(".scale"))] | length' "$tmp/r.json"; }
	bitnet-quantize -q -t i2_s --report "$tmp/r.json" "$dir/bitnet-scale16-f16.gguf" "$tmp/o.gguf"
	[ "$(beside)" -eq 0 ]
	bitnet-quantize -q -f -t iq1_bn --report "$tmp/r.json" "$dir/bitnet-scale16-f16.gguf" "$tmp/o.gguf"
	[ "$(beside)" -gt 0 ]
}

@test "a layout that is marked and not computed with is refused by run" {
	[ -x "$BUILD/bitnet-run" ] || skip "bitnet-run is not built"
	refuses 2 'bitnet-run: */i2_s_rows4.gguf: I2_S in the layout rows4 is not computed with; bitnet-quantize -t i2_s turns it into another' \
		bitnet-run -m "$(in_type i2_s_rows4)" -p x -n 1
}

# --- files --------------------------------------------------------------------------------------

@test "an output that exists stays, unless -f replaces it" {
	echo mine >"$tmp/o.gguf"
	refuses 2 'bitnet-quantize: */o.gguf: exists (use -f to replace it)' \
		bitnet-quantize -t tq1_0 "$model" "$tmp/o.gguf"
	[ "$(cat "$tmp/o.gguf")" = mine ]
	bitnet-quantize -q -f -t tq1_0 "$model" "$tmp/o.gguf"
	cmp "$tmp/o.gguf" "$(in_type tq1_0)"
}

@test "an output that is the input is refused, whatever it is called" {
	cp "$model" "$tmp/m.gguf"
	ln "$tmp/m.gguf" "$tmp/hard.gguf"
	ln -s m.gguf "$tmp/soft.gguf"
	for out in m hard soft; do
		refuses 2 "bitnet-quantize: */$out.gguf: is the input too" \
			bitnet-quantize -f -t tq1_0 "$tmp/m.gguf" "$tmp/$out.gguf"
	done
	cmp "$model" "$tmp/m.gguf"
}

@test "inputs that are no models are refused" {
	refuses 2 'bitnet-quantize: */none.gguf: *No such file*' bitnet-quantize -t i2_s "$tmp/none.gguf" "$tmp/o.gguf"
	refuses 2 'bitnet-quantize: tests: *directory*' bitnet-quantize -t i2_s tests "$tmp/o.gguf"
	refuses 2 'bitnet-quantize: README.md: *' bitnet-quantize -t i2_s README.md "$tmp/o.gguf"
	head -c 1000000 "$model" >"$tmp/cut.gguf"
	refuses 3 'bitnet-quantize: */cut.gguf: *' bitnet-quantize -t tq1_0 "$tmp/cut.gguf" "$tmp/o.gguf"
	[ ! -e "$tmp/o.gguf" ]
}

@test "a broken code in a model is named with its tensor, and nothing is left" {
	at=$(bitnet-quantize -n "$model" | sed -n 's/^blk.0.ffn_up.weight.* at //p')
	{ head -c "$at" "$model"; printf '\377'; tail -c +$((at + 2)) "$model"; } >"$tmp/bad.gguf"
	refuses 2 'bitnet-quantize: */bad.gguf: tensor blk.0.ffn_up.weight: i2_s: row 0, column 0: code 3 is not ternary' \
		bitnet-quantize -t tq1_0 "$tmp/bad.gguf" "$tmp/o.gguf"
	[ ! -e "$tmp/o.gguf" ]
	[ ! -e "$tmp/o.gguf.part" ]
}

@test "usage errors name the option" {
	refuses 2 "bitnet-quantize: --type: 'q9' is not a type" bitnet-quantize -t q9 "$model" "$tmp/o"
	refuses 2 'bitnet-quantize: --type: type Q5_K cannot be written' bitnet-quantize -t q5_k "$model" "$tmp/o"
	refuses 2 'bitnet-quantize: *: tensor blk.0.*: GGUF files have no type hf_u8' \
		bitnet-quantize -t hf_u8 "$model" "$tmp/o"
	refuses 2 "bitnet-quantize: --tensor-type: 'f16' is not PATTERN=TYPE" \
		bitnet-quantize --tensor-type f16 "$model" "$tmp/o"
	refuses 2 "bitnet-quantize: --rule: 'best' is not a rule (absmean, max)" \
		bitnet-quantize --rule best "$model" "$tmp/o"
	refuses 2 'bitnet-quantize: an input and an output are needed (try --help)' bitnet-quantize -t i2_s "$model"
	refuses 2 'bitnet-quantize: too many operands (try --help)' bitnet-quantize -t i2_s a b c
	refuses 2 'bitnet-quantize: -d is for --raw; for a file say -t f32' bitnet-quantize -d "$model" "$tmp/o"
	refuses 2 'bitnet-quantize: *' bitnet-quantize --no-such-option
}

@test "a full disk is an error" {
	[ -w /dev/full ] || skip "no /dev/full"
	run --separate-stderr bash -c 'bitnet-quantize -t tq1_0 "$1" - >/dev/full' - "$model"
	[ "$status" -eq 2 ]
	[ "$stderr" = 'bitnet-quantize: standard output: cannot write: No space left on device' ]
}

@test "a pipe that closes is an error in one line, of the filter too" {
	for call in "-t tq1_0 $model -" "--raw -t i2_s -k 4096 $tmp/zeros -"; do
		truncate -s 64M "$tmp/zeros"
		run --separate-stderr bash -c "set -o pipefail; bitnet-quantize $call | true"
		[ "$status" -eq 2 ]
		# Where it was by then, in the header or in a tensor, is told too.
		[[ $stderr == 'bitnet-quantize: standard output: '*'cannot write: Broken pipe' ]]
		[ "${#stderr_lines[@]}" -eq 1 ]
	done
}

@test "more memory than is allowed is refused before anything is written" {
	refuses 2 'bitnet-quantize: *: takes * of memory, 1.00 MiB are allowed' \
		bitnet-quantize -M 1M -t tq1_0 "$model" "$tmp/o"
	bitnet-quantize -q -M 64M -t tq1_0 "$model" "$tmp/o"
}

@test "a directory that cannot be written is an error before any work" {
	[ "$(id -u)" -ne 0 ] || skip "root may write everywhere"
	mkdir "$tmp/d"
	chmod a-w "$tmp/d"
	refuses 2 'bitnet-quantize: */d/o.gguf: cannot create *' bitnet-quantize -t i2_s "$model" "$tmp/d/o.gguf"
}

@test "SIGINT ends with 130 and leaves neither output nor part" {
	truncate -s 3G "$tmp/zeros"
	bitnet-quantize --raw -j 1 -t q6_k -k 1024 "$tmp/zeros" "$tmp/o" 2>"$tmp/err" &
	pid=$!
	for _ in $(seq 100); do
		[ -e "$tmp/o.part" ] && break
		sleep 0.05
	done
	kill -INT "$pid"
	wait "$pid" && status=0 || status=$?
	[ "$status" -eq 130 ]
	[ ! -e "$tmp/o" ]
	[ ! -e "$tmp/o.part" ]
}

@test "after kill -9 the old file is whole, or the new one" {
	in_type f32
	cp "$tmp/f32.gguf" "$tmp/o.gguf"
	for i in 1 2 3 4 5 6 7 8 9 10; do
		bitnet-quantize -q -f -t tq1_0 "$tmp/f32.gguf" "$tmp/o.gguf" &
		sleep "0.00$i"
		kill -9 $! 2>/dev/null || true
		wait $! 2>/dev/null || true
		cmp -s "$tmp/o.gguf" "$tmp/f32.gguf" || cmp -s "$tmp/o.gguf" "$(in_type tq1_0)"
	done
}

@test "memory does not grow with the tensor" {
	truncate -s 1G "$tmp/zeros"
	bitnet-quantize --raw -t i2_s -k 4096 "$tmp/zeros" "$tmp/o" &
	pid=$!
	peak=0
	while [ -e "/proc/$pid/status" ]; do
		# It may end between the two looks.
		now=$(awk '/^VmHWM/{ print $2 }' "/proc/$pid/status" 2>/dev/null) || break
		[ "${now:-0}" -gt "$peak" ] && peak=$now
		sleep 0.01
	done
	wait "$pid"
	echo "$peak kB"
	[ "$peak" -gt 0 ]
	[ "$peak" -lt 65536 ]
}

@test "--help and --version" {
	run --separate-stderr bitnet-quantize --help
	[ "$status" -eq 0 ]
	[ -z "$stderr" ]
	[[ $output == *'--tensor-type'*'PATTERN=TYPE'* ]]
	run bitnet-quantize --version
	[[ $output == 'bitnet-quantize '[0-9]* ]]
}
