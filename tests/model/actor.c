/* actor.c - the post, the slots, and how a request becomes an act. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct slot *slots;
int own_slot;
const char *own_path;

void futex_wait(_Atomic uint32_t *word, uint32_t while_is)
{
	while (atomic_load(word) == while_is)
		syscall(SYS_futex, word, FUTEX_WAIT, while_is, NULL, NULL, 0);
}

void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 1 << 20, NULL, NULL, 0);
}

uint32_t crc32_of(uint32_t crc, const void *bytes, size_t len)
{
	static uint32_t table[256];
	const uint8_t *at = bytes;
	for (uint32_t i = 0; !table[255] && i < 256; i++) {
		uint32_t c = i;
		for (int k = 0; k < 8; k++)
			c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
		table[i] = c;
	}
	crc = ~crc;
	while (len--)
		crc = table[(crc ^ *at++) & 255] ^ (crc >> 8);
	return ~crc;
}

long act_number(const struct act *a, size_t i)
{
	return i < a->n_words ? strtol(a->word[i], NULL, 0) : 0;
}

const char *act_word(const struct act *a, size_t i)
{
	return i < a->n_words ? a->word[i] : "";
}

void act_say(struct act *a, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(a->out + a->len, TEXT_BYTES - a->len, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= TEXT_BYTES - a->len)
		abort();	/* an answer that is cut off would be a lie */
	a->len += (size_t)n;
}

void act_result(struct act *a, long result)
{
	act_say(a, " %ld", result == -1 ? -(long)errno : result);
}

void act_bytes(struct act *a, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	act_say(a, " %zu:%08x:", len, crc32_of(0, bytes, len));
	for (size_t i = 0; i < len && i < 16; i++)
		act_say(a, "%02x", at[i]);
}

const char *act_data(const struct act *a, size_t i, size_t *len)
{
	static char bytes[TEXT_BYTES];
	const char *hex = act_word(a, i + 1);
	size_t unit = strlen(hex) / 2, times = (size_t)act_number(a, i);
	for (size_t k = 0; k < unit * times && k < sizeof(bytes); k++) {
		unsigned int byte;
		sscanf(hex + k % unit * 2, "%2x", &byte);
		bytes[k] = (char)byte;
	}
	*len = unit * times;
	return bytes;
}

static const struct act_row *const tables[] = {
	file_acts,
	memory_acts,
	queue_acts,
	process_acts,
};

/* Do what `text` says; it becomes the answer. */
static void perform(char *text)
{
	static char words[TEXT_BYTES];
	struct act a = {.out = text};
	strcpy(words, text);
	char *rest = words;
	const char *name = strtok_r(words, " ", &rest);
	for (char *w; a.n_words < WORDS && (w = strtok_r(NULL, " ", &rest));)
		a.word[a.n_words++] = w;
	text[0] = '\0';
	for (size_t t = 0; name && t < sizeof(tables) / sizeof(tables[0]); t++)
		for (const struct act_row *row = tables[t]; row->name; row++)
			if (!strcmp(row->name, name)) {
				row->run(&a);
				return;
			}
	act_say(&a, " no act has this name");
}

/* Odd slots wait for a byte, even ones for a word of memory. */
static void await_turn(int slot, uint32_t seen)
{
	if (slot % 2 == 0) {
		futex_wait(&slots[slot].asked, seen);
		return;
	}
	char byte;
	while (read(CHANNEL_FD + 2 * slot, &byte, 1) != 1)
		if (errno != EINTR)
			abort();
}

void serve(int slot, uint32_t seen)
{
	own_slot = slot;
	for (;;) {
		await_turn(slot, seen);
		perform(slots[slot].text);
		atomic_store(&slots[slot].done, ++seen);
		futex_wake(&slots[slot].done);
	}
}

/* Hand the text to a slot without waiting for the end. */
static void hand_over(int slot, const char *text)
{
	strcpy(slots[slot].text, text);
	atomic_fetch_add(&slots[slot].asked, 1);
	if (slot % 2 == 0)
		futex_wake(&slots[slot].asked);
	else if (write(CHANNEL_FD + 2 * slot + 1, "", 1) != 1)
		abort();
}

/*
 * The end of a process, by its own doing or, with a signal, by that: all that
 * it held is closed when this returns.
 */
static long await_end(int slot, const char *text, int signal)
{
	int pidfd = (int)syscall(SYS_pidfd_open, slots[slot].pid, 0);
	if (pidfd < 0)
		return -errno;
	if (signal)
		syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
	else
		hand_over(slot, text);
	struct pollfd end = {.fd = pidfd, .events = POLLIN};
	while (poll(&end, 1, -1) < 0)
		;
	close(pidfd);
	/* the next process there finds it at rest */
	atomic_store(&slots[slot].done, atomic_load(&slots[slot].asked));
	return 0;
}

/* Do "SLOT ACT WORD..", here or there; `text` becomes the answer. */
static void deliver(char *text)
{
	char *act;
	int slot = (int)strtol(text, &act, 10), signal;
	act += *act == ' ';
	memmove(text, act, strlen(act) + 1);
	if (!strncmp(text, "exit ", 5)) {
		sprintf(text, " %ld", await_end(slot, text, 0));
	} else if (sscanf(text, "destroy %d", &signal) == 1) {
		sprintf(text, " %ld", await_end(slot, NULL, signal));
	} else if (slot == 0) {
		perform(text);
	} else {
		hand_over(slot, text);
		uint32_t done;
		while ((done = atomic_load(&slots[slot].done)) != atomic_load(&slots[slot].asked))
			futex_wait(&slots[slot].done, done);
		strcpy(text, slots[slot].text);
	}
}

static void map_slots(void)
{
	slots = mmap(NULL, SLOTS * sizeof(*slots), PROT_READ | PROT_WRITE, MAP_SHARED, SLOTS_FD, 0);
	if (slots == MAP_FAILED)
		abort();
}

static void make_slots(void)
{
	int fd = memfd_create("slots", 0);
	if (ftruncate(fd, SLOTS * sizeof(*slots)) || dup2(fd, SLOTS_FD) < 0)
		abort();
	close(fd);
	map_slots();
	slots[0].pid = getpid();
	for (int i = 1; i < SLOTS; i += 2) {
		int ends[2];
		if (pipe(ends))
			abort();
		for (int k = 0; k < 2; k++) {
			if (dup2(ends[k], CHANNEL_FD + 2 * i + k) < 0)
				abort();
			close(ends[k]);
		}
	}
}

/* The program was executed anew in a process that has a slot. */
_Noreturn static void go_on(int slot)
{
	map_slots();
	uint32_t seen = atomic_load(&slots[slot].asked);
	strcpy(slots[slot].text, " 0");
	atomic_store(&slots[slot].done, seen);
	futex_wake(&slots[slot].done);
	serve(slot, seen);
}

int main(int argc, char **argv)
{
	static char line[TEXT_BYTES];
	own_path = argv[0];
	if (argc > 1)
		go_on(atoi(argv[1]));
	signal(SIGPIPE, SIG_IGN);
	make_slots();
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		char *rest;
		unsigned long number = strtoul(line, &rest, 10);
		memmove(line, rest, strlen(rest) + 1);
		deliver(line);
		printf("%lu%s\n", number, line);
		fflush(stdout);
	}
	return 0;
}
