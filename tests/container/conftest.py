"""The image under test, started as a platform starts it; `make image-test` says which."""

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


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
