"""What the best of many attacks reaches where nothing leaks: it is chosen picture by picture with the truth in hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from attacks import BLIND, RANDOM
from privacy_metrics import ssim
from privacy_metrics.leakage import leakage
from reports.level import recognised
from reports.run import Run


@dataclass(frozen=True)
class Luck:
    """How much of a policy's leakage is owed to the choice.

    Attributes:
        attacks: how many could be chosen from, blind baselines included.
        single: mean SSIM to the victims of the best single attack's answers to other pictures.
        best: the same of the best answer for each picture.
        recognised: fraction of pictures that would count as recognised.
    """

    attacks: int
    single: float
    best: float
    recognised: float


def luck(run: Run, policy: str) -> Luck | None:
    """Score every reconstruction against the victim half the list further on, of which its tokens tell nothing.

    None where reconstructions are missing, where there are fewer than two pictures, or no attack beside the blind
    baselines.
    """
    names = [a for a in run.attacks if a != RANDOM and run.repeated(policy, a, "ssim").numel()]
    blind = run.blind_repeats(policy)[:1]
    count = blind.shape[1]
    if count < 2 or set(names) <= set(BLIND):
        return None
    try:
        originals = _pictures(run, policy, "original", count)
        scores = {a: ssim(_pictures(run, policy, a, count).roll(count // 2, 0), originals) for a in names}
    except OSError:
        return None
    best = leakage(scores)
    rate = float(recognised(best[None], blind).float().mean())
    return Luck(len(names), max(float(s.mean()) for s in scores.values()), float(best.mean()), rate)


def _pictures(run: Run, policy: str, attack: str, count: int) -> Tensor:
    pictures = []
    for number in range(count):
        with Image.open(run.image_file(policy, attack, number)) as image:
            pictures.append(torch.from_numpy(np.array(image.convert("RGB"))))  # grey scores the same
    return torch.stack(pictures).permute(0, 3, 1, 2).float() / 255
