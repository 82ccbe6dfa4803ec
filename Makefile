.PHONY: setup run demo test bench bench-peers faults h2spec

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
	cargo bench --locked --bench edge
	cargo bench --locked --bench people

# Faults on real processes, in minutes; FULL=1 plays each as often as the list says.
faults:
	@scripts/setup.sh test
	cargo test --locked --test faults

# h2spec's cases against the HTTPS listener; h2spec itself must be on the PATH, or named by H2SPEC.
h2spec: setup
	@scripts/h2spec.sh

bench-peers:
	@scripts/setup.sh peers
	cargo bench --locked --bench gates
	cargo bench --locked --bench people
