"""The image works under every condition that a platform may impose, with the mask that the program gives outside.

A made-up case and a small network keep each start to seconds; the platform's exact command line runs on real scans.
"""

import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_case import write_case, write_weights

pytestmark = pytest.mark.container

ROOT = Path(__file__).resolve().parents[2]
SEGMENT = "segment -t1 time1.nii.gz -t2 time2.nii.gz -o mask.nii.gz --brain-mask brain.nii.gz --weights weights --overlap 0"
REAL = (
    "-t1 flair_time01_on_middle_space.nii.gz -t2 flair_time02_on_middle_space.nii.gz -o segmentation.nii.gz"
)
LEFT_OUT = {"sympy", "mpmath", "networkx"}  # docker/slim.sh says why
CPU_IMAGE_LIMIT_BYTES = 1_300_000_000


@pytest.fixture(scope="session")
def case(tmp_path_factory):
    """Return a folder with a small case, weights, and `expected.nii.gz`: the mask made outside the container."""
    folder = tmp_path_factory.mktemp("case")
    write_case(folder)
    write_weights(folder / "weights")
    outside(folder, SEGMENT)
    (folder / "mask.nii.gz").rename(folder / "expected.nii.gz")
    assert voxels(folder / "expected.nii.gz").any()
    return folder


@pytest.fixture
def workdir(case, tmp_path):
    """Return a copy of the case in a folder that any user may write to; its name has spaces."""
    folder = tmp_path / "a folder with spaces"
    shutil.copytree(case, folder)
    folder.chmod(0o777)
    return folder


def outside(folder, arguments):
    """Run the program as it is installed beside the tests."""
    subprocess.run([sys.executable, "-m", "lesionwise.cli", *arguments.split()], cwd=folder, check=True)


def voxels(path):
    return np.asarray(nib.load(path).dataobj)


def assert_same_mask(folder):
    assert (folder / "mask.nii.gz").read_bytes() == (folder / "expected.nii.gz").read_bytes()


def shell(script):
    """Options and command that start a shell instead of the program, as the platform does."""
    return ["--entrypoint=/bin/sh"], ["-c", script]


CONDITIONS = {
    "as it is": [],
    "a user without a passwd line": ["--user", "54321:54321"],
    "home is the root folder": ["-e", "HOME=/"],
    "no network": ["--network", "none"],
    "shared memory of 64 MB": ["--shm-size", "64m"],
    "3 GB of memory": ["-m", "3g"],
    "one CPU": ["--cpus", "1"],
    "no visible GPU": ["-e", "CUDA_VISIBLE_DEVICES="],
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_same_mask_under(condition, image, workdir):
    image.run([*CONDITIONS[condition], "-v", f"{workdir}:/data", "-w", "/data"], SEGMENT.split())
    assert_same_mask(workdir)


def test_same_mask_where_only_the_output_can_be_written(image, workdir):
    inputs = workdir.with_name("inputs")
    shutil.copytree(workdir, inputs)
    options = [*image.read_only, "-v", f"{inputs}:/data:ro", "-v", f"{workdir}:/out", "-w", "/data"]
    image.run(options, SEGMENT.replace("mask.nii.gz", "/out/mask.nii.gz", 1).split())
    assert_same_mask(workdir)


def test_same_mask_under_everything_at_once(image, workdir):
    options = [
        *image.read_only,
        "--network",
        "none",
        "--shm-size",
        "64m",
        "-m",
        "3g",
        "--user",
        "54321:54321",
    ]
    entrypoint, command = shell(f"unset HOME; cd /data && lesionwise {SEGMENT} --threads 0")
    image.run([*options, *entrypoint, "-v", f"{workdir}:/data", "-w", "/etc"], command)
    assert_same_mask(workdir)


def test_same_mask_by_a_login_shell_in_a_folder_with_spaces(image, workdir):
    entrypoint, command = shell(f"lesionwise {SEGMENT}")
    image.run([*entrypoint, "-v", f"{workdir}:{workdir}", "-w", workdir], ["-l", *command])
    assert_same_mask(workdir)


def test_errors_are_one_line_and_a_code(image, workdir):
    mount = ["-v", f"{workdir}:/data", "-w", "/data", "--user", "54321:54321"]
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
    options, _ = shell("")
    assert image.run(options, ["-lc", "command -v lesionwise"]).stdout.strip() == "/usr/local/bin/lesionwise"


def test_it_holds_no_compiler_and_is_not_root(image):
    options, command = shell(
        "id -u; for tool in gcc cc g++ ld strip make git; do command -v $tool; done; true"
    )
    assert image.run(options, command).stdout.split() == ["10001"]


def test_it_holds_the_locked_versions(image):
    script = "from importlib.metadata import distributions as d; [print(i.name, i.version) for i in d()]"
    installed = dict(
        line.split()
        for line in image.run(["--entrypoint=/opt/venv/bin/python"], ["-Ic", script]).stdout.splitlines()
    )
    locks = "".join((ROOT / "requirements" / f"{name}.lock").read_text() for name in ("cpu", "data"))
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", locks, flags=re.MULTILINE))
    found = {name.lower().replace("_", "-"): version.split("+")[0] for name, version in installed.items()}
    assert found.pop("lesionwise") == image.name.split(":")[1].removesuffix("-cpu")
    assert found == {name: version for name, version in locked.items() if name not in LEFT_OUT}


def test_it_is_small_and_labelled(image):
    [described] = json.loads(image.docker("image", "inspect", image.name).stdout)
    assert described["Size"] <= CPU_IMAGE_LIMIT_BYTES
    labels = described["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == image.name.split(":")[1].removesuffix("-cpu")
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels["org.opencontainers.image.revision"])


def test_its_history_gives_nothing_away(image):
    history = image.docker(
        "history", "--no-trunc", "--format", "{{.CreatedBy}} {{.Comment}}", image.name
    ).stdout
    assert "lesionwise" in history
    assert not re.search(r"://|token|password|secret|index-url|trusted-host", history, flags=re.IGNORECASE)
    assert str(ROOT) not in history
    assert str(Path.home()) not in history


def test_a_changed_byte_in_the_weights_stops_the_build(image, tmp_path):
    context = tmp_path / "context"
    shutil.copytree(
        ROOT, context, copy_function=shutil.copy2, symlinks=True,
        ignore=lambda folder, names: {n for n in names if n.startswith(".git") or n in NOT_IN_CONTEXT or n.endswith(".whl")},
    )  # fmt: skip
    weights = context / "weights" / "segmentation.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    arguments = ["--target", "program", "--build-arg", "VARIANT=cpu", *image.build_arguments]
    built = image.docker("build", *arguments, str(context), check=False)
    assert built.returncode != 0
    assert "not the bytes that manifest.json names" in built.stdout + built.stderr


NOT_IN_CONTEXT = {".venv", "build", "demo", "dist", "runs"}


@pytest.mark.shared
@pytest.mark.slow
def test_the_platforms_command_line_on_a_real_pair(image, shared, tmp_path):
    """One CPU, 3 GB, no network, an unknown user, the shell as entry point: the mask made outside, voxel by voxel."""
    folders = [tmp_path / "inside", tmp_path / "outside"]
    for folder in folders:
        folder.mkdir()
        folder.chmod(0o777)
        for time in ("01", "02"):
            name = f"flair_time{time}_on_middle_space.nii.gz"
            shutil.copy(shared / "data" / "ljubljana" / "pairs" / "patient01" / name, folder / name)
    inside, beside = folders
    (inside / "command-line.sh").write_text(f"lesionwise segment {REAL}\n")
    limits = ["--cpus", "1", "-m", "3g", "--network", "none", "--user", "54321:54321"]
    platform = ["--entrypoint=/bin/sh", "-v", f"{inside}:{inside}", "-w", inside]
    with ThreadPoolExecutor() as pool:  # both at once, to save minutes
        expected = pool.submit(outside, beside, f"segment {REAL}")
        image.run([*limits, *platform], ["command-line.sh"])
        expected.result()
    assert np.array_equal(voxels(inside / "segmentation.nii.gz"), voxels(beside / "segmentation.nii.gz"))
    assert voxels(inside / "segmentation.nii.gz").any()
