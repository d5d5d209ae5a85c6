# The two commands are `make run` and `make test`; `.ci/run` calls the second.

CARGO_DENY = 0.20.2

.PHONY: run test torture bench audit setup setup-build setup-token setup-tools setup-sdk

# A gateway for development on loopback, with its token and its state in .hsmgate.
run: setup-build setup-token
	cargo run --release -- dev --dir .hsmgate

# Everything a commit has to pass. The SDKs are driven by tests/sdk.rs.
test: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo deny check bans licenses sources
	cargo test --workspace

# The tests of a token that fails, at length, with their figures. About ten minutes.
torture: setup-build setup-token
	HSMGATE_TORTURE=1 cargo test --test fault -- --test-threads=4

bench: setup-build setup-token
	cargo bench --bench gateway

# Known weaknesses of the crates in use. Fetches the advisory database, so it needs the network.
audit: setup-tools
	cargo deny check advisories

setup: setup-build setup-token setup-tools setup-sdk

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
