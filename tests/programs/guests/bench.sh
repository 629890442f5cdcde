#!/bin/sh
# pgbench against the server in this directory, until the file finish is there;
# not at full speed: there are as many of these as the test has forks.
set -u
"$1/pgbench" -n -h "$PWD" -c 4 -j 2 -R 200 -T 1000000 bench >bench.log 2>&1 &
pgbench=$!
until [ -e finish ]; do
	kill -0 $pgbench 2>/dev/null || exit 1
	sleep 0.1
done
grep -v '^pgbench ' bench.log | grep . && exit 2
kill $pgbench
wait $pgbench
[ $? -eq 143 ]
