"""Other ways to compute the network's costliest layer, timed beside the one in use: `python -m benchmarks.alternatives`.

The layer is the join before the last decoder's first convolution, normalised: 144 -> 96 channels, one slab of rows in the
number type that this processor is fast at. torch.compile needs a C++ compiler.
"""

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.table import beside_the_first, cpu_seconds_in_turn
from lesionwise.devices import choose_precision
from lesionwise.slabs import ROWS

COARSE, SKIP, OUT = 96, 48, 96
PLANE = (96, 96)
REPEATS = 3


def main() -> None:
    """Print CPU seconds of each way by those of the way in use."""
    kind = choose_precision("auto", torch.device("cpu"))
    torch.set_num_threads(1)
    torch.manual_seed(0)

    def random(*shape: int) -> Tensor:
        tensor = torch.randn(shape).to(kind)
        return tensor.contiguous(memory_format=torch.channels_last_3d) if len(shape) == 5 else tensor

    coarse, skip = (random(1, channels, ROWS + 2, *PLANE) for channels in (COARSE, SKIP))
    weight, bias = random(OUT, COARSE + SKIP, 3, 3, 3), random(OUT)
    scale, shift = (random(1, COARSE + SKIP, 1, 1, 1) for _ in range(2))
    of_coarse, of_skip = (
        part.contiguous(memory_format=torch.channels_last_3d)
        for part in torch.split(weight, [COARSE, SKIP], dim=1)
    )

    def convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.conv3d(x, weight, bias, padding=1)

    def in_use() -> Tensor:
        x = torch.addcmul(shift, torch.cat([coarse, skip], dim=1), scale)
        return torch.relu(convolved(x, weight, bias))

    def folded() -> (
        Tensor
    ):  # the factor in the weights; the summand, which the border of zeros forbids, is left out
        return torch.relu(convolved(torch.cat([coarse, skip], dim=1), weight * scale, bias))

    def two_convolutions() -> Tensor:
        a = torch.addcmul(shift[:, :COARSE], coarse, scale[:, :COARSE])
        b = torch.addcmul(shift[:, COARSE:], skip, scale[:, COARSE:])
        return torch.relu(convolved(a, of_coarse, bias) + convolved(b, of_skip, None))

    ways = {
        "in use: join, normalise, convolve, activate": in_use,
        "normalisation folded into the weights": folded,
        "two convolutions instead of the join": two_convolutions,
        "torch.compile of the way in use": torch.compile(in_use),
    }
    with torch.inference_mode():
        for way in ways.values():  # prepared, and compiled, before it is timed
            way()
        seconds = cpu_seconds_in_turn(*ways.values(), repeats=REPEATS)
    print(*beside_the_first(ways, seconds), sep="\n")


if __name__ == "__main__":
    main()
