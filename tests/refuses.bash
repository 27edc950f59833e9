# What tests of all programs ask of a refusal.

# The command ends with status $1, nothing on standard output and the one line $2 (a pattern).
refuses() {
	local want=$1 pattern=$2
	shift 2
	run --separate-stderr "$@"
	echo "status $status, stderr: $stderr"
	[ "$status" -eq "$want" ]
	[ -z "$output" ]
	[ "${#stderr_lines[@]}" -eq 1 ]
	[[ $stderr == $pattern ]]
}
