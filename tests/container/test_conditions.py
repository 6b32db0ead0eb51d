"""The image gives, under every condition that a platform may impose, the mask that the program gives outside.

A made-up case and a small network keep each start to seconds, and conditions that do not exclude each other share one.
"""

import pytest
from engine import SEGMENT, writable_copy

pytestmark = pytest.mark.container

UNKNOWN_USER = ["--user", "54321:54321"]
CONDITIONS = {
    "as it is": [],
    "unknown user, home is the root folder, no network": [*UNKNOWN_USER, "-e", "HOME=/", "--network", "none"],
    "64 MB of shared memory, 3 GB, one CPU, no GPU to be seen": [
        *("--shm-size", "64m"),
        *("-m", "3g"),
        *("--cpus", "1"),
        *("-e", "CUDA_VISIBLE_DEVICES="),
    ],
}


@pytest.fixture
def workdir(small_case, tmp_path):
    """Return a copy of the case in a folder that any user may write to; its name has spaces."""
    return writable_copy(small_case, tmp_path / "a folder with spaces")


def assert_same_mask(folder):
    assert (folder / "mask.nii.gz").read_bytes() == (folder / "expected.nii.gz").read_bytes()


@pytest.mark.parametrize("condition", CONDITIONS)
def test_same_mask_under(condition, image, workdir):
    image.run([*CONDITIONS[condition], "-v", f"{workdir}:/data", "-w", "/data"], SEGMENT.split())
    assert_same_mask(workdir)


def test_same_mask_where_only_the_output_can_be_written(image, workdir, small_case):
    options = [*image.read_only, "-v", f"{small_case}:/data:ro", "-v", f"{workdir}:/out", "-w", "/data"]
    image.run(options, SEGMENT.replace("mask.nii.gz", "/out/mask.nii.gz", 1).split())
    assert_same_mask(workdir)


def test_same_mask_under_everything_at_once(image, workdir):
    """Started by a shell without HOME in a folder that is none of its own."""
    options = [*image.read_only, *UNKNOWN_USER, "--network", "none", "--shm-size", "64m", "-m", "3g"]
    script = f"unset HOME; cd /data && lesionwise {SEGMENT} --threads 0"
    mount = ["-v", f"{workdir}:/data", "-w", "/etc", "--entrypoint=/bin/sh"]
    image.run([*options, *mount], ["-c", script])
    assert_same_mask(workdir)


def test_same_mask_by_a_login_shell_in_a_folder_with_spaces(image, workdir):
    mount = ["-v", f"{workdir}:{workdir}", "-w", workdir, "--entrypoint=/bin/sh"]
    image.run(mount, ["-l", "-c", f"lesionwise {SEGMENT}"])
    assert_same_mask(workdir)


def test_errors_are_one_line_and_a_code(image, workdir):
    mount = ["-v", f"{workdir}:/data", "-w", "/data", *UNKNOWN_USER]
    missing = image.run(mount, SEGMENT.replace("time1", "nowhere").split(), check=False)
    assert missing.returncode == 3
    assert len(missing.stderr.strip().splitlines()) == 1
    assert "nowhere.nii.gz" in missing.stderr
    gpu = image.run(mount, [*SEGMENT.split(), "--device", "cuda"], check=False)
    assert gpu.returncode == 5, gpu.stderr
    assert not (workdir / "mask.nii.gz").exists()


def test_without_arguments_it_prints_help(image):
    assert image.run([], []).stdout.startswith("Usage: lesionwise")


def test_a_login_shell_finds_the_command(image):
    found = image.run(["--entrypoint=/bin/sh"], ["-lc", "command -v lesionwise"]).stdout
    assert found.strip() == "/usr/local/bin/lesionwise"
