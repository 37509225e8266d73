"""The folder of an attack: a pair of policy and attack is finished once its rows are in ``scores.csv``.

Its pictures, its training history and the time it took are in place before that. Where a kill came in between, the
attack is run again, and of two lines about one thing the last counts.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from atm.store import RunStore, inside
from reports.run import HISTORY, LINK, LINKS, REPEAT, SCORE, SCORES, SECOND, SECONDS


class RunFolder(RunStore):
    """A run that is being written; `atm.store.RunStore` has the arguments.

    Raises:
        AtmError: a run is there and neither was asked for, it was asked for differently, or the folder is not a run's.
    """

    def __init__(
        self, path: str | Path, config: Mapping[str, Any], *, resume: bool = False, force: bool = False
    ) -> None:
        super().__init__(path, "attack", config, resume=resume, force=force)
        scores, links = self.table(SCORES, SCORE), self.table(LINKS, LINK)
        self._finished = set(zip(scores.policy, scores.attack, scores[REPEAT], strict=True))
        self._linked = set(zip(links.policy, links[REPEAT], strict=True))

    def describe(self, about: Mapping[str, Any]) -> None:
        """Write ``run.json``; a resumed run keeps the one that it has, if it says the same about all that counts."""
        for policy in about["policies"]:
            inside(self.path / "images", policy["name"])  # which must be able to hold its pictures
        self.begin(about)

    def finished(self, policy: str, attack: str, repeat: int = 0) -> bool:
        """Whether an attack's scores are there."""
        return (policy, attack, repeat) in self._finished

    def add_link(self, policy: str, rows: pd.DataFrame, repeat: int = 0) -> None:
        """Add a policy's row per image, unless they are there."""
        if (policy, repeat) not in self._linked:
            self.append_rows(LINKS, rows.assign(**{REPEAT: repeat})[list(LINK)])
            self._linked.add((policy, repeat))

    def add_seconds(self, policy: str, attack: str, fit: float, reconstruct: float, repeat: int = 0) -> None:
        """Add how long an attack took."""
        row = [policy, attack, round(fit, 3), round(reconstruct, 3), repeat]
        self.append_rows(SECONDS, pd.DataFrame([row], columns=list(SECOND)))

    def add_history(self, policy: str, attack: str, repeat: int, history: Mapping[str, Any]) -> None:
        """Add what happened while an attack was trained."""
        self.append(HISTORY, {"policy": policy, "attack": attack, REPEAT: repeat, **history})

    def add_scores(
        self, policy: str, attack: str, scores: Mapping[str, Tensor], images: Tensor | None, repeat: int = 0
    ) -> None:
        """Add an attack's scores ``[B]`` by metric, and, of the first repeat, its images ``[B, C, H, W]`` if any."""
        if repeat == 0 and images is not None:
            self.save_images(f"{policy}/{attack}", images)
        rows = [
            pd.DataFrame({"policy": policy, "attack": attack, "image": range(len(v)), "metric": m, "value": v.tolist()})
            for m, v in scores.items()
        ]
        self.append_rows(SCORES, pd.concat(rows).assign(**{REPEAT: repeat})[list(SCORE)])
        self._finished.add((policy, attack, repeat))

    def save_images(self, name: str, images: Tensor) -> None:
        """Write ``[B, C, H, W]`` in [0, 1] as PNG files into ``images/NAME``, replacing what is there."""
        contents = {}
        for number, pixels in enumerate((images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()):
            png = io.BytesIO()
            Image.fromarray(pixels.squeeze(-1).numpy()).save(png, format="PNG")  # Pillow wants grey as [H, W]
            contents[f"{number:04d}.png"] = png.getvalue()
        self.write_folder(["images", *name.split("/")], contents)
