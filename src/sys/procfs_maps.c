/*
 * procfs_maps.c - the mappings of a process: PROCMAP_QUERY (6.11), a VMA a
 * call and no text, or /proc/<pid>/maps.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "sys/fault.h"
#include "sys/probe.h"
#include "sys/procfs.h"
#include "sys/procfs_internal.h"

/* linux/fs.h of 6.11 */
struct procmap_query {
	uint64_t size;
	uint64_t query_flags;
	uint64_t query_addr;
	uint64_t vma_start;
	uint64_t vma_end;
	uint64_t vma_flags;
	uint64_t vma_page_size;
	uint64_t vma_offset;
	uint64_t inode;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t vma_name_size;
	uint32_t build_id_size;
	uint64_t vma_name_addr;
	uint64_t build_id_addr;
};
_Static_assert(sizeof(struct procmap_query) == 104, "ABI");

#define PROCMAP_QUERY_IOCTL _IOWR('f', 17, struct procmap_query)

enum {
	QUERY_READABLE = 0x01,
	QUERY_WRITABLE = 0x02,
	QUERY_EXECUTABLE = 0x04,
	QUERY_SHARED = 0x08,
	QUERY_COVERING_OR_NEXT = 0x10,
	NAME_BYTES = 4096,	/* PATH_MAX, the kernel's own bound */
};

/* The mapping at or (next) after address. -ENOENT: none. */
static int query(int fd, uint64_t address, bool next, struct procfs_map *out,
		 char *name)
{
	int r = sys_fault("ioctl(PROCMAP_QUERY)");
	if (r)
		return r;
	struct procmap_query q = {
		.size = sizeof(q),
		.query_addr = address,
		.query_flags = next ? QUERY_COVERING_OR_NEXT : 0,
		.vma_name_addr = (uint64_t)name,
		.vma_name_size = name ? NAME_BYTES : 0,
	};
	if (ioctl(fd, PROCMAP_QUERY_IOCTL, &q))
		return -errno;
	*out = (struct procfs_map){
		.start = q.vma_start,
		.end = q.vma_end,
		.offset = q.vma_offset,
		.ino = q.inode,
		.dev = makedev(q.dev_major, q.dev_minor),
		.prot = (uint8_t)((q.vma_flags & QUERY_READABLE ? PROT_READ : 0) |
				  (q.vma_flags & QUERY_WRITABLE ? PROT_WRITE : 0) |
				  (q.vma_flags & QUERY_EXECUTABLE ? PROT_EXEC : 0)),
		.shared = q.vma_flags & QUERY_SHARED,
	};
	if (name && !q.vma_name_size)
		name[0] = '\0';
	return 0;
}

static int maps_by_query(int fd, struct procfs_maps *m)
{
	char name[NAME_BYTES];
	uint64_t address = 0;
	for (;;) {
		struct procfs_map map;
		int r = query(fd, address, true, &map, name);
		if (r == -ENOENT)
			return 0;
		if (r)
			return r;
		if (name[0]) {
			map.name = (uint32_t)m->names.len;
			buf_add(&m->names, name, strlen(name) + 1);
		}
		struct procfs_map *slot = vec_add(&m->maps);
		if (!slot)
			return -ENOMEM;
		*slot = map;
		address = map.end;
	}
}

/* "start-end rwxp offset major:minor inode   name"; returns the name. */
static char *parse_line(char *line, struct procfs_map *map)
{
	const char *s = line;
	*map = (struct procfs_map){ .start = procfs_number(&s, 16) };
	if (*s++ != '-')
		return NULL;
	map->end = procfs_number(&s, 16);
	if (*s++ != ' ' || strnlen(s, 5) < 5)
		return NULL;
	map->prot = (uint8_t)((s[0] == 'r' ? PROT_READ : 0) |
			      (s[1] == 'w' ? PROT_WRITE : 0) |
			      (s[2] == 'x' ? PROT_EXEC : 0));
	map->shared = s[3] == 's';
	s += 5;
	map->offset = procfs_number(&s, 16);
	unsigned int major_nr = (unsigned int)procfs_number(&s, 16);
	if (*s++ != ':')
		return NULL;
	map->dev = makedev(major_nr, (unsigned int)procfs_number(&s, 16));
	map->ino = procfs_number(&s, 10);
	return line + (s - line) + strspn(s, " ");
}

/* The text spells a newline "\\012"; anything else is as it is. */
static void unescape(char *name)
{
	char *to = name;
	for (const char *from = name; *from;) {
		if (!strncmp(from, "\\012", 4)) {
			*to++ = '\n';
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
}

static int maps_by_text(struct procfs *p, pid_t pid, struct procfs_maps *m)
{
	int n = procfs_read(p, pid, 0, "maps");
	if (n < 0)
		return n;
	for (char *line = p->text.data; line && *line;) {
		char *end = strchr(line, '\n');
		if (end)
			*end = '\0';
		struct procfs_map map;
		char *name = parse_line(line, &map);
		if (!name)
			return -EPROTO;
		if (*name) {
			unescape(name);
			map.name = (uint32_t)m->names.len;
			buf_add(&m->names, name, strlen(name) + 1);
		}
		struct procfs_map *slot = vec_add(&m->maps);
		if (!slot)
			return -ENOMEM;
		*slot = map;
		line = end ? end + 1 : NULL;
	}
	return 0;
}

int procfs_maps(struct procfs *p, pid_t pid, struct procfs_maps *m)
{
	m->maps.n = 0;
	m->names.len = 0;
	m->names.failed = false;
	buf_add(&m->names, "", 1);	/* offset 0 is the empty name */
	int r;
	if (sys_has(SYS_F_PROCMAP_QUERY)) {
		scoped_fd int fd = procfs_openat(p, pid, 0, "maps", O_RDONLY);
		if (fd < 0)
			return fd;
		r = maps_by_query(fd, m);
	} else {
		r = maps_by_text(p, pid, m);
	}
	if (r < 0)
		return r;
	return m->names.failed ? -ENOMEM : (int)m->maps.n;
}

void procfs_maps_deinit(struct procfs_maps *m)
{
	vec_deinit(&m->maps);
	buf_deinit(&m->names);
}

const struct procfs_map *procfs_maps_find(const struct procfs_maps *m,
					  uint64_t address)
{
	size_t low = 0, high = m->maps.n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct procfs_map *map = vec_at(&m->maps, mid);
		if (address < map->start)
			high = mid;
		else if (address >= map->end)
			low = mid + 1;
		else
			return map;
	}
	return NULL;
}

static int map_at_by_text(struct procfs *p, pid_t pid, uint64_t address,
			  struct procfs_map *out, char *name, size_t cap)
{
	struct procfs_maps m = PROCFS_MAPS_INIT;
	buf_add(&m.names, "", 1);
	int r = maps_by_text(p, pid, &m);
	const struct procfs_map *map =
		r < 0 ? NULL : procfs_maps_find(&m, address);
	if (r == 0 && !map)
		r = -ENOENT;
	if (map) {
		*out = *map;
		out->name = 0;
		if (name)
			snprintf(name, cap, "%s", procfs_map_name(&m, map));
	}
	procfs_maps_deinit(&m);
	return r;
}

int procfs_map_at(struct procfs *p, pid_t pid, uint64_t address,
		  struct procfs_map *out, char *name, size_t cap)
{
	if (!sys_has(SYS_F_PROCMAP_QUERY))
		return map_at_by_text(p, pid, address, out, name, cap);
	scoped_fd int fd = procfs_openat(p, pid, 0, "maps", O_RDONLY);
	if (fd < 0)
		return fd;
	char whole[NAME_BYTES];
	int r = query(fd, address, false, out, name ? whole : NULL);
	if (r == 0 && name)
		snprintf(name, cap, "%s", whole);
	return r;
}

static uint64_t smap_kb(const char *text, const char *key)
{
	const char *value = procfs_field(text, key);
	return value ? procfs_number(&value, 10) : 0;
}

/* Text of one entry of smaps, from behind its first line. */
static void parse_smap(const char *text, struct procfs_smap *out)
{
	out->rss_kb = smap_kb(text, "Rss");
	out->anonymous_kb = smap_kb(text, "Anonymous");
	out->swap_kb = smap_kb(text, "Swap");
	out->locked_kb = smap_kb(text, "Locked");
	const char *flags = procfs_field(text, "VmFlags");
	if (flags)
		snprintf(out->flags, sizeof(out->flags), "%.*s",
			 (int)strcspn(flags, "\n"), flags);
}

int procfs_smap(struct procfs *p, pid_t pid, uint64_t start,
		struct procfs_smap *out)
{
	int n = procfs_read(p, pid, 0, "smaps");
	if (n < 0)
		return n;
	char head[24];
	size_t len = (size_t)snprintf(head, sizeof(head), "%08llx-",
				      (unsigned long long)start);
	const char *s = p->text.data;
	while (s && *s) {
		const char *end = strstr(s, "\nVmFlags:");
		end = end ? strchr(end + 1, '\n') : NULL;
		if (!end)
			break;
		if (!strncmp(s, head, len)) {
			*out = (struct procfs_smap){ 0 };
			parse_smap(s, out);
			return 0;
		}
		s = end + 1;
	}
	return -ENOENT;
}

int procfs_locked(struct procfs *p, pid_t pid, struct vec *out)
{
	int n = procfs_read(p, pid, 0, "smaps");
	if (n < 0)
		return n;
	for (const char *s = p->text.data; *s;) {
		struct procfs_smap smap = { 0 };
		const char *head = s;
		uint64_t start = procfs_number(&s, 16);
		s += *s == '-';
		uint64_t end = procfs_number(&s, 16);
		parse_smap(head, &smap);
		const char *flags = strstr(s, "\nVmFlags:");
		const char *next = flags ? strchr(flags + 1, '\n') : NULL;
		if (!next)
			return -EPROTO;
		s = next + 1;
		if (!procfs_smap_flag(&smap, "lo"))
			continue;
		struct procfs_locked *l = vec_add(out);
		if (!l)
			return -ENOMEM;
		*l = (struct procfs_locked){ start, end, procfs_smap_flag(&smap, "lf") };
	}
	return 0;
}

bool procfs_smap_flag(const struct procfs_smap *s, const char *flag)
{
	for (const char *at = s->flags; at[0] && at[1];) {
		if (at[0] == flag[0] && at[1] == flag[1])
			return true;
		at += 2;
		while (*at == ' ')
			at++;
	}
	return false;
}

/* Bits of a pagemap word, Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_FILE (1ull << 61)

enum { PAGE_SHIFT_ = 12, PAGEMAP_BATCH = 512 };

int64_t procfs_anon_pages(struct procfs *p, pid_t pid, uint64_t start,
			  uint64_t end)
{
	scoped_fd int fd = procfs_openat(p, pid, 0, "pagemap", O_RDONLY);
	if (fd < 0)
		return fd;
	uint64_t words[PAGEMAP_BATCH];
	uint64_t page = start >> PAGE_SHIFT_, last = end >> PAGE_SHIFT_;
	int64_t count = 0;
	while (page < last) {
		int r = sys_fault("pread(pagemap)");
		if (r)
			return r;
		size_t want = last - page < PAGEMAP_BATCH ? last - page :
							    PAGEMAP_BATCH;
		ssize_t n = pread(fd, words, want * 8, (off_t)(page * 8));
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		for (ssize_t i = 0; i < n / 8; i++)
			count += (words[i] & PAGEMAP_SWAPPED) ||
				 ((words[i] & PAGEMAP_PRESENT) &&
				  !(words[i] & PAGEMAP_FILE));
		page += (size_t)n / 8;
	}
	return count;
}
