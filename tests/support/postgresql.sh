#!/usr/bin/env bash
# Runs a PostgreSQL server in a new directory until standard input is closed: also after the test
# process was killed. Prints the directory when the server accepts connections on the socket in it.
#
#   tests/support/postgresql.sh [--standby-of DIRECTORY] [SETTING=VALUE ...]
#
# With --standby-of it is a standby of the server with its socket in that directory.
#
# PostgreSQL refuses to run as root, so root runs it as the account that the package creates.
set -euo pipefail

primary=
if [ "${1:-}" = --standby-of ]; then
    primary=$2
    shift 2
fi
here=$(cd "$(dirname "$0")/../.." && pwd)
bin=$("$here/scripts/postgresql-setup.sh" --bin)
directory=$(mktemp -d /tmp/hsmgate-postgresql.XXXXXX)
# A connection of the servers, not of the caller.
unset PGHOST PGPORT PGUSER PGDATABASE
as_server=()
if [ "$(id -u)" -eq 0 ]; then
    chown postgres "$directory"
    as_server=(runuser -u postgres --)
fi
cd "$directory"

stop() {
    "${as_server[@]}" "$bin/pg_ctl" stop -D "$directory/data" -m immediate >/dev/null 2>&1 || true
    rm -rf "$directory"
}
trap stop EXIT

if [ -n "$primary" ]; then
    "${as_server[@]}" "$bin/pg_basebackup" -D "$directory/data" -h "$primary" -U hsmgate -R -X stream \
        --checkpoint=fast --no-sync >"$directory/initdb.log" 2>&1
else
    "${as_server[@]}" "$bin/initdb" -D "$directory/data" -U hsmgate -E UTF8 --locale=C.UTF-8 \
        --auth-local=trust --auth-host=scram-sha-256 --no-sync >"$directory/initdb.log" 2>&1
fi || { cat "$directory/initdb.log" >&2; exit 1; }
# Without fsync: a test ends the server, not the machine.
settings=(fsync=off max_connections=300 listen_addresses= "unix_socket_directories=$directory" "$@")
"${as_server[@]}" sh -c 'cat >>"$1"' sh "$directory/data/postgresql.conf" < <(
    for setting in "${settings[@]}"; do echo "${setting%%=*} = '${setting#*=}'"; done
)
"${as_server[@]}" "$bin/pg_ctl" start -w -D "$directory/data" -l "$directory/server.log" >/dev/null ||
    { cat "$directory/server.log" >&2; exit 1; }
echo "$directory"
cat >/dev/null
