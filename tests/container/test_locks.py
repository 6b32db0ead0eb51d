"""The locks hold one set of versions: exact, with hashes, the same in both variants."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted(path.stem for path in (ROOT / "requirements").glob("*.lock"))

# The one place where the version is chosen; it can be changed for an older driver (docs/container.md).
TORCH = re.search(r"^torch==(\S+)$", (ROOT / "requirements" / "runtime.in").read_text(), flags=re.MULTILINE)[
    1
]


def entries(lock):
    """Return a lock's requirements as (name, version, number of hashes); a name may stand twice."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    found = re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]*\])?==(\S+)(.*\n(?:[ ].*\n)*)", text, flags=re.MULTILINE)
    return [(name, version, rest.count("--hash=sha256:")) for name, version, rest in found]


def versions(lock):
    return {name: version for name, version, _ in entries(lock)}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_exact_and_has_hashes(lock):
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    requirements = re.findall(r"^[^#\s].*", text, flags=re.MULTILINE)
    assert len(requirements) == len(entries(lock)) > 0
    assert all(hashes > 0 for _, _, hashes in entries(lock))


@pytest.mark.parametrize("lock", LOCKS)
def test_no_index_or_machine_path_is_named(lock):
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    assert not re.search(r"://|^--(?!hash)|\s/\w", text, flags=re.MULTILINE)


def test_both_variants_run_the_same_versions():
    cpu, gpu = versions("cpu"), versions("gpu")
    assert cpu["torch"] == gpu["torch"] == TORCH
    assert {name: gpu[name] for name in cpu} == cpu
    assert all(re.match("cuda-|nvidia-|triton$", name) for name in gpu.keys() - cpu.keys())
    assert any(name.startswith("nvidia-cudnn") for name in gpu)


def test_tests_run_with_the_versions_of_the_image():
    cpu, dev = versions("cpu"), versions("dev")
    shared = cpu.keys() & dev.keys()
    assert "numpy" in shared
    assert {name: dev[name] for name in shared} == {name: cpu[name] for name in shared}


def test_all_that_the_package_names_is_locked():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.match("[a-z0-9-]+", name)[0] for name in named} <= versions("cpu").keys() | versions(
        "data"
    ).keys()


def test_what_the_package_pins_is_what_is_locked():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = dict(name.split("==") for name in named if "==" in name)
    assert {"deepbet", "nilearn"} <= pinned.keys()  # of which files are read: only one version will do
    locked = versions("cpu") | versions("data")
    assert pinned == {name: locked[name] for name in pinned}


def test_the_gui_and_copyleft_packages_of_deepbet_stay_out():
    everything = set().union(*(versions(lock) for lock in ("cpu", "gpu", "data")))
    assert not everything & {
        "customtkinter",
        "fill-voids",
        "connected-components-3d",
        "pandas",
        "scikit-learn",
    }


def test_the_cpu_lock_follows_from_the_gpu_lock():
    script = {"__name__": "cpu_lock"}
    exec((ROOT / "requirements" / "cpu_lock.py").read_text(), script)
    gpu_lock = (ROOT / "requirements" / "gpu.lock").read_text()
    assert script["cpu_lock"](gpu_lock) == (ROOT / "requirements" / "cpu.lock").read_text()


def test_a_torch_without_a_cpu_wheel_named_leaves_the_cpu_lock(tmp_path):
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    uv = tmp_path / "uv"  # stands in for uv, and finds an older torch
    uv.write_text("#!/bin/sh\nprintf 'torch==2.9.0 %s\\n    --hash=sha256:00\\n' '\\'\n")
    uv.chmod(0o755)
    ended = subprocess.run(
        [tmp_path / "requirements" / "lock.sh"], env=os.environ | {"UV": str(uv)}, capture_output=True
    )
    assert ended.returncode == 1
    assert b"name its CPU wheel and that file's sha256" in ended.stderr
    assert "torch==2.9.0 \\\n" in (tmp_path / "requirements" / "gpu.lock").read_text()
    cpu_lock = (tmp_path / "requirements" / "cpu.lock").read_bytes()
    assert cpu_lock == (ROOT / "requirements" / "cpu.lock").read_bytes()
