"""How the tests start containers, and what several of them share."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PAIR = ("flair_time01_on_middle_space.nii.gz", "flair_time02_on_middle_space.nii.gz")
SEGMENT = (
    "segment -t1 time1.nii.gz -t2 time2.nii.gz -o mask.nii.gz --brain-mask brain.nii.gz --weights weights"
)
"""The command of the small case."""
LEFT_OUT = {"sympy", "mpmath", "networkx"}  # docker/slim.sh says why


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


def packages_of_the_image():
    """Return the name and version of each package that the CPU image should hold beside the program."""
    locks = "".join((ROOT / "requirements" / f"{name}.lock").read_text() for name in ("cpu", "data"))
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", locks, flags=re.MULTILINE))
    return {name: version for name, version in locked.items() if name not in LEFT_OUT}
