/*
 * sockets.h - what is saved of a socket, and what its families share.
 *
 * A socket is born in the new incarnation's PID 1 (sock_birth.c), because it
 * belongs for ever to the network namespace that it was made in and remembers
 * the process that connected it. The keeper fetches it, and does the rest.
 */
#pragma once

#include <fcntl.h>
#include <netinet/tcp.h>

#include "parts/kind.h"
#include "puppet/prog.h"
#include "sys/sockdiag.h"
#include "sys/sockets.h"

enum { SOCK_OPTION_BYTES = 16 };

struct sock_option {
	int level, name;
	uint32_t len;
	uint8_t value[SOCK_OPTION_BYTES];
};

/* A message that is queued; of a stream, some bytes. */
struct sock_packet {
	struct sys_sockname from;
	int sender;		/* UDP: image.files; IMAGE_NONE: it was closed */
	unsigned int other;	/* ... then: which of the sockets in its place */
	struct vec bytes;	/* char */
	struct vec files;	/* int: image.files that come with it */
};

/* Who connected it, as SO_PEERCRED says. */
struct sock_creds {
	pid_t pid;		/* in the sandbox; 0: nobody */
	uint32_t uid, gid;
	bool unknown;		/* it has ended: the process is asked */
};

enum sock_role {
	SOCK_ALONE,		/* whatever it is connected to later */
	SOCK_PAIR,		/* both ends are made by socketpair(2) */
	SOCK_CALLS,		/* this end connects when both are made again */
	SOCK_CALLED,		/* this one is accepted */
	SOCK_WAITS,		/* connects, and has to be accepted by the guest */
};

struct image_sock {
	int domain, type, protocol;
	bool connected;
	uint32_t peer_ino;
	int peer;		/* image.files; IMAGE_NONE: it was closed */
	bool reset;		/* the peer did not read all before */
	uint8_t shutdown;	/* as of struct sys_unix_diag */
	uint32_t in_bytes;
	struct sock_creds creds;
	struct vec options;	/* struct sock_option */
	struct vec packets;	/* struct sock_packet */
	struct sys_sockname name, peer_name;
	struct vec groups;	/* int: netlink */
	uint8_t tcp_state;
	enum sock_role role;
	int backlog;		/* LISTEN */
	uint32_t waiting;	/* LISTEN: connections, ... */
	uint32_t known;		/* ... and those whose other end is an image.file */
	bool has_sent;
	bool has_creds;		/* unix: by connecting or listening */
	char *place;		/* unix: where the file of its name is, in the sandbox;
				 * NULL: abstract, or gone, or of no use any more */
	int mount;		/* ... in the fs tree; IMAGE_NONE: in memory */
	struct vec callers;	/* uint32_t: LISTEN: as of struct sys_unix_diag */
	int listener;		/* WAITS: image.files */
	int caller;		/* WAITS: image.procs: who connected it */
	pid_t owner;		/* F_SETOWN: in the sandbox; 0: nobody */
	int signal;		/* F_SETSIG; 0: SIGIO */
	unsigned int born;	/* its number among what PID 1 makes */
	unsigned int others;	/* and how many that come with it */
	int fd;			/* while the tree is looked at; -1 */
};

static inline struct image_sock *image_sock_of(const struct image_file *f)
{
	return f->own;
}

static inline struct image_sock *image_sock(const struct tree_image *im, int file)
{
	return image_sock_of(image_file(im, file));
}

/* Its file is on a disk of the sandbox: it is made anew when that is cut. */
static inline bool sock_has_disk(const struct image_sock *s)
{
	return s->place && s->mount != IMAGE_NONE;
}

static inline bool sock_is_placed(const struct image_file *f)
{
	return f->kind == FILE_SOCKET && sock_has_disk(f->own);
}

/* It sends signals to a process (O_ASYNC), or would if it were told to. */
static inline bool sock_sends_signals(const struct image_file *f)
{
	const struct image_sock *s = f->own;
	return f->kind == FILE_SOCKET && (s->owner || s->signal || (f->flags & O_ASYNC));
}

static inline bool is_inet(const struct image_sock *s)
{
	return s->domain == AF_INET || s->domain == AF_INET6;
}

static inline bool is_tcp(const struct image_sock *s)
{
	return is_inet(s) && s->type == SOCK_STREAM;
}

/* Its own end has been shut: FIN is sent, or to be sent. */
static inline bool is_shut(const struct image_sock *s)
{
	return s->tcp_state == TCP_FIN_WAIT1 || s->tcp_state == TCP_FIN_WAIT2 ||
	       s->tcp_state == TCP_CLOSING || s->tcp_state == TCP_LAST_ACK;
}

/* Save options: of any socket, of its family. */
must_check int sock_options_look(struct image_sock *s);
/* Set those that differ; early: only what disturbs neither connecting nor filling. */
must_check int sock_options_set(int fd, const struct image_sock *s, bool early);

/* Room for what a fill sends at most; sock_options_set() has the last word. */
void sock_make_room(int fd);

/*
 * Copy the queue of image_sock(l->image, file) and leave it as it is; what
 * only the queue holds becomes a file of the image.
 */
must_check int sock_queue_look(struct look *l, int file, struct err *e);
/* Send it again, from this socket. */
must_check int sock_queue_fill(struct files_open *o, const struct image_sock *s, int from);
/* One message of it, to `to` unless NULL. */
must_check int sock_queue_send(struct files_open *o, const struct sock_packet *p, int from,
			       const struct sys_sockname *to);
/* Append bytes of a stream. */
must_check int sock_queue_add(struct image_sock *s, const char *bytes, size_t len);
void sock_queue_free(struct image_sock *s);

/*
 * Who gets signals from it (sock_signals.c): save, or refuse; refuse at the
 * end; what its first process has to do.
 */
must_check int sock_signals_look(const struct kind_look *at, struct image_sock *s, struct err *e);
must_check int sock_signals_check(const struct look *l, int file, struct err *e);
void sock_signals_load(struct load *l, const struct image_fd *fd, bool first);

/* The rows of the families. */
must_check int sock_unix_look(const struct kind_look *at, struct image_sock *s, struct err *e);
/* Find its peer, once every socket is known. NULL, or why it is refused. */
const char *sock_unix_pair_up(struct tree_image *im, struct image_sock *s);
/* All connections through a listener, and all names; then what is queued. */
must_check int sock_unix_open(struct files_open *o, int *file);
must_check int sock_unix_fill(struct files_open *o, int *file);
must_check int sock_unix_join(struct files_open *o, int file);

/* Which way two unix sockets were connected; what waits. (sock_calls.c) */
const char *sock_calls_pair_up(struct tree_image *im, struct image_sock *s);
int sock_find(const struct tree_image *im, uint32_t ino);
extern const char sock_passes[];	/* a reason that is over in a moment */
/* One like it that PID 1 does not have: it is gone, with its name, when it is closed. */
must_check int sock_extra(const struct files_open *o, const struct image_sock *s);
must_check int sock_call(struct files_open *o, int file);
must_check int sock_wait(struct files_open *o, int file);
must_check int sock_listen(struct files_open *o, int file);
/* As the process that did it, whose number must be free. */
must_check int sock_listen_as(struct files_open *o, int file);

/* Names of unix sockets. (sock_name.c) */
bool sock_is_named(const struct sys_sockname *name);
bool sock_same_name(const struct sys_sockname *a, const struct sys_sockname *b);
/* Find the file of a name, or refuse. */
must_check int sock_name_look(const struct kind_look *at, struct image_sock *s, struct err *e);
/* Give it its name and, where it has a place, that; the file's look stays. */
must_check int sock_name_bind(struct files_open *o, const struct image_sock *s, int fd);
/*
 * Bind to a name that leads nowhere: root_fd is a directory of nobody's,
 * which a path is made in. For use in an errand that has it as its root.
 */
must_check int sock_name_bind_here(int fd, const struct sys_sockname *name);
/* The same in an errand of its own, and remove the file. */
must_check int sock_name_bind_nowhere(int fd, const struct sys_sockname *name);
/* An address that leads to socket fd of that name, wherever its file is. *hold_fd: until then. */
must_check int sock_name_reach(int fd, const struct sys_sockname *name, struct sys_sockname *to,
			       int *hold_fd);

must_check int sock_inet_look(const struct kind_look *at, struct image_sock *s, struct err *e);
const char *sock_inet_pair_up(struct tree_image *im, struct image_sock *s);
/* After all are paired. */
const char *sock_inet_check(const struct image_sock *s);
/* All of them: connect, fill, bind. On failure *file is the one. */
must_check int sock_inet_join(struct files_open *o, int *file);

must_check int sock_netlink_look(const struct kind_look *at, struct image_sock *s, struct err *e);
must_check int sock_netlink_join(struct files_open *o, int file);

/* TCP's part of these two. */
const char *sock_tcp_pair_up(struct tree_image *im, struct image_sock *s);
must_check int sock_tcp_connect(struct files_open *o, int file);

/* The same address, be it written as v4 or v6. */
bool sock_same_address(const struct sys_sockname *a, const struct sys_sockname *b);
uint16_t sock_port(const struct sys_sockname *name);

/* Every socket is open: set them up. On failure *file is the one. */
must_check int sock_join(struct files_open *o, int *file);
/* One that PID 1 has made; k: which of its others, 0: itself. */
must_check int sock_fetch(struct files_open *o, const struct image_sock *s, unsigned int k);

/* Of all families: what needs to know all others. Numbers them. */
must_check int sock_pair_up(struct look *l, struct err *e);

/* Sockets that an image's are made with. */
size_t sock_count(const struct tree_image *im);

/*
 * Write, for PID 1, what makes the sockets: each is descriptor
 * sock_born(first, s, 0) then; after it come those in the place of sockets that
 * nobody has any more. The last one, sock_born_diag(), is a netlink socket for sys_unix_diag().
 */
void sock_write_births(struct prog *p, const struct tree_image *im, unsigned int first);

static inline unsigned int sock_born(unsigned int first, const struct image_sock *s,
				     unsigned int k)
{
	return first + s->born + k;
}

static inline unsigned int sock_born_diag(unsigned int first, const struct tree_image *im)
{
	return first + (unsigned int)sock_count(im);
}
