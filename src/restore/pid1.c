/*
 * pid1.c - the program of PID 1: mounts, rendezvous, descriptors, the tree,
 * then mulligan-init.
 *
 * It shares the template's memory until it executes, so it takes away again
 * whatever it maps there.
 */
#include "restore/pid1.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "parts/shm.h"
#include "parts/sockets.h"
#include "sandbox/confine.h"
#include "sandbox/init/proto.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4
#endif

enum { BORN_AFTER = 64 };	/* what PID 1 keeps above fd_base itself */

static uint64_t status_word(struct build *b, uint32_t *word)
{
	return prog_remote(&b->arena, word);
}

static void write_defaults(struct prog *p)
{
	uint64_t defaults[4] = { 0 };
	/* templates ignore it; a tree whose parents ignore it has no zombies */
	prog_sys(p, SYS_rt_sigaction, SIGCHLD,
		 prog_data(p->arena, defaults, sizeof(defaults)), 0, 8);
}

/* Move a descriptor out of the way of the numbers that the tree uses. */
static unsigned int keep_high(struct build *b, struct prog *p, unsigned int slot)
{
	unsigned int high = prog_slot(p);
	prog_sys(p, SYS_fcntl, slot, F_DUPFD_CLOEXEC, b->fd_base);
	prog_slots(p, 1);
	prog_out(p, high);
	return high;
}

static void write_rendezvous(struct build *b, struct prog *p, unsigned int socket)
{
	struct pup_status *status = prog_status(&b->arena);
	const uint64_t go = 0;
	prog_op(p, PUP_OP_NOTIFY, status_word(b, &status->reached), 1);
	/* not a futex: the end of the keeper must end this, too */
	prog_sys(p, SYS_read, socket, prog_data(&b->arena, &go, sizeof(go)), sizeof(go));
	prog_slots(p, 1);
	prog_exact(p, sizeof(go));
	prog_sys(p, SYS_close_range, b->born, sock_born_diag(b->born, b->image), 0);
	size_t n = b->image->files.n + b->exes.n;
	if (n) {
		prog_op(p, PUP_OP_RECVFDS, socket, n, b->fd_base, b->file_slot);
		prog_slots(p, 1);
	}
	/* what the template holds is of another mount: its path is not whole */
	for (size_t i = 0; i < b->exes.n; i++) {
		const struct image_map_file *f = vec_at(&b->image->map_files,
							(size_t)*(int *)vec_at(&b->exes, i));
		prog_sys(p, SYS_dup3, b->file_slot + b->image->files.n + i,
			 (uint64_t)f->template_fd, O_CLOEXEC);
		prog_slots(p, 1);
	}
}

static void write_ghost_waits(struct build *b, struct prog *p)
{
	vec_each(struct image_proc, proc, &b->image->procs)
		if (proc->state == PROC_GHOST && proc->parent == IMAGE_NONE) {
			prog_sys(p, SYS_wait4, (uint64_t)proc->pid, 0,
				 0x40000000 /* __WALL */, 0);
			/* a session's ghost may have reaped a group's */
			prog_mayfail(p);
		}
}

static void write_exec(struct prog *p, unsigned int socket, unsigned int image,
		       unsigned int confine)
{
	/* tests: which call of it is to fail */
	const char *fault = getenv("MULLIGAN_FAULT_INIT");
	uint64_t argv[3] = { prog_string(p->arena, "mulligan-init"),
			     fault ? prog_string(p->arena, fault) : 0 };
	uint64_t env[1] = { 0 };
	prog_sys(p, SYS_dup3, socket, INIT_SOCKET_FD, 0);
	prog_slots(p, 1);
	prog_sys(p, SYS_dup3, confine, INIT_CONFINE_FD, 0);
	prog_slots(p, 1);
	prog_sys(p, SYS_close_range, INIT_CONFINE_FD + 1, ~0u, CLOSE_RANGE_CLOEXEC);
	prog_sys(p, SYS_execveat, image, prog_string(p->arena, ""),
		 prog_data(p->arena, argv, sizeof(argv)), prog_data(p->arena, env, sizeof(env)),
		 AT_EMPTY_PATH);
	prog_slots(p, 1);
}

size_t pid1_fds(struct build *b, int *fds)
{
	size_t n = 0;
	for (size_t i = 0; i < b->mounts.n; i++)
		fds[n++] = b->mounts.fds[i];
	fds[n++] = b->init_theirs;
	fds[n++] = b->en->init_image_fd;
	fds[n++] = b->en->confine_fd;
	for (size_t i = 0; i < limits_doors(b->en->limits); i++)
		fds[n++] = b->doors[i];
	vec_each(struct image_shm, s, &b->image->shms)
		if (n < PUP_FDS_MAX - 2)
			fds[n++] = s->content_fd;
	return n;
}

/* Into the group, by itself, before anything else. */
static void write_join(struct build *b, struct prog *p, unsigned int first_door)
{
	for (size_t i = 0; i < limits_doors(b->en->limits); i++) {
		prog_sys(p, SYS_write, first_door + i, prog_string(p->arena, "0"), 1);
		prog_slots(p, 1);
		prog_sys(p, SYS_close, first_door + i);
		prog_slots(p, 1);
	}
}

int pid1_write(struct build *b, struct err *e)
{
	struct prog *p = &b->pid1;
	unsigned int first = (unsigned int)b->mounts.n;
	unsigned int shms = first + 3 + (unsigned int)limits_doors(b->en->limits);
	if (shms + b->image->shms.n > PUP_FDS_MAX - 2)
		return err_set(e, E2BIG, "more than %u mounts and shared memory objects",
			       PUP_FDS_MAX - 2 - (shms - first));
	prog_init(p, &b->arena);
	p->next_slot = shms + (unsigned int)b->image->shms.n;
	b->file_slot = p->next_slot;
	p->next_slot += (unsigned int)(b->image->files.n + b->exes.n);
	if (p->next_slot > PUP_SLOTS - 256)
		return err_set(e, E2BIG, "more than %d open file descriptions", PUP_SLOTS - 512);
	write_defaults(p);
	write_join(b, p, first + 3);
	mounts_emit(p, b->en->mounts, &b->mounts, 0);
	unsigned int socket = keep_high(b, p, first);
	unsigned int image = keep_high(b, p, first + 1);
	unsigned int confine = keep_high(b, p, first + 2);
	b->born = b->fd_base + BORN_AFTER + (unsigned int)(b->image->files.n + b->exes.n);
	sock_write_births(p, b->image, b->born);
	write_rendezvous(b, p, socket);
	/* the tree inherits it; it takes nothing from PID 1 itself */
	confine_emit_bounding(p, b->en->bounding, confine_bounding());
	shm_emit_objects(p, b->image, shms);
	b->next_slot = p->next_slot;
	int r = build_programs(b, e);
	if (r)
		return r;
	tree_write_children(b, p, IMAGE_NONE);
	tree_write_pidfds(b, p);
	if (b->image->shms.n)
		prog_sys(p, SYS_munmap, PUP_SHM, PUP_SHM_END - PUP_SHM);
	write_ghost_waits(b, p);
	/* the template's memory is as it was */
	write_exec(p, socket, image, confine);
	b->pid1_address = prog_seal(p);
	return b->arena.failed ? err_set(e, ENOMEM, "the program of PID 1 does not fit") : 0;
}
