#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...)
{
	if (!e)
		return -code;
	*e = ERR_INIT;
	e->code = code;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e->cause, sizeof(e->cause), fmt, ap);
	va_end(ap);
	return -code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	if (!e)
		return -EIO;
	char words[ERR_CAUSE_BYTES];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	size_t len = n < 0 ? 0 : (size_t)n;
	if (len > sizeof(words) - 1)
		len = sizeof(words) - 1;
	char old[ERR_CAUSE_BYTES];
	memcpy(old, e->cause, sizeof(old));
	snprintf(e->cause, sizeof(e->cause), "%.*s: %s", (int)len, words, old);
	return -e->code;
}

int err_remedy(struct err *e, const char *fmt, ...)
{
	if (!e)
		return -EIO;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e->remedy, sizeof(e->remedy), fmt, ap);
	va_end(ap);
	return -e->code;
}

int err_about(struct err *e, pid_t pid, int fd)
{
	if (!e)
		return -EIO;
	e->pid = pid;
	e->fd = fd;
	return -e->code;
}

int err_path(struct err *e, const char *path)
{
	if (!e)
		return -EIO;
	snprintf(e->path, sizeof(e->path), "%s", path);
	return -e->code;
}

const char *err_name(int code)
{
	const char *name = strerrorname_np(code);
	return name ? name : "EUNKNOWN";
}
