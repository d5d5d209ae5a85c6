#!/usr/bin/env bash
# Runs SDKs with a region and no endpoint against a gateway on port 443 under the vendor's names.
# Run it in its own network and mount namespaces:
#
#   unshare --map-root-user --net --mount tests/sdk/cloud_names.sh HSMGATE DIRECTORY
set -euo pipefail
hsmgate=$1
directory=$2
here=$(cd "$(dirname "$0")" && pwd)
sdks=$here/../../target/sdk
PATH=$PATH:/usr/sbin:/sbin

ip link set lo up
cat >"$directory/hosts" <<'END'
127.0.0.1 localhost kms.cn-hangzhou.aliyuncs.com kms-vpc.cn-hangzhou.aliyuncs.com
127.0.0.1 kst-hzz1.cryptoservice.kms.aliyuncs.com
END
mount --bind "$directory/hosts" /etc/hosts

mkfifo "$directory/said"
"$hsmgate" dev --json --dir "$directory/state" --listen 127.0.0.1:443 --tls \
    --tls-name kms.cn-hangzhou.aliyuncs.com --tls-name kms-vpc.cn-hangzhou.aliyuncs.com \
    --tls-name '*.cryptoservice.kms.aliyuncs.com' >"$directory/said" 2>"$directory/log" &
gateway=$!
trap 'kill $gateway 2>/dev/null || true; wait' EXIT
# The read ends without a line if the gateway does not start.
read -r HSMGATE_DEV_JSON <"$directory/said" || { cat "$directory/log" >&2; exit 1; }
export HSMGATE_DEV_JSON
CA=$(python3 -c 'import json, os; print(json.loads(os.environ["HSMGATE_DEV_JSON"])["ca_file"])')
# The proxies of the machine cannot be reached from this network.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY

for endpoint in '' kms-vpc.cn-hangzhou.aliyuncs.com; do
    "$sdks/python/bin/python" "$here/cloud_names/public.py" $endpoint
done
"$sdks/python/bin/python" "$here/cloud_names/public_old.py"
"$sdks/python-instance/bin/python" "$here/cloud_names/instance.py"
NODE_PATH=$sdks/node/node_modules NODE_EXTRA_CA_CERTS=$CA node "$here/cloud_names/public.js"
