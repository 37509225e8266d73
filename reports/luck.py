"""What the best of many attacks reaches where nothing leaks: it is chosen picture by picture with the truth in hand."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from privacy_metrics import METRICS
from privacy_metrics.leakage import leakage
from reports.level import recognised
from reports.run import Run


@dataclass(frozen=True)
class Luck:
    """How much of a policy's leakage is owed to the choice.

    Attributes:
        attacks: how many could be chosen from, blind baselines included.
        single: mean leakage to the victims of the best single attack's answers to other pictures.
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
    known = run.baselines
    names = [a for a in run.attacks if a != known.random and run.repeated(policy, a, run.measure).numel()]
    blind = run.blind_repeats(policy)[:1]
    count = blind.shape[1]
    if count < 2 or set(names) <= set(known.blind):
        return None
    try:
        # All in one call, since what makes signals of files may have to see them together.
        stored = _restored(run, policy, ["original", *names], count)
        compute = METRICS[run.measure].compute
        scores = {a: compute(each.roll(count // 2, 0), stored[0]) for a, each in zip(names, stored[1:], strict=True)}
    except OSError:
        return None
    best = leakage(scores)
    rate = float(recognised(best[None], blind, run.signal.bar).float().mean())
    return Luck(len(names), max(float(s.mean()) for s in scores.values()), float(best.mean()), rate)


def _restored(run: Run, policy: str, names: list[str], count: int) -> list[Tensor]:
    """``[count, ...]`` for each name: what an attack made, or the originals, out of their files."""
    files = [run.image_file(policy, name, number).read_bytes() for name in names for number in range(count)]
    return list(run.signal.restore(files).split(count))
