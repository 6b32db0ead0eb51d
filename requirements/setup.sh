#!/usr/bin/env bash
# Makes the virtual environment VENV with exactly the locked packages and this package, editable.
# usage: requirements/setup.sh VENV      PYTHON=... picks the interpreter, LOCK=... the lock of the running program
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:?usage: requirements/setup.sh VENV}

# PyPI's torch for other processors needs CUDA's libraries on Linux, and these locks leave them out.
case "$(uname -sm)" in
    "Linux x86_64" | Darwin*) ;;
    *) echo "setup: on Linux this needs an x86-64 processor, and this one is $(uname -m)" >&2; exit 1 ;;
esac

is_python_311() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; }

home_of() { "$1" -c 'import sys; print(sys.base_prefix)'; }
# An environment that is there is kept, but not where another interpreter was asked for.
is_kept() {
    [ -x "$venv/bin/python" ] && is_python_311 "$venv/bin/python" || return 1
    [ -z "${PYTHON:-}" ] || [ "$(home_of "$PYTHON")" = "$(home_of "$venv/bin/python")" ]
}

if ! is_kept; then
    python=
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3 python; do
        if is_python_311 "$candidate"; then python=$candidate; break; fi
    done
    if [ -z "$python" ]; then
        echo "setup: no Python 3.11 found (looked for ${PYTHON:+$PYTHON, }python3.11, python3 and python);" \
            "install it, or name it with: make setup PYTHON=/path/to/python3.11" >&2
        exit 1
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "setup: $python has no venv module; install it (Debian and Ubuntu: package python3.11-venv)" >&2
        exit 1
    fi
    "$python" -m venv --clear "$venv"
fi

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

# The CPU build of torch where pip can find it; PyPI itself offers for Linux only the CUDA build, which also runs without a GPU.
torch=$(sed -n "s/^torch==//p" requirements/runtime.in)
if [ -z "${LOCK:-}" ]; then
    LOCK=requirements/cpu.lock
    if [ "$(uname -sm)" = "Linux x86_64" ] && ! pip install -q --dry-run --no-deps "torch==$torch+cpu" >/dev/null 2>&1; then
        LOCK=requirements/gpu.lock
    fi
fi
echo "setup: $venv from $LOCK"
pip install -qq --no-deps --require-hashes --only-binary :all: -r "$LOCK" -r requirements/data.lock -r requirements/dev.lock
pip install -qq --no-deps --no-index --no-build-isolation --editable .
