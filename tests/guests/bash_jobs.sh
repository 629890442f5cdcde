# A shell with background jobs, a coprocess, traps and variables of its own.
go=$1
bad()
{
	echo "$*"
	kill %1 %2 2>/dev/null
	exit 1
}

trap 'caught=$((caught + 1))' USR1
caught=0
(
	while [ ! -e "$go" ]; do sleep 0.02; done
	exit 7
) &
job=$!
(trap 'exit 9' TERM; while :; do sleep 0.02; done) &
second=$!
coproc upper { while read -r line; do echo "${line^^}"; done; }
n=0
declare -A table=([one]=1 [two]=2)
echo hello >&"${upper[1]}"
read -r -u "${upper[0]}" answer
[ "$answer" = HELLO ] || bad "the coprocess said '$answer'"
echo ready
while [ ! -e "$go" ]; do
	n=$((n + 1))
	echo "line $n" >&"${upper[1]}"
	read -r -u "${upper[0]}" answer
	[ "$answer" = "LINE $n" ] || bad "after line $n the coprocess said '$answer'"
	sleep 0.01
done
kill -USR1 $$
[ "$caught" = 1 ] || bad "the trap ran $caught times"
[ "${table[one]}${table[two]}" = 12 ] || bad "the table is ${table[*]}"
wait "$job"
[ $? = 7 ] || bad "the first job ended with $?"
kill -TERM "$second"
wait "$second"
[ $? = 9 ] || bad "the second job ended with $?"
[ "$(echo a b | wc -w)" = 2 ] || bad "no pipeline"
exec {upper[1]}>&-
exit 0
