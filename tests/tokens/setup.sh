#!/usr/bin/env bash
# Installs the tokens that the tests run on, beside SoftHSM2: kryoptic, NSS, and a Debian 13 tree with
# openCryptoki and p11-kit. They are kept in target/tokens; a second run takes less than a second.
set -euo pipefail
cd "$(dirname "$0")/../.."
tokens=${CARGO_TARGET_DIR:-target}/tokens
mkdir -p "$tokens"

is_installed() {
    dpkg-query -W -f '${Status}\n' "$@" 2>/dev/null | grep -c '^install ok installed$' | grep -qx "$#"
}

need() {
    is_installed "$@" || scripts/apt-install.sh "$@"
}

# pkcs11-tool looks at the tokens from outside; certutil makes the database of NSS.
need opensc libnss3 libnss3-tools p11-kit p11-kit-modules

# Its build script needs libclang.
module=$tokens/kryoptic/debug/libkryoptic_token.so
if [ -z "$(find "$module" -newer tests/tokens/kryoptic/Cargo.lock -newer tests/tokens/kryoptic/Cargo.toml -newer tests/tokens/kryoptic/src/lib.rs 2>/dev/null)" ]; then
    need libssl-dev libsqlite3-dev libclang-dev pkg-config
    cargo build --locked --manifest-path tests/tokens/kryoptic/Cargo.toml --target-dir "$tokens/kryoptic"
    touch "$module"
fi

tests/tokens/debian-13.sh "$tokens/debian-13"
