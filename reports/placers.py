"""What became of the placer that attacks on each policy were handed (`attacks.beginning`), in numbers and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atm.documents import refusal
from atm.signals import Signal
from attacks.beginning import OUTCOMES
from reports.run import PLACERS, Run

Outcome = Literal["gone on from", "left aside", "for other tokens", "for another layer"]
Share = Annotated[float, Field(ge=0, le=1)]


class _Record(BaseModel):
    """A line of ``placers.jsonl``."""

    model_config = ConfigDict(strict=True, extra="forbid")

    policy: str
    repeat: Annotated[int, Field(ge=0)]
    outcome: Outcome
    alone: Share | None = None
    given: Share | None = None
    placed: Share | None = None


@dataclass(frozen=True)
class Handed:
    """What became of a placer under one policy.

    Attributes:
        outcome: of `attacks.beginning.OUTCOMES` the commonest one over repeats.
        repeats: that ended so.
        of: repeats there are.
        alone: the share of the patches of the adversary's held-out signals that is placed by what her own taught her,
            averaged over repeats; None where it is not known.
        given: by the placer as it was handed to her.
        placed: by what she placed the victims' tokens with.
    """

    outcome: Outcome
    repeats: int
    of: int
    alone: float | None
    given: float | None
    placed: float | None

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)

    def sentence(self, policy: str, signal: type[Signal]) -> str:
        """A sentence for people.

        Args:
            policy: its name.
            signal: kind of signal that was attacked.
        """
        often = f" in {self.repeats} of {self.of} repeats" if self.of > 1 else ""
        shares = {
            "by what her own taught her alone": self.alone,
            "by the placer as it was": self.given,
            "by what was used": self.placed,
        }
        told = ", ".join(f"{share:.0%} {how}" for how, share in shares.items() if share is not None)
        told = (
            f" Of the {signal.parts} of {signal.noun}s of hers that were held out are placed: {told}." if told else ""
        )
        return f"{policy}: the placer was {self.outcome}{often}, since {OUTCOMES[self.outcome]}.{told}"


def handed(run: Run) -> dict[str, Handed]:
    """For each policy whose attacks were handed a placer and had to find places, what became of it.

    Raises:
        AtmError: the run's file says something else.
    """
    try:
        records = [_Record.model_validate(each) for each in run.placers]
    except ValidationError as error:
        raise refusal(error, f"{run.folder / PLACERS}") from None
    found = {}
    for policy in run.policies:
        mine = [each for each in records if each.policy == policy and each.repeat < run.repeats]
        if mine:
            outcome, repeats = Counter(each.outcome for each in mine).most_common(1)[0]
            alone, given, placed = (
                _mean(shares) for shares in zip(*[(each.alone, each.given, each.placed) for each in mine], strict=True)
            )
            found[policy] = Handed(outcome, repeats, len(mine), alone, given, placed)
    return found


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [each for each in shares if each is not None]
    return fmean(known) if known else None


def sentences(run: Run) -> list[str]:
    """One for each policy of a run whose adversary has a placer; empty where she has none."""
    if not run.about.get("placer"):
        return []
    known, of = handed(run), run.signal.noun
    learned = run.about.get("placer_learned_from")
    better = f"It learned from {learned} of her held-out {of}s themselves, and places these better than others."
    return [
        known[policy].sentence(policy, run.signal)
        if policy in known
        else f"{policy}: no attack had to find out where tokens belong, and none used the placer."
        for policy in run.policies
    ] + [better] * bool(learned and any(each.given is not None for each in known.values()))
