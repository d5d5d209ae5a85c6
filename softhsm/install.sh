#!/usr/bin/env bash
# Installs SoftHSM2, the token for development and tests, if it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

has_softhsm() {
    command -v softhsm2-util >/dev/null && [ -n "$(softhsm/module.sh 2>/dev/null)" ]
}

has_softhsm || scripts/apt-install.sh softhsm2
has_softhsm || { echo "softhsm2 is installed, but its PKCS#11 module was not found" >&2; exit 1; }
