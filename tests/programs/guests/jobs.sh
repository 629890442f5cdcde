# A script with background jobs, waits and traps. Each step three jobs write a
# part each. The second signals the script, which waits for it, and ends when
# the trap has told it: bash 5.2 hangs when a trap and the end of the job that
# is waited for come together.
modulus=1000003
n=0 value=0 traps=0
trap 'traps=$((traps + 1)); touch trapped' USR1
trap 'touch exited' EXIT

job()
{
	echo $(($2 * $1)) >"part.$1"
	if [ "$1" = 2 ]; then
		until [ -e collected ]; do sleep 0.001; done
		kill -USR1 $$
		until [ -e trapped ]; do sleep 0.001; done
	else
		sleep "0.00$1"
	fi
	exit "$1"
}

# collect K PID: wait for job K
collect()
{
	while wait "$2"; status=$?; [ $status -gt 128 ]; do :; done
	[ $status = "$1" ] && return
	echo "job $1 ended with $status"
	exit 1
}

while [ ! -e finish ]; do
	n=$((n + 1))
	rm -f collected trapped
	job 1 $n & first=$!
	job 2 $n & second=$!
	job 3 $n & third=$!
	collect 1 $first
	collect 3 $third
	touch collected
	collect 2 $second
	[ $traps = $n ] || { echo "$traps traps in $n steps"; exit 1; }
	sum=$(($(cat part.1) + $(cat part.2) + $(cat part.3)))
	value=$(((value * 31 + sum / 6) % modulus))
	echo "$n $value" >progress.new
	mv progress.new progress
done
[ -z "$(jobs)" ] || { echo "jobs are left"; exit 1; }
exit 0
