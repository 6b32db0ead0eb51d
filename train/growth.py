"""A narrow network made into a wider one that computes the same: most of a training then costs a fraction.

After Net2WiderNet (Chen, Goodfellow, Shlens, arXiv 1511.05641). Each channel is copied, its copies side by side, so that the
groups of a group normalisation hold the same channels as before; what reads the copies takes each one's share. Dropout and a
little noise let the copies grow apart when training goes on.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lesionwise.errors import UsageError
from lesionwise.network import UNet


def grown(
    parameters: Mapping[str, Tensor], network: UNet, noise: float = 0.0, seed: int = 0
) -> dict[str, Tensor]:
    """Return the parameters of a narrower U-Net widened to those of `network`.

    Args:
        parameters: a state of a `UNet` with the same groups, of a width that divides the network's.
        network: only the shapes of its parameters are read.
        noise: standard deviation of what is added to each kernel, relative to the kernel's own.
        seed: of that noise.

    Raises:
        UsageError: the parameters do not fit: another network's, or a width that does not divide this one's.
    """
    wide = network.state_dict()
    if parameters.keys() != wide.keys():
        raise UsageError("the parameters to start from are not those of this network")
    generator = torch.Generator().manual_seed(seed)
    result = {}
    for name, narrow in parameters.items():
        value = narrow.float()
        for axis, (now, wanted) in enumerate(zip(value.shape, wide[name].shape, strict=True)):
            if wanted % now:
                raise UsageError(f"{name}: {now} channels cannot be grown to {wanted}; only to a multiple")
            copies = wanted // now
            value = value.repeat_interleave(copies, dim=axis)
            if axis == 1:  # the inputs of a convolution: each copy is read with its share
                value = value / copies
        if noise and value.ndim > 1 and value.shape != narrow.shape:
            value = value + noise * value.std() * torch.randn(value.shape, generator=generator)
        result[name] = value
    return result
