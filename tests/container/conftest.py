"""The image under test, which `make image-test` names, and the cases that it is started with."""

import os
import shlex
import shutil

import nibabel as nib
import pytest
from engine import PAIR, ROOT, SEGMENT, Image, outside, voxels
from small_case import write_case, write_weights


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
    folder.chmod(0o755)
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
