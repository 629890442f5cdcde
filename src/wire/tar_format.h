/* tar_format.h - the 512-byte block of POSIX.1-1988 tar; for tar_*.c only. */
#pragma once

enum { TAR_BLOCK = 512 };

struct tar_header {
	char name[100];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char checksum[8];
	char type;	/* '0' file, '1' link, '2' symlink, '5' dir, '6' fifo, 'x' pax */
	char linkname[100];
	char magic[6];	/* "ustar" */
	char version[2];
	char uname[32];
	char gname[32];
	char devmajor[8];
	char devminor[8];
	char prefix[155];
	char pad[12];
};
_Static_assert(sizeof(struct tar_header) == TAR_BLOCK, "tar block");

/* Sum of the block's bytes with the checksum field as blanks. */
static inline unsigned int tar_checksum(const struct tar_header *h)
{
	const unsigned char *p = (const unsigned char *)h;
	unsigned int sum = 0;
	for (int i = 0; i < TAR_BLOCK; i++)
		sum += i >= 148 && i < 156 ? ' ' : p[i];
	return sum;
}
