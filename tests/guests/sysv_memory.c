/*
 * System V shared memory: two processes that count in a segment in turn, one
 * of them through attachments that were cut, protected and moved; the same
 * after it was removed; ones that nobody has attached, and one of other users.
 */
#include "sysv.h"
#include "turns.h"

#include <sys/mman.h>
#include <sys/shm.h>

enum { PAGE = 4096, LEN = 16 * PAGE, ODD = 5 * PAGE + 1000, MANY = 40 };

static struct shmid_ds stat_of(int id)
{
	struct shmid_ds ds;
	guest_sys(shmctl(id, IPC_STAT, &ds));
	return ds;
}

static void *attach(int id, void *at, int flags)
{
	void *p = shmat(id, at, flags);
	guest_check(p != (void *)-1);
	return p;
}

/* What a line of /proc/self/maps with this start says, "" if there is none. */
static void map_line(const void *at, char line[300])
{
	FILE *f = fopen("/proc/self/maps", "r");
	guest_check(f);
	while (fgets(line, 300, f))
		if (strtoul(line, NULL, 16) == (unsigned long)at)
			break;
	if (feof(f))
		line[0] = '\0';
	fclose(f);
}

static void check_mapped(const void *at, size_t len, const char *prot, int id, int key)
{
	char line[300], want[3][60];
	map_line(at, line);
	snprintf(want[0], 60, "-%lx %s ", (unsigned long)at + len, prot);
	snprintf(want[1], 60, " %d ", id);
	snprintf(want[2], 60, " /SYSV%08x (deleted)\n", (unsigned)key);
	for (int i = 0; i < 3; i++)
		if (!strstr(line, want[i]))
			guest_bad("'%s' is not in '%s'", want[i], line);
}

/* Attachments of one segment, as few programs would leave them. */
struct views {
	char *whole, *cut, *moved, *readonly;
	int id, key;
};

static struct views make_views(int id, int key, char *whole)
{
	struct views v = { .whole = whole, .id = id, .key = key };
	/* pieces of one attachment, some side by side with equal protection */
	v.cut = attach(id, NULL, SHM_EXEC);
	guest_sys(mprotect(v.cut + 2 * PAGE, 2 * PAGE, PROT_READ));
	guest_sys(mprotect(v.cut + 5 * PAGE, PAGE, PROT_NONE));
	guest_sys(mprotect(v.cut + 6 * PAGE, PAGE, PROT_READ));
	guest_sys(mprotect(v.cut + 6 * PAGE, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
	guest_sys(munmap(v.cut + 8 * PAGE, 3 * PAGE));
	v.moved = attach(id, NULL, 0);
	guest_check(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	char *to = mmap(NULL, 2 * LEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	guest_check(to != MAP_FAILED);
	v.moved = mremap(v.moved, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, to + LEN / 2);
	guest_check(v.moved == to + LEN / 2);
	v.readonly = attach(id, NULL, SHM_RDONLY);
	return v;
}

static void check_views(const struct views *v)
{
	check_mapped(v->whole, LEN, "rw-s", v->id, v->key);
	check_mapped(v->cut, 2 * PAGE, "rwxs", v->id, v->key);
	check_mapped(v->cut + 2 * PAGE, 2 * PAGE, "r--s", v->id, v->key);
	check_mapped(v->cut + 5 * PAGE, PAGE, "---s", v->id, v->key);
	check_mapped(v->cut + 6 * PAGE, PAGE, "rwxs", v->id, v->key);
	check_mapped(v->cut + 7 * PAGE, PAGE, "rwxs", v->id, v->key);
	check_mapped(v->cut + 11 * PAGE, 5 * PAGE, "rwxs", v->id, v->key);
	check_mapped(v->moved, LEN, "rw-s", v->id, v->key);
	check_mapped(v->readonly, LEN, "r--s", v->id, v->key);
	guest_check(guest_filled(v->readonly + PAGE, 8 * PAGE, 1));
	guest_check(guest_zeros(v->readonly + 9 * PAGE, 6 * PAGE));
	guest_check(mprotect(v->readonly, PAGE, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
	v->moved[LEN - 1] ^= 1;
	guest_check(v->cut[LEN - 1] == v->moved[LEN - 1]);
	guest_check(v->readonly[LEN - 1] == v->moved[LEN - 1]);
	guest_check(v->whole[LEN - 1] == v->moved[LEN - 1]);
}

/* All pieces of an attachment go together. */
static void leave_views(const struct views *v, long others)
{
	guest_eq(stat_of(v->id).shm_nattch, others + 9);
	guest_sys(shmdt(v->cut));
	guest_eq(stat_of(v->id).shm_nattch, others + 2);
	guest_sys(shmdt(v->moved));
	guest_sys(shmdt(v->readonly));
	guest_eq(stat_of(v->id).shm_nattch, others);
}

static void check_stat(int id, int key, bool removed, pid_t maker)
{
	struct shmid_ds ds = stat_of(id);
	guest_eq(ds.shm_segsz, LEN);
	guest_eq(ds.shm_perm.__key, removed ? IPC_PRIVATE : key);
	guest_eq(ds.shm_perm.mode & 0777, 0740);
	guest_eq(!!(ds.shm_perm.mode & SHM_DEST), removed);
	guest_eq(ds.shm_perm.uid, geteuid());
	guest_eq(ds.shm_perm.cgid, getegid());
	guest_eq(ds.shm_cpid, maker);
	if (!removed)
		guest_eq(shmget(key, 0, 0), id);
}

static int shared(bool removed)
{
	int key = key_of(0);
	int id = (int)guest_sys(shmget(key, LEN, IPC_CREAT | IPC_EXCL | 0740));
	char *whole = attach(id, NULL, 0);
	struct turns *s = (struct turns *)whole;
	guest_fill(whole + PAGE, 8 * PAGE, 1);
	pid_t me = getpid(), pid = fork();
	if (pid == 0) {
		struct views v = make_views(id, key, whole);
		turns_take_all(s);
		check_views(&v);
		check_stat(id, key, removed, me);
		leave_views(&v, 2);
		guest_sys(shmdt(whole));
		_exit(0);
	}
	guest_check(pid > 0);
	while (stat_of(id).shm_nattch != 2 + 9)
		guest_sleep_ms(1);
	if (removed)
		guest_sys(shmctl(id, IPC_RMID, NULL));
	turns_lead(s, pid);
	check_stat(id, key, removed, me);
	guest_eq(stat_of(id).shm_nattch, 1);
	if (!removed)
		guest_sys(shmctl(id, IPC_RMID, NULL));
	guest_sys(shmdt(whole));
	guest_check(shmctl(id, IPC_STAT, &(struct shmid_ds){ 0 }) < 0 && errno == EINVAL);
	return 0;
}

/* Segments that only their ids and keys lead to; ids with gaps, and used again. */
static int alone(void)
{
	int id[MANY], made = 0;
	for (int i = 0; i < MANY; i++) {
		int key = i % 2 ? key_of(i) : IPC_PRIVATE;
		id[i] = (int)guest_sys(shmget(key, ODD, IPC_CREAT | IPC_EXCL | (i % 4 ? 0600 : 0400)));
		if (i % 3 == 0) {
			guest_sys(shmctl(id[i], IPC_RMID, NULL));
			id[i] = (int)guest_sys(shmget(key, ODD, IPC_CREAT | IPC_EXCL | 0444));
		}
		struct shmid_ds ds = stat_of(id[i]);
		ds.shm_perm.mode = 0600;
		guest_sys(shmctl(id[i], IPC_SET, &ds));
		if (i % 5 == 0)
			continue;
		char *p = attach(id[i], NULL, 0);
		guest_fill(p + PAGE, PAGE, (uint64_t)i);
		guest_fill(p + 5 * PAGE, PAGE, (uint64_t)i + 1);
		guest_sys(shmdt(p));
	}
	guest_ready();
	guest_wait_go();
	for (int i = 0; i < MANY; i++) {
		struct shmid_ds ds = stat_of(id[i]);
		guest_eq(ds.shm_segsz, ODD);
		guest_eq(ds.shm_nattch, 0);
		guest_eq(ds.shm_cpid, getpid());
		guest_eq(ds.shm_perm.mode, 0600);
		if (i % 2)
			guest_eq(shmget(key_of(i), ODD, 0), id[i]);
		char *p = attach(id[i], NULL, 0);
		guest_check(guest_zeros(p, PAGE));
		if (i % 5) {
			guest_check(guest_filled(p + PAGE, PAGE, (uint64_t)i));
			guest_check(guest_filled(p + 5 * PAGE, PAGE, (uint64_t)i + 1));
		}
		guest_check(guest_zeros(p + 2 * PAGE, 3 * PAGE));
		guest_sys(shmdt(p));
		guest_sys(shmctl(id[i], IPC_RMID, NULL));
		made++;
	}
	guest_eq(made, MANY);
	return 0;
}

/* One that somebody made, who gave it to another and ended. */
static int given(void)
{
	int key = key_of(0);
	pid_t pid = fork();
	if (pid == 0) {
		guest_sys(setgid(31));
		guest_sys(setuid(30));
		int id = (int)guest_sys(shmget(key, LEN, IPC_CREAT | IPC_EXCL | 0644));
		struct shmid_ds ds = stat_of(id);
		ds.shm_perm.uid = 40;
		ds.shm_perm.gid = 41;
		guest_sys(shmctl(id, IPC_SET, &ds));
		_exit(0);
	}
	await(pid);
	guest_ready();
	guest_wait_go();
	int id = (int)guest_sys(shmget(key, 0, 0));
	struct shmid_ds ds = stat_of(id);
	guest_eq(ds.shm_perm.uid, 40);
	guest_eq(ds.shm_perm.gid, 41);
	guest_eq(ds.shm_perm.cuid, 30);
	guest_eq(ds.shm_perm.cgid, 31);
	guest_eq(ds.shm_perm.mode, 0644);
	guest_eq(ds.shm_cpid, pid);
	guest_sys(setuid(30));
	guest_sys(shmctl(id, IPC_RMID, NULL));
	return 0;
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	const char *kind = argc > 2 ? argv[2] : "shared";
	if (!strcmp(kind, "alone"))
		return alone();
	if (!strcmp(kind, "given"))
		return given();
	return shared(!strcmp(kind, "removed"));
}
