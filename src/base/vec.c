#include "base/vec.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int vec_reserve(struct vec *v, size_t n)
{
	if (n <= v->cap)
		return 0;
	size_t cap = v->cap ? v->cap : 8;
	while (cap < n)
		cap *= 2;
	void *data = reallocarray(v->data, cap, v->elem_bytes);
	if (!data)
		return -ENOMEM;
	v->data = data;
	v->cap = cap;
	return 0;
}

void *vec_add(struct vec *v)
{
	if (vec_reserve(v, v->n + 1))
		return NULL;
	void *elem = (char *)v->data + v->n++ * v->elem_bytes;
	return memset(elem, 0, v->elem_bytes);
}

void *vec_insert(struct vec *v, size_t i)
{
	assert(i <= v->n);
	if (!vec_add(v))
		return NULL;
	char *elem = vec_at(v, i);
	memmove(elem + v->elem_bytes, elem, (v->n - 1 - i) * v->elem_bytes);
	return memset(elem, 0, v->elem_bytes);
}

void *vec_at(const struct vec *v, size_t i)
{
	assert(i < v->n);
	return (char *)v->data + i * v->elem_bytes;
}

void vec_remove(struct vec *v, size_t i)
{
	char *elem = vec_at(v, i);
	v->n--;
	memmove(elem, elem + v->elem_bytes, (v->n - i) * v->elem_bytes);
}

int vec_copy(struct vec *dst, const struct vec *src)
{
	struct vec copy = { .elem_bytes = src->elem_bytes };
	if (src->n) {
		if (vec_reserve(&copy, src->n))
			return -ENOMEM;
		memcpy(copy.data, src->data, src->n * src->elem_bytes);
		copy.n = src->n;
	}
	*dst = copy;
	return 0;
}

void vec_deinit(struct vec *v)
{
	free(v->data);
	*v = (struct vec){ .elem_bytes = v->elem_bytes };
}
