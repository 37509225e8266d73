"""A comparison of defences on disk, its sentences, and its page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from atm.store import StoredRun, write
from attacks import BASELINES
from privacy_metrics.significance import SURE, holm, paired_p_value
from privacy_metrics.statistics import Effect, Interval, bootstrap_mean, paired_effect
from reports.figures import svg
from reports.measure import averaged, measured, signal_of
from reports.order import asked_for, position
from reports.page import image_of, page
from reports.settings import check_comparison

POINTS, PAGE = "points.jsonl", "compare.html"
FEWEST = 100  # images without which no sentence claims anything
NEGLIGIBLE = 0.01  # mean difference of leakage that makes no difference to anybody
COLOURS = {"none": "#5c5c5c", "merging": "#2f6690", "dropping": "#d1495b", "noise": "#edae49", "defence": "#66a182"}
COSTS = {"correct": "task", "gflops": "GFLOPs on the device", "symbols": "channel symbols"}


@dataclass(frozen=True)
class Pair:
    """A merging policy beside what was matched to it: differences are merging's less the other's, image by image."""

    policy: str
    other: str
    kind: str
    leakage: Effect
    accuracy: Interval
    symbols: Interval
    sentence: str


@dataclass(frozen=True)
class Comparison:
    """A folder's content: ``compare.json`` and the lines of ``points.jsonl``."""

    folder: Path
    about: dict[str, Any]
    points: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: str | Path) -> Comparison:
        """Read it, in the order that was asked for; what is not finished is as if it were not there.

        Raises:
            AtmError: it is no such folder, or damaged.
        """
        stored = StoredRun(folder, "compare")
        check_comparison(stored.about, stored.path / "compare.json")
        return cls(stored.path, stored.about, sorted(stored.records(POINTS), key=_place(stored.about)))

    def pairs(self) -> list[Pair]:
        """Every matched pair with its paired test on the same images, corrected for the number of pairs (Holm)."""
        known = {point["name"]: point for point in self.points}
        matched = [(known[p["matched_to"]], p) for p in self.points if p["matched_to"] in known]
        matched = [(merged, other) for merged, other in matched if len(other["leakage"]) > 1]
        tests = [paired_p_value(merged["leakage"], other["leakage"], two_sided=True) for merged, other in matched]
        what = measured(self.about)
        things = f"{signal_of(self.about).noun}s"
        return [_pair(merged, other, p, what, things) for (merged, other), p in zip(matched, holm(tests), strict=True)]

    def attacked(self) -> list[str]:
        """What every system was attacked with, in sentences: which attacks ran, and what kept them short."""
        if not self.points:
            return []
        signal = signal_of(self.about)
        ran = {point["name"]: list(point[signal.leakage]) for point in self.points}
        everywhere = [a for a in next(iter(ran.values())) if all(a in names for names in ran.values())]
        blind = [a for a in everywhere if a in BASELINES[signal.name].blind]
        reading = [a for a in everywhere if a not in blind]
        found = [
            f"Attacked with {', '.join(reading) or 'no attack that ran everywhere'}, trained anew against every "
            f"system, beside what reads no token: {', '.join(blind)}."
        ]
        for name, names in ran.items():
            if more := [a for a in names if a not in everywhere]:
                found.append(f"{name} was attacked with {', '.join(more)} too.")
        config = self.about.get("config")
        if isinstance(config, dict) and config.get("quick"):
            found.append("Attacks took few steps (--quick), and stronger ones may leak more.")
        for point in self.points:
            if point.get("cut"):
                found.append(f"The time budget ended {', '.join(point['cut'])} on {point['name']} (--budget).")
        return found

    def table(self) -> pd.DataFrame:
        """A row per system with the mean and the 95% interval of each cost and of the leakage."""
        rows = []
        for point in self.points:
            row: dict[str, Any] = {key: point[key] or "" for key in ("name", "kind", "policy", "defence", "matched_to")}
            for column in ("correct", "gflops", "tokens", "symbols", "leakage"):
                interval = averaged(column, point[column])
                row |= {column: interval.estimate, f"{column}_low": interval.low, f"{column}_high": interval.high}
            rows.append(row)
        return pd.DataFrame(rows)


def _place(about: dict[str, Any]) -> Callable[[dict[str, Any]], tuple[int, int]]:
    """Where a system stands, in whatever order they were measured: after its policy, or among the other defences."""
    policies = [policy["name"] for policy in about.get("policies", ())]
    others, kinds = asked_for(about, "defenses"), list(COLOURS)

    def place(point: dict[str, Any]) -> tuple[int, int]:
        if point["kind"] == "defence":
            return len(policies), position(point["defence"], others)
        return position(point["matched_to"] or point["policy"], policies), position(point["kind"], kinds)

    return place


def _pair(merged: dict[str, Any], other: dict[str, Any], p_value: float, metric: str, things: str) -> Pair:
    effect = paired_effect(merged["leakage"], other["leakage"])
    accuracy = bootstrap_mean([a - b for a, b in zip(merged["correct"], other["correct"], strict=True)])
    symbols = bootstrap_mean([a - b for a, b in zip(merged["symbols"], other["symbols"], strict=True)])
    difference = effect.difference
    what = {"dropping": "plain dropping of the same bandwidth", "noise": "noise of the same accuracy"}[other["kind"]]
    numbers = (
        f"{metric} {difference.estimate:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}] on the same "
        f"{difference.n} {things}, effect size {effect.size:+.2f}"
    )
    if difference.n < FEWEST:
        verdict = f"too few {things} to say whether {merged['name']} leaks more or less than {what}"
    elif p_value < SURE:
        verdict = f"{merged['name']} leaks {'more' if difference.estimate > 0 else 'less'} than {what}"
    else:
        verdict = f"no difference in leakage was found between {merged['name']} and {what}"
    if difference.n >= FEWEST and max(abs(difference.low), abs(difference.high)) < NEGLIGIBLE:
        verdict += ", by a margin too small to matter"
    if other["kind"] == "noise" and (accuracy.low > 0 or accuracy.high < 0):
        verdict += ", which is no comparison of equals: set to that on the adversary's own, it has surely another here"
    price = f"its answers differ by {accuracy.estimate:+.1%} in accuracy, its frames by {symbols.estimate:+.0f} symbols"
    sentence = f"{verdict[0].upper()}{verdict[1:]} ({numbers}; {price})."
    return Pair(merged["name"], other["name"], other["kind"], effect, accuracy, symbols, sentence)


def write_comparison(folder: str | Path) -> Path:
    """Write ``points.csv``, ``compare.svg`` and ``compare.html``, each whole or not at all."""
    comparison = Comparison.read(folder)
    table = comparison.table()
    figure = draw(comparison)
    html = page(
        "compare.html.j2",
        signal=signal_of(comparison.about),
        about=comparison.about,
        measured=measured(comparison.about),
        things=f"{signal_of(comparison.about).noun}s",
        points=table.to_dict("records"),
        pairs=comparison.pairs(),
        attacked=comparison.attacked(),
        figure=image_of(figure, "Leakage of each system against what it costs; the table has all numbers"),
    )
    alone = figure.replace("<svg", '<svg style="background: white"', 1)
    for name, text in (("points.csv", table.to_csv(index=False)), ("compare.svg", alone), (PAGE, html)):
        write(comparison.folder / name, text)
    return comparison.folder / PAGE


def _label(point: dict[str, Any]) -> str:
    """A policy's name, or a defence's with its number cut to two digits."""
    name, _, number = (point["defence"] or point["policy"]).partition(":")
    try:
        return f"{name}:{float(number):.2g}"
    except ValueError:
        return point["defence"] or point["policy"]


def draw(comparison: Comparison) -> str:
    """Leakage against each cost, a point per system; dashes join what was matched. SVG text."""
    figure, axes = plt.subplots(1, len(COSTS), figsize=(12, 4), sharey=True, constrained_layout=True)
    places: dict[str, list[tuple[float, float]]] = {}
    for axis, (column, label) in zip(axes, COSTS.items(), strict=True):
        for point in comparison.points:
            cost, leak = averaged(column, point[column]), bootstrap_mean(point["leakage"])
            places.setdefault(point["name"], []).append((cost.estimate, leak.estimate))
            bars = [[max(leak.estimate - leak.low, 0.0)], [max(leak.high - leak.estimate, 0.0)]]
            axis.errorbar(cost.estimate, leak.estimate, yerr=bars, fmt="o", color=COLOURS[point["kind"]], capsize=2)
            axis.annotate(_label(point), places[point["name"]][-1], fontsize=7, xytext=(4, 3),
                          textcoords="offset points")  # fmt: skip
        for pair in comparison.pairs():
            ends = [places[name][-1] for name in (pair.policy, pair.other)]
            axis.plot(*zip(*ends, strict=True), "--", color="#bbbbbb", linewidth=1, zorder=0)
        axis.margins(x=0.3)  # room for names
        axis.set_xlabel(comparison.about["task"] if column == "correct" else label)
    axes[0].set_ylabel(f"leakage (worst-case {measured(comparison.about)})")
    handles = [plt.Line2D([], [], marker="o", linestyle="", color=c, label=k) for k, c in COLOURS.items()]
    figure.legend(handles=handles, frameon=False, ncols=len(COLOURS), loc="outside upper center", fontsize=8)
    return svg(figure)
