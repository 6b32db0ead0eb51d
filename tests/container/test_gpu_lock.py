"""The GPU lock can be installed, checked without a GPU and without downloading its gigabytes."""

import subprocess
from pathlib import Path

import pytest
from test_locks import TORCH

pytestmark = pytest.mark.container

ROOT = Path(__file__).resolve().parents[2]


def test_the_gpu_lock_resolves_for_linux_and_python_311(tools, tmp_path):
    platform = ["--python-platform", "x86_64-unknown-linux-gnu", "--python-version", "3.11"]
    strict = ["--no-config", "--require-hashes", "--only-binary", ":all:", "--target", tmp_path / "nothing"]
    lock = ["-r", ROOT / "requirements" / "gpu.lock"]
    command = [tools / "uv", "pip", "install", "--dry-run", *strict, *platform, *lock]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert f"+ torch=={TORCH}" in done.stderr
    assert "+ nvidia-cudnn-cu13==" in done.stderr
