/*
 * start.c - the first template: a fork of the keeper becomes a blank slate.
 *
 * The child maps the blob, parks the vdso, gives up what the kernel would
 * still write into its memory (rseq, robust list, tid address) and enters the
 * blob, which unmaps all the rest. A fork, not an exec: there is no binary to
 * find, and the address space has no loader in it.
 */
#include "template/template.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/rseq.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "puppet/blob.h"
#include "sys/fd.h"
#include "sys/sock.h"
#include "template/internal.h"

enum { VDSO_MAPS = 4 };	/* [vvar] [vvar_vclock] [vdso]: 3 on 6.18 */

struct vdso_layout {
	unsigned int n;
	struct {
		uint64_t start, end;
	} map[VDSO_MAPS];
};

/* Where the kernel put vvar and vdso in this process. */
static int vdso_find(struct vdso_layout *v)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	if (!maps)
		return -errno;
	char line[512];
	v->n = 0;
	while (fgets(line, sizeof(line), maps)) {
		unsigned long start, end;
		if (!strstr(line, "[vvar") && !strstr(line, "[vdso]"))
			continue;
		if (v->n == VDSO_MAPS || sscanf(line, "%lx-%lx", &start, &end) != 2)
			break;
		v->map[v->n].start = start;
		v->map[v->n++].end = end;
	}
	fclose(maps);
	return v->n ? 0 : -ENOENT;
}

int template_blob_memfd(struct err *e)
{
	scoped_fd int fd = sys_memfd("mulligan-puppet", MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_set(e, -fd, "memfd_create: %s", strerror(-fd));
	if (sys_write(fd, puppet_blob, puppet_text_bytes) != (ssize_t)puppet_text_bytes)
		return err_set(e, EIO, "write the puppet to a memfd");
	int r = sys_fcntl(fd, F_ADD_SEALS,
			  F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	if (r)
		return err_set(e, -r, "seal the puppet's memfd: %s", strerror(-r));
	return take_fd(&fd);
}

static void *map_fixed(uint64_t at, uint64_t bytes, int prot, int flags, int fd)
{
	return mmap((void *)at, bytes, prot, flags | MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0);
}

static int map_puppet(int blob_fd)
{
	if (map_fixed(PUP_LOW, puppet_text_bytes, PROT_READ | PROT_EXEC, 0, blob_fd) ==
	    MAP_FAILED)
		return -errno;
	if (map_fixed(PUP_LOW + puppet_text_bytes, puppet_mem_bytes - puppet_text_bytes,
		      PROT_READ | PROT_WRITE, MAP_ANONYMOUS, -1) == MAP_FAILED)
		return -errno;
	/* the leader's work area; PID 1's stack and the request loop's */
	if (map_fixed(PUP_THREAD, PUP_WORK_BYTES, PROT_READ | PROT_WRITE, MAP_ANONYMOUS, -1) ==
	    MAP_FAILED)
		return -errno;
	if (map_fixed(PUP_THREAD + (uint64_t)PUP_WORK_MAX * PUP_WORK_BYTES, 2 * PUP_WORK_BYTES,
		      PROT_READ | PROT_WRITE, MAP_ANONYMOUS, -1) == MAP_FAILED)
		return -errno;
	return 0;
}

/* Move each map by itself: kernels before 6.17 move one VMA a call. */
static int park_vdso(const struct vdso_layout *v)
{
	for (unsigned int i = 0; i < v->n; i++) {
		uint64_t to = PUP_VDSO + (v->map[i].start - v->map[0].start);
		uint64_t len = v->map[i].end - v->map[i].start;
		if (mremap((void *)v->map[i].start, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
			   (void *)to) == MAP_FAILED)
			return -errno;
	}
	return 0;
}

static void forget_kernel_pointers(void)
{
#ifdef RSEQ_SIG
	void *rseq = (char *)__builtin_thread_pointer() + __rseq_offset;
	if (__rseq_size)
		syscall(SYS_rseq, rseq, 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
#endif
	syscall(SYS_set_robust_list, NULL, sizeof(void *) * 3);
	syscall(SYS_set_tid_address, NULL);
}

static __attribute__((noreturn)) void become_template(int socket, int blob_fd,
						      const struct vdso_layout *v)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	setsid();
	if (map_puppet(blob_fd) || dup2(socket, PUP_TEMPLATE_SOCKET_FD) < 0)
		_exit(1);
	close_range(0, PUP_TEMPLATE_SOCKET_FD - 1, 0);
	close_range(PUP_TEMPLATE_SOCKET_FD + 1, ~0u, 0);
	forget_kernel_pointers();
	if (park_vdso(v))
		_exit(1);
	uint64_t stack = PUP_THREAD + (uint64_t)(PUP_WORK_MAX + 2) * PUP_WORK_BYTES - 64;
	__asm__ volatile("mov %0, %%rsp\n\t"
			 "jmp *%1"
			 :
			 : "r"(stack), "r"(PUP_LOW + PUPPET_ENTRY_TEMPLATE)
			 : "memory");
	__builtin_unreachable();
}

int template_start(struct template *t, struct err *e)
{
	struct vdso_layout vdso = { 0 };
	int r = vdso_find(&vdso);
	if (r < 0)
		return err_set(e, -r, "find the vdso in /proc/self/maps: %s", strerror(-r));
	scoped_fd int blob_fd = template_blob_memfd(e);
	if (blob_fd < 0)
		return blob_fd;
	int pair[2];
	r = sys_sock_pair(pair);
	if (r)
		return err_set(e, -r, "socketpair: %s", strerror(-r));
	scoped_fd int ours = pair[0];
	scoped_fd int theirs = pair[1];
	int pid = sys_clone(CLONE_CLEAR_SIGHAND);
	if (pid < 0)
		return err_set(e, -pid, "clone the first template: %s", strerror(-pid));
	if (pid == 0)
		become_template(theirs, blob_fd, &vdso);
	*t = (struct template){ .socket = take_fd(&ours), .pid = pid };
	return 0;
}
