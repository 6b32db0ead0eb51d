"""Boutiques' own tool accepts the descriptors, and starts the image as the platform does.

To keep this to seconds, a real pair at half its resolution and a small network stand in; the test's copy of
the descriptor lends the container that network.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_case import write_weights

pytestmark = pytest.mark.container

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("flair_time01_on_middle_space.nii.gz", "flair_time02_on_middle_space.nii.gz")


@pytest.fixture(scope="module")
def bosh(image, tools):
    """Return a function that runs bosh, which calls the engine by the name "docker"."""
    environment = {**os.environ, "PATH": f"{Path(image.engine).parent}:{tools}:{os.environ['PATH']}"}

    def run(*arguments, cwd=ROOT):
        return subprocess.run(
            [tools / "bosh", *arguments], cwd=cwd, env=environment, capture_output=True, text=True
        )

    return run


@pytest.fixture(scope="module")
def workdir(image, shared, tmp_path_factory):
    """Return a folder with a pair, the example invocation, and a descriptor that names the image under test."""
    folder = tmp_path_factory.mktemp("boutiques")
    folder.chmod(0o777)
    for name in NAMES:
        scan = nib.load(shared / "data" / "ljubljana" / "pairs" / "patient01" / name)
        nib.save(scan.slicer[::2, ::2, :], folder / name)
    (folder / "not_a_scan.nii.gz").write_text("not a scan")
    shutil.copy(ROOT / "docker" / "example-invocation.json", folder)
    weights = write_weights(folder / "weights")
    descriptor = json.loads((ROOT / "docker" / "boutiques-cpu.json").read_text())
    descriptor["container-image"]["image"] = image.name
    descriptor["container-image"]["container-opts"] = ["-v", f"{weights}:/opt/lesionwise/weights:ro"]
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
    outside = ["-t1", NAMES[0], "-t2", NAMES[1], "-o", "outside.nii.gz", "--weights", "weights"]
    subprocess.run([sys.executable, "-m", "lesionwise.cli", "segment", *outside], cwd=workdir, check=True)
    inside_mask, outside_mask = (
        np.asarray(nib.load(workdir / name).dataobj) for name in ("segmentation.nii.gz", "outside.nii.gz")
    )
    assert inside_mask.any()
    assert np.array_equal(inside_mask, outside_mask)
