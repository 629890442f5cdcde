# A git work tree with a commit, an edit in the index and one beside it.
set -e
export GIT_CONFIG_GLOBAL=/dev/null
git init -q tree
cd tree
git config user.name demo
git config user.email demo@example.org
for i in $(seq 1 200); do
	printf 'int value_%d(void)\n{\n\treturn %d;\n}\n' "$i" "$i" > "file_$i.c"
done
git add .
git commit -qm 'A beginning'
echo '/* staged */' >> file_1.c
git add file_1.c
echo '/* not staged */' >> file_2.c
echo new > untracked
