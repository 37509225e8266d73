"""Runs inferences: what the tokens give away beside the picture, scored per image."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from atm.data import Samples, Splits
from atm.data.questions import QuestionSet, words_of
from atm.errors import AtmError
from atm.threat import Observation
from atm.tokens import NOWHERE
from attacks import Inference
from attacks.base import Inquiry
from attacks.oracle import Oracle
from privacy_metrics.membership import halves, sent_and_unsent
from reports.harm import SENT, UNSENT

COVERED = 0.9  # of the victims: she must have pictures of so many's classes to learn labels
UNLEARNED = "labels are not inferred: she has no pictures of the classes of more than a tenth of the victims"


def run(inference: Inference, oracle: Oracle, data: Splits, seen: Observation) -> dict[str, Tensor]:
    """Scores ``[B]`` of 0 and 1: ``label_correct``, ``rank_1`` and ``rank_5``, whichever it says anything about.

    The victims' pictures are the candidates, each the others' distractor, in an order that tells nothing. ``sent`` and
    ``unsent`` are scores of membership (`privacy_metrics.membership`). Of an `attacks.base.Inquiry` see `inquired`.

    Args:
        inference: not fitted yet.
        oracle: of the adversary.
        data: the attacked pictures, whose labels count, and her own.
        seen: what she sees of the victims.

    Raises:
        AtmError: the inference says nothing, or in a wrong shape.
    """
    victims: Samples = data.victims
    order = torch.randperm(len(seen))
    inference.fit(oracle)
    if isinstance(inference, Inquiry):
        return inquired(inference, data, seen)
    found = inference.infer(seen, victims.inputs[order].to(oracle.device))
    truth, scores = victims.labels, dict[str, Tensor]()
    guessed, similarity = (None if each is None else each.cpu() for each in (found.labels, found.similarity))
    if guessed is not None and guessed.shape == truth.shape:
        scores["label_correct"] = (guessed == truth).float()
    if similarity is not None and similarity.shape == (len(seen), len(seen)):
        own = similarity.gather(1, order.argsort()[:, None])
        rank = (similarity >= own).sum(-1)  # ties count against her, so a constant answer finds nothing
        scores |= {f"rank_{k}": (rank <= k).float() for k in (1, 5)}
        if len(seen) > 1:
            scores[SENT], scores[UNSENT] = sent_and_unsent(similarity[:, order.argsort()], halves(truth))
    if not scores:
        raise AtmError(f"inference {inference.name!r} gave neither labels [B] nor similarities [B, candidates]")
    return scores


def inquired(inquiry: Inquiry, data: Splits, seen: Observation) -> dict[str, Tensor]:
    """Scores ``[B]``, each beside what is reached without the tokens (``..._blindly``); NaN where there is none.

    ``answer_correct``: her own question is answered right; blindly with the commonest answer to it among her pictures.
    A picture that has the server's question only has no such score.
    ``caption_correct``: a caption names an answer to some question about the picture, other than yes, no and numbers;
    blindly is the share of the other victims' captions that do. A picture without such an answer has no such score.

    Raises:
        AtmError: it gave neither answers nor captions, or too few.
    """
    victims, own = data.victims, (data.auxiliary, data.validation)
    assert isinstance(victims, QuestionSet)  # whoever answers questions is attacked with pictures that have some
    hers = [each or asked[0] for each, asked in zip(victims.private, victims.asked, strict=True)]
    questions, truth = [each.text for each in hers], [each.answer for each in hers]
    other, nameable = (torch.tensor([bool(each) for each in known]) for known in (victims.private, victims.named))
    found, scores = inquiry.ask(seen, questions, victims.classes), dict[str, Tensor]()
    if found.answers is not None and len(found.answers) == len(truth):
        answers = [victims.classes[each] for each in found.answers.tolist()]
        scores["answer_correct"] = _only(other, _alike(answers, truth))
        scores["answer_correct_blindly"] = _only(other, _alike(commonest(own, questions), truth))
    if found.captions is not None and len(found.captions) == len(truth):
        said = [words_of(caption) for caption in found.captions]
        named = torch.tensor([[bool(words & each) for words in said] for each in victims.named], dtype=torch.float)
        right = named.diagonal()
        scores["caption_correct"] = _only(nameable, right)
        scores["caption_correct_blindly"] = _only(nameable, (named.sum(1) - right) / max(len(said) - 1, 1))
    if not scores:
        raise AtmError(f"inference {inquiry.name!r} gave neither answers [B] nor a caption for each picture")
    return scores


def commonest(own: Sequence[Samples], questions: Sequence[str]) -> list[str]:
    """The commonest answer to each question about the adversary's own pictures, or to all where it is not asked."""
    known = defaultdict[str, Counter[str]](Counter)
    for asked in (about for part in own if isinstance(part, QuestionSet) for about in part.asked):
        for question in asked:
            known[question.text][question.answer] += 1
            known[""][question.answer] += 1
    return [max(sorted(each), key=lambda answer: each[answer], default="")
            for each in (known[text] if text in known else known[""] for text in questions)]  # fmt: skip


def _alike(said: Sequence[str], truth: Sequence[str]) -> Tensor:
    return torch.tensor([float(mine == right) for mine, right in zip(said, truth, strict=True)])


def _only(rows: Tensor, scores: Tensor) -> Tensor:
    return scores.where(rows, torch.nan)


def placed(recovered: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """``placed`` ``[B]``: the fraction of the patches that arrived whose token was found; ``placed_blindly``: the
    fraction in the largest token, which is the best guess of an adversary who sees only the merge map's group sizes.

    Args:
        recovered: ``[B, P]`` int64, tokens counted within their image.
        truth: the same, `atm.tokens.NOWHERE` for patches that did not arrive.
    """
    arrived = truth != NOWHERE
    number = arrived.sum(1).clamp_min(1)
    largest = torch.stack([row[there].bincount(minlength=1).max() for row, there in zip(truth, arrived, strict=True)])
    right = ((recovered == truth) & arrived).sum(1)
    return {"placed": right / number, "placed_blindly": largest / number}


def labels(data: Splits) -> Tensor | None:
    """``[N]`` of auxiliary and validation images, None where their classes are not the victims'.

    Nor are they where she has no picture of the classes of more than a tenth of the victims: she learns nothing about
    these, and what she does not find would look private.
    """
    sets = (data.auxiliary, data.validation)
    if any(part.classes != data.victims.classes for part in sets):
        return None
    known = torch.cat([part.labels for part in sets])
    return known if covered(data, known) else None


def covered(data: Splits, known: Tensor) -> bool:
    """Whether the classes of some labels are those of enough victims to learn labels from."""
    return int(torch.isin(data.victims.labels, known).sum()) >= COVERED * len(data.victims)


def chance(truth: Tensor) -> dict[str, float]:
    """What an adversary reaches who sees nothing: the commonest label always, a candidate drawn blindly."""
    return {
        "label_correct": float(truth.bincount().max()) / len(truth),
        **{f"rank_{k}": min(1.0, k / len(truth)) for k in (1, 5)},
    }
