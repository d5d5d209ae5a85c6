#!/usr/bin/env bash
# Makes a tree of Debian 13 with the tokens that Debian 12 has only without AES-GCM, from the mirror that
# apt is set to. It takes about a minute; a tree that is there is kept.
#
#   tests/tokens/debian-13.sh DIRECTORY
set -euo pipefail
cd "$(dirname "$0")/../.."
tree=$1
suite=trixie
packages=opencryptoki,p11-kit,p11-kit-modules,softhsm2,libnss3,libnss3-tools,opensc

[ "$(cat "$tree/packages" 2>/dev/null)" != "$suite $packages" ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "debootstrap needs root or sudo" >&2; exit 1; }
    as_root=(sudo)
fi

debootstrap=$(PATH=$PATH:/usr/sbin command -v debootstrap) || {
    scripts/apt-install.sh debootstrap
    debootstrap=$(PATH=$PATH:/usr/sbin command -v debootstrap)
}

mirror_of_apt() {
    apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' |
        sed -n 's/^Debian \(http.*\)/\1/p' | head -n 1
}
mirror=$(mirror_of_apt)
[ -n "$mirror" ] || {
    # The lists of an image may have been removed.
    "${as_root[@]}" apt-get update -q
    mirror=$(mirror_of_apt)
}
[ -n "$mirror" ] || { echo "apt has no mirror of Debian" >&2; exit 1; }
# The mirror may be behind the proxy of apt.
eval "$(apt-config shell proxy Acquire::http::Proxy)"

"${as_root[@]}" rm -rf --one-file-system "$tree" "$tree.partial"
# debootstrap mounts /proc and /sys in the tree; in its own namespace they end with it, also by a kill.
"${as_root[@]}" unshare --mount env ${proxy:+"http_proxy=$proxy"} "$debootstrap" --variant=minbase --include="$packages" \
    "$suite" "$tree.partial" "$mirror"
# The downloads are half of its size.
"${as_root[@]}" sh -c 'rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*; echo "$2" >"$1/packages"' \
    - "$tree.partial" "$suite $packages"
"${as_root[@]}" mv "$tree.partial" "$tree"
