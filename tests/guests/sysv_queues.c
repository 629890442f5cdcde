/*
 * System V message queues: messages of all lengths in their order, taken by
 * type; who sent and received last; and processes that sleep in both calls.
 */
#include "sysv.h"

#include <sys/msg.h>

enum { QUEUES = 9, MESSAGES = 40, MOST = 3000 };

struct message {
	long type;
	char text[MOST];
};

static struct msqid_ds stat_of(int id)
{
	struct msqid_ds ds;
	guest_sys(msgctl(id, IPC_STAT, &ds));
	return ds;
}

static size_t length(int i)
{
	return i % 5 ? (size_t)i * 8 : i == 20 ? MOST : 0;
}

static void send(int id, int i)
{
	struct message m = { .type = 1 + i % 3 };
	guest_fill(m.text, length(i), (uint64_t)i);
	guest_sys(msgsnd(id, &m, length(i), 0));
}

static void receive(int id, int i, long type)
{
	struct message m;
	guest_eq(msgrcv(id, &m, sizeof(m.text), type, 0), length(i));
	guest_eq(m.type, 1 + i % 3);
	guest_check(guest_filled(m.text, length(i), (uint64_t)i));
}

static void send_all(int id)
{
	for (int i = 0; i < MESSAGES; i++)
		send(id, i);
}

/* The queues: empty, never used, full ones, used up, with a lower limit. */
static int kept(void)
{
	int id[QUEUES];
	pid_t by[QUEUES] = { 0 };
	for (int k = 0; k < QUEUES; k++) {
		if (k % 4 == 1) /* ids are used again */
			guest_sys(msgctl(msgget(IPC_PRIVATE, IPC_CREAT | 0600), IPC_RMID, NULL));
		id[k] = (int)guest_sys(msgget(k % 2 ? key_of(k) : IPC_PRIVATE, IPC_CREAT | 0620));
		if (k % 3 == 0)
			continue;
		by[k] = run(send_all, id[k]);
		await(by[k]);
		for (int i = 0; k % 3 == 2 && i < MESSAGES; i++)
			receive(id[k], i, 0);
		struct msqid_ds ds = stat_of(id[k]);
		ds.msg_qbytes = 1000;
		guest_sys(msgctl(id[k], IPC_SET, &ds));
	}
	guest_ready();
	guest_wait_go();
	for (int k = 0; k < QUEUES; k++) {
		struct msqid_ds ds = stat_of(id[k]);
		guest_eq(ds.msg_perm.mode, 0620);
		guest_eq(ds.msg_perm.cuid, geteuid());
		guest_eq(ds.msg_qnum, k % 3 == 1 ? MESSAGES : 0);
		guest_eq(ds.msg_lspid, by[k]);
		guest_eq(ds.msg_lrpid, k % 3 == 2 ? getpid() : 0);
		guest_eq(ds.msg_stime != 0, k % 3 != 0);
		guest_eq(ds.msg_rtime != 0, k % 3 == 2);
		if (k % 3)
			guest_eq(ds.msg_qbytes, 1000);
		if (k % 2)
			guest_eq(msgget(key_of(k), 0), id[k]);
		for (int i = 1; k % 3 == 1 && i < MESSAGES; i += 3)
			receive(id[k], i, 2);
		for (int i = 0; k % 3 == 1 && i < MESSAGES; i++)
			if (i % 3 != 1)
				receive(id[k], i, 0);
		guest_check(msgrcv(id[k], &ds, 0, 0, IPC_NOWAIT) < 0 && errno == ENOMSG);
		guest_sys(msgctl(id[k], IPC_RMID, NULL));
	}
	return 0;
}

static void take_one(int id)
{
	receive(id, 21, 1);
}

static void send_more(int id)
{
	send(id, 22);
	send(id, 23);
}

/* One waits for a message of its type, another for room. */
static int asleep(void)
{
	int id = (int)guest_sys(msgget(IPC_PRIVATE, IPC_CREAT | 0600));
	struct msqid_ds ds = stat_of(id);
	ds.msg_qbytes = length(23);
	guest_sys(msgctl(id, IPC_SET, &ds));
	pid_t taker = run(take_one, id), sender = run(send_more, id);
	while (stat_of(id).msg_qnum != 1)
		guest_sleep_ms(1);
	guest_sleep_ms(5);
	guest_ready();
	guest_wait_go();
	guest_eq(waitpid(-1, NULL, WNOHANG), 0);
	receive(id, 22, 0);
	receive(id, 23, 0);
	await(sender);
	guest_eq(waitpid(taker, NULL, WNOHANG), 0);
	send(id, 21);
	await(taker);
	guest_eq(stat_of(id).msg_lrpid, taker);
	guest_sys(msgctl(id, IPC_RMID, NULL));
	return 0;
}

int main(int argc, char **argv)
{
	guest_start(argc, argv);
	return argc > 2 && !strcmp(argv[2], "asleep") ? asleep() : kept();
}
