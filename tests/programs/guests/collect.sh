# A repository that grows by a commit a step, and is packed anew at each.
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
export HOME=$PWD GIT_CONFIG_NOSYSTEM=1
set -e

# step REPOSITORY N: the N-th commit
step()
{
	for i in 1 2 3 4; do
		seq $(($2 * i)) $(($2 * i + 300)) >"$1/file.$i"
	done
	seq 1 $(($2 * 3)) >"$1/new.$(($2 % 50))"
	git -C "$1" add -A
	GIT_AUTHOR_DATE="$((1700000000 + $2)) +0000" GIT_COMMITTER_DATE="$((1700000000 + $2)) +0000" \
		git -C "$1" commit -q -m "step $2"
}

# again REPOSITORY N: N commits and nothing else, for comparison
if [ "$1" = again ]; then
	git init -q "$2"
	git -C "$2" config gc.auto 0
	for n in $(seq 1 "$3"); do
		step "$2" "$n"
	done
	git -C "$2" rev-parse HEAD
	exit
fi

git init -q repo
git -C repo config gc.auto 0
n=0
while [ ! -e finish ]; do
	n=$((n + 1))
	step repo $n
	git -C repo gc -q --aggressive --prune=now
	git -C repo fsck --full --strict --no-progress 2>fsck.err || { cat fsck.err; exit 1; }
	[ "$(git -C repo rev-list --count HEAD)" = $n ]
	[ "$(git -C repo count-objects)" = "0 objects, 0 kilobytes" ]
	echo "$n $(git -C repo rev-parse HEAD)" >progress.new
	mv progress.new progress
done
