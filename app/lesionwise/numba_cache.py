"""Where numba keeps compiled code: in NUMBA_CACHE_DIR or beside the modules, and nowhere else.

numba alone would fall back on the home folder. Where neither can be written, each process compiles again.
"""

import os
from pathlib import Path

import numba

CACHE: bool = os.access(numba.config.CACHE_DIR or Path(__file__).parent, os.W_OK)
