"""What a search can optimise or bound: a plug-in list. A new objective is an `Objective` in `OBJECTIVES`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from atm.errors import AtmError, unknown
from atm.link import Link, Transmission
from atm.victims import Answers
from audit.joules import joules
from audit.pareto.memory import peak_bytes
from audit.pareto.privacy import PrivacyScore

TIMED_IMAGES, TIMES = 16, 8
EDGE = 2e-3  # a fraction this near to 0 or 1 counts as this near


@dataclass(frozen=True)
class Sample:
    """One policy at work on the search's images, from which every objective takes its numbers."""

    link: Link
    images: Tensor
    answers: Answers
    privacy: PrivacyScore
    seed: int

    @cached_property
    def transmission(self) -> Transmission:
        """All images from end to end, sent once whatever is measured."""
        return self.link.transmit(self.images, self.seed)


@dataclass(frozen=True)
class Scale:
    """How an objective is shown to the model: where its changes are even.

    Attributes:
        forward: value to model scale.
        inverse: and back.
        slope: derivative of ``forward``.
    """

    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


LOG = Scale(lambda y: y.clamp_min(1e-9).log(), torch.exp, lambda y: 1 / y.clamp_min(1e-9))
LOGIT = Scale(
    lambda y: torch.logit(y.clamp(EDGE, 1 - EDGE)),
    torch.sigmoid,
    lambda y: 1 / (y.clamp(EDGE, 1 - EDGE) * (1 - y.clamp(EDGE, 1 - EDGE))),
)


@dataclass(frozen=True)
class Objective:
    """Something that is measured of a policy.

    Attributes:
        name: on the command line and in files.
        label: in reports.
        unit: of the value; empty for fractions and counts, and for leakage, whose unit is that of what is sent.
        sign: 1 if more is better, -1 if less is.
        scale: how the model sees it.
        measure: ``[n]`` values of a sample, whose mean is the objective: one per image, or one per repetition.
        per_image: whether those are one per image, so that they can be paired with another policy's.
        binary: whether each of them is 0 or 1.
        missing: of the device where the victim computes, why this cannot be measured here; None if it can.
        certain: whether pictures and policy alone decide it, and nothing that is drawn or fitted.
    """

    name: str
    label: str
    unit: str
    sign: float
    scale: Scale
    measure: Callable[[Sample], Tensor]
    per_image: bool = True
    binary: bool = False
    certain: bool = False
    missing: Callable[[torch.device], str | None] = lambda device: None

    @property
    def heading(self) -> str:
        """Label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


def _accuracy(sample: Sample) -> Tensor:
    return sample.answers.correct(sample.link, sample.transmission)


def _leakage(sample: Sample) -> Tensor:
    return sample.privacy.score(sample.link, sample.transmission, sample.seed + 1)


@torch.no_grad()
def _latency(sample: Sample) -> Tensor:
    """Milliseconds per image on this CPU, without the slower half of the repetitions, which something disturbed.

    Alone among the objectives it differs from run to run.
    """
    images, policy = sample.images[:TIMED_IMAGES].to(sample.link.device), sample.link.policy
    seconds = []
    for _ in range(TIMES + 1):
        start = time.perf_counter()
        sample.link.encoder(images, policy)
        seconds.append(time.perf_counter() - start)
    return torch.tensor(sorted(seconds[1:])[: TIMES // 2]) * 1e3 / len(images)


@torch.no_grad()
def _energy(sample: Sample) -> Tensor:
    """Millijoules per image by the processor's counter, idle power included, without the dearer half of repetitions.

    A counter that began anew in one of them makes a number that is not finite, and so the evaluation a failure.
    """
    images, policy = sample.images[:TIMED_IMAGES], sample.link.policy
    used = []
    for _ in range(TIMES + 1):
        begun = joules()
        sample.link.encoder(images, policy)
        ended = joules()
        used.append(math.nan if begun is None or ended is None or ended < begun else ended - begun)
    return torch.tensor(sorted(used[1:])[: TIMES // 2]) * 1e3 / len(images)


def _no_counter(device: torch.device) -> str | None:
    if device.type != "cpu":
        return f"it is read from the processor's counter, and the victim computes on {device.type}"
    return None if joules() is not None else "this machine has no energy counter that can be read (RAPL)"


@torch.no_grad()
def _memory(sample: Sample) -> Tensor:
    """MiB of activations that one image's encoding holds at its worst moment, for some images."""
    encoder, policy = sample.link.encoder, sample.link.policy
    singles = sample.images[:TIMED_IMAGES].split(1)
    return torch.tensor([peak_bytes(partial(encoder, image, policy)) / 2**20 for image in singles])


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("accuracy", "task accuracy", "", 1.0, LOGIT, _accuracy, binary=True),
        Objective("gflops", "compute", "GFLOPs", -1.0, LOG, lambda s: s.transmission.flops / 1e9, certain=True),
        Objective("tokens", "tokens sent", "", -1.0, LOG, lambda s: s.transmission.sent.lengths.double(), certain=True),
        Objective("leakage", "leakage", "", -1.0, LOGIT, _leakage),
        Objective("symbols", "symbols on air", "", -1.0, LOG, lambda s: s.transmission.symbols.double(), certain=True),
        Objective("latency", "CPU latency", "ms an image", -1.0, LOG, _latency, per_image=False),
        Objective("energy", "energy", "mJ an image", -1.0, LOG, _energy, per_image=False, missing=_no_counter),
        Objective("memory", "peak memory", "MiB", -1.0, LOG, _memory, per_image=False),
    )
}
DEFAULT = ("accuracy", "gflops", "tokens", "leakage")
ALIASES = {"flops": "gflops"}


def need(objectives: Iterable[Objective], device: torch.device) -> None:
    """Raise `AtmError` where one of them cannot be measured on a device, with the reason."""
    for objective in objectives:
        reason = objective.missing(device)
        if reason is not None:
            raise AtmError(f"{objective.name} cannot be measured: {reason}")


def canonical(name: str) -> str:
    """The name under which an objective is stored; ``flops`` is ``gflops``.

    Raises:
        AtmError: there is no such objective.
    """
    name = ALIASES.get(name, name)
    if name not in OBJECTIVES:
        raise unknown("objective", name, [*OBJECTIVES, *ALIASES])
    return name


def chosen(names: Iterable[str]) -> tuple[Objective, ...]:
    """Objectives by name, each once.

    Raises:
        AtmError: an unknown name, or fewer than two.
    """
    found = tuple(OBJECTIVES[name] for name in dict.fromkeys(canonical(name) for name in names))
    if len(found) < 2:
        raise AtmError("a front needs at least two --objectives, for example accuracy flops tokens leakage")
    return found


@dataclass(frozen=True)
class Bound:
    """A constraint: the value of ``objective`` must be at least (``sign`` 1) or at most (-1) ``limit``."""

    objective: Objective
    sign: float
    limit: float

    def met(self, value: float) -> bool:
        """Whether a value keeps it."""
        return self.sign * value >= self.sign * self.limit

    def __str__(self) -> str:
        return f"{self.objective.name} {'>=' if self.sign > 0 else '<='} {self.limit:g}"


def bounds(at_least: Iterable[str], at_most: Iterable[str]) -> tuple[Bound, ...]:
    """Constraints from ``accuracy=0.9`` and the like.

    Raises:
        AtmError: an unknown objective, no finite number after the ``=``, or a fraction that is none.
    """
    asked = [("--at-least", text, 1.0) for text in at_least] + [("--at-most", text, -1.0) for text in at_most]
    found = []
    for flag, text, sign in asked:
        name, limit = _pair(flag, text)
        found.append(Bound(OBJECTIVES[name], sign, limit))
    return tuple(found)


def reference(texts: Iterable[str], objectives: Iterable[Objective]) -> dict[str, float]:
    """A reference point, or a part of one, from ``accuracy=0.5`` and the like.

    Raises:
        AtmError: no finite number after the ``=``, a fraction that is none, or something that is no objective of this
            search.
    """
    point = dict(_pair("--reference", text) for text in texts)
    names = [objective.name for objective in objectives]
    for name in point:
        if name not in names:
            raise AtmError(f"--reference {name} is no objective of this search; it has {', '.join(names)}")
    return point


def _pair(flag: str, text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not math.isfinite(value):
        raise AtmError(f"{flag} {text!r} is no NAME=NUMBER; write for example {flag} accuracy=0.9")
    name = canonical(name.strip())
    if OBJECTIVES[name].scale is LOGIT and not 0 <= value <= 1:
        raise AtmError(f"{flag} {text}: {name} is a fraction; give a number from 0 to 1")
    return name, value
