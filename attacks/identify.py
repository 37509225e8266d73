"""Not pixels but harm: the label, and which of some candidate pictures was sent."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from atm.knowledge import Knowledge
from atm.threat import Observation
from attacks.base import ARRAYS, OWN_DEVICE, Inference, Inferred, frame_features, held_out, image_features, require
from attacks.linear import STRENGTHS, Linear, Moments
from attacks.oracle import Oracle
from attacks.ridge import Ridge
from attacks.word_ridge import WordRidge

MOST = 10_000  # images that she learns from
CLOSED_FORMS: dict[str, type[Any]] = {**dict.fromkeys(ARRAYS, Ridge), "text": WordRidge}  # by the kind of signal
FRESH = 977  # channel draws of the adversary's own, which the victims' transmission does not share


class Identify(Inference):
    """Reads the label with a ridge classifier, and finds the picture again among candidates.

    She sends the candidates through her own copy of the link with fresh noise, and compares features by their cosine
    after whitening with what varies between draws of the same picture (and a share of what varies between pictures).
    Without a device of her own she compares a reconstruction in closed form with the candidates, which needs the merge
    map.
    """

    name: ClassVar[str] = "identify"
    signals: ClassVar[tuple[str, ...]] = tuple(CLOSED_FORMS)
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = (OWN_DEVICE, Knowledge.MERGE_MAP)

    def fit(self, oracle: Oracle) -> None:
        """Solve classifier and metric from the auxiliary images."""
        require(self, oracle.threat)
        self.tap = oracle.tap
        rows = _sample(len(oracle.images))
        x = torch.cat([features(oracle.observe(part)) for part in oracle.batches(rows)])
        self.mean, self.scale = x.mean(0), x.std(0).clamp_min(1e-6)
        self.labels = None if oracle.labels is None else _classifier(x, oracle.labels[rows])
        self.ridge = None if oracle.threat.runs_the_device else oracle.fitted(CLOSED_FORMS[oracle.signal.name])
        self.signal = oracle.signal
        if self.ridge is not None:
            return
        x = self._standard(x)
        again = torch.cat([features(oracle.observe(part, FRESH)) for part in oracle.batches(rows)])
        noise = (self._standard(again) - x).double()
        spread = noise.T @ noise / (2 * len(x)) + 0.05 * x.T.double() @ x.double() / len(x)
        values, basis = torch.linalg.eigh(spread)
        self.whiten = (basis * values.clamp_min(1e-6 * float(values[-1])).rsqrt()).float()

    def infer(self, seen: Observation, candidates: Tensor) -> Inferred:
        """Labels, where auxiliary images had some, and the similarity to every candidate."""
        x = features(seen)
        labels = None if self.labels is None else self.labels(x[:, None])[:, 0].argmax(-1).cpu()
        if self.ridge is not None:
            units = (self.signal.to_units(each).flatten(1) for each in (self.ridge.reconstruct(seen), candidates))
            mine, theirs = units
            return Inferred(labels, _cosine(mine - mine.mean(0), theirs.to(mine) - theirs.to(mine).mean(0)).cpu())
        sent = self._standard(features(self.tap(candidates, 2 * FRESH)))
        return Inferred(labels, _cosine(self._standard(x) @ self.whiten, sent @ self.whiten).cpu())

    def _standard(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


def features(seen: Observation) -> Tensor:
    """``[B, f]``: class token or mean, mean and deviation over all tokens, and the logarithm of their number."""
    tokens = seen.tokens
    count = tokens.lengths.to(tokens.values.device)[:, None]
    zero = tokens.values.new_zeros(len(tokens), tokens.values.shape[-1])
    mean = zero.index_add(0, tokens.image_of_token, tokens.values) / count
    square = zero.index_add(0, tokens.image_of_token, tokens.values.square()) / count
    deviation = (square - mean.square()).clamp_min(0).sqrt()
    return torch.cat([image_features(seen), mean, deviation, count.log(), *frame_features(seen)], -1)


def _sample(count: int) -> Tensor:
    """Rows of her images that she learns from, the last tenth of them held-out ones."""
    train, held = held_out(count)
    return torch.cat([train[: MOST - MOST // 10], held[: MOST // 10]])


def _classifier(x: Tensor, labels: Tensor) -> Linear:
    """Ridge regression on one-hot labels, its strength chosen by held-out accuracy, then by held-out error."""
    train, held = held_out(len(x))
    y = torch.nn.functional.one_hot(labels, int(labels.max()) + 1).to(x)
    solution = Moments.of(x[train][:, None], y[train][:, None]).solve()

    def quality(linear: Linear) -> tuple[float, float]:
        answers = linear(x[held][:, None])[:, 0]
        right = float((answers.argmax(-1) == labels[held].to(x.device)).double().mean())
        return right, -float((answers - y[held]).square().mean())

    return max((solution.at(number) for number in range(len(STRENGTHS))), key=quality)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return torch.nn.functional.normalize(a, dim=-1) @ torch.nn.functional.normalize(b, dim=-1).T
