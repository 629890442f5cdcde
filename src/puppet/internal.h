/*
 * internal.h - what the blob's files share. Freestanding: no libc.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "puppet/abi.h"
#include "puppet/arch/x86_64/syscall.h"

/* What went wrong, for whoever reports it. */
struct run_error {
	long error;		/* errno value */
	uint64_t op;		/* address of the op */
};

/*
 * Run a program. Returns when it ends: 0, or -errno with *err. status may be
 * NULL. Does not return from PUP_OP_PARK.
 */
long run_program(const struct pup_op *op, struct pup_status *status,
		 struct run_error *err);

/* gcc may call these; they must not be vectorised. */
void *memcpy(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);

/* One datagram with descriptors, in the kernel's 64-bit layout of recvmsg(2). */
struct message {
	struct {
		uint64_t len;		/* struct cmsghdr */
		int32_t level, type;
		int32_t fd[PUP_FDS_MAX];
	} control;
	struct {
		void *base;
		uint64_t len;
	} iov;
	struct {
		void *name;
		uint32_t name_len;
		void *iov;
		uint64_t iov_len;
		void *control;
		uint64_t control_len;
		int flags;
	} header;
	unsigned int n_fds;	/* received in control.fd, close-on-exec */
};

/* Receive up to len bytes: their number, 0 at end of file, or -errno. */
long message_receive(struct message *m, long socket, void *bytes, uint64_t len);

/* Send bytes, with one descriptor unless fd is negative: 0 or -errno. */
long message_send(struct message *m, long socket, void *bytes, uint64_t len,
		  int fd);

/* Keep value in a slot, before a program runs. */
void run_set_slot(unsigned int slot, uint64_t value);

/* Wake every process that sleeps on a word. */
void run_wake(uint32_t *word);

/* Sleep while a word has the value seen; may return early. */
void run_sleep(uint32_t *word, uint32_t seen);

/* The request loop of a template; socket is its first keeper's. */
__attribute__((noreturn)) void puppet_template(void);

__attribute__((noreturn)) static inline void run_exit(int code)
{
	for (;;)
		raw_syscall3(231, code, 0, 0);	/* exit_group */
}
