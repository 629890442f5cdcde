# A git work tree with staged and unstaged edits, and a loop that commits.
go=$1
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
bad()
{
	echo "$*"
	exit 1
}

git init -q tree && cd tree || bad "git init"
seq 1 100 > numbers
git add numbers && git commit -qm first || bad "first commit"
seq 1 50 > staged
git add staged
echo edited >> numbers
mkdir sub && echo untracked > sub/new
before=$(git status --porcelain; git diff; git diff --cached)
n=0
echo ready
while [ ! -e "$go" ]; do
	n=$((n + 1))
	echo "$n" > "counter"
	git stash list > /dev/null || bad "git stash list"
	git hash-object -w counter > /dev/null || bad "git hash-object"
	rm counter
	sleep 0.02
done
after=$(git status --porcelain; git diff; git diff --cached)
[ "$before" = "$after" ] || bad "the work tree changed: $after"
git fsck --full --strict > fsck.out 2>&1 || bad "git fsck: $(cat fsck.out)"
rm fsck.out
git commit -qam second || bad "second commit"
[ "$(git log --oneline | wc -l)" = 2 ] || bad "not two commits"
exit 0
