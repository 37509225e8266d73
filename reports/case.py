"""What flags judge: one policy of a run, with what else sheds light on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from privacy_metrics.significance import SURE, holm, paired_p_value
from reports.history import Record
from reports.peers import comparable
from reports.run import Run

TELLING = 0.02  # of mean leakage: differences below it change no verdict


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

    def values(self, attack: str) -> Tensor:
        """``[B]``: leakage by one attack; empty where it gave no pictures."""
        return self.run.values(self.policy, attack, self.run.measure)

    @cached_property
    def scored(self) -> list[str]:
        """Attacks that gave pictures, blind baselines first."""
        return [a for a in self.run.attacks if self.values(a).numel()]

    @cached_property
    def attacks(self) -> list[str]:
        """The same without the blind baselines."""
        return [a for a in self.scored if a not in self.run.baselines.blind]

    @cached_property
    def records(self) -> list[Record]:
        """What happened while the attacks on this policy were trained."""
        return [Record.read(r) for r in self.run.history if r["policy"] == self.policy]

    def of_records(self, bad: Callable[[Record], bool], what: str) -> str | None:
        """Whose records are bad, and what they did; None where nobody's are."""
        names = list(dict.fromkeys(record.attack for record in self.records if bad(record)))
        return f"{', '.join(names)} {what}" if names else None

    @cached_property
    def yardsticks(self) -> dict[str, str]:
        """For each attack the blind baseline that it comes down to where it learns nothing, if that ran.

        What minimises a squared error comes down to the mean picture, and retrieval to a random one.
        """
        known = self.run.baselines
        wanted = {a: known.random if a == known.retrieval else known.plain for a in self.attacks}
        return {a: baseline for a, baseline in wanted.items() if baseline in self.scored}

    @cached_property
    def strongest(self) -> str | None:
        """The blind baseline with the highest mean leakage; None where none ran."""
        blind = [a for a in self.scored if a in self.run.baselines.blind]
        return self.best(blind) if blind else None

    def best(self, attacks: list[str]) -> str:
        """The attack with the highest mean leakage."""
        return max(attacks, key=lambda attack: float(self.values(attack).mean()))

    def behind(self, pairs: list[tuple[str, str]], by: float = TELLING) -> list[tuple[str, str]]:
        """Those pairs of attacks of which the first stays behind the second by surely more than so much mean leakage.

        Pairs are tested together (Holm).
        """
        scores = [tuple(self.values(name) for name in pair) for pair in pairs]
        p_values = holm([paired_p_value(b, a, by=by) if len(a) > 1 else 1.0 for a, b in scores])
        return [pair for pair, p_value in zip(pairs, p_values, strict=True) if p_value < SURE]
