"""What the image holds, and what it must not: sizes, labels, versions, traces of the machine that built it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from engine import ROOT, packages_of_the_image

pytestmark = pytest.mark.container

CPU_IMAGE_LIMIT_BYTES = 1_300_000_000
CONTEXT = (".dockerignore", "Dockerfile", "LICENSE", "README.md", "pyproject.toml",
           "app", "docker", "requirements", "weights", "wheels")  # fmt: skip


@pytest.fixture(scope="module")
def description(image):
    """Return what the engine knows of the image."""
    [described] = json.loads(image.docker("image", "inspect", image.name).stdout)
    return described


def test_it_is_small(description):
    assert description["Size"] <= CPU_IMAGE_LIMIT_BYTES


def test_it_is_labelled(image, description):
    labels = description["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == image.version
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels["org.opencontainers.image.revision"])


def test_it_is_not_root_and_holds_neither_compiler_nor_cache_nor_test_data(image):
    script = """
        id -u
        for tool in gcc cc g++ ld strip make git; do command -v $tool; done
        ls -A /build /tmp ~root/.cache /opt/lesionwise/weights 2>/dev/null
        cd /opt/venv && find . -path '*/tests/*.py' -o -name '*.a' -o -name '*.whl' -o -name '*.nii*' ! -name 'mni_icbm152_*'
        true"""
    assert image.shell(script).split() == [
        "10001", "/opt/lesionwise/weights:", "manifest.json", "segmentation.safetensors", "/tmp:"
    ]  # fmt: skip


def test_no_licence_was_taken_out(image):
    script = """
from importlib.metadata import distributions
for package in distributions():
    held = {str(path) for path in package.files if path.locate().is_file()}
    for name in package.metadata.get_all("License-File") or []:
        if not any(path.endswith(name) for path in held):
            print(package.name, name)"""
    assert image.run(["--entrypoint=/opt/venv/bin/python"], ["-Ic", script]).stdout == ""
    assert image.shell("head -2 /opt/lesionwise/LICENSE").split()[:2] == ["Apache", "License"]


def test_it_holds_the_locked_versions(image):
    script = "from importlib.metadata import distributions as d; [print(i.name, i.version) for i in d()]"
    printed = image.run(["--entrypoint=/opt/venv/bin/python"], ["-Ic", script]).stdout
    installed = dict(line.split() for line in printed.splitlines())
    found = {name.lower().replace("_", "-"): version.split("+")[0] for name, version in installed.items()}
    assert found.pop("lesionwise") == image.version
    assert found == packages_of_the_image()


def indexes():
    """Return the hosts of the package indexes that pip is set up with here."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
    addresses = [*re.findall(r"\w+://[^\s'\"]+", listed.stdout), *os.environ.values()]
    return {urlsplit(address).hostname for address in addresses if re.match(r"https?://", address)}


def test_its_history_gives_nothing_away(image, description):
    history = image.docker("history", "--no-trunc", "--format", "{{.CreatedBy}} {{.Comment}}", image.name)
    told = history.stdout + json.dumps(description["Config"])
    assert "lesionwise" in told
    assert not re.search(r"://|token|password|secret|index-url|trusted-host", told, flags=re.IGNORECASE)
    here = [str(ROOT), str(Path.home()) + "/", os.environ.get("CTR", str(ROOT)), "/var/tmp", *indexes()]
    assert [word for word in here if word in told] == []


@pytest.mark.slow
def test_a_changed_byte_in_the_weights_stops_the_build(image, tmp_path):
    for name in CONTEXT:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, tmp_path / name)
    weights = tmp_path / "weights" / "segmentation.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    arguments = ["--target", "program", "--build-arg", "VARIANT=cpu", *image.build_arguments]
    built = image.docker("build", *arguments, str(tmp_path), check=False)
    assert built.returncode != 0
    assert "not the bytes that manifest.json names" in built.stdout + built.stderr
