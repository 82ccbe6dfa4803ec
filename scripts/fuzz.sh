#!/usr/bin/env bash
# Runs each target of fuzz/ for SECONDS_EACH seconds (60 without) over its seeds, or the targets that are named. What was found lies in
# fuzz/artifacts. Wants `cargo install cargo-fuzz` and a nightly compiler (`rustup toolchain install nightly`).
set -euo pipefail
cd "$(dirname "$0")/.."
cargo +nightly fuzz --version >/dev/null || { echo "cargo install cargo-fuzz, and rustup toolchain install nightly" >&2; exit 1; }
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list)
for target in "${targets[@]}"; do
  mkdir -p "fuzz/corpus/$target"
  seeds=()
  [ ! -d "fuzz/seeds/$target" ] || seeds=("fuzz/seeds/$target")
  echo "== $target"
  # What lies in the seeds is never written to.
  cargo +nightly fuzz run ${FUZZ_OPTIONS:-} "$target" "fuzz/corpus/$target" "${seeds[@]}" -- \
    -max_total_time="${SECONDS_EACH:-60}" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
done
