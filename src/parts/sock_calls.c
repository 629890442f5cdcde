/*
 * sock_calls.c - unix sockets that were connected through a listening one.
 *
 * The accepted end has the listener's name, and each end tells of the other's
 * process: who connected, and who listened. So each connection is made through
 * a listener of its own, by errands that are those processes, before anything
 * else has a name; the real listeners come after, and then those that wait to
 * be accepted. Of the latter the kernel does not say who connected: it was
 * the process that holds it, if no other does.
 */
#include <errno.h>
#include <string.h>

#include "parts/memfs.h"
#include "parts/sockets.h"
#include "sys/errand.h"

const char sock_passes[] = "a connection waits to be accepted, and has sent something or is to a "
			   "socket with a file";

int sock_find(const struct tree_image *im, uint32_t ino)
{
	vec_each(struct image_file, f, &im->files)
		if (f->kind == FILE_SOCKET && f->ino == ino)
			return (int)(f - (struct image_file *)im->files.data);
	return IMAGE_NONE;
}

static bool is_listener(const struct image_file *f)
{
	return f->kind == FILE_SOCKET && image_sock_of(f)->domain == AF_UNIX &&
	       image_sock_of(f)->tcp_state == TCP_LISTEN;
}

static bool has_listener(const struct tree_image *im, const struct sys_sockname *name)
{
	vec_each(struct image_file, f, &im->files)
		if (is_listener(f) && sock_same_name(&image_sock_of(f)->name, name))
			return true;
	return false;
}

/*
 * Of two ends the accepted one has a name. Where both have, the listener's is
 * likely to be in use still. s is the one with the lower number, or alone.
 */
static bool is_accepted(const struct tree_image *im, const struct image_sock *s)
{
	if (!sock_is_named(&s->name) || !sock_is_named(&s->peer_name))
		return sock_is_named(&s->name);
	return has_listener(im, &s->name) || !has_listener(im, &s->peer_name);
}

/* The one process that holds it. */
static int find_holder(const struct tree_image *im, const struct image_sock *s)
{
	int holder = IMAGE_NONE;
	for (int i = 0; i < (int)im->procs.n; i++)
		vec_each(struct image_fd, fd, &image_proc(im, i)->fds) {
			if (image_file(im, fd->file)->own != s || holder == i)
				continue;
			if (holder != IMAGE_NONE)
				return IMAGE_NONE;
			holder = i;
		}
	return holder;
}

static const char *wait_for(struct tree_image *im, struct image_sock *s, int listener)
{
	const struct image_file *l = image_file(im, listener);
	s->role = SOCK_WAITS;
	s->listener = listener;
	s->caller = find_holder(im, s);
	if (s->has_sent || sock_is_placed(l))
		return sock_passes;
	return s->caller == IMAGE_NONE ? "it waits to be accepted, and several processes have it" :
					 NULL;
}

/* It waits, if a listener says so. */
static int find_listener(const struct tree_image *im, const struct image_sock *s)
{
	vec_each(struct image_file, f, &im->files) {
		if (!is_listener(f))
			continue;
		vec_each(uint32_t, caller, &image_sock_of(f)->callers)
			if (*caller && sock_find(im, *caller) != IMAGE_NONE &&
			    image_sock(im, sock_find(im, *caller)) == s)
				return (int)(f - (struct image_file *)im->files.data);
	}
	return IMAGE_NONE;
}

static const char *look_callers(const struct tree_image *im, const struct image_sock *s)
{
	vec_each(uint32_t, caller, &s->callers)
		if (!*caller || sock_find(im, *caller) == IMAGE_NONE)
			return "a connection waits to be accepted whose other end is closed, or not in "
			       "the sandbox";
	return NULL;
}

/* The name of the other end, which is closed, was given to another. */
static bool is_taken(const struct tree_image *im, const struct image_sock *s)
{
	if (s->role != SOCK_CALLED || !sock_is_named(&s->peer_name))
		return false;
	vec_each(struct image_file, f, &im->files)
		if (f->kind == FILE_SOCKET && image_sock_of(f)->domain == AF_UNIX &&
		    image_sock_of(f)->type == s->type &&
		    sock_same_name(&image_sock_of(f)->name, &s->peer_name))
			return true;
	return false;
}

const char *sock_calls_pair_up(struct tree_image *im, struct image_sock *s)
{
	if (s->tcp_state == TCP_LISTEN)
		return look_callers(im, s);
	int listener = s->peer_ino ? IMAGE_NONE : find_listener(im, s);
	if (listener != IMAGE_NONE)
		return wait_for(im, s, listener);
	struct image_sock *peer = s->peer == IMAGE_NONE ? NULL : image_sock(im, s->peer);
	if (peer && peer->role != SOCK_ALONE)
		s->role = peer->role == SOCK_CALLS ? SOCK_CALLED : SOCK_CALLS;
	else
		s->role = is_accepted(im, s) ? SOCK_CALLED : SOCK_CALLS;
	return peer || !is_taken(im, s) ? NULL : "its other end is closed, and the name of that in use";
}

/* Making them. */

struct step {
	int fd;
	const struct sys_sockname *name;
	int backlog;
};

static int run_listen_here(void *ctx)
{
	const struct step *s = ctx;
	int r = sock_name_bind_here(s->fd, s->name);
	return r ? r : sys_listen(s->fd, s->backlog);
}

static int run_listen(void *ctx)
{
	const struct step *s = ctx;
	return sys_listen(s->fd, s->backlog);
}

static int run_connect(void *ctx)
{
	const struct step *s = ctx;
	return sys_connect(s->fd, s->name);
}

static int run_as(const struct files_open *o, const struct sock_creds *c, int root_fd,
		  int (*run)(void *ctx), const struct step *step)
{
	struct sys_errand as = SYS_ERRAND_INIT;
	as.root_fd = root_fd;
	if (c && c->pid) {
		as.pidns_fd = o->pidns_fd;
		as.pid = c->pid;
		as.uid = c->uid;
		as.gid = c->gid;
	}
	return sys_errand(&as, run, (void *)step);
}

struct call {
	int caller_fd, listener_fd;
	const struct sys_sockname *name;
	const struct sock_creds *caller, *listener; /* or NULL: nobody will know */
};

/* The accepted end, or -errno. */
static int make_call(const struct files_open *o, const struct call *c)
{
	scoped_fd int scratch = memfs_new();
	if (scratch < 0)
		return scratch;
	const struct step listen = { c->listener_fd, c->name, 1 };
	const struct step connect = { c->caller_fd, c->name, 0 };
	int r = run_as(o, c->listener, scratch, run_listen_here, &listen);
	if (r == 0)
		r = run_as(o, c->caller, scratch, run_connect, &connect);
	return r ? r : sys_accept(c->listener_fd);
}

int sock_extra(const struct files_open *o, const struct image_sock *s)
{
	return sys_socket_in(o->netns_fd, s->domain, s->type, s->protocol);
}

static int *end_of(struct files_open *o, int file)
{
	return vec_at(&o->ends, (size_t)file);
}

/* The other end of s has called, or will be called. */
static int call_out(struct files_open *o, int file)
{
	const struct image_sock *s = image_sock(o->image, file);
	scoped_fd int listener = sock_extra(o, s);
	if (listener < 0)
		return listener;
	const struct call c = { *kind_fd(o, file), listener, &s->peer_name,
				s->peer == IMAGE_NONE ? NULL : &image_sock(o->image, s->peer)->creds,
				&s->creds };
	int fd = make_call(o, &c);
	if (fd < 0)
		return fd;
	*(s->peer == IMAGE_NONE ? end_of(o, file) : kind_fd(o, s->peer)) = fd;
	return 0;
}

static int call_in(struct files_open *o, int file)
{
	const struct image_sock *s = image_sock(o->image, file);
	scoped_fd int caller = sock_extra(o, s);
	scoped_fd int listener = sock_extra(o, s);
	if (caller < 0 || listener < 0)
		return caller < 0 ? caller : listener;
	const struct call c = { caller, listener, &s->name, &s->creds, NULL };
	int fd = make_call(o, &c);
	if (fd < 0)
		return fd;
	*kind_fd(o, file) = fd;
	*end_of(o, file) = take_fd(&caller);
	return sock_is_named(&s->peer_name) ?
		       sock_name_bind_nowhere(*end_of(o, file), &s->peer_name) : 0;
}

int sock_call(struct files_open *o, int file)
{
	const struct image_sock *s = image_sock(o->image, file);
	if (s->role == SOCK_CALLS)
		return call_out(o, file);
	return s->role == SOCK_CALLED && s->peer == IMAGE_NONE ? call_in(o, file) : 0;
}

int sock_listen_as(struct files_open *o, int file)
{
	const struct image_sock *s = image_sock(o->image, file);
	const struct step listen = { *kind_fd(o, file), NULL, s->backlog };
	return run_as(o, &s->creds, -1, run_listen, &listen);
}

/* Who listens to a live one is known later: checkpoint/rehome.c. */
int sock_listen(struct files_open *o, int file)
{
	const struct image_sock *s = image_sock(o->image, file);
	return s->tcp_state != TCP_LISTEN || o->wanted ? 0 : sock_listen_as(o, file);
}

/* All that wait at this listener, in their order. */
int sock_wait(struct files_open *o, int file)
{
	const struct image_sock *s = image_sock(o->image, file);
	int r = 0;
	vec_each(uint32_t, ino, &s->callers) {
		int caller = sock_find(o->image, *ino);
		const struct image_proc *p =
			image_proc(o->image, image_sock(o->image, caller)->caller);
		const struct sock_creds as = { p->pid, p->cred.uid[1], p->cred.gid[1], false };
		struct sys_sockname to;
		scoped_fd int hold = -1;
		r = r ? r : sock_name_reach(*kind_fd(o, file), &s->name, &to, &hold);
		const struct step connect = { *kind_fd(o, caller), &to, 0 };
		r = r ? r : run_as(o, &as, -1, run_connect, &connect);
	}
	return r;
}
