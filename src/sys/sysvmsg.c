/* sysvmsg.c - the queues of sysvipc.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>

#include "sys/fault.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/sysvipc.h"

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

enum {
	PERMISSIONS = 0777,
	TEXT_BYTES = 1 << 16,	/* most that is asked for; MSGMAX is 8192 */
};

/* What the calls take: the type, then the text. */
struct buffer {
	long type;
	char text[TEXT_BYTES];
};

struct head {
	int64_t type;
	uint32_t bytes;
};

void sys_msg_queue_deinit(struct sys_msg_queue *q)
{
	vec_each(struct sys_msg, m, &q->messages)
		free(m->text);
	vec_deinit(&q->messages);
}

static int write_all(FILE *to, const void *bytes, size_t len)
{
	return fwrite(bytes, 1, len, to) == len ? 0 : -EIO;
}

/* MSG_COPY shows a message by its place. */
static int write_queue(const struct sys_msg_queue *q, FILE *to)
{
	struct buffer *b = malloc(sizeof(*b));
	int r = b ? write_all(to, q, sizeof(*q)) : -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < q->n; i++) {
		ssize_t n = msgrcv(q->id, b, TEXT_BYTES, (long)i, MSG_COPY | IPC_NOWAIT);
		struct head head = { b->type, (uint32_t)n };
		r = n < 0 ? -errno : write_all(to, &head, sizeof(head));
		if (r == 0)
			r = write_all(to, b->text, (size_t)n);
	}
	free(b);
	return r;
}

/* key msqid perms cbytes qnum lspid lrpid uid gid cuid cgid ... */
static int copy_queue(const char *line, FILE *to)
{
	struct sys_msg_queue q = { 0 };
	struct msqid_ds ds;
	int n = sscanf(line,
		       "%" SCNd32 " %" SCNd32 " %" SCNo32 " %*u %" SCNu32 " %d %d %" SCNu32
		       " %" SCNu32 " %" SCNu32 " %" SCNu32,
		       &q.key, &q.id, &q.mode, &q.n, &q.sender, &q.receiver, &q.uid, &q.gid,
		       &q.cuid, &q.cgid);
	if (n != 10)
		return -EPROTO;
	q.mode &= PERMISSIONS;
	if (msgctl(q.id, IPC_STAT, &ds) < 0)
		return -errno;
	q.max_bytes = ds.msg_qbytes;
	return write_queue(&q, to);
}

static int copy_queues(FILE *from, FILE *to)
{
	char line[512];
	int r = 0;
	for (bool first = true; r == 0 && fgets(line, sizeof(line), from); first = false)
		r = first ? 0 : copy_queue(line, to);
	return r;
}

static int open_stream(int fd, const char *mode, FILE **out)
{
	int copy = fd < 0 ? fd : sys_dup(fd);
	if (copy < 0)
		return copy;
	*out = fdopen(copy, mode);
	if (!*out)
		cleanup_fd(&copy);
	return *out ? 0 : -ENOMEM;
}

int sys_msg_table(int to_fd)
{
	scoped_fd int table = sys_openat(AT_FDCWD, "/proc/sysvipc/msg", O_RDONLY, 0);
	FILE *from = NULL, *to = NULL;
	int r = open_stream(table, "r", &from);
	if (r == 0)
		r = open_stream(to_fd, "w", &to);
	if (r == 0)
		r = copy_queues(from, to);
	if (from)
		fclose(from);
	if (to && fclose(to) && r == 0)
		r = -EIO;
	return r;
}

static int read_message(FILE *f, struct vec *out)
{
	struct head head;
	if (fread(&head, sizeof(head), 1, f) != 1 || head.bytes > TEXT_BYTES)
		return -EPROTO;
	struct sys_msg *m = vec_add(out);
	if (!m)
		return -ENOMEM;
	*m = (struct sys_msg){ head.type, head.bytes, malloc(sizeof(long) + head.bytes) };
	if (!m->text)
		return -ENOMEM;
	memcpy(m->text, &(long){ (long)head.type }, sizeof(long));
	return fread((char *)m->text + sizeof(long), 1, head.bytes, f) == head.bytes ? 0 : -EPROTO;
}

static int read_queue(FILE *f, const struct sys_msg_queue *head, struct vec *out)
{
	struct sys_msg_queue *q = vec_add(out);
	if (!q)
		return -ENOMEM;
	*q = *head;
	q->messages = VEC_INIT(struct sys_msg);
	int r = 0;
	for (uint32_t i = 0; r == 0 && i < q->n; i++)
		r = read_message(f, &q->messages);
	return r;
}

int sys_msg_table_read(int fd, struct vec *out)
{
	FILE *f = NULL;
	int64_t start = sys_lseek(fd, 0, SEEK_SET);
	int r = start < 0 ? (int)start : open_stream(fd, "r", &f);
	if (r)
		return r;
	struct sys_msg_queue head;
	while (r == 0 && fread(&head, sizeof(head), 1, f) == 1)
		r = read_queue(f, &head, out);
	fclose(f);
	return r;
}

int sys_msg_make(const struct sys_msg_queue *q)
{
	int r = sys_fault("msgget");
	if (r)
		return r;
	r = msgget(q->key, IPC_CREAT | IPC_EXCL | (int)q->mode);
	return r < 0 ? -errno : r;
}

int sys_msg_set_owner(const struct sys_msg_queue *q)
{
	struct msqid_ds ds = { 0 };
	int r = sys_fault("msgctl");
	if (r)
		return r;
	ds.msg_perm.uid = q->uid;
	ds.msg_perm.gid = q->gid;
	ds.msg_perm.mode = (unsigned short)q->mode;
	ds.msg_qbytes = q->max_bytes;
	return msgctl(q->id, IPC_SET, &ds) < 0 ? -errno : 0;
}

int sys_msg_send(int32_t id, const struct sys_msg *m)
{
	int r = sys_fault("msgsnd");
	if (r)
		return r;
	return msgsnd(id, m->text, m->bytes, IPC_NOWAIT) < 0 ? -errno : 0;
}

int sys_msg_drop_first(int32_t id)
{
	struct {
		long type;
		char text[1];
	} none;
	int r = sys_fault("msgrcv");
	if (r)
		return r;
	return msgrcv(id, &none, 0, 0, IPC_NOWAIT | MSG_NOERROR) < 0 ? -errno : 0;
}
