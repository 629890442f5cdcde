/* leaks.h - what a test left behind: descriptors, children, mounts. */
#pragma once

#include <stdbool.h>

struct leaks {
	char *fds;                     /* "number target" lines */
	char *mounts;                  /* mountinfo */
	unsigned long mount_namespace; /* which it is of */
};

/* Remember the state before the test. mounts: this process has its own. */
void leaks_note(struct leaks *before, bool mounts);

/* Print what is there now and was not before. Returns whether anything is. */
bool leaks_report(const struct leaks *before, bool mounts, bool fds);
void leaks_free(struct leaks *before);

/* Kill and reap every child of this process. Returns how many still ran. */
unsigned leaks_kill_children(void);
