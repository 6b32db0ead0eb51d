#!/usr/bin/env bash
# Writes the locks from the .in files (needs uv, from PyPI; takes seconds).
# Run it after editing an .in file, then run the tests and commit the locks with it.
# usage: requirements/lock.sh      UV=... names another uv
set -euo pipefail
cd "$(dirname "$0")"

compile() {  # OUT IN [options]: from the public index alone, so that the result does not depend on this machine
    local out=$1 in=$2; shift 2
    echo "# Written by requirements/lock.sh from $in: edit that file, not this one." > "$out.new"
    UV_NO_CONFIG=1 "${UV:-uv}" pip compile --quiet --generate-hashes --no-header --no-emit-index-url \
        --python-version 3.11 --python-platform x86_64-unknown-linux-gnu "$@" "$in" >> "$out.new"
    mv "$out.new" "$out"
}

compile gpu.lock runtime.in
python3 cpu_lock.py < gpu.lock > cpu.lock.new
mv cpu.lock.new cpu.lock
compile data.lock data.in --no-deps
compile bench.lock bench.in --no-deps
compile exported.lock exported.in --constraint gpu.lock
compile cluster.lock cluster.in --constraint gpu.lock
compile dev.lock dev.in --constraint gpu.lock
compile tools.lock tools.in
