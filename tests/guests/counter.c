/* A counter whose every value is the last one plus one, with a running sum. */
#include "guest.h"

enum { TABLE = 1 << 14 };

static uint64_t table[TABLE];

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	uint64_t n = 0, sum = 0, check = 0;
	guest_ready();
	while (!guest_go() || n < 100000) {
		for (int i = 0; i < 1000; i++, n++) {
			table[n % TABLE] = n;
			sum = guest_mix(sum, table[n % TABLE]);
		}
		if (n % 5000 == 0)
			guest_sleep_ms(1);
	}
	for (uint64_t i = 0; i < n; i++)
		check = guest_mix(check, i);
	guest_check(sum == check);
	for (uint64_t i = n - TABLE; i < n; i++)
		guest_eq(table[i % TABLE], i);
	return 0;
}
