"""What the decoder gains by going on with LPIPS, and what it gains by merely going on, in equal time.

``python -m benchmarks.onward --json --victim vit_cifar10 --data cifar10_test.tar --policy none aggressive``

One decoder is fitted to each policy. From there `attacks.perceptual` has so many seconds, and the same network with the
decoder's own loss as many. LPIPS is what the first is trained by, so that a recogniser (``--recogniser``) and DISTS,
which it never saw, are the better witnesses.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from attacks.decoder import Decoder
from attacks.history import History
from attacks.perceptual import Perceptual
from attacks.session import Campaign, Session
from audit.setting import AttackConfig, Setting, prepare
from benchmarks.command import Parser, add_system, positive, run
from benchmarks.rows import stream
from privacy_metrics import score


def rows_of(config: AttackConfig, first: float, more: float) -> Iterator[dict[str, Any]]:
    """A row for the decoder, for itself going on, and for `attacks.perceptual`, on each policy.

    Args:
        config: of the system.
        first: seconds for the decoder.
        more: seconds for each of the others.
    """
    setting = prepare(config)
    for policy in setting.policies:
        campaign = Campaign(config.seed, setting.secret(config.seed))
        session = Session(
            setting.link(policy),
            setting.threat,
            setting.data.hers,
            encoded=setting.encodings(policy),
            campaign=campaign,
        )
        _, seen, _ = session.victims(setting.data.victims.inputs)
        about = {"victim": config.victim, "policy": policy.name, "auxiliary": len(setting.data.hers)}
        decoder = session.fitted(Decoder, session.budget(first, "decoder"))
        yield {**about, "attack": "decoder", **found(setting, decoder.reconstruct(seen), decoder.history)}
        attack, onward = Perceptual(), decoder.copied()
        torch.manual_seed(config.seed)
        attack.fit(session.oracle(session.budget(more, "perceptual")))
        yield {**about, "attack": "perceptual", **found(setting, attack.reconstruct(seen), attack.history)}
        torch.manual_seed(config.seed)
        oracle = session.oracle(session.budget(more, "onward"))
        history = onward.train(oracle, oracle.signal.loss, attack.schedule, "the decoder further")
        yield {**about, "attack": "decoder, going on", **found(setting, onward.reconstruct(seen), history)}


def found(setting: Setting, rebuilt: Tensor, history: History | None) -> dict[str, Any]:
    """Steps, and the mean of every score, those of a recogniser too where there is one."""
    scores, _ = score(rebuilt, setting.data.victims.inputs)
    if setting.recognition is not None:
        scores |= setting.recognition.scores(rebuilt)
    steps = {} if history is None else {"steps": len(history.train)}
    return {**steps, **{name: round(float(values.mean()), 4) for name, values in scores.items()}}


def main() -> None:
    """The command line."""
    parser = Parser("onward", __doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per line, as they come")
    add_system(parser)
    parser.add_argument("--auxiliary-data", help="the adversary's pictures; default: others of --data")
    parser.add_argument("--codec", default="auto", help="of the link")
    parser.add_argument("--threat", default="server", help="name of a threat model")
    parser.add_argument("--recogniser", help="pretrained model that looks at what is rebuilt")
    parser.add_argument("--recogniser-weights", help="safetensors file with its weights")
    parser.add_argument("--policy", nargs="+", default=["none", "aggressive"], help="merging policies")
    parser.add_argument("--images", type=positive, default=100, help="pictures to attack")
    parser.add_argument("--auxiliary", type=positive, default=2000, help="the adversary's own pictures, at most")
    parser.add_argument("--first", type=positive, default=60, help="seconds for the decoder")
    parser.add_argument("--more", type=positive, default=40, help="seconds for what goes on from it")
    asked = parser.parse_args()
    stream(
        rows_of(config_of(asked), asked.first, asked.more), asked.json, lambda row: "  ".join(map(str, row.values()))
    )


def config_of(asked: argparse.Namespace) -> AttackConfig:
    """What is attacked."""
    own = ("json", "debug", "policy", "first", "more")
    options = {name: value for name, value in vars(asked).items() if name not in own}
    return AttackConfig(**options, policies=tuple(asked.policy), attacks=("perceptual",))


if __name__ == "__main__":
    run(main)
