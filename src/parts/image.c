#include "parts/image.h"

#include <stdlib.h>
#include <unistd.h>

#include "parts/kind.h"
#include "parts/memfs.h"
#include "parts/stagemap.h"

void image_init(struct tree_image *im)
{
	*im = (struct tree_image){
		.procs = VEC_INIT(struct image_proc),
		.files = VEC_INIT(struct image_file),
		.pipes = VEC_INIT(struct image_pipe),
		.ttys = VEC_INIT(struct image_tty),
		.shms = VEC_INIT(struct image_shm),
		.sem_sets = VEC_INIT(struct sys_sem_set),
		.msg_queues = VEC_INIT(struct sys_msg_queue),
		.memfs = VEC_INIT(struct image_memfs),
		.map_files = VEC_INIT(struct image_map_file),
		.chunks = VEC_INIT(struct stage_chunk),
	};
}

static void proc_deinit(struct image_proc *p)
{
	vec_each(struct image_thread, t, &p->threads) {
		free(t->xstate);
		free(t->cpus);
		vec_deinit(&t->pending);
	}
	vec_deinit(&p->threads);
	vec_deinit(&p->vmas);
	vec_deinit(&p->fds);
	for (int j = 0; j < IMAGE_LEVELS; j++)
		vec_deinit(&p->since[j]);
	vec_deinit(&p->own);
	vec_deinit(&p->pending);
	vec_deinit(&p->timers);
}

static void file_deinit(struct image_file *f)
{
	free(f->path);
	vec_deinit(&f->locks);
	const struct file_kind *kind = kind_of(f->kind);
	if (kind && kind->free)
		kind->free(f);
	free(f->own);
}

void image_deinit(struct tree_image *im)
{
	vec_each(struct image_proc, p, &im->procs)
		proc_deinit(p);
	vec_each(struct image_file, f, &im->files)
		file_deinit(f);
	vec_each(struct image_pipe, p, &im->pipes) {
		vec_deinit(&p->data);
		vec_deinit(&p->pieces);
	}
	vec_each(struct image_tty, t, &im->ttys) {
		vec_deinit(&t->input);
		vec_deinit(&t->lines);
		vec_deinit(&t->output);
	}
	vec_each(struct image_shm, s, &im->shms) {
		cleanup_fd(&s->content_fd);
		free(s->segment);
	}
	vec_each(struct sys_sem_set, set, &im->sem_sets)
		free(set->sems);
	vec_each(struct sys_msg_queue, q, &im->msg_queues)
		sys_msg_queue_deinit(q);
	vec_each(struct image_memfs, m, &im->memfs)
		memfs_deinit(m);
	vec_each(struct image_map_file, m, &im->map_files) {
		cleanup_fd(&m->content_fd);
		free(m->path);
	}
	vec_deinit(&im->procs);
	vec_deinit(&im->files);
	vec_deinit(&im->pipes);
	vec_deinit(&im->ttys);
	vec_deinit(&im->shms);
	vec_deinit(&im->sem_sets);
	vec_deinit(&im->msg_queues);
	vec_deinit(&im->memfs);
	vec_deinit(&im->map_files);
	vec_deinit(&im->chunks);
}

int image_find_key(const struct tree_image *im, uint64_t key)
{
	vec_each(struct image_proc, p, &im->procs)
		if (p->key == key)
			return (int)(p - (struct image_proc *)im->procs.data);
	return IMAGE_NONE;
}

int image_find_pid(const struct tree_image *im, pid_t pid)
{
	vec_each(struct image_proc, p, &im->procs)
		if (p->pid == pid)
			return (int)(p - (struct image_proc *)im->procs.data);
	return IMAGE_NONE;
}

uint64_t image_mapped_bytes(const struct tree_image *im)
{
	uint64_t bytes = 0;
	vec_each(struct image_proc, p, &im->procs)
		vec_each(struct image_vma, v, &p->vmas)
			bytes += v->end - v->start;
	return bytes;
}
