#!/usr/bin/env bash
# Installs PostgreSQL and PgBouncer for the tests, if they are missing, without a server that the system starts.
#
#   scripts/postgresql-setup.sh        installs what is missing
#   scripts/postgresql-setup.sh --bin  prints the directory of the server's programs
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian has a directory for each version, outside of PATH.
programs() {
    local newest
    newest=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort --version-sort | tail -n 1)
    if [ -x "$newest" ]; then dirname "$newest"; else dirname "$(command -v initdb)"; fi
}

if [ "${1:-}" = --bin ]; then
    programs
    exit
fi
if ! programs >/dev/null 2>&1; then
    # The package makes a cluster and starts it, unless this file says no.
    [ -e /etc/postgresql-common/createcluster.conf ] || as_root=$([ "$(id -u)" -eq 0 ] || echo sudo)
    if [ -n "${as_root+set}" ]; then
        $as_root mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' |
            $as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    scripts/apt-install.sh postgresql postgresql-client
fi
# Its package starts it where systemd runs, on a port of loopback: no test uses that one.
[ -x /usr/sbin/pgbouncer ] || scripts/apt-install.sh pgbouncer
programs >/dev/null || { echo "postgresql is installed, but initdb was not found" >&2; exit 1; }
