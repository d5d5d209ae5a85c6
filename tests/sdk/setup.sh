#!/usr/bin/env bash
# Installs the pinned SDKs into target/sdk: two Python environments and the modules for Node.
#
#   tests/sdk/setup.sh          installs what is missing or out of date
#   tests/sdk/setup.sh --check  only checks that everything is installed (exit status 1 if not)
set -euo pipefail
cd "$(dirname "$0")/../.."

here=tests/sdk
there=target/sdk
python=${PYTHON:-python3}

fail() {
    echo "$1" >&2
    echo "then run $here/setup.sh (make setup runs it too)" >&2
    exit 1
}

need_interpreters() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
        fail "the SDK tests need Python 3.10 or later as $python: install python3 (or set PYTHON),"
    node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null ||
        fail "the SDK tests need Node 20 or later as node: install it,"
}

# The pinned versions. A changed interpreter is detected when the SDKs fail to load.
fingerprint() {
    sha256sum "$here"/requirements*.txt "$here/node/package.json" "$here/node/package-lock.json"
}

is_installed() {
    [ "$(cat "$there/stamp" 2>/dev/null)" = "$(fingerprint)" ] &&
        "$there/python/bin/python" -c 'import pytest, aliyunsdkkms, alibabacloud_kms20160120' &&
        "$there/python-instance/bin/python" -c \
            'import pytest, sdk, alibabacloud_dkms_transfer, alibabacloud_kms_kms20160120' &&
        "$there/python-instance/bin/python" -c 'import alibaba_cloud_secretsmanager_client
import alibabacloud_secretsmanager_client_v2' &&
        [ -d "$there/node/node_modules/@alicloud/kms20160120" ]
}

# One environment and its packages.
install_python() {
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        # Debian has a separate package for venv.
        scripts/apt-install.sh python3-venv
    fi
    "$python" -m venv --clear "$there/$1"
    "$there/$1/bin/python" -m pip install --quiet --disable-pip-version-check \
        --requirement "$here/$2"
}

install_node() {
    # Debian's Node does not include npm.
    command -v npm >/dev/null || scripts/apt-install.sh npm
    mkdir -p "$there/node"
    cp "$here/node/package.json" "$here/node/package-lock.json" "$there/node/"
    (cd "$there/node" && npm ci --loglevel=error --ignore-scripts --no-audit --no-fund)
}

need_interpreters
is_installed && exit 0
if [ "${1:-}" = --check ]; then
    fail "the SDKs in $there are missing or out of date;"
fi
rm -f "$there/stamp"
install_python python requirements.txt
install_python python-instance requirements-instance.txt
# The first secrets client pins versions of its dependencies that are older than those of the others.
"$there/python-instance/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --requirement "$here/requirements-secrets.txt"
install_node
fingerprint >"$there/stamp"
is_installed || fail "the SDKs were installed but cannot be loaded: remove $there,"
