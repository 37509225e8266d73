"""Where a victim's data come from: signals of each kind by name, from what reads that kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from atm.data import loading
from atm.data.sets import ImageSet, Samples, Splits
from atm.data.texts import Texts
from atm.signals import Signal, arrays


class Source(Protocol):
    """What reads one kind of signal; `atm.data.loading` has the arguments, and the errors."""

    def load(
        self,
        signal: Signal,
        name: str,
        split: str = "test",
        *,
        limit: int | None = None,
        seed: int = 0,
        distinct: bool = False,
        seen: Sequence[str] = (),
    ) -> Samples:
        """Signals by name, as the victim takes them."""

    def splits(
        self,
        signal: Signal,
        name: str,
        *,
        victims: int,
        auxiliary: int,
        auxiliary_name: str | None = None,
        group_by: str | None = None,
        seed: int = 0,
    ) -> Splits:
        """Signals for an attack."""

    def sample(self, signal: Signal, count: int) -> Tensor:
        """Signals that need neither file nor download, to which a codec may be fitted."""


class Pictures:
    """Pictures, in the size and the number of channels of the victim's."""

    def load(
        self,
        signal: Signal,
        name: str,
        split: str = "test",
        *,
        limit: int | None = None,
        seed: int = 0,
        distinct: bool = False,
        seen: Sequence[str] = (),
    ) -> ImageSet:
        """See `atm.data.load`."""
        channels, height, width = arrays(signal).shape
        return loading.load(
            name, split, size=(height, width), channels=channels, limit=limit, seed=seed, distinct=distinct, seen=seen
        )

    def splits(
        self,
        signal: Signal,
        name: str,
        *,
        victims: int,
        auxiliary: int,
        auxiliary_name: str | None = None,
        group_by: str | None = None,
        seed: int = 0,
    ) -> Splits[ImageSet]:
        """See `atm.data.splits`."""
        channels, height, width = arrays(signal).shape
        return loading.splits(
            name,
            victims=victims,
            auxiliary=auxiliary,
            size=(height, width),
            channels=channels,
            auxiliary_name=auxiliary_name,
            group_by=group_by,
            seed=seed,
        )

    def sample(self, signal: Signal, count: int) -> Tensor:
        """The embedded photographs."""
        return self.load(signal, "photos", "train", limit=count).images


SOURCES: dict[str, Source] = {"image": Pictures(), "text": Texts()}
"""By `atm.signals.Signal.name`."""


def source(signal: Signal) -> Source:
    """What reads signals of this kind."""
    return SOURCES[signal.name]
