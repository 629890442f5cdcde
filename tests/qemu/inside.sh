#!/bin/bash
# inside.sh - PID 1 of the guest system: the matrix as root, then as an
# ordinary user; what is said goes to the serial console. Each part is framed
# by lines that tests/qemu looks for. The arguments of the matrix are in
# /mulligan/arguments, one a line.
export PATH=/usr/sbin:/usr/bin HOME=/root LANG=C.UTF-8
dmesg -n 1 2>/dev/null
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
# PID 1 leaves the root group, or no controller could be handed on
mkdir /sys/fs/cgroup/system
echo $$ > /sys/fs/cgroup/system/cgroup.procs
echo '+memory +pids +cpu' > /sys/fs/cgroup/cgroup.subtree_control
ln -sf /proc/self/fd /dev/fd
mapfile -t arguments < /mulligan/arguments
user=$(id -u mulligan-test)

part()
{
	local name=$1
	shift
	echo "@@ begin $name"
	"$@" < /dev/null 2>&1
	echo "@@ end $name $?"
}

as_user()
{
	HOME=/home/mulligan-test XDG_RUNTIME_DIR=/run/user TMPDIR=/var/tmp \
		setpriv --reuid="$user" --regid="$user" --clear-groups --inh-caps=-all "$@"
}

mkdir /run/user
chown "$user:$user" /run/user
# sandboxes on the disk, not on the small /tmp
export TMPDIR=/var/tmp

matrix()
{
	"$@" python3 -B /mulligan/tests/matrix.py --build /mulligan/build --jobs 1 "${arguments[@]}"
}

echo
part 'kernel' uname -r
part 'doctor' /mulligan/build/mulligan doctor
part 'root' matrix env
part 'ordinary user' matrix as_user
sync
exec busybox poweroff -f
