"""Accuracy against FLOPs and against tokens: threshold merging beside fixed-ratio ToMe, no channel between.

Six families: one threshold for all layers; a threshold in the second half of the layers only; thresholds per layer,
chosen among random ones by accuracy and FLOPs on other pictures (the paper searches them with Bayesian optimisation);
one threshold on size-aware similarities (arXiv 2505.15160); ToMe, which removes the same number of tokens in each
layer; and the same where patches keep their order. All are measured on the same test pictures.

Runs like these:
  python -m benchmarks.merging --data cifar10_test.tar --figure docs/merging.png
  python -m benchmarks.merging --json --victim vit_photos --data photos --images 200
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from atm.data import splits
from atm.policy import MergePolicy
from atm.progress import track
from atm.victims import Victim, load_victim
from benchmarks.command import Parser, positive, run
from benchmarks.rows import head, line, stream
from privacy_metrics.statistics import paired_difference

REMOVED = (2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 32)
THRESHOLDS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
HEADINGS = ("family", "policy", "accuracy:", "lost, points", "GFLOPs:", "FLOPs saved:", "tokens:", "of all:")
COLOURS = {"one threshold": "#2f6690", "late layers": "#66a182", "per layer": "#d1495b", "ToMe": "#5c5c5c",
           "size-aware": "#c77d1e", "ToMe in place": "#a9a9a9"}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One policy.

    Attributes:
        victim: its name.
        family: which kind of policy.
        policy: its name.
        images: test pictures.
        accuracy: on them.
        lost: accuracy lost to merging on the same pictures, with its 95% interval in ``low`` and ``high``.
        gflops: mean per picture, as counted.
        flops_saved: fraction of the unmerged encoder's.
        tokens: mean number that is sent.
        tokens_sent: fraction of the unmerged encoder's.
    """

    victim: str
    family: str
    policy: str
    images: int
    accuracy: float
    lost: float
    low: float
    high: float
    gflops: float
    flops_saved: float
    tokens: float
    tokens_sent: float


@dataclass(frozen=True)
class Measured:
    """What a policy did: for each picture whether the answer was right ``[N]`` (0 or 1); mean GFLOPs and tokens."""

    right: Tensor
    gflops: float
    tokens: float


@torch.inference_mode()
def measured(victim: Victim, policy: MergePolicy, images: Tensor, truth: Tensor) -> Measured:
    """Run a policy on images ``[N, 3, H, W]`` with labels ``[N]``."""
    right, flops, tokens = [], 0.0, 0
    for rows in torch.arange(len(images)).split(64):
        encoded = victim.encoder(images[rows], policy)
        right.append(victim.encoder.finish(encoded.tokens, policy).argmax(-1) == truth[rows])
        flops, tokens = flops + float(encoded.flops.sum()), tokens + int(encoded.tokens.lengths.sum())
    return Measured(torch.cat(right).double(), flops / len(images) / 1e9, tokens / len(images))


def families(victim: Victim, images: Tensor, truth: Tensor, tries: int) -> dict[str, list[MergePolicy]]:
    """The policies to measure; those per layer are chosen on the given pictures."""
    depth, patches = victim.encoder.depth, victim.encoder.patch_grid[0] * victim.encoder.patch_grid[1]
    early = depth // 2
    late = [MergePolicy((1.0,) * early + (t,) * (depth - early), name=f"late-{t:g}") for t in THRESHOLDS]
    units = SobolEngine(depth, scramble=True, seed=0).draw(tries).tolist()
    tried = [
        MergePolicy(tuple(round(1 - 0.8 * u * u, 3) for u in unit), name=f"tried-{i}") for i, unit in enumerate(units)
    ]
    candidates = [*tried, *late, *(MergePolicy.uniform(t, depth) for t in THRESHOLDS)]
    scores = [(measured(victim, p, images, truth), p) for p in track(candidates, "choosing thresholds")]
    points = [(float(m.right.mean()), m.gflops) for m, _ in scores]
    front = [p for (a, f), (_, p) in zip(points, scores, strict=True) if not any(b >= a and g < f for b, g in points)]
    return {
        "one threshold": [MergePolicy.uniform(t, depth) for t in THRESHOLDS],
        "late layers": late,
        "per layer": [p.renamed(f"per-layer-{i}") for i, p in enumerate(front)],
        "size-aware": [
            MergePolicy.uniform(t, depth, similarity="size-aware", average="size", name=f"size-aware-{t:g}")
            for t in THRESHOLDS
        ],
        "ToMe": [MergePolicy.fixed_ratio(r, depth) for r in REMOVED if 2 * r <= patches],
        "ToMe in place": [
            MergePolicy.fixed_ratio(r, depth, order="place", name=f"in-place-{r}") for r in REMOVED if 2 * r <= patches
        ],
    }


def rows(options: argparse.Namespace) -> Iterable[Row]:
    """The unmerged encoder and every policy of every family."""
    victim = load_victim(options.victim)
    victim.need_task("benchmarks.merging")
    data = splits(
        options.data,
        victims=options.images,
        auxiliary=options.tuning,
        size=victim.encoder.input_shape[1:],
        seed=options.seed,
    )
    images, other = data.victims.images, data.auxiliary.images
    truth, other_truth = victim.answers(data.victims).truth, victim.answers(data.auxiliary).truth
    assert truth is not None and other_truth is not None
    dense = MergePolicy.uniform(1.0, victim.encoder.depth, name="none")
    base = measured(victim, dense, images, truth)
    yield _row(victim, "none", dense, base, base)
    for family, policies in families(victim, other, other_truth, options.tries).items():
        for policy in track(policies, family):
            yield _row(victim, family, policy, measured(victim, policy, images, truth), base)


def _row(victim: Victim, family: str, policy: MergePolicy, found: Measured, base: Measured) -> Row:
    lost = paired_difference(base.right, found.right)
    return Row(
        victim=victim.name,
        family=family,
        policy=policy.name,
        images=len(found.right),
        accuracy=round(float(found.right.mean()), 4),
        lost=round(lost.estimate, 4),
        low=round(lost.low, 4),
        high=round(lost.high, 4),
        gflops=round(found.gflops, 4),
        flops_saved=round(1 - found.gflops / base.gflops, 4),
        tokens=round(found.tokens, 2),
        tokens_sent=round(found.tokens / base.tokens, 4),
    )


def draw(found: Sequence[Row], path: str) -> None:
    """Write the figure: accuracy gained by merging against FLOPs saved and against the share of tokens sent."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, constrained_layout=True)
    base = next(row for row in found if row.family == "none")
    for axis, column, label in zip(
        axes, ("flops_saved", "tokens_sent"), ("FLOPs saved on the device", "tokens sent, of all"), strict=True
    ):
        axis.axhline(0, color="#1c2733", lw=0.7)
        for family, colour in COLOURS.items():
            own = sorted((row for row in found if row.family == family), key=lambda row: getattr(row, column))
            bars = [[row.lost - row.low for row in own], [row.high - row.lost for row in own]]
            axis.errorbar(
                [getattr(row, column) for row in own], [-100 * row.lost for row in own],
                yerr=100 * np.array(bars)[::-1],
                fmt="o-", ms=3, lw=1, elinewidth=0.5, alpha=0.8, color=colour, label=family,
            )  # fmt: skip
        axis.set_xlabel(label)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.grid(color="#eeeeee")
    axes[0].set_ylabel(f"points of accuracy gained\n{base.victim}, {base.images} pictures")
    axes[0].legend(frameon=False, fontsize=8, loc="lower left")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print a row per policy."""
    parser = Parser("merging", __doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of a table")
    parser.add_argument("--victim", default="vit_cifar10", help="shipped victim or timm name")
    parser.add_argument("--data", default="torch/cifar10", help="as in atm attack")
    parser.add_argument("--images", type=positive, default=2000, help="test pictures")
    parser.add_argument("--tuning", type=positive, default=600, help="other pictures, to choose thresholds on")
    parser.add_argument("--tries", type=positive, default=64, help="thresholds per layer to choose from")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of pictures")
    parser.add_argument("--figure", help="a picture file to draw")
    options = parser.parse_args()
    found = stream(rows(options), options.json, _line, head(HEADINGS))
    if options.figure:
        draw(found, options.figure)


def _line(row: Row) -> str:
    lost = f"{100 * row.lost:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}]"
    costs = f"{row.gflops:.3f}", f"{row.flops_saved:.0%}", f"{row.tokens:.1f}", f"{row.tokens_sent:.0%}"
    return line([row.family, row.policy, f"{row.accuracy:.1%}", lost, *costs])


if __name__ == "__main__":
    run(main)
