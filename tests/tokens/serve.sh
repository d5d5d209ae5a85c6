#!/usr/bin/env bash
# Makes a token in the Debian 13 tree, prints "ready", and serves it until standard input ends:
#
#   unshare --mount --ipc tests/tokens/serve.sh TREE TOKEN LABEL PIN SO_PIN DIRECTORY MOUNT...
#
# Programs use it in the namespaces and the root of this process (nsenter). DIRECTORY, which has the
# state of the token, and each MOUNT have the same path in the tree; this script is below a MOUNT.
set -euo pipefail

enter_tree() {
    tree=$1 token=$2 directory=$6
    mount --rbind /proc "$tree/proc"
    mount --rbind /dev "$tree/dev"
    # openCryptoki has shared memory under fixed names there.
    mount -t tmpfs tmpfs "$tree/dev/shm"
    mount -t tmpfs tmpfs "$tree/run"
    mount -t tmpfs tmpfs "$tree/tmp"
    for path in "${@:6}"; do
        mkdir -p "$tree$path"
        mount --bind "$path" "$tree$path"
    done
    if [ "$token" = opencryptoki ]; then
        cp -a "$tree/var/lib/opencryptoki" "$directory/opencryptoki"
        mount --bind "$directory/opencryptoki" "$tree/var/lib/opencryptoki"
        mount -t tmpfs tmpfs "$tree/var/log/opencryptoki"
    fi
    exec chroot "$tree" "$(realpath "$0")" --inside "${@:2:5}"
}

# The soft token of openCryptoki. It is usable when both PINs have been changed.
opencryptoki() {
    for directory in /run/opencryptoki /run/lock/opencryptoki; do
        mkdir -p "$directory"
        chown pkcsslotd:pkcs11 "$directory"
        chmod 770 "$directory"
    done
    pkcsslotd
    trap 'kill "$(cat /run/opencryptoki/pkcsslotd.pid)"' EXIT
    module=$(echo /usr/lib/*/opencryptoki/libopencryptoki.so.0)
    slot=3
    pkcs11-tool --module "$module" --slot "$slot" --init-token --label "$label" --so-pin 87654321
    pkcsconf -P -c "$slot" -S 87654321 -n "$so_pin"
    pkcsconf -u -c "$slot" -S "$so_pin" -n 1234567
    pkcsconf -p -c "$slot" -U 1234567 -n "$pin"
}

# SoftHSM2 behind p11-kit's socket: the module in the gateway is a client of a server.
p11-kit() {
    mkdir "$directory/tokens"
    export SOFTHSM2_CONF=$directory/softhsm2.conf XDG_RUNTIME_DIR=$directory/run
    printf 'directories.tokendir = %s\nlog.level = ERROR\n' "$directory/tokens" >"$SOFTHSM2_CONF"
    softhsm2-util --init-token --free --label "$label" --pin "$pin" --so-pin "$so_pin"
    command p11-kit server --foreground --name "$directory/p11-kit.socket" \
        --provider /usr/lib/softhsm/libsofthsm2.so "pkcs11:token=${label// /%20}" &
    trap 'kill $!' EXIT
    while [ ! -S "$directory/p11-kit.socket" ]; do
        kill -0 $!
        sleep 0.01
    done
}

if [ "$1" != --inside ]; then
    enter_tree "$@"
fi
token=$2 label=$3 pin=$4 so_pin=$5 directory=$6
"$token" >&2
echo ready
# Ends with the process that started it, however that ends.
cat >/dev/null
