"""The report: one HTML file that opens anywhere, offline, and asks nobody for anything."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from atm.store import write
from attacks import BLIND
from privacy_metrics.leakage import RECOGNISABLE_SSIM
from privacy_metrics.statistics import Interval, bootstrap_mean
from reports.acceptance import criteria_of, decide, instead
from reports.bounds import BOUNDS, brackets
from reports.figures import by_attack, costs, trade_off
from reports.harm import by_policy, label_bits
from reports.level import FEWEST_IMAGES, NEAR_COPY, OWED, SOME, recognised
from reports.luck import luck
from reports.pairs import paired
from reports.peers import check_against
from reports.run import Run
from reports.settings import check_settings
from reports.verdict import verdicts

SHOWN = 8  # pictures per policy in the grid
BEST = 5  # reconstructions of each that are shown


@dataclass(frozen=True)
class Picture:
    """One image of the grid: the original and the best reconstructions, best first, as data URIs with their SSIM."""

    number: int
    original: str
    reconstructions: list[tuple[str, str, float]]


def write_report(folder: str | Path, against: tuple[Run, ...] = (), accept: Sequence[str] | None = None) -> Path:
    """Write ``report.html`` of a run folder, whole or not at all, and say where.

    Args:
        folder: of the run.
        against: other runs that flags may hold it against.
        accept: criteria of deployment (`reports.acceptance`) in place of the run's own.

    Raises:
        AtmError: a criterion is none, the folder holds no readable run, its settings are none, or another run has
            nothing in common with it.
    """
    run = Run.read(folder)
    for each in (run, *against):
        check_settings(each)
    check_against(run, against)
    page = render(run, against, accept)
    path = run.folder / "report.html"
    write(path, page)
    return path


def render(run: Run, against: tuple[Run, ...] = (), accept: Sequence[str] | None = None) -> str:
    """The page as text; everything that came from a file or a user is escaped."""
    environment = Environment(loader=PackageLoader("reports"), autoescape=True, undefined=StrictUndefined)
    environment.filters["interval"] = show
    environment.filters["pretty"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    judged, criteria = verdicts(run, against), criteria_of(run, accept)
    decisions = [decide(verdict, criteria) for verdict in judged]
    return environment.get_template("report.html.j2").render(
        run=run,
        about=run.about,
        verdicts=judged,
        criteria=criteria,
        decisions=decisions,
        instead=instead(judged, decisions),
        blind=BLIND,
        costs={v.policy: _costs(run, v.policy) for v in judged},
        table=_table(run),
        harm=by_policy(run),
        bits=label_bits(run) if "traffic" in run.about.get("inferences", []) else {},
        trade_off=Markup(trade_off(run, judged)),
        by_attack=Markup(by_attack(run)),
        grids={v.policy: _grid(run, v.policy) for v in judged},
        recognisable=RECOGNISABLE_SSIM,
        owed=OWED,
        near_copy=NEAR_COPY,
        some=SOME,
        luck={v.policy: found for v in judged if (found := luck(run, v.policy)) is not None},
        fewest=FEWEST_IMAGES,
        pairs=paired(run),
        against=[other.folder.name for other in against],
        brackets=brackets(run),
        bound_words=BOUNDS,
    )


def show(interval: Interval, digits: int = 2, percent: bool = False) -> str:
    """``0.61 [0.58, 0.64]``."""
    form = f"{{:.{digits}%}}" if percent else f"{{:.{digits}f}}"
    middle = form.format(interval.estimate)
    if interval.low != interval.low:  # NaN: too few values for an interval
        return f"{middle} [no interval from {interval.n}]"
    return f"{middle} [{form.format(interval.low)}, {form.format(interval.high)}]"


def _costs(run: Run, policy: str) -> dict[str, Interval]:
    return {c: bootstrap_mean(run.per_image(policy, c)) for c in costs(run)}


def _table(run: Run) -> list[dict[str, Any]]:
    """A row per policy and attack with the mean of every metric."""
    rows = []
    for policy in run.policies:
        for attack in run.attacks:
            scores = {m: run.values(policy, attack, m) for m in run.about["metrics"]}
            means = {m: bootstrap_mean(values) for m, values in scores.items() if len(values)}
            rows.append({"policy": policy, "attack": attack, "means": means})
    return rows


def _grid(run: Run, policy: str) -> list[Picture]:
    """The worst leaks first: those recognisable thanks to the tokens, by what the tokens added."""
    worst, blind = run.worst_repeats(policy), run.blind_repeats(policy)
    thanks = (worst - blind).mean(0) + recognised(worst, blind).float().mean(0)
    pictures = []
    for number in thanks.argsort(descending=True)[:SHOWN].tolist():
        scores = {a: values[0, number] for a in run.attacks if (values := run.repeated(policy, a, "ssim")).numel()}
        best = sorted(scores, key=lambda attack: -scores[attack])[:BEST]
        rebuilt = [(a, _data_uri(run.picture(policy, a, number)), float(scores[a])) for a in best]
        original = _data_uri(run.picture(policy, "original", number))
        pictures.append(Picture(number, original, rebuilt))
    return pictures


def _data_uri(picture: bytes | None) -> str:
    """Empty where there is no picture; the page then says that it is missing."""
    return "" if picture is None else "data:image/png;base64," + base64.b64encode(picture).decode()
