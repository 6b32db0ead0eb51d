"""3x3x3 convolutions with an eighth of the multiplications: Winograd's F(4, 3) along each axis.

Source: Lavin and Gray 2016, "Fast algorithms for convolutional neural networks", CVPR, carried over to three axes. Used
on processors that have no fast bfloat16, in float32: the result differs from a direct convolution by about 1e-4 of its
standard deviation, from rounding alone.
"""

from lesionwise.winograd.convolution import WinogradConv3d, accelerate

__all__ = ["WinogradConv3d", "accelerate"]
