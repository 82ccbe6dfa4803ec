#!/usr/bin/env bash
# Installs the system packages that the build needs and the machine lacks; `setup.sh test` also what the tests need,
# `setup.sh bench` what the benchmarks measure with and compare with, `setup.sh peers` also the gates they stand beside.
set -euo pipefail
cd "$(dirname "$0")/.."
missing=()
command -v cmake >/dev/null || missing+=(cmake)   # zlib-ng, which the gateway's HTTP compression links
command -v cc >/dev/null || missing+=(gcc libc6-dev)   # SQLite and the cryptography are compiled from source
command -v curl >/dev/null || missing+=(curl)   # the tests and the tour call the gateway with it
# A second, independent verifier of SAML signatures (the feature `xmlsec`): libxmlsec1, and what its binding is made with.
command -v xmlsec1-config >/dev/null || missing+=(libxmlsec1-dev libxml2-dev libssl-dev)
command -v pkg-config >/dev/null || missing+=(pkg-config)
if ! compgen -G '/usr/lib*/libclang*.so*' >/dev/null && ! compgen -G '/usr/lib/*/libclang-[0-9]*.so*' >/dev/null; then
  # Debian 12 has it in small pieces; elsewhere it comes whole.
  if grep -qs '^VERSION_CODENAME=bookworm' /etc/os-release; then
    missing+=(libclang1-14 libclang-common-14-dev)
  else
    missing+=(libclang-dev)
  fi
fi
wanted=${1:-}
if [ "$wanted" = test ] || [ "$wanted" = bench ] || [ "$wanted" = peers ]; then
  command -v node >/dev/null || missing+=(nodejs)   # runs the clients and peers that nobody here wrote
  command -v npm >/dev/null || missing+=(npm)   # fetches them
fi
if [ -n "$wanted" ]; then
  # The store of several nodes is tried on a cluster of one's own, made in a temporary folder.
  if ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && ! command -v initdb >/dev/null; then
    missing+=(postgresql)
  fi
fi
if [ "$wanted" = peers ]; then
  python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3 python3-venv)   # Envoy comes as a Python package
fi
if [ "$wanted" = bench ]; then
  command -v valgrind >/dev/null || missing+=(valgrind)   # counts instructions
fi
if [ "$wanted" = test ]; then
  command -v chromium >/dev/null || missing+=(chromium)   # people's flows are played in a real browser
  if [ -z "$(command -v fc-list)" ] || [ -z "$(fc-list 2>/dev/null | head -n 1)" ]; then
    missing+=(fontconfig fonts-dejavu-core)   # a page without a font has no text to look at
  fi
  command -v sqlite3 >/dev/null || missing+=(sqlite3)   # a backup is made as the operations page says
  compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || missing+=(libfaketime)   # the machine's clock is moved under a process
  command -v xmlsec1 >/dev/null || missing+=(xmlsec1)   # pysaml2, an identity provider nobody here wrote, signs with it
  python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3 python3-venv)   # and runs in Python
  # SimpleSAMLphp, another one, is PHP. Only the language: no package here brings a web server that would start.
  php -r 'exit(extension_loaded("dom") && extension_loaded("mbstring") ? 0 : 1);' 2>/dev/null || missing+=(php-cli php-xml php-mbstring)
fi
if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "Missing: ${missing[*]} (or what your system calls them). Please install them and begin again." >&2
    exit 1
  fi
  sudo=""
  if [ "$(id -u)" -ne 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null || { echo "Missing: ${missing[*]}. Please install them as root." >&2; exit 1; }
  fi
  echo "Installing ${missing[*]}; scripts/setup.sh says what each is for."
  $sudo apt-get update -q
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
fi
case "$wanted" in
  test) folder=tests/clients ;;
  bench | peers) folder=benches/peers ;;
  *) exit 0 ;;
esac

# The packages of that folder, exactly those of its lock file, and only when that has changed.
cd "$folder"
if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 20 ]; then
  echo "$folder needs Node.js 20 or newer; here is $(node --version)." >&2
  exit 1
fi
stamp=node_modules/.installed
if ! cmp -s package-lock.json "$stamp"; then
  echo "Installing the packages of $folder."
  npm ci --no-progress --loglevel=error
  cp package-lock.json "$stamp"
fi

if [ "$wanted" = peers ]; then
  # Unpacked beside the benchmark: installed, they would start, on the ports of this machine's own services.
  if [ ! -x .debian/root/usr/sbin/haproxy ]; then
    command -v apt-get >/dev/null || { echo "The other gates come out of Debian's packages; here is no apt-get." >&2; exit 1; }
    echo "Unpacking HAProxy, nginx with Lua, and Apache with mod_auth_openidc for benches/peers."
    mkdir -p .debian/archives/partial .debian/root
    ${sudo:-} apt-get update -q
    ${sudo:-} apt-get install -y -q --no-install-recommends --download-only -o Dir::Cache::archives="$PWD/.debian/archives" \
      haproxy nginx libnginx-mod-http-lua lua-luaossl lua-cjson apache2-bin libapache2-mod-auth-openidc
    for package in .debian/archives/*.deb; do dpkg -x "$package" .debian/root; done
  fi
  if ! cmp -s requirements.txt .venv/.installed; then
    echo "Installing Envoy for benches/peers."
    python3 -m venv .venv
    .venv/bin/pip install -q -r requirements.txt
    cp requirements.txt .venv/.installed
  fi
fi
[ "$wanted" = test ] || exit 0

# The identity provider of tests/idp, in an environment of its own.
cd ../idp
if ! cmp -s requirements.txt .venv/.installed; then
  echo "Installing the packages of tests/idp."
  python3 -m venv .venv
  .venv/bin/pip install -q -r requirements.txt
  cp requirements.txt .venv/.installed
fi

# Puts the package $1 into the folder $package, installing nothing.
download() {
  package=$(mktemp -d)
  fetch() { (cd "$package" && apt-get download -q "$1"); }
  fetch "$1" || { ${sudo:-} apt-get update -q && fetch "$1"; } \
    || { echo "$1 cannot be downloaded: is there a package index (apt-get update)?" >&2; exit 1; }
}

# SimpleSAMLphp, out of Debian's package and into a folder of its own: installed as a package it would bring Apache, and
# start it. The tests serve it with PHP's own server on a loopback address.
if [ ! -d .simplesamlphp/usr/share/simplesamlphp/www ]; then
  command -v apt-get >/dev/null || { echo "Please unpack SimpleSAMLphp 1.19 to tests/idp/.simplesamlphp/usr/share/simplesamlphp." >&2; exit 1; }
  echo "Unpacking SimpleSAMLphp for tests/idp."
  download simplesamlphp
  dpkg -x "$package"/simplesamlphp_*.deb .simplesamlphp
  rm -r "$package"
fi

# promtool, which judges deploy/prometheus, out of Debian's package: installed, Prometheus would start.
if ! command -v promtool >/dev/null && [ ! -x ../monitoring/.prometheus/usr/bin/promtool ]; then
  command -v apt-get >/dev/null || { echo "Please put promtool on the PATH." >&2; exit 1; }
  echo "Unpacking promtool for tests/monitoring."
  download prometheus
  mkdir -p ../monitoring/.prometheus
  dpkg-deb --fsys-tarfile "$package"/prometheus_*.deb | tar -x -C ../monitoring/.prometheus ./usr/bin/promtool
  rm -r "$package"
fi

# Clients of tests/python, in an environment of their own.
cd ../..
if ! cmp -s tests/python/requirements.txt target/python/.installed; then
  echo "Installing the packages of tests/python."
  python3 -m venv target/python
  target/python/bin/pip install -q -r tests/python/requirements.txt
  cp tests/python/requirements.txt target/python/.installed
fi
