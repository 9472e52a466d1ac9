#!/bin/bash
# Test task cgroups, launchers and the agent's unit on cgroup v2 alone and with systemd, which this machine may not have:
# in a guest machine with Debian 12 in QEMU, which needs no support by the processor. The servers and the other daemons
# of its cluster run outside. It takes half an hour on an idle machine, and 3 GB.
# usage: test-cgroup2.sh PYTHON [FOLDER [PART...]]
#   PYTHON is that of a virtual environment with the tests' packages. With FOLDER the installed Debian is kept there for the
#   next run. PARTS are topmost, units, delegated and tasks; all of them, if none is named.
set -euo pipefail

python=$1
[ "$(id -u)" = 0 ] || { echo "test-cgroup2: needs root, for debootstrap" >&2; exit 1; }
[ "$("$python" -c 'import sys; print(*sys.version_info[:2])')" = "3 11" ] \
  || { echo "test-cgroup2: needs packages for Python 3.11, that of Debian 12 (make PYTHON=python3.11)" >&2; exit 1; }
here=$(cd "$(dirname "$0")/../.." && pwd)
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$here/deploy/dev/apt-install.sh" qemu-system-x86 debootstrap e2fsprogs
if [ -n "${2:-}" ]; then
  folder=$2
  mkdir -p "$folder"
else
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi
debian=$folder/debian root=$folder/root

if [ ! -e "$debian/.installed" ]; then
  rm -rf "$debian"
  packages=linux-image-cloud-amd64,initramfs-tools,python3,procps,systemd-sysv,dbus,libpam-systemd
  debootstrap --variant=minbase --include=$packages bookworm "$debian" >"$folder/debootstrap.log" 2>&1 \
    || { tail -n 5 "$folder/debootstrap.log" >&2; exit 1; }
  rm -rf "$debian/var/cache/apt" "$debian/var/lib/apt/lists"
  chroot "$debian" useradd --create-home --uid 1500 alice # an ordinary user
  touch "$debian/.installed"
fi

# The installation of docs/operations.md, and the tests beside it.
rm -rf "$root"
cp -a "$debian" "$root"
chroot "$root" python3 -m venv --without-pip /opt/bmesos
installed=$root/opt/bmesos/lib/python3.11/site-packages
cp -a "$site/." "$installed/"
rm -rf "$installed"/{_editable_impl_broker_mesos.pth,broker_mesos*,pip*,setuptools*,mypy*,*__mypyc*,schemathesis*,jsonschema_rs*,grimp*}
cp -r "$here/broker_mesos" "$installed/"
mkdir "$root/src" "$root/guest" "$root/etc/bmesos"
cp -r "$here/tests" "$here/pyproject.toml" "$root/src/"
printf '#!/opt/bmesos/bin/python\nimport sys\nfrom broker_mesos.cli import main\nsys.exit(main())\n' >"$root/opt/bmesos/bin/bmesos"
chmod 755 "$root/opt/bmesos/bin/bmesos"
chroot "$root" /opt/bmesos/bin/python -m compileall -q /opt/bmesos/lib/python3.11/site-packages/broker_mesos /src
install -m 644 "$here"/deploy/systemd/bmesos-*.service "$root/etc/systemd/system/"
install -m 644 "$here/deploy/systemd/sysusers.conf" "$root/usr/lib/sysusers.d/bmesos.conf"
chroot "$root" systemd-sysusers
install -m 755 "$here"/deploy/dev/guest/{init,report} "$root/guest/"
install -m 644 "$here/deploy/dev/guest/guest-tests.service" "$root/etc/systemd/system/"
install -m 644 "$here/deploy/dev/guest/qemu.network" "$root/etc/systemd/network/"
chroot "$root" systemctl -q enable systemd-networkd guest-tests
chroot "$root" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service

cd "$here"
"$python" -m tests.guest.outside "$root" "$folder" "${@:3}"
