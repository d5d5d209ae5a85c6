#!/usr/bin/env bash
# Downloads the dependencies of the clients in tests/clients, in the pinned versions. A language that is
# not installed is skipped with a line. The tests skip it too, and fail instead if CI is true.
set -euo pipefail
cd "$(dirname "$0")"

setup_go() {
    if ! command -v go >/dev/null; then
        echo "skipped: go clients: there is no go"
        return
    fi
    local version module
    version=$(GOTOOLCHAIN=local go env GOVERSION)
    if [ "$(printf '%s\n' go1.23 "$version" | sort -V | head -n 1)" != go1.23 ]; then
        echo "skipped: go clients: they need Go 1.23, this is $version"
        return
    fi
    for module in go/*/go.mod ../../examples/go/go.mod; do
        (cd "$(dirname "$module")" && GOTOOLCHAIN=local go mod download)
    done
}

# Java and Maven come from Debian; dependencies come from Maven's repository. The clients are compiled too.
setup_java() {
    if ! command -v javac >/dev/null || ! command -v mvn >/dev/null; then
        if ! ../../scripts/apt-install.sh default-jdk-headless maven; then
            echo "skipped: java clients: there is no Java with Maven"
            return
        fi
    fi
    mvn --quiet --batch-mode --file java/pom.xml process-classes
    mvn --quiet --batch-mode --file java/identity/pom.xml process-classes
}

setup_go
setup_java
