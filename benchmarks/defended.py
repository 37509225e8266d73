"""Trained defences beside noise of equal accuracy, met by attacks that are refitted to them and by others that are not.

``python -m benchmarks.defended --json --victim vit_cifar10 --data cifar10_test.tar > defended.jsonl``, and ``python -m
benchmarks.defended --rows defended.jsonl`` for the table.

Each attack is fitted to the undefended system and turned on every defended one as it is, which is what an evaluation
reports that does not adapt; and it is fitted to every defended one anew. Beside each defence stands Gaussian noise at
which as many pictures are answered rightly. They are the adversary's, past those that defences are fitted to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import defenses
from atm.encoder import Encoded
from atm.link import Link
from atm.seeds import seed_of
from attacks import BASELINES, available
from attacks.session import Campaign, Session
from audit.attack_config import AttackConfig
from audit.compare import strongest
from audit.setting import Setting, defended, prepare
from benchmarks.command import Parser, positive, run
from benchmarks.rows import markdown, show, table_of
from defenses.nopeek import distance_correlation
from privacy_metrics import METRICS
from privacy_metrics.leakage import leakage
from privacy_metrics.statistics import bootstrap_mean, paired_difference
from reports.level import recognised

HALVINGS, STRONGEST = 10, 8.0  # of the range of the noise's deviation, in deviations of the tokens
COMPARED = 200  # pictures whose distances are compared with those of their tokens
REFITTED, AS_IT_WAS = "refitted", "not refitted"
HEADINGS = (
    "defence", "accuracy:", "points gained", "distance correlation:", "not refitted: SSIM", "recognised:",
    "refitted: SSIM", "recognised:",
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """Pictures whose answers are compared: what the device computes of them, and what is right."""

    encoded: Encoded
    images: Tensor
    truth: Tensor

    @classmethod
    def of(cls, setting: Setting) -> Asked:
        """The adversary's own that no defence is fitted to."""
        first, own = defenses.CALIBRATION, setting.data.auxiliary
        part = own.subset(range(first, len(own)))
        assert setting.victim is not None
        truth = setting.victim.answers(part).truth
        assert truth is not None
        encoded = setting.encodings(setting.policies[0]).select(torch.arange(first, len(own)))
        return cls(encoded, part.subset(range(min(COMPARED, len(part)))).inputs, truth)

    def right(self, link: Link) -> Tensor:
        """``[N]`` of 0 and 1."""
        return (link.transmit(self.encoded, 17).logits.argmax(-1).cpu() == self.truth).double()

    def correlation(self, link: Link) -> float:
        """Distance correlation of pictures and of the tokens that leave the defence, which NoPeek makes small."""
        sent = link.transmit(self.images, 17).sent.per_patch()
        return float(distance_correlation(self.images.flatten(1), sent.flatten(1)))


def noise_of_equal_accuracy(setting: Setting, asked: Asked, wanted: float, seed: int) -> str:
    """The defence that adds Gaussian noise at which so large a part of the pictures is answered rightly."""
    plain = setting.link(setting.policies[0])

    def enough(deviation: float) -> bool:
        return float(asked.right(defended(plain, f"gaussian:{deviation}", setting.data, seed)).mean()) >= wanted

    return f"gaussian:{strongest(enough, STRONGEST, HALVINGS):.4g}"


def fitted(setting: Setting, link: Link, config: AttackConfig) -> tuple[Session, dict[str, Any]]:
    """The adversary against one system, and her attacks, blind baselines included."""
    session = Session(
        link,
        setting.threat,
        setting.data.hers,
        encoded=setting.encodings(link.policy),
        campaign=Campaign(seed_of("attacks", config.seed), setting.secret(config.seed)),
    )
    shares = {name: available()[name].share(setting.threat) for name in setting.attacks}
    seconds = {name: (config.budget or torch.inf) * share / sum(shares.values()) for name, share in shares.items()}
    found = {name: session.fitted(available()[name], session.budget(seconds[name], name)) for name in shares}
    return session, found


def scored(seen: Any, attacks: dict[str, Any], session: Session, originals: Tensor) -> dict[str, Tensor]:
    """``[B]`` SSIM by attack."""
    scores = {}
    for name, attack in attacks.items():
        torch.manual_seed(session.seeded(f"{name}, reconstructing"))
        scores[name] = METRICS["ssim"].compute(attack.reconstruct(seen).cpu(), originals)
    return scores


def rows(config: AttackConfig, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row for the undefended system, for each defence, and for the noise that stands beside it."""
    setting = prepare(config)
    plain, asked = setting.link(setting.policies[0]), Asked.of(setting)
    undefended, originals = asked.right(plain), setting.data.victims.inputs
    session, as_it_was = fitted(setting, plain, config)

    def row(text: str, link: Link, beside: str = "") -> dict[str, Any]:
        adapted, refitted = (session, as_it_was) if link is plain else fitted(setting, link, config)
        _, seen, _ = adapted.victims(originals)
        right = asked.right(link)
        cost = paired_difference(right, undefended)
        found = {"defence": text, "beside": beside, "accuracy": float(right.mean()), "asked": len(right)}
        found |= {"gain": cost.estimate, "gain_low": cost.low, "gain_high": cost.high}
        found |= {"distance_correlation": asked.correlation(link), "images": len(originals)}
        for how, attacks in ((AS_IT_WAS, as_it_was), (REFITTED, refitted)):
            scores = scored(seen, attacks, adapted, originals)
            blind = leakage({name: scores[name] for name in BASELINES["image"].constant})
            worst = leakage({name: scores[name] for name in scores if name != BASELINES["image"].random})
            mean = bootstrap_mean(worst)
            found[how] = {
                "ssim": mean.estimate,
                "low": mean.low,
                "high": mean.high,
                "recognised": int(recognised(worst[None], blind[None]).sum()),
                "blind": float(blind.mean()),
                **{name: float(values.mean()) for name, values in scores.items()},
            }
        return found

    yield row("none", plain)
    for text in wanted:
        link = defended(plain, text, setting.data, config.seed)
        yield (made := row(text, link))
        noise = noise_of_equal_accuracy(setting, asked, made["accuracy"], config.seed)
        yield row(noise, defended(plain, noise, setting.data, config.seed), text)


def table(found: Sequence[dict[str, Any]]) -> str:
    """Markdown, a row for each system."""
    lines = []
    for each in found:
        name = each["defence"] + (f" (as accurate as {each['beside']})" if each["beside"] else "")
        gained = f"{100 * each['gain']:+.1f} [{100 * each['gain_low']:+.1f}, {100 * each['gain_high']:+.1f}]"
        cells = [name, f"{each['accuracy']:.1%}", gained, f"{each['distance_correlation']:.2f}"]
        for how in (AS_IT_WAS, REFITTED):
            cells += [f"{each[how]['ssim']:.3f} [{each[how]['low']:.3f}, {each[how]['high']:.3f}]"]
            cells += [f"{each[how]['recognised']} of {each['images']}"]
        lines.append(cells)
    return markdown(HEADINGS, lines)


def main() -> None:
    """The command line."""
    parser = Parser("defended", __doc__)
    parser.add_argument("--victim", default="vit_cifar10", help="as in atm attack")
    parser.add_argument("--data", default="cifar10_test.tar", help="as in atm attack")
    parser.add_argument("--channel", default="awgn:10", help="as in atm attack")
    parser.add_argument("--threat", default="server", help="name of a threat model")
    parser.add_argument(
        "--defense",
        nargs="+",
        default=["nopeek:1", "disco:0.5", "cem:1:0.5"],
        help="trained ones, as in atm attack",
    )
    parser.add_argument("--attack", nargs="+", default=["ridge", "context", "decoder"], help="attacks by name")
    parser.add_argument("--images", type=positive, default=100, help="pictures to attack")
    parser.add_argument("--auxiliary", type=positive, default=2000, help="the adversary's own pictures, at most")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for all attacks on one system; 0: no limit")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, as they come")
    parser.add_argument("--rows", type=Path, nargs="+", help="measure nothing; the table of rows written before")
    asked = parser.parse_args()
    if asked.rows:
        print(table_of(asked.rows, table))
        return
    given = {name: getattr(asked, name) for name in ("victim", "data", "channel", "threat", "images", "auxiliary")}
    for text in asked.defense:  # a name that is unknown is told before anything is measured
        defenses.create(text)
    config = AttackConfig(**given, policies=("none",), attacks=tuple(asked.attack), budget=asked.budget or None)
    show(rows(config, asked.defense), asked.json, table)


if __name__ == "__main__":
    run(main)
