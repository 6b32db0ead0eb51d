"""Findings that were looked at: which of the lesions found are left out of the score, by hand."""

import numpy as np
import pytest

from lesionwise.errors import InputError
from train.reviewed_findings import Finding, read_findings, without_reviewed

AFFINE = np.diag([2.0, 2, 2, 1])
SPACING_MM = (2.0, 2.0, 2.0)


def cube(start):
    mask = np.zeros((20, 20, 20), bool)
    mask[tuple(slice(start, start + 2) for _ in range(3))] = True
    return mask


@pytest.mark.parametrize(
    ("place_mm", "left_out"),
    [
        ((20.0, 20, 20), True),  # voxel 10, in the lesion
        ((23.0, 22, 22), True),  # 1 mm beside it
        ((28.0, 22, 22), False),  # 6 mm beside it
    ],
)
def test_a_false_lesion_near_a_finding_is_left_out(place_mm, left_out):
    other, false = cube(2), cube(10)
    kept = without_reviewed(other | false, other, AFFINE, SPACING_MM, [Finding("p", place_mm, "bright")])
    assert np.array_equal(kept, other if left_out else other | false)


def test_a_lesion_that_the_reference_confirms_stays():
    lesion = cube(10)
    kept = without_reviewed(lesion, lesion, AFFINE, SPACING_MM, [Finding("p", (20.0, 20, 20), "bright")])
    assert np.array_equal(kept, lesion)


def test_a_table_is_read_and_another_file_is_refused_in_words(tmp_path):
    table = tmp_path / "findings.csv"
    table.write_text('patient,x_mm,y_mm,z_mm,finding\np1,-1.5,2,3,"bright, round"\n')
    assert read_findings(table) == [Finding("p1", (-1.5, 2.0, 3.0), "bright, round")]
    table.write_text("patient,x_mm\np1,1\n")
    with pytest.raises(InputError, match="needs the columns patient"):
        read_findings(table)
