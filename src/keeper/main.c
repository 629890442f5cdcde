/*
 * main.c - the keeper program.
 *
 *	mulligan-keeper --fd N		serve the client on descriptor N; its first
 *					request must be `create`
 *	mulligan-keeper --gc | --gc-json [--all | NAME[@CKPT]..]
 *	mulligan-keeper --lost [NAME]
 *	mulligan-keeper --doctor | --doctor-json
 *	mulligan-keeper --methods	the methods table as JSON
 *
 * A keeper puts itself into the background at once: the caller waits for this
 * process, and then for the answer to `create` on its descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "keeper/box.h"
#include "keeper/tools.h"
#include "wire/rpc.h"

/* Nothing of the caller stays open but the client's descriptor, as 3. */
static int detach(int client_fd)
{
	if (client_fd != 3 && dup2(client_fd, 3) < 0)
		return -errno;
	if (close_range(4, UINT_MAX, 0))
		return -errno;
	if (fcntl(3, F_SETFD, FD_CLOEXEC))
		return -errno;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return -errno;
	for (int fd = 0; fd < 3; fd++)
		if (dup2(null, fd) < 0)
			return -errno;
	close(null);
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid)
		_exit(0);
	setsid();
	umask(022);
	return chdir("/") ? -errno : 0;
}

/*
 * Before anything else can answer: tell the client on the bare descriptor.
 * Take its request first: ending with that unread would reset the connection,
 * and the client might not see the answer.
 */
static int refuse(int fd, const struct err *e)
{
	enum { REQUEST_MS = 1000 };
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char unused[4096];
	while (poll(&p, 1, REQUEST_MS) == 1 &&
	       recv(fd, unused, sizeof(unused), MSG_DONTWAIT) == sizeof(unused))
		;
	struct buf out = BUF_INIT;
	rpc_add_error(&out, 0, e);
	ssize_t n = write(fd, out.data, out.len);
	buf_deinit(&out);
	return n < 0 ? 2 : 1;
}

static int serve(int client_fd)
{
	struct err e = ERR_INIT;
	struct box *b = calloc(1, sizeof(*b));
	int runtime_fd = b ? runtime_open(&e) : err_set(&e, ENOMEM, "no memory for a keeper");
	int r = runtime_fd < 0 ? runtime_fd : box_init(b, runtime_fd, &e);
	if (!r)
		r = runtime_state_path(b->state_path, &e);
	if (!r && conns_add(&b->conns, client_fd, NULL))
		r = err_set(&e, EIO, "serve the first client");
	if (r)
		return refuse(client_fd, &e);
	r = loop_run(&b->loop);
	if (r)
		fprintf(stderr, "what=loop code=%s\n", err_name(-r));
	if (b->state != BOX_ENDING)
		box_end(b);
	conns_close(&b->conns);
	return r ? 1 : 0;
}

static int print_methods(void)
{
	scoped_json json_t *all = methods_describe();
	return json_dumpf(all, stdout, JSON_INDENT(1)) || puts("") < 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	signal(SIGPIPE, SIG_IGN);
	if (!strcmp(what, "--fd") && argc == 3) {
		int fd = atoi(argv[2]);
		int r = fd > 2 ? detach(fd) : -EBADF;
		if (r) {
			fprintf(stderr, "mulligan-keeper: start: %s\n", strerror(-r));
			return 1;
		}
		return serve(3);
	}
	if (!strcmp(what, "--gc") || !strcmp(what, "--gc-json")) {
		bool all = argc > 2 && !strcmp(argv[2], "--all");
		return tool_gc(!strcmp(what, "--gc-json"), all, argv + 2 + all);
	}
	if (!strcmp(what, "--lost"))
		return tool_lost(argv[2]);
	if (!strncmp(what, "--doctor", 8))
		return tool_doctor(!strcmp(what, "--doctor-json"));
	if (!strcmp(what, "--methods"))
		return print_methods();
	if (!strcmp(what, "--version")) {
		puts("mulligan-keeper " MULLIGAN_VERSION);
		return 0;
	}
	fprintf(stderr, "mulligan-keeper is started by mulligan: see `mulligan --help`\n");
	return 2;
}
