"""The published network: its size, its shapes, and what it may not depend on."""

import pytest
import torch

from lesionwise.network import UNet


def test_parameter_count_is_the_published_one():
    assert sum(p.numel() for p in UNet().parameters()) == 7_071_386


def test_parameters_by_stage_worked_out_by_hand():
    def conv(i, o):
        return 27 * i * o + o

    def norm(c):
        return 2 * c

    by_hand = {
        "encoder1": conv(2, 24) + norm(24) + conv(24, 48),
        "encoder2": norm(48) + conv(48, 48) + norm(48) + conv(48, 96),
        "encoder3": norm(96) + conv(96, 96) + norm(96) + conv(96, 192),
        "bottleneck": norm(192) + conv(192, 384),
        "decoder3": norm(576) + conv(576, 192),
        "decoder2": norm(288) + conv(288, 96),
        "decoder1": norm(144) + conv(144, 96),
        "head": conv(96, 2),
    }
    counted = {name: sum(p.numel() for p in stage.parameters()) for name, stage in UNet().named_children()}
    assert counted == by_hand


@pytest.mark.parametrize("size", [(16, 16, 16), (8, 24, 16)])
def test_logits_have_the_size_of_the_input(size):
    network = UNet(width=8).eval()
    assert network(torch.randn(2, 2, *size)).shape == (2, 2, *size)


def test_cases_of_a_batch_do_not_influence_each_other():
    network = UNet(width=8).eval()
    pair = torch.randn(2, 2, 16, 16, 16)
    with torch.no_grad():
        together = network(pair)
        alone = network(pair[:1])
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)


def test_dropout_follows_each_of_the_three_poolings_only():
    dropouts = [m for m in UNet().modules() if isinstance(m, torch.nn.Dropout)]
    assert [d.p for d in dropouts] == [0.5, 0.5, 0.5]


def test_output_is_logits_not_probabilities():
    network = UNet(width=8).eval()
    torch.nn.init.constant_(network.head.bias, 5.0)
    with torch.no_grad():
        assert network(torch.zeros(1, 2, 8, 8, 8)).sum(dim=1).max() > 1.5
