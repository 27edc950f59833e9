#!/usr/bin/env bats
# bitnet-convert: what a user sees.  The tables beside the checkpoints are compared in unit_convert.

bats_require_minimum_version 1.5.0
load refuses

setup() {
	cd "$BATS_TEST_DIRNAME/.." || return
	model=tests/data/shakespeare.gguf
	checkpoints=tests/data/checkpoints
	hostile=tests/data/hostile
	tmp=$BATS_TEST_TMPDIR
}

# No partial file or journal lies in the directory of the test.
nothing_left() {
	[ -z "$(find "$tmp" -name '*.part' -o -name '*.journal')" ]
}

# Two files of float32: largest difference at most $3, and at each position of $5 values a relative
# one of at most $4.
close_floats() {
	paste <(od -An -v -tf4 -w4 "$1") <(od -An -v -tf4 -w4 "$2") |
		awk -v abs="$3" -v rel="$4" -v row="$5" '
			NF != 2 { exit bad = 1 }
			{ d = $1 - $2; dd += d * d; yy += $2 * $2
			  if (d > abs || d < -abs) exit bad = 1
			  if (NR % row == 0) { if (dd > rel * rel * yy) exit bad = 1; dd = yy = 0 } }
			END { exit bad || !NR || NR % row }'
}

# Converts checkpoint $1 and compares the logits of all its rows in the manifest.
class_gives_its_logits() {
	local dir class arch act ids logits vocab abs rel rest n=0

	[ -x "$BUILD/bitnet-run" ] || skip "bitnet-run is not built"
	bitnet-convert "$checkpoints/$1" -o "$tmp/m.gguf"
	while IFS=$'\t' read -r dir class arch act ids logits vocab abs rel rest; do
		[ "$dir" = "$1" ] || continue
		bitnet-run -q -m "$tmp/m.gguf" --kv-type f32 --tokens "$ids" --logits "$tmp/l.bin" -n 0
		close_floats "$tmp/l.bin" "$checkpoints/$logits" "$abs" "$rel" "$vocab"
		n=$((n + 1))
	done <"$checkpoints/manifest.tsv"
	[ "$n" -eq 2 ]
}

# --- checkpoints to GGUF ------------------------------------------------------------------------

@test "packed weights that their scale multiplies give the logits of the table" {
	class_gives_its_logits a-packed
}

@test "bf16 masters give the logits of the table" {
	class_gives_its_logits b-master
}

@test "packed weights of the llama family, which their scale divides, give the logits of the table" {
	class_gives_its_logits c-packed-llama
}

@test "float shards in the other spelling give the logits of the table" {
	class_gives_its_logits d-float-shards
}

@test "a file of tensors finds its configuration beside it" {
	bitnet-convert "$checkpoints/a-packed/model.safetensors" -o "$tmp/a.gguf"
	bitnet-convert "$checkpoints/a-packed" -o "$tmp/b.gguf"
	cmp "$tmp/a.gguf" "$tmp/b.gguf"
}

@test "the bytes do not depend on threads, on verifying or on the name of the directory" {
	bitnet-convert -j 1 "$checkpoints/d-float-shards" -o "$tmp/1.gguf"
	cp -r "$checkpoints/d-float-shards" "$tmp/elsewhere"
	bitnet-convert -j 7 --verify "$tmp/elsewhere" -o "$tmp/7.gguf"
	cmp "$tmp/1.gguf" "$tmp/7.gguf"
}

@test "the checkpoint of the Shakespeare model gives the codes of the GGUF beside it" {
	shared=${BITNET_SHARED:-../shared}/models/shakespeare
	[ -d "$shared" ] || skip "the checkpoint is not here"
	bitnet-convert "$shared" -o "$tmp/m.gguf"
	bitnet-convert -nJ "$shared/shakespeare-i2_s.gguf" >"$tmp/want"
	bitnet-convert -nJ "$tmp/m.gguf" >"$tmp/have"
	for f in want have; do
		jq -c '.tensors | map([.name, .shape, .from, .bytes]) | sort' "$tmp/$f" >"$tmp/$f.list"
	done
	cmp "$tmp/want.list" "$tmp/have.list"
	n=0
	while read -r name type bytes; do
		at() { jq --arg n "$name" '.tensors[] | select(.name == $n).offset' "$1"; }
		# Behind the codes: the scale, where the order of the sum may show in the last bit.
		[ "$type" = I2_S ] && bytes=$((bytes - 32))
		cmp -n "$bytes" -i "$(at "$tmp/want"):$(at "$tmp/have")" \
			"$shared/shakespeare-i2_s.gguf" "$tmp/m.gguf"
		n=$((n + 1))
	done < <(jq -r '.tensors[] | "\(.name) \(.from) \(.bytes)"' "$tmp/want")
	[ "$n" -eq 46 ]
}

@test "weight-scale overrides what config.json says" {
	bitnet-convert "$checkpoints/a-packed" -o "$tmp/a.gguf"
	bitnet-convert --weight-scale multiply "$checkpoints/a-packed" -o "$tmp/b.gguf"
	bitnet-convert --weight-scale divide "$checkpoints/a-packed" -o "$tmp/c.gguf"
	cmp "$tmp/a.gguf" "$tmp/b.gguf"
	! cmp -s "$tmp/a.gguf" "$tmp/c.gguf"
}

@test "a type that cannot hold a matrix is refused before anything is written" {
	refuses 2 "*q_proj.weight: tq2_0 needs a multiple of 256 columns, found 128" bitnet-convert -t tq2_0 "$checkpoints/a-packed" -o "$tmp/m.gguf"
	refuses 2 "*type nonsense is not known" bitnet-convert -t nonsense "$checkpoints/a-packed" -o "$tmp/m.gguf"
	[ ! -e "$tmp/m.gguf" ]
	nothing_left
}

# --- GGUF to GGUF -------------------------------------------------------------------------------

@test "without options a file comes out as it went in, by name and by pipes" {
	bitnet-convert "$model" -o "$tmp/m.gguf"
	cmp "$model" "$tmp/m.gguf"
	bitnet-convert - -o - <"$model" | cmp - "$model"
	cat "$model" | bitnet-convert - -o "$tmp/n.gguf"
	cmp "$model" "$tmp/n.gguf"
}

@test "every ternary type keeps codes and scales: back in I2_S the bytes are the same" {
	for type in tq1_0 tq2_0 tl1 tl2 iq2_bn i2_s_arm i2_s_rows4; do
		echo "$type"
		bitnet-convert -f -q -t "$type" "$model" -o "$tmp/t.gguf"
		bitnet-convert -f -q -t i2_s "$tmp/t.gguf" -o "$tmp/back.gguf"
		case $type in
		tq*) ;; # the scale is rounded to 16 bits
		*) cmp "$tmp/back.gguf" "$model" ;;
		esac
	done
}

@test "types are converted from a stream as from a file" {
	bitnet-convert -t tq2_0 -e q8_0 "$model" -o "$tmp/a.gguf"
	cat "$model" | bitnet-convert -t tq2_0 -e q8_0 - -o - | cmp - "$tmp/a.gguf"
}

@test "lossless refuses a type that rounds scales" {
	refuses 2 "*tensor blk.0.attn_q.weight*" bitnet-convert --lossless -t tq2_0 "$model" -o "$tmp/m.gguf"
	bitnet-convert --lossless -t tl2 "$model" -o "$tmp/m.gguf"
	nothing_left
}

@test "split and merge undo each other, whichever part is named" {
	bitnet-convert --split-size 300K "$model" -o "$tmp/s.gguf"
	[ "$(ls "$tmp" | wc -l)" -eq 5 ]
	for f in "$tmp"/s-*; do
		[ "$(stat -c %s "$f")" -le 600000 ]
	done
	bitnet-convert --merge "$tmp/s-00004-of-00005.gguf" -o "$tmp/m.gguf"
	cmp "$tmp/m.gguf" "$model"
	refuses 2 '*--merge: this file is not split' bitnet-convert --merge "$model" -o "$tmp/n.gguf"
	rm "$tmp/s-00002-of-00005.gguf"
	refuses 3 '*s-00002-of-00005.gguf*' bitnet-convert --merge "$tmp/s-00004-of-00005.gguf" -o "$tmp/n.gguf"
}

@test "a file of the other byte order comes out in this machine's" {
	[ -f tests/data/golden/b158-be-f16.gguf ] || skip "there is no such file here"
	bitnet-convert tests/data/golden/b158-be-f16.gguf -o "$tmp/m.gguf"
	[ "$(od -An -tu4 -j4 -N4 "$tmp/m.gguf")" -eq 3 ]
}

@test "what the bytes of a layout do not tell stays told when tensors are copied" {
	bitnet-convert -q -t tl2 "$model" -o "$tmp/tl2.gguf"
	bitnet-convert -q -t tl2 "$tmp/tl2.gguf" -o "$tmp/again.gguf" # nothing to do but to copy
	cmp "$tmp/tl2.gguf" "$tmp/again.gguf"
	bitnet-convert -q -t i2_s "$tmp/again.gguf" -o "$tmp/back.gguf"
	cmp "$model" "$tmp/back.gguf"
	for layout in arm rows4; do # the word of the user goes into the file
		bitnet-convert --i2s-layout $layout "$model" -o "$tmp/$layout.gguf"
		grep -aq ternary.i2_s.layout "$tmp/$layout.gguf"
	done
	# a guess does not: an unmarked file is copied as it is
	bitnet-convert -qd ternary.tl2.tiles "$tmp/tl2.gguf" -o "$tmp/unmarked.gguf"
	bitnet-convert -q "$tmp/unmarked.gguf" -o "$tmp/copy.gguf"
	cmp "$tmp/unmarked.gguf" "$tmp/copy.gguf"
}

@test "tilings that a file does not hold are refused, and taken from --tl" {
	bitnet-convert -q --tl 256x256:128,96 --tl 64,96 -t tl2 "$model" -o "$tmp/tl2.gguf"
	bitnet-convert -qd ternary.tl2.tiles "$tmp/tl2.gguf" -o "$tmp/unmarked.gguf"
	run --separate-stderr bitnet-convert -q -t i2_s "$tmp/unmarked.gguf" -o "$tmp/back.gguf"
	[ "$status" -eq 2 ]
	[[ $stderr == *'the tiling of tl2 for 256 x 256 is not known (the file does not say; use --tl)' ]]
	bitnet-convert -q --tl 256x256:128,96 --tl 64,96 -t i2_s "$tmp/unmarked.gguf" -o "$tmp/back.gguf"
	cmp "$model" "$tmp/back.gguf"
	refuses 2 "*'1,2,3,4' is not*" bitnet-convert --tl 1,2,3,4 -t tl2 "$model" -o "$tmp/m.gguf"
}

# --- metadata -----------------------------------------------------------------------------------

@test "keys are set and removed, and nothing else changes" {
	bitnet-convert -s a.b=u32:7 -s general.name=str:mine -s x=bool:true -s y=f32:0.5 -s z=i8:-3 \
		"$model" -o "$tmp/a.gguf"
	for text in mine a.b; do grep -aq "$text" "$tmp/a.gguf"; done
	bitnet-convert -d a.b -d x -d y -d z -s general.name=str:shakespeare "$tmp/a.gguf" -o "$tmp/b.gguf"
	cmp "$tmp/b.gguf" "$model"
}

@test "bad edits are refused" {
	refuses 2 '*expected KEY=TYPE:VALUE' bitnet-convert -s a=1 "$model" -o "$tmp/m.gguf"
	refuses 2 '*300 is no value of type u8' bitnet-convert -s a=u8:300 "$model" -o "$tmp/m.gguf"
	refuses 2 '*-1 is no value of type u64' bitnet-convert -s a=u64:-1 "$model" -o "$tmp/m.gguf"
	refuses 2 '*type u9 is not known*' bitnet-convert -s a=u9:1 "$model" -o "$tmp/m.gguf"
	refuses 2 '*there is no such key' bitnet-convert -d nothing "$model" -o "$tmp/m.gguf"
	refuses 2 '*power of two*' bitnet-convert -s general.alignment=u32:33 "$model" -o "$tmp/m.gguf"
	nothing_left
}

@test "in place a short edit changes its bytes, a long one writes the file anew" {
	bitnet-convert -s general.name=str:mine "$model" -o "$tmp/a.gguf"
	inode=$(stat -c %i "$tmp/a.gguf")
	cp "$tmp/a.gguf" "$tmp/b.gguf"
	bitnet-convert -i -s general.name=str:mind "$tmp/a.gguf"
	[ "$(stat -c %i "$tmp/a.gguf")" = "$inode" ]
	[ "$(cmp -l "$tmp/a.gguf" "$tmp/b.gguf" | wc -l)" -eq 1 ]
	bitnet-convert -i -s general.name=str:shakespeare "$tmp/a.gguf"
	cmp "$tmp/a.gguf" "$model"
	refuses 2 '*nothing else' bitnet-convert -i -t tq2_0 "$tmp/a.gguf"
	nothing_left
}

@test "in place a symbolic link stays one, the file keeps its mode, and sums are right" {
	cp "$model" "$tmp/a.gguf"
	chmod 640 "$tmp/a.gguf"
	ln -s a.gguf "$tmp/l.gguf"
	for name in mine mind shakespeare; do # written anew, patched, written anew
		bitnet-convert -ic -s general.name=str:$name "$tmp/l.gguf" >"$tmp/sums"
		[ -L "$tmp/l.gguf" ]
		[ "$(stat -c %a "$tmp/a.gguf")" = 640 ]
		bitnet-convert --check "$tmp/sums"
	done
	cmp "$model" "$tmp/a.gguf"
	nothing_left
}

@test "in place a short edit needs no space, a long one is refused where there is none" {
	mkdir "$tmp/small"
	mount -t tmpfs -o size=1400k tmpfs "$tmp/small" 2>/dev/null || skip "cannot mount"
	cp "$model" "$tmp/small/a.gguf"
	bitnet-convert -i -s general.name=str:Shakespeare "$tmp/small/a.gguf" && short=$? || short=$?
	refuses 2 '*are needed*are free' bitnet-convert -i -s general.name=str:mine "$tmp/small/a.gguf"
	bitnet-convert -s general.name=str:Shakespeare "$model" -o - | cmp - "$tmp/small/a.gguf" && same=$? || same=$?
	umount "$tmp/small"
	[ "$short$same" = 00 ]
}

# --- GGUF to checkpoints ------------------------------------------------------------------------

@test "packed checkpoints and back: every class comes out as it went in" {
	for class in a-packed b-master c-packed-llama d-float-shards; do
		echo "$class"
		bitnet-convert "$checkpoints/$class" -o "$tmp/$class.gguf"
		bitnet-convert --to=safetensors "$tmp/$class.gguf" -o "$tmp/$class/"
		[ -s "$tmp/$class/tokenizer.json" ]
		bitnet-convert -c "$tmp/$class" -o "$tmp/back.gguf" | grep : |
			sed "s/back.gguf/$class.gguf/" >"$tmp/sums"
		bitnet-convert --check "$tmp/sums"
		rm "$tmp/back.gguf"
	done
}

@test "the packed bytes of a checkpoint are the same after a way through GGUF" {
	bitnet-convert "$checkpoints/a-packed" -o "$tmp/a.gguf"
	bitnet-convert --to=safetensors -c "$tmp/a.gguf" -o "$tmp/st" | grep 'proj.weight$' |
		sort -k3 >"$tmp/sums"
	[ "$(wc -l <"$tmp/sums")" -eq 14 ]
	cp "$tmp/sums" "$checkpoints/../sums.$$"
	mkdir "$tmp/orig"
	cp "$checkpoints/a-packed/model.safetensors" "$tmp/orig/"
	mv "$checkpoints/../sums.$$" "$tmp/orig/sums"
	bitnet-convert --check "$tmp/orig/sums"
}

@test "float checkpoints keep the values: back in I2_S the bytes are the same" {
	for type in f32 bf16; do
		bitnet-convert --to=safetensors -t f32 --split-size 2M "$model" -o "$tmp/$type"
		[ "$(ls "$tmp/$type" | grep -c 'safetensors$')" -gt 2 ]
		bitnet-convert -d tokenizer.ggml.add_eos_token "$tmp/$type" -o "$tmp/$type.gguf" ||
			bitnet-convert "$tmp/$type" -o "$tmp/$type.gguf"
		bitnet-convert -fc "$tmp/$type.gguf" -o "$tmp/copy.gguf" | grep : |
			sed "s/copy.gguf/shakespeare.gguf/" >"$tmp/sums"
		cp "$model" "$tmp"
		bitnet-convert --check "$tmp/sums"
	done
}

@test "what an earlier run left in a partial directory does not come along" {
	mkdir "$tmp/st.part"
	echo old >"$tmp/st.part/model-00001-of-00009.safetensors"
	bitnet-convert --to=safetensors "$model" -o "$tmp/st"
	[ ! -e "$tmp/st/model-00001-of-00009.safetensors" ]
	nothing_left
}

@test "a directory is replaced by -f alone" {
	bitnet-convert --to=safetensors "$model" -o "$tmp/st"
	refuses 2 '*st: exists*' bitnet-convert --to=safetensors "$model" -o "$tmp/st"
	bitnet-convert -f --to=safetensors -t bf16 "$model" -o "$tmp/st"
	[ "$(stat -c %s "$tmp/st/model.safetensors")" -gt 6000000 ]
	nothing_left
}

# --- plans --------------------------------------------------------------------------------------

@test "a dry run writes nothing, and what it says comes true" {
	bitnet-convert -nJ -t tq2_0 "$model" -o "$tmp/m.gguf" >"$tmp/plan"
	[ "$(ls "$tmp")" = plan ]
	bitnet-convert -q -t tq2_0 "$model" -o "$tmp/m.gguf"
	[ "$(jq .bytes "$tmp/plan")" -eq "$(stat -c %s "$tmp/m.gguf")" ]
	[ "$(jq .changed "$tmp/plan")" -eq 28 ]
	[ "$(jq .free "$tmp/plan")" -gt 0 ]
	bitnet-convert -nJ "$tmp/m.gguf" | jq -c '.tensors | map([.name, .offset, .bytes])' >"$tmp/have"
	jq -c '.tensors | map([.name, .offset, .bytes])' "$tmp/plan" | cmp - "$tmp/have"
	run --separate-stderr bitnet-convert -n -t tq2_0 "$model"
	[ "$status" -eq 0 ]
	[[ $output == *'tensors 46, of other type 28'*'total '*' bytes'*'memory at most'* ]]
}

@test "too little memory is refused before anything is written" {
	refuses 2 '*of memory, *are allowed' bitnet-convert -M 1M -t tq2_0 "$model" -o "$tmp/m.gguf"
	nothing_left
}

@test "too little space is refused before anything is written" {
	mkdir "$tmp/small"
	mount -t tmpfs -o size=1M tmpfs "$tmp/small" 2>/dev/null || skip "cannot mount"
	refuses 2 '*are needed*are free' bitnet-convert "$model" -o "$tmp/small/m.gguf"
	left=$(ls "$tmp/small")
	umount "$tmp/small"
	[ -z "$left" ]
}

@test "the peak of resident memory is small" {
	[ -z "${VALGRIND-}" ] || skip "valgrind takes more"
	[[ $BUILD != */san-* ]] || skip "sanitizers take more"
	/usr/bin/time -f %M -o "$tmp/kb" bitnet-convert -q -t tq2_0 "$model" -o "$tmp/m.gguf" ||
		skip "there is no time(1)"
	[ "$(cat "$tmp/kb")" -lt 32768 ]
}

# --- outputs ------------------------------------------------------------------------------------

@test "an output that exists, is an input, or is no file is refused" {
	cp "$model" "$tmp/m.gguf"
	ln "$tmp/m.gguf" "$tmp/link.gguf"
	refuses 2 '*the output is an input' bitnet-convert "$tmp/m.gguf" -o "$tmp/m.gguf"
	refuses 2 '*the output is an input' bitnet-convert -f "$tmp/m.gguf" -o "$tmp/link.gguf"
	cmp "$model" "$tmp/m.gguf"
	echo old >"$tmp/old.gguf"
	refuses 2 '*old.gguf: exists (use -f*' bitnet-convert "$model" -o "$tmp/old.gguf"
	[ "$(cat "$tmp/old.gguf")" = old ]
	bitnet-convert -f "$model" -o "$tmp/old.gguf"
	cmp "$model" "$tmp/old.gguf"
	mkdir "$tmp/dir"
	refuses 2 '*is no regular file*' bitnet-convert -f "$model" -o "$tmp/dir"
	refuses 2 '*No such file or directory' bitnet-convert "$model" -o "$tmp/nowhere/m.gguf"
	nothing_left
}

@test "a full disk and a pipe that closes are errors in one line" {
	refuses 2 '*No space left on device' bash -c "exec bitnet-convert $model -o - >/dev/full"
	run --separate-stderr bash -c "set -o pipefail; bitnet-convert $model -o - | true"
	[ "$status" -eq 2 ]
	[[ $stderr == *'Broken pipe' ]]
}

@test "a directory that cannot be written is refused" {
	[ "$(id -u)" -ne 0 ] || skip "root may write everywhere"
	mkdir "$tmp/ro"
	chmod a-w "$tmp/ro"
	refuses 2 '*cannot create files*' bitnet-convert "$model" -o "$tmp/ro/m.gguf"
}

@test "wrong calls are refused" {
	refuses 2 '*no output is given*' bitnet-convert "$model"
	refuses 2 '*one input is expected, found 0' bitnet-convert
	refuses 2 '*needs a GGUF file' bitnet-convert --to=safetensors "$checkpoints/a-packed" -o "$tmp/x"
	refuses 2 '*not to a pipe' bitnet-convert --to=safetensors "$model" -o -
	refuses 2 '*cannot go to a pipe' bitnet-convert --split-size 1M "$model" -o -
	refuses 2 '*need standard output*' bitnet-convert -c "$model" -o -
}

# --- checksums ----------------------------------------------------------------------------------

@test "a manifest has a line per tensor and file, and finds one changed bit" {
	bitnet-convert -c "$model" -o "$tmp/m.gguf" >"$tmp/sums"
	[ "$(wc -l <"$tmp/sums")" -eq 47 ]
	grep -qx 'xxh64  [0-9a-f]\{16\}  m.gguf:output_norm.weight' "$tmp/sums"
	if command -v xxhsum >/dev/null; then
		[ "$(xxhsum -H1 <"$tmp/m.gguf" | cut -c1-16)" = "$(awk 'END { print $2 }' "$tmp/sums")" ]
	fi
	run --separate-stderr bitnet-convert --check "$tmp/sums"
	[ "$status" -eq 0 ]
	[ -z "$output$stderr" ]
	printf '\377' | dd of="$tmp/m.gguf" bs=1 seek=1300000 conv=notrunc status=none
	run --separate-stderr bitnet-convert --check "$tmp/sums"
	[ "$status" -eq 1 ]
	[ "${#lines[@]}" -eq 2 ]
	[[ ${lines[0]} == m.gguf:*': differs' ]]
	rm "$tmp/m.gguf"
	run --separate-stderr bitnet-convert --check "$tmp/sums"
	[ "$status" -eq 2 ]
}

@test "a manifest may name files by a way from where it lies, and may come from a pipe" {
	mkdir "$tmp/d"
	bitnet-convert -c "$model" -o "$tmp/d/m.gguf" >"$tmp/d/sums"
	sed 's,m.gguf,d/m.gguf,' "$tmp/d/sums" >"$tmp/sums"
	bitnet-convert --check "$tmp/sums"
	sed "s,m.gguf,$tmp/d/m.gguf," "$tmp/d/sums" | bitnet-convert --check -
	(cd "$tmp/d" && bitnet-convert --check - <sums)
	sed -i 's/  [0-9a-f]*  /  0123456789abcdef  /' "$tmp/sums"
	run bitnet-convert --check "$tmp/sums"
	[ "$status" -eq 1 ]
	[ "${#lines[@]}" -eq 47 ]
	[ "${lines[46]}" = 'd/m.gguf: differs' ]
}

# --- stopping and going on ----------------------------------------------------------------------

# A file large enough to be stopped in.
large() {
	[ -x "$BUILD/tests/gen_model" ] || skip "gen_model is not built"
	"$BUILD/tests/gen_model" --layers=6 --embd=1024 --ffn=2816 --heads=8 --kv-heads=8 \
		--head-dim=128 --vocab=2048 --type=f16 -o "$tmp/large.gguf" 2>/dev/null
	bitnet-convert -q -t i2_s "$tmp/large.gguf" -o "$tmp/want.gguf"
}

# Starts bitnet-convert with options $@ on a stream that stops half way, and interrupts it.
interrupt() {
	local pid writer status=0

	mkfifo "$tmp/in"
	(head -c 1000000 "$model"; sleep 5) >"$tmp/in" &
	writer=$!
	bitnet-convert "$@" "$tmp/in" -o "$tmp/m.gguf" &
	pid=$!
	for _ in {1..100}; do [ -s "$tmp/m.gguf.part" ] && break; sleep 0.05; done
	sleep 0.2
	kill -INT "$pid"
	wait "$pid" || status=$?
	kill "$writer" 2>/dev/null || true
	rm "$tmp/in"
	[ "$status" -eq 130 ]
	[ ! -e "$tmp/m.gguf" ]
}

@test "a signal removes the partial file, with -k it stays and -r finishes the job" {
	interrupt
	nothing_left
	interrupt -k
	[ -s "$tmp/m.gguf.part" ]
	[ "$(wc -l <"$tmp/m.gguf.journal")" -gt 5 ]
	bitnet-convert -r "$model" -o "$tmp/m.gguf"
	cmp "$model" "$tmp/m.gguf"
	nothing_left
}

@test "killed at any moment, there is the old file or the new one, and -r finishes the job" {
	[[ $BUILD != */san-* ]] || skip "kills are timed for the ordinary build"
	large
	kills=${BITNET_KILLS:-12} finished=0
	echo old >"$tmp/m.gguf"
	for ((i = 0; i < kills; i++)); do
		bitnet-convert -q -f -r -j 1 -t i2_s "$tmp/large.gguf" -o "$tmp/m.gguf" &
		pid=$!
		sleep "0.0$((RANDOM % 90 + 10))"
		kill -9 "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
		if [ "$(head -c 3 "$tmp/m.gguf")" != old ]; then
			cmp "$tmp/m.gguf" "$tmp/want.gguf"
			finished=$((finished + 1))
			echo old >"$tmp/m.gguf"
			rm -f "$tmp"/m.gguf.*
		fi
	done
	echo "finished $finished of $kills before the kill"
	bitnet-convert -q -f -r -t i2_s "$tmp/large.gguf" -o "$tmp/m.gguf"
	cmp "$tmp/m.gguf" "$tmp/want.gguf"
	nothing_left
}

@test "a checkpoint that was cut off behind its tensors is finished by -r" {
	bitnet-convert --to=safetensors "$model" -o "$tmp/want"
	mkdir -p "$tmp/st.part/tokenizer.json" # in its way, so that it ends there
	refuses 2 '*tokenizer.json: is a directory*' bitnet-convert -k --to=safetensors "$model" -o "$tmp/st"
	[ "$(wc -l <"$tmp/st.journal")" -gt 46 ]
	rmdir "$tmp/st.part/tokenizer.json"
	echo cut >"$tmp/st.part/tokenizer.json"
	echo cut >"$tmp/st.part/generation_config.json.part"
	bitnet-convert -r --to=safetensors "$model" -o "$tmp/st"
	diff -r "$tmp/want" "$tmp/st"
	nothing_left
}

@test "a resumed job trusts nothing that changed" {
	large
	bitnet-convert -q -k -t i2_s "$tmp/large.gguf" -o "$tmp/m.gguf" &
	pid=$!
	for _ in {1..200}; do [ "$(wc -l 2>/dev/null <"$tmp/m.gguf.journal")" -gt 3 ] 2>/dev/null && break; done
	kill -KILL "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	if [ -e "$tmp/m.gguf.part" ]; then
		printf '\377\377' | dd of="$tmp/m.gguf.part" bs=1 seek=70000 conv=notrunc status=none
	fi
	bitnet-convert -q -f -r -t i2_s "$tmp/large.gguf" -o "$tmp/m.gguf"
	cmp "$tmp/m.gguf" "$tmp/want.gguf"
	nothing_left
}

@test "progress lines are JSON, and a signal asks for the state" {
	bitnet-convert --progress=json -f "$model" -o "$tmp/m.gguf" 2>"$tmp/lines"
	tail -n 1 "$tmp/lines" | jq -e '.done == .total and .item == "output_norm.weight"'
	mkfifo "$tmp/in"
	(head -c 1000000 "$model"; sleep 1; tail -c +1000001 "$model") >"$tmp/in" &
	bitnet-convert "$tmp/in" -o "$tmp/n.gguf" 2>"$tmp/state" &
	pid=$!
	sleep 0.5
	kill -USR1 "$pid"
	wait "$pid"
	cmp "$tmp/n.gguf" "$model"
	grep -q ' of 1.*MiB' "$tmp/state"
}

# --- bad input ----------------------------------------------------------------------------------

@test "hostile safetensors are refused with their statuses" {
	n=0
	while IFS=$'\t' read -r file _ _ want; do
		[[ $file == *.safetensors ]] || continue
		echo "$file"
		refuses "$want" '*' bitnet-convert -n "$hostile/$file" -o /dev/null
		n=$((n + 1))
	done <"$hostile/manifest.tsv"
	[ "$n" -ge 7 ]
}

@test "hostile GGUF is refused with the status of the reader" {
	for file in magic-only cut-in-key; do
		refuses 3 '*' bitnet-convert -n "$hostile/$file.gguf" -o /dev/null
	done
	for file in version-4 offset-wrap ne-overflow array-string-huge looks-like-st; do
		refuses 2 '*' bitnet-convert -n "$hostile/$file.gguf" -o /dev/null
	done
	refuses 3 '*the file has*' bitnet-convert <(head -c 100000 "$model") -o "$tmp/m.gguf" || true
	head -c 700000 "$model" >"$tmp/cut.gguf"
	refuses 3 '*but the file has 700000 bytes' bitnet-convert "$tmp/cut.gguf" -o "$tmp/m.gguf"
	refuses 3 '*the stream ends*' bash -c "bitnet-convert - -o $tmp/m.gguf <$tmp/cut.gguf"
	nothing_left
}

@test "what is missing in a checkpoint is named" {
	refuses 3 '*config.json*' bitnet-convert "$tmp" -o "$tmp/m.gguf"
	cp -r "$checkpoints/d-float-shards" "$tmp/d"
	rm "$tmp/d/model-00002-of-00002.safetensors"
	refuses 3 '*model-00002-of-00002.safetensors*' bitnet-convert "$tmp/d" -o "$tmp/m.gguf"
	cp "$checkpoints/d-float-shards/model-00002-of-00002.safetensors" "$tmp/d/"
	truncate -s -1 "$tmp/d/model-00002-of-00002.safetensors"
	refuses 3 '*model-00002-of-00002.safetensors*' bitnet-convert "$tmp/d" -o "$tmp/m.gguf"
	rm "$tmp/d/tokenizer.json"
	cp "$checkpoints/d-float-shards/model-00002-of-00002.safetensors" "$tmp/d/"
	refuses 3 '*tokenizer*' bitnet-convert "$tmp/d" -o "$tmp/m.gguf"
	nothing_left
}

@test "unknown tensors are named, and left out with --skip-unknown" {
	cp -r "$checkpoints/a-packed" "$tmp/a"
	jq '.num_hidden_layers = 1' "$checkpoints/a-packed/config.json" >"$tmp/a/config.json"
	refuses 2 '*tensor model.layers.1.*is not known*' bitnet-convert "$tmp/a" -o "$tmp/m.gguf"
	run --separate-stderr bitnet-convert --skip-unknown "$tmp/a" -o "$tmp/m.gguf"
	[ "$status" -eq 0 ]
	[[ $stderr == *'18 unknown tensors are left out' ]]
	[ "$(bitnet-convert -nJ "$tmp/m.gguf" | jq '.tensors | length')" -eq 13 ]
}

# Changes bytes of a packed checkpoint: $1 tensor, $2 offset in it, $3 bytes.
spoil() {
	local file=$tmp/a/model.safetensors n at

	rm -rf "$tmp/a"
	cp -r "$checkpoints/a-packed" "$tmp/a"
	n=$(od -An -tu8 -N8 "$file" | tr -d ' ')
	at=$(tail -c +9 "$file" | head -c "$n" | jq --arg t "$1" '.[$t].data_offsets[0]')
	printf "$3" | dd of="$file" bs=1 seek=$((8 + n + at + $2)) conv=notrunc status=none
}

# Changes config.json of a copy of checkpoint $1 by the jq program $2.
reconfigure() {
	rm -rf "$tmp/a"
	cp -r "$checkpoints/$1" "$tmp/a"
	jq "$2" "$checkpoints/$1/config.json" >"$tmp/a/config.json"
}

@test "how weights are packed is never guessed from what says it badly" {
	reconfigure a-packed '.quantization_config = "bitnet"'
	refuses 2 '*quantization_config is a string, expected an object' bitnet-convert "$tmp/a" -o "$tmp/m.gguf"
	reconfigure a-packed '.quantization_config.quantization_mode = "half"'
	refuses 2 '*quantization_mode half is not known*' bitnet-convert "$tmp/a" -o "$tmp/m.gguf"
	reconfigure a-packed '.quantization_config.modules_to_not_convert = "lm_head"'
	refuses 2 '*modules_to_not_convert is a string, expected an array' bitnet-convert "$tmp/a" -o "$tmp/m.gguf"
	reconfigure a-packed 'del(.quantization_config)'
	refuses 2 '*is packed, but config.json does not say how*' bitnet-convert "$tmp/a" -o "$tmp/m.gguf"
}

@test "a matrix that was never ternary stays what it is" {
	reconfigure b-master '.quantization_config.modules_to_not_convert = ["lm_head", "layers.0.mlp.down_proj"]'
	run --separate-stderr bitnet-convert "$tmp/a" -o "$tmp/m.gguf"
	[ "$status" -eq 0 ]
	[[ $stderr == *'1 matrices stay floats, as modules_to_not_convert says' ]]
	type_of() { bitnet-convert -nJ "$tmp/m.gguf" | jq -r --arg n "$1" '.tensors[] | select(.name == $n).from'; }
	[ "$(type_of blk.0.ffn_down.weight)" = BF16 ]
	[ "$(type_of blk.1.ffn_down.weight)" = I2_S ]
	bitnet-convert -f -t f32 "$tmp/a" -o "$tmp/m.gguf"
	[ "$(type_of blk.0.ffn_down.weight)" = F32 ]
	reconfigure a-packed '.quantization_config.modules_to_not_convert = ["down_proj"]'
	refuses 2 '*down_proj.weight is U8, expected F32, F16 or BF16' bitnet-convert -f "$tmp/a" -o "$tmp/m.gguf"
}

@test "a head that is there is used when config.json does not say that it is tied" {
	reconfigure c-packed-llama 'del(.tie_word_embeddings)'
	bitnet-convert "$checkpoints/c-packed-llama" -o "$tmp/want.gguf"
	bitnet-convert "$tmp/a" -o "$tmp/have.gguf"
	cmp "$tmp/want.gguf" "$tmp/have.gguf"
}

@test "a pipe in place of a part of a checkpoint is refused, not waited for" {
	for part in config.json tokenizer.json model.safetensors; do
		rm -rf "$tmp/a"
		cp -r "$checkpoints/a-packed" "$tmp/a"
		rm "$tmp/a/$part"
		mkfifo "$tmp/a/$part"
		refuses 2 "*$part: is a FIFO, expected a regular file" timeout 5 bitnet-convert "$tmp/a" -o "$tmp/m.gguf"
	done
}

@test "codes that mean nothing, NaN and bad scales are refused with their place" {
	spoil model.layers.1.mlp.up_proj.weight 200 '\377'
	refuses 2 '*/a/model.safetensors: tensor model.layers.1.mlp.up_proj.weight: *row 1, column 72: code 3*' bitnet-convert "$tmp/a" -o "$tmp/m.gguf"
	spoil model.embed_tokens.weight 6 '\300\177'
	refuses 2 '*/a/model.safetensors: tensor model.embed_tokens.weight: row 0, column 3 is not finite' bitnet-convert "$tmp/a" -o "$tmp/m.gguf"
	spoil model.layers.0.mlp.up_proj.weight_scale 0 '\200\177'
	refuses 2 '*up_proj.weight_scale*' bitnet-convert "$tmp/a" -o "$tmp/m.gguf"
	spoil model.norm.weight 2 '\200\377'
	refuses 2 '*/a/model.safetensors: tensor model.norm.weight: row 0, column 1 is not finite' bitnet-convert "$tmp/a" -o "$tmp/m.gguf"
	nothing_left
}
