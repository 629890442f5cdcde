/* A directory read half-way: the rest has every other entry exactly once. */
#include "guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

enum { ENTRIES = 2000 };

int main(int argc, char **argv)
{
	static unsigned char seen[ENTRIES];
	unsigned n = 0;
	char name[64];
	guest_start(argc, argv);
	guest_sys(mkdir("many", 0755));
	for (unsigned i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof(name), "many/entry-%u", i);
		close((int)guest_sys(open(name, O_CREAT | O_WRONLY, 0644)));
	}
	DIR *d = opendir("many");
	guest_check(d);
	struct dirent *e = NULL;
	for (; n < ENTRIES / 2 && (e = readdir(d));) {
		unsigned i;
		if (sscanf(e->d_name, "entry-%u", &i) == 1 && i < ENTRIES) {
			seen[i]++;
			n++;
		}
	}
	guest_eq(n, ENTRIES / 2);
	guest_ready();
	guest_wait_go();
	while ((e = readdir(d))) {
		unsigned i;
		if (sscanf(e->d_name, "entry-%u", &i) == 1 && i < ENTRIES) {
			seen[i]++;
			n++;
		}
	}
	for (unsigned i = 0; i < ENTRIES; i++)
		if (seen[i] != 1)
			guest_bad("entry-%u was seen %u times", i, seen[i]);
	rewinddir(d);
	for (n = 0; (e = readdir(d)); n++)
		;
	guest_eq(n, ENTRIES + 2);
	return 0;
}
