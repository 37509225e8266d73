"""The report of a search: one interactive HTML file that opens offline."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from atm.store import write
from audit.command_lines import command_line, in_words
from audit.pareto import figures
from audit.pareto.outcome import SUITE_IMAGES, Outcome
from audit.pareto.price import prices
from audit.pareto.recommendation import recommended, resting
from audit.pareto.trials import Trial
from reports.export import Export
from reports.numbers import give_or_take, plain
from reports.page import page

ENDS = ("estimate", "low", "high")


def write_report(outcome: Outcome) -> Path:
    """Write ``report.html``, whole or not at all, and say where."""
    path = outcome.folder / "report.html"
    write(path, render(outcome))
    return path


def render(outcome: Outcome) -> str:
    """The page as text; everything that came from a file or a user is escaped."""
    drawn = [
        ("Two objectives at a time", figures.pairwise, "All policies, those of the front, and the recommended ones."),
        ("All objectives and thresholds", figures.parallel, "A line for each policy of the front; drag along an axis."),
        (
            "Thresholds of each layer along the front",
            figures.thresholds,
            "A row for each policy of the front, a column for each layer; low merges more.",
        ),
        ("Hypervolume", figures.progress, "Hypervolume after each evaluation."),
    ]
    found = prices(outcome)
    return page(
        "search.html.j2",
        "audit.pareto",
        signal=outcome.signal,
        outcome=outcome,
        config=outcome.config,
        command=command(outcome),
        plotly=Markup(get_plotlyjs()),
        figures=[(title, _html(draw(outcome)), caption) for title, draw, caption in drawn] if outcome.front else [],
        prices=found,
        price=_html(figures.price(outcome)) if found else "",
        recommended=recommended(outcome),
        resting=resting,
        suite=suite,
        failures=len(outcome.failures),
        errors=errors(outcome),
        lasting=lasting(outcome) if outcome.again else "",
        suite_images=min(outcome.config.images, SUITE_IMAGES),
    )


def export(outcome: Outcome) -> Export:
    """The front for other formats than the page; CSV has every policy that was tried."""
    shown = [outcome.heading(o) for o in outcome.measured]
    headings = ["policy", *shown, *(["leakage, full suite"] if outcome.full else [])]
    rows = []
    for trial in outcome.shown:
        row = [outcome.called(trial), *(_cell(outcome, trial, o.name) for o in outcome.measured)]
        if outcome.full:
            row.append(suite(outcome, trial))
        rows.append([*row, " ".join(f"{t:.2f}" for t in trial.thresholds)])
    best, unmerged = recommended(outcome), outcome.unmerged
    there = [trial for trial in outcome.front if trial.name in outcome.again]
    content = {
        "out": str(outcome.folder),
        "front": [{"policy": t.name, "thresholds": list(t.thresholds), **t.values} for t in outcome.front],
        "unmerged": None if unmerged is None else {"policy": unmerged.name, **unmerged.values},
        "recommended": {r.title: r.trial.name for r in best},
        "reasons": {r.title: r.reason for r in best},
        "other_pictures": {
            "images": outcome.again_images,
            "front": {trial.name: outcome.again[trial.name] for trial in there},
            "unmerged": None if unmerged is None else outcome.again.get(unmerged.name),
            "error": errors(outcome),
        },
        "full_suite": {name: dict(zip(ENDS, ends, strict=True)) for name, ends in outcome.full.items()},
        "full_suite_expected": {name: dict(zip(ENDS, ends, strict=True)) for name, ends in outcome.expected.items()},
        "hypervolume": outcome.volumes[-1:],
        "notes": outcome.warnings,
    }
    lines = [f"{r.title}: {r.trial.name}, {r.reason}" for r in best]
    if outcome.again:
        lines.append(
            f"on other {outcome.noun}s (in brackets, ± half of a 95% interval of what merging changes): "
            f"{lasting(outcome)}"
        )
    if outcome.expected:
        lines.append(
            "expected: what the full suite would find in a policy that it did not attack, with a 95% interval, by a "
            "model that knows the score of all policies and what the suite found in some"
        )
    lines += [f"note: {n}" for n in outcome.warnings]
    title = f"Pareto front: {len(outcome.front)} of {len(outcome.trials)} policies"
    return Export(title, lines, [*headings, "thresholds"], rows, outcome.table(), content)


def suite(outcome: Outcome, trial: Trial) -> str:
    """Leakage of a policy by the full suite, or what it is expected to find, with 95% intervals; empty if neither."""
    if trial.name in outcome.full:
        return "{:.3f} [{:.3f}, {:.3f}]".format(*outcome.full[trial.name])
    if trial.name in outcome.expected:
        return "expected {:.3f} [{:.3f}, {:.3f}]".format(*outcome.expected[trial.name])
    return ""


def _cell(outcome: Outcome, trial: Trial, objective: str) -> str:
    """A number of the search, and in brackets what it is on other pictures, where it was measured there."""
    found = plain(trial.values[objective], 4)
    if trial.name not in outcome.again:
        return found
    return f"{found} ({give_or_take(outcome.again[trial.name][objective], outcome.error(trial, objective))})"


def errors(outcome: Outcome) -> dict[str, dict[str, float]]:
    """Half of the 95% interval of each number on other pictures, by policy and objective."""
    there = [trial for trial in outcome.shown if trial.name in outcome.again]
    return {trial.name: {o.name: outcome.error(trial, o.name) for o in outcome.measured} for trial in there}


def lasting(outcome: Outcome) -> str:
    """What is left of the front on other pictures, in words."""
    there = sum(trial.name in outcome.again for trial in outcome.front)
    return (
        f"{len(outcome.confirmed)} of {there} policies of the front are on it on {outcome.again_images} "
        f"{outcome.noun}s that the search never saw"
    )


def command(outcome: Outcome) -> str:
    """The command line that asks for the same."""
    return f"{command_line(outcome.config.COMMAND, outcome.config)} {in_words({'out': str(outcome.folder)})}"


def _html(figure: go.Figure) -> Markup:
    """A figure of the page; without its button, which Plotly shows by default, to upload the data to a cloud."""
    config = {"displaylogo": False, "showSendToCloud": False, "responsive": True}
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, config=config))
