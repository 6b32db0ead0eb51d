"""What goes to the platform beside the image agrees with the program: descriptors, model card, Dockerfile."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from lesionwise import errors
from lesionwise.commands.segment import command as segment

ROOT = Path(__file__).resolve().parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def descriptor(variant):
    return json.loads((ROOT / "docker" / f"boutiques-{variant}.json").read_text())


@pytest.mark.parametrize(
    ("variant", "image"), [("gpu", f"lesionwise:{VERSION}"), ("cpu", f"lesionwise:{VERSION}-cpu")]
)
def test_descriptors_name_this_version(variant, image):
    assert descriptor(variant)["tool-version"] == VERSION
    assert descriptor(variant)["container-image"]["image"] == image


def test_only_the_gpu_variant_asks_for_gpus():
    assert descriptor("gpu")["container-image"]["container-opts"] == ["--gpus", "all"]
    assert "container-opts" not in descriptor("cpu")["container-image"]


def test_the_variants_differ_in_nothing_else():
    gpu, cpu = descriptor("gpu"), descriptor("cpu")
    differing = {key for key in gpu if gpu[key] != cpu[key]}
    assert differing <= {"description", "container-image", "suggested-resources"}
    assert gpu.keys() == cpu.keys()


def test_error_codes_are_the_programs():
    types = (error for error in vars(errors).values() if isinstance(error, type))
    ours = {error.exit_code for error in types if issubclass(error, errors.LesionwiseError)}
    assert {error["code"] for error in descriptor("cpu")["error-codes"]} == ours


def test_the_command_line_uses_options_that_segment_has():
    options = {name for parameter in segment.params for name in parameter.opts}
    flags = [
        entry["command-line-flag"] for entry in descriptor("cpu")["inputs"] if "command-line-flag" in entry
    ]
    used = re.findall(r"(?<= )-\w+", descriptor("cpu")["command-line"]) + flags
    assert used == ["-t1", "-t2", "-o", "--threads"]
    assert set(used) <= options


def test_the_challenges_names_are_kept():
    inputs = {entry["id"]: (entry["type"], entry["value-key"]) for entry in descriptor("cpu")["inputs"]}
    assert inputs["flair_time01"] == ("File", "[FLAIR1]")
    assert inputs["flair_time02"] == ("File", "[FLAIR2]")
    assert inputs["output_segmentation"] == ("String", "[SEGMENTATION]")
    [output] = descriptor("cpu")["output-files"]
    assert (output["id"], output["path-template"]) == ("segmentation", "[SEGMENTATION]")


def test_the_example_fits_the_descriptor():
    example = json.loads((ROOT / "docker" / "example-invocation.json").read_text())
    assert example.keys() == {entry["id"] for entry in descriptor("cpu")["inputs"] if not entry["optional"]}


def test_the_dockerfile_builds_with_any_builder():
    text = (ROOT / "Dockerfile").read_text()
    assert not re.search(r"^# *syntax=|<<|COPY .*--link|://", text, flags=re.MULTILINE)
