#!/bin/sh
# Removes from a virtual environment what only programmers need: tests, headers, symbols for debuggers, helper commands.
# usage: slim.sh VENV
set -eu
packages=$1/lib/python3.11/site-packages

find "$1/bin" -mindepth 1 ! -name 'python*' -delete
find "$packages" -type d \( -name tests -o -name include \) -prune -exec rm -rf {} +
rm -rf "$packages/torch/test" "$packages/torch/share"
find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete
find "$packages" -type f \( -name '*.a' -o -name '*.lib' -o -name '*.pyi' -o -name '*.h' \) -delete
for library in torch/lib/libtorch_cpu.so torch/lib/libtorch_python.so llvmlite/binding/libllvmlite.so; do
    strip --strip-unneeded "$packages/$library"
done
