"""Who is it, out of a gallery? Whether features of a recogniser tell each reconstruction's original from all others.

Pure functions on pictures and on features; the recogniser itself is `atm.recogniser`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from privacy_metrics.statistics import wilson

GALLERY = 100  # pictures at most that each reconstruction is told from, so that more pictures make it no harder
FEWEST = 20  # pictures at least; to be the likeliest of a few means little
MARGIN = 0.02  # of cosine, by which the own original must be ahead
PIECES = 8  # a side, into which a picture is cut to see how much its texture alone is like it
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


@dataclass(frozen=True)
class Sighting:
    """What a recogniser makes of reconstructions of ``B`` pictures.

    Attributes:
        likeness: ``[B]``, cosine of each reconstruction's features and its original's.
        place: ``[B]`` int64, of the original among its gallery by likeness to the reconstruction, from 1; ties count
            against it.
        picked: ``[B]`` bool, whether the recogniser picks it out, see `sighted`.
    """

    likeness: Tensor
    place: Tensor
    picked: Tensor


def colourless(images: Tensor) -> Tensor:
    """Pictures whose colours and brightness tell nothing: grey, with equally many pixels of every shade.

    Each pixel's luminance, in 256 levels, becomes the fraction of the picture that is darker, half of those as bright
    included (histogram equalisation). What is the same for two pictures but for colours, brightness, contrast or any
    monotone curve is the same afterwards, and a picture of one colour is an even grey.

    Args:
        images: ``[B, 3 or 1, H, W]`` float in [0, 1].

    Returns:
        ``[B, 3, H, W]`` float32 in [0, 1], three equal channels.

    Examples:
        >>> colourless(torch.tensor([0.1, 0.2, 0.2, 0.9]).view(1, 1, 2, 2))[0, 0].flatten()
        tensor([0.1250, 0.5000, 0.5000, 0.8750])
    """
    grey = images.float()
    if images.shape[1] == 3:
        grey = (grey * grey.new_tensor(LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
    levels = (grey * 255).round().long().flatten(1)
    count = torch.zeros(len(images), 256, dtype=torch.float32, device=grey.device)
    count.scatter_add_(1, levels, torch.ones_like(levels, dtype=torch.float32))
    darker = (count.cumsum(1) - count / 2) / levels.shape[1]
    return darker.gather(1, levels).view_as(grey).expand(-1, 3, -1, -1)


def disordered(images: Tensor) -> Tensor:
    """Pictures ``[B, C, H, W]`` cut into `PIECES` by `PIECES` pieces that lie in one wrong order, the same for all.

    Their colours and their texture are all there, and what they show is not. Rows and columns that are left over stay.
    """
    height, width = (side // PIECES for side in images.shape[2:])
    whole = images[..., : height * PIECES, : width * PIECES]
    pieces = whole.unflatten(2, (PIECES, height)).unflatten(4, (PIECES, width)).permute(2, 4, 0, 1, 3, 5).flatten(0, 1)
    order = torch.randperm(len(pieces), generator=torch.Generator().manual_seed(0))
    laid = pieces[order].unflatten(0, (PIECES, PIECES)).permute(2, 3, 0, 4, 1, 5).flatten(4, 5).flatten(2, 3)
    found = images.clone()
    found[..., : height * PIECES, : width * PIECES] = laid
    return found


def sighted(rebuilt: Tensor, originals: Tensor, texture: Tensor) -> Sighting:
    """Which pictures a recogniser picks out of a gallery, given features of reconstructions and originals.

    Galleries are consecutive pictures, `GALLERY` at most and equally many. Features are compared by their cosine after
    the mean over the gallery is taken from either kind, so that neither what all reconstructions have in common nor a
    picture that is like everything counts. A picture is picked out if the two choose each other: of all originals its
    own is the likeliest for the reconstruction, of all reconstructions its own is the likeliest for the original, each
    by `MARGIN`; and the reconstruction is by `MARGIN` more like the original than the original's own pieces in disorder
    are, so that texture alone does not count. One answer for all pictures picks out none. Of answers that have nothing
    to do with them the first condition alone lets one in 199 pass, in a gallery of 100. Fewer than `FEWEST` pictures
    are no gallery, and none is picked out.

    Args:
        rebuilt: ``[B, f]``.
        originals: ``[B, f]`` of the same pictures in the same order.
        texture: ``[B, f]`` of the originals' pieces (`disordered`).

    Raises:
        ValueError: shapes differ or there is nothing.
    """
    if rebuilt.ndim != 2 or not len(rebuilt) or not rebuilt.shape == originals.shape == texture.shape:
        shapes = ", ".join(str(list(each.shape)) for each in (rebuilt, originals, texture))
        raise ValueError(f"features have the shapes {shapes}, expected [B, f] three times")
    likeness, by_texture = (cosine_similarity(each, originals) for each in (rebuilt, texture))
    places, picked = [], []
    for rows in galleries(len(rebuilt)):
        alike = centred(rebuilt[rows]) @ centred(originals[rows]).T
        own = alike.diagonal()
        others = alike.clone().fill_diagonal_(-math.inf)
        places.append((alike >= own[:, None]).sum(1))
        ahead = own - torch.maximum(others.amax(1), others.amax(0))
        picked.append((ahead >= MARGIN) & (len(rows) >= FEWEST))
    return Sighting(likeness, torch.cat(places), torch.cat(picked) & (likeness - by_texture >= MARGIN))


def centred(features: Tensor) -> Tensor:
    """Features ``[B, f]`` of length 1, without what is common to all; 0 where they are all the same."""
    apart = (features - features.mean(0)).double()
    length = apart.norm(dim=1, keepdim=True)
    kept = length > 1e-5 * features.double().norm(dim=1, keepdim=True).clamp_min(1e-12)
    return torch.where(kept, apart / length.clamp_min(1e-12), 0.0)


def galleries(count: int) -> tuple[Tensor, ...]:
    """The numbers of so many pictures in consecutive galleries."""
    return torch.arange(count).tensor_split(math.ceil(count / GALLERY))


def gallery(count: int) -> int:
    """How many pictures the smallest gallery of so many has."""
    return min(len(rows) for rows in galleries(count))


def by_chance(picked: Tensor) -> bool:
    """Whether so many picked out of ``[B]`` are no more than come first by chance in galleries of their size.

    Asked of baselines that read no token: where they are picked out more often, the recogniser vouches for nothing.
    """
    return wilson(int(picked.sum()), len(picked)).low <= 1 / gallery(len(picked))
