"""`docker run ... batch /in /out` on a folder in the challenge's layout: every case is done or named."""

import csv
import shutil

import pytest
from engine import PAIR

pytestmark = pytest.mark.container

BATCH = "batch /in /out --brain-mask-name brain.nii.gz --weights /weights"


@pytest.fixture
def cohort(small_case, tmp_path):
    """Return a folder of two patients, the second with a file that is no scan."""
    for patient in ("patient001", "patient002"):
        folder = tmp_path / "in" / patient
        folder.mkdir(parents=True)
        shutil.copy(small_case / "brain.nii.gz", folder)
        for source, target in zip(("time1.nii.gz", "time2.nii.gz"), PAIR, strict=True):
            shutil.copy(small_case / source, folder / target)
    (folder / PAIR[0]).write_text("not a scan")
    return tmp_path / "in"


def test_a_folder_of_patients(image, cohort, small_case, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o777)
    mounts = ["-v", f"{cohort}:/in:ro", "-v", f"{out}:/out", "-v", f"{small_case}/weights:/weights:ro"]
    options = [*image.read_only, "--network", "none", "--user", "54321:54321", *mounts]
    done = image.run(options, BATCH.split(), check=False)
    assert done.returncode == 1
    assert "patient002" in done.stderr.strip().splitlines()[-1]
    masks = [out / "patient001" / "segmentation.nii.gz", small_case / "expected.nii.gz"]
    assert masks[0].read_bytes() == masks[1].read_bytes()
    with (out / "cohort.csv").open(newline="") as table:
        states = {row["case"]: row["state"] for row in csv.DictReader(table)}
    assert states == {"patient001": "done", "patient002": "failed"}
    assert (out / "patient001" / "segmentation.nii.gz").stat().st_uid == 54321
