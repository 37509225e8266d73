"""The kinds of folders that commands write."""

from __future__ import annotations

from dataclasses import dataclass

FORMAT = 3  # of every kind of folder; no other is read


@dataclass(frozen=True)
class Kind:
    """One kind of folder.

    Attributes:
        noun: what people call it.
        command: that makes it.
        settings: the file that says what was asked for and with what; a folder that has it is of this kind.
        files: everything else that the command writes there, which a new one replaces. Names of folders end in ``/``.
    """

    noun: str
    command: str
    settings: str
    files: tuple[str, ...]


KINDS = {
    "attack": Kind(
        "run",
        "atm attack",
        "run.json",
        ("scores.csv", "link.csv", "seconds.csv", "history.jsonl", "placers.jsonl", "steps.jsonl",
         "bounds.csv", "transcripts.csv", "report.html", "card.json", "images/"),
    ),
    "compare": Kind(
        "comparison", "atm compare", "compare.json", ("points.jsonl", "points.csv", "compare.svg", "compare.html")
    ),
    "sweep": Kind("sweep", "atm sweep", "sweep.json", ("points.jsonl", "frames.json", "points.csv", "sweep.html")),
    "search": Kind(
        "search", "atm search", "search.json", ("trials.jsonl", "front.csv", "report.html", "policies/", "rescored/")
    ),
    "merging": Kind(
        "training of merging", "atm train merging", "merging.json",
        ("losses.jsonl", "checkpoint/", "policy.yaml", "card.md"),
    ),
    "projector": Kind(
        "training of a projector", "atm train projector", "projector.json",
        ("losses.jsonl", "checkpoint/", "config.json", "projector.safetensors", "card.md"),
    ),
}  # fmt: skip
