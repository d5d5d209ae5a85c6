#!/usr/bin/env bash
# Installs what builds the packages (debhelper, binutils), and what checks them.
set -euo pipefail
cd "$(dirname "$0")/.."

for program in dh lintian systemd-analyze objdump logrotate ip promtool; do
    command -v "$program" >/dev/null || test -x "/usr/sbin/$program" || {
        scripts/apt-install.sh debhelper lintian systemd binutils logrotate iproute2 prometheus
        break
    }
done
