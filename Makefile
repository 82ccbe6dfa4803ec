.PHONY: setup run demo test bench bench-peers faults soak h2spec fuzz

setup:
	@scripts/setup.sh

run: setup
	cargo build --release --locked
	target/release/portcullis run

demo: setup
	cargo build --release --locked
	target/release/portcullis demo

test:
	@scripts/setup.sh test
	cargo test --locked

bench:
	@scripts/setup.sh bench
	cargo bench --locked --bench micro
	cargo bench --locked --bench micro --no-default-features -- SAML
	cargo bench --locked --bench edge
	cargo bench --locked --bench people

# Faults on real processes, in minutes; FULL=1 plays each as often as the list says.
faults:
	@scripts/setup.sh test
	cargo test --locked --test faults

# Everything at once for MINUTES (3 without): calls, tokens, revocations, reloads, key rotations, an upstream that comes and goes.
soak:
	@scripts/setup.sh test
	cargo test --locked --test soak

# The HTTP/2 conformance test h2spec against the HTTPS listener; docs/how-to/operations.md says where to get it.
h2spec: setup
	@scripts/h2spec.sh

# Each fuzz target for SECONDS_EACH (60 without), from its seeds; wants cargo-fuzz and a nightly compiler.
fuzz:
	@scripts/fuzz.sh

bench-peers:
	@scripts/setup.sh peers
	cargo bench --locked --bench gates
	cargo bench --locked --bench people
