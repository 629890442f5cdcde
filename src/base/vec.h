/*
 * vec.h - a growing array of elements of one size.
 *
 *	struct vec vmas = VEC_INIT(struct vma);
 *	struct vma *v = vec_add(&vmas);		zeroed; NULL: no memory
 *	vec_each(struct vma, v, &vmas) ...
 *
 * Elements move when the array grows: keep indexes, not pointers.
 */
#pragma once

#include <stddef.h>

struct vec {
	void *data;
	size_t n;		/* elements in use */
	size_t cap;		/* elements allocated */
	size_t elem_bytes;
};

#define VEC_INIT(type) ((struct vec){ .elem_bytes = sizeof(type) })

/* Append a zeroed element. Returns it, or NULL when memory is out. */
void *vec_add(struct vec *v);

/* A zeroed element that becomes element i <= n, or NULL. */
void *vec_insert(struct vec *v, size_t i);

/* Make room for n elements in all, so that adding up to n cannot fail. */
int vec_reserve(struct vec *v, size_t n);

/* Element i; asserts that it exists. */
void *vec_at(const struct vec *v, size_t i);

/* Remove element i, keeping the order of the others. */
void vec_remove(struct vec *v, size_t i);

/* Copy of src in a new allocation; dst is overwritten. 0 or -ENOMEM. */
int vec_copy(struct vec *dst, const struct vec *src);

/* Free the elements' memory; v is empty and usable again. */
void vec_deinit(struct vec *v);

#define vec_each(type, it, v)                         \
	for (type *it = (type *)(v)->data;            \
	     it && it < (type *)(v)->data + (v)->n; it++)
