"""Not pixels but harm: the label, and which of some candidate pictures was sent."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from atm.link import Link
from atm.threat import Knowledge, Observation, ThreatModel
from attacks.base import Inferred, held_out, image_features, require
from attacks.ridge import Ridge

STRENGTHS = tuple(10.0**k for k in range(-5, 3))
FRESH = 977  # channel draws of the adversary's own, which the victims' transmission does not share


class Identify:
    """Reads the label with a ridge classifier, and finds the picture again among candidates.

    She sends the candidates through her own copy of the link with fresh noise, and compares features by their cosine
    after whitening with what varies between draws of the same picture (and a share of what varies between pictures).
    Without the victim's weights she compares a ridge reconstruction with the candidates, which needs the merge map.
    """

    name: ClassVar[str] = "identify"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = (Knowledge.WEIGHTS, Knowledge.MERGE_MAP)

    def fit(self, link: Link, threat: ThreatModel, images: Tensor, labels: Tensor | None) -> None:
        """Solve classifier and metric from the auxiliary images."""
        require(self, threat)
        self.link, self.threat = link, threat
        x = features(threat.tap_images(link, images))
        self.mean, self.scale = x.mean(0), x.std(0).clamp_min(1e-6)
        x = self._standard(x)
        self.weights = None if labels is None else _classifier(x, labels)
        self.ridge = None
        if Knowledge.WEIGHTS not in threat.knows:
            self.ridge = Ridge()
            self.ridge.fit(link, threat, images)
            return
        noise = (self._standard(features(threat.tap_images(link, images, FRESH))) - x).double()
        spread = noise.T @ noise / (2 * len(x)) + 0.05 * x.T.double() @ x.double() / len(x)
        values, basis = torch.linalg.eigh(spread)
        self.whiten = (basis * values.clamp_min(1e-6 * float(values[-1])).rsqrt()).float()

    def infer(self, seen: Observation, candidates: Tensor) -> Inferred:
        """Labels, where auxiliary images had some, and the similarity to every candidate."""
        x = self._standard(features(seen))
        labels = None if self.weights is None else (_with_one(x) @ self.weights).argmax(-1)
        if self.ridge is not None:
            mine, theirs = self.ridge.reconstruct(seen).flatten(1), candidates.flatten(1)
            return Inferred(labels, _cosine(mine - mine.mean(0), theirs - theirs.mean(0)))
        sent = self._standard(features(self.threat.tap_images(self.link, candidates, 2 * FRESH)))
        return Inferred(labels, _cosine(x @ self.whiten, sent @ self.whiten))

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
    return torch.cat([image_features(seen), mean, deviation, count.log()], -1)


def _classifier(x: Tensor, labels: Tensor) -> Tensor:
    """Ridge regression on one-hot labels, its strength chosen by held-out accuracy, then by held-out error."""
    train, validation = held_out(len(x))
    x, y = _with_one(x).double(), torch.nn.functional.one_hot(labels, int(labels.max()) + 1).double()
    values, basis = torch.linalg.eigh(x[train].T @ x[train] / len(train))
    projected = basis.T @ (x[train].T @ y[train] / len(train))
    solutions = [basis @ (projected / (values.clamp_min(0) + s)[:, None]) for s in STRENGTHS]

    def quality(weights: Tensor) -> tuple[float, float]:
        held = x[validation] @ weights
        right = float((held.argmax(-1) == labels[validation]).double().mean())
        return right, -float((held - y[validation]).square().mean())

    return max(solutions, key=quality).float()


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], -1)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return torch.nn.functional.normalize(a, dim=-1) @ torch.nn.functional.normalize(b, dim=-1).T
