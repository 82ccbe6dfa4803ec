#!/usr/bin/env bash
# Plays h2spec's cases, the strict ones too, against the HTTPS listener of a gateway of its own; fails if one fails.
# h2spec is not packaged: build it from its sources (github.com/summerwind/h2spec) and put it on the PATH, or name it in H2SPEC.
set -euo pipefail
cd "$(dirname "$0")/.."
h2spec=${H2SPEC:-h2spec}
command -v "$h2spec" >/dev/null || { echo "h2spec is not on the PATH; H2SPEC=… names it." >&2; exit 1; }
cargo build --locked --bin portcullis
folder=$(mktemp -d)
gate=
trap '[ -z "$gate" ] || kill "$gate" 2>/dev/null || true; rm -rf "$folder"' EXIT
cp -r conf "$folder/conf"
# Ports that nothing else of this repository takes, and a route that takes bodies, as some cases send one.
sed -i 's/:8443/:18443/g; s/:8080/:18080/g; s/:9901/:19901/g; s/:9902/:19902/g' "$folder"/conf/*.toml "$folder"/conf/apps/*.toml
sed -i '/^path = "\/status"/{n;s/.*/methods = ["GET", "POST", "HEAD"]/}' "$folder/conf/portcullis.toml"
target/debug/portcullis run --config "$folder/conf/portcullis.toml" >/dev/null 2>"$folder/errors" &
gate=$!
for _ in $(seq 100); do
  curl -sf http://127.0.0.1:19901/readyz >/dev/null && break
  kill -0 "$gate" 2>/dev/null || { cat "$folder/errors" >&2; exit 1; }
  sleep 0.2
done
"$h2spec" --host localhost --port 18443 --tls --insecure --path /status --timeout 5 --strict "$@"
