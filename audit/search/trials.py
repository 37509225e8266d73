"""Evaluations on disk: one line each, safe before the next begins."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from atm.errors import AtmError
from atm.policy import MergePolicy


@dataclass(frozen=True)
class Measured:
    """Numbers of one policy.

    Attributes:
        values: by objective.
        noise: variance of each value's error, from the bootstrap.
    """

    values: Mapping[str, float]
    noise: Mapping[str, float]


@dataclass(frozen=True)
class Trial:
    """One evaluation.

    Attributes:
        number: from 0; also seeds its proposal.
        thresholds: one per layer.
        source: why it was proposed: ``start``, ``model``, or ``fill`` where the model had nothing new.
        effect: what identifies the merges that it does; equal effects mean equal outcomes.
        values: by objective; empty if it failed.
        noise: variances of the values.
        failure: why it has no values; None if it has.
        seconds: that the evaluation took. This alone differs between two runs with the same seed.
    """

    number: int
    thresholds: tuple[float, ...]
    source: str
    effect: str
    values: Mapping[str, float] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """What its policy is called."""
        return f"trial-{self.number:04d}"

    @property
    def policy(self) -> MergePolicy:
        """The policy that was evaluated."""
        return MergePolicy(self.thresholds, name=self.name)

    @classmethod
    def from_line(cls, line: str) -> Trial:
        """The inverse of `line`; raises ``ValueError``, ``TypeError`` or ``KeyError`` for anything else."""
        content = json.loads(line)
        return cls(**{**content, "thresholds": tuple(content["thresholds"])})

    def line(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self), allow_nan=False)


def finite(measured: Measured) -> str | None:
    """Why numbers cannot be used, or None if they can."""
    wrong = [f"{name} is {value}" for name, value in measured.values.items() if not math.isfinite(value)]
    wrong += [f"the noise of {name} is {value}" for name, value in measured.noise.items() if not math.isfinite(value)]
    return ", ".join(wrong) or None


def read_trials(path: Path) -> list[Trial]:
    """The finished evaluations in a file, which stays as it is: a search may be writing it. Empty if there is none.

    Raises:
        AtmError: a line before the last one is damaged; the last may be torn by a kill.
    """
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    lines = text.split("\n")
    trials = []
    for number, line in enumerate(lines[:-1], 1):  # what follows the last newline was torn
        try:
            trials.append(Trial.from_line(line))
        except (ValueError, TypeError, KeyError):
            if number < len(lines) - 1:
                raise AtmError(
                    f"{path}, line {number} is damaged; delete that line or start anew with --force"
                ) from None
    return trials


class TrialLog:
    """``trials.jsonl``, for the one search that writes it; others read it with `read_trials`.

    Args:
        path: of the file. What is there is kept, except a last line that a kill tore.

    Raises:
        AtmError: a line before the last one is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials = read_trials(path)
        replace_file(path, "".join(trial.line() + "\n" for trial in self.trials))

    def add(self, trial: Trial) -> None:
        """Append, and return once the line is on disk."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(trial.line() + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.trials.append(trial)


def replace_file(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read_json(path: Path) -> dict[str, Any]:
    """An object from a JSON file.

    Raises:
        AtmError: there is none, or it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AtmError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise AtmError(f"{path} holds no JSON object")
    return content
