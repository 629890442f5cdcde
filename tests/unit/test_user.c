/* Users are looked up in files that a guest may have bent. */
#include "exec/user.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/harness.h"

static int root_with(const char *passwd, const char *group)
{
	int root_fd = (int)t_sys(open(t_tmpdir(), O_PATH | O_DIRECTORY | O_CLOEXEC));
	mkdirat(root_fd, "etc", 0755);
	const char *const text[] = {passwd, group};
	const char *const path[] = {"etc/passwd", "etc/group"};
	for (int i = 0; i < 2; i++) {
		unlinkat(root_fd, path[i], 0);
		if (!text[i])
			continue;
		int fd = (int)t_sys(openat(root_fd, path[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
		t_eq(write(fd, text[i], strlen(text[i])), strlen(text[i]));
		close(fd);
	}
	return root_fd;
}

static const char passwd[] = "root:x:0:0:root:/root:/bin/bash\n"
			     "garbage\n"
			     "bad:x:12x:0::/:\n"
			     "huge:x:4294967295:0::/:\n"
			     "relative:x:7:7::not/absolute:zsh\n"
			     "ann:x:1000:1001:Ann,,,:/home/ann:/bin/zsh\n"
			     "1234:x:99:99::/n:/bin/n\n"
			     "last:x:5:6::/l:/bin/l";
static const char group[] = "root:x:0:\nwheel:x:10:bob,ann\nann:x:1001:ann\n"
			    "annex:x:11:annabel,joann\ntail:x:12:ann";

TEST(names_and_numbers_are_found)
{
	struct user_account u;
	struct err e = ERR_INIT;
	scoped_fd int root_fd = root_with(passwd, group);
	t_ok_e(user_resolve(root_fd, NULL, &u, &e), &e);
	t_eq(u.uid, 0);
	t_str_eq(u.home, "/root");
	t_str_eq(u.name, "root");
	t_ok_e(user_resolve(root_fd, "ann", &u, &e), &e);
	t_eq(u.uid, 1000);
	t_eq(u.gid, 1001);
	t_str_eq(u.shell, "/bin/zsh");
	t_eq(u.n_groups, 2);
	t_eq(u.groups[0], 10);
	t_eq(u.groups[1], 12);
	t_ok_e(user_resolve(root_fd, "1000", &u, &e), &e);
	t_str_eq(u.name, "ann");
	t_ok_e(user_resolve(root_fd, "last", &u, &e), &e);
	t_eq(u.gid, 6);
	t_str_eq(u.shell, "/bin/l");
	/* a number is a number, whatever names there are */
	t_ok_e(user_resolve(root_fd, "1234", &u, &e), &e);
	t_eq(u.uid, 1234);
	t_eq(u.gid, 0);
	t_str_eq(u.home, "/");
	t_ok_e(user_resolve(root_fd, "relative", &u, &e), &e);
	t_str_eq(u.home, "/");
	t_str_eq(u.shell, "/bin/sh");
}

TEST(an_explicit_group_replaces_the_others)
{
	struct user_account u;
	struct err e = ERR_INIT;
	scoped_fd int root_fd = root_with(passwd, group);
	t_ok_e(user_resolve(root_fd, "ann:wheel", &u, &e), &e);
	t_eq(u.uid, 1000);
	t_eq(u.gid, 10);
	t_eq(u.n_groups, 0);
	t_ok_e(user_resolve(root_fd, "77:88", &u, &e), &e);
	t_eq(u.uid, 77);
	t_eq(u.gid, 88);
}

TEST(what_is_no_user_is_refused)
{
	struct user_account u;
	struct err e = ERR_INIT;
	scoped_fd int root_fd = root_with(passwd, group);
	t_eq(user_resolve(root_fd, "bob", &u, &e), -ENOENT);
	t_assert(e.remedy[0]);
	t_eq(user_resolve(root_fd, "bad", &u, &e), -ENOENT);
	t_eq(user_resolve(root_fd, "huge", &u, &e), -ENOENT);
	t_eq(user_resolve(root_fd, "4294967295", &u, &e), -ENOENT);
	t_eq(user_resolve(root_fd, "-1", &u, &e), -ENOENT);
	t_eq(user_resolve(root_fd, "ann:nogroup", &u, &e), -ENOENT);
	t_eq(user_resolve(root_fd, "ann:", &u, &e), -EINVAL);
	t_eq(user_resolve(root_fd, ":wheel", &u, &e), -EINVAL);
	char longer[300];
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	t_eq(user_resolve(root_fd, longer, &u, &e), -EINVAL);
}

TEST(a_root_without_the_files_knows_numbers_only)
{
	struct user_account u;
	struct err e = ERR_INIT;
	scoped_fd int root_fd = root_with(NULL, NULL);
	t_ok_e(user_resolve(root_fd, "0", &u, &e), &e);
	t_str_eq(u.name, "");
	t_eq(user_resolve(root_fd, "root", &u, &e), -ENOENT);
}

TEST(files_that_are_traps_are_not_opened)
{
	struct user_account u;
	struct err e = ERR_INIT;
	scoped_fd int root_fd = root_with(NULL, group);
	/* leads out of the root: resolved inside it */
	t_sys(symlinkat("/../../../../etc/passwd", root_fd, "etc/passwd"));
	t_eq(user_resolve(root_fd, "root", &u, &e), -ELOOP);
	t_sys(unlinkat(root_fd, "etc/passwd", 0));
	t_sys(symlinkat("/../../../../usr/share/base-passwd/passwd.master", root_fd, "etc/passwd"));
	t_eq(user_resolve(root_fd, "root", &u, &e), -ENOENT);
	t_sys(unlinkat(root_fd, "etc/passwd", 0));
	t_sys(mkfifoat(root_fd, "etc/passwd", 0666));
	t_eq(user_resolve(root_fd, "root", &u, &e), -EINVAL);
	t_sys(unlinkat(root_fd, "etc/passwd", 0));
	int fd = (int)t_sys(openat(root_fd, "etc/passwd", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	t_sys(ftruncate(fd, USER_FILE_MAX + 1));
	close(fd);
	t_eq(user_resolve(root_fd, "root", &u, &e), -EFBIG);
}

TEST(login_variables_do_not_replace_given_ones)
{
	struct user_account u = {.name = "ann", .home = "/h", .shell = "/s"};
	struct vec env = VEC_INIT(char *);
	*(char **)vec_add(&env) = strdup("HOME=/mine");
	t_ok(user_env(&u, &env));
	const char *const want[] = {"HOME=/mine",
				    ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:"
				     "/bin"),
				    "USER=ann", "LOGNAME=ann", "SHELL=/s"};
	t_eq(env.n, 5);
	for (size_t i = 0; i < env.n; i++) {
		char *have = *(char **)vec_at(&env, i);
		t_str_eq(have, want[i]);
		free(have);
	}
	vec_deinit(&env);
}
