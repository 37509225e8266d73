"""What else the tokens give away: label and identity rates beside what is reached without them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from privacy_metrics.membership import FALSE_ALARMS, auc, caught
from privacy_metrics.membership import p_value as sent_p_value
from privacy_metrics.significance import SURE, holm, paired_p_value, rate_p_value
from privacy_metrics.statistics import Interval, wilson
from privacy_metrics.traffic import Information, mutual_information
from reports.recognition import SEEN, best_attack, recogniser_of
from reports.run import Run

LABEL, TRAFFIC = "label_correct", "traffic"
SENT, UNSENT = "sent", "unsent"
ANSWER, CAPTION = INQUIRED = ("answer_correct", "caption_correct")
DECODER = "the victim's own decoder"  # which writes down what it hears in reconstructions of sounds
RANKS = {"rank_1": 1, "rank_5": 5}
WORDS = {
    LABEL: "label read",
    "rank_1": "{noun} found first among the candidates",
    "rank_5": "{noun} found among the first five",
    SENT: f"sent {{noun}}s told from others at {FALSE_ALARMS:.0%} false alarms",
    SEEN: "label seen in the best attack's {noun}",
    ANSWER: "a question of hers answered right",
    CAPTION: "a caption names what is asked about the {noun}",
}


@dataclass(frozen=True)
class Rate:
    """How often an inference is right on one policy.

    Attributes:
        policy: its name.
        inference: its name, or the recogniser's.
        metric: what was right, a key of `WORDS`.
        rate: with Wilson interval, of the first repeat.
        chance: what she reaches without the tokens (`without_tokens`).
        noun: of what was attacked.
        p_value: that the rate is not above it, corrected for all rates of the run on the same subject (Holm), which are
            read together; subjects are labels and candidates, membership, questions, and what a recogniser sees, so
            that to ask one makes no other less sure.
    """

    policy: str
    inference: str
    metric: str
    rate: Interval
    chance: float
    noun: str
    p_value: float

    @property
    def above(self) -> bool:
        """Whether the rate is surely above chance."""
        return self.p_value < SURE

    @property
    def words(self) -> str:
        """What was right."""
        return WORDS[self.metric].format(noun=self.noun)


def rates(run: Run) -> list[Rate]:
    """A row per policy, inference and metric; empty where the run made no inferences."""
    pairs = [(policy, name) for policy in run.policies for name in run.about.get("inferences", [])]
    read = [_hits(run, policy, name, name, metric) for policy, name in pairs for metric in (LABEL, *RANKS)]
    asked = [_hits(run, policy, name, name, metric) for policy, name in pairs for metric in INQUIRED]
    sent = [_membership(run, policy, name) for policy, name in pairs]
    looks = recogniser_of(run) or DECODER
    seen = [_hits(run, policy, best_attack(run, policy), looks, SEEN) for policy in run.policies]
    return [rate for subject in (read, asked, sent, seen) for rate in _together(subject)]


def _hits(run: Run, policy: str, attack: str, who: str, metric: str) -> Rate | None:
    hits = _scored(run, policy, attack, metric)
    if not len(hits):
        return None
    chance, p_value = _blindly(run, policy, attack, metric, hits)
    return Rate(policy, who, metric, wilson(int(hits.sum()), len(hits)), chance, run.signal.noun, p_value)


def _scored(run: Run, policy: str, attack: str, metric: str) -> Tensor:
    """Of the first repeat, without the images that have no such score."""
    scores = run.repeated(policy, attack, metric)[0]
    return scores[~scores.isnan()]


def _membership(run: Run, policy: str, name: str) -> Rate | None:
    sent, unsent = (run.repeated(policy, name, metric)[0] for metric in (SENT, UNSENT))
    if not len(sent) or len(sent) != len(unsent):
        return None
    return Rate(policy, name, SENT, caught(sent, unsent), FALSE_ALARMS, run.signal.noun, sent_p_value(sent, unsent))


def _together(rows: list[Rate | None]) -> list[Rate]:
    """Those that there are, corrected for their number."""
    found = [row for row in rows if row is not None]
    corrected = holm([row.p_value for row in found])
    return [replace(row, p_value=p_value) for row, p_value in zip(found, corrected, strict=True)]


def areas(run: Run) -> dict[str, dict[str, Interval]]:
    """For each policy the area under the ROC curve of membership, by inference."""
    pairs = {
        p: {n: [run.repeated(p, n, metric)[0] for metric in (SENT, UNSENT)] for n in run.about.get("inferences", [])}
        for p in run.policies
    }
    found = {p: {n: auc(*pair) for n, pair in by.items() if len(pair[0])} for p, by in pairs.items()}
    return {p: by for p, by in found.items() if by}


def meant(run: Run) -> bool:
    """Whether this adversary is meant to learn the label: it is the answer of the task, and she is who gives it."""
    return bool(run.about["threat"].get("tap", "server") == "server" and run.about["task"] == "accuracy")


def _blindly(run: Run, policy: str, inference: str, metric: str, hits: Tensor) -> tuple[float, float]:
    """What is reached without the tokens, measured with the inference or known beforehand, and the p-value."""
    if metric not in INQUIRED:
        return without_tokens(run, policy, metric, hits)
    blind = _scored(run, policy, inference, f"{metric}_blindly")
    chance = float(blind.mean())
    if metric == ANSWER:
        return chance, _more_often(hits, blind)
    beyond = paired_p_value(hits, blind) if len(hits) > 1 else 1.0
    return chance, max(beyond, rate_p_value(int(hits.sum()), len(hits), chance))  # of few alike the first is too sure


def _more_often(hits: Tensor, others: Tensor) -> float:
    """P-value that the first of 0 and 1 are right no more often than the others on the same images (McNemar, exact)."""
    more, less = int((hits > others).sum()), int((hits < others).sum())
    return rate_p_value(more, more + less, 0.5) if more + less else 1.0


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
    chance = float(run.about["chance"][LABEL if metric == SEEN else metric])
    p_value = rate_p_value(int(hits.sum()), len(hits), chance)
    if not meant(run):
        return chance, p_value
    if metric in (LABEL, SEEN):
        answers = run.per_image(policy, "correct").round()
        return max(chance, float(answers.mean())), max(p_value, _more_often(hits, answers))
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
