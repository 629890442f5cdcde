#include "sys/procfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/harness.h"
#include "base/clock.h"
#include "sys/probe.h"
#include "sys/proc.h"

enum { PAGE = 4096 };

static struct procfs new_procfs(void)
{
	struct procfs p;
	t_ok(procfs_open(&p, NULL));
	return p;
}

TEST(stat_survives_any_name)
{
	struct procfs p = new_procfs();
	struct procfs_stat st;
	static const char *const names[] = { "plain", ") R 1 2 (", "a)b(c d",
					     "" };
	for (int i = 0; i < 4; i++) {
		t_sys(prctl(PR_SET_NAME, names[i]));
		t_ok(procfs_stat(&p, getpid(), 0, &st));
		t_str_eq(st.comm, names[i]);
		t_eq(st.state, 'R');
		t_eq(st.pid, getpid());
		t_eq(st.ppid, getppid());
		t_eq(st.pgrp, getpgid(0));
		t_eq(st.session, getsid(0));
		t_eq(st.num_threads, 1);
		t_eq(st.exit_signal, SIGCHLD);
		t_assert(st.start_time > 0);
		t_assert(st.start_code && st.start_code < st.end_code);
		t_assert(st.arg_start < st.arg_end);
		t_assert(st.env_start >= st.arg_end);
		t_assert(st.start_stack > st.start_brk);
	}
	procfs_close(&p);
}

TEST(stat_of_a_zombie_has_its_exit_code)
{
	struct procfs p = new_procfs();
	pid_t pid = t_fork();
	if (pid == 0)
		_exit(42);
	siginfo_t info;
	t_sys(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
	struct procfs_stat st;
	t_ok(procfs_stat(&p, pid, 0, &st));
	t_eq(st.state, 'Z');
	t_eq(st.exit_code, 42 << 8);
	t_eq(t_wait(pid), 42);
	t_eq(procfs_stat(&p, pid, 0, &st), -ESRCH);
	t_eq(procfs_read(&p, pid, 0, "status"), -ESRCH);
	procfs_close(&p);
}

TEST(status_has_signals_ids_and_namespaces)
{
	struct procfs p = new_procfs();
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, (void (*)(int))_exit);
	raise(SIGUSR1);
	kill(getpid(), SIGUSR2);
	umask(0137);
	/* a name that looks like a field of the file */
	prctl(PR_SET_NAME, "x\nSigBlk:\tff");
	t_sleep_ms(1);
	struct procfs_status st;
	t_ok(procfs_status(&p, getpid(), 0, &st));
	t_eq(st.tgid, getpid());
	t_eq(st.ppid, getppid());
	t_assert(st.n_ns >= 1);
	t_eq(st.ns_pid[0], getpid());
	t_eq(st.ns_sid[0], getsid(0));
	t_eq(st.uid[1], geteuid());
	t_eq(st.gid[3], getegid());
	t_eq(st.umask, 0137);
	t_eq(st.threads, 1);
	t_eq(st.tracer_pid, 0);
	t_eq(st.sig_pending, 1ull << (SIGUSR1 - 1));
	t_eq(st.sig_shared_pending, 1ull << (SIGUSR2 - 1));
	t_eq(st.sig_blocked,
	     1ull << (SIGUSR1 - 1) | 1ull << (SIGUSR2 - 1));
	t_assert(st.sig_ignored & 1ull << (SIGHUP - 1));
	t_assert(st.sig_caught & 1ull << (SIGINT - 1));
	t_eq(st.no_new_privs, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	t_eq(st.seccomp, prctl(PR_GET_SECCOMP));
	t_assert(st.voluntary_switches + st.involuntary_switches > 0);
	struct vec groups = VEC_INIT(gid_t);
	gid_t real[64];
	int n = (int)t_sys(getgroups(64, real));
	t_eq(procfs_groups(&p, getpid(), &groups), n);
	vec_deinit(&groups);
	t_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	t_ok(procfs_status(&p, getpid(), 0, &st));
	t_eq(st.no_new_privs, true);
	procfs_close(&p);
}

static const struct procfs_map *expect_map(struct procfs_maps *m, void *at,
					   size_t pages, int prot, bool shared)
{
	const struct procfs_map *map = procfs_maps_find(m, (uint64_t)at);
	t_assert(map);
	t_eq(map->start, (uint64_t)at);
	t_eq(map->end, (uint64_t)at + pages * PAGE);
	t_eq(map->prot, prot);
	t_eq(map->shared, shared);
	return map;
}

static void look_at_maps(void)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/odd\n \\name (deleted)", t_tmpdir());
	int fd = (int)t_sys(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	t_sys(ftruncate(fd, 4 * PAGE));
	struct stat file;
	t_sys(fstat(fd, &file));
	char *area = mmap(NULL, 64 * PAGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *text = mmap(area + 2 * PAGE, 2 * PAGE, PROT_READ | PROT_EXEC,
			  MAP_PRIVATE | MAP_FIXED, fd, PAGE);
	void *data = mmap(area + 8 * PAGE, PAGE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_FIXED, fd, 0);
	void *anon = mmap(area + 10 * PAGE, 3 * PAGE, PROT_WRITE | PROT_READ,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	struct procfs p = new_procfs();
	struct procfs_maps m = PROCFS_MAPS_INIT;
	int n = 0;
	for (int i = 0; i < 3; i++)
		n = (int)t_ok(procfs_maps(&p, getpid(), &m));
	t_eq(n, m.maps.n);
	const struct procfs_map *map =
		expect_map(&m, text, 2, PROT_READ | PROT_EXEC, false);
	t_eq(map->offset, PAGE);
	t_eq(map->ino, file.st_ino);
	t_eq(map->dev, file.st_dev);
	t_str_eq(procfs_map_name(&m, map), path);
	map = expect_map(&m, data, 1, PROT_READ | PROT_WRITE, true);
	t_eq(map->offset, 0);
	map = expect_map(&m, anon, 3, PROT_READ | PROT_WRITE, true);
	t_assert(map->ino);
	map = expect_map(&m, area, 2, PROT_NONE, false);
	t_eq(map->ino, 0);
	t_str_eq(procfs_map_name(&m, map), "");
	bool vdso = false;
	uint64_t end = 0;
	vec_each(struct procfs_map, it, &m.maps) {
		t_assert(it->start >= end && it->end > it->start);
		end = it->end;
		vdso |= !strcmp(procfs_map_name(&m, it), "[vdso]");
	}
	t_assert(vdso);
	struct procfs_map one;
	char name[512];
	t_ok(procfs_map_at(&p, getpid(), (uint64_t)text + PAGE, &one, name,
			   sizeof(name)));
	t_eq(one.start, (uint64_t)text);
	t_str_eq(name, path);
	munmap(area, 64 * PAGE);
	t_eq(procfs_map_at(&p, getpid(), (uint64_t)text, &one, NULL, 0),
	     -ENOENT);
	close(fd);
	procfs_maps_deinit(&m);
	procfs_close(&p);
}

TEST(maps_are_read_with_odd_names)
{
	look_at_maps();
}

TEST(maps_are_read_with_odd_names_from_text)
{
	setenv("MULLIGAN_MASK", "procmap_query", 1);
	t_eq(sys_has(SYS_F_PROCMAP_QUERY), false);
	look_at_maps();
}

static void read_many_maps(const char *how)
{
	enum { MAPS = 65000 };
	/* pages of alternating protection cannot merge */
	char *area = mmap(NULL, (size_t)MAPS * PAGE, PROT_READ,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	t_assert(area != MAP_FAILED);
	int made = 0;
	for (; made < MAPS / 2; made++)
		if (mprotect(area + (size_t)made * 2 * PAGE, PAGE, PROT_NONE))
			break;
	struct procfs p = new_procfs();
	struct procfs_maps m = PROCFS_MAPS_INIT;
	sys_features();
	uint64_t start_ns = clock_now_ns();
	int n = (int)t_ok(procfs_maps(&p, getpid(), &m));
	uint64_t ns = clock_now_ns() - start_ns;
	t_assert(n >= 2 * made);
	t_note("%d mappings by %s: %d ns each", n, how, (int)(ns / (uint64_t)n));
	for (int i = 0; i < made; i += 997) {
		uint64_t at = (uint64_t)area + (uint64_t)i * 2 * PAGE;
		t_eq(procfs_maps_find(&m, at)->prot, PROT_NONE);
		t_eq(procfs_maps_find(&m, at + PAGE)->prot, PROT_READ);
	}
	munmap(area, (size_t)MAPS * PAGE);
	n = (int)t_ok(procfs_maps(&p, getpid(), &m));
	start_ns = clock_now_ns();
	n = (int)t_ok(procfs_maps(&p, getpid(), &m));
	t_note("%d mappings by %s: %d us", n, how,
	       (int)((clock_now_ns() - start_ns) / 1000));
	procfs_maps_deinit(&m);
	procfs_close(&p);
}

TEST(tens_of_thousands_of_maps, .timeout_s = 60)
{
	read_many_maps("query");
}

TEST(tens_of_thousands_of_maps_from_text, .timeout_s = 60)
{
	setenv("MULLIGAN_MASK", "procmap_query", 1);
	read_many_maps("text");
}

TEST(vm_flags_and_anonymous_pages)
{
	struct procfs p = new_procfs();
	char *area = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	t_sys(madvise(area, 8 * PAGE, MADV_DONTFORK));
	area[0] = area[3 * PAGE] = 1;
	struct procfs_smap s;
	t_ok(procfs_smap(&p, getpid(), (uint64_t)area, &s));
	t_assert(procfs_smap_flag(&s, "rd"));
	t_assert(procfs_smap_flag(&s, "dc"));
	t_assert(!procfs_smap_flag(&s, "sh"));
	t_eq(s.anonymous_kb, 8);
	t_eq(procfs_anon_pages(&p, getpid(), (uint64_t)area,
			       (uint64_t)area + 8 * PAGE), 2);
	t_eq(procfs_anon_pages(&p, getpid(), (uint64_t)area + PAGE,
			       (uint64_t)area + 3 * PAGE), 0);
	t_eq(procfs_smap(&p, getpid(), (uint64_t)area + PAGE, &s), -ENOENT);
	munmap(area, 8 * PAGE);
	procfs_close(&p);
}

TEST(descriptors_with_their_links)
{
	struct procfs p = new_procfs();
	char path[256];
	snprintf(path, sizeof(path), "%s/file", t_tmpdir());
	int fd = (int)t_sys(open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC,
				 0640));
	t_sys(write(fd, "hello", 5));
	t_sys(dup2(fd, 200));
	struct procfs_fds l = PROCFS_FDS_INIT;
	int n = (int)t_ok(procfs_fds(&p, getpid(), &l));
	t_eq(n, l.fds.n);
	int last = -1, found = 0;
	struct stat st;
	t_sys(fstat(fd, &st));
	vec_each(struct procfs_fd, it, &l.fds) {
		t_assert(it->fd > last);
		last = it->fd;
		if (it->fd != fd && it->fd != 200)
			continue;
		found++;
		t_str_eq(procfs_fd_link(&l, it), path);
		t_eq(it->ino, st.st_ino);
		t_eq(it->dev, st.st_dev);
		t_eq(it->mode, st.st_mode);
		t_eq(it->size, 5);
		t_eq(it->nlink, 1);
		t_assert(it->mnt_id);
	}
	t_eq(found, 2);
	t_assert(last >= 200);
	struct procfs_fd cwd;
	char link[256];
	t_ok(procfs_link(&p, getpid(), "cwd", &cwd, link, sizeof(link)));
	char *here = getcwd(NULL, 0);
	t_str_eq(link, here);
	free(here);
	t_eq(procfs_link(&p, getpid(), "fd/999", &cwd, NULL, 0), -ESRCH);
	procfs_fds_deinit(&l);
	close(fd);
	close(200);
	procfs_close(&p);
}

TEST(fdinfo_has_position_flags_locks_and_the_rest)
{
	struct procfs p = new_procfs();
	char path[256];
	snprintf(path, sizeof(path), "%s/file", t_tmpdir());
	int fd = (int)t_sys(open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC,
				 0640));
	t_sys(write(fd, "hello", 5));
	struct procfs_fdinfo info;
	t_ok(procfs_fdinfo(&p, getpid(), fd, &info));
	t_eq(info.pos, 5);
	t_assert(info.flags & O_APPEND);
	t_assert(info.flags & O_CLOEXEC);
	t_eq(info.flags & O_ACCMODE, O_RDWR);
	t_eq(info.n_locks, 0);
	t_str_eq(info.locks, "");
	t_str_eq(info.rest, "");
	t_sys(flock(fd, LOCK_EX));
	struct flock range = { .l_type = F_WRLCK, .l_start = 1, .l_len = 2 };
	t_sys(fcntl(fd, F_SETLK, &range));
	t_ok(procfs_fdinfo(&p, getpid(), fd, &info));
	t_eq(info.n_locks, 2);
	t_assert(strstr(info.locks, "FLOCK"));
	t_assert(strstr(info.locks, "POSIX"));
	t_str_eq(info.rest, "");
	close(fd);
	int counter = (int)t_sys(eventfd(7, 0));
	t_ok(procfs_fdinfo(&p, getpid(), counter, &info));
	const char *value = procfs_field(info.rest, "eventfd-count");
	t_assert(value);
	t_eq(strtol(value, NULL, 16), 7);
	t_assert(!procfs_field(info.rest, "eventfd"));
	close(counter);
	t_eq(procfs_fdinfo(&p, getpid(), 999, &info), -ESRCH);
	procfs_close(&p);
}

static void *sleeper(void *arg)
{
	pause();
	return NULL;
}

TEST(threads_and_children_are_listed)
{
	struct procfs p = new_procfs();
	pthread_t t;
	pthread_create(&t, NULL, sleeper, NULL);
	pid_t pid = t_fork();
	if (pid == 0)
		for (;;)
			pause();
	struct vec ids = VEC_INIT(pid_t);
	t_eq(procfs_tasks(&p, getpid(), &ids), 2);
	t_eq(*(pid_t *)vec_at(&ids, 0), getpid());
	pid_t tid = *(pid_t *)vec_at(&ids, 1);
	t_eq(procfs_children(&p, getpid(), getpid(), &ids), 1);
	t_eq(*(pid_t *)vec_at(&ids, 2), pid);
	t_eq(procfs_children(&p, getpid(), tid, &ids), 0);
	struct procfs_syscall call;
	do {
		t_sleep_ms(1);
		t_ok(procfs_syscall(&p, pid, 0, &call));
	} while (call.nr != SYS_pause);
	t_ok(procfs_syscall(&p, getpid(), 0, &call));
	t_eq(call.nr, SYS_read);
	kill(pid, SIGKILL);
	t_eq(t_wait(pid), 128 + SIGKILL);
	t_eq(procfs_children(&p, pid, pid, &ids), -ESRCH);
	vec_deinit(&ids);
	procfs_close(&p);
}

TEST(small_files_of_a_process)
{
	struct procfs p = new_procfs();
	uint64_t words[64];
	int n = (int)t_ok(procfs_auxv(&p, getpid(), words, 64));
	t_eq(procfs_auxv_get(words, (size_t)n, AT_SYSINFO_EHDR),
	     getauxval(AT_SYSINFO_EHDR));
	t_eq(procfs_auxv_get(words, (size_t)n, 12345), 0);
	t_eq(procfs_auxv(&p, getpid(), words, 4), -EMSGSIZE);
	uint64_t run_ns, slices;
	/* counted when it leaves a CPU: it has not yet, maybe */
	usleep(2000);
	t_ok(procfs_schedstat(&p, getpid(), 0, &run_ns, &slices));
	t_assert(run_ns > 0 && slices > 0);
	uint64_t slack;
	t_sys(prctl(PR_SET_TIMERSLACK, 77000));
	pid_t pid = t_fork();
	if (pid == 0)
		for (;;)
			pause();
	/* another process's takes CAP_SYS_NICE, which a keeper has */
	int r = procfs_timerslack(&p, pid, &slack);
	t_eq(r, geteuid() == 0 ? 0 : -EPERM);
	t_assert(r || slack == 77000);
	kill(pid, SIGKILL);
	t_eq(t_wait(pid), 128 + SIGKILL);
	int adjust;
	t_ok(procfs_oom_score_adj(&p, getpid(), &adjust));
	t_assert(adjust >= -1000 && adjust <= 1000);
	struct rlimit limits[RLIM_NLIMITS], files;
	t_ok(procfs_limits(&p, getpid(), limits));
	t_sys(getrlimit(RLIMIT_NOFILE, &files));
	t_eq(limits[RLIMIT_NOFILE].rlim_cur, files.rlim_cur);
	struct stat st;
	uint64_t ino;
	t_sys(stat("/proc/self/ns/mnt", &st));
	t_ok(procfs_ns_ino(&p, getpid(), 0, "mnt", &ino));
	t_eq(ino, st.st_ino);
	uint32_t persona;
	t_ok(procfs_personality(&p, getpid(), &persona));
	t_eq(persona, 0);
	procfs_close(&p);
}

/* Reading memory: whole, or an error. */
TEST(memory_of_a_process_is_copied_whole_or_not)
{
	char *area = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(area, 'a', PAGE);
	t_sys(munmap(area + PAGE, PAGE));
	char copy[2 * PAGE];
	t_ok(sys_vm_read(getpid(), (uint64_t)area, copy, PAGE));
	t_eq(copy[PAGE - 1], 'a');
	t_eq(sys_vm_read(getpid(), (uint64_t)area, copy, PAGE + 1), -EFAULT);
	t_eq(sys_vm_write(getpid(), (uint64_t)area + PAGE - 1, "xy", 2),
	     -EFAULT);
	struct sys_vm_range many[600];
	for (int i = 0; i < 600; i++)
		many[i] = (struct sys_vm_range){ (uint64_t)area + (uint64_t)i,
						 copy + i, 1 };
	t_ok(sys_vm_readv(getpid(), many, 600));
	many[599].remote = (uint64_t)area + PAGE;
	t_eq(sys_vm_readv(getpid(), many, 600), -EFAULT);
	munmap(area, PAGE);
	munmap(area + 2 * PAGE, PAGE);
}

TEST(features_are_probed_and_masked)
{
	struct sys_features f = *sys_features();
	for (int i = 0; i < SYS_F_COUNT; i++) {
		const struct sys_feature_text *text = &sys_feature_table[i];
		t_assert(text->name && text->gives && text->without);
		t_eq(f.has[i], f.error[i] == 0);
		if (!f.has[i])
			t_note("%s: %s", text->name, strerror(f.error[i]));
	}
	f.has[SYS_F_UFFD_WP] = f.has[SYS_F_CGROUP] = true;
	t_eq(sys_features_mask(&f, "uffd_wp,nonsense,,cgroup"), 1);
	t_eq(f.has[SYS_F_UFFD_WP], false);
	t_eq(f.masked[SYS_F_UFFD_WP], true);
	t_eq(f.has[SYS_F_CGROUP], false);
}
