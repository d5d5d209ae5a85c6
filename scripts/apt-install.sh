#!/usr/bin/env bash
# Installs Debian packages, as root or through sudo.
#
#   scripts/apt-install.sh PACKAGE...
set -euo pipefail

fail() {
    echo "cannot install $packages: $1" >&2
    echo "install it manually (Debian: apt-get install $packages), then try again" >&2
    exit 1
}

packages=$*
command -v apt-get >/dev/null || fail "apt-get was not found"

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "it needs root or sudo"
    as_root=(sudo)
fi

export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q || fail "apt-get update failed"
"${as_root[@]}" apt-get install -q -y --no-install-recommends "$@" || fail "apt-get install failed"
