# The two commands are `make run` and `make test`; `.ci/run` calls the second.

CARGO_DENY = 0.20.2

.PHONY: run test clients bench bench-instructions audit fuzz torture setup setup-build setup-token setup-tools setup-sdk setup-clients setup-trace setup-proxy setup-valgrind

# A gateway for development on loopback, with its token and its state in .hsmgate.
run: setup-build setup-token
	cargo run --release -- dev --dir .hsmgate

# Everything a commit has to pass. The SDKs are driven by tests/sdk.rs and
# tests/clients.
test: setup
	cargo fmt --all --check
	# Modules that a macro declares, which cargo fmt does not see.
	rustfmt --edition 2024 --check $$(find src/ops -name '*.rs')
	cargo clippy --workspace --all-targets -- -D warnings
	cargo deny check bans licenses sources
	cargo test --workspace

# Large programs of others against running gateways, each where a variable names it (BAO=/usr/bin/bao):
# docs/develop/testing.md.
clients: setup-build setup-token
	cargo build
	HSMGATE_PROGRAM=target/debug/hsmgate python3 -B tests/clients/programs/run.py

# The tests of a token that fails, at length, with their figures; then, alone on the processors, ten
# times the load that a gateway can bear. About half an hour.
torture: setup-build setup-token setup-proxy
	HSMGATE_TORTURE=1 cargo test --test fault -- --test-threads=4
	HSMGATE_TORTURE=1 cargo test --test it reload:: -- --test-threads=1 --nocapture
	cargo test --release --test fault -- --ignored busy --nocapture

# Rates of the gateway and of its parts; then the cost of a request beside the minimal program.
bench: setup-build setup-token
	cargo bench --bench gateway
	cargo build --release --example minimal
	cargo bench --bench cost

# Instructions of a request under callgrind, for the gateway and for the minimal program. They repeat
# where times do not: docs/performance.md.
bench-instructions: setup-build setup-token setup-valgrind
	cargo build --release --example minimal
	cargo bench --bench cost -- --instructions

# Known weaknesses of the crates in use. Fetches the advisory database, so it needs the network.
audit: setup-tools
	cargo deny check advisories

# Every parser that meets the bytes of strangers, for so many seconds each; new findings stay in
# fuzz/artifacts. The corpora in the repository are played back by tests/corpora.rs.
FUZZ_SECONDS = 20
FUZZ_TARGETS = query claim context blob names policy instance_head instance_body

fuzz: setup-build
	cargo fuzz --version || cargo install cargo-fuzz --locked
	for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/target/found/$$target && \
		cargo fuzz run --sanitizer none $$target fuzz/target/found/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -verbosity=0 || exit 1; \
	done

setup: setup-build setup-token setup-tools setup-sdk setup-clients setup-trace setup-proxy setup-valgrind

# The toolchain links with cc, and some crates hold C.
setup-build:
	command -v cc >/dev/null || scripts/apt-install.sh build-essential

setup-token:
	softhsm/install.sh

setup-tools:
	cargo fmt --version && cargo clippy --version || rustup component add rustfmt clippy
	cargo deny --version | grep -qxF 'cargo-deny $(CARGO_DENY)' || \
		cargo install cargo-deny --locked --version $(CARGO_DENY)

setup-sdk:
	tests/sdk/setup.sh

# The official clients in Go and Java, where these languages are.
setup-clients:
	tests/clients/setup.sh

# Shows that nothing is answered before it is on disk.
setup-trace:
	command -v strace || scripts/apt-install.sh strace

# Counts instructions.
setup-valgrind:
	command -v valgrind || scripts/apt-install.sh valgrind

# Shows that an exchange of the gateway loses no request behind a proxy that tries nothing again.
setup-proxy:
	command -v haproxy || test -x /usr/sbin/haproxy || scripts/apt-install.sh haproxy
