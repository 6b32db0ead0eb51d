"""Where the set-up cannot work it says so before it makes anything."""

import os
import subprocess
from pathlib import Path

SETUP = Path(__file__).parents[1] / "requirements" / "setup.sh"


def test_linux_on_another_processor_is_told_before_anything_is_installed(tmp_path):
    uname = tmp_path / "uname"
    uname.write_text('#!/bin/sh\n[ "$1" = -sm ] && echo Linux aarch64 || echo aarch64\n')
    uname.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    told = subprocess.run(
        [SETUP, tmp_path / "venv"], env=environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 1
    assert told.stderr == "setup: on Linux this needs an x86-64 processor, and this one is aarch64\n"
    assert not (tmp_path / "venv").exists()
