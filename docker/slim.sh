#!/bin/sh
# Removes from a virtual environment what the program never uses. usage: slim.sh VENV
set -eu
packages=$1/lib/python3.11/site-packages
cd "$packages"

# What only programmers need: tests, headers, symbols for debuggers, helper commands; licences stay. Libraries in *.libs
# were edited when they were packed, and strip would break them.
find "$1/bin" -mindepth 1 ! -name 'python*' -delete
find . \( -path '*/tests/*' -o -path '*/include/*' \) ! -type d ! -iname '*licen[cs]e*' -delete
find . \( -path '*/tests*' -o -path '*/include*' \) -type d -empty -delete
rm -rf torch/test torch/share
find torch/bin -type f ! -name torch_shm_manager -delete
find torch/testing/_internal -type f ! -name '__init__.py' ! -name common_dtype.py ! -name logging_tensor.py -delete
rm -f torch/lib/libjitbackend_test.so torch/lib/libtorchbind_test.so
find . -type f \( -name '*.a' -o -name '*.lib' -o -name '*.pyi' -o -name '*.h' \) -delete
find . -name '*.so*' -type f ! -path './*.libs/*' ! -path './nvidia/*' ! -name 'libtorch_cuda*' -exec strip --strip-unneeded {} +

# What serves torch.compile alone: the program runs its networks as they are.
rm -rf torch/_inductor sympy sympy-* isympy.py mpmath mpmath-* networkx networkx-* triton triton-*

# Of rich's colouring of source code, the program shows Python's at most.
find pygments/lexers -type f ! -name '__init__.py' ! -name '_mapping.py' ! -name python.py -delete

# Of nilearn the program reads the ICBM152 template, and imports nothing.
find nilearn -type f ! -name 'mni_icbm152_*' ! -path nilearn/__init__.py -delete
find nilearn -type d -empty -delete
