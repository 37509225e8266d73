"""From the scores of single attacks to what a policy leaks: the worst case over attacks, image by image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

RECOGNISABLE_SSIM = 0.5
"""From this SSIM on, a reconstruction is called recognisable; a convention, see `recognisable`."""


@dataclass(frozen=True)
class Bar:
    """From which leakage a reconstruction counts, for one kind of signal; conventions, see `recognisable`.

    Attributes:
        recognisable: from this leakage on it is recognisable.
        owed: it counts only if it is this much better than without the tokens, for something plain looks much like
            the mean of all, whatever the tokens say.
        near_copy: from this leakage on it is a near copy.
        clear: by which a near copy must be better than without the tokens. One that is, is a leak in part however rare:
            nobody rebuilds such a signal by luck.
    """

    recognisable: float
    owed: float
    near_copy: float
    clear: float


SSIM_BAR = Bar(RECOGNISABLE_SSIM, owed=0.1, near_copy=0.8, clear=0.25)


def leakage(scores: Mapping[str, Tensor], higher_is_leakier: bool = True) -> Tensor:
    """For each image the best score that any attack reached.

    The evaluator may choose by the truth, which no adversary can: this is an upper bound over the attacks that were
    run, and no bound on attacks that were not. The mean of it over images, with SSIM, is the leakage of a policy.

    Args:
        scores: ``[B]`` by attack, of the same images in the same order.
        higher_is_leakier: whether the highest score is the best one, as for SSIM, or the lowest, as for LPIPS.

    Returns:
        ``[B]``.

    Raises:
        ValueError: there is no attack, numbers of images differ, or a score is NaN.

    Examples:
        >>> leakage({"ridge": torch.tensor([0.8, 0.2]), "decoder": torch.tensor([0.6, 0.4])})
        tensor([0.8000, 0.4000])
    """
    table = _table(scores)
    return table.amax(0) if higher_is_leakier else table.amin(0)


def best_attack(scores: Mapping[str, Tensor], higher_is_leakier: bool = True) -> list[str]:
    """For each image the attack that reached the score in `leakage`; of equally good ones the first.

    Args:
        scores: ``[B]`` by attack, of the same images in the same order.
        higher_is_leakier: whether the highest score is the best one, as for SSIM, or the lowest, as for LPIPS.

    Returns:
        ``B`` names.

    Raises:
        ValueError: there is no attack, numbers of images differ, or a score is NaN.

    Examples:
        >>> best_attack({"ridge": torch.tensor([0.8, 0.2]), "decoder": torch.tensor([0.6, 0.4])})
        ['ridge', 'decoder']
    """
    best = leakage(scores, higher_is_leakier)
    names = list(scores)
    # The first row that holds the best score: argmax of equal values may name any of them.
    return [names[hits.index(True)] for hits in (_table(scores) == best).T.tolist()]


def recognisable(ssim: Tensor, threshold: float = RECOGNISABLE_SSIM) -> Tensor:
    """Which reconstructions count as recognisable: those with an SSIM of at least ``threshold``.

    This is a convention that makes systems comparable and no measurement of perception: SSIM and PSNR agree only weakly
    with what people recognise (Sun et al., NeurIPS 2023).

    Args:
        ssim: any shape.
        threshold: from -1 to 1.

    Returns:
        bool, of the same shape.

    Raises:
        ValueError: an SSIM is NaN.

    Examples:
        >>> recognisable(torch.tensor([0.3, 0.5, 0.9]))
        tensor([False,  True,  True])
    """
    if ssim.isnan().any():
        raise ValueError("SSIM holds NaN, expected numbers from -1 to 1")
    return ssim >= threshold


def _table(scores: Mapping[str, Tensor]) -> Tensor:
    """``[attacks, B]``."""
    if not scores:
        raise ValueError("there are no scores, expected those of at least one attack")
    first = next(iter(scores))
    for attack, values in scores.items():
        if values.ndim != 1 or values.shape != scores[first].shape:
            raise ValueError(
                f"scores of {attack!r} have the shape {list(values.shape)}, expected [B] as for {first!r}, "
                f"{list(scores[first].shape)}"
            )
        if values.isnan().any():
            raise ValueError(f"scores of {attack!r} hold NaN, expected a number for every image")
    return torch.stack(list(scores.values()))
