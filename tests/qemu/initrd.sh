#!/bin/sh
# initrd.sh - first program of the guest system, from the initial RAM disk:
# find the disk, go there.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
# in the order they need each other; what is built in has no file here
for name in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev \
	virtio_pci virtio_blk overlay; do
	[ ! -e /modules/$name.ko ] || insmod /modules/$name.ko
done
for _ in 1 2 3 4 5 6 7 8 9 10; do
	[ ! -b /dev/vda ] || break
	sleep 0.5
done
mount -t ext4 /dev/vda /new || poweroff -f
mount --move /dev /new/dev
mount --move /proc /new/proc
mount --move /sys /new/sys
exec switch_root /new /bin/bash /mulligan/tests/qemu/inside.sh
