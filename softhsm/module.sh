#!/usr/bin/env bash
# Prints the path of SoftHSM2's PKCS#11 module.
set -euo pipefail

for module in /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so \
    /usr/lib64/softhsm/libsofthsm2.so /usr/lib64/pkcs11/libsofthsm2.so \
    /usr/local/lib/softhsm/libsofthsm2.so; do
    if [ -e "$module" ]; then
        echo "$module"
        exit 0
    fi
done
echo "no libsofthsm2.so found; run softhsm/install.sh" >&2
exit 1
