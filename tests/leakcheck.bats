#!/usr/bin/env bats
# bitnet-leakcheck: verdicts, where steps come from, outputs, the guard, and what must not change in
# the command.  The catalogue of leaks is in leaks.bats.

setup() {
	export LD_LIBRARY_PATH=$BUILD/tests/leaks COLUMNS=80 LC_ALL=C.UTF-8
	cd "$BATS_TEST_TMPDIR" || exit
	leaks=$BUILD/tests/leaks
	[ -x "$leaks/01_list" ] || skip "the catalogue is not built here"
	[[ $BUILD != */san-* ]] || skip "a sanitizer and the ledger both replace malloc"
}

# Standard output and error apart: $out and $err, and $status.
try() {
	status=0
	timeout 60 "$@" >out 2>err </dev/null || status=$?
	out=$(<out) err=$(<err)
}

@test "a list that grows is a finding, with the function and line that allocate" {
	try bitnet-leakcheck -o json:r.json -- "$leaks/01_list" -n 60 -p 0
	[ "$status" -eq 1 ]
	[ -z "$out" ]
	[[ $err == *"from history_add"* ]]
	[[ $err == *"01_list.c:"* ]]
	[ "$(jq -r '.findings[0].site' r.json)" = history_add ]
	[ "$(jq '[.findings[] | select(.verdict != "note")] | length' r.json)" -eq 1 ]
	[ "$(jq -r '.steps' r.json)" -eq 60 ]
}

@test "a list that is still held is growth, and one whose head was overwritten is a leak" {
	try bitnet-leakcheck -o json:held.json -- "$leaks/01_list" -n 100 -p 0
	try bitnet-leakcheck -o json:lost.json -- "$leaks/02_list_overwritten" -n 100 -p 0
	[ "$(jq -r .verdict held.json)" = growth ]
	[ "$(jq -r .verdict lost.json)" = leak ]
	[ "$(jq '.findings[0].lost' lost.json)" -gt "$(jq '.findings[0].held' lost.json)" ]
	[ "$(jq '.findings[0].lost' held.json)" -eq 0 ]
}

@test "16 bytes a step are found within 20 steps when they are lost, and within 40 when held" {
	try bitnet-leakcheck -q -- "$leaks/24_sixteen_bytes" -n 40 -p 0
	[ "$status" -eq 1 ]
	[[ $err == *sample_new* ]]
}

@test "a clean program is clean, and the report says what it could have seen" {
	try bitnet-leakcheck -o json:r.json -- "$leaks/e_cache_same" -n 100 -p 0
	[ "$status" -eq 0 ]
	[ "$(jq .rollup_first r.json)" = null ]
	[[ $err == CLEAN* ]]
	[[ $err == *"with 99 % confidence"* ]]
}

@test "what did not grow and is left at exit is a note" {
	try bitnet-leakcheck -o json:r.json -- "$leaks/m_live_at_exit" -n 60 -p 0
	[ "$status" -eq 0 ]
	[[ $err == *"in 173 blocks from table_new, not freed at exit"* ]]
	jq -e '.findings[0] | .verdict == "note" and .class == "not-freed-at-exit" and .live_blocks == 173' r.json
	try bitnet-leakcheck -o json:r.json -- sh -c '"$0" -n 60 -p 0; kill -9 $$' "$leaks/m_live_at_exit"
	[ "$(jq '.findings | length' r.json)" -eq 0 ] # another process, and no exit
}

@test "too few steps settle nothing: status 3, and 0 with -z" {
	try bitnet-leakcheck -q -- "$leaks/e_cache_same" -n 5 -p 0
	[ "$status" -eq 3 ]
	try bitnet-leakcheck -q -z -- "$leaks/e_cache_same" -n 5 -p 0
	[ "$status" -eq 0 ]
}

@test "without the ledger a leak of megabytes is still found" {
	try bitnet-leakcheck -l off -o json:r.json -- "$leaks/09_quantizer_temporary" -n 160 -p 0
	[ "$status" -eq 1 ]
	[ "$(jq -r .level r.json)" = off ]
	[ "$(jq -r '.findings[0].kind' r.json)" = RssAnon ]
	[ "$(jq -r .events r.json)" = null ]
	# Suspicion was reason enough for a closer look.
	jq -e '.rollup_first == 60 and .rollup_last == 120 and .dirty_last > .dirty_first + 5e6' r.json
}

@test "descriptors, threads, mappings and device memory are found as what they are" {
	for p in 14_not_closed:descriptor 27_threads_not_joined:thread 13_not_unmapped:map \
		30_device_memory:device 31_pinned_memory:pinned; do
		try bitnet-leakcheck -o json:r.json -- "$leaks/${p%:*}" -n 60 -p 0
		[ "$status" -eq 1 ]
		jq -e --arg k "${p#*:}" 'any(.findings[]; .kind | contains($k))' r.json
	done
}

@test "births that go with failing steps are of the error path" {
	try bitnet-leakcheck -o json:r.json -- "$leaks/22_aborted_request" -n 100 -p 0
	[ "$(jq -r '.findings[0].class' r.json)" = error ]
	[ "$(jq .errors r.json)" -gt 0 ]
}

@test "every level finds it, and off says so" {
	for level in site stack sampled; do
		try bitnet-leakcheck -l $level -o json:r.json -- "$leaks/09_quantizer_temporary" -n 60 -p 0
		[ "$status" -eq 1 ]
		[ "$(jq -r .level r.json)" = $level ]
		jq -e '[.findings[].frames[].function] | any(. == "quantize")' r.json
	done
}

@test "the command's output, status and descriptors are its own" {
	try sh -c 'echo out; echo err >&2; exit 7'
	cp out want.out && cp err want.err
	try bitnet-leakcheck -q --exit-status=command -- sh -c 'echo out; echo err >&2; exit 7'
	[ "$status" -eq 7 ]
	cmp out want.out
	[ "$(head -1 err)" = err ]
	try bitnet-leakcheck -q -o json:r.json -- sh -c 'exit 7'
	[ "$(jq .status r.json)" -eq 7 ]
	printf 'a\nb' | bitnet-leakcheck -q -- cat >out 2>/dev/null || true
	[ "$(cat out)" = $'a\nb' ]
}

@test "output without newlines passes through, also when it is looked at" {
	try bitnet-leakcheck -q -S nothing -- sh -c 'i=0; while [ $i -lt 2000 ]; do printf 0123456789; i=$((i+1)); done'
	[ "$(wc -c <out)" -eq 20000 ]
	[ "$status" -eq 3 ]
}

@test "lines that match end a step" {
	try bitnet-leakcheck -q -o json:r.json -S '^loss [0-9]' -- \
		sh -c 'for i in 1 2 3 4 5; do echo loss $i; echo other; done; echo loss 6 >&2'
	[ "$(jq .steps r.json)" -eq 6 ]
	[ "$(grep -c loss out)" -eq 5 ]
}

@test "a shell script can tell its steps, marks and errors" {
	try bitnet-leakcheck -o json:r.json -- sh -c '
		for i in 1 2 3; do echo step >&$BITNET_LEAKCHECK_FD; done
		echo mark half >&$BITNET_LEAKCHECK_FD
		echo error >&$BITNET_LEAKCHECK_FD; echo step >&$BITNET_LEAKCHECK_FD; echo junk >&$BITNET_LEAKCHECK_FD'
	[ "$(jq .steps r.json)" -eq 4 ]
	[ "$(jq .errors r.json)" -eq 1 ]
	[[ $err == *"mark half at step 3"* ]]
}

@test "a client command makes the steps, and the server is ended when it is settled" {
	try bitnet-leakcheck -o json:r.json -c true -- sleep 60
	[ "$status" -eq 0 ]
	[ "$(jq .steps r.json)" -ge 80 ]
	[ "$(jq .signal r.json)" -eq 15 ]
	[ "$(jq .seconds r.json | cut -d. -f1)" -lt 20 ]
}

@test "whole runs are steps" {
	try bitnet-leakcheck -o json:r.json -k 4 -- sh -c 'echo run'
	[ "$(grep -c run out)" -eq 4 ]
	[ "$(jq .steps r.json)" -eq 4 ]
}

@test "runs that take more each time are a leak, runs that take the same are clean" {
	command -v perl >/dev/null || skip "no perl"
	cat >more.pl <<-'EOF'
		open my $f, ">>", "state"; print $f "x"; close $f;
		my $much = "x" x (1000000 + $ARGV[0] * -s "state");
	EOF
	try bitnet-leakcheck -o json:r.json -k 60 -- perl more.pl 100000
	[ "$status" -eq 1 ]
	[ "$(jq -r '.findings[0].kind' r.json)" = "run peak" ]
	try bitnet-leakcheck -k 100 -- perl more.pl 0
	[ "$status" -eq 0 ]
	[[ $err == *"growth < "* ]]
}

@test "a running process can be watched from outside, until it ends" {
	"$leaks/09_quantizer_temporary" -n 1500 -p 2000 &
	try bitnet-leakcheck -s 0.02 -o json:r.json -p $!
	[ "$status" -eq 1 ]
	[ "$(jq -r '.findings[0].kind' r.json)" = RssAnon ]
	wait
}

@test "a process that does not exist, and what excludes one another, are trouble" {
	try bitnet-leakcheck -p 4194300
	[ "$status" -eq 2 ]
	[ "$err" = "bitnet-leakcheck: no process has the number 4194300" ]
	try bitnet-leakcheck -p 1 -- true
	[ "$status" -eq 2 ]
	try bitnet-leakcheck -S a -k 2 -- true
	[ "$status" -eq 2 ]
	try bitnet-leakcheck -S '(' -- true
	[ "$status" -eq 2 ]
	[[ $err == *"missing closing parenthesis"* ]]
	try bitnet-leakcheck
	[ "$status" -eq 2 ]
}

@test "a command that does not exist is 127, one that may not run is 126" {
	try bitnet-leakcheck -- ./none
	[ "$status" -eq 127 ]
	touch file
	try bitnet-leakcheck -- ./file
	[ "$status" -eq 126 ]
	[ "$err" = "bitnet-leakcheck: ./file: Permission denied" ]
}

@test "a command that dies by a signal, or goes to the background, ends the watch" {
	try bitnet-leakcheck -o json:r.json -- sh -c 'kill -SEGV $$'
	[ "$(jq .signal r.json)" -eq 11 ]
	[ "$(jq .status r.json)" = null ]
	SECONDS=0
	try bitnet-leakcheck -q -- sh -c 'sleep 20 >/dev/null 2>&1 & exit 0'
	[ "$SECONDS" -lt 10 ]
}

@test "a command that closes its descriptors, forks and execs is watched on" {
	try bitnet-leakcheck -q -- sh -c 'exec 3>&- 4>&- 5>&-; (exec true); exec "$0" -n 60 -p 0' "$leaks/01_list"
	[ "$status" -eq 1 ]
	[[ $err == *history_add* ]]
}

@test "what signals do to the command is as it was, and so are its limits" {
	for ignore in '' 'PIPE XFSZ'; do
		try sh -c "trap '' $ignore HUP; exec bitnet-leakcheck -q -- grep SigIgn /proc/self/status"
		[ -n "$out" ]
		[ "$out" = "$(sh -c "trap '' $ignore HUP; exec grep SigIgn /proc/self/status")" ]
	done
	# No file may be larger than 5 KiB: there is no ledger then, in the tool or in the command.
	try sh -c "ulimit -f 10; exec bitnet-leakcheck -q --exit-status=command -- '$leaks/01_list' -n 60 -p 0"
	[ "$status" -eq 0 ]
	try bitnet-leakcheck -q --exit-status=command -- sh -c 'ulimit -f 10; true; exec "$0" -n 60 -p 0' "$leaks/01_list"
	[ "$status" -eq 0 ]
	[[ $err == *history_add* ]]
}

@test "a descriptor that gets the number of the steps' is an ordinary one" {
	command -v perl >/dev/null || skip "no perl"
	echo 'open my $f, ">&=", $ENV{BITNET_LEAKCHECK_FD}; syswrite $f, "step\n" for 1 .. 3;' >three.pl
	try bitnet-leakcheck -q -o json:r.json -- bash -c \
		'eval "exec $BITNET_LEAKCHECK_FD>file"; exec perl three.pl'
	[ "$(wc -l <file)" -eq 3 ]
	jq -e '.source == "time" or .steps == 0' r.json
	jq -e '.seconds < 1' r.json # no wait for a sample
}

@test "of hundreds of processes, one after another, each finds a place in the ledger" {
	try bitnet-leakcheck -o json:r.json -- sh -c \
		'i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i + 1)); done; exec "$0" -n 60 -p 0' "$leaks/01_list"
	[[ $err != *"could not join"* ]]
	[ "$(jq -r '.findings[0].site' r.json)" = history_add ]
}

@test "a full ledger says how much it dropped" {
	try bitnet-leakcheck -o json:r.json --ledger-blocks 4096 -- "$leaks/04_gradient_dictionary" -n 400 -p 0
	[ "$(jq .dropped r.json)" -gt 0 ]
	[[ $err == *"the ledger was full"* ]]
}

@test "findings of C++ name its functions, and of many stacks only the largest is shown" {
	command -v c++ >/dev/null || skip "there is no C++ compiler"
	cat >map.cc <<-'EOF'
		#include <string>
		#include <unistd.h>
		#include <unordered_map>
		struct Names {
			std::unordered_map<std::string, std::string> all;
			__attribute__((noinline)) void remember(int i)
			{
				all["a key that is long enough " + std::to_string(i)] = "a value that is long enough too";
			}
		};
		int main(int, char **argv)
		{
			Names n;
			for (int i = 0; i < 100; i++) {
				n.remember(i);
				if (write(atoi(argv[1]), "step\n", 5) < 0)
					return 1;
			}
		}
	EOF
	c++ -O2 -g -o map map.cc
	try bitnet-leakcheck -o json:r.json -o tap:r.tap -- sh -c 'exec ./map $BITNET_LEAKCHECK_FD'
	[ "$status" -eq 1 ]
	jq -e 'all(.findings[]; .site == "Names::remember")' r.json
	[ "$(jq '.findings | length' r.json)" -gt 1 ]
	[ "$(grep -c 'from Names::remember' err)" -eq 1 ]
	[[ $err == *" stacks; of the largest, "* ]]
	grep -q '^1\.\.2$' r.tap
}

@test "by time, a program that frees everything at its end leaks all the same" {
	command -v cc >/dev/null || skip "there is no compiler"
	cat >tidy.c <<-'EOF'
		#include <stdlib.h>
		#include <unistd.h>
		struct node { struct node *next; char b[500]; };
		int main(void)
		{
			struct node *head = NULL;
			for (int i = 0; i < 400; i++) {
				struct node *n = malloc(sizeof *n);
				n->next = head;
				head = n;
				usleep(5000);
			}
			for (int i = 0; head; i++) {
				struct node *n = head;
				head = n->next;
				free(n);
				usleep(200);
			}
			return 0;
		}
	EOF
	cc -g -fno-builtin -o tidy tidy.c
	try bitnet-leakcheck -o json:r.json -- ./tidy
	[ "$(jq -r .verdict r.json)" = growth ]
	[ "$(jq -r '.findings[0].site' r.json)" = main ]
}

@test "an allocator that maps memory with its lock held is not stopped" {
	command -v cc >/dev/null || skip "there is no compiler"
	cat >locked.c <<-'EOF'
		#include <pthread.h>
		#include <string.h>
		#include <sys/mman.h>
		#include <unistd.h>
		static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
		void *malloc(size_t n)
		{
			pthread_mutex_lock(&lock);
			char *p = mmap(NULL, n + 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			pthread_mutex_unlock(&lock);
			*(size_t *)p = n;
			return p + 16;
		}
		void free(void *p) { if (p) munmap((char *)p - 16, *(size_t *)((char *)p - 16) + 16); }
		void *calloc(size_t n, size_t m) { return malloc(n * m); }
		void *realloc(void *p, size_t n)
		{
			void *q = malloc(n);
			size_t k = p ? *(size_t *)((char *)p - 16) : 0;
			if (p)
				memcpy(q, p, k < n ? k : n);
			free(p);
			return q;
		}
		static void *run(void *p) { free(malloc(100)); return p; }
		int main(void)
		{
			pthread_t t[4];
			for (int i = 0; i < 50; i++) {
				for (int k = 0; k < 4; k++)
					pthread_create(&t[k], NULL, run, NULL);
				for (int k = 0; k < 4; k++)
					pthread_join(t[k], NULL);
			}
			return 3;
		}
	EOF
	cc -w -fno-builtin -o locked locked.c -lpthread
	try bitnet-leakcheck -q --exit-status=command -- ./locked
	[ "$status" -eq 3 ]
	cc -w -fno-builtin -fPIC -shared -Dmain=unused -o locked.so locked.c
	LD_PRELOAD=$PWD/locked.so try bitnet-leakcheck -q --exit-status=command -l stack -- ./locked
	[ "$status" -eq 3 ]
}

@test "what the ledger cannot see is said: RTLD_DEEPBIND, an own malloc, a static program" {
	command -v cc >/dev/null || skip "there is no compiler"
	echo '#include <stdlib.h>
		void *take(void) { return malloc(10); }' >lib.c
	echo '#include <dlfcn.h>
		int main(void) { void *h = dlopen("./lib.so", RTLD_NOW | DEEP);
		return !h || !((void *(*)(void))dlsym(h, "take"))(); }' >main.c
	echo '#include <stddef.h>
		static char heap[4096]; static size_t n;
		void *malloc(size_t k) { n += (k + 15) & ~15ul; return n > 4096 ? NULL : heap + n - k; }
		void free(void *p) { (void)p; }
		int main(void) { return !malloc(3); }' >own.c
	cc -shared -fPIC -o lib.so lib.c
	cc -D_GNU_SOURCE -DDEEP=RTLD_DEEPBIND -o deep main.c -ldl
	cc -D_GNU_SOURCE -DDEEP=0 -o plain main.c -ldl
	cc -fno-builtin -w -o own own.c
	try bitnet-leakcheck -- ./deep
	[[ $err == *RTLD_DEEPBIND* ]]
	try bitnet-leakcheck -- ./plain
	[[ $err != *RTLD_DEEPBIND* ]]
	try bitnet-leakcheck -- ./own
	[[ $err == *"brings its own malloc"* ]]
	echo 'int main(void) { return 0; }' >nothing.c
	cc -static -o static nothing.c || skip "no static C library"
	try bitnet-leakcheck -- ./static
	[[ $err == *"no ledger: the command is static"* ]]
	try bitnet-leakcheck -p $$ -T 0.1
	[[ $err != *"no ledger"* ]]
}

@test "a terminal of 20 columns is kept to" {
	COLUMNS=20 LC_ALL=C try bitnet-leakcheck -- "$leaks/02_list_overwritten" -n 60 -p 0
	[ "$(awk '{ if (length > m) m = length } END { print m }' err)" -le 20 ]
	COLUMNS=20 LC_ALL=C try bitnet-leakcheck -- "$leaks/e_cache_same" -n 60 -p 0
	[ "$(awk '{ if (length > m) m = length } END { print m }' err)" -le 20 ]
	[ "$(grep -c '\*' err)" -gt 0 ]
}

@test "a JSON report renders again, in every form" {
	try bitnet-leakcheck -o json:r.json -- "$leaks/02_list_overwritten" -n 100 -p 0
	for form in text tap junit csv svg json; do
		try bitnet-leakcheck -q -o $form:r.$form -r r.json
		[ "$status" -eq 1 ]
		[ -s r.$form ]
	done
	[[ $out == LEAK* ]]
	cmp <(jq -S . r.json) <(bitnet-leakcheck -q -o json:- -r r.json | sed '/^LEAK/,$d' | jq -S .)
	grep -q '^not ok 1 - ' r.tap
	grep -q '<failure type="leak"' r.junit
	[ "$(wc -l <r.csv)" -eq $(($(jq ".step | length" r.json) + 1)) ]
	grep -q '</svg>' r.svg
}

@test "a suppressed leak is clean" {
	echo 'leak:node_new' >supp
	try bitnet-leakcheck -u supp -- "$leaks/02_list_overwritten" -n 100 -p 0
	[ "$status" -eq 0 ]
	[[ $err == *suppressed* ]]
	echo 'race:x' >supp
	try bitnet-leakcheck -q -u supp -- "$leaks/e_cache_same" -n 40 -p 0
	[ "$status" -eq 2 ]
	[[ $err == *"supp: line 1: expected leak:PATTERN or growth:PATTERN"* ]]
}

@test "a baseline of the same program finds nothing worse" {
	try bitnet-leakcheck -q -B base -- "$leaks/e_cache_same" -n 100 -p 0
	[ "$status" -eq 0 ]
	sort -c base
	try bitnet-leakcheck -q -b base -- "$leaks/e_cache_same" -n 100 -p 0
	[ "$status" -eq 0 ]
	awk '{ $3 = int($3 / 2); print }' base >half
	try bitnet-leakcheck -q -b half -o json:r.json -- "$leaks/e_cache_same" -n 100 -p 0
	[ "$status" -eq 1 ]
	[ "$(jq -r .verdict r.json)" = regression ]
}

@test "the guard warns, runs the hook, and stops the command" {
	try bitnet-leakcheck -M 8M --grace 0.1 -K 'echo hook $PID' -o json:r.json -- \
		"$leaks/09_quantizer_temporary" -n 100000 -p 1000
	[ "$status" -eq 1 ]
	[ "$(jq -r .verdict r.json)" = guard ]
	[ "$(jq .signal r.json)" -eq 15 ]
	[[ $err == *"hook "* ]]
	[ "$(jq -r '[.actions[].what[:4]] | join(" ")' r.json)" = "warn ran  sent" ]
}

@test "without a hook the guard sends USR1 to a command that catches it, before TERM" {
	try bitnet-leakcheck -q -M 1M --grace 0.1 -o json:r.json -- bash -c \
		'trap "echo saved" USR1; trap "exit 5" TERM; a=$(head -c 4000000 /dev/zero | tr "\0" x); while :; do sleep 0.05; done'
	[ "$(jq -r '[.actions[].what[:9]] | join("; ")' r.json)" = "warning: ; sent USR1; sent TERM" ]
	[ "$(jq .status r.json)" -eq 5 ]
	[[ $out == saved* ]]
}

@test "a limit on device memory that cannot be measured is not passed over in silence" {
	[ -z "$(ldconfig -p 2>/dev/null | grep libnvidia-ml.so.1)" ] || skip "there is NVML"
	try bitnet-leakcheck -M device:1G -- true
	[[ $err == *"device memory could not be measured"* ]]
}

@test "the guard kills what ignores TERM" {
	try bitnet-leakcheck -M 4M --grace 0.1 -o json:r.json -- sh -c \
		'trap "" TERM; "$0" -n 100000 -p 1000 & wait; wait; sleep 30' "$leaks/09_quantizer_temporary"
	[ "$(jq .signal r.json)" -eq 9 ]
}

@test "growth per step over its limit stops the command" {
	try bitnet-leakcheck --max-step-growth 100K --grace 0.1 -o json:r.json -- \
		"$leaks/09_quantizer_temporary" -n 100000 -p 1000
	[ "$(jq -r .verdict r.json)" = guard ]
	jq -e 'any(.actions[]; .what | contains("growth per step"))' r.json
}

@test "a file that cannot be written is trouble" {
	try bitnet-leakcheck -q -o json:none/r.json -- true
	[ "$status" -eq 2 ]
	[[ $err == *"none/r.json: cannot create"* ]]
	try bitnet-leakcheck -o picture:x -- true
	[ "$status" -eq 2 ]
}

@test "a built-in workload is clean, and an unknown one is named" {
	model=$BATS_TEST_DIRNAME/data/shakespeare.gguf
	try bitnet-leakcheck -q -w load -m "$model" -o junit:r.xml
	[ "$status" -eq 0 ]
	grep -q 'workload load' r.xml
	try bitnet-leakcheck -w none
	[ "$status" -eq 2 ]
	[[ $err == *"no workload 'none'"* ]]
}
