"""The canary: a system that must leak; where it does not, attacks or pictures are unfit to clear another."""

from __future__ import annotations

from typing import Any

import torch

from atm.data import Splits
from atm.encoder import Encoder
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import ThreatModel
from attacks import BASELINES, available
from attacks.session import Session
from privacy_metrics import METRICS
from privacy_metrics.leakage import recognisable

# Enough for the closed-form attack at the first layer, and seconds for a large victim on a CPU.
TRAINED, SCORED = 300, 50


def canary(encoder: Encoder, data: Splits, seed: int = 0) -> dict[str, Any]:
    """Attack the victim's first layer, unmerged, undefended and without a channel, on the adversary's own pictures.

    Args:
        encoder: the victim.
        data: of which the auxiliary pictures are trained on, and the validation pictures rebuilt.
        seed: of everything that is random.

    Returns:
        The attack, the mean leakage of what it rebuilt, the fraction recognisable, and of how many pictures.
    """
    bare = Link(encoder, MergePolicy.uniform(1.0, encoder.depth, exit_layer=1))
    session = Session(
        bare, ThreatModel("canary"), data.auxiliary.subset(range(min(TRAINED, len(data.auxiliary)))).inputs
    )
    originals, signal = data.validation.subset(range(min(SCORED, len(data.validation)))).inputs, bare.signal
    torch.manual_seed(seed)
    attack = session.fitted(available()[BASELINES[signal.name].closed_form])
    rebuilt = attack.reconstruct(session.oracle().tap(originals)).cpu()
    scores = METRICS[signal.leakage].compute(rebuilt, originals)
    rate = float(recognisable(scores, signal.bar.recognisable).float().mean())
    return {
        "attack": attack.name, signal.leakage: float(scores.mean()), "recognisable": rate, "images": len(originals)
    }  # fmt: skip
