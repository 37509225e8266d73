"""What a finished folder says, in the formats that are no page: Markdown for people, JSON and CSV for machines."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from atm.text import printable
from reports import placers
from reports.card import Card
from reports.compare import Comparison
from reports.judged import Judged
from reports.measure import NO_TASK, measured
from reports.numbers import NO_NUMBER, plain, show
from reports.sweep import Sweep, sentences

MARKS = re.compile(r"([\\`*_\[\]<>|#~])")


@dataclass(frozen=True)
class Export:
    """What is said, whatever the format.

    Attributes:
        title: in a few words.
        lines: sentences, the most important first.
        headings: of the table that people read.
        rows: of it, as text.
        table: every number, for CSV.
        content: everything, for JSON.
    """

    title: str
    lines: Sequence[str]
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    table: pd.DataFrame
    content: dict[str, Any]

    def markdown(self) -> str:
        """A heading, the table and the sentences; names from files are escaped."""
        rows = [self.headings, ["---"] * len(self.headings), *([safe(cell) for cell in row] for row in self.rows)]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        lines = "\n".join(f"- {safe(line)}" for line in self.lines)
        return f"# {safe(self.title)}\n\n{table}\n\n{lines}\n"

    def csv(self) -> str:
        """Every number, a row each."""
        return str(self.table.to_csv(index=False))

    def json(self) -> str:
        """Everything, as one object."""
        return json.dumps(finite(self.content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def finite(content: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def safe(text: object) -> str:
    """Foreign text within Markdown: on one line, without control characters, and no mark means anything."""
    return MARKS.sub(r"\\\1", printable(text))


def of_run(judged: Judged) -> Export:
    """Of an attack's run; its JSON is the card."""
    card, task = Card.of(judged), judged.run.about["task"]
    rows = [
        [p.policy, p.deploy, p.verdict, show(p.leakage.interval, 3), out_of(p.recognised.estimate, p.recognised.n),
         *([] if task is None else [_rate(p.accuracy)]), plain(p.gflops), plain(p.tokens), plain(p.symbols),
         ", ".join(p.flags) or "none"]
        for p in card.policies
    ]  # fmt: skip
    lines = [card.threat.in_words, *placers.sentences(judged.run), judged.advice, *([NO_TASK] if task is None else [])]
    lines += [*_decided(judged), *_flagged(judged)]
    lines += [f"note: {note}" for note in judged.run.about["notes"]]
    leakage = f"leakage ({judged.run.measured})"
    headings = ["policy", "deploy?", "verdict", leakage, "recognised", *([] if task is None else ["accuracy"]),
                "GFLOPs", "tokens", "symbols", "flags"]  # fmt: skip
    title = f"How much do the tokens of {card.victim.name} on {card.data.name} give away?"
    return Export(title, lines, headings, rows, policy_table([card]), card.model_dump())


def _decided(judged: Judged) -> list[str]:
    """Whether policies may be deployed, and the findings that are not the reason already."""
    pairs = list(zip(judged.verdicts, judged.decisions, strict=True))
    return [
        *_each_once((d.policy, f"deploy? {d.answer}: {d.reason}") for _, d in pairs),
        *_each_once(
            (v.policy, f"{f.about}: {f.level}. {f.sentence}")
            for v, d in pairs
            for f in v.findings
            if d.reason != f"{f.about}: {f.sentence}"
        ),
    ]


def _flagged(judged: Judged) -> list[str]:
    """A line for each flag that is raised: under which policies, what it saw there, and what to do."""
    raised = [(verdict.policy, flag) for verdict in judged.verdicts for flag in verdict.flags]
    flags = {flag.name: flag for _, flag in raised}
    return [
        f"flag {name}, {'; '.join(_each_once((p, f.found) for p, f in raised if f.name == name))}. {flag.what_to_do}"
        for name, flag in flags.items()
    ]


def _each_once(told: Iterable[tuple[str, str]]) -> list[str]:
    """Texts about policies, each once behind the policies that it is told of: ``none, moderate: too few pictures``."""
    policies: dict[str, list[str]] = {}
    for policy, text in told:
        policies.setdefault(text, []).append(policy)
    return [f"{', '.join(of)}: {text}" for text, of in policies.items()]


def _rate(value: float | None) -> str:
    return NO_NUMBER if value is None else f"{value:.1%}"


def out_of(rate: float, n: int) -> str:
    """``12 of 100``; over repeats a picture may count in part."""
    return f"{plain(rate * n)} of {n}"


def policy_table(cards: Sequence[Card]) -> pd.DataFrame:
    """A row for each policy of each card."""
    rows = []
    for card in cards:
        for p in card.policies:
            row = p.model_dump(exclude={"leakage", "recognised", "flags", "placer"})
            for name, found in (("leakage", p.leakage), ("recognised", p.recognised)):
                row |= {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}
            where = {"victim": card.victim.name, "data": card.data.name, "threat": card.threat.name,
                     "channel": card.channel, "defence": card.defence}  # fmt: skip
            rows.append({**row, "pictures": p.recognised.n, "flags": "; ".join(p.flags), **where})
    return pd.DataFrame(rows)


def of_comparison(comparison: Comparison) -> Export:
    """Of a comparison of defences."""
    table, pairs = comparison.table(), comparison.pairs()
    rows = [
        [str(row["name"]), row.defence or NO_NUMBER, f"{row.correct:.1%}", f"{row.gflops:.3f}", f"{row.tokens:.1f}",
         f"{row.symbols:.0f}", f"{row.leakage:.3f} [{row.leakage_low:.3f}, {row.leakage_high:.3f}]"]
        for _, row in table.iterrows()
    ]  # fmt: skip
    attacked = comparison.attacked()
    content = {
        "points": json.loads(table.to_json(orient="records")),
        "pairs": [{"merging": p.policy, "other": p.other, "sentence": p.sentence} for p in pairs],
        "attacked": attacked,
    }
    task = str(comparison.about["task"])
    headings = ["system", "defence", task, "GFLOPs", "tokens", "symbols", f"leakage ({measured(comparison.about)})"]
    return Export("Price of privacy", [*(p.sentence for p in pairs), *attacked], headings, rows, table, content)


def of_sweep(sweep: Sweep) -> Export:
    """Of a sweep over channels and SNRs."""
    lines = sentences(sweep)
    content = {"points": json.loads(sweep.table.to_json(orient="records")), "findings": lines}
    headings = ["channel", "SNR", "policy", "accuracy", "leakage to server", "her SNR", "to eavesdropper", "gap"]
    title = f"{sweep.about['victim']['name']} on {sweep.about['data']['name']}"
    return Export(title, lines, headings, sweep.summary(), sweep.table, content)
