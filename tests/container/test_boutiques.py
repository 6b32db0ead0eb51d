"""Boutiques' own tool accepts the descriptors, and starts the image as the platform does.

The test's copy of the descriptor lends the container the small network of the coarse pair.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from engine import ROOT, voxels, writable_copy

pytestmark = pytest.mark.container


@pytest.fixture(scope="module")
def bosh(image, tools):
    """Return a function that runs bosh, which calls the engine by the name "docker"."""
    environment = {**os.environ, "PATH": f"{Path(image.engine).parent}:{tools}:{os.environ['PATH']}"}

    def run(*arguments, cwd=ROOT):
        return subprocess.run(
            [tools / "bosh", *arguments], cwd=cwd, env=environment, capture_output=True, text=True
        )

    return run


@pytest.fixture
def workdir(image, coarse_pair, tmp_path):
    """Return a folder with a pair, the example and a descriptor of the image under test."""
    folder = writable_copy(coarse_pair, tmp_path / "work")
    (folder / "not_a_scan.nii.gz").write_text("not a scan")
    shutil.copy(ROOT / "docker" / "example-invocation.json", folder)
    descriptor = json.loads((ROOT / "docker" / "boutiques-cpu.json").read_text())
    descriptor["container-image"]["image"] = image.name
    descriptor["container-image"]["container-opts"] = ["-v", f"{folder}/weights:/opt/lesionwise/weights:ro"]
    (folder / "descriptor.json").write_text(json.dumps(descriptor))
    return folder


@pytest.mark.parametrize("variant", ["gpu", "cpu"])
def test_the_descriptor_is_valid(variant, bosh):
    done = bosh("validate", f"docker/boutiques-{variant}.json")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.shared
@pytest.mark.slow
def test_the_descriptors_own_tests_pass(bosh, workdir):
    done = bosh("test", "descriptor.json", cwd=workdir)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


@pytest.mark.shared
@pytest.mark.slow
def test_launching_the_example_gives_the_mask_that_the_program_gives_outside(bosh, workdir):
    arguments = ["--no-pull", "--skip-data-collection", "descriptor.json", "example-invocation.json"]
    done = bosh("exec", "launch", *arguments, cwd=workdir)
    assert done.returncode == 0, done.stdout + done.stderr
    assert np.array_equal(voxels(workdir / "segmentation.nii.gz"), voxels(workdir / "expected.nii.gz"))


@pytest.mark.shared
@pytest.mark.slow
def test_launching_passes_on_the_programs_exit_code(bosh, workdir):
    shutil.copy(workdir / "not_a_scan.nii.gz", workdir / "flair_time01_on_middle_space.nii.gz")
    arguments = ["--no-pull", "--skip-data-collection", "descriptor.json", "example-invocation.json"]
    assert bosh("exec", "launch", *arguments, cwd=workdir).returncode == 3
