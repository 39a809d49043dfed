#!/bin/sh
# Makes .venv from the lock file: `deploy/setup.sh run` for what the product needs, `dev` for the tests too.
# A stamp of the inputs makes the second call instant. Nothing is printed when there is nothing to do.
set -eu
cd "$(dirname "$0")/.."
umask 022

kind=${1:-run}
case $kind in
    run) lock=requirements.lock ;;
    dev) lock=requirements-dev.lock ;;
    *) echo "usage: deploy/setup.sh run|dev" >&2; exit 2 ;;
esac
say() { echo "onestop: $*" >&2; }

stamp_of() { { pwd; cat pyproject.toml "$1"; } | cksum; }
stamp=$(stamp_of "$lock")
for made in "$kind" dev; do
    # What holds the tools of the tests holds the product as well.
    [ "$made" = "$kind" ] || stamp=$(stamp_of requirements-dev.lock)
    if [ -x .venv/bin/onestop ] && [ "$(cat ".venv/.made-$made" 2>/dev/null || :)" = "$stamp" ]; then
        exit 0
    fi
done
stamp=$(stamp_of "$lock")

fits() {
    command -v "$1" >/dev/null 2>&1 &&
        "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}
found="" without_venv=""
for python in ${PYTHON:-python3 python3.12 python3.11 python3.13}; do
    fits "$python" || continue
    if "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        found=$python
        break
    fi
    without_venv=$python
done
if [ -z "$found" ] && [ -n "$without_venv" ]; then
    say "$without_venv cannot make virtual environments. Run this, then try again:"
    say "    sudo apt-get install -y $("$without_venv" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    exit 1
elif [ -z "$found" ]; then
    say "Python 3.11, 3.12 or 3.13 is needed, and none of ${PYTHON:-python3, python3.11, python3.12, python3.13} is one."
    say "On Debian 12 and later run: sudo apt-get install -y python3 python3-venv"
    say "or name one yourself: make PYTHON=/path/to/python3.12 ..."
    exit 1
fi

say "making .venv with $("$found" --version) from $lock (only the first time; about a minute) ..."
if [ -e .venv ] && ! { fits .venv/bin/python && [ "$(cat .venv/.place 2>/dev/null || :)" = "$(pwd)" ]; }; then
    rm -rf .venv
fi
rm -f .venv/.made-*
[ -d .venv ] || "$found" -m venv .venv
pwd > .venv/.place
cache=${PIP_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/pip}
if ! { mkdir -p "$cache" && [ -w "$cache" ]; } 2>/dev/null; then
    export PIP_NO_CACHE_DIR=1
fi
pip() {
    .venv/bin/python -m pip --quiet --disable-pip-version-check --no-input "$@" >&2
}
pip install --only-binary :all: --require-hashes -r "$lock"
pip install --no-deps --no-build-isolation --editable .
echo "$stamp" > ".venv/.made-$kind"
say "ready."
