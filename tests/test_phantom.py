"""Phantoms: whole heads that the program takes for scans, in the challenge's folders, the same for the same seed."""

import json

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from small_anatomy import small_anatomy

from lesionwise.commands.phantom import command
from lesionwise.errors import InputError, UsageError
from lesionwise.simulation import phantom as phantom_module
from lesionwise.simulation import phantom_files
from lesionwise.simulation.anatomy import Anatomy
from lesionwise.simulation.phantom import (
    MARGIN_VOXELS,
    brain_of_plausible_size,
    coil_shading,
    make_phantom,
    whole_head,
)
from lesionwise.simulation.phantom_files import case_folders, write_case
from lesionwise.volume import check_same_grid, read_mask, read_volume

FILES = [
    "flair_time01_on_middle_space.nii.gz",
    "flair_time02_on_middle_space.nii.gz",
    "ground_truth.nii.gz",
    "phantom.json",
]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def small_heads(monkeypatch):
    """Make phantoms of the small anatomy: seconds instead of half a minute."""
    monkeypatch.setattr(phantom_module, "brain_of_plausible_size", lambda rng: small_anatomy())


@pytest.fixture(scope="module")
def made():
    """Return case 1 of series 1, of the small anatomy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom_module, "brain_of_plausible_size", lambda rng: small_anatomy())
        return make_phantom(seed=1, number=1)


def test_a_head_has_fluid_skull_and_scalp_around_an_unchanged_brain_and_air_beyond():
    head = whole_head(small_anatomy(), np.random.default_rng(1))
    assert head.flair.shape == tuple(
        39 + 2 * MARGIN_VOXELS - 1 for _ in range(3)
    )  # the ball is 38 voxels wide
    middle = head.flair.shape[0] // 2
    assert head.flair[middle, middle, middle] == pytest.approx(1.0, abs=1e-3)
    assert not head.flair[:3].any()
    edge = MARGIN_VOXELS  # the ball's first voxel
    ray = head.flair[: edge + 2, middle, middle]
    scalp = ray.argmax()
    assert ray[scalp] > 0.4
    assert ray[scalp:edge].min() < 0.35  # skull and fluid between scalp and brain
    assert head.brain.sum() == small_anatomy().brain.sum()


def test_a_brain_larger_than_any_is_drawn_again(monkeypatch):
    """The brain extraction would refuse the case: made to try the program out, it must not fail."""
    drawn = []

    def cube(rng):
        brain = np.ones([140, 110][len(drawn) :][:1] * 3, dtype=bool)  # 2744 ml, then 1331
        drawn.append(Anatomy(**dict.fromkeys(Anatomy.__dataclass_fields__, brain)))
        return drawn[-1]

    monkeypatch.setattr(phantom_module, "random_anatomy", cube)
    assert brain_of_plausible_size(np.random.default_rng(1)) is drawn[1]


def test_coil_shading_has_the_asked_strength_and_is_smooth():
    shading = coil_shading((40, 50, 30), np.random.default_rng(2), 0.15)
    log = np.log(shading)
    assert log.mean() == pytest.approx(0, abs=1e-5)
    assert log.std() == pytest.approx(0.15, rel=1e-4)
    # A quadratic polynomial: its third differences are 0.
    assert np.abs(np.diff(log, n=3, axis=1)).max() < 1e-5


def test_a_phantom_looks_like_a_scan(made):
    assert made.time1.dtype == made.time2.dtype == np.int16
    assert made.time1.shape == made.time2.shape == made.new_lesions.shape == made.brain.shape
    for time, drawn in ((made.time1, made.drawn["time1"]), (made.time2, made.drawn["time2"])):
        assert time.min() >= 0
        assert 100 < np.median(time[made.brain]) < 900
        air = time[:4]
        assert 0 < air.mean() < 0.1 * drawn["white_matter_level"]
        assert air.std() > 0
        assert drawn["slice_thickness_mm"] <= 1.2
        assert drawn["missing_voxels"] == 0
    assert not (made.new_lesions & ~made.brain).any()
    assert sum(made.drawn["new_lesion_volumes_mm3"]) == made.new_lesions.sum() > 0
    assert min(made.drawn["new_lesion_volumes_mm3"]) > 3


def test_the_same_seed_and_number_make_the_same_case_and_others_do_not(made, small_heads):
    again, next_case, other_series = (make_phantom(seed, number) for seed, number in ((1, 1), (1, 2), (2, 1)))
    np.testing.assert_array_equal(made.time2, again.time2)
    assert made.drawn == again.drawn
    assert (made.time2 != next_case.time2).any()
    assert (made.time2 != other_series.time2).any()


def test_unchanged_cases_have_an_empty_truth_on_request(small_heads):
    unchanged = make_phantom(seed=1, number=1, unchanged_share=1.0)
    assert not unchanged.new_lesions.any()
    assert unchanged.drawn["new_lesion_volumes_mm3"] == []


def test_too_small_lesions_are_drawn_again_until_the_truth_shows_one(small_heads, monkeypatch):
    pairs = []

    def first_without_truth(*arguments, **options):
        pair = simulate_pair(*arguments, **options)
        if not pairs:
            pair.new_lesions[:] = False
        pairs.append(pair)
        return pair

    simulate_pair = phantom_module.simulate_pair
    monkeypatch.setattr(phantom_module, "simulate_pair", first_without_truth)
    assert make_phantom(seed=3, number=1).new_lesions.any()
    assert len(pairs) == 2


def test_files_are_the_challenges_and_the_program_reads_them(made, tmp_path):
    write_case(tmp_path / "case", made)
    assert names(tmp_path / "case") == FILES
    time1, time2 = (read_volume(tmp_path / "case" / name) for name in FILES[:2])
    truth = read_mask(tmp_path / "case" / FILES[2])
    check_same_grid(time1, time2)
    check_same_grid(time1, truth)
    np.testing.assert_array_equal(time2.data, made.time2)
    np.testing.assert_array_equal(truth.data, made.new_lesions)
    assert time1.axis_codes == "RAS"
    assert time1.spacing_mm == (1.0, 1.0, 1.0)
    assert time1.states_orientation
    middle = (np.array(time1.data.shape) - 1) / 2
    np.testing.assert_allclose(nib.affines.apply_affine(time1.affine, middle), 0)
    drawn = json.loads((tmp_path / "case" / FILES[3]).read_text())
    assert drawn["seed"] == 1
    assert drawn["time1"]["noise"] == made.drawn["time1"]["noise"]


def test_the_command_writes_the_same_bytes_again_and_case_2_whatever_their_number(small_heads, tmp_path):
    for name, cases in (("first", "2"), ("second", "3")):
        done = CliRunner().invoke(command, [str(tmp_path / name), "--cases", cases, "--seed", "4", "--quiet"])
        assert done.exit_code == 0, done.exception
        assert done.output == ""
    assert names(tmp_path / "first") == ["patient001", "patient002"]
    assert names(tmp_path / "second") == ["patient001", "patient002", "patient003"]
    for case in ("patient001", "patient002"):
        for file in FILES:
            first, second = ((tmp_path / name / case / file).read_bytes() for name in ("first", "second"))
            assert first == second, f"{case}/{file}"


def test_a_case_that_is_there_is_refused_before_any_work_and_replaced_with_force(small_heads, tmp_path):
    (tmp_path / "patient002").mkdir()
    for name in ("mine.txt", "phantom.json"):
        (tmp_path / "patient002" / name).write_text("keep")
    done = CliRunner().invoke(command, [str(tmp_path), "--cases", "2", "-q"])
    assert isinstance(done.exception, UsageError)
    assert "patient002" in str(done.exception)
    assert "--force" in str(done.exception)
    assert names(tmp_path) == ["patient002"]
    assert CliRunner().invoke(command, [str(tmp_path), "--cases", "2", "-q", "--force"]).exit_code == 0
    assert names(tmp_path / "patient002") == sorted([*FILES, "mine.txt"])


def test_after_an_interruption_the_same_command_goes_on(made, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(phantom_files, "write_nifti", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_case(tmp_path / "out" / "patient001", made)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out" / "patient001").mkdir(parents=True)  # what a process that is killed outright leaves
    (tmp_path / "out" / "patient001" / f".{FILES[0]}.0123abcd.part").touch()
    (folder,) = case_folders(tmp_path / "out", 1)
    write_case(folder, made)
    assert names(folder) == FILES


def test_a_real_patient_is_never_replaced(tmp_path):
    scan = tmp_path / "patient002" / FILES[0]
    scan.parent.mkdir()
    scan.write_text("a scan")
    for more in ((), ("--force",)):
        done = CliRunner().invoke(command, [str(tmp_path), "--cases", "2", "-q", *more])
        assert isinstance(done.exception, UsageError)
        assert "patient002: this is no phantom" in str(done.exception)
        assert "--force" not in str(done.exception)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [scan]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="this is a file"):
        case_folders(tmp_path / "file", 1)


def test_a_folder_that_cannot_be_made_is_an_input_error(made, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        write_case(tmp_path / "file" / "below" / "patient001", made)


@pytest.mark.parametrize("taken", ["file", "folder"])
def test_where_nothing_can_be_written_nothing_is_computed(tmp_path, monkeypatch, taken):
    monkeypatch.setattr(phantom_module, "make_phantom", lambda *_: pytest.fail("not to be made"))
    if taken == "file":
        done = CliRunner().invoke(command, ["/proc/phantoms", "-q"])  # where root may not write either
    else:
        (tmp_path / "patient001" / FILES[1]).mkdir(parents=True)
        (tmp_path / "patient001" / "phantom.json").touch()
        done = CliRunner().invoke(command, [str(tmp_path), "-q", "--force"])
    assert isinstance(done.exception, InputError), done.exception


@pytest.mark.slow
def test_the_brain_of_a_whole_head_from_the_template_is_found():
    from lesionwise.preprocessing.brain_extraction import extract_brain, gate_brain_masks

    made = make_phantom(seed=1, number=1)
    masks = [
        extract_brain(time.astype(np.float32), made.affine, threads=2) for time in (made.time1, made.time2)
    ]
    union = gate_brain_masks(*masks, voxel_volume_mm3=1.0)
    assert 2 * (union & made.brain).sum() / (union.sum() + made.brain.sum()) > 0.95
    assert (union & made.new_lesions).sum() > 0.99 * made.new_lesions.sum()
