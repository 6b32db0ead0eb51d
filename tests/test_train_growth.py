"""Growing a narrow network: the wide one computes the same."""

import pytest
import torch

from lesionwise.errors import UsageError
from lesionwise.network import UNet
from train.growth import grown


@pytest.fixture
def narrow() -> UNet:
    """Return a narrow network whose group normalisations do something."""
    torch.manual_seed(1)
    network = UNet(width=8, dropout=0.0)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.3)
    return network


@pytest.mark.parametrize("width", [8, 16, 24])
def test_wide_network_computes_the_same(narrow: UNet, width: int) -> None:
    wide = UNet(width=width, dropout=0.0)
    wide.load_state_dict(grown(narrow.state_dict(), wide))
    images = torch.randn(1, 2, 16, 16, 16)
    with torch.no_grad():
        expected, found = narrow(images), wide(images)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_noise_parts_the_copies(narrow: UNet) -> None:
    wide = UNet(width=16, dropout=0.0)
    name = "encoder2.3.weight"  # a convolution: noise goes to kernels alone
    same = grown(narrow.state_dict(), wide)[name]
    parted = grown(narrow.state_dict(), wide, noise=0.1, seed=1)[name]
    assert torch.equal(same[0], same[1])
    assert not torch.equal(parted[0], parted[1])
    assert float((parted - same).std()) == pytest.approx(0.1 * float(same.std()), rel=0.05)


def test_width_that_is_no_multiple_is_refused(narrow: UNet) -> None:
    with pytest.raises(UsageError, match="only to a multiple"):
        grown(UNet(width=16).state_dict(), UNet(width=24))


def test_another_network_is_refused(narrow: UNet) -> None:
    with pytest.raises(UsageError, match="not those of this network"):
        grown({"weight": torch.zeros(1)}, narrow)
