#!/usr/bin/env bash
# Builds the packages of the last commit twice, in two clones at different paths with empty target folders,
# and compares the SHA-256 of every artefact. It takes two release builds. Without a difference the clones
# are removed.
#
#   packaging/reproducible.sh [DIRECTORY]    the clones are made there instead of in a new directory of TMPDIR
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
commit=$(git rev-parse HEAD)
dir=${1:-$(mktemp --directory)}
clones=("$dir/one" "$dir/another/path/two")
# They would name one folder for both, or change one build only.
unset CARGO_TARGET_DIR HSMGATE_PACKAGES HSMGATE_COMMIT SOURCE_DATE_EPOCH

for clone in "${clones[@]}"; do
    git clone --quiet --no-hardlinks "$root" "$clone"
    git -C "$clone" checkout --quiet --detach "$commit"
    started=$SECONDS
    "$clone/packaging/build.sh" > "$clone.log" 2>&1 || { tail -40 "$clone.log" >&2; exit 1; }
    echo "built in $clone in $((SECONDS - started)) s"
done
sums=("${clones[@]/%//target/packages/SHA256SUMS}")
if ! diff "${sums[@]}"; then
    echo "the packages of $commit differ; the clones remain in $dir" >&2
    exit 1
fi
cat "${sums[0]}"
echo "$(wc -l < "${sums[0]}") artefacts of commit ${commit:0:7} are the same in both clones"
rm -rf "$dir"
