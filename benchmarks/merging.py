"""Accuracy against FLOPs and against tokens: threshold merging beside fixed-ratio ToMe, no channel between.

Four families: one threshold for all layers; a threshold in the second half of the layers only; thresholds per layer,
chosen among random ones by accuracy and FLOPs on other pictures (the paper searches them with Bayesian optimisation);
and ToMe, which removes the same number of tokens in each layer. All are measured on the same test pictures.

Runs like these:
  python -m benchmarks.merging --data cifar10_test.tar --figure docs/merging.png
  python -m benchmarks.merging --json --victim vit_photos --data photos --images 200
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from atm import zoo
from atm.data import splits
from atm.policy import MergePolicy
from atm.progress import track
from audit.evaluate import right_answers
from privacy_metrics.statistics import Interval, wilson

THRESHOLDS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
COLOURS = {"one threshold": "#2f6690", "late layers": "#66a182", "per layer": "#d1495b", "ToMe": "#5c5c5c"}


@dataclass(frozen=True)
class Row:
    """One policy.

    Attributes:
        victim: its name.
        family: which kind of policy.
        policy: its name.
        images: test pictures.
        accuracy: on them, with its 95% Wilson interval in ``low`` and ``high``.
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
    low: float
    high: float
    gflops: float
    flops_saved: float
    tokens: float
    tokens_sent: float


@torch.inference_mode()
def measured(victim: zoo.Victim, policy: MergePolicy, images: Tensor, truth: Tensor) -> tuple[Interval, float, float]:
    """Accuracy, mean GFLOPs and mean tokens."""
    right, flops, tokens = 0, 0.0, 0
    for rows in torch.arange(len(images)).split(64):
        encoded = victim.encoder(images[rows], policy)
        right += int((victim.encoder.finish(encoded.tokens, policy).argmax(-1) == truth[rows]).sum())
        flops, tokens = flops + float(encoded.flops.sum()), tokens + int(encoded.tokens.lengths.sum())
    return wilson(right, len(images)), flops / len(images) / 1e9, tokens / len(images)


def families(victim: zoo.Victim, images: Tensor, truth: Tensor, tries: int) -> dict[str, list[MergePolicy]]:
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
    better = [(accuracy.estimate, gflops) for (accuracy, gflops, _), _ in scores]
    front = [p for (a, f, _), p in scores if not any(b >= a.estimate and g < f for b, g in better)]
    return {
        "one threshold": [MergePolicy.uniform(t, depth) for t in THRESHOLDS],
        "late layers": late,
        "per layer": [p.renamed(f"per-layer-{i}") for i, p in enumerate(front)],
        "ToMe": [MergePolicy.fixed_ratio(r, depth) for r in range(1, patches // depth + 2)],
    }


def rows(options: argparse.Namespace) -> Iterable[Row]:
    """The unmerged encoder and every policy of every family."""
    victim = zoo.load_victim(options.victim)
    data = splits(
        options.data,
        victims=options.images,
        auxiliary=options.tuning,
        size=victim.encoder.image_size,
        seed=options.seed,
    )
    images, (truth, _) = data.victims.images, right_answers(victim, data.victims)
    other = data.auxiliary
    dense = MergePolicy.uniform(1.0, victim.encoder.depth, name="none")
    _, full, whole = base = measured(victim, dense, images, truth)
    yield _row(victim, "none", dense, base, full, whole)
    for family, policies in families(victim, other.images, right_answers(victim, other)[0], options.tries).items():
        for policy in track(policies, family):
            yield _row(victim, family, policy, measured(victim, policy, images, truth), full, whole)


def _row(
    victim: zoo.Victim,
    family: str,
    policy: MergePolicy,
    found: tuple[Interval, float, float],
    full: float,
    whole: float,
) -> Row:
    accuracy, gflops, tokens = found
    return Row(
        victim=victim.name,
        family=family,
        policy=policy.name,
        images=accuracy.n,
        accuracy=round(accuracy.estimate, 4),
        low=round(accuracy.low, 4),
        high=round(accuracy.high, 4),
        gflops=round(gflops, 4),
        flops_saved=round(1 - gflops / full, 4),
        tokens=round(tokens, 2),
        tokens_sent=round(tokens / whole, 4),
    )


def draw(found: Sequence[Row], path: str) -> None:
    """Write the figure: accuracy against FLOPs saved and against the share of tokens that is sent."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, constrained_layout=True)
    base = next(row for row in found if row.family == "none")
    for axis, column, label in zip(
        axes, ("flops_saved", "tokens_sent"), ("FLOPs saved on the device", "tokens sent, of all"), strict=True
    ):
        axis.axhspan(base.low, base.high, color="#dde3e8", lw=0, label="no merging, 95% interval")
        for family, colour in COLOURS.items():
            own = sorted((row for row in found if row.family == family), key=lambda row: getattr(row, column))
            below = [max(row.accuracy - row.low, 0) for row in own]
            above = [max(row.high - row.accuracy, 0) for row in own]
            axis.errorbar(
                [getattr(row, column) for row in own], [row.accuracy for row in own], yerr=[below, above],
                fmt="o-", ms=3, lw=1, elinewidth=0.5, color=colour, label=family,
            )  # fmt: skip
        axis.set_xlabel(label)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.grid(color="#eeeeee")
    axes[0].set_ylabel(f"accuracy of {base.victim}, {base.images} pictures")
    axes[0].legend(frameon=False, fontsize=8, loc="lower left")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print a row per policy."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m benchmarks.merging",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of a table")
    parser.add_argument("--victim", default="vit_cifar10", help="shipped victim or timm name")
    parser.add_argument("--data", default="torch/cifar10", help="as in atm attack")
    parser.add_argument("--images", type=int, default=2000, help="test pictures")
    parser.add_argument("--tuning", type=int, default=600, help="other pictures, to choose thresholds on")
    parser.add_argument("--tries", type=int, default=64, help="thresholds per layer to choose from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", help="a picture file to draw")
    options = parser.parse_args()
    found = []
    if not options.json:
        print("| family | policy | accuracy | GFLOPs | FLOPs saved | tokens | of all |")
        print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for row in rows(options):
        found.append(row)
        print(json.dumps(asdict(row)) if options.json else _line(row), flush=True)
    if options.figure:
        draw(found, options.figure)


def _line(row: Row) -> str:
    return (
        f"| {row.family} | {row.policy} | {row.accuracy:.1%} [{row.low:.1%}, {row.high:.1%}] | {row.gflops:.3f} | "
        f"{row.flops_saved:.0%} | {row.tokens:.1f} | {row.tokens_sent:.0%} |"
    )


if __name__ == "__main__":
    main()
