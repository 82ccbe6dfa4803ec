#!/usr/bin/env bash
# Runs h2spec, the conformance test of HTTP/2 (github.com/summerwind/h2spec), against the HTTPS listener of a gateway of its own.
# `H2SPEC=path scripts/h2spec.sh` where it is not on the PATH; further arguments go to h2spec (`-S` is there: its strict cases too).
set -euo pipefail
cd "$(dirname "$0")/.."
h2spec=${H2SPEC:-h2spec}
command -v "$h2spec" >/dev/null || { echo "h2spec is not there: name it by H2SPEC=path" >&2; exit 1; }
cargo build --locked
folder=$(mktemp -d)
cp -r conf "$folder/"
# Ports that nothing of the shipped configuration uses.
sed -i 's/:8443/:28443/; s/:8080/:28080/; s/:9901/:29901/; s/:9902/:29902/' "$folder/conf/portcullis.toml"
target/debug/portcullis run --config "$folder/conf/portcullis.toml" >"$folder/out" 2>"$folder/err" &
gate=$!
trap 'kill "$gate" 2>/dev/null || true; wait "$gate" 2>/dev/null || true; rm -rf "$folder"' EXIT
for _ in $(seq 100); do
  curl -fs http://127.0.0.1:29901/readyz >/dev/null && break
  kill -0 "$gate" || { cat "$folder/err" >&2; exit 1; }
  sleep 0.1
done
"$h2spec" -S -t -k -h 127.0.0.1 -p 28443 -P /status -o 10 "$@"
