"""What every kind of signal says of itself: attacks, metrics, runs on disk and reports ask it and assume nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from privacy_metrics.leakage import Bar


class Signal(ABC):
    """What goes into a victim, and what an attack gives back; a kind is one file with a subclass.

    Attributes:
        name: of the kind, in ``run.json`` and in `attacks.base.Method.signals`.
        noun: what people call one; several take an s.
        part: what people call what stands in one of its places.
        parts: several of them.
        content: what an attack gives back of one, as the finding on it is called.
        leakage: the metric that is leakage, a name in `privacy_metrics.METRICS`; 1 is a perfect copy.
        bar: from which leakage one counts as recognised.
        suffix: of the files in which a run keeps them.
        fills: whether every one fills all its places; a sentence may be shorter.
        smooth: whether one can be changed by a little, as bounds ask that differentiate what is sent by it.
        divisible: whether a part of one, enlarged and mirrored, might be another of its kind.
        shape: of one, without the batch.
    """

    name: ClassVar[str]
    noun: ClassVar[str]
    part: ClassVar[str]
    parts: ClassVar[str]
    content: ClassVar[str] = "content"
    leakage: ClassVar[str]
    bar: ClassVar[Bar]
    suffix: ClassVar[str]
    fills: ClassVar[bool] = True
    smooth: ClassVar[bool] = True
    divisible: ClassVar[bool] = False

    shape: tuple[int, ...]

    @property
    @abstractmethod
    def places(self) -> int:
        """Units of one: what merges map to tokens."""

    @property
    @abstractmethod
    def unit(self) -> int:
        """Numbers in a unit."""

    @abstractmethod
    def blank(self, count: int) -> Tensor:
        """``[count, *shape]`` of nothing."""

    @abstractmethod
    def to_units(self, signals: Tensor) -> Tensor:
        """``[B, *shape]`` -> ``[B, P, u]`` float: what each of P places holds."""

    @abstractmethod
    def from_units(self, units: Tensor) -> Tensor:
        """And back, as well as it can be done."""

    @abstractmethod
    def clip(self, signals: Tensor) -> Tensor:
        """Into the range that signals can have."""

    @abstractmethod
    def loss(self, estimate: Tensor, truth: Tensor) -> Tensor:
        """What a learned decoder minimises: one number."""

    @abstractmethod
    def fault(self, signals: Tensor, count: int) -> str | None:
        """What is wrong with ``count`` signals that somebody made, in words; None where nothing is."""

    @abstractmethod
    def store(self, signals: Tensor) -> list[bytes]:
        """The content of a file for each of ``[B, *shape]``."""

    @classmethod
    @abstractmethod
    def restore(cls, files: Sequence[bytes]) -> Tensor:
        """``[B, ...]`` out of such files, as the metrics of the kind compare them."""
