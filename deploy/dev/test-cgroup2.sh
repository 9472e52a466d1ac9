#!/bin/bash
# Run the tests of task cgroups and launchers on cgroup v2 alone, which this machine may not have: in a guest machine
# with Debian in QEMU, which needs no support by the processor. It takes 5 to 15 minutes, and 2 GB below TMPDIR.
# usage: test-cgroup2.sh SITE_PACKAGES      (the folder of a virtual environment with the tests' packages)
set -euo pipefail

[ "$(id -u)" = 0 ] || { echo "test-cgroup2: needs root, for debootstrap" >&2; exit 1; }
here=$(cd "$(dirname "$0")/../.." && pwd)
site=$1
"$here/deploy/dev/apt-install.sh" qemu-system-x86 debootstrap e2fsprogs
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
root=$folder/root

debootstrap --variant=minbase --include=linux-image-cloud-amd64,initramfs-tools,python3,procps bookworm "$root" \
  >"$folder/debootstrap.log" 2>&1 || { tail -n 5 "$folder/debootstrap.log" >&2; exit 1; }
mkdir "$root/src" "$root/site"
cp -r "$here/broker_mesos" "$here/tests" "$here/pyproject.toml" "$root/src/"
cp -r "$site/." "$root/site/"
rm -rf "$root/var/cache/apt" "$root"/site/mypy*

# The tests run twice: in the topmost cgroup, and in one that a service manager would have delegated.
cat >"$root/guest" <<'EOF'
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PYTHONPATH=/site:/src BMESOS_REQUIRE_CGROUPS=1
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs run /run
mkdir -p /dev/shm; mount -t tmpfs shm /dev/shm
mount -o remount,rw /
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd /src
run() {  # in the cgroup of this folder; this shell stays outside: the tests have it to themselves
  sh -c 'echo 0 >$1/cgroup.procs; shift; exec "$@"' sh "$1" python3 -m pytest -p no:cacheprovider -q --timeout 300 \
    tests/containerizer/cgroups/test_real.py tests/containerizer/launchers -k "not v1 and not hybrid"
  echo $? >>/root/codes
}
{
  echo "== topmost cgroup, Linux $(uname -r)"; run /sys/fs/cgroup
  echo "+cpu +memory +pids +io +cpuset" >/sys/fs/cgroup/cgroup.subtree_control
  mkdir /sys/fs/cgroup/delegated.scope
  echo "== delegated cgroup"; run /sys/fs/cgroup/delegated.scope
  find /sys/fs/cgroup -name 'bmesos-*' ! -name bmesos-service | sed 's/^/left behind: /'
} >/root/report 2>&1
sync; mount -o remount,ro /
echo o >/proc/sysrq-trigger
sleep 60
EOF
chmod +x "$root/guest"
mke2fs -q -t ext4 -d "$root" "$folder/disk" 1600M
timeout 1800 qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -m 1500 -nographic -no-reboot \
  -kernel "$root"/boot/vmlinuz-* -initrd "$root"/boot/initrd.img-* \
  -append "root=/dev/vda rw console=ttyS0 init=/guest quiet panic=1" \
  -drive "file=$folder/disk,if=virtio,format=raw" >"$folder/console" 2>&1 </dev/null || true
debugfs -R "cat /root/report" "$folder/disk" 2>/dev/null
codes=$(debugfs -R "cat /root/codes" "$folder/disk" 2>/dev/null | tr '\n' ' ')
[ "$codes" = "0 0 " ] || { echo "test-cgroup2: failed (${codes:-the guest has not run})" >&2; tail -n 3 "$folder/console" >&2; exit 1; }
