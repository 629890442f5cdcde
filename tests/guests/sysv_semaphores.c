/*
 * System V semaphores: sets of several processes' making, with values, owners
 * and those who changed them last, and one that a process sleeps in.
 */
#include "sysv.h"

#include <sys/sem.h>

enum { SETS = 12, N = 7, BIG = 32767 };

union semun {
	int val;
	struct semid_ds *buf;
};

static int get(int id, int i, int cmd)
{
	return (int)guest_sys(semctl(id, i, cmd, (union semun){ 0 }));
}

static void set(int id, int i, int value)
{
	guest_sys(semctl(id, i, SETVAL, (union semun){ .val = value }));
}

static void change(int id, int i, int by, int flags)
{
	struct sembuf op = { (unsigned short)i, (short)by, (short)flags };
	while (semop(id, &op, 1) < 0)
		guest_bad("semop: %s", strerror(errno));
}

static struct semid_ds stat_of(int id)
{
	struct semid_ds ds;
	guest_sys(semctl(id, 0, IPC_STAT, (union semun){ .buf = &ds }));
	return ds;
}

static void touch(int id)
{
	change(id, 3, 5, 0);
	change(id, 3, -2, 0);
	set(id, 4, BIG);
}

static int values(void)
{
	int id[SETS];
	pid_t by[SETS];
	for (int k = 0; k < SETS; k++) {
		if (k % 4 == 1) /* ids are used again */
			guest_sys(semctl(semget(IPC_PRIVATE, 1, IPC_CREAT | 0600), 0, IPC_RMID));
		id[k] = (int)guest_sys(semget(k % 3 ? key_of(k) : IPC_PRIVATE, N, IPC_CREAT | 0600));
		by[k] = k % 2 ? run(touch, id[k]) : 0;
		if (by[k])
			await(by[k]);
		set(id[k], 6, k);
	}
	guest_ready();
	guest_wait_go();
	for (int k = 0; k < SETS; k++) {
		guest_eq(get(id[k], 0, GETVAL), 0);
		guest_eq(get(id[k], 0, GETPID), 0);
		guest_eq(get(id[k], 3, GETVAL), by[k] ? 3 : 0);
		guest_eq(get(id[k], 3, GETPID), by[k]);
		guest_eq(get(id[k], 4, GETVAL), by[k] ? BIG : 0);
		guest_eq(get(id[k], 4, GETPID), by[k]);
		guest_eq(get(id[k], 6, GETVAL), k);
		guest_eq(get(id[k], 6, GETPID), getpid());
		struct semid_ds ds = stat_of(id[k]);
		guest_eq(ds.sem_nsems, N);
		guest_eq(ds.sem_perm.mode, 0600);
		guest_eq(ds.sem_perm.cuid, geteuid());
		/* who waits for it knows that the set is complete */
		guest_eq(ds.sem_otime != 0, by[k] != 0);
		if (k % 3)
			guest_eq(semget(key_of(k), N, 0), id[k]);
		guest_sys(semctl(id[k], 0, IPC_RMID));
	}
	return 0;
}

static void sleep_twice(int id)
{
	struct sembuf both[2] = { { 1, -2, 0 }, { 2, 0, 0 } };
	change(id, 0, 1, 0);
	guest_sys(semop(id, both, 2));
	change(id, 0, 1, 0);
	struct timespec most = { 60, 0 };
	both[0].sem_op = -3;
	guest_sys(semtimedop(id, both, 1, &most));
	change(id, 0, 1, 0);
}

/* A child waits for two semaphores at once, and then for one, with a limit. */
static int asleep(bool timed)
{
	int id = (int)guest_sys(semget(IPC_PRIVATE, 3, IPC_CREAT | 0600));
	set(id, 2, timed ? 0 : 1);
	pid_t pid = run(sleep_twice, id);
	change(id, 0, -1, 0);
	if (timed) {
		change(id, 1, 2, 0);
		change(id, 0, -1, 0);
	}
	int cmd = GETNCNT;
	while (!get(id, 1, cmd))
		guest_sleep_ms(1);
	guest_ready();
	guest_wait_go();
	guest_eq(waitpid(pid, NULL, WNOHANG), 0);
	if (!timed) {
		change(id, 1, 1, 0);
		guest_sleep_ms(5);
		change(id, 1, 1, 0);
		guest_sleep_ms(5);
		guest_eq(waitpid(pid, NULL, WNOHANG), 0);
		change(id, 2, -1, 0);
		change(id, 0, -1, 0);
	}
	change(id, 1, 3, 0);
	change(id, 0, -1, 0);
	await(pid);
	guest_eq(get(id, 1, GETVAL), 0);
	guest_sys(semctl(id, 0, IPC_RMID));
	return 0;
}

/* What the kernel undoes when the process ends. */
static int undo(void)
{
	int id = (int)guest_sys(semget(IPC_PRIVATE, 1, IPC_CREAT | 0600));
	change(id, 0, 2, SEM_UNDO);
	guest_ready();
	guest_wait_go();
	guest_eq(get(id, 0, GETVAL), 2);
	guest_sys(semctl(id, 0, IPC_RMID));
	return 0;
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	const char *kind = argc > 2 ? argv[2] : "values";
	if (!strcmp(kind, "undo"))
		return undo();
	if (!strncmp(kind, "asleep", 6))
		return asleep(!strcmp(kind, "asleep-timed"));
	return values();
}
