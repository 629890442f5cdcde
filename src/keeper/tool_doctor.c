/*
 * tool_doctor.c - what works on this machine, feature by feature, with what to
 * do where one does not.
 *
 * Nothing is guessed from versions: each row tries the thing, those that need
 * namespaces in a child of their own.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "keeper/tools.h"
#include "sandbox/overlay.h"
#include "sandbox/userns.h"
#include "store/layer.h"
#include "store/manifest.h"
#include "store/store.h"
#include "sys/file.h"
#include "sys/mount.h"
#include "sys/probe.h"
#include "wire/json.h"
#include "wire/runtime.h"

enum verdict {
	WORKS,
	SLOWER,		/* a fallback serves */
	MISSING,	/* sandboxes cannot be made */
	DAMAGED,	/* they can; something old is not what it was */
};

struct finding {
	enum verdict verdict;
	char text[512];
	char remedy[ERR_REMEDY_BYTES];
};

struct check {
	const char *name;
	const char *gives;
	void (*run)(struct finding *f);
};

static void say(struct finding *f, enum verdict verdict, const char *text, const char *remedy)
{
	f->verdict = verdict;
	snprintf(f->text, sizeof(f->text), "%s", text);
	snprintf(f->remedy, sizeof(f->remedy), "%s", remedy);
}

static void say_error(struct finding *f, enum verdict verdict, const struct err *e)
{
	say(f, verdict, e->cause, e->remedy);
}

/* Run in a child that may change its namespaces; the finding comes back. */
static void in_child(struct finding *f, void (*run)(struct finding *f))
{
	struct finding *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		say(f, MISSING, "no memory to try it", "");
		return;
	}
	say(shared, MISSING, "the trial did not come to an end", "");
	pid_t pid = fork();
	if (pid == 0) {
		run(shared);
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
	*f = *shared;
	munmap(shared, sizeof(*shared));
}

static void runtime_check(struct finding *f)
{
	struct err e = ERR_INIT;
	char path[RUNTIME_PATH_BYTES];
	scoped_fd int fd = runtime_open(&e);
	if (fd < 0 || runtime_path(path, &e))
		say_error(f, MISSING, &e);
	else
		say(f, WORKS, path, "");
}

static void namespaces_child(struct finding *f)
{
	struct err e = ERR_INIT;
	bool in_userns = userns_needed();
	if (userns_enter(in_userns, &e)) {
		say_error(f, MISSING, &e);
		return;
	}
	char text[128];
	snprintf(text, sizeof(text), in_userns ? "a user namespace with %lu ids" : "as root",
		 userns_uid_count());
	bool one = in_userns && userns_uid_count() == 1;
	say(f, one ? SLOWER : WORKS, text,
	    one ? "commands can only run as root inside: install uidmap and give your user a range "
		  "in /etc/subuid and /etc/subgid" : "");
}

static void namespaces_check(struct finding *f)
{
	in_child(f, namespaces_child);
}

/* The state directory as a keeper sees it. */
static int open_store(struct store **s, struct finding *f)
{
	struct err e = ERR_INIT;
	char path[RUNTIME_PATH_BYTES];
	int r = runtime_state_path(path, &e);
	if (!r)
		r = userns_enter(userns_needed(), &e);
	if (!r)
		r = store_open(path, s, &e);
	if (r)
		say_error(f, MISSING, &e);
	return r;
}

static void store_child(struct finding *f)
{
	struct store *s;
	if (!open_store(&s, f))
		say(f, WORKS, store_path(s), "");
}

static void store_check(struct finding *f)
{
	in_child(f, store_child);
}

static void overlay_child(struct finding *f)
{
	struct store *s;
	struct err e = ERR_INIT;
	struct layer *lower, *upper;
	if (open_store(&s, f))
		return;
	if (layer_new(s, &lower, &e) || layer_new(s, &upper, &e)) {
		say_error(f, MISSING, &e);
		return;
	}
	const struct overlay o = {
		.lower_fds = &lower->fs_fd,
		.n_lowers = 1,
		.upper_fd = upper->fs_fd,
		.work_fd = upper->work_fd,
		.scratch_fd = store_trash_fd(s),
		.userxattr = sys_in_userns(),
	};
	scoped_fd int fd = overlay_build(&o, &e);
	if (fd < 0)
		say_error(f, MISSING, &e);
	else
		say(f, WORKS, "layers can be stacked on the state directory", "");
	cleanup_fd(&fd);
	layer_discard(s, upper);
	layer_discard(s, lower);
}

static void overlay_check(struct finding *f)
{
	in_child(f, overlay_child);
}

static void reflink_child(struct finding *f)
{
	struct store *s;
	if (open_store(&s, f))
		return;
	int dir = store_trash_fd(s);
	scoped_fd int from = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	scoped_fd int to = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char block[4096] = "reflink";
	if (from < 0 || to < 0 || write(from, block, sizeof(block)) != sizeof(block))
		say(f, SLOWER, "cannot be tried here", "");
	else if (sys_ficlone(to, from))
		say(f, SLOWER, "the state directory's file system copies files that are open for "
			       "writing at a checkpoint",
		    "put the state directory (MULLIGAN_STATE) on XFS with reflink=1 or on btrfs");
	else
		say(f, WORKS, "open files are shared by reference", "");
}

static void reflink_check(struct finding *f)
{
	in_child(f, reflink_child);
}

/* Owners look different from a user namespace that is not ours. */
static bool looked_at_from_here(const struct manifest *m)
{
	return sys_in_userns() || !json_is_true(json_object_get(m->spec, "userns"));
}

static void checkpoints_child(struct finding *f)
{
	struct store *s;
	struct vec manifests, seen = VEC_INIT(struct manifest_layer);
	struct err e = ERR_INIT, first = ERR_INIT;
	size_t whole = 0, damaged = 0, others = 0;
	if (open_store(&s, f))
		return;
	if (manifest_list(s, &manifests, &e)) {
		say_error(f, DAMAGED, &e);
		return;
	}
	vec_each(struct manifest, m, &manifests) {
		e = ERR_INIT;
		if (!looked_at_from_here(m))
			others++;
		else if (!manifest_verify(s, m, &seen, &e))
			whole++;
		else if (!damaged++) {
			first = e;
			err_remedy(&first, "`mulligan rm %s@%s` gives it up", m->sandbox, m->id);
		}
	}
	char text[sizeof(f->text)];
	size_t n = (size_t)snprintf(text, sizeof(text), "%zu whole", whole);
	if (others)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
				      ", %zu of --userns not looked at", others);
	if (damaged)
		snprintf(text + n, sizeof(text) - n, ", %zu damaged: %s", damaged, first.cause);
	say(f, damaged ? DAMAGED : WORKS, text, first.remedy);
}

static void checkpoints_check(struct finding *f)
{
	in_child(f, checkpoints_child);
}

static void limits_check(struct finding *f)
{
	static const char *const kinds[] = {
		[LIMITS_V2] = "cgroup v2",
		[LIMITS_V1] = "cgroup v1",
		[LIMITS_NONE] = "processes are limited, memory is not",
	};
	struct err why = ERR_INIT;
	enum limits_kind kind = limits_probe(&why);
	say(f, kind == LIMITS_NONE ? SLOWER : WORKS, kinds[kind], why.code ? why.remedy : "");
}

static void idmap_check(struct finding *f)
{
	struct passwd *me = getpwuid(getuid());
	bool helper = sys_has_id_tools();
	if (!userns_needed())
		say(f, WORKS, "not needed by root", "");
	else if (!me || !helper)
		say(f, SLOWER, "newuidmap and newgidmap are not installed",
		    "install the package uidmap");
	else
		say(f, WORKS, "installed", "");
}

static const struct check checks[] = {
	{ "runtime", "where keepers are found", runtime_check },
	{ "namespaces", "sandboxes", namespaces_check },
	{ "state", "where layers and checkpoints are kept", store_check },
	{ "overlay", "layers", overlay_check },
	{ "reflink", "fast checkpoints of files open for writing", reflink_check },
	{ "checkpoints", "files on disk", checkpoints_check },
	{ "limits", "bounds on memory, processes and processor time", limits_check },
	{ "idmap", "more than one user in a rootless sandbox", idmap_check },
};
enum { N_CHECKS = sizeof(checks) / sizeof(checks[0]) };

static void print(bool json, const char *name, const char *gives, const struct finding *f)
{
	static const char *const words[] = { "ok", "slower", "missing", "damaged" };
	if (!json) {
		printf("%-8s %-16s %s: %s\n", words[f->verdict], name, gives, f->text);
		if (f->remedy[0])
			printf("%-25s remedy: %s\n", "", f->remedy);
		fflush(stdout);	/* children must not print it again */
		return;
	}
	scoped_json json_t *j = json_pack("{s:s, s:s, s:s, s:o, s:o}", "feature", name, "state",
					  words[f->verdict], "gives", gives, "found",
					  json_text_z(f->text), "remedy", json_text_z(f->remedy));
	struct buf out = BUF_INIT;
	json_write(&out, j);
	puts(out.failed ? "{}" : out.data);
	buf_deinit(&out);
	fflush(stdout);
}

/* Kernel features: the table of probe.h. */
static bool kernel_features(bool json)
{
	const struct sys_features *have = sys_features();
	bool good = true;
	for (int i = 0; i < SYS_F_COUNT; i++) {
		const struct sys_feature_text *t = &sys_feature_table[i];
		struct finding f;
		bool missing = !have->has[i] && t->required;
		say(&f, have->has[i] ? WORKS : missing ? MISSING : SLOWER,
		    have->has[i] ? "yes" : have->masked[i] ? "masked by MULLIGAN_MASK" : t->without,
		    missing ? "a newer kernel has it" : "");
		good &= !missing;
		print(json, t->name, t->gives, &f);
	}
	return good;
}

int tool_doctor(bool json)
{
	bool good = true;
	struct utsname u;
	if (!json && !uname(&u))
		printf("kernel %s on %s, %s\n", u.release, u.machine,
		       userns_needed() ? "as an ordinary user" : "as root");
	for (int i = 0; i < N_CHECKS; i++) {
		struct finding f;
		checks[i].run(&f);
		good &= f.verdict != MISSING;
		print(json, checks[i].name, checks[i].gives, &f);
	}
	good &= kernel_features(json);
	if (!json)
		printf(good ? "\nSandboxes can be made here.\n" :
			      "\nNo sandbox can be made here: see what is missing.\n");
	return good ? 0 : 1;
}
