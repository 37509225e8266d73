"""Cards of many runs in one table: what leaks least, against whom, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atm.errors import AtmError
from atm.store import KINDS
from reports.card import FILE, Card, PolicyCard
from reports.judged import Judged
from reports.numbers import NO_NUMBER, plain, show
from reports.page import page

MOST = 10_000  # cards in one table


@dataclass(frozen=True)
class Row:
    """One policy of one card.

    Attributes:
        source: the file or folder that the card came from.
        card: of the run.
        result: of the policy.
    """

    source: str
    card: Card
    result: PolicyCard

    def cells(self) -> dict[str, str]:
        """What a reader sees, by heading; all of it foreign text."""
        card, p = self.card, self.result
        return {
            "policy": p.policy,
            "verdict": p.verdict + ("" if card.finished else " (unfinished)"),
            "threat model": card.threat.name,
            "leakage": show(p.leakage.interval, 3),
            "recognised": f"{plain(p.recognised.estimate * p.recognised.n)} of {p.recognised.n}"
            + (f" (also by {card.recogniser})" if card.recogniser else ""),
            "accuracy": NO_NUMBER if p.accuracy is None else f"{p.accuracy:.1%}",
            "GFLOPs": plain(p.gflops),
            "tokens": plain(p.tokens),
            "symbols": plain(p.symbols),
            "flags": str(len(p.flags)),
            "victim": card.victim.name,
            "data": card.data.name,
            "channel": card.channel,
            "defence": card.defence or "none",
        }


def leaderboard(places: Iterable[str | Path]) -> list[Row]:
    """The policies of all cards, the least leakage first; the same card given twice counts once.

    Args:
        places: cards, run folders, or folders of either.

    Raises:
        AtmError: in one line, which place holds no card, or what is wrong with one.
    """
    found = list(dict.fromkeys(path for place in places for path in _cards(Path(place))))
    if len(found) > MOST:
        raise AtmError(f"{len(found)} cards are more than the {MOST} of one leaderboard")
    rows = [Row(str(path), card, result) for path in found for card in [_read(path)] for result in card.policies]
    return sorted(rows, key=lambda row: row.result.leakage.estimate)


def warnings(rows: Sequence[Row]) -> list[str]:
    """Why some rows cannot be compared with others."""
    different: dict[str, set[Any]] = {
        "victims": {row.card.victim.digest for row in rows},
        "pictures": {row.card.data.digest for row in rows},
        "threat models": {(row.card.threat.name, row.card.threat.in_words) for row in rows},
        "measures of leakage": {row.card.leakage_in for row in rows},
        "suites of attacks": {tuple(row.card.attacks) for row in rows},
    }
    several = [f"{len(values)} {what}" for what, values in different.items() if len(values) > 1]
    if not several:
        return []
    incomparable = "Rows of different victims, pictures, adversaries or attacks cannot be compared"
    return [f"{incomparable}; here are {', '.join(several)}."]


def records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows for machines: each a policy's part of its card, with where it came from."""
    return [
        {"source": row.source, **row.result.model_dump(), **row.card.model_dump(exclude={"policies", "card"})}
        for row in rows
    ]


def _cards(place: Path) -> list[Path]:
    """Files of cards, and run folders that have none yet."""
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise AtmError(f"{place} does not exist; give cards, run folders, or folders of either")
    if (own := _own(place)) is not None:
        return [own]
    if any((place / kind.settings).exists() for kind in KINDS.values()):
        raise AtmError(f"{place} holds no attack's run, of which alone there are cards")
    inner = [own for folder in sorted(place.iterdir()) if folder.is_dir() and (own := _own(folder)) is not None]
    found = inner + sorted(place.glob("*.json"))
    if not found:
        raise AtmError(f"{place} holds neither a card nor a run; write one with 'atm report RUN --format json'")
    return found


def _own(folder: Path) -> Path | None:
    if (folder / FILE).is_file():
        return folder / FILE
    return folder if (folder / KINDS["attack"].settings).is_file() else None


def _read(path: Path) -> Card:
    return Card.of(Judged.read(path)) if path.is_dir() else Card.read(path)


# Headings of the table that are words of reports.terms.
NAMED = {
    "policy": "policy", "verdict": "verdict", "leakage": "leakage", "recognised": "recognised", "GFLOPs": "GFLOPs",
    "tokens": "token", "symbols": "symbols", "flags": "flag", "victim": "victim", "defence": "defence",
    "threat model": "threat model",
}  # fmt: skip


def render(rows: Sequence[Row]) -> str:
    """The page as text; everything that came from a card is escaped."""
    sources = {row.source: row.card for row in rows}
    threats = dict.fromkeys((row.card.threat.name, row.card.threat.in_words) for row in rows)
    return page(
        "leaderboard.html.j2",
        rows=rows,
        cards=len(sources),
        sources=sources,
        threats=list(threats),
        warnings=warnings(rows),
        named=NAMED,
        measures=sorted({row.card.leakage_in for row in rows}),
    )
