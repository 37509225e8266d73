"""Figures of a report, as SVG text that needs nothing beside it."""

from __future__ import annotations

import io

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from privacy_metrics.statistics import Interval, bootstrap_mean
from reports.measure import averaged
from reports.run import Run
from reports.verdict import Verdict

COLOURS = ["#2f6690", "#d1495b", "#66a182", "#edae49", "#8d6a9f", "#5c5c5c", "#00798c", "#b56576"]
IN_A_ROW = 7  # names of a legend that fit beside each other
COSTS = {
    "correct": "task accuracy",
    "gflops": "GFLOPs on the device",
    "tokens": "tokens sent",
    "symbols": "channel symbols",
}


def costs(run: Run) -> dict[str, str]:
    """Columns that say what privacy costs, and their labels; there is no accuracy where the victim has no task."""
    return {column: label for column, label in COSTS.items() if column != "correct" or run.about["task"] is not None}


def trade_off(run: Run, verdicts: list[Verdict]) -> str:
    """Leakage against accuracy, compute, tokens and symbols; a point per policy with 95% intervals."""
    shown = costs(run)
    figure, axes = plt.subplots(1, len(shown), figsize=(12, 3.1), sharey=True, constrained_layout=True)
    for axis, (column, label) in zip(axes, shown.items(), strict=True):
        for verdict, colour in zip(verdicts, cycle(len(verdicts)), strict=True):
            cost = averaged(column, run.per_image(verdict.policy, column))
            axis.errorbar(
                cost.estimate,
                verdict.leakage.estimate,
                xerr=_bars(cost),
                yerr=_bars(verdict.leakage),
                fmt="o",
                color=colour,
                capsize=2,
                label=verdict.policy,
            )
        axis.set_xlabel(run.about.get("task", label) if column == "correct" else label)
    axes[0].set_ylabel(f"leakage (worst-case {run.measured})")
    axes[-1].legend(frameon=False, fontsize=8, loc="upper left")
    return svg(figure)


def by_attack(run: Run) -> str:
    """Mean leakage by every attack on every policy with 95% intervals; blind baselines are hatched."""
    figure, axis = plt.subplots(figsize=(12, 3.1), constrained_layout=True)
    width, known = 0.8 / max(len(run.attacks), 1), run.baselines.blind
    for i, (attack, colour) in enumerate(zip(run.attacks, cycle(len(run.attacks)), strict=True)):
        for j, policy in enumerate(run.policies):
            values = run.values(policy, attack, run.measure)
            if len(values):
                score = bootstrap_mean(values)
                axis.bar(
                    j + (i - (len(run.attacks) - 1) / 2) * width,
                    score.estimate,
                    width * 0.92,
                    yerr=_bars(score),
                    color=colour,
                    alpha=0.45 if attack in known else 1,
                    hatch="//" if attack in known else None,
                    error_kw={"elinewidth": 1},
                    label=attack + (" (blind)" if attack in known else "") if j == 0 else None,
                )
    axis.set_xticks(range(len(run.policies)), run.policies)
    axis.set_ylabel(f"{run.measured} to the original")
    figure.legend(frameon=False, fontsize=8, ncols=min(len(run.attacks), IN_A_ROW), loc="outside upper center")
    return svg(figure)


def _bars(interval: Interval) -> list[list[float]]:
    low, high = interval.estimate - interval.low, interval.high - interval.estimate
    return [[max(low, 0.0) if low == low else 0.0], [max(high, 0.0) if high == high else 0.0]]


def cycle(count: int) -> list[str]:
    """So many colours, over again where they run out."""
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def svg(figure: Figure) -> str:
    """A figure as SVG text on no ground of its own, so that a page may have a light or a dark one."""
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.set_axisbelow(True)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    plt.close(figure)
    text = out.getvalue()
    return text[text.index("<svg") :]
