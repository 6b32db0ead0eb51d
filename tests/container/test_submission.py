"""`make submission` packs what a platform needs to run the image and a reviewer to judge it, whole and consistent."""

import hashlib
import json
import subprocess
import tarfile

import pytest
from engine import ROOT, packages_of_the_image

pytestmark = [pytest.mark.container, pytest.mark.slow]


@pytest.fixture(scope="module")
def submission(image, tmp_path_factory):
    """Return the folder of a submission of the image under test."""
    folder = tmp_path_factory.mktemp("submission")
    pack = [ROOT / "docker" / "pack_submission.sh", image.engine, image.name, "cpu", folder]
    packed = subprocess.run(pack, capture_output=True, text=True)
    assert packed.returncode == 0, packed.stderr
    return folder


def test_the_sums_name_every_file_and_are_right(submission, image):
    lines = (submission / "SHA256SUMS").read_text().splitlines()
    sums = dict(line.split("  ", 1)[::-1] for line in lines)
    assert sums.keys() == {path.name for path in submission.iterdir()} - {"SHA256SUMS"}
    assert sums.keys() == {
        f"{image.name.replace(':', '-')}.tar.gz", "boutiques-cpu.json", "boutiques-gpu.json", "example-invocation.json",
        "lesionwise.def", "model-card.md", "sbom.cdx.json", "LICENSE",
    }  # fmt: skip
    for name, expected in sums.items():
        with (submission / name).open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == expected


def test_the_archive_holds_the_image_by_its_name(submission, image):
    archive = submission / f"{image.name.replace(':', '-')}.tar.gz"
    with tarfile.open(archive, "r:gz") as members:
        [manifest] = json.load(members.extractfile("manifest.json"))
    assert [
        tag.removeprefix("localhost/").removeprefix("docker.io/library/") for tag in manifest["RepoTags"]
    ] == [image.name]
    assert f"From: {archive.name}" in (submission / "lesionwise.def").read_text()


def test_the_bill_of_materials_names_the_locked_versions(submission):
    bill = json.loads((submission / "sbom.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "lesionwise"
    held = {
        part["name"].lower().replace("_", "-"): part["version"].split("+")[0] for part in bill["components"]
    }
    held.pop("lesionwise", None)
    assert held == packages_of_the_image()
    assert all(part.get("licenses") for part in bill["components"])


def test_the_model_card_is_that_of_the_weights(submission):
    assert (submission / "model-card.md").read_bytes() == (ROOT / "weights" / "README.md").read_bytes()
