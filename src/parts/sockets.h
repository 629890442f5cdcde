/*
 * sockets.h - what is saved of a socket, and what its families share.
 *
 * A socket is born in the new incarnation's PID 1 (sock_birth.c), because it
 * belongs for ever to the network namespace that it was made in and remembers
 * the process that connected it. The keeper fetches it, and does the rest.
 */
#pragma once

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
	struct vec bytes;	/* char */
	struct vec files;	/* int: image.files that come with it */
};

/* Who connected it, as SO_PEERCRED says. */
struct sock_creds {
	pid_t pid;		/* in the sandbox; 0: nobody */
	uint32_t uid, gid;
	bool unknown;		/* it has ended: the process is asked */
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
	unsigned int born;	/* which of all sockets it is */
	int fd;			/* while the tree is looked at; -1 */
};

static inline struct image_sock *image_sock(const struct tree_image *im, int file)
{
	return image_file(im, file)->own;
}

/* Save options: of any socket, of its family. */
must_check int sock_options_look(struct image_sock *s);
/* Set those that differ. */
must_check int sock_options_set(int fd, const struct image_sock *s);

/*
 * Copy the queue of image_sock(l->image, file) and leave it as it is; what
 * only the queue holds becomes a file of the image.
 */
must_check int sock_queue_look(struct look *l, int file, struct err *e);
/* Send it again, from this socket. */
must_check int sock_queue_fill(struct files_open *o, const struct image_sock *s, int from);
void sock_queue_free(struct image_sock *s);

/* The rows of the families. */
must_check int sock_unix_look(const struct kind_look *at, struct image_sock *s, struct err *e);
/* Find its peer, once every socket is known. NULL, or why it is refused. */
const char *sock_unix_pair_up(struct tree_image *im, struct image_sock *s);
must_check int sock_unix_join(struct files_open *o, int file);

/* Of all families: what needs to know all others. Numbers them. */
must_check int sock_pair_up(struct look *l, struct err *e);

/* Sockets in an image. */
size_t sock_count(const struct tree_image *im);

/*
 * Write, for PID 1, what makes the sockets: each is descriptor
 * sock_born(first, s, false) then; its end that nobody has any more, the one
 * after. The last one, sock_born_diag(), is a netlink socket for sys_unix_diag().
 */
void sock_write_births(struct prog *p, const struct tree_image *im, unsigned int first);

static inline unsigned int sock_born(unsigned int first, const struct image_sock *s, bool other)
{
	return first + 2 * s->born + other;
}

static inline unsigned int sock_born_diag(unsigned int first, const struct tree_image *im)
{
	return first + 2 * (unsigned int)sock_count(im);
}
