"""How the decoder errs: a Gaussian over whole pictures, as the prior of the white-box attacks."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from atm.signals import ArraySignal

REACH = 2  # patches between which errors are taken to go together
LEAST = 0.05  # variance in any direction, relative to what it would be if patches erred independently
TOGETHER = 96  # directions within a patch, the most variable, whose errors may go together with other patches'


class Spread:
    """The decoder's errors, as a Gaussian: coordinates in which that is white, and back.

    Errors of neighbouring patches go together, in the same way all over a picture. So the covariance is that of a
    stationary field of patches, whose Fourier transform over the grid is white between frequencies: one small matrix
    for each. Being white also makes steep directions slow, in which a decoder errs little.

    Args:
        errors: ``[n, C, H, W]``, of held-out images.
        signal: what images are made of.
    """

    def __init__(self, errors: Tensor, signal: ArraySignal) -> None:
        self.signal, grid, patches = signal, signal.grid, signal.to_units(errors)
        rows = patches.flatten(0, 1).double()
        variances, directions = torch.linalg.eigh(rows.T @ rows / len(rows))
        deviations = variances.clamp_min(1e-7).sqrt()
        self._widen, self._whiten = (directions * deviations).float(), (directions / deviations).float()
        self.count = min(TOGETHER, len(deviations))
        white = (patches @ self._whiten)[..., -self.count :].double().unflatten(1, grid)
        spectrum, basis = torch.linalg.eigh(torch.fft.fft2(_covariances(white, grid), dim=(0, 1)))
        root = spectrum.clamp_min(LEAST).sqrt()[..., None, :]
        self._root = ((basis * root) @ basis.mH).to(torch.complex64)
        self._inverse = ((basis / root) @ basis.mH).to(torch.complex64)

    def error(self, white: Tensor) -> Tensor:
        """``[B, P, pixels]`` -> ``[B, C, H, W]``."""
        return self.signal.from_units(self._filtered(white, self._root) @ self._widen.T)

    def white(self, error: Tensor) -> Tensor:
        """The inverse of `error`."""
        return self._filtered(self.signal.to_units(error) @ self._whiten, self._inverse)

    def _filtered(self, x: Tensor, matrices: Tensor) -> Tensor:
        alone, together = x[..., : x.shape[-1] - self.count], x[..., -self.count :]
        waves = torch.fft.fft2(together.unflatten(1, self.signal.grid), dim=(1, 2))
        waves = torch.einsum("rcde,brce->brcd", matrices, waves)
        return torch.cat([alone, torch.fft.ifft2(waves, dim=(1, 2)).real.flatten(1, 2)], -1)


def _covariances(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """``[rows, columns, d, d]``: how patches that lie so far apart go together, falling to nothing beyond `REACH`.

    Args:
        x: ``[n, rows, columns, d]``.
        grid: rows and columns.
    """
    rows, columns = grid
    found = x.new_zeros(rows, columns, x.shape[-1], x.shape[-1])
    deep, wide = min(REACH, rows - 1), min(REACH, columns - 1)
    for down, across in product(range(-deep, deep + 1), range(-wide, wide + 1)):
        here = x[:, max(0, -down) : rows - max(0, down), max(0, -across) : columns - max(0, across)].flatten(0, 2)
        there = x[:, max(0, down) : rows + min(0, down), max(0, across) : columns + min(0, across)].flatten(0, 2)
        taper = (1 - abs(down) / (REACH + 1)) * (1 - abs(across) / (REACH + 1))
        found[down % rows, across % columns] += taper * (here.T @ there) / len(here)
    return found
