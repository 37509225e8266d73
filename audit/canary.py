"""The canary: a system that must leak; where it does not, attacks or pictures are unfit to clear another."""

from __future__ import annotations

from typing import Any

import torch

from atm.data import Splits
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import ThreatModel
from attacks.ridge import Ridge
from privacy_metrics import ssim
from privacy_metrics.leakage import recognisable

# Enough for the closed-form attack at the first layer, and seconds for a large victim on a CPU.
TRAINED, SCORED = 300, 50


def canary(link: Link, data: Splits, seed: int = 0) -> dict[str, Any]:
    """Attack the victim's first layer, unmerged, undefended and without a channel, on the adversary's own pictures.

    Args:
        link: whose encoder is taken, and nothing else.
        data: of which the auxiliary pictures are trained on, and the validation pictures rebuilt.
        seed: of everything that is random.

    Returns:
        The attack, the mean SSIM of what it rebuilt, the fraction recognisable, and of how many pictures.
    """
    bare = Link(link.encoder, MergePolicy.uniform(1.0, link.encoder.depth, exit_layer=1))
    threat, attack, originals = ThreatModel("canary"), Ridge(), data.validation.images[:SCORED]
    torch.manual_seed(seed)
    attack.fit(bare, threat, data.auxiliary.images[:TRAINED])
    rebuilt = attack.reconstruct(threat.tap_images(bare, originals))
    scores = ssim(rebuilt, originals)
    rate = float(recognisable(scores).float().mean())
    return {"attack": attack.name, "ssim": float(scores.mean()), "recognisable": rate, "images": len(originals)}
