#!/bin/bash
# Install Debian packages and nothing else: no service of theirs is started now or at the next boot.
# usage: apt-install.sh PACKAGE...      (what is installed already is left alone)
set -euo pipefail

missing=()
for package in "$@"; do
    if [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" != installed ]; then
        missing+=("$package")
    fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "apt-install: needs ${missing[*]}, and there is no apt-get here: install them with your package manager" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        exec sudo -n "$0" "$@"
    fi
    echo "apt-install: needs ${missing[*]}: run as root: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
saved=
ours=
restore() {
    if [ -n "$saved" ]; then
        mv -f "$saved" "$policy"
    elif [ -n "$ours" ]; then
        rm -f "$policy"
    fi
}
trap restore EXIT
trap 'exit 130' INT TERM HUP

# A policy-rc.d that answers 101 is how Debian is told to start nothing from a package's scripts.
if [ -e "$policy" ] || [ -L "$policy" ]; then
    # beside the original, so that putting it back is one rename
    backup=$(mktemp "$policy.XXXXXX")
    mv -f "$policy" "$backup"
    saved=$backup
fi
ours=yes
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

install() {
    apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}"
}
known() {
    local package
    for package in "${missing[@]}"; do
        apt-cache show "$package" >/dev/null 2>&1 || return 1
    done
}

known || apt-get update -q
# Lists that are there can still be out of date (404): once more with fresh ones.
install || { apt-get update -q && install; }

# policy-rc.d guards today; these guard the next boot. Only what this run has installed is touched.
for package in "${missing[@]}"; do
    case $package in
    redis-server) units="redis-server" ;;
    rabbitmq-server) units="rabbitmq-server epmd.service epmd.socket" ;;
    *) continue ;;
    esac
    for unit in $units; do
        if command -v systemctl >/dev/null; then
            systemctl disable "$unit" >/dev/null 2>&1 || true
        elif [ -e "/etc/init.d/$unit" ]; then
            update-rc.d "$unit" disable >/dev/null 2>&1 || true
        fi
    done
done
