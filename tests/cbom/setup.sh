#!/usr/bin/env bash
# Installs the validator of CycloneDX into target/cbom, unless it is there. Prints nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."

there=target/cbom
mkdir -p "$there"
exec 9>"$there/lock"
flock 9
fingerprint=$(sha256sum tests/cbom/requirements.txt)
if [ "$(cat "$there/stamp" 2>/dev/null)" != "$fingerprint" ]; then
    "${PYTHON:-python3}" -m venv --clear "$there/python"
    "$there/python/bin/python" -m pip install --quiet --disable-pip-version-check \
        --requirement tests/cbom/requirements.txt
    echo "$fingerprint" >"$there/stamp"
fi
