"""A still scene: what an adversary gains by averaging what she receives of the same picture, frame after frame.

``python -m benchmarks.still`` prints a table; ``--json`` one object a line. The device draws nothing but the channel
does, so frames of a still scene differ by noise alone. An eavesdropper may average the tokens that she decodes, or
better the symbols before, whose noise falls by 10 log10(n) dB. A ridge regression is fitted to each kind of average of
as many frames of her own pictures, and scored on pictures that she does not have. Closed form, the same numbers again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from atm.channels import parse
from atm.encoder import Encoded
from atm.link import Link
from atm.seeds import seed_of
from atm.threat import Observation, ThreatModel
from attacks.base import held_out, patch_features
from attacks.linear import Moments, chosen
from audit.attack_config import AttackConfig
from audit.setting import prepare
from benchmarks.command import Parser, positive, run
from benchmarks.rows import markdown, show
from privacy_metrics.leakage import RECOGNISABLE_SSIM
from privacy_metrics.similarity import ssim
from privacy_metrics.statistics import bootstrap_mean

FRAMES = (1, 2, 4, 8, 16, 32)
HEADINGS = ("policy", "her channel", "frames", "tokens averaged", "0.5 or more", "symbols averaged", "0.5 or more")
AT_ONCE = 64  # pictures whose features are in memory together

Average = Callable[[Sequence[Observation], Link], Observation]


def of_tokens(heard: Sequence[Observation], link: Link) -> Observation:
    """The mean of the decoded tokens."""
    tokens = heard[0].tokens
    return replace(heard[0], tokens=tokens.with_values(torch.stack([h.tokens.values for h in heard]).mean(0)))


def of_symbols(heard: Sequence[Observation], link: Link) -> Observation:
    """What the codec decodes of the mean symbols, told of the SNR that they have."""
    symbols = torch.stack([h.symbols for h in heard]).mean(0)
    snr = torch.stack([torch.as_tensor(h.snr_db, dtype=torch.float32) for h in heard])
    better = 10 * (10 ** (snr / 10)).sum(0).log10()
    decoded = link.receive(symbols, heard[0].side, heard[0].tokens, better if better.ndim else float(better))
    return replace(heard[0], tokens=heard[0].tokens.with_values(decoded.values))


AVERAGES: dict[str, Average] = {"tokens": of_tokens, "symbols": of_symbols}


def listen(link: Link, threat: ThreatModel, encoded: Encoded, frames: int, seed: int) -> list[Observation]:
    """So many frames of each picture, as she hears them; each frame's noise is its own."""
    heard = []
    for number in range(frames):
        draw = seed_of("still", seed, number)
        heard.append(threat.observe(link.transmit(encoded, draw), link, draw))
    return heard


def scores(
    link: Link, threat: ThreatModel, hers: Tensor, victims: Tensor, frames: Sequence[int], seed: int
) -> Iterator[tuple[int, str, Tensor]]:
    """Frames, kind of average, and the SSIM ``[B]`` of each victim that is rebuilt from it."""
    signal = link.signal
    own, theirs = link.encode(hers), link.encode(victims)
    known = listen(link, threat, own, max(frames), seed_of(seed, "hers"))
    seen = listen(link, threat, theirs, max(frames), seed_of(seed, "victims"))
    for count in frames:
        for name, average in AVERAGES.items():
            learned, attacked = average(known[:count], link), average(seen[:count], link)
            moments = [
                Moments.streamed(
                    (patch_features(learned.select(part)), signal.to_units(hers[part])) for part in rows.split(AT_ONCE)
                )
                for rows in held_out(len(hers))
            ]
            units = chosen(moments[0], moments[1])(patch_features(attacked))
            yield count, name, ssim(signal.clip(signal.from_units(units)), victims)


def rows(config: AttackConfig, channels: Sequence[str], frames: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A row for each policy, channel of hers, number of frames and kind of average."""
    for channel in channels:
        parse(channel)  # one that is unknown is told before anything is loaded
    setting = prepare(config)
    hers, victims = setting.data.hers[:].to(setting.encoder.device), setting.data.victims.images
    for policy in setting.policies:
        link = setting.link(policy)
        for channel in channels:
            threat = ThreatModel("eavesdropper", "eavesdropper", channel=channel).on(link)
            for count, name, found in scores(link, threat, hers, victims, frames, config.seed):
                mean = bootstrap_mean(found)
                yield {
                    "policy": policy.name, "channel": channel, "frames": count, "averaged": name,
                    "gained_db": 10 * math.log10(count), "ssim": mean.estimate, "ssim_low": mean.low,
                    "ssim_high": mean.high, "recognised": int((found >= RECOGNISABLE_SSIM).sum()),
                    "pictures": len(found),
                }  # fmt: skip


def table(found: Sequence[dict[str, Any]]) -> str:
    """Markdown, a row for each policy, channel and number of frames."""
    lines = []
    kinds = [[row for row in found if row["averaged"] == name] for name in AVERAGES]
    for pair in zip(*kinds, strict=True):
        cells = [pair[0]["policy"], f"`{pair[0]['channel']}`", str(pair[0]["frames"])]
        for row in pair:
            cells.append(f"{row['ssim']:.3f} [{row['ssim_low']:.3f}, {row['ssim_high']:.3f}]")
            cells.append(f"{row['recognised']} of {row['pictures']}")
        lines.append(cells)
    return markdown(HEADINGS, lines)


def main() -> None:
    """The command line."""
    parser = Parser("still", __doc__)
    parser.add_argument("--victim", default="vit_photos", help="as in atm attack")
    parser.add_argument("--data", default="photos", help="as in atm attack")
    parser.add_argument("--codec", default="auto", help="as in atm attack")
    parser.add_argument("--policy", nargs="+", default=["none", "moderate"], help="merging policies")
    parser.add_argument(
        "--her-channel", nargs="+", default=["awgn:-10", "awgn:0"], help="channels over which the eavesdropper hears"
    )
    parser.add_argument("--frames", type=positive, nargs="+", default=list(FRAMES), help="numbers of frames to average")
    parser.add_argument("--images", type=positive, default=100, help="pictures to attack")
    parser.add_argument("--auxiliary", type=positive, default=400, help="the adversary's own pictures, at most")
    parser.add_argument("--device", default="auto", help="where tensors are computed, as in atm attack")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    config = AttackConfig(
        victim=asked.victim, data=asked.data, codec=asked.codec, policies=tuple(asked.policy), attacks=("ridge",),
        images=asked.images, auxiliary=asked.auxiliary, device=asked.device, threat="eavesdropper",
    )  # fmt: skip
    show(rows(config, asked.her_channel, asked.frames), asked.json, table)


if __name__ == "__main__":
    run(main)
