#!/usr/bin/env bash
# Installs the system packages that the build needs and the machine lacks.
set -euo pipefail
missing=()
command -v cmake >/dev/null || missing+=(cmake)   # zlib-ng, which the gateway's HTTP compression links
command -v cc >/dev/null || missing+=(gcc libc6-dev)   # SQLite and the cryptography are compiled from source
command -v curl >/dev/null || missing+=(curl)   # the tests and the tour call the gateway with it
[ ${#missing[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null; then
  echo "The build needs: ${missing[*]} (or what your system calls them). Please install them." >&2
  exit 1
fi
echo "Installing ${missing[*]}: native code in the dependencies is compiled with them."
sudo=""; [ "$(id -u)" -eq 0 ] || sudo=sudo
$sudo apt-get update -q
$sudo apt-get install -y -q --no-install-recommends "${missing[@]}"
