"""Memory that the network takes for each voxel of a volume: `python -m benchmarks.bench_network_memory` prints it in bytes.

Each run is a process of its own, whose peak the kernel keeps. What does not grow with the volume drops out: two volumes,
of which one is four times as wide, are compared.
"""

import json
import subprocess
import sys
from collections.abc import Iterator

import torch

from benchmarks.programs import peak_memory_bytes
from benchmarks.table import Row
from lesionwise.inference import network_runner
from lesionwise.network import UNet

SHAPES = ((144, 64, 96), (144, 256, 96))
"""As long as a brain along x, the axis of the slabs."""

PRECISIONS = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def rows() -> Iterator[Row]:
    """Compare the network as `segment` runs it with the same network as it stands."""
    ours, plain = bytes_per_voxel("bfloat16"), bytes_per_voxel("bfloat16", plain=True)
    yield Row("network: memory per voxel, as it stands against in slabs", plain / ours)


def bytes_per_voxel(precision: str, *, plain: bool = False) -> float:
    """Return how many bytes the peak grows by for each voxel more."""
    small, large = (_peak_bytes(shape, precision, plain) for shape in SHAPES)
    voxels = [shape[0] * shape[1] * shape[2] for shape in SHAPES]
    return (large - small) / (voxels[1] - voxels[0])


def _peak_bytes(shape: tuple[int, ...], precision: str, plain: bool) -> int:
    task = json.dumps({"shape": shape, "precision": precision, "plain": plain})
    printed = subprocess.run(
        [sys.executable, "-m", __spec__.name, task], check=True, capture_output=True, text=True
    ).stdout
    return int(printed)


def _measure(shape: tuple[int, ...], precision: str, plain: bool) -> int:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, kind, pair = UNet().eval(), PRECISIONS[precision], torch.randn(1, 2, *shape)
    if plain:
        with torch.inference_mode(), torch.autocast("cpu", kind, enabled=kind != torch.float32):
            network(pair)
    else:
        network_runner(network, torch.device("cpu"), kind)(pair)
    return peak_memory_bytes("self")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(_measure(**json.loads(sys.argv[1])))
    else:
        for name in PRECISIONS:
            print(f"{name}: {bytes_per_voxel(name):.0f} bytes per voxel in slabs")
