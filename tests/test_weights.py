"""Weights are used only where they are the bytes, the tensors and the network that their manifest names."""

import json

import numpy as np
import pytest
import torch
from closed_folder import close
from safetensors.torch import load_file, save_file
from small_case import write_weights

from lesionwise import weights as module
from lesionwise.errors import WeightsError
from lesionwise.lesions import OperatingPoint
from lesionwise.network import UNet
from lesionwise.weights import find_weights, load_weights, save_weights


@pytest.fixture
def folder(tmp_path):
    return write_weights(tmp_path / "weights")


def rewrite(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_round_trip_keeps_the_weights_to_half_precision(tmp_path):
    network = UNet(width=8)
    save_weights(
        tmp_path, network, width=8, groups=8, point=OperatingPoint(0.4, 0.9), facts={"commit": "abc"}
    )
    loaded = load_weights(tmp_path)
    assert loaded.operating_point == OperatingPoint(0.4, 0.9)
    assert loaded.manifest["commit"] == "abc"
    assert not loaded.network.training
    for name, tensor in loaded.network.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, network.state_dict()[name], rtol=2**-10, atol=1e-6)


def test_any_changed_byte_is_refused(folder):
    path = folder / "segmentation.safetensors"
    content = path.read_bytes()
    for position in (0, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(WeightsError, match="not the bytes"):
            load_weights(folder)


def test_a_missing_or_broken_file_is_refused(folder):
    (folder / "segmentation.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        load_weights(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(WeightsError, match="JSON"):
        load_weights(folder)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"file": ' * 200_000])
def test_a_manifest_nested_without_end_is_refused(folder, text):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(WeightsError, match=r"manifest\.json: cannot be read as JSON"):
        load_weights(folder)


def test_a_certainty_of_none_may_be_written_without_a_point(folder):
    rewrite(folder, certainty=0)
    assert load_weights(folder).operating_point == OperatingPoint(0.5, 0.0)


@pytest.mark.parametrize("environment", [False, True])
def test_a_folder_that_cannot_be_looked_into_is_refused(folder, monkeypatch, environment):
    close(monkeypatch, folder)
    monkeypatch.setenv("LESIONWISE_WEIGHTS", str(folder) if environment else "")
    with pytest.raises(WeightsError, match=r"weights: cannot be looked into \(Permission denied\)"):
        find_weights(None if environment else folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../elsewhere.safetensors"},
        {"sha256": None},
        {"threshold": 0.0},
        {"certainty": 1.0},
        {"certainty": "0.9"},
        {"certainty": None},
        {"certainty": False},
        {"certainty": 1},
        {"threshold": 1},
        {"certainty": float("nan")},
        {"threshold": 1.5},
        {"threshold": float("nan")},
        {"architecture": {"name": "UNet", "in_channels": 2, "width": 10, "groups": 8}},
        {"architecture": {"name": "UNet", "in_channels": 2, "width": 10**9, "groups": 1}},
        {"architecture": {"name": "Other", "in_channels": 2, "width": 8, "groups": 8}},
        {"architecture": {"name": "UNet", "in_channels": 3, "width": 8, "groups": 8}},
        {"architecture": {}},
    ],
)
def test_impossible_manifests_are_refused(folder, changes):
    rewrite(folder, **changes)
    with pytest.raises(WeightsError, match="impossible value"):
        load_weights(folder)


@pytest.mark.parametrize("trouble", ["missing", "extra", "shape", "integers", "nan"])
def test_tensors_that_are_not_the_networks_are_refused(folder, trouble):
    import hashlib

    path = folder / "segmentation.safetensors"
    tensors = load_file(path)
    if trouble == "missing":
        del tensors["head.bias"]
    elif trouble == "extra":
        tensors["more"] = torch.zeros(1)
    elif trouble == "shape":
        tensors["head.bias"] = torch.zeros(3)
    elif trouble == "integers":
        tensors["head.bias"] = torch.zeros(2, dtype=torch.int32)
    else:
        tensors["head.bias"] = torch.tensor([0, np.nan])
    save_file(tensors, path)
    rewrite(folder, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(WeightsError, match="not the tensors") as caught:
        load_weights(folder)
    assert "\n" not in str(caught.value)


def test_a_named_folder_counts_before_the_environment_and_both_before_the_installed_ones(
    tmp_path, monkeypatch
):
    named, environment, repository, container = (
        write_weights(tmp_path / name) for name in ("named", "environment", "repository", "container")
    )
    monkeypatch.setattr(module, "REPOSITORY_FOLDER", repository)
    monkeypatch.setattr(module, "CONTAINER_FOLDER", container)
    monkeypatch.setenv("LESIONWISE_WEIGHTS", str(environment))
    assert find_weights(named) == named
    assert find_weights() == environment
    monkeypatch.setenv("LESIONWISE_WEIGHTS", "")
    assert find_weights() == repository
    (repository / "manifest.json").unlink()
    assert find_weights() == container
    (container / "manifest.json").unlink()
    with pytest.raises(WeightsError, match="--weights"):
        find_weights()


def test_a_named_folder_without_weights_is_not_replaced_by_another(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match=r"manifest\.json"):
        find_weights(tmp_path)
    monkeypatch.setenv("LESIONWISE_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"manifest\.json"):
        find_weights()


def test_the_shipped_weights_are_the_published_network():
    if not (module.REPOSITORY_FOLDER / "manifest.json").is_file():
        pytest.skip("the repository holds no trained weights yet")
    shipped = load_weights(module.REPOSITORY_FOLDER)
    assert sum(p.numel() for p in shipped.network.parameters()) == 7_071_386
    assert (module.REPOSITORY_FOLDER / shipped.manifest["file"]).stat().st_size <= 30e6
