"""A run on disk, as reports read it.

``run.json`` says what was asked for and with what, ``link.csv`` has a row per policy and image, ``scores.csv`` a row
per policy, attack, image and metric, and ``images/`` the originals and the reconstructions. Where the run was repeated
with other seeds and channel draws, both tables have those rows for each ``repeat``; pictures are the first one's.
``history.jsonl`` has what happened while the attacks were trained (`attacks.base.History`), ``placers.jsonl`` what
became of a placer that they were handed (`attacks.beginning`), ``checksums.jsonl`` what of all this is finished
(`atm.store.journal`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from atm.errors import AtmError
from atm.signals import Signal
from atm.store import StoredRun, inside
from attacks import BASELINES, Baselines
from privacy_metrics.leakage import leakage
from reports.measure import measured, signal_of

SCORES, LINKS, SECONDS, HISTORY = "scores.csv", "link.csv", "seconds.csv", "history.jsonl"
PLACERS = "placers.jsonl"
REPEAT = "repeat"
# Columns of the tables, in order, with their types; None where they may be missing.
SCORE = {"policy": str, "attack": str, "image": int, "metric": str, "value": float, REPEAT: int}
LINK: dict[str, type | None] = {
    "policy": str, "image": int, "label": None, "answer": None, "correct": None, "gflops": float,
    "coding_gflops": float, "tokens": None, "symbols": None, "header": None, REPEAT: int,
}  # fmt: skip
SECOND = {"policy": str, "attack": str, "fit": float, "reconstruct": float, REPEAT: int}
KEY = ["policy", "attack", REPEAT]  # of a trained attack; of several lines the last counts


@dataclass(frozen=True)
class Run:
    """A run folder's content.

    Attributes:
        folder: where it is.
        about: ``run.json``.
        scores: ``scores.csv`` with the columns `SCORE`.
        link: ``link.csv`` with the columns `LINK`.
        seconds: ``seconds.csv`` with the columns `SECOND`: how long each attack took.
        history: ``history.jsonl``, one record per trained attack, policy and repeat.
        placers: ``placers.jsonl``, one record per policy and repeat whose attacks were handed a placer.
    """

    folder: Path
    about: dict[str, Any]
    scores: pd.DataFrame
    link: pd.DataFrame
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(SECOND)))
    placers: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, folder: str | Path) -> Run:
        """Read a run folder.

        Raises:
            AtmError: it is no run folder, a file in it is damaged, or nothing in it is finished.
        """
        stored = StoredRun(folder, "attack")
        scores, link = stored.table(SCORES, SCORE), stored.table(LINKS, LINK)
        if scores.empty:
            raise AtmError(f"run {folder} has no finished attack yet; go on with it with --resume")
        seconds = stored.table(SECONDS, SECOND).drop_duplicates(KEY, keep="last")
        history = list({tuple(record[key] for key in KEY): record for record in stored.records(HISTORY)}.values())
        placers = list({(each.get("policy"), each.get(REPEAT)): each for each in stored.records(PLACERS)}.values())
        about = {**stored.about, "notes": [*stored.about.get("notes", []), *stored.notes]}
        return cls(stored.path, about, scores, link, history, seconds, placers)

    @cached_property
    def signal(self) -> type[Signal]:
        """The kind of signal that was attacked: a picture where the run does not say otherwise."""
        return signal_of(self.about)

    @property
    def baselines(self) -> Baselines:
        """What its attacks are held against."""
        return BASELINES[self.signal.name]

    @property
    def measure(self) -> str:
        """The metric that is leakage."""
        return self.signal.leakage

    @property
    def measured(self) -> str:
        """The same for people."""
        return measured(self.about)

    @cached_property
    def policies(self) -> list[str]:
        """Policies with finished attacks, in the order asked for."""
        done = set(self.scores.policy)
        return [policy["name"] for policy in self.about["policies"] if policy["name"] in done]

    @cached_property
    def attacks(self) -> list[str]:
        """Finished attacks in the order asked for, blind baselines first."""
        done = set(self.scores.attack)
        return [attack for attack in self.about["attacks"] if attack in done]

    def took(self, attack: str) -> float:
        """Seconds of one attack over all policies and repeats; what it shares with another counts for the first."""
        return float(self.seconds[self.seconds.attack == attack][["fit", "reconstruct"]].to_numpy().sum())

    @property
    def finished(self) -> bool:
        """Whether every attack on every policy is there, as often as it was asked for."""
        names = len(self.about["attacks"]) + len(self.about.get("inferences", []))
        pairs = len(self.about["policies"]) * names
        return len(self.scores[["policy", "attack", REPEAT]].drop_duplicates()) == pairs * self.repeats

    @property
    def repeats(self) -> int:
        """How often each attack was asked for, each time with another seed and other channel draws."""
        return int(self.about["config"]["repeats"])

    def values(self, policy: str, attack: str, metric: str) -> Tensor:
        """``[B]`` scores of one attack on one policy, by image number, averaged over repeats; empty where missing."""
        return self.repeated(policy, attack, metric).mean(0)

    def repeated(self, policy: str, attack: str, metric: str) -> Tensor:
        """``[R, B]`` scores of one attack on one policy, by repeat and image number; ``[1, 0]`` where missing."""
        return self._repeated.get((policy, attack, metric), torch.empty(1, 0, dtype=torch.float64))

    @cached_property
    def _repeated(self) -> dict[Any, Tensor]:
        """By policy, attack and metric; a report asks for each of them many times."""
        grouped = self.scores.sort_values([REPEAT, "image"]).groupby(["policy", "attack", "metric"], sort=False)
        return {
            key: torch.tensor(rows.value.to_numpy(dtype=float)).reshape(rows[REPEAT].nunique(), -1)
            for key, rows in grouped
        }

    def worst_case(self, policy: str, blind_only: bool = False) -> Tensor:
        """``[B]``: for each image the leakage by the best attack (or blind baseline), averaged over repeats."""
        return self.worst_repeats(policy, blind_only).mean(0)

    def worst_repeats(self, policy: str, blind_only: bool = False) -> Tensor:
        """``[R, B]``: as `worst_case`, for each of the repeats that every finished attack has.

        A random auxiliary picture is nobody's answer, and stays out of it.
        """
        known = self.baselines
        names = [a for a in self.attacks if a != known.random and (a in known.constant or not blind_only)]
        scores = {a: values for a in names if (values := self.repeated(policy, a, self.measure)).numel()}
        fewest = min((len(values) for values in scores.values()), default=0)
        rows = [leakage({a: values[r] for a, values in scores.items()}) for r in range(fewest)]
        return torch.stack(rows) if rows else leakage({})

    def blind_repeats(self, policy: str) -> Tensor:
        """``[R, B]``: as `worst_repeats`, without the tokens: the better of the blind baselines, -1 where none ran.

        Both give one answer to every picture, so that their maximum is the same whatever the seed. A random auxiliary
        picture would raise it for whichever picture it happens to resemble, and hide what leaks there.
        """
        worst = self.worst_repeats(policy)
        if not any(self.repeated(policy, a, self.measure).numel() for a in self.baselines.constant):
            return torch.full_like(worst, -1.0)
        return self.worst_repeats(policy, blind_only=True)[: len(worst)]

    def per_image(self, policy: str, column: str) -> Tensor:
        """``[B]`` of one column of the link table, averaged over repeats."""
        rows = self.link[self.link.policy == policy]
        return torch.tensor(rows.groupby("image")[column].mean().to_numpy(dtype=float))

    def bandwidth_ratio(self, policy: str) -> float | None:
        """Channel bandwidth ratio: mean complex symbols per image over its 3HW source values, where they are known."""
        values = self.about.get("source_values")
        return float(self.per_image(policy, "symbols").mean()) / values if values else None

    def image_file(self, policy: str, attack: str, image: int) -> Path:
        """Where a reconstruction is; the original for the attack ``original``."""
        return inside(self.folder, *self._steps(policy, attack, image))

    def picture(self, policy: str, attack: str, image: int) -> bytes | None:
        """The file of a reconstruction, or for the attack ``original`` of the original; None where it is missing.

        Raises:
            AtmError: it is damaged, a link, or its name leads out of the folder.
        """
        return self._stored.read_bytes(*self._steps(policy, attack, image))

    @cached_property
    def _stored(self) -> StoredRun:
        return StoredRun(self.folder, "attack")

    def _steps(self, policy: str, attack: str, image: int) -> list[str]:
        folders = [attack] if attack == "original" else [policy, attack]
        return ["images", *folders, f"{image:04d}.{self.signal.suffix}"]
