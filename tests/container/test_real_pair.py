"""The platform's own command line on real scans, whole, with the weights of the image."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from engine import PAIR, outside, voxels

pytestmark = [pytest.mark.container, pytest.mark.shared, pytest.mark.slow]

SEGMENT = f"segment -t1 {PAIR[0]} -t2 {PAIR[1]} -o segmentation.nii.gz"


def test_the_platforms_command_line_and_one_cpu_with_3_gb_give_the_mask_made_outside(image, shared, tmp_path):
    folders = {name: tmp_path / name for name in ("outside", "platform", "limited")}
    for folder in folders.values():
        folder.mkdir()
        folder.chmod(0o777)
        for name in PAIR:
            shutil.copy(shared / "data" / "ljubljana" / "pairs" / "patient01" / name, folder / name)
        (folder / "command-line.sh").write_text(f"lesionwise {SEGMENT}\n")

    def platform(folder, *limits):
        """docker run --entrypoint=/bin/sh --rm -v W:W -w W IMAGE:TAG command-line.sh"""  # noqa: D403
        work = folders[folder]
        image.run([*limits, "--entrypoint=/bin/sh", "-v", f"{work}:{work}", "-w", work], ["command-line.sh"])

    limits = ["--cpus", "1", "-m", "3g", "--network", "none", "--user", "54321:54321"]
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(platform, "platform"),
            pool.submit(platform, "limited", *limits),
            pool.submit(outside, folders["outside"], SEGMENT),
        ]
        for run in runs:
            run.result()
    masks = {name: voxels(folder / "segmentation.nii.gz") for name, folder in folders.items()}
    assert masks["outside"].any()
    assert np.array_equal(masks["platform"], masks["outside"])
    assert np.array_equal(masks["limited"], masks["outside"])
