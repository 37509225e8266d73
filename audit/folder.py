"""Writing a run folder so that nothing finished is lost and nothing half-written stays.

Every file appears whole, by renaming a temporary one. A pair of policy and attack is finished once its rows are in
``scores.csv``; its pictures are in place before that.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from atm.errors import AtmError
from reports.run import FORMAT, LINK, REPEAT, SCORES, SECONDS, read_about, read_history, read_table


class RunFolder:
    """A run that is being written.

    Args:
        path: the folder; made if missing.
        config: what was asked for; a resumed run must have been asked for the same.
        resume: go on with a run that is there.
        force: throw away a run that is there.

    Raises:
        AtmError: a run is there and neither was asked for, it was asked for differently, or the folder is not a run's.
    """

    def __init__(
        self, path: str | Path, config: Mapping[str, Any], *, resume: bool = False, force: bool = False
    ) -> None:
        self.path = Path(path)
        self.scores = pd.DataFrame(columns=[*SCORES, REPEAT])
        self.link = pd.DataFrame(columns=[*LINK, REPEAT])
        self.seconds = pd.DataFrame(columns=[*SECONDS, REPEAT])
        self.history: list[dict[str, Any]] = []
        self.about: dict[str, Any] = {}
        if (self.path / "run.json").exists():
            if not resume and not force:
                raise AtmError(
                    f"{self.path} already holds a run; use --resume to go on with it or --force to replace it"
                )
            if resume:
                self._take_over(config)
        elif self.path.exists() and not self.path.is_dir():
            raise AtmError(f"{self.path} is a file; choose another --out")
        elif self.path.exists() and any(not p.name.endswith(".partial") for p in self.path.iterdir()):
            raise AtmError(f"{self.path} holds something that is no run; choose another --out")

    def _take_over(self, config: Mapping[str, Any]) -> None:
        about = read_about(self.path)
        about["config"].setdefault("repeats", 1)  # runs of format 1 know no repeats
        asked = json.loads(json.dumps(dict(config)))
        for key in sorted(asked.keys() | about["config"].keys()):
            if asked.get(key) != about["config"].get(key):
                raise AtmError(
                    f"{self.path} was run with {key} = {about['config'].get(key)!r}, not {asked.get(key)!r}; "
                    "give the same to resume it, or another --out"
                )
        self.about = about
        self.scores = read_table(self.path / "scores.csv", SCORES)
        self.link = read_table(self.path / "link.csv", LINK)
        self.seconds = read_table(self.path / "seconds.csv", SECONDS)
        self.history = read_history(self.path)

    def _clear(self) -> None:
        """Make the folder, or empty it of a run that is to be replaced."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AtmError(f"output folder {self.path} cannot be made: {error.strerror}") from None
        for name in ("run.json", "scores.csv", "link.csv", "seconds.csv", "history.json", "bounds.csv", "report.html"):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / "images", ignore_errors=True)

    def describe(self, about: Mapping[str, Any]) -> None:
        """Write ``run.json``; a resumed run keeps the one that it has, if it says the same about data and weights."""
        fresh = {"format": FORMAT, **about}
        for key in ("victim", "codec", "data", "policies"):
            if self.about and self.about[key] != json.loads(json.dumps(fresh[key])):
                raise AtmError(
                    f"{self.path}: the {key} is no longer what it was when this run began; use another --out"
                )
        if not self.about:
            self._clear()
            self.about = fresh
            _write(self.path / "run.json", json.dumps(fresh, indent=2, ensure_ascii=False).encode())

    def finished(self, policy: str, attack: str, repeat: int = 0) -> bool:
        """Whether an attack's scores are there."""
        s = self.scores
        return bool(((s.policy == policy) & (s.attack == attack) & (s[REPEAT] == repeat)).any())

    def add_link(self, policy: str, rows: pd.DataFrame, repeat: int = 0) -> None:
        """Add a policy's row per image."""
        if not ((self.link.policy == policy) & (self.link[REPEAT] == repeat)).any():
            self.link = _append(self.link, rows[LINK].assign(**{REPEAT: repeat}))
            _write_csv(self.path / "link.csv", self.link)

    def add_seconds(self, policy: str, attack: str, fit: float, reconstruct: float, repeat: int = 0) -> None:
        """Add how long an attack took."""
        row = [policy, attack, round(fit, 3), round(reconstruct, 3), repeat]
        self.seconds = _append(self.seconds, pd.DataFrame([row], columns=[*SECONDS, REPEAT]))
        _write_csv(self.path / "seconds.csv", self.seconds)

    def add_history(self, policy: str, attack: str, repeat: int, history: Mapping[str, Any]) -> None:
        """Add what happened while an attack was trained."""
        key = {"policy": policy, "attack": attack, REPEAT: repeat}
        others = [record for record in self.history if any(record[k] != v for k, v in key.items())]
        self.history = [*others, {**key, **history}]
        _write(self.path / "history.json", json.dumps(self.history).encode())

    def add_scores(
        self, policy: str, attack: str, scores: Mapping[str, Tensor], images: Tensor | None, repeat: int = 0
    ) -> None:
        """Add an attack's scores ``[B]`` by metric, and, of the first repeat, its images ``[B, 3, H, W]`` if any."""
        if repeat == 0 and images is not None:
            self.save_images(f"{policy}/{attack}", images)
        rows = [
            pd.DataFrame({"policy": policy, "attack": attack, "image": range(len(v)), "metric": m, "value": v.tolist()})
            for m, v in scores.items()
        ]
        self.scores = _append(self.scores, pd.concat(rows)[SCORES].assign(**{REPEAT: repeat}))
        _write_csv(self.path / "scores.csv", self.scores)

    def save_images(self, name: str, images: Tensor) -> None:
        """Write ``[B, 3, H, W]`` in [0, 1] as PNG files into ``images/NAME``, unless they are there."""
        folder = self.path / "images" / name
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for number, pixels in enumerate((images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()):
            Image.fromarray(pixels.numpy()).save(partial / f"{number:04d}.png")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)


def _append(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    return rows.copy() if table.empty else pd.concat([table, rows], ignore_index=True)


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    out = io.StringIO()
    table.to_csv(out, index=False)
    _write(path, out.getvalue().encode())


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
