"""What else the tokens give away: label and identity rates beside chance."""

from __future__ import annotations

from dataclasses import dataclass

from privacy_metrics.statistics import Interval, bootstrap_mean, wilson
from privacy_metrics.traffic import Information, mutual_information
from reports.run import Run

WORDS = {
    "label_correct": "label read",
    "rank_1": "picture found first among the candidates",
    "rank_5": "picture found among the first five",
}


@dataclass(frozen=True)
class Rate:
    """How often an inference is right on one policy.

    Attributes:
        policy: its name.
        inference: its name.
        words: what was right.
        rate: with Wilson interval, of the first repeat.
        chance: what an adversary reaches who sees nothing.
        above: whether the whole interval lies above chance.
    """

    policy: str
    inference: str
    words: str
    rate: Interval
    chance: float
    above: bool


def rates(run: Run) -> list[Rate]:
    """A row per policy, inference and metric; empty where the run made no inferences."""
    rows = []
    for policy in run.policies:
        for name in run.about.get("inferences", []):
            for metric, words in WORDS.items():
                hits = run.repeated(policy, name, metric)[0]
                if not len(hits):
                    continue
                rate, chance = wilson(int(hits.sum()), len(hits)), float(run.about["chance"][metric])
                rows.append(Rate(policy, name, words, rate, chance, rate.low > chance))
    return rows


def by_policy(run: Run) -> dict[str, dict[str, Rate]]:
    """The same rates as a table: for each policy one for each inference and metric, by a heading."""
    table: dict[str, dict[str, Rate]] = {}
    for rate in rates(run):
        table.setdefault(rate.policy, {})[f"{rate.words} ({rate.inference})"] = rate
    return table


def label_bits(run: Run) -> dict[str, Information]:
    """For each policy what the number of tokens tells of the label."""
    return {
        p: mutual_information(run.per_image(p, "tokens").round().long(), run.per_image(p, "label").long())
        for p in run.policies
        if len(run.per_image(p, "tokens")) >= 2
    }


def places(run: Run) -> list[str]:
    """For each policy how many patches were put into the right token without the merge map, beside a blind guess."""
    lines = []
    for policy in run.policies:
        found, blind = (run.repeated(policy, "position", metric)[0] for metric in ("placed", "placed_blindly"))
        if len(found):
            rate = bootstrap_mean(found)
            interval = "" if rate.low != rate.low else f" [{rate.low:.0%}, {rate.high:.0%}]"
            lines.append(
                f"Under {policy}, the tokens alone tell of {rate.estimate:.0%}{interval} of the patches "
                f"which token they are in (a blind guess: {float(blind.mean()):.0%})."
            )
    return lines


def sentences(run: Run) -> list[str]:
    """What the tokens give away above chance, and under which policies; the verdict on pictures stays as it is."""
    found = [rate for rate in rates(run) if rate.above]
    server = run.about["threat"].get("tap", "server") == "server"
    duty = "which is what the server is meant to learn" if server else "which she was not meant to learn"
    read = list(dict.fromkeys(r.policy for r in found if r.words == WORDS["label_correct"]))
    known = list(dict.fromkeys(r.policy for r in found if r.words != WORDS["label_correct"]))
    lines = [f"The label can be read above chance under {', '.join(read)}; {duty}."] if read else []
    if known:
        lines.append(f"The picture can be found again among candidates above chance under {', '.join(known)}.")
    return [*lines, *places(run)]
