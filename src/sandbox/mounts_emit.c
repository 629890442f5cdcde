/*
 * mounts_emit.c - the program of PID 1.
 *
 * Order, and why:
 *  1. The new root is attached over the old /dev (a directory that every host
 *     has) and pivot_root(".", ".") stacks the old root on top of it.
 *  2. proc and sysfs are mounted while the old root is still there: in a user
 *     namespace the kernel allows it only where a full one can be seen. Their
 *     mount points are top-level directories that no guest can replace.
 *  3. The old root goes. From here on no path, however a guest has bent it
 *     with symlinks and "..", leads out of the sandbox's root.
 *  4. The rest: volumes, /dev and what lies in it, masks, /run/mulligan.
 *
 * A bind mount copies the flags of the mount it is made from. So /proc is made
 * read-only for a moment, its parts are bound over themselves, and /proc is
 * made writable again: half the calls of binding and remounting each.
 * Directories are masked by /dev/mqueue before anything is mounted on it: an
 * empty directory of a read-only tmpfs; files by /dev/null.
 */
#include "sandbox/mounts_internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/mount.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum {
	UMOUNT_DETACH = 2, /* MNT_DETACH, umount2(2) */
	SEALED = MS_NOSUID | MS_NODEV | MS_NOEXEC,
};

/* Address in the target of a string; "" and NULL as they are. */
static uint64_t str(struct prog *p, const char *s)
{
	return s ? prog_string(p->arena, s) : 0;
}

static void emit_mount(struct prog *p, const char *source, const char *target, const char *type,
		       unsigned long flags, const char *data)
{
	prog_sys(p, SYS_mount, str(p, source), str(p, target), str(p, type), flags, str(p, data));
}

/* Attach the mount whose descriptor is in a slot, and close it. */
static void emit_attach(struct prog *p, unsigned int slot, const char *target)
{
	prog_sys(p, SYS_move_mount, slot, str(p, ""), (uint64_t)AT_FDCWD, str(p, target),
		 MOVE_MOUNT_F_EMPTY_PATH);
	prog_slots(p, 1 << 0);
}

static void emit_close(struct prog *p, unsigned int slot)
{
	prog_sys(p, SYS_close, slot);
	prog_slots(p, 1 << 0);
}

/* Write a number into a file that exists. */
static void emit_write(struct prog *p, const char *path, uint64_t number)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%" PRIu64, number);
	unsigned int fd = prog_slot(p);
	prog_sys(p, SYS_openat, (uint64_t)AT_FDCWD, str(p, path), O_WRONLY | O_CLOEXEC);
	prog_out(p, fd);
	prog_sys(p, SYS_write, fd, str(p, text), (uint64_t)len);
	prog_slots(p, 1 << 0);
	emit_close(p, fd);
}

static void emit_root(struct prog *p, unsigned int first_slot)
{
	emit_mount(p, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	emit_attach(p, first_slot + SET_ROOT, "/dev");
	emit_close(p, first_slot + SET_ROOT);
	prog_sys(p, SYS_chdir, str(p, "/dev"));
	uint64_t here = str(p, ".");
	prog_sys(p, SYS_pivot_root, here, here);
}

static void emit_proc_and_sys(struct prog *p, const struct mounts *m, const struct mounts_set *set,
			      unsigned int first_slot)
{
	emit_mount(p, "proc", "/proc", "proc", SEALED, NULL);
	if (m->bind_sys) {
		unsigned int slot = first_slot + (unsigned int)set->n - 1;
		emit_attach(p, slot, "/sys");
		emit_close(p, slot);
	} else {
		emit_mount(p, "sysfs", "/sys", "sysfs", SEALED | MS_RDONLY, NULL);
		/* hosts that mask parts of their own /sys forbid it: no /sys */
		prog_mayfail(p);
	}
	/* "." is the new root, and what is stacked on it the old one */
	prog_sys(p, SYS_umount2, str(p, "."), UMOUNT_DETACH);
}

/* What a place needs that lies in a fresh tmpfs of this program. */
static void emit_nested_point(struct prog *p, const struct mounts *m, const struct place *place)
{
	if (place->parent < 0)
		return;
	const struct place *parent = vec_at(&m->places, (size_t)place->parent);
	if (parent->src)
		return;
	char path[4096];
	snprintf(path, sizeof(path), "%s", place->dst);
	char *slash = path + strlen(parent->dst);
	while ((slash = strchr(slash + 1, '/'))) {
		*slash = '\0';
		prog_sys(p, SYS_mkdirat, (uint64_t)AT_FDCWD, str(p, path), 0755);
		prog_mayfail(p); /* made for another place */
		*slash = '/';
	}
	if (place->file)
		prog_sys(p, SYS_mknodat, (uint64_t)AT_FDCWD, str(p, path), S_IFREG | 0644, 0);
	else
		prog_sys(p, SYS_mkdirat, (uint64_t)AT_FDCWD, str(p, path), 0755);
}

static void emit_tmpfs(struct prog *p, const struct mounts *m, const char *target,
		       unsigned long flags)
{
	char data[64];
	snprintf(data, sizeof(data), "mode=1777,size=%" PRIu64, m->tmpfs_bytes);
	emit_mount(p, "tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV | flags, data);
}

static void emit_places(struct prog *p, const struct mounts *m, unsigned int first_slot)
{
	unsigned int slot = first_slot + SET_PLACES;
	vec_each(struct place, place, &m->places) {
		emit_nested_point(p, m, place);
		if (!place->src) {
			emit_tmpfs(p, m, place->dst, 0);
			continue;
		}
		emit_attach(p, slot, place->dst);
		emit_close(p, slot++);
	}
}

static void emit_masks(struct prog *p, const struct mounts *m)
{
	vec_each(struct mask, mask, &m->masks) {
		emit_mount(p, mask->dir ? "/dev/mqueue" : "/dev/null", mask->path, NULL, MS_BIND,
			   NULL);
		if (!strncmp(mask->path, "/sys/", 5))
			prog_mayfail(p); /* where sysfs was forbidden */
	}
}

static void emit_dev(struct prog *p, const struct mounts *m, unsigned int first_slot)
{
	emit_attach(p, first_slot + SET_DEV, "/dev");
	emit_close(p, first_slot + SET_DEV);
	emit_masks(p, m);
	emit_mount(p, "devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		   m->tty_group ? "newinstance,ptmxmode=0666,mode=0620,gid=5"
				: "newinstance,ptmxmode=0666,mode=0620");
	emit_tmpfs(p, m, "/dev/shm", MS_NOEXEC);
	emit_mount(p, "mqueue", "/dev/mqueue", "mqueue", SEALED, NULL);
}

static void emit_read_only_proc(struct prog *p, const struct mounts *m)
{
	emit_mount(p, NULL, "/proc", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | SEALED, NULL);
	vec_each(const char *, path, &m->read_only) {
		emit_mount(p, *path, *path, NULL, MS_BIND, NULL);
	}
	emit_mount(p, NULL, "/proc", NULL, MS_REMOUNT | MS_BIND | SEALED, NULL);
}

static void emit_loopback(struct prog *p)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	unsigned int fd = prog_slot(p);
	prog_sys(p, SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	prog_out(p, fd);
	prog_sys(p, SYS_ioctl, fd, SIOCSIFFLAGS, prog_data(p->arena, &lo, sizeof(lo)));
	prog_slots(p, 1 << 0);
	emit_close(p, fd);
}

void mounts_emit(struct prog *p, const struct mounts *m, const struct mounts_set *set,
		 unsigned int first_slot)
{
	emit_root(p, first_slot);
	emit_proc_and_sys(p, m, set, first_slot);
	emit_places(p, m, first_slot);
	if (set->pid_max)
		emit_write(p, "/proc/sys/kernel/pid_max", set->pid_max);
	if (set->last_pid)
		emit_write(p, "/proc/sys/kernel/ns_last_pid", (uint64_t)set->last_pid);
	emit_read_only_proc(p, m);
	emit_dev(p, m, first_slot);
	emit_attach(p, first_slot + SET_RUN, "/" RUN_POINT);
	prog_mayfail(p); /* a guest may have spoilt the mount point */
	emit_close(p, first_slot + SET_RUN);
	if (m->own_net)
		emit_loopback(p);
	if (set->hostname)
		prog_sys(p, SYS_sethostname, str(p, set->hostname), strlen(set->hostname));
}
