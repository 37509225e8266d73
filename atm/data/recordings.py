"""Near-duplicates among sounds: the same recording, louder or not, a little later or not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from atm.data.sets import ImageSet

# Spectrograms are compared by what is particular to a recording, where it sounds: the differences from each band's
# mean, and those from a few bands around. Of 3,000 recordings of spoken digits 1 in 100 resembles some other one,
# mostly the same digit of the same speaker, more than .843 and .788. Of copies ten times less loud or 0.1 s later, at
# least 98 in 100 reach one of the bounds, of those cut by 30 ms 98, with noise 30 dB below them half; of 20 dB few.
BY_MEAN, BY_NEIGHBOURS = 0.85, 0.81
NEIGHBOURS = 7  # bands
LATER = 12  # frames, to either side
HEARD = 0.02  # above the quietest value, in [0, 1]: frames where nothing is so loud are silence
FEW = 64  # spectrograms, each compared with every victim at every delay


def alike(own: ImageSet, attacked: ImageSet) -> Tensor:
    """`atm.data.duplicates.Alike` of spectrograms ``[N, 1, bins, frames]``: what is particular correlates."""
    known = [_waves(view) for view in zip(*[particular(part) for part in attacked.batches(FEW)], strict=True)]
    return torch.cat([_repeated(particular(part), known) for part in own.batches(FEW)])


def particular(images: Tensor) -> tuple[Tensor, Tensor]:
    """Two views ``[B, bins, frames]``, each of length 1 or zero, of spectrograms ``[B, 1, bins, frames]``."""
    values = images[:, 0]
    heard = (values.amax(1, keepdim=True) - values.amin((1, 2), keepdim=True) > HEARD).float()
    shape = values - values.mean(1, keepdim=True)
    mean = (shape * heard).sum(2, keepdim=True) / heard.sum(2, keepdim=True).clamp_min(1)
    around = avg_pool2d(values, (NEIGHBOURS, 1), 1, (NEIGHBOURS // 2, 0), count_include_pad=False)
    views = (heard * (shape - mean), heard * (values - around))
    return views[0] / _length(views[0]), views[1] / _length(views[1])


def _length(view: Tensor) -> Tensor:
    return view.square().sum((1, 2), keepdim=True).sqrt().clamp_min(1e-6)


def _waves(parts: Sequence[Tensor]) -> Tensor:
    return torch.fft.rfft(torch.cat(list(parts)), dim=2)


def _repeated(views: tuple[Tensor, Tensor], known: list[Tensor]) -> Tensor:
    """``[B]`` bool: whether a view correlates with that of some victim, given by its waves, at some delay."""
    found = torch.zeros(len(views[0]), dtype=torch.bool)
    frames = views[0].shape[2]
    near = [*range(min(LATER, frames // 2) + 1), *range(-min(LATER, frames // 2), 0)]
    for view, waves, bound in zip(views, known, (BY_MEAN, BY_NEIGHBOURS), strict=True):
        products = torch.einsum("afw,bfw->abw", torch.fft.rfft(view, dim=2), waves.conj())
        found |= torch.fft.irfft(products, n=frames, dim=2)[:, :, near].amax((1, 2)) >= bound
    return found
