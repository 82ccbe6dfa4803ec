.PHONY: setup test

setup:
	@scripts/setup.sh

test: setup
	cargo test --locked
