"""A run on disk, as reports read it.

``run.json`` says what was asked for and with what, ``link.csv`` has a row per policy and image, ``scores.csv`` a row
per policy, attack, image and metric, and ``images/`` the originals and the reconstructions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from atm.errors import AtmError
from attacks import FLOORS
from privacy_metrics.leakage import leakage

FORMAT = 1
SCORES = ["policy", "attack", "image", "metric", "value"]
LINK = ["policy", "image", "label", "answer", "correct", "gflops", "tokens", "symbols"]


@dataclass(frozen=True)
class Run:
    """A run folder's content.

    Attributes:
        folder: where it is.
        about: ``run.json``.
        scores: ``scores.csv`` with the columns `SCORES`.
        link: ``link.csv`` with the columns `LINK`.
    """

    folder: Path
    about: dict[str, Any]
    scores: pd.DataFrame
    link: pd.DataFrame

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
        return cls(folder, about, scores, link)

    @cached_property
    def policies(self) -> list[str]:
        """Policies with finished attacks, in the order asked for."""
        done = set(self.scores.policy)
        return [policy["name"] for policy in self.about["policies"] if policy["name"] in done]

    @cached_property
    def attacks(self) -> list[str]:
        """Finished attacks in the order asked for, floors first."""
        done = set(self.scores.attack)
        return [attack for attack in self.about["attacks"] if attack in done]

    @property
    def finished(self) -> bool:
        """Whether every attack on every policy is there."""
        return len(self.scores[["policy", "attack"]].drop_duplicates()) == len(self.about["policies"]) * len(
            self.about["attacks"]
        )

    def values(self, policy: str, attack: str, metric: str) -> Tensor:
        """``[B]`` scores of one attack on one policy, by image number; empty where the metric is missing."""
        s = self.scores
        rows = s[(s.policy == policy) & (s.attack == attack) & (s.metric == metric)].sort_values("image")
        return torch.tensor(rows.value.to_numpy(dtype=float))

    def worst_case(self, policy: str, floors_only: bool = False) -> Tensor:
        """``[B]``: for each image the best SSIM that any attack (or any floor alone) reached."""
        names = [a for a in self.attacks if a in FLOORS] if floors_only else self.attacks
        scores = {a: values for a in names if len(values := self.values(policy, a, "ssim"))}
        return leakage(scores)

    def per_image(self, policy: str, column: str) -> Tensor:
        """``[B]`` of one column of the link table."""
        rows = self.link[self.link.policy == policy].sort_values("image")
        return torch.tensor(rows[column].to_numpy(dtype=float))

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
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise AtmError(f"{path} is not of format {FORMAT}, which this version reads")
    return about


def read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    """A table of a run folder; empty if it is not there yet.

    Raises:
        AtmError: it cannot be read or has other columns.
    """
    try:
        table = pd.read_csv(path, dtype={"policy": str, "attack": str}, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        return pd.DataFrame(columns=columns)
    except (OSError, ValueError) as error:
        raise AtmError(f"{path} cannot be read: {error}") from None
    if list(table.columns) != columns:
        raise AtmError(f"{path} has the columns {list(table.columns)}, expected {columns}")
    return table
