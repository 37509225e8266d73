"""Evidence for two choices inside the attacks: what the decoder's loss is, and how merging is passed through.

``python -m benchmarks.choices --json [--victim vit_cifar10 --data cifar10_test.tar]``

The same decoder is trained for equally many steps with L1, with L1 and SSIM, and with LPIPS too. Then
`attacks.optimization` starts from the second of these with three treatments of the matching, which has no gradient:

- ``re-match``: the candidate is merged as the device would merge it, anew at each step;
- ``kept``: the merges of the start are kept;
- ``observed``: nothing merges on the way, and at the end tokens are merged as the observed map says (`Likelihood`).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

import atm.matching
from atm import merging
from atm.signals import arrays
from atm.threat import Observation
from attacks.base import held_out
from attacks.decoder import Decoder, Loss
from attacks.objective import Likelihood, Target, per_patch
from attacks.optimization import Optimization
from attacks.oracle import Oracle
from attacks.posterior import Posterior
from attacks.session import Campaign, Session
from attacks.spread import Spread
from attacks.training import PIXELS
from audit.attack_config import AttackConfig
from audit.setting import prepare
from benchmarks.command import Parser, positive, run
from benchmarks.rows import stream
from privacy_metrics import score
from privacy_metrics.perceptual import LpipsUnavailable, distance

OWN = "L1 + SSIM"  # what the decoder is trained with unless told otherwise


class Rematched(Likelihood):
    """Merges each candidate as the device would."""

    def sent(self, images: Tensor, source: Tensor | None) -> Tensor:
        """As `Likelihood.sent`; the observed map is not used."""
        tokens, symbols, _, _ = self.link.send(images)
        return per_patch(tokens.with_values(symbols) if self.on_symbols else tokens)


class FromStart(Rematched):
    """Keeps the merges of the first candidate after a target was set; for one batch at a time."""

    _kept: list[merging.Matches] | None = None

    def target(self, seen: Observation) -> Target:
        """As `Likelihood.target`."""
        self._kept = None
        return super().target(seen)

    def __call__(self, candidate: Tensor, target: Target) -> Tensor:
        """As `Likelihood.__call__`."""
        record: list[merging.Matches] = []
        with _merging(record, self._kept):
            distance = super().__call__(candidate, target)
        self._kept = self._kept or record
        return distance


@contextmanager
def _merging(record: list[merging.Matches], replayed: list[merging.Matches] | None) -> Iterator[None]:
    original, left = atm.matching.merging.above, list(replayed or ())

    def above(matches: merging.Matches, threshold: float) -> merging.Matches:
        record.append(left.pop(0) if replayed else original(matches, threshold))
        return record[-1]

    atm.matching.merging.above = above
    try:
        yield
    finally:
        atm.matching.merging.above = original


def losses(own: Loss, device: torch.device) -> dict[str, Loss]:
    """What the decoder can be trained with beside the signal's own; without LPIPS where its weights are missing."""
    chosen: dict[str, Loss] = {"L1": l1_loss, OWN: own}
    try:
        lpips = distance(device)
    except LpipsUnavailable as error:
        print(error, file=sys.stderr)
        return chosen
    return {
        **chosen,
        "L1 + SSIM + LPIPS": lambda estimate, images: own(estimate, images) + lpips(estimate, images).mean(),
    }


def rows_of(config: AttackConfig, training: int, descent: int) -> Iterator[dict[str, Any]]:
    """One row per choice, on the first policy for the losses and on each for the matching."""
    setting = prepare(config)
    images = setting.data.hers
    victims, schedule = setting.data.victims.images, replace(PIXELS, steps=training, every=training)
    campaign = Campaign(config.seed, setting.secret(config.seed))
    for policy in setting.policies:
        session = Session(setting.link(policy), setting.threat, images, campaign=campaign)
        oracle, (_, seen, _) = session.oracle(), session.victims(victims)
        tried = (
            losses(oracle.signal.loss, oracle.device) if policy is setting.policies[0] else {OWN: oracle.signal.loss}
        )
        about = {"victim": config.victim, "policy": policy.name}
        for name, loss in tried.items():
            torch.manual_seed(0)
            decoder = Decoder(schedule=schedule, loss=loss)
            decoder.fit(oracle)
            if policy is setting.policies[0]:
                yield {**about, "choice": "loss", "option": name, **_scores(decoder.reconstruct(seen), victims)}
            if name == OWN:
                start = decoder
        yield {**about, "choice": "matching", "option": "(start)", **_scores(start.reconstruct(seen), victims)}
        for name, make in {"re-match": Rematched, "kept": FromStart, "observed": Likelihood}.items():
            attack = descending(start, make(oracle), oracle, descent)
            attack.batch = len(victims)
            yield {**about, "choice": "matching", "option": name, **_scores(attack.reconstruct(seen), victims)}


def descending(start: Decoder, likelihood: Likelihood, oracle: Oracle, steps: int) -> Optimization:
    """`attacks.optimization` from a given start and with a given likelihood."""
    attack, posterior, held = Optimization(steps=steps), Posterior(), held_out(len(oracle.images))[1]
    errors = oracle.images[held] - start.reconstruct(oracle.observe().select(held))
    posterior.start, posterior.likelihood, posterior.rounds = start, likelihood, 0
    attack.posterior, attack.likelihood = posterior, likelihood
    attack.spread, attack.budget = Spread(errors, arrays(oracle.signal)), oracle.budget
    attack.weight, attack.hurried = 1.0, False
    return attack


def _scores(rebuilt: Tensor, victims: Tensor) -> dict[str, float]:
    scores, _ = score(rebuilt.clamp(0, 1), victims)
    return {name: round(float(values.mean()), 4) for name, values in scores.items()}


def main() -> None:
    """The command line."""
    parser = Parser("choices", __doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per line, as they come")
    parser.add_argument("--victim", default="vit_photos", help="as in atm attack")
    parser.add_argument("--data", default="photos", help="as in atm attack")
    parser.add_argument("--policy", nargs="+", default=["moderate", "aggressive"], help="merging policies")
    parser.add_argument("--images", type=positive, default=100, help="pictures to attack")
    parser.add_argument("--auxiliary", type=positive, default=1000, help="the adversary's own pictures, at most")
    parser.add_argument("--training", type=positive, default=300, help="steps of each decoder")
    parser.add_argument("--descent", type=positive, default=60, help="steps of each descent")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    config = AttackConfig(
        policies=tuple(asked.policy), victim=asked.victim, data=asked.data, images=asked.images,
        auxiliary=asked.auxiliary,
    )  # fmt: skip
    rows = rows_of(config, asked.training, asked.descent)
    stream(rows, asked.json, lambda row: "  ".join(map(str, row.values())))


if __name__ == "__main__":
    run(main)
