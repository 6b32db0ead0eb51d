"""The published 3D U-Net that segments new lesions from two FLAIR time points.

Layers, widths and order follow Fig. 1 of the authors' companion paper for MSSEG-2 (7 071 386 parameters).
"""

import torch
from torch import Tensor, nn

PATCH_SIZE = 64
"""Edge of the cube of 1 mm voxels that the network was published for and is trained on, in voxels."""

DOWNSAMPLING = 8
"""Each axis of the input must be a multiple of this: three max-poolings halve it three times."""

GROUPS = 8
"""Of each group normalisation, as published."""


def convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return a 3x3x3 convolution that keeps the size, then a ReLU."""
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, kernel_size=3, padding=1), nn.ReLU(inplace=True)
    )


def normed_convolution(in_channels: int, out_channels: int, groups: int) -> nn.Sequential:
    """Return a group normalisation, then a convolution with its ReLU."""
    return nn.Sequential(nn.GroupNorm(groups, in_channels), *convolution(in_channels, out_channels))


def pooling(dropout: float) -> nn.Sequential:
    """Return a max-pooling that halves each axis, then the dropout that follows it."""
    return nn.Sequential(nn.MaxPool3d(2), nn.Dropout(dropout))


class Decoder(nn.Module):
    """Double the size (trilinear), join the skip connection, normalise, convolve."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        """Take the channels of the coarse input and the skip connection together as `in_channels`."""
        super().__init__()
        self.upsample = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
        self.convolution = normed_convolution(in_channels, out_channels, groups)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Return (N, out_channels, x, y, z) of the skip connection's size."""
        joined: Tensor = self.convolution(torch.cat([self.upsample(coarse), skip], dim=1))
        return joined


class UNet(nn.Module):
    """The published segmentation network: (N, 2, x, y, z) time 1 and time 2 -> (N, 2, x, y, z) logits.

    Output channel 1 is "new lesion", channel 0 everything else; a softmax over the channels gives
    probabilities. Each axis must be a multiple of 8; the network was published for 64.
    `width` 24, `groups` 8 and `dropout` 0.5 are the published values; a smaller width (a multiple of
    `groups`) makes a quick network for tests.
    """

    def __init__(self, width: int = 24, groups: int = GROUPS, dropout: float = 0.5) -> None:
        super().__init__()
        w = width
        self.encoder1 = nn.Sequential(
            *convolution(2, w),
            *normed_convolution(w, 2 * w, groups),
        )
        self.encoder2 = nn.Sequential(
            *pooling(dropout),
            *normed_convolution(2 * w, 2 * w, groups),
            *normed_convolution(2 * w, 4 * w, groups),
        )
        self.encoder3 = nn.Sequential(
            *pooling(dropout),
            *normed_convolution(4 * w, 4 * w, groups),
            *normed_convolution(4 * w, 8 * w, groups),
        )
        self.bottleneck = nn.Sequential(
            *pooling(dropout),
            *normed_convolution(8 * w, 16 * w, groups),
        )
        self.decoder3 = Decoder(16 * w + 8 * w, 8 * w, groups)
        self.decoder2 = Decoder(8 * w + 4 * w, 4 * w, groups)
        self.decoder1 = Decoder(4 * w + 2 * w, 4 * w, groups)
        self.head = nn.Conv3d(4 * w, 2, kernel_size=3, padding=1)

    def forward(self, pair: Tensor) -> Tensor:
        """Return the logits (N, 2, x, y, z) for time points stacked as (N, 2, x, y, z)."""
        fine = self.encoder1(pair)
        middle = self.encoder2(fine)
        coarse = self.encoder3(middle)
        x = self.bottleneck(coarse)
        x = self.decoder3(x, coarse)
        x = self.decoder2(x, middle)
        x = self.decoder1(x, fine)
        logits: Tensor = self.head(x)
        return logits
