"""The network exported to other inference engines, beside the way in use: `make bench-exported`.

All compute one block with one thread, each in the fastest number type that it has for this processor's convolutions:
OpenVINO and AOTInductor (which needs a C++ compiler) in bfloat16 where the way in use does, ONNX Runtime in float32.
"""

import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import torch
from torch import Tensor

from benchmarks.table import beside_the_first, cpu_seconds_in_turn
from lesionwise.devices import choose_precision
from lesionwise.inference import network_runner
from lesionwise.network import UNet

EDGE = 64
REPEATS = 3

Way = Callable[[], Tensor]


class Probability(torch.nn.Module):
    """The network as engines see it: a block (1, 2, x, y, z) -> probability of new lesion (1, x, y, z)."""

    def __init__(self, network: UNet) -> None:
        """Take the network that gives the logits."""
        super().__init__()
        self.network = network

    def forward(self, block: Tensor) -> Tensor:
        """Return the probability, float32."""
        return torch.softmax(self.network(block).float(), dim=1)[:, 1]


def main() -> None:
    """Print CPU seconds of each way by those of the way in use, and how far its probabilities are from float32's."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    kind = choose_precision("auto", cpu)
    network, block = UNet().eval(), torch.randn(1, 2, EDGE, EDGE, EDGE)
    whole = Probability(network).eval()
    with torch.inference_mode():
        exact = whole(block)
    in_use = network_runner(deepcopy(network), cpu, kind)  # which may change the network that it is given
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Way] = {
            "in use": lambda: in_use(block),
            "AOTInductor": ahead_of_time(whole, block, kind, Path(folder) / "network.pt2"),
            "OpenVINO": with_openvino(whole, block, kind),
            "ONNX Runtime, float32": with_onnx_runtime(whole, block, Path(folder) / "network.onnx"),
            "as it stands, float32": lambda: plainly(whole, block),
        }
        # Each way is prepared by this before it is timed.
        errors = [float((way() - exact).abs().max()) for way in ways.values()]
        seconds = cpu_seconds_in_turn(*ways.values(), repeats=REPEATS)
    for line, error in zip(beside_the_first(ways, seconds), errors, strict=True):
        print(f"{line}, error {error:.4f}")


def plainly(whole: torch.nn.Module, block: Tensor) -> Tensor:
    """Compute with torch, without anything of this project's."""
    with torch.inference_mode():
        probability: Tensor = whole(block)
    return probability


def ahead_of_time(whole: Probability, block: Tensor, kind: torch.dtype, package: Path) -> Way:
    """Return the graph compiled ahead of time by AOTInductor, channels last."""
    last = torch.channels_last_3d
    model: torch.nn.Module = deepcopy(whole)
    model.to(kind, memory_format=last)  # type: ignore[call-overload]  # missing in torch's stubs
    example = block.to(kind, memory_format=last)
    with torch.inference_mode():
        exported = torch.export.export(model, (example,))
    torch._inductor.aoti_compile_and_package(exported, package_path=str(package))
    compiled = torch._inductor.aoti_load_package(str(package))
    return lambda: compiled(example)


def with_openvino(whole: Probability, block: Tensor, kind: torch.dtype) -> Way:
    """Return the graph in OpenVINO."""
    hints = {
        "INFERENCE_NUM_THREADS": 1,
        "INFERENCE_PRECISION_HINT": "f32" if kind == torch.float32 else "bf16",
    }
    model = openvino.convert_model(whole, example_input=block)
    compiled = openvino.compile_model(model, "CPU", hints)
    return lambda: torch.from_numpy(np.asarray(compiled(block.numpy())[0]))


def with_onnx_runtime(whole: Probability, block: Tensor, file: Path) -> Way:
    """Return the graph in ONNX Runtime, by torch's older exporter, which needs no package more than onnx."""
    torch.onnx.export(whole, (block,), file, dynamo=False, input_names=["block"], opset_version=18)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda: torch.from_numpy(session.run(None, {"block": block.numpy()})[0])


if __name__ == "__main__":
    main()
