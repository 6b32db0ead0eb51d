"""Each bad input ends with its code and one line that names the file, and leaves no output."""

import os
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_case import AFFINE, SHAPE, time_points, write_case, write_weights

from lesionwise import cli

FILES = ("time1.nii.gz", "time2.nii.gz", "brain.nii.gz")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    write_case(folder)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def case(tmp_path, sound, monkeypatch):
    """Copy a sound case into an empty folder, and work there."""
    for name in FILES:
        (tmp_path / name).write_bytes((sound / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def refused(case, capsys, weights):
    """Return a function that runs `segment`, and checks all that holds for every refusal."""

    def times_of_files():
        return {path: path.stat().st_mtime_ns for path in case.rglob("*") if path.is_file()}

    def run(*more, time1=FILES[0], time2=FILES[1], output="out.nii.gz", folder=weights):
        before = times_of_files()
        arguments = ["-t1", time1, "-t2", time2, "-o", output, "--weights", str(folder), "--device", "cpu"]
        with pytest.raises(SystemExit) as ended:
            cli.main(["segment", *map(str, arguments), "--quiet", *more])
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("lesionwise: ")
        assert captured.err.count("\n") == 1
        assert "Traceback" not in captured.err
        assert times_of_files() == before
        return ended.value.code, captured.err

    return run


def save(data, affine=AFFINE, name="time2.nii.gz"):
    nib.save(nib.Nifti1Image(data, affine, dtype=data.dtype), name)


TIME2 = Path("time2.nii.gz")


def missing():
    TIME2.unlink()


def not_fetched():
    # git-annex and DataLad leave such a link where a file's content is still to come
    TIME2.unlink()
    TIME2.symlink_to(".git/annex/objects/scan.nii.gz")


def folder():
    TIME2.unlink()
    TIME2.mkdir()


def empty():
    TIME2.write_bytes(b"")


def truncated():
    TIME2.write_bytes(TIME2.read_bytes()[:20_000])


def text():
    TIME2.write_text("not a scan at all\n" * 100)


def promises_too_much():
    header = nib.Nifti2Header()
    header.set_data_shape((10_000, 10_000, 10_000))
    TIME2.write_bytes(header.binaryblock + bytes(1000))


def with_one(value):
    data = time_points()[1]
    data[5, 5, 5] = value
    save(data)


def other_origin():
    affine = AFFINE.copy()
    affine[0, 3] += 1
    save(time_points()[1], affine)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (missing, "no such file"),
        (not_fetched, "no such file where this link leads; fetch it"),
        (folder, "folder"),
        (empty, "empty"),
        (truncated, "damaged or cut off"),
        (text, "not a NIfTI file"),
        (promises_too_much, "10000 x 10000 x 10000"),
        (lambda: save(time_points()[1][:, :, 0]), "2 axes"),
        (lambda: save(np.stack(time_points(), axis=-1)), "4 axes"),
        (lambda: with_one(np.nan), "not finite"),
        (lambda: with_one(np.inf), "not finite"),
        (lambda: save(np.zeros(SHAPE, np.int16)), "every voxel has the value 0"),
        (lambda: save(np.ones((10, 48, 40), np.int16)), "no size of a head"),
        (lambda: save(time_points()[1], np.diag([0.01, 0.01, 0.01, 1])), "no head scan"),
        (lambda: save(time_points()[1][:-1]), "time1.nii.gz and time2.nii.gz: the sizes differ"),
        (other_origin, "time1.nii.gz and time2.nii.gz: the geometry differs"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_bad_scan_is_refused_with_code_3(refused, spoil, words):
    spoil()
    code, err = refused("--brain-mask", FILES[2])
    assert code == 3
    assert words in err
    assert "time2.nii.gz" in err


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (".", r"must end in"),
        ("taken.nii.gz", "is a folder"),
        ("nowhere/out.nii.gz", "folder does not exist"),
        ("brain.nii.gz/out.nii.gz", "folder does not exist"),
        ("/proc/out.nii.gz", "cannot be written"),
        ("x" * 300 + ".nii.gz", "cannot be written"),
        ("out.png", "must end in"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(refused, output, words):
    Path("taken.nii.gz").mkdir()
    code, err = refused("--brain-mask", FILES[2], output=output)
    assert code == (2 if words == "must end in" else 3)
    assert words in err


@pytest.mark.parametrize("option", ["-t2", "--brain-mask"])
def test_a_file_without_permission_is_refused_with_code_3(refused, monkeypatch, option):
    def opened(path, *arguments):  # root may read everything
        if path.name == "closed.nii.gz":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments)

    real = Path.open
    TIME2.rename("closed.nii.gz")
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path).name != "closed.nii.gz")
    monkeypatch.setattr(Path, "open", opened)
    code, err = refused(option, "closed.nii.gz", time2="time1.nii.gz")
    assert (code, "closed.nii.gz: cannot be read (Permission denied)" in err) == (3, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(refused):
    Path("closed").mkdir(mode=0o500)
    code, err = refused("--brain-mask", FILES[2], output="closed/out.nii.gz")
    assert code == 3
    assert "Permission denied" in err


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_an_output_that_is_an_input_is_refused_also_by_a_link(refused, link):
    output = "time1.nii.gz"
    if link:
        output = "link.nii.gz"
        link("time1.nii.gz", output)
    for option in ("-o", "--json", "--probabilities"):
        code, err = refused("--brain-mask", FILES[2], option, output)
        assert code == 2
        assert "is the input time1.nii.gz" in err


def test_two_outputs_of_one_name_are_refused(refused):
    code, err = refused("--brain-mask", FILES[2], "--probabilities", "./out.nii.gz")
    assert code == 2
    assert "two outputs" in err


def test_a_brain_mask_must_fit_and_hold_a_brain(refused):
    save(np.zeros(SHAPE, np.uint8), name="none.nii.gz")
    assert refused("--brain-mask", "none.nii.gz")[0] == 3
    save(np.ones(SHAPE, np.uint8), np.diag([1, 1, 1.2, 1]), name="elsewhere.nii.gz")
    code, err = refused("--brain-mask", "elsewhere.nii.gz")
    assert code == 3
    assert "geometry differs" in err
    save(np.full(SHAPE, 0.4, np.float32), name="grey.nii.gz")
    assert "threshold it first" in refused("--brain-mask", "grey.nii.gz")[1]


def test_what_is_no_head_fails_the_gate_with_code_4(refused):
    rng = np.random.default_rng(0)
    for name in FILES[:2]:
        save(rng.integers(0, 100, SHAPE).astype(np.int16), name=name)
    code, err = refused()
    assert code == 4
    assert "--brain-mask" in err


def test_changed_weights_and_a_missing_gpu_give_code_5(refused, case, weights, monkeypatch):
    copy = case / "weights"
    copy.mkdir()
    for path in weights.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    tensors = copy / "segmentation.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\1")
    code, err = refused("--brain-mask", FILES[2], folder=copy)
    assert code == 5
    assert "not the bytes" in err
    assert refused("--brain-mask", FILES[2], folder=case / "nowhere")[0] == 5

    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, err = refused("--brain-mask", FILES[2], "--device", "cuda")
    assert code == 5
    assert "--device cpu" in err


def test_a_full_disk_at_the_end_leaves_no_output(refused, monkeypatch):
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 2:  # the two probes of the start, then the real outputs
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    code, err = refused("--brain-mask", FILES[2], "--no-denoise", "--json", "table.json")
    assert code == 3
    assert "No space left on device" in err
