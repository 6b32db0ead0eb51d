"""Twenty cases of which three are broken, each in its own way; and the batch is killed half-way."""

import csv
import shutil
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
from small_case import QUICK_BATCH, write_patient, write_weights

from lesionwise import cli
from lesionwise.challenge_layout import SEGMENTATION, TIME2

NAMES = [f"patient{number:03d}" for number in range(1, 21)]
BROKEN = {"patient003": "missing", "patient010": "damaged", "patient019": "another grid"}


def break_in_its_way(folder, way):
    scan = folder / TIME2
    if way == "missing":
        scan.unlink()
    elif way == "damaged":  # the file ends early
        scan.write_bytes(scan.read_bytes()[:2000])
    else:
        image = nib.load(scan)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[:-4], image.affine), scan)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Return the folder of patients and the batch's arguments, the output last."""
    folder = tmp_path_factory.mktemp("twenty")
    first = write_patient(folder / "in" / NAMES[0])
    for name in NAMES[1:]:
        shutil.copytree(first, folder / "in" / name)
    for name, way in BROKEN.items():
        break_in_its_way(folder / "in" / name, way)
    weights = write_weights(folder / "weights")
    return [
        str(part) for part in ("batch", *QUICK_BATCH, "--weights", weights, folder / "in", folder / "out")
    ]


def finished(out):
    """Return when the mask of each case was written, by its name."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob(f"*/{SEGMENTATION}")}


def test_killed_half_way_and_started_again_no_case_is_done_twice_and_the_broken_are_named(cohort, capfd):
    from pathlib import Path

    out = Path(cohort[-1])
    batch = subprocess.Popen([sys.executable, "-m", "lesionwise.cli", *cohort], stderr=subprocess.DEVNULL)
    try:
        while len(finished(out)) < 8:
            assert batch.poll() is None
            time.sleep(0.05)
    finally:
        batch.kill()
        batch.wait()
    before = finished(out)
    assert 8 <= len(before) < 17

    with pytest.raises(SystemExit) as ended:
        cli.main(cohort)
    _, err = capfd.readouterr()
    assert ended.value.code == 1
    after = finished(out)
    assert sorted(after) == [name for name in NAMES if name not in BROKEN]
    assert {name: after[name] for name in before} == before  # not written again
    with (out / "cohort.csv").open() as file:
        states = {row["case"]: row["state"] for row in csv.DictReader(file)}
    assert list(states) == NAMES
    assert [name for name in NAMES if states[name] == "failed"] == list(BROKEN)
    assert [name for name in NAMES if states[name] == "kept"] == sorted(before)
    assert err.splitlines()[-1].endswith("3 of 20 cases failed: " + ", ".join(BROKEN))
