"""What flags judge: one policy of a run, with what else sheds light on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from attacks import FLOORS
from privacy_metrics.statistics import paired_difference
from reports.history import Record
from reports.peers import comparable
from reports.run import Run

TELLING = 0.02  # in mean SSIM: differences below it change no verdict


@dataclass(frozen=True)
class Case:
    """What flags judge: one policy of a run, beside other runs of the same policy, victim and pictures."""

    run: Run
    policy: str
    against: tuple[Run, ...] = ()

    @cached_property
    def peers(self) -> list[Run]:
        """The other runs that attacked the same policy of the same victim on the same pictures."""
        return [other for other in self.against if comparable(self.run, other, self.policy)]

    @cached_property
    def scored(self) -> list[str]:
        """Attacks that rebuilt pictures, floors first."""
        return [a for a in self.run.attacks if self.run.values(self.policy, a, "ssim").numel()]

    @cached_property
    def attacks(self) -> list[str]:
        """The same without the floors."""
        return [a for a in self.scored if a not in FLOORS]

    @cached_property
    def records(self) -> list[Record]:
        """What happened while the attacks on this policy were trained."""
        return [Record.read(r) for r in self.run.history if r["policy"] == self.policy]

    def mean(self, attack: str) -> float:
        """Mean SSIM of an attack."""
        return float(self.run.values(self.policy, attack, "ssim").mean())

    def best(self, attacks: list[str]) -> str:
        """The attack with the highest mean SSIM."""
        return max(attacks, key=self.mean)

    def surely_behind(self, attack: str, other: str, by: float = TELLING) -> bool:
        """Whether an attack stays behind another on the same pictures by more than so much mean SSIM."""
        a, b = (self.run.values(self.policy, name, "ssim") for name in (attack, other))
        return len(a) > 1 and paired_difference(b, a).low > by
