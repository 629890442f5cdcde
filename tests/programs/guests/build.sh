# build.sh once: builds tree/ and keeps the sums of what comes out in want.
# build.sh: builds over and over, and compares.
set -e
build()
{
	make -C tree -s clean
	make -C tree -s -j4
	(cd tree && ./program && sha256sum *.o program) | sha256sum
}

if [ "$1" = once ]; then
	build >want
	exit
fi
n=0
while [ ! -e finish ]; do
	n=$((n + 1))
	build >have
	cmp have want || { echo "build $n is another"; exit 1; }
	echo "$n $(cut -c1-64 want)" >progress.new
	mv progress.new progress
done
