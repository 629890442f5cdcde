# A shell with a job in the background. Told to on the pipe `tell`, it ends the
# job and says how `wait $!` went.
(trap 'exit 42' TERM; while :; do sleep 0.05; done) &
echo "session up, job $!"
while read -r word < tell; do
	kill -TERM $!
	wait $!
	echo "job $! ended with $? ($word)" > told
done
