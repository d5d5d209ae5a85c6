#!/usr/bin/env bash
# Creates a SoftHSM2 token in its own directory and prints how to use it.
#
#   softhsm/token.sh DIR [LABEL]
#
# DIR then contains softhsm2.conf, tokens/, pin and so-pin. For development only: the PINs are stored
# next to the token, and softhsm2-util takes them on its command line, where other users of the machine
# can see them while it runs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 DIR [LABEL]" >&2
    exit 2
fi
umask 077
mkdir -p "$1"
dir=$(cd "$1" && pwd)
label=${2:-hsmgate}

if [ -e "$dir/tokens" ]; then
    echo "$dir/tokens already exists; a new token needs another directory" >&2
    exit 1
fi
module=$("$here/module.sh")

random_pin() {
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
}

mkdir "$dir/tokens"
sed "s|@DIR@|$dir|" "$here/softhsm2.conf.in" >"$dir/softhsm2.conf"
random_pin >"$dir/pin"
random_pin >"$dir/so-pin"
SOFTHSM2_CONF=$dir/softhsm2.conf softhsm2-util --init-token --free --label "$label" \
    --pin "$(cat "$dir/pin")" --so-pin "$(cat "$dir/so-pin")" >/dev/null

cat <<END
The new token is in $dir. To use it:

    export SOFTHSM2_CONF=$dir/softhsm2.conf
    softhsm2-util --show-slots

and in the configuration of hsmgate:

    [token]
    module = "$module"
    label = "$label"
    pin_file = "$dir/pin"
END
