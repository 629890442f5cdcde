/*
 * memory.c - the mappings of a process: what each is, and how it returns.
 *
 * Private memory is staged in templates (template/dump.c puts it there) and
 * moved to its place by mremap, a run of staging chunks at a time. Shared
 * mappings are made anew: of files inside the new root, of shared-memory
 * objects that the incarnation makes (restore/). vvar and vdso are the
 * template's own, moved.
 */
#include "parts/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "parts/mapfile.h"
#include "parts/segments.h"
#include "parts/shm.h"
#include "parts/stagemap.h"
#include "sys/probe.h"

static bool starts_with(const char *s, const char *head)
{
	return !strncmp(s, head, strlen(head));
}

/*
 * Whether a shared mapping may be made writable. smaps says so, but counts
 * pages on its way (0.3 ms): what the last checkpoint found is kept.
 */
static int may_write(struct look *l, const struct image_proc *p, const struct frozen_proc *fp,
		     const struct procfs_map *map, const char *name)
{
	int before = image_find_key(l->parent, p->key);
	const struct vec *vmas = before < 0 ? NULL : &image_proc(l->parent, before)->vmas;
	for (size_t i = 0; vmas && i < vmas->n; i++) {
		const struct image_vma *v = vec_at(vmas, i);
		if (v->kind != VMA_FILE_SHARED || v->is_private || v->start != map->start ||
		    v->end != map->end)
			continue;
		const struct image_file *f = image_file(l->parent, v->object);
		if (!strcmp(f->path, name) && !(map->prot & PROT_WRITE))
			return (f->flags & O_ACCMODE) == O_RDWR;
	}
	if (map->prot & PROT_WRITE)
		return 1;
	struct procfs_smap smap;
	int r = procfs_smap(l->procfs, fp->pid, map->start, &smap);
	return r < 0 ? r : procfs_smap_flag(&smap, "mw");
}

static int shared_file(struct look *l, const struct image_proc *p, const struct frozen_proc *fp,
		       const struct procfs_map *map, const char *name, struct image_vma *v,
		       struct err *e)
{
	int writable = may_write(l, p, fp, map, name);
	if (writable < 0)
		return look_refuse(e, p, -1, "its mapping of %s: %s", name, strerror(-writable));
	if (!mapfile_is_named(l, map, name))
		return look_refuse(e, p, -1, "its mapping of %s: another file has its name now",
				   name);
	const struct part_mount *m = mapfile_mount(l, fp, map, name);
	struct image_file *f = vec_add(&l->image->files);
	if (!f)
		return err_set(e, ENOMEM, "out of memory");
	*f = (struct image_file){ .kind = m ? FILE_PATH : FILE_NODE,
				  .flags = writable ? O_RDWR : O_RDONLY,
				  .mode = S_IFREG,
				  .mount = m ? m->index : IMAGE_NONE,
				  .pipe = IMAGE_NONE,
				  .content_fd = -1,
				  .twin = IMAGE_NONE,
				  .path = strdup(name),
				  .carry = m && writable,
				  .locks = VEC_INIT(struct image_lock) };
	if (!f->path)
		return err_set(e, ENOMEM, "out of memory");
	v->kind = VMA_FILE_SHARED;
	v->object = (int)l->image->files.n - 1;
	return 0;
}

/* A file without a name, or memory that never had one. */
static int shared_memory(struct look *l, const struct image_proc *p, const struct frozen_proc *fp,
			 const struct procfs_map *map, bool maybe_named, struct image_vma *v,
			 struct err *e)
{
	const char *name = procfs_map_name(&l->maps, map);
	int writable = may_write(l, p, fp, map, name);
	if (writable < 0)
		return look_refuse(e, p, -1, "its mapping of %s: %s", name, strerror(-writable));
	v->kind = VMA_SHM;
	v->is_readonly = !writable;
	if (segments_has(l, map, name))
		return segments_look_mapping(l, p, map, name, v, e);
	return shm_look(l, map, maybe_named, v, e);
}

static int classify(struct look *l, const struct image_proc *p, const struct frozen_proc *fp,
		    const struct procfs_map *map, struct image_vma *v, struct err *e)
{
	const char *name = procfs_map_name(&l->maps, map);
	if (map->shared && segments_has(l, map, name))
		return shared_memory(l, p, fp, map, false, v, e);
	int deleted = map->shared ? mapfile_is_deleted(l, map, name) : 0;
	if (deleted < 0)
		return look_refuse(e, p, -1, "its mapping of %s: %s", name, strerror(-deleted));
	const char *other = deleted ? mapfile_other_name(l, fp, map, name) : NULL;
	if (starts_with(name, "[vvar") || !strcmp(name, "[vdso]")) {
		v->kind = VMA_VDSO;
	} else if (deleted && other && *other) {
		return shared_file(l, p, fp, map, other, v, e);
	} else if (deleted) {
		return shared_memory(l, p, fp, map, !other, v, e);
	} else if (map->shared && !starts_with(name, "/")) {
		return look_refuse(e, p, -1, "shared memory of a kind not saved yet (%s)", name);
	} else if (map->shared) {
		return shared_file(l, p, fp, map, name, v, e);
	} else if (!map->ino) {
		if (*name == '/' || starts_with(name, "[uprobes"))
			return look_refuse(e, p, -1, "a mapping that cannot be saved (%s)", name);
		v->kind = VMA_ANON;
		v->grows_down = !strcmp(name, "[stack]");
	} else {
		v->kind = VMA_FILE;
		v->object = mapfile_find_or_open(l, p, fp, map, name, e);
		return v->object < 0 ? v->object : 0;
	}
	return 0;
}

/*
 * Mappings in our part of the address space. What a restore left there is
 * not the guest's to keep; remote.c looks whether it can still be used.
 */
static bool is_leftover(const struct look *l, const struct procfs_map *map)
{
	static const struct {
		uint64_t start, end;
	} ours[] = {
		{ PUP_LOW, PUP_THREAD },
		{ PUP_THREAD, PUP_THREAD + (PUP_WORK_MAX + 2ull) * PUP_WORK_BYTES },
		{ PUP_GATE, PUP_GATE + PUP_PAGE },
		{ PUP_VDSO, PUP_VDSO + 32 * PUP_PAGE },
	};
	const struct procfs_map *text = NULL;
	vec_each(struct procfs_map, m, &l->maps.maps)
		if (m->start == PUP_LOW)
			text = m;
	if (!text || !starts_with(procfs_map_name(&l->maps, text), "/memfd:mulligan-puppet"))
		return false; /* no restore made this process, or little is left */
	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
		if (map->start >= ours[i].start && map->end <= ours[i].end)
			return true;
	return false;
}

/* vvar and vdso come back as one piece, as the kernel lays them out. */
static int check_vdso(const struct image_proc *p, const struct procfs_maps *maps, struct err *e)
{
	uint64_t bytes = 0;
	const char *first = NULL, *last = NULL;
	vec_each(struct procfs_map, map, &maps->maps) {
		const char *name = procfs_map_name(maps, map);
		if (!starts_with(name, "[vvar") && strcmp(name, "[vdso]"))
			continue;
		bytes += map->end - map->start;
		first = first ? first : name;
		last = name;
	}
	if (first && bytes == p->mm.vdso_end - p->mm.vdso_start && !strcmp(first, "[vvar]") &&
	    !strcmp(last, "[vdso]"))
		return 0;
	return look_refuse(e, p, -1, "it has moved or unmapped its vdso");
}

static int look_vma(struct look *l, struct image_proc *p, const struct frozen_proc *fp,
		    const struct procfs_map *map, struct err *e)
{
	const char *name = procfs_map_name(&l->maps, map);
	if (!strcmp(name, "[vsyscall]") || map->start >= PUP_TASK_END)
		return 0;
	if (map->start < PUP_SHM_END && map->end > PUP_LOW) {
		if (is_leftover(l, map))
			return 0;
		return look_refuse(e, p, -1, "it uses addresses that are reserved (%llx-%llx)",
				   (unsigned long long)map->start, (unsigned long long)map->end);
	}
	struct image_vma *v = vec_add(&p->vmas);
	if (!v)
		return err_set(e, ENOMEM, "out of memory");
	*v = (struct image_vma){ .start = map->start,
				 .end = map->end,
				 .offset = map->ino ? map->offset : 0,
				 .prot = map->prot,
				 .object = IMAGE_NONE };
	int r = classify(l, p, fp, map, v, e);
	if (r < 0)
		return r;
	if (v->kind == VMA_VDSO) {
		if (!p->mm.vdso_start)
			p->mm.vdso_start = v->start;
		p->mm.vdso_end = v->end;
	}
	return 0;
}

static int look_mm(struct look *l, struct image_proc *p, const struct frozen_proc *fp,
		   struct err *e)
{
	const struct procfs_stat *s = &fp->stat;
	p->mm.start_code = s->start_code;
	p->mm.end_code = s->end_code;
	p->mm.start_data = s->start_data;
	p->mm.end_data = s->end_data;
	p->mm.start_brk = s->start_brk;
	p->mm.start_stack = s->start_stack;
	p->mm.arg_start = s->arg_start;
	p->mm.arg_end = s->arg_end;
	p->mm.env_start = s->env_start;
	p->mm.env_end = s->env_end;
	uint64_t words[IMAGE_AUXV_BYTES / sizeof(uint64_t)];
	int n = procfs_auxv(l->procfs, fp->pid, words, IMAGE_AUXV_BYTES / sizeof(uint64_t));
	if (n < 0)
		return look_refuse(e, p, -1, "its auxiliary vector: %s", strerror(-n));
	p->mm.auxv_bytes = (uint32_t)n * sizeof(uint64_t);
	memcpy(p->mm.auxv, words, p->mm.auxv_bytes);
	p->mm.exe = mapfile_exe(l, p, fp, e);
	return p->mm.exe < 0 ? p->mm.exe : 0;
}

static int look_memory(struct look *l, int i, struct err *e)
{
	struct image_proc *p = look_proc(l, i);
	const struct frozen_proc *fp = frozen_proc(l->frozen, (size_t)i);
	p->vmas = VEC_INIT(struct image_vma);
	if (fp->shares_mm)
		return look_refuse(e, p, -1, "it shares its memory with another process");
	int r = procfs_maps(l->procfs, fp->pid, &l->maps);
	if (r < 0)
		return look_refuse(e, p, -1, "its mappings: %s", strerror(-r));
	vec_each(struct procfs_map, map, &l->maps.maps) {
		r = look_vma(l, p, fp, map, e);
		if (r < 0)
			return r;
	}
	r = check_vdso(p, &l->maps, e);
	return r < 0 ? r : look_mm(l, p, fp, e);
}

bool memory_is_staged(const struct image_vma *v)
{
	return v->kind == VMA_ANON || v->kind == VMA_FILE;
}

static const struct image_map_file *map_file(const struct tree_image *im, int i)
{
	return vec_at(&im->map_files, (size_t)i);
}

static void emit_move(struct prog *prog, uint64_t from, uint64_t to, uint64_t bytes)
{
	prog_sys(prog, SYS_mremap, from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to);
}

/*
 * Move all staged mappings: neighbours at one distance go together where the
 * kernel can (6.17), else one by one. The call takes along whatever lies
 * between the first and the last: nothing of another distance may.
 */
static void load_private(struct load *l, const struct image_proc *p)
{
	bool together = sys_has(SYS_F_MULTI_MREMAP), joins = false;
	uint64_t start = 0, end = 0, distance = 0;
	vec_each(struct image_vma, v, &p->vmas) {
		if (!memory_is_staged(v))
			continue;
		/* the kernel moves a device's mapping only by itself: EFAULT */
		bool alone = v->kind == VMA_FILE && map_file(l->image, v->object)->is_device;
		if (end && together && joins && !alone && v->stage - v->start == distance &&
		    stagemap_adjoin(end + distance, v->stage)) {
			end = v->end;
			continue;
		}
		joins = !alone;
		if (end)
			emit_move(l->prog, start + distance, start, end - start);
		start = v->start;
		end = v->end;
		distance = v->stage - v->start;
	}
	if (end)
		emit_move(l->prog, start + distance, start, end - start);
}

static void load_vdso(struct load *l, const struct image_proc *p)
{
	uint64_t base = p->mm.vdso_start;
	if (!base)
		return;
	if (sys_has(SYS_F_MULTI_MREMAP)) {
		emit_move(l->prog, PUP_VDSO, base, p->mm.vdso_end - base);
		return;
	}
	vec_each(struct image_vma, v, &p->vmas)
		if (v->kind == VMA_VDSO)
			emit_move(l->prog, PUP_VDSO + (v->start - base), v->start,
				  v->end - v->start);
}

static void load_shared(struct load *l, const struct image_proc *p)
{
	vec_each(struct image_vma, v, &p->vmas) {
		if (v->kind == VMA_FILE_SHARED) {
			prog_sys(l->prog, SYS_mmap, v->start, v->end - v->start,
				 (uint64_t)v->prot,
				 (v->is_private ? MAP_PRIVATE : MAP_SHARED) | MAP_FIXED,
				 l->file_slot + (unsigned int)v->object, v->offset);
			prog_slots(l->prog, 1 << 4);
		}
	}
	shm_load(l, p);
}

static void load_mm(struct load *l, const struct image_proc *p)
{
	const struct image_mm *m = &p->mm;
	uint64_t auxv = prog_data(l->prog->arena, m->auxv, m->auxv_bytes);
	const struct image_map_file *exe = map_file(l->image, m->exe);
	struct prctl_mm_map map = {
		.start_code = m->start_code, .end_code = m->end_code,
		.start_data = m->start_data, .end_data = m->end_data,
		.start_brk = m->start_brk, .brk = m->brk,
		.start_stack = m->start_stack,
		.arg_start = m->arg_start, .arg_end = m->arg_end,
		.env_start = m->env_start, .env_end = m->env_end,
		.auxv = (void *)auxv,
		.auxv_size = m->auxv_bytes,
		.exe_fd = (uint32_t)exe->template_fd,
	};
	prog_sys(l->prog, SYS_prctl, PR_SET_MM, PR_SET_MM_MAP,
		 prog_data(l->prog->arena, &map, sizeof(map)), sizeof(map), 0);
}

static void load_memory(struct load *l)
{
	const struct image_proc *p = image_proc(l->image, l->proc);
	load_private(l, p);
	prog_sys(l->prog, SYS_munmap, PUP_STAGE, PUP_STAGE_END - PUP_STAGE);
	load_vdso(l, p);
	load_shared(l, p);
	if (l->image->shms.n)
		prog_sys(l->prog, SYS_munmap, PUP_SHM, PUP_SHM_END - PUP_SHM);
	load_mm(l, p);
}

const struct part part_memory = {
	.name = "memory",
	.look = look_memory,
	.load = load_memory,
};
