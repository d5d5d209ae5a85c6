# The commands are `make run` and `make test`, and `make check` after an edit; `.ci/run` calls `make test`.

CARGO_DENY = 0.20.2
HELM = 3.22.0

.PHONY: run check format lints test clients bench bench-instructions audit fuzz torture reproducible setup setup-in-turn setup-build setup-token setup-tokens setup-lints setup-tools setup-sdk setup-clients setup-trace setup-proxy setup-jq setup-valgrind setup-postgres setup-packages setup-cbom packages helm

# Starts a gateway for development on loopback. Its token and state are in .hsmgate.
run: setup-build setup-token
	cargo run --release -- dev --dir .hsmgate

# After an edit: format, lints, unit tests, architecture, words and docs. It takes less than a minute,
# so the lints of test code are left to `make test`.
CHECKED_TESTS = --test architecture --test words --test docs

check: setup-build setup-lints format
	cargo clippy --lib --bins $(CHECKED_TESTS) -- -D warnings
	cargo test --lib $(CHECKED_TESTS)

format:
	cargo fmt --all --check
	# cargo fmt does not find modules that a macro declares, and crates outside the workspace.
	rustfmt --edition 2024 --check $$(find src/ops tests/tokens -name '*.rs')

# Everything that a commit must pass. tests/sdk.rs and tests/clients run the SDKs. What the tests need is
# installed while the lints compile: on a new machine each takes minutes, and most of the first are
# downloads.
test: setup-build setup-lints
	$(MAKE) --jobs=2 setup-in-turn lints
	cargo deny check bans licenses sources
	cargo test --workspace
	HSMGATE_TEST_DATABASE=postgresql cargo test --lib store::

lints: format
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --lib

# apt and dpkg allow one user at a time.
setup-in-turn:
	$(MAKE) --jobs=1 setup

# Runs third-party programs against gateways, each if a variable names it (BAO=/usr/bin/bao):
# docs/develop/testing.md.
clients: setup-build setup-token
	cargo build
	HSMGATE_PROGRAM=target/debug/hsmgate python3 -B tests/clients/programs/run.py

# The long form of the fault tests, with their figures; then, with the processors to itself, ten times
# the load that a gateway can process; the Helm chart; and a release twice. It takes about an hour.
torture: setup-build setup-token setup-proxy
	HSMGATE_TORTURE=1 cargo test --test fault -- --test-threads=4
	HSMGATE_TORTURE=1 cargo test --test attack -- --nocapture
	HSMGATE_TORTURE=1 cargo test --test life manners:: -- --test-threads=2 --nocapture
	HSMGATE_TORTURE=1 cargo test --test it -- reload:: rolling_restart --test-threads=1 --nocapture
	HSMGATE_TORTURE=1 cargo test --test it -- no_gateway_repeats --nocapture
	HSMGATE_TORTURE=1 cargo test --test it -- a_million_ivs --nocapture
	HSMGATE_REPLAYS=10000 cargo test --test it -- accepted_once_by_all --nocapture
	HSMGATE_TORTURE=1 cargo test --lib random::
	cargo test --release --test fault -- --ignored busy --nocapture
	$(MAKE) helm
	$(MAKE) reproducible

# A Debian package, a tarball, a Python wheel and a list of components, in target/packages.
packages: setup-build setup-packages
	packaging/build.sh

# Builds the packages of the last commit in two clones at different paths, and compares every artefact.
reproducible: setup-build setup-packages
	packaging/reproducible.sh

# Renders and lints the Helm chart. Helm is built once from its Go module, which takes four minutes of a
# processor, so `make test` leaves it out.
HELM_PROGRAM = $(CURDIR)/target/helm/$(HELM)/helm

helm: setup-build
	test -x $(HELM_PROGRAM) || GOTOOLCHAIN=local GOBIN=$(dir $(HELM_PROGRAM)) \
		go install helm.sh/helm/v3/cmd/helm@v$(HELM)
	HSMGATE_HELM=$(HELM_PROGRAM) cargo test --test packages helm:: -- --nocapture

# Rates of the gateway and of its parts; the default number of token threads compared with fixed numbers;
# the MACs of rows; PostgreSQL and a second gateway; then the cost of a request compared with the minimal
# program.
bench: setup-build setup-token setup-postgres
	cargo bench --bench gateway
	cargo bench --bench workers
	cargo bench --bench store
	cargo bench --bench cluster
	cargo build --release --example minimal
	cargo bench --bench cost

# Instructions for each request under callgrind, for the gateway and for the minimal program. Unlike
# times, they are reproducible: docs/performance.md.
bench-instructions: setup-build setup-token setup-valgrind
	cargo build --release --example minimal
	cargo bench --bench cost -- --instructions

# Known vulnerabilities of the crates in use. Downloads the advisory database, so it needs a network.
audit: setup-tools
	cargo deny check advisories

# Fuzzes every parser of unauthenticated input for FUZZ_SECONDS each. New findings are kept in
# fuzz/artifacts. tests/corpora.rs replays the corpora in the repository.
FUZZ_SECONDS = 20
FUZZ_TARGETS = query claim context blob names policy instance_head instance_body

fuzz: setup-build
	cargo fuzz --version || cargo install cargo-fuzz --locked
	for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/target/found/$$target && \
		cargo fuzz run --sanitizer none $$target fuzz/target/found/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -verbosity=0 || exit 1; \
	done

setup: setup-build setup-token setup-tokens setup-tools setup-sdk setup-clients setup-trace setup-proxy setup-jq setup-valgrind setup-postgres setup-packages setup-cbom

# The toolchain links with cc, and some crates contain C.
setup-build:
	command -v cc >/dev/null || scripts/apt-install.sh build-essential

setup-token:
	softhsm/install.sh

# The other tokens of the tests: kryoptic, NSS, openCryptoki, and SoftHSM2 behind p11-kit.
setup-tokens: setup-build
	tests/tokens/setup.sh

setup-lints:
	cargo fmt --version && cargo clippy --version || rustup component add rustfmt clippy

setup-tools: setup-lints
	cargo deny --version | grep -qxF 'cargo-deny $(CARGO_DENY)' || \
		cargo install cargo-deny --locked --version $(CARGO_DENY)

setup-sdk:
	tests/sdk/setup.sh

# The official clients in Go and Java, if these languages are installed.
setup-clients:
	tests/clients/setup.sh

# strace proves that nothing is returned before it is on disk.
setup-trace:
	command -v strace || scripts/apt-install.sh strace

# jq runs the commands of docs/for-auditors.md.
setup-jq:
	command -v jq || scripts/apt-install.sh jq

# valgrind counts instructions.
setup-valgrind:
	command -v valgrind || scripts/apt-install.sh valgrind

# PostgreSQL, the other database of the store's tests, and PgBouncer, a pooler in front of it.
setup-postgres:
	scripts/postgresql-setup.sh

# HAProxy proves that a reload of the gateway loses no request behind a proxy that does not retry.
setup-proxy:
	command -v haproxy || test -x /usr/sbin/haproxy || scripts/apt-install.sh haproxy

# The schema of CycloneDX, for the inventory of cryptography.
setup-cbom:
	tests/cbom/setup.sh

# debhelper and lintian build and check the Debian package.
setup-packages:
	scripts/packages-setup.sh
