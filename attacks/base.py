"""What every attack is, and what most of them share: patches, held-out images, features of an observation."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from atm.link import Link
from atm.threat import Knowledge, Observation, ThreatModel
from atm.tokens import NOWHERE


@runtime_checkable
class Attack(Protocol):
    """A model-inversion attack. Randomness comes from torch's global generator, which the evaluator seeds."""

    name: ClassVar[str]
    needs: ClassVar[Knowledge]
    """What the threat model must grant. A class may also have ``needs_one_of``, alternatives of which one is enough,
    ``instead_of``, knowledge that it makes up for: an adversary who has it runs the attack only if asked to, and
    ``order``, its place in the suite: by default 1 with ``QUICK`` parameters, 0, which comes first, without; and
    a class method ``share(threat)``, its part of a time budget in proportion to the others': by default 1."""

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Prepare against one system and adversary.

        Args:
            link: the system, to which the adversary sends images of her own.
            threat: what she sees of them.
            images: ``[N, 3, H, W]`` float in [0, 1], auxiliary images, never the victims'. The last tenth comes from
                other originals than the rest, so that it can be held out to choose parameters and checkpoints.

        Raises:
            KnowledgeError: the threat model denies what this attack needs.
        """
        ...

    def reconstruct(self, seen: Observation) -> Tensor:
        """``[B, 3, H, W]`` float in [0, 1]: what the adversary makes of an observation."""
        ...


@dataclass(frozen=True)
class Inferred:
    """What an inference makes of ``B`` images; None where it says nothing.

    Attributes:
        labels: ``[B]`` int64, the label that it believes.
        similarity: ``[B, N]`` float, how well each of N candidate pictures fits; more is better.
    """

    labels: Tensor | None = None
    similarity: Tensor | None = None


@runtime_checkable
class Inference(Protocol):
    """An attack that wants no pixels but what else the tokens give away. Randomness as for `Attack`.

    A class with ``needs_labels = True`` is not run where the auxiliary images' classes are not the victims'.
    """

    name: ClassVar[str]
    needs: ClassVar[Knowledge]

    def fit(self, link: Link, threat: ThreatModel, images: Tensor, labels: Tensor | None) -> None:
        """Prepare, as `Attack.fit`; ``labels`` ``[N]`` int64 are the auxiliary images', None where they have none."""
        ...

    def infer(self, seen: Observation, candidates: Tensor) -> Inferred:
        """What the adversary concludes; every victim is somewhere among the candidates ``[N, 3, H, W]``."""
        ...


@runtime_checkable
class Locating(Protocol):
    """An attack that finds out which patches each token stands for; how well is a leak of its own."""

    def recover(self, seen: Observation) -> Tensor:
        """``[B, P]`` int64: the token, counted within its image, that each patch is believed to have ended in."""
        ...


@runtime_checkable
class Studious(Protocol):
    """An attack that makes use of auxiliary images which it may not send through the device."""

    def study(self, images: Tensor) -> None:
        """Take notice of them, ``[N, 3, H, W]``, before `Attack.fit`."""
        ...


@dataclass
class History:
    """What happened while an attack was trained or descended; an attack that has steps keeps one as ``history``.

    The evaluator writes it to the run folder, and flags judge it (docs/flags.md).

    Attributes:
        train: loss on what it is trained on, one per step.
        gradient: norm, one per step, of the gradient of that part of the loss which depends on the tokens.
        validation: ``(step, loss)`` on held-out images, one per check; empty where the attack has no such images.
        best_step: the step whose result was kept; None where it is the last.
        cut: whether a time budget ended it.
    """

    train: list[float] = field(default_factory=list)
    gradient: list[float] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    best_step: int | None = None
    cut: bool = False

    def step(self, loss: Tensor | float, gradient: Tensor | float, number: int | None = None) -> None:
        """Record a step; several descents give its ``number`` from 0, and their losses and gradients add up."""
        if number is None or number >= len(self.train):
            self.train.append(float(loss))
            self.gradient.append(float(gradient))
        else:
            self.train[number] += float(loss)
            self.gradient[number] += float(gradient)

    def check(self, loss: float) -> None:
        """Record a loss on held-out images, after the steps so far; the lowest marks the best step."""
        if not self.validation or loss < min(held for _, held in self.validation):
            self.best_step = len(self.train)
        self.validation.append((len(self.train), loss))

    def as_dict(self) -> dict[str, Any]:
        """Plain values with six digits; what is not finite becomes None, because JSON has no word for it."""
        return {key: _plain(value) for key, value in asdict(self).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def require(attack: Any, threat: ThreatModel) -> None:
    """Raise `KnowledgeError` unless the adversary knows what an attack (a class or an instance) needs."""
    threat.require(attack.needs, attack.name)
    alternatives = getattr(attack, "needs_one_of", ())
    if alternatives and not any(option in threat.knows for option in alternatives):
        threat.require(alternatives[0], attack.name)


def held_out(count: int) -> tuple[Tensor, Tensor]:
    """Row numbers of the auxiliary images to train on, and of the last tenth (at least one) to choose by."""
    validation = max(count // 10, 1)
    rows = torch.arange(count)
    return rows[: count - validation], rows[count - validation :]


def to_patches(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """Images ``[B, C, H, W]`` -> ``[B, P, C * h * w]``, patch by patch in the order of a vision transformer."""
    batch, channels, height, width = images.shape
    rows, columns = grid
    cut = images.reshape(batch, channels, rows, height // rows, columns, width // columns)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, -1)


def from_patches(patches: Tensor, grid: tuple[int, int], channels: int = 3) -> Tensor:
    """The inverse of `to_patches`, for square patches."""
    batch, rows, columns = len(patches), *grid
    side = round((patches.shape[-1] / channels) ** 0.5)
    cut = patches.reshape(batch, rows, columns, channels, side, side)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, rows * side, columns * side)


def patch_features(seen: Observation) -> Tensor:
    """``[B, P, f]``: for each patch the token it ended in, that token's logarithmic size, and the class tokens.

    A patch that ended nowhere borrows the token of the nearest patch before or behind it that arrived, with -1 for the
    logarithm. Where the signal-to-noise ratio differs between images, it stands there too. Needs the merge map.
    """
    tokens = seen.tokens
    grid = tokens.per_patch()
    assert tokens.source is not None
    shared = (tokens.source[:, :, None] == tokens.source[:, None, :]).sum(-1, keepdim=True).to(grid.dtype).log()
    nowhere = tokens.source == NOWHERE
    if bool(nowhere.any()):
        grid = grid[torch.arange(len(grid))[:, None], _nearest_arrived(nowhere)]
        shared = shared.masked_fill(nowhere[:, :, None], -1.0)
    parts = [grid, shared]
    if tokens.prefix:
        parts.append(tokens.protected().flatten(1)[:, None].expand(-1, grid.shape[1], -1))
    if isinstance(seen.snr_db, Tensor) and seen.snr_db.ndim == 1:
        parts.append((seen.snr_db.clamp(-20, 30) / 10)[:, None, None].expand(-1, grid.shape[1], 1))
    return torch.cat(parts, -1)


def _nearest_arrived(nowhere: Tensor) -> Tensor:
    """``[B, P]`` int64: each patch itself, or the nearest in reading order that ended somewhere."""
    place = torch.arange(nowhere.shape[1], device=nowhere.device)
    distance = (place[:, None] - place).abs()
    return (distance + nowhere[:, None, :] * 2 * len(place)).argmin(-1)


def image_features(seen: Observation) -> Tensor:
    """``[B, d]``: the class token, or the mean over the tokens where there is none. Needs no merge map."""
    tokens = seen.tokens
    if tokens.prefix:
        return tokens.protected()[:, 0]
    total = tokens.values.new_zeros(len(tokens), tokens.values.shape[-1])
    total = total.index_add(0, tokens.image_of_token, tokens.values)
    return total / tokens.lengths.to(total.device)[:, None]
