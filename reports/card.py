"""The card of a run: its result in one small JSON file, to be kept, compared and shown beside others.

A card holds no picture and no score of a single picture. What reads one trusts nothing in it: it may come from anybody.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from torch import Tensor

from atm.documents import Fields, read, refusal, typed
from privacy_metrics.statistics import Interval
from reports.judged import Judged
from reports.placers import Outcome, handed
from reports.recognition import recogniser_of
from reports.run import Run
from reports.verdict import Verdict

FILE = "card.json"
FORMAT: Literal[1] = 1

LONGEST = 1000  # characters of a name: paths are names too
Name = Annotated[str, Field(min_length=1, max_length=LONGEST)]
Digest = Annotated[str, Field(max_length=200)]
Words = Annotated[str, Field(max_length=10000)]
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]
Level = Literal["beats the bound", "leaks", "leaks in part", "inconclusive", "no leak found", "hers anyway"]


class Part(Fields):
    """A part of a card, whose numbers are finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class Measured(Part):
    """An estimate from ``n`` pictures with its 95% interval, where there are enough for one."""

    estimate: Annotated[float, Field(ge=-1, le=1)]
    low: Annotated[float, Field(ge=-1, le=1)] | None
    high: Annotated[float, Field(ge=-1, le=1)] | None
    n: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise PydanticCustomError("ends", "both ends of an interval or neither")
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise PydanticCustomError("order", "low not above high")
        return self

    @classmethod
    def of(cls, interval: Interval) -> Measured:
        """From an interval; ends that are no numbers are left out."""
        ends = [value if math.isfinite(value) else None for value in (interval.low, interval.high)]
        return cls(estimate=interval.estimate, low=ends[0], high=ends[1], n=interval.n)

    @property
    def interval(self) -> Interval:
        """As everything else shows it."""
        return Interval(
            self.estimate,
            math.nan if self.low is None else self.low,
            math.nan if self.high is None else self.high,
            self.n,
        )


class PlacerCard(Part):
    """What became of the adversary's placer under one policy; `reports.placers.Handed` has the fields."""

    outcome: Outcome
    repeats: Annotated[int, Field(ge=1)]
    of: Annotated[int, Field(ge=1)]
    alone: Share | None
    given: Share | None
    placed: Share | None


class PolicyCard(Part):
    """What was found about one policy.

    ``recognised`` is the share of pictures that were, with its interval; ``placer`` is None where there was none.
    """

    policy: Name
    verdict: Level
    deploy: Literal["yes", "no", "not shown"]
    leakage: Measured
    recognised: Measured
    accuracy: Share | None
    gflops: Amount
    tokens: Amount | None
    symbols: Amount | None
    flags: list[Name]
    placer: PlacerCard | None = None


class Threat(Part):
    """The adversary, by name and in words."""

    name: Name
    in_words: Words


class Victim(Part):
    """The victim, by name and by the SHA-256 of its weights."""

    name: Name
    digest: Digest


class Pictures(Part):
    """The attacked pictures, by name and by the SHA-256 of their content, and how many there were."""

    name: Name
    digest: Digest
    attacked: Annotated[int, Field(ge=1)]
    auxiliary: Annotated[int, Field(ge=0)]


class Card(Part):
    """The result of a run.

    ``card`` is the format, ``leakage_in`` what leakage is measured in, ``recogniser`` who looked as well, if anybody.
    """

    card: Literal[1]
    created: Name
    finished: bool
    seed: int
    threat: Threat
    victim: Victim
    data: Pictures
    channel: Name
    defence: Name | None
    attacks: list[Name]
    policies: Annotated[list[PolicyCard], Field(min_length=1, max_length=1000)]
    versions: dict[Name, Name]
    leakage_in: Name = "SSIM"
    recogniser: Name | None = None

    @classmethod
    def of(cls, judged: Judged) -> Card:
        """The card of a judged run.

        Raises:
            AtmError: the run's settings hold what no card can, such as a name without a letter.
        """
        try:
            return cls._of(judged)
        except ValidationError as error:
            raise refusal(error, f"{judged.run.folder / 'run.json'}") from None

    @classmethod
    def _of(cls, judged: Judged) -> Card:
        run, about = judged.run, judged.run.about
        data = about["data"]
        return cls(
            card=FORMAT,
            created=about["created"],
            finished=run.finished,
            seed=about["config"]["seed"],
            threat=Threat(name=_cut(about["threat"]["name"]), in_words=about["threat_in_words"]),
            victim=Victim(name=_cut(about["victim"]["name"]), digest=about["victim"]["digest"]),
            data=Pictures(name=_cut(data["name"]), digest=data["victims_digest"], attacked=data["victims"],
                          auxiliary=data["auxiliary"]),
            channel=about["channel"],
            defence=_cut(about["defence"]) if about.get("defence") else None,
            attacks=run.attacks,
            policies=[_policy(run, v, d.answer) for v, d in zip(judged.verdicts, judged.decisions, strict=True)],
            versions=about["versions"],
            leakage_in=run.measured,
            recogniser=_cut(name) if (name := recogniser_of(run)) else None,
        )  # fmt: skip

    @classmethod
    def read(cls, path: str | Path) -> Card:
        """A card from a file.

        Raises:
            AtmError: in one line, the first thing that is wrong with it.
        """
        return typed(cls, read(path, "card"), f"card {path}")

    def text(self) -> str:
        """The file's content."""
        return json.dumps(self.model_dump(), indent=2, ensure_ascii=False) + "\n"


def _policy(run: Run, verdict: Verdict, answer: str) -> PolicyCard:
    costs = {column: _mean(run.per_image(verdict.policy, column)) for column in ("gflops", "tokens", "symbols")}
    return PolicyCard.model_validate(
        {
            "policy": verdict.policy,
            "verdict": verdict.level,
            "deploy": answer,
            "leakage": Measured.of(verdict.leakage),
            "recognised": Measured.of(verdict.recognisable),
            "accuracy": None if run.about["task"] is None else _mean(run.per_image(verdict.policy, "correct")),
            **costs,
            "flags": [flag.name for flag in verdict.flags],
            "placer": None if (found := handed(run).get(verdict.policy)) is None else found.as_dict(),
        }
    )


def _cut(name: object) -> str:
    return str(name)[:LONGEST]


def _mean(values: Tensor) -> float | None:
    mean = float(values.mean())
    return mean if math.isfinite(mean) else None
