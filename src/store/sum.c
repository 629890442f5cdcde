/*
 * Each entry has a digest of its own, and those are added: the order in which
 * a file system lists a directory does not matter.
 */
#include "store/sum.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "store/tree.h"
#include "sys/file.h"

enum { NAME_BYTES = 256 };

#define DIGEST_BEGIN 0xcbf29ce484222325ull

/* FNV-1a, 64 bits: against accidents, not against an enemy with our rights. */
static void mix(uint64_t *digest, const void *bytes, size_t len)
{
	for (const uint8_t *b = bytes; len--; b++)
		*digest = (*digest ^ *b) * 0x100000001b3ull;
}

/* Without this, digests of entries that differ in one bit differ in few. */
static uint64_t spread(uint64_t x)
{
	x = (x ^ x >> 33) * 0xff51afd7ed558ccdull;
	x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ull;
	return x ^ x >> 33;
}

/* The machine's policy sets these, at any time. */
static bool is_policy(const char *name)
{
	return !strcmp(name, "security.selinux") || !strcmp(name, "security.ima") ||
	       !strcmp(name, "security.evm");
}

static void mix_xattr(void *ctx, const char *name, const void *value, size_t len)
{
	uint64_t *all = ctx, one = DIGEST_BEGIN;
	if (is_policy(name))
		return;
	mix(&one, name, strlen(name) + 1);
	mix(&one, value, len);
	*all += spread(one);
}

static int mix_link(uint64_t *digest, int dir_fd, const char *name)
{
	scoped_free char *text = NULL;
	int r = sys_readlinkat(dir_fd, name, &text);
	if (r == 0)
		mix(digest, text, strlen(text));
	return r;
}

static int add_entry(struct layer_sum *sum, int dir_fd, const char *name, const char *path,
		     const struct stat *st)
{
	bool file = S_ISREG(st->st_mode);
	bool device = S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode);
	uint64_t facts[] = {
		st->st_mode,
		st->st_uid,
		st->st_gid,
		(uint64_t)st->st_mtim.tv_sec,
		(uint64_t)st->st_mtim.tv_nsec,
		file     ? (uint64_t)st->st_size
		: device ? (uint64_t)major(st->st_rdev) << 32 | minor(st->st_rdev)
			 : 0,
	};
	uint64_t digest = DIGEST_BEGIN, xattrs = 0;
	mix(&digest, path, strlen(path) + 1);
	mix(&digest, facts, sizeof(facts));
	int r = 0;
	if (S_ISLNK(st->st_mode))
		r = mix_link(&digest, dir_fd, name);
	else if (file || S_ISDIR(st->st_mode))
		r = sys_each_xattr(dir_fd, name, mix_xattr, &xattrs);
	if (r)
		return r;
	mix(&digest, &xattrs, sizeof(xattrs));
	sum->entries++;
	sum->bytes += file ? (uint64_t)st->st_size : 0;
	sum->digest += spread(digest);
	return 0;
}

static int visit(void *ctx, const struct tree_entry *entry)
{
	int r = add_entry(ctx, entry->dir_fd, entry->name, entry->path, entry->st);
	/* What is deeper than the kernel takes a path: not looked at, always. */
	bool deep = strlen(entry->path) + NAME_BYTES + 1 > PATH_MAX;
	return r ? r : deep;
}

int layer_sum_take(int fs_fd, struct layer_sum *out)
{
	struct layer_sum sum = {.known = true};
	struct stat st;
	int r = sys_fstat(fs_fd, &st);
	if (r == 0)
		r = add_entry(&sum, fs_fd, ".", ".", &st);
	if (r == 0)
		r = tree_walk(fs_fd, visit, &sum);
	if (r)
		return r;
	*out = sum;
	return 0;
}
