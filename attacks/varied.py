"""More pictures out of the adversary's own: parts of them, enlarged, half of them mirrored, and what she sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from atm.knowledge import Knowledge
from atm.rows import Rows
from atm.threat import Observation
from attacks.base import ALIGNABLE, Method, held_out
from attacks.training import Schedule

if TYPE_CHECKING:
    from attacks.oracle import Oracle

OFTEN, MOST = 4, 24  # times that each picture is seen in a training; variations of each
ROOM = 2**32  # bytes of what is seen of all variations
FEW = 32  # pictures that tell what sending takes
AREA, ASPECT = (0.6, 1.0), (0.8, 1.25)  # of a part, relative to the whole and its shape


class Variations(Rows):
    """Parts of pictures in their size, by rows: all of them once, then again with other parts, and so on.

    Args:
        originals: ``[N, C, H, W]`` by rows.
        chosen: ``[n]``, which of them.
        times: how many variations of each. The parts are drawn from torch's generator.
    """

    def __init__(self, originals: Rows, chosen: Tensor, times: int) -> None:
        self.originals, self.chosen, self.device = originals, chosen, originals.device
        self.shape = torch.Size((times * len(chosen), *originals.shape[1:]))
        self.views = _views(len(self))

    def to(self, device: torch.device) -> Variations:
        """The same parts, on another device."""
        made = object.__new__(Variations)
        made.__dict__ |= self.__dict__ | {"originals": self.originals.to(device), "device": device}
        return made

    def _read(self, rows: Tensor) -> Tensor:
        rows = rows.cpu()
        whole = self.originals[self.chosen[rows % len(self.chosen)]]
        where = affine_grid(self.views[rows].to(whole), list(whole.shape), align_corners=False)
        return grid_sample(whole, where, padding_mode="border", align_corners=False)


def _views(count: int) -> Tensor:
    """``[count, 2, 3]``: affine maps from a part's coordinates in [-1, 1] to the whole's."""
    area, aspect = (low + (high - low) * torch.rand(count) for low, high in (AREA, ASPECT))
    wide, high = (side.sqrt().clamp_max(1) for side in (area * aspect, area / aspect))
    across, down = ((2 * torch.rand(count) - 1) * (1 - side) for side in (wide, high))
    mirrored = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    nothing = torch.zeros(count)
    rows = (wide * mirrored, nothing, across), (nothing, high, down)
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


@dataclass
class Varied(Method):
    """Variations of the pictures that attacks train on, sent once for all attacks that want as many.

    A network that sees few pictures often learns these by heart: with 1,800 of CIFAR-10, aggressively merged, a decoder
    stops gaining after 25 rounds, and three variations of each are worth half a decibel.

    Attributes:
        times: how many of each picture.
    """

    name: ClassVar[str] = "varied"

    times: int = 1

    @staticmethod
    def affordable(oracle: Oracle, schedule: Schedule, step: Callable[[], object]) -> int:
        """How many variations of each picture are worth sending before a training: each is seen `OFTEN` times then.

        Args:
            oracle: of the adversary.
            schedule: of the training.
            step: does what one of its steps does, and leaves no trace.
        """
        if not Varied._possible(oracle):
            return 0
        steps, count = oracle.budget.steps("training before variations", schedule.steps, step), len(_trained_on(oracle))
        return Varied.sendable(oracle, min(MOST, steps * schedule.batch // (OFTEN * count)))

    @staticmethod
    def sendable(oracle: Oracle, wanted: int) -> int:
        """As many variations of each picture as are wanted, as far as a quarter of the time and `ROOM` reach.

        None where parts of what she has are nothing of its kind, or where somebody counts what she sends.
        """
        wanted = min(wanted, ROOM // (4 * oracle.doors.width * int(oracle.lengths.sum())))
        if wanted < 1 or not Varied._possible(oracle):
            return 0
        count = len(_trained_on(oracle))
        few = oracle.images[: min(FEW, count)]
        sending = oracle.budget.part(1 / 4, "varied")
        return sending.steps("sending", wanted, lambda: oracle.tap(few), times=-(-count // len(few)), least=0)

    @staticmethod
    def _possible(oracle: Oracle) -> bool:
        threat = oracle.threat
        return oracle.signal.divisible and (threat.runs_the_device or threat.queries is None)

    def fit(self, oracle: Oracle) -> None:
        """Draw the parts; they are sent when somebody first looks."""
        self._hers = oracle
        self.oracle = oracle.over(Variations(oracle.images, _trained_on(oracle), self.times))

    def observe(self, rows: Tensor) -> Observation:
        """What she sees of variations by their numbers, with a merge map where she has or can find one."""
        seen = self.oracle.observe(rows)
        if self._source is None:
            return seen
        return replace(seen, tokens=replace(seen.tokens, source=self._source[rows]))

    @cached_property
    def _source(self) -> Tensor | None:
        """The merge map that she finds for all of them; None where she has it, or cannot find any."""
        if Knowledge.MERGE_MAP in self._hers.knows or not any(each in self._hers.knows for each in ALIGNABLE):
            return None
        parts = [self._hers.complete(self.oracle.observe(rows)).tokens.source for rows in self.oracle.batches()]
        return torch.cat([part for part in parts if part is not None])


def _trained_on(oracle: Oracle) -> Tensor:
    """Numbers of the pictures that she trains on."""
    return held_out(len(oracle.images))[0]
