"""The report of an attack's run: one HTML file that opens anywhere, offline, and asks nobody for anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from atm.signals import ImageSignal
from atm.store import write
from privacy_metrics.recognition import FEWEST, MARGIN, gallery
from privacy_metrics.statistics import Interval, bootstrap_mean
from reports.bounds import BOUNDS, brackets
from reports.card import FILE as CARD
from reports.card import Card
from reports.figures import by_attack, costs, trade_off
from reports.harm import areas, by_policy, label_bits
from reports.judged import Judged
from reports.level import FEWEST_IMAGES, SOME, recognised
from reports.luck import luck
from reports.measure import averaged
from reports.page import image_of, page
from reports.pairs import paired
from reports.placers import sentences
from reports.recognition import PLACE, evidence, picked, recogniser_of
from reports.run import Run
from reports.shown import SHOWN as SHOW
from reports.shown import Shot
from reports.terms import TERMS
from reports.transcripts import SERVER, written
from reports.words import words_of

PAGE = "report.html"
SHOWN = 8  # pictures per policy in the grid
BEST = 5  # reconstructions of each that are shown


@dataclass(frozen=True)
class Picture:
    """One of the grid: the original and the best reconstructions, best first, as they are shown, with their leakage."""

    number: int
    original: Markup
    reconstructions: list[tuple[str, Markup, float]]


def write_report(folder: str | Path, against: tuple[Run, ...] = (), accept: Sequence[str] | None = None) -> Path:
    """Write ``report.html`` and ``card.json`` of a run folder, each whole or not at all, and say where the page is.

    Args:
        folder: of the run.
        against: other runs that flags may hold it against.
        accept: criteria of deployment (`reports.acceptance`) in place of the run's own.

    Raises:
        AtmError: a criterion is none, the folder holds no readable run, its settings are none, or another run has
            nothing in common with it.
    """
    return write_judged(Judged.read(folder, against, accept))


def write_judged(judged: Judged) -> Path:
    """As `write_report`, of a run that is judged already."""
    path, card = judged.run.folder / PAGE, Card.of(judged).text()  # which is refused before anything is written
    write(path, render(judged))
    write(judged.run.folder / CARD, card)
    return path


def render(judged: Judged) -> str:
    """The page as text; everything that came from a file or a user is escaped."""
    run, about, found = judged.run, judged.run.about, judged.verdicts
    return page(
        "report.html.j2",
        signal=run.signal,
        run=run,
        about=about,
        verdicts=found,
        criteria=judged.criteria,
        decisions=judged.decisions,
        instead=judged.advice,
        placers=sentences(run),
        blind=run.baselines.blind,
        costs={v.policy: _costs(run, v.policy) for v in found},
        table=_table(run),
        evidence=[e for v in found if (e := evidence(run, v.policy)) is not None],
        harm=by_policy(run),
        areas=areas(run),
        gallery=gallery(about["data"]["victims"]),
        fewest_seen=FEWEST,
        pictures=issubclass(run.signal, ImageSignal),
        margin=MARGIN,
        bits=label_bits(run) if "traffic" in about.get("inferences", []) else {},
        trade_off=image_of(
            trade_off(run, found), "Leakage of each policy against what it costs; the table has all numbers"
        ),
        by_attack=image_of(
            by_attack(run), f"Mean {run.measured} of each attack on each policy; the table has all numbers"
        ),
        grids={v.policy: _grid(run, v.policy) for v in found},
        bar=run.signal.bar,
        thing=run.signal.noun,
        things=f"{run.signal.noun}s",
        fills=run.signal.parts,
        article="an" if run.measured[0] in "AEFHILMNORSX" else "a",
        words={m: word if (word := text.partition(" (")[0]) in TERMS else "" for m, text in about["metrics"].items()},
        some=SOME,
        luck={v.policy: each for v in found if (each := luck(run, v.policy)) is not None},
        fewest=FEWEST_IMAGES,
        pairs=paired(run),
        written=written(run),
        server=SERVER,
        against=[other.folder.name for other in judged.against],
        brackets=brackets(run),
        bound_words={name: text.format_map(words_of(run.signal)) for name, text in BOUNDS.items()},
    )


def _costs(run: Run, policy: str) -> dict[str, Interval]:
    return {c: averaged(c, run.per_image(policy, c)) for c in costs(run)}


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
    hits = recognised(worst, blind, run.signal.bar, picked(run, policy))
    thanks = (worst - blind).mean(0) + hits.float().mean(0)
    pictures = []
    for number in thanks.argsort(descending=True)[:SHOWN].tolist():
        scores = {a: values[0, number] for a in run.attacks if (values := run.repeated(policy, a, run.measure)).numel()}
        best = sorted(scores, key=lambda attack: -scores[attack])[:BEST]
        rebuilt = [(a, _shown(run, policy, a, number, float(scores[a])), float(scores[a])) for a in best]
        pictures.append(Picture(number, _shown(run, policy, "original", number), rebuilt))
    return pictures


def _shown(run: Run, policy: str, attack: str, number: int, score: float | None = None) -> Markup:
    """Empty where there is no picture; the page then says that it is missing."""
    content, original = run.picture(policy, attack, number), run.picture(policy, "original", number)
    if content is None:
        return Markup("")
    caption = f"{run.signal.noun.capitalize()} {number}, {attack}"
    caption += "" if score is None else f": {run.measured} {score:.2f}"
    place = run.repeated(policy, attack, PLACE)
    if score is not None and place.numel():
        caption += f", likeness to the original for {recogniser_of(run)} no. {int(place[0, number])} of the gallery"
    return SHOW[run.signal.name](Shot(content, original or b"", attack, number, caption))
