"""What else the tokens give away: label and identity rates beside what is reached without them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from privacy_metrics.significance import SURE, holm, rate_p_value
from privacy_metrics.statistics import Interval, wilson
from privacy_metrics.traffic import Information, mutual_information
from reports.run import Run

LABEL, TRAFFIC = "label_correct", "traffic"
RANKS = {"rank_1": 1, "rank_5": 5}
WORDS = {
    LABEL: "label read",
    "rank_1": "picture found first among the candidates",
    "rank_5": "picture found among the first five",
    "answer_correct": "a question of hers answered right",
    "caption_correct": "a caption names what is asked about the picture",
}
INQUIRED = ("answer_correct", "caption_correct")


@dataclass(frozen=True)
class Rate:
    """How often an inference is right on one policy.

    Attributes:
        policy: its name.
        inference: its name.
        metric: what was right, a key of `WORDS`.
        rate: with Wilson interval, of the first repeat.
        chance: what she reaches without the tokens (`without_tokens`).
        p_value: that the rate is not above it, corrected for all rates of the run (Holm), which are read together.
    """

    policy: str
    inference: str
    metric: str
    rate: Interval
    chance: float
    p_value: float

    @property
    def above(self) -> bool:
        """Whether the rate is surely above chance."""
        return self.p_value < SURE

    @property
    def words(self) -> str:
        """What was right."""
        return WORDS[self.metric]


def rates(run: Run) -> list[Rate]:
    """A row per policy, inference and metric; empty where the run made no inferences."""
    rows = []
    for policy in run.policies:
        for name in run.about.get("inferences", []):
            for metric in WORDS:
                hits = run.repeated(policy, name, metric)[0]
                if len(hits):
                    chance, p_value = _blindly(run, policy, name, metric, hits)
                    rows.append(Rate(policy, name, metric, wilson(int(hits.sum()), len(hits)), chance, p_value))
    corrected = holm([row.p_value for row in rows])
    return [replace(row, p_value=p_value) for row, p_value in zip(rows, corrected, strict=True)]


def meant(run: Run) -> bool:
    """Whether this adversary is meant to learn the label: it is the answer of the task, and she is who gives it."""
    return bool(run.about["threat"].get("tap", "server") == "server" and run.about["task"] == "accuracy")


def _blindly(run: Run, policy: str, inference: str, metric: str, hits: Tensor) -> tuple[float, float]:
    """What is reached without the tokens, measured with the inference or known beforehand, and the p-value."""
    if metric not in INQUIRED:
        return without_tokens(run, policy, metric, hits)
    chance = float(run.values(policy, inference, f"{metric}_blindly").mean())
    return chance, rate_p_value(int(hits.sum()), len(hits), chance)


def without_tokens(run: Run, policy: str, metric: str, hits: Tensor) -> tuple[float, float]:
    """What is reached without more than she is meant to have, and the p-value that she does no better.

    Without the tokens the commonest label is always said, and a candidate drawn blindly. Who is meant to learn the
    label has the system's own answers, and can look among the candidates of the right label.

    Args:
        run: whose link table has labels and answers.
        policy: its name.
        metric: a key of `WORDS`.
        hits: ``[B]`` of 0 and 1, by image.
    """
    chance = float(run.about["chance"][metric])
    p_value = rate_p_value(int(hits.sum()), len(hits), chance)
    if not meant(run):
        return chance, p_value
    if metric == LABEL:
        answers = run.per_image(policy, "correct").round()
        more, less = int((hits > answers).sum()), int((hits < answers).sum())
        beyond = rate_p_value(more, more + less, 0.5) if more + less else 1.0  # McNemar's test, exact
        return max(chance, float(answers.mean())), max(p_value, beyond)
    labels = run.per_image(policy, "label").long()
    alike = (labels[:, None] == labels).sum(1)
    chance = max(chance, float((RANKS[metric] / alike).clamp(max=1).mean()))
    return chance, rate_p_value(int(hits.sum()), len(hits), chance)


def by_policy(run: Run) -> dict[str, dict[str, Rate]]:
    """The same rates as a table: for each policy one for each inference and metric, by a heading."""
    table: dict[str, dict[str, Rate]] = {}
    for rate in rates(run):
        table.setdefault(rate.policy, {})[f"{rate.words} ({rate.inference})"] = rate
    return table


def label_bits(run: Run) -> dict[str, Information]:
    """For each policy what the number of tokens tells of the label; p-values are corrected for the policies (Holm)."""
    known = {
        p: mutual_information(run.per_image(p, "tokens").round().long(), run.per_image(p, "label").long())
        for p in run.policies
        if len(run.per_image(p, "tokens")) >= 2
    }
    corrected = holm([found.p_value for found in known.values()])
    return {p: replace(found, p_value=q) for (p, found), q in zip(known.items(), corrected, strict=True)}
