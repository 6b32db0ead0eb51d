"""Draw a synthetic case as README shows it: time 1, time 2 and the truth, in the slice with the most new lesion.

    lesionwise phantom /tmp/cases --cases 2 --seed 1
    python docs/images/example_case.py /tmp/cases/patient002 docs/images/example_case.png

For phantoms only: no picture of a patient belongs in the repository.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from lesionwise.challenge_layout import GROUND_TRUTH, TIME1, TIME2
from lesionwise.volume import read_mask, read_volume


def main(case: Path, picture: Path) -> None:
    """Write the picture of a phantom's folder."""
    if not (case / "phantom.json").is_file():
        sys.exit(f"{case}: this is no phantom's folder; make one with lesionwise phantom")
    time1, time2 = (read_volume(case / name).data for name in (TIME1, TIME2))
    truth = read_mask(case / GROUND_TRUTH).data
    level = int(truth.sum(axis=(0, 1)).argmax())

    view = (slice(8, -8), slice(8, -8), level)  # some of the air around the head cut away

    figure, axes = plt.subplots(1, 3, figsize=(9, 3.85), facecolor="black")
    for axis, image, title in zip(
        axes, (time1, time2, time2), ("time 1", "time 2", "time 2, new lesions"), strict=True
    ):
        axis.imshow(image[view].T, cmap="gray", origin="lower", vmax=np.quantile(image, 0.998))
        axis.set_title(title, color="white", fontsize=10)
        axis.axis("off")
    axes[2].contour(truth[view].T.astype(float), [0.5], colors="red", linewidths=1)
    figure.subplots_adjust(0, 0, 1, 0.92, wspace=0.01)
    figure.savefig(picture, dpi=80, facecolor="black")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
