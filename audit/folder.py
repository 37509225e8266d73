"""The folder of an attack, and what is to be written into it.

A pair of policy and attack is finished once its rows are in ``scores.csv``.

Its pictures, its training history and the time it took are in place before that. Where a kill came in between, the
attack is run again, and of two lines about one thing the last counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from atm.signals import Signal
from atm.store import RunStore, inside
from attacks.beginning import Beginning
from reports.run import HISTORY, LINK, LINKS, PLACERS, REPEAT, SCORE, SCORES, SECOND, SECONDS
from reports.transcripts import TRANSCRIPT, TRANSCRIPTS


class Results(ABC):
    """What attacks have to say, in lines, rows and pictures.

    Attributes:
        done: policy, attack and repeat of what has scores.
        linked: policy and repeat of what has rows of the link.
    """

    done: set[tuple[str, str, int]]
    linked: set[tuple[str, int]]

    @abstractmethod
    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Add a line to a file of JSON lines."""

    @abstractmethod
    def append_rows(self, name: str, rows: pd.DataFrame) -> None:
        """Add rows to a CSV file."""

    @abstractmethod
    def write_folder(self, names: Sequence[str], contents: Mapping[str, bytes]) -> None:
        """Write a folder of files by the steps of its path."""

    def finished(self, policy: str, attack: str, repeat: int = 0) -> bool:
        """Whether an attack's scores are there."""
        return (policy, attack, repeat) in self.done

    def add_link(self, policy: str, rows: pd.DataFrame, repeat: int = 0) -> None:
        """Add a policy's row per image, unless they are there."""
        if (policy, repeat) not in self.linked:
            self.append_rows(LINKS, rows.assign(**{REPEAT: repeat})[list(LINK)])
            self.linked.add((policy, repeat))

    def add_transcripts(
        self, policy: str, attack: str, texts: Sequence[str], wrong: Sequence[float], repeat: int
    ) -> None:
        """Add what was written down of each sound, and its word error rate."""
        rows = pd.DataFrame({"policy": policy, "attack": attack, "image": range(len(texts)), "said": list(texts),
                             "wrong": list(wrong), REPEAT: repeat})  # fmt: skip
        self.append_rows(TRANSCRIPTS, rows[list(TRANSCRIPT)])

    def add_seconds(self, policy: str, attack: str, fit: float, reconstruct: float, repeat: int = 0) -> None:
        """Add how long an attack took."""
        row = [policy, attack, round(fit, 3), round(reconstruct, 3), repeat]
        self.append_rows(SECONDS, pd.DataFrame([row], columns=list(SECOND)))

    def add_history(self, policy: str, attack: str, repeat: int, history: Mapping[str, Any]) -> None:
        """Add what happened while an attack was trained."""
        self.append(HISTORY, {"policy": policy, "attack": attack, REPEAT: repeat, **history})

    def add_placer(self, policy: str, repeat: int, beginning: Beginning | None) -> None:
        """Add what became of the placer, where that is known; of several lines the last counts."""
        if beginning is not None:
            self.append(PLACERS, {"policy": policy, REPEAT: repeat, **beginning.as_dict()})

    def add_scores(
        self,
        policy: str,
        attack: str,
        scores: Mapping[str, Tensor],
        rebuilt: tuple[Tensor, Signal] | None,
        repeat: int = 0,
    ) -> None:
        """Add an attack's scores ``[B]`` by metric, and, of the first repeat, what it rebuilt ``[B, ...]`` if any."""
        if repeat == 0 and rebuilt is not None:
            self.save_images(f"{policy}/{attack}", *rebuilt)
        rows = [
            pd.DataFrame({"policy": policy, "attack": attack, "image": range(len(v)), "metric": m, "value": v.tolist()})
            for m, v in scores.items()
        ]
        self.append_rows(SCORES, pd.concat(rows).assign(**{REPEAT: repeat})[list(SCORE)])
        self.done.add((policy, attack, repeat))

    def save_images(self, name: str, images: Tensor, signal: Signal) -> None:
        """Write ``[B, ...]`` as the signal stores them into ``images/NAME``, replacing what is there."""
        files = {f"{number:04d}.{signal.suffix}": content for number, content in enumerate(signal.store(images))}
        self.write_folder(["images", *name.split("/")], files)


class RunFolder(RunStore, Results):
    """A run that is being written; `atm.store.RunStore` has the arguments.

    Raises:
        AtmError: a run is there and neither was asked for, it was asked for differently, or the folder is not a run's.
    """

    def __init__(
        self, path: str | Path, config: Mapping[str, Any], *, resume: bool = False, force: bool = False
    ) -> None:
        super().__init__(path, "attack", config, resume=resume, force=force)
        scores, links = self.table(SCORES, SCORE), self.table(LINKS, LINK)
        self.done = set(zip(scores.policy, scores.attack, scores[REPEAT], strict=True))
        self.linked = set(zip(links.policy, links[REPEAT], strict=True))

    def describe(self, about: Mapping[str, Any]) -> None:
        """Write ``run.json``; a resumed run keeps the one that it has, if it says the same about all that counts."""
        for policy in about["policies"]:
            inside(self.path / "images", policy["name"])  # which must be able to hold its pictures
        self.begin(about)


class Notebook(Results):
    """Results that were found where the folder is not, in their order, until it takes them.

    Args:
        folder: what is there already is not found again.
    """

    def __init__(self, folder: Results) -> None:
        self.done, self.linked = set(folder.done), set(folder.linked)
        self._told: list[_Line | _Rows | _Files] = []

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Keep a line."""
        self._told.append(_Line(name, record))

    def append_rows(self, name: str, rows: pd.DataFrame) -> None:
        """Keep rows."""
        self._told.append(_Rows(name, rows))

    def write_folder(self, names: Sequence[str], contents: Mapping[str, bytes]) -> None:
        """Keep files."""
        self._told.append(_Files(names, contents))

    def tell(self, folder: Results) -> None:
        """Write all of it into the folder."""
        for each in self._told:
            each.tell(folder)
        folder.done |= self.done
        folder.linked |= self.linked


@dataclass(frozen=True)
class _Line:
    """A line of a file of JSON lines."""

    name: str
    record: Mapping[str, Any]

    def tell(self, folder: Results) -> None:
        folder.append(self.name, self.record)


@dataclass(frozen=True)
class _Rows:
    """Rows of a CSV file."""

    name: str
    rows: pd.DataFrame

    def tell(self, folder: Results) -> None:
        folder.append_rows(self.name, self.rows)


@dataclass(frozen=True)
class _Files:
    """Files of a folder, by the steps of its path."""

    names: Sequence[str]
    contents: Mapping[str, bytes]

    def tell(self, folder: Results) -> None:
        folder.write_folder(self.names, self.contents)
