"""Ridge over the whole sequence: undoes what is fixed, whatever the merge map says."""

from __future__ import annotations

import torch

from atm.link import Link
from atm.policy import MergePolicy
from attacks.ridge import Ridge
from attacks.whole import Whole
from privacy_metrics import psnr
from tests.atm.models import tiny_encoder
from tests.attacks.planted import PlantedLink, pictures, rebuild


def test_a_secret_order_of_tokens_is_undone_where_ridge_is_misled():
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    link, auxiliary, victims = PlantedLink(lambda p: p[:, order]), pictures(800), pictures(20, seed=1)
    whole = psnr(rebuild(Whole(), link, auxiliary, victims), victims).mean()
    assert whole > psnr(rebuild(Ridge(), link, auxiliary, victims), victims).mean() + 5


def test_it_is_least_squares_where_there_are_enough_pictures(monkeypatch):
    """With little regularisation and fewer token values than pictures, the dual solution is the ordinary one."""
    monkeypatch.setattr("attacks.linear.STRENGTHS", (1e-9,))
    link = PlantedLink(lambda p: p[:, :, :24] * (torch.arange(16)[:, None] < 2))
    random = torch.Generator().manual_seed(0)  # pixels without correlation, so that the system is well conditioned
    auxiliary, victims = (torch.rand(count, 3, 32, 32, generator=random) for count in (500, 5))
    rebuilt = rebuild(Whole(), link, auxiliary, victims)

    def numbers(images):
        """All that is sent of an image, token values and what stands beside them, and a one."""
        sent = link.transmit(images)
        return torch.cat([sent.received.values.reshape(len(images), -1), sent.side, torch.ones(len(images), 1)], 1)

    x = numbers(auxiliary[:450]).double()
    solved = torch.linalg.lstsq(x, auxiliary[:450].flatten(1).double(), driver="gelsd", rcond=1e-5).solution
    expected = (numbers(victims).double() @ solved).float().reshape(5, 3, 32, 32).clamp(0, 1)
    assert float((rebuilt - expected).abs().max()) < 1e-3


def test_pictures_with_different_numbers_of_tokens_are_taken():
    link = Link(tiny_encoder(), MergePolicy.uniform(0.3, 3))
    assert rebuild(Whole(), link, pictures(40), pictures(6, seed=1)).shape == (6, 3, 32, 32)
