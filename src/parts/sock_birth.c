/*
 * sock_birth.c - the sockets of an image come into being, in PID 1's program.
 *
 * A connection remembers the process that made it. That one may have ended,
 * or is not there yet: an errand (PUP_OP_ERRAND) is a process with its number
 * and ids for as long as that takes, before the tree is made.
 */
#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "parts/sockets.h"

/* Put the descriptor of a slot in its place. */
static void write_place(struct prog *p, unsigned int slot, unsigned int number)
{
	prog_sys(p, SYS_dup3, slot, number, O_CLOEXEC);
	prog_slots(p, 1);
	prog_sys(p, SYS_close, slot);
	prog_slots(p, 1);
}

static void write_socket(struct prog *p, int domain, int type, int protocol, unsigned int number)
{
	unsigned int slot = prog_slot(p);
	prog_sys(p, SYS_socket, (uint64_t)domain, (uint64_t)type | SOCK_CLOEXEC,
		 (uint64_t)protocol);
	prog_out(p, slot);
	write_place(p, slot, number);
}

static void write_pair(struct prog *p, const struct image_sock *s, const unsigned int number[2])
{
	uint64_t pair;
	prog_space(p->arena, 2 * sizeof(int), &pair);
	prog_sys(p, SYS_socketpair, (uint64_t)s->domain, (uint64_t)s->type | SOCK_CLOEXEC,
		 (uint64_t)s->protocol, pair);
	for (unsigned int i = 0; i < 2; i++) {
		unsigned int slot = prog_slot(p);
		prog_op(p, PUP_OP_LOAD, pair + i * sizeof(int));
		prog_out(p, slot);
		write_place(p, slot, number[i]);
	}
}

/*
 * An errand with other ids. The memory is everybody's, and the kernel hides
 * it from others when these change: it must be shown again.
 */
static void write_ids(struct prog *errand, const struct sock_creds *c)
{
	if (c->gid)
		prog_sys(errand, SYS_setresgid, c->gid, c->gid, c->gid);
	if (c->uid)
		prog_sys(errand, SYS_setresuid, c->uid, c->uid, c->uid);
}

static void write_errand(struct prog *p, struct prog *errand, const struct sock_creds *c,
			 uint64_t stack)
{
	p->next_slot = errand->next_slot;
	uint64_t start = prog_seal(errand);
	unsigned int dumpable = prog_slot(p);
	prog_sys(p, SYS_prctl, PR_GET_DUMPABLE);
	prog_out(p, dumpable);
	prog_op(p, PUP_OP_ERRAND, (uint64_t)c->pid, start, stack + PUP_ERRAND_BYTES);
	if (!c->uid && !c->gid)
		return;
	prog_sys(p, SYS_prctl, PR_SET_DUMPABLE, dumpable);
	prog_slots(p, 2);
	prog_mayfail(p);
}

static void write_connected(struct prog *p, const struct tree_image *im, int file,
			    unsigned int first, uint64_t stack)
{
	const struct image_sock *s = image_sock(im, file);
	const unsigned int number[2] = { sock_born(first, s, 0),
					 s->peer == IMAGE_NONE ? sock_born(first, s, 1) :
								 sock_born(first, image_sock(im, s->peer), 0) };
	if (!s->creds.pid) {
		write_pair(p, s, number);
		return;
	}
	struct prog errand;
	prog_init(&errand, p->arena);
	errand.next_slot = p->next_slot;
	write_ids(&errand, &s->creds);
	write_pair(&errand, s, number);
	write_errand(p, &errand, &s->creds, stack);
	prog_deinit(&errand);
}

/* Those that come with it are of the family of its other end. */
static void write_plain(struct prog *p, const struct tree_image *im, const struct image_sock *s,
			unsigned int first)
{
	if (s->role != SOCK_CALLED)
		write_socket(p, s->domain, s->type, s->protocol, sock_born(first, s, 0));
	int domain = s->peer == IMAGE_NONE ? s->domain : image_sock(im, s->peer)->domain;
	for (unsigned int k = 1; k <= s->others; k++)
		write_socket(p, domain, s->type, s->protocol, sock_born(first, s, k));
}

void sock_write_births(struct prog *p, const struct tree_image *im, unsigned int first)
{
	unsigned int slots = p->next_slot;
	uint64_t stack;
	prog_space(p->arena, PUP_ERRAND_BYTES, &stack);
	for (int i = 0; i < (int)im->files.n; i++) {
		if (image_file(im, i)->kind != FILE_SOCKET)
			continue;
		const struct image_sock *s = image_sock(im, i);
		p->next_slot = slots;	/* what they held is in its place */
		if (s->role != SOCK_PAIR)
			write_plain(p, im, s, first);
		else if (s->peer == IMAGE_NONE || s->peer > i)
			write_connected(p, im, i, first, stack);
	}
	p->next_slot = slots;
	write_socket(p, AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG, sock_born_diag(first, im));
	p->next_slot = slots;
}
