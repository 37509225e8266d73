"""A run on disk, as reports read it.

``run.json`` says what was asked for and with what, ``link.csv`` has a row per policy and image, ``scores.csv`` a row
per policy, attack, image and metric, and ``images/`` the originals and the reconstructions. Where the run was repeated
with other seeds and channel draws, both tables have those rows for each ``repeat``; pictures are the first one's.
``history.json`` has what happened while the attacks were trained (`attacks.base.History`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from atm.errors import AtmError
from attacks import BLIND, RANDOM
from privacy_metrics.leakage import leakage

FORMAT = 2
READABLE = (1, 2)  # format 1 has no repeats and no history
SCORES = ["policy", "attack", "image", "metric", "value"]
LINK = ["policy", "image", "label", "answer", "correct", "gflops", "tokens", "symbols"]
SECONDS = ["policy", "attack", "fit", "reconstruct"]
REPEAT = "repeat"  # the last column of both tables, where it is missing everything is of repeat 0


@dataclass(frozen=True)
class Run:
    """A run folder's content.

    Attributes:
        folder: where it is.
        about: ``run.json``.
        scores: ``scores.csv`` with the columns `SCORES` and `REPEAT`.
        link: ``link.csv`` with the columns `LINK` and `REPEAT`.
        seconds: ``seconds.csv`` with the columns `SECONDS` and `REPEAT`: how long each attack took.
        history: ``history.json``, one record per trained attack, policy and repeat.
    """

    folder: Path
    about: dict[str, Any]
    scores: pd.DataFrame
    link: pd.DataFrame
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*SECONDS, REPEAT]))

    @classmethod
    def read(cls, folder: str | Path) -> Run:
        """Read a run folder.

        Raises:
            AtmError: it is no run folder, a file in it is damaged, or nothing in it is finished.
        """
        folder = Path(folder)
        about = read_about(folder)
        scores = read_table(folder / "scores.csv", SCORES)
        link = read_table(folder / "link.csv", LINK)
        if scores.empty:
            raise AtmError(f"run {folder} has no finished attack yet; go on with it with --resume")
        return cls(folder, about, scores, link, read_history(folder), read_table(folder / "seconds.csv", SECONDS))

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
        return int(self.about["config"].get("repeats", 1))

    def values(self, policy: str, attack: str, metric: str) -> Tensor:
        """``[B]`` scores of one attack on one policy, by image number, averaged over repeats; empty where missing."""
        return self.repeated(policy, attack, metric).mean(0)

    def repeated(self, policy: str, attack: str, metric: str) -> Tensor:
        """``[R, B]`` scores of one attack on one policy, by repeat and image number; ``[1, 0]`` where missing."""
        s = self.scores
        rows = s[(s.policy == policy) & (s.attack == attack) & (s.metric == metric)].sort_values([REPEAT, "image"])
        values = torch.tensor(rows.value.to_numpy(dtype=float))
        return values.reshape(max(rows[REPEAT].nunique(), 1), -1)

    def worst_case(self, policy: str, blind_only: bool = False) -> Tensor:
        """``[B]``: for each image the best SSIM of any attack (or any blind baseline), averaged over repeats."""
        return self.worst_repeats(policy, blind_only).mean(0)

    def worst_repeats(self, policy: str, blind_only: bool = False) -> Tensor:
        """``[R, B]``: as `worst_case`, for each of the repeats that every finished attack has.

        A random auxiliary picture is nobody's answer, and stays out of it.
        """
        names = [a for a in self.attacks if a != RANDOM and (a in BLIND or not blind_only)]
        scores = {a: values for a in names if (values := self.repeated(policy, a, "ssim")).numel()}
        fewest = min((len(values) for values in scores.values()), default=0)
        rows = [leakage({a: values[r] for a, values in scores.items()}) for r in range(fewest)]
        return torch.stack(rows) if rows else leakage({})

    def blind_repeats(self, policy: str) -> Tensor:
        """``[R, B]``: as `worst_repeats`, without the tokens: the better of the blind baselines, -1 where none ran.

        Both give one answer to every picture, so that their maximum is the same whatever the seed. A random auxiliary
        picture would raise it for whichever picture it happens to resemble, and hide what leaks there.
        """
        worst = self.worst_repeats(policy)
        if not any(self.repeated(policy, a, "ssim").numel() for a in BLIND if a != RANDOM):
            return torch.full_like(worst, -1.0)
        return self.worst_repeats(policy, blind_only=True)[: len(worst)]

    def per_image(self, policy: str, column: str) -> Tensor:
        """``[B]`` of one column of the link table, averaged over repeats."""
        rows = self.link[self.link.policy == policy]
        return torch.tensor(rows.groupby("image")[column].mean().to_numpy(dtype=float))

    def bandwidth_ratio(self, policy: str) -> float | None:
        """Channel bandwidth ratio: mean complex symbols per image over its 3HW source values; None in old runs."""
        values = self.about["codec"].get("source_values")
        return float(self.per_image(policy, "symbols").mean()) / values if values else None

    def image_file(self, policy: str, attack: str, image: int) -> Path:
        """Where a reconstruction is; the original for the attack ``original``."""
        folder = self.folder / "images"
        return (folder / attack if attack == "original" else folder / policy / attack) / f"{image:04d}.png"


def read_about(folder: Path) -> dict[str, Any]:
    """``run.json`` of a run folder.

    Raises:
        AtmError: there is none, or it cannot be read.
    """
    path = folder / "run.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AtmError(
            f"{folder} is no run folder: it has no run.json; make one with 'atm attack --out {folder}'"
        ) from None
    except (OSError, ValueError) as error:
        raise AtmError(f"{path} cannot be read: {error}") from None
    if not isinstance(about, dict) or about.get("format") not in READABLE:
        raise AtmError(f"{path} is not of format {' or '.join(map(str, READABLE))}, which this version reads")
    return about


def read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    """A table of a run folder, with the column `REPEAT` behind those asked for; empty if it is not there yet.

    Raises:
        AtmError: it cannot be read or has other columns.
    """
    try:
        table = pd.read_csv(path, dtype={"policy": str, "attack": str}, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        return pd.DataFrame(columns=[*columns, REPEAT])
    except (OSError, ValueError) as error:
        raise AtmError(f"{path} cannot be read: {error}") from None
    if REPEAT not in table.columns:
        table[REPEAT] = 0
    if list(table.columns) != [*columns, REPEAT]:
        raise AtmError(f"{path} has the columns {list(table.columns)}, expected {columns}")
    return table


def read_history(folder: Path) -> list[dict[str, Any]]:
    """``history.json`` of a run folder; empty if it is not there.

    Raises:
        AtmError: it cannot be read.
    """
    path = folder / "history.json"
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise AtmError(f"{path} cannot be read: {error}") from None
    if not isinstance(records, list):
        raise AtmError(f"{path} holds no list of records")
    return records
