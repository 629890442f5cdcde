# tree.sh FILES: a source tree of so many files and a Makefile, in tree/
set -e
mkdir tree
for i in $(seq 1 "$1"); do
	{
		echo '#include <stdio.h>'
		echo '#include <stdlib.h>'
		echo '#include <string.h>'
		for f in $(seq 1 5); do
			cat <<-END
			static int part_${i}_$f(int x)
			{
				char text[64];
				snprintf(text, sizeof(text), "%d-%d", x * $f, $i);
				for (size_t k = 0; k < strlen(text); k++)
					x = (x << 3) ^ (x >> 5) ^ text[k];
				return x;
			}
			END
		done
		echo "int file_$i(int x)"
		echo '{'
		for f in $(seq 1 5); do
			echo "	x += part_${i}_$f(x);"
		done
		echo '	return x;'
		echo '}'
	} >"tree/file_$i.c"
done
{
	for i in $(seq 1 "$1"); do
		echo "int file_$i(int x);"
	done
	echo '#include <stdio.h>'
	echo 'int main(void)'
	echo '{'
	echo '	int x = 1;'
	for i in $(seq 1 "$1"); do
		echo "	x ^= file_$i(x);"
	done
	printf '	printf("%%d\\n", x);\n'
	echo '}'
} >tree/main.c
cat >tree/Makefile <<'END'
OBJECTS = $(patsubst %.c,%.o,$(sort $(wildcard *.c)))
program: $(OBJECTS)
	gcc -o $@ $^
%.o: %.c
	gcc -O1 -c -o $@ $<
clean:
	rm -f *.o program
END
