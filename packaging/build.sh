#!/usr/bin/env bash
# Builds the packages into target/packages: a Debian package, a tarball, a Python wheel, a list of
# components (CycloneDX) and their checksums. All have the version of Cargo.toml. HSMGATE_PACKAGES names
# another directory.
#
#   packaging/build.sh                   all of them, from a release build
#   packaging/build.sh deb wheel         only these (deb, tarball, wheel, sbom)
#   packaging/build.sh --program FILE    with this program instead of a release build, for tests
set -euo pipefail
cd "$(dirname "$0")/.."

program=
if [ "${1:-}" = --program ]; then
    program=$(realpath "$2")
    export DEB_COMPRESSION="-Zgzip -z1"
    shift 2
fi
kinds=${*:-deb tarball wheel sbom}
out=${HSMGATE_PACKAGES:-$PWD/target/packages}
stage=$out/stage
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
architecture=$(dpkg --print-architecture)
# Two builds of one commit have the same bytes: no path of the builder and no time of the build is in them.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
HSMGATE_COMMIT=${HSMGATE_COMMIT:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022

build() {
    local home=${CARGO_HOME:-$HOME/.cargo}
    HSMGATE_COMMIT=$HSMGATE_COMMIT \
        RUSTFLAGS="--remap-path-prefix=$PWD=. --remap-path-prefix=$home=cargo" \
        CFLAGS="-ffile-prefix-map=$PWD=. -ffile-prefix-map=$home=cargo" \
        cargo build --locked --release --bin hsmgate
    program=$PWD/target/release/hsmgate
}

# Everything that the packages contain.
stage() {
    rm -rf "$stage"
    mkdir -p "$stage"/{man,completions,doc}
    install -m 755 "$program" "$stage/hsmgate"
    # A release build has no line tables; those of a development build are a hundred megabytes.
    strip --strip-debug --preserve-dates "$stage/hsmgate"
    install -m 644 docs/hsmgate.sample.toml "$stage/hsmgate.toml"
    "$program" man --out "$stage/man"
    "$program" completions bash > "$stage/completions/hsmgate"
    "$program" completions zsh > "$stage/completions/_hsmgate"
    "$program" completions fish > "$stage/completions/hsmgate.fish"
    cp -r packaging/prometheus packaging/grafana "$stage/"
    cp -r README.md CHANGELOG.md SECURITY.md docs examples "$stage/doc/"
    find "$stage" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

deb() {
    local tree=$out/tree
    rm -rf "$tree"
    mkdir -p "$tree"
    cp -r packaging/debian "$tree/debian"
    cp packaging/systemd/hsmgate.service "$tree/debian/hsmgate.service"
    cp packaging/systemd/hsmgate.sysusers "$tree/debian/hsmgate.sysusers"
    ln -s "$stage" "$tree/stage"
    cat > "$tree/debian/changelog" <<CHANGELOG
hsmgate ($version-1) unstable; urgency=medium

  * See CHANGELOG.md.

 -- hsmgate maintainers <maintainers@hsmgate.example>  $(date -R -d "@$SOURCE_DATE_EPOCH")
CHANGELOG
    (cd "$tree" && debian/rules binary > "$out/deb.log" 2>&1) || { cat "$out/deb.log" >&2; exit 1; }
}

tarball() {
    local name=hsmgate-$version-linux-$architecture
    cp -r packaging/systemd "$stage/systemd"
    cp LICENSE "$stage/LICENSE"
    tar --create --directory "$stage" --transform "s,^\.,$name," --sort=name --owner=0 --group=0 \
        --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" . | gzip --no-name > "$out/$name.tar.gz"
}

wheel() {
    [ -x "$out/python/bin/python" ] || python3 -m venv "$out/python"
    "$out/python/bin/python" -m pip install --quiet --disable-pip-version-check \
        --requirement packaging/python/build-requirements.txt
    (cd packaging/python &&
        HSMGATE_PROGRAM=$stage/hsmgate "$out/python/bin/python" -m hatchling build -t wheel -d "$out")
}

# The list names the version of the program that writes it.
cyclonedx=0.5.9

sbom() {
    cargo cyclonedx --version 2>/dev/null | grep -qwF "$cyclonedx" ||
        cargo install cargo-cyclonedx --locked --version "$cyclonedx"
    cargo cyclonedx --quiet --format json --spec-version 1.5 --override-filename hsmgate.cdx
    # It writes one for each package of the workspace, with the path of the checkout.
    sed "s,file://$PWD,file:///hsmgate,g" hsmgate.cdx.json > "$out/hsmgate-$version.cdx.json"
    find . -name hsmgate.cdx.json -not -path './target/*' -delete
}

mkdir -p "$out"
[ -n "$program" ] || build
stage
for kind in $kinds; do
    "$kind"
done
cd "$out"
find . -maxdepth 1 -type f \( -name '*.deb' -o -name '*.tar.gz' -o -name '*.whl' -o -name '*.cdx.json' \) \
    -name "*$version*" -printf '%P\n' | sort | xargs sha256sum > SHA256SUMS
cat SHA256SUMS
