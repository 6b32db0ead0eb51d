"""The image under test, started as a platform starts it; `make image-test` says which."""

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_case import write_case, write_weights

ROOT = Path(__file__).resolve().parents[2]
PAIR = ("flair_time01_on_middle_space.nii.gz", "flair_time02_on_middle_space.nii.gz")
SEGMENT = "segment -t1 time1.nii.gz -t2 time2.nii.gz -o mask.nii.gz --brain-mask brain.nii.gz --weights weights --overlap 0"
"""The command of the small case."""


@dataclass(frozen=True)
class Image:
    """An image and the command of its engine ("docker", or podman behind that name)."""

    engine: str
    name: str
    build_arguments: list[str] = field(default_factory=list)

    def docker(self, *arguments, check=True, **options):
        """Run the engine and return what it printed."""
        done = subprocess.run([self.engine, *arguments], capture_output=True, text=True, **options)
        assert done.returncode == 0 or not check, done.stderr
        return done

    def run(self, options, command, check=True):
        """Start a container; `options` come before the image's name, `command` after it."""
        return self.docker("run", "--rm", *map(str, options), self.name, *map(str, command), check=check)

    def shell(self, script):
        """Return what a shell in the image prints."""
        return self.run(["--entrypoint=/bin/sh"], ["-c", script]).stdout

    @property
    def version(self):
        """The version in the image's tag."""
        return self.name.split(":")[1].removesuffix("-cpu")

    @property
    def read_only(self):
        """Options for a root that is read-only with no writable /tmp: podman leaves one unless told not to."""
        is_podman = "podman" in self.docker("--version").stdout
        return ["--read-only", *(["--read-only-tmpfs=false"] if is_podman else [])]


@pytest.fixture(scope="session")
def image():
    """Return the image under test, or skip the test visibly."""
    engine, name = os.environ.get("LESIONWISE_DOCKER"), os.environ.get("LESIONWISE_IMAGE")
    if not engine or not name:
        pytest.skip("no image to test: run `make image-test`")
    arguments = shlex.split(os.environ.get("LESIONWISE_BUILD_ARGS", ""))
    return Image(shutil.which(engine) or engine, name, arguments)


@pytest.fixture(scope="session")
def tools():
    """Return the folder of the tools that check the submission (bosh, uv)."""
    return ROOT / "build" / "tools" / "bin"


@pytest.fixture(scope="session")
def small_case(tmp_path_factory):
    """Return a folder with a small case, weights, and `expected.nii.gz`: the mask made outside the container."""
    folder = tmp_path_factory.mktemp("case")
    write_case(folder)
    write_weights(folder / "weights")
    outside(folder, SEGMENT)
    (folder / "mask.nii.gz").rename(folder / "expected.nii.gz")
    assert voxels(folder / "expected.nii.gz").any()
    return folder


@pytest.fixture(scope="session")
def coarse_pair(shared, tmp_path_factory):
    """Return a folder with a real pair at half its resolution, weights, and the mask made outside the container.

    Whole heads, which the brain is found in, and a small network keep each run to seconds.
    """
    folder = tmp_path_factory.mktemp("coarse")
    for name in PAIR:
        scan = nib.load(shared / "data" / "ljubljana" / "pairs" / "patient01" / name)
        nib.save(scan.slicer[::2, ::2, :], folder / name)
    write_weights(folder / "weights")
    outside(folder, f"segment -t1 {PAIR[0]} -t2 {PAIR[1]} -o expected.nii.gz --weights weights")
    assert voxels(folder / "expected.nii.gz").any()
    return folder


def writable_copy(folder, target):
    """Copy `folder` to `target`, which then any user may write to, and return it."""
    shutil.copytree(folder, target)
    target.chmod(0o777)
    return target


def outside(folder, arguments):
    """Run the program as it is installed beside the tests."""
    subprocess.run([sys.executable, "-m", "lesionwise.cli", *arguments.split()], cwd=folder, check=True)


def voxels(path):
    """Return the voxels of an image as they are stored."""
    return np.asarray(nib.load(path).dataobj)
