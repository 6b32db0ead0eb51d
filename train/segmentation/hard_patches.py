"""Of the patches drawn, those to train on: where most lesions are missed or false.

Online hard example mining (Shrivastava, Gupta, Girshick, CVPR 2016), by the metric that decides. From most patches a trained
network has little to learn, and a voxel-wise loss would choose those of large lesions, whose outlines nobody is sure of.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lesionwise.overlap import Mode
from train.metric_network.targets import patch_f1


@torch.no_grad()
def hardest(
    network: nn.Module,
    images: Tensor,
    truth: Tensor,
    kept: int,
    definition: Mode = "organisers",
) -> tuple[Tensor, Tensor]:
    """Return the `kept` of images (n, 2, x, y, z) and truth (n, x, y, z) with the lowest true lesion-wise F1 at 0.5.

    Where it is the same, the one with more cross-entropy comes first. The network looks at one patch after the other, in eval
    mode and without gradients.
    """
    was_training = network.training
    network.eval()
    ranks = []
    for image, mask in zip(images, truth, strict=True):
        logits = network(image[None].to(memory_format=torch.channels_last_3d)).float()
        found = logits.softmax(1)[0, 1] > 0.5
        f1 = patch_f1(found.cpu().numpy(), (mask > 0.5).cpu().numpy(), definition)
        # Not `losses.cross_entropy`, which is the mean over all processes: each chooses of its own.
        ranks.append((f1, -float(functional.cross_entropy(logits, mask[None].long()))))
    network.train(was_training)
    order = sorted(range(len(ranks)), key=ranks.__getitem__)[:kept]
    return images[order], truth[order]
