#!/bin/sh
# Runs the public TUF client conformance suite against tuf-client.
#
#   tests/tuf-conformance.sh SUITE [CLIENT]
#
# SUITE is a checkout of https://github.com/theupdateframework/tuf-conformance, CLIENT the
# executable to test (default: target/debug/tuf-client). More arguments go to pytest.
# Needs python3 with venv and, for tests that move the clock, faketime.
set -eu

die() {
    echo "tuf-conformance: $*" >&2
    exit 64
}

suite=${1:-${SUITE:-}}
client=${2:-target/debug/tuf-client}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] && shift

[ -f "$suite/tuf_conformance/conftest.py" ] ||
    die "give a checkout of theupdateframework/tuf-conformance, not '$suite'"
[ -x "$client" ] || die "$client is not there; build it with: cargo build --workspace"
command -v faketime >/dev/null || die "faketime is missing; install it with: apt-get install faketime"

suite=$(cd "$suite" && pwd)
client=$(cd "$(dirname "$client")" && pwd)/$(basename "$client")
# Beside what cargo builds, so that `cargo clean` removes it.
environment=$(dirname "$(dirname "$client")")/tuf-conformance

if [ ! -x "$environment/bin/pytest" ]; then
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet "$suite"
fi

# No cache or byte code is left behind in the checkout.
cd "$suite"
PYTHONDONTWRITEBYTECODE=1 exec "$environment/bin/pytest" tuf_conformance \
    -p no:cacheprovider --entrypoint "$client" "$@"
