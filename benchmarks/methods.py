"""Merging methods at equal FLOPs, or equal tokens: accuracy and leakage, on the same pictures, no channel between.

The paper's thresholds on values stand first, and all others are compared with them picture by picture: ToMe, PiToMe,
size-aware matching, learned thresholds (as LTMP has them), learned matching (as DTEM has it, with thresholds), and
learned matching that is trained against a linear adversary as well. Thresholds are chosen, shifted and learned on
training pictures. Leakage is the SSIM of the closed-form linear attack, fitted on other folds of the test pictures.

Runs like these:
  python -m benchmarks.methods --victim vit_cifar10 --data cifar10_test.tar --train cifar10_train.tar --keep runs/cifar
  python -m benchmarks.methods --equal tokens --saves 0.5 --keep runs/methods
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

import atm.threat
from atm.calibration import moved, policy_saving
from atm.data import ImageSet, load
from atm.encoder import Encoded, Encoder
from atm.link import Link
from atm.merging_training import Learn, MergingTraining, Recipe, first_of
from atm.policy import MergePolicy
from atm.progress import track
from atm.store import make_folder
from atm.victims import Victim, load_victim
from audit.pareto.privacy import CrossFittedRidge
from audit.train import with_head
from benchmarks.command import Parser, add_system, fraction, positive, run
from benchmarks.rows import head, line, stream
from privacy_metrics.statistics import paired_difference

PAPER = "values (the paper)"
HEADINGS = (
    "method", "saves:", "accuracy:", "gained, points", "FLOPs saved:", "tokens:", "leakage, SSIM:", "leaks more by",
)  # fmt: skip
Make = Callable[[float], MergePolicy]


@dataclass(frozen=True)
class Row:
    """One method at one saving.

    Attributes:
        method: its name.
        saves: the part of the unmerged FLOPs that was to be saved.
        accuracy: on the test pictures.
        gained: accuracy gained over the paper's method on the same pictures; with its 95% interval.
        flops_saved: part of the unmerged FLOPs, on the test pictures.
        tokens: mean number that is sent.
        leakage: SSIM of the linear attack.
        leaked_more: than under the paper's method, on the same pictures; with its 95% interval.
    """

    method: str
    saves: float
    accuracy: float
    gained: tuple[float, float, float]
    flops_saved: float
    tokens: float
    leakage: float
    leaked_more: tuple[float, float, float]


@dataclass(frozen=True)
class Measured:
    """For each picture ``[N]`` whether the answer was right and what leaked; mean FLOPs and tokens."""

    right: Tensor
    leaked: Tensor
    flops: float
    tokens: float


class Bench:
    """A victim, pictures to choose and to learn on, and pictures to judge by.

    Args:
        victim: with a task.
        train: pictures to choose and to learn on.
        test: pictures to judge by.
        options: of the command line.
    """

    def __init__(self, victim: Victim, train: ImageSet, test: ImageSet, options: argparse.Namespace) -> None:
        self.victim, self.train, self.test, self.options = victim, train, test, options
        self.encoder: Encoder = victim.encoder
        self.first = first_of(self.encoder, train)
        self.dense = MergePolicy.uniform(1.0, self.encoder.depth, name="none")
        truth = victim.answers(test).truth
        assert truth is not None
        self.truth, self.images = truth, test.images
        self.ridge = CrossFittedRidge()
        self.ridge.prepare(Link(self.encoder, self.dense), atm.threat.load("server"), self.images)
        self.counts = self.encoder(self.first[:1], self.dense).layer_tokens
        self.whole = float(self.encoder.flops(self.counts, self.dense))

    @torch.no_grad()
    def measured(self, policy: MergePolicy) -> Measured:
        """Send the test pictures under a policy."""
        link = Link(self.encoder, policy)
        sent = link.transmit(self.images)
        right = (sent.logits.argmax(-1).cpu() == self.truth).double()
        leaked = self.ridge.score(link, sent).double()
        return Measured(right, leaked, float(sent.flops.mean()), float(sent.sent.lengths.double().mean()))

    def spent(self, encoded: Encoded) -> float:
        """What is made equal: the part of the unmerged FLOPs that is spent, or tokens that are sent."""
        if self.options.equal == "tokens":
            return float(encoded.tokens.lengths.double().mean())
        return float(encoded.flops.mean()) / self.whole

    @torch.no_grad()
    def thresholds(self, saves: float, wanted: float, **rules: str) -> MergePolicy:
        """Thresholds by quantiles of the similarities, shifted to what is wanted."""
        return moved(
            self.encoder, self.first, policy_saving(self.encoder, self.first, saves, **rules), self.spent, wanted
        )

    def fixed(self, kind: str, wanted: float) -> MergePolicy:
        """ToMe, as many tokens fewer at each layer, or PiToMe, the same part of them; the most that spends no more."""
        most = self.counts[0].item()
        for step in range(1, 401):
            policy = self._removing(kind, most / 2 * step / 400 if kind == "tome" else step / 800)
            if self.spent(self.encoder(self.first[:1], policy)) <= wanted:
                break
        return policy

    def _removing(self, kind: str, rate: float) -> MergePolicy:
        policy = MergePolicy.preset(f"{kind}-1", self.encoder.depth)
        left, removed = int(self.counts[0]), list[int]()
        for layer in range(self.encoder.depth):
            count = int(rate * (layer + 1)) - int(rate * layer) if kind == "tome" else round(rate * left)
            removed.append(min(count, (left - self.encoder.vit.num_prefix_tokens) // 2))
            left -= removed[-1]
        return replace(policy, remove=tuple(removed))

    def learned(self, name: str, learn: Learn, saves: float, wanted: float, privacy: float = 0.0) -> MergePolicy:
        """A policy from the folder of those that were learned before, or learned now; shifted to what is wanted."""
        file = Path(self.options.keep) / f"{name}-{100 * saves:g}.yaml"
        if not file.exists():
            recipe = Recipe(1 - saves, learn, privacy, self.options.steps, self.options.batch)
            training = MergingTraining(self.victim, self.train, recipe, seed=self.options.seed)
            for _ in track(training.steps(), f"learning {name}", recipe.steps):
                pass
            make_folder(file.parent)
            training.policy(file.stem).write(file)
        with torch.no_grad():
            return moved(self.encoder, self.first, MergePolicy.read(file), self.spent, wanted)

    def policies(self, saves: float) -> Iterable[tuple[str, MergePolicy]]:
        """Every method at a saving, the paper's first."""
        paper = moved(
            self.encoder, self.first, policy_saving(self.encoder, self.first, saves),
            lambda encoded: float(encoded.flops.mean()) / self.whole, 1 - saves,
        )  # fmt: skip
        yield PAPER, paper
        wanted = self.spent(self.encoder(self.first, paper))
        yield "ToMe", self.fixed("tome", wanted)
        yield "PiToMe", self.fixed("pitome", wanted)
        yield "size-aware", self.thresholds(saves, wanted, similarity="size-aware", average="size")
        yield "learned thresholds", self.learned("thresholds", "thresholds", saves, wanted)
        yield "learned matching", self.learned("matching", "matching", saves, wanted)
        for weight in self.options.privacy:
            name = f"private-{weight:g}"
            yield f"learned matching, privacy {weight:g}", self.learned(name, "matching", saves, wanted, weight)


def rows(options: argparse.Namespace) -> Iterable[Row]:
    """The unmerged victim, and every method at every saving."""
    victim = load_victim(options.victim, options.weights, image_size=options.image_size)
    channels, height, width = victim.encoder.input_shape
    train_data = options.train or options.data
    victim = with_head(victim, options.head, train_data, options.seed)
    victim.need_task("benchmarks.methods")
    size = height, width
    train = load(train_data, "train", size=size, channels=channels, limit=options.tuning, seed=options.seed)
    test = load(options.data, "test", size=size, channels=channels, limit=options.images, seed=options.seed)
    bench = Bench(victim, train, test, options)
    dense = bench.measured(bench.dense)
    yield _row("unmerged", 0.0, dense, dense, dense)
    for saves in options.saves:
        base = dense
        for name, policy in bench.policies(saves):
            found = bench.measured(policy)
            base = found if name == PAPER else base
            yield _row(name, saves, found, base, dense)


def _row(method: str, saves: float, found: Measured, base: Measured, dense: Measured) -> Row:
    gained = paired_difference(found.right, base.right)
    more = paired_difference(found.leaked, base.leaked)
    return Row(
        method,
        saves,
        round(float(found.right.mean()), 4),
        (round(gained.estimate, 4), round(gained.low, 4), round(gained.high, 4)),
        round(1 - found.flops / dense.flops, 4),
        round(found.tokens, 2),
        round(float(found.leaked.mean()), 4),
        (round(more.estimate, 4), round(more.low, 4), round(more.high, 4)),
    )


def main() -> None:
    """Print a row per method and saving."""
    parser = Parser("methods", __doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of a table")
    add_system(parser)
    parser.add_argument("--train", help="training pictures; default: those of --data")
    parser.add_argument("--images", type=positive, default=1000, help="test pictures")
    parser.add_argument("--tuning", type=positive, default=4000, help="training pictures")
    parser.add_argument("--saves", type=fraction, nargs="+", default=[0.3, 0.5, 0.65], help="parts of the FLOPs")
    parser.add_argument("--equal", choices=("flops", "tokens"), default="flops", help="to those of the paper's method")
    parser.add_argument("--privacy", type=float, nargs="*", default=[0.1, 1.0], help="weights of the leak")
    parser.add_argument("--steps", type=positive, default=150, help="of training")
    parser.add_argument("--batch", type=positive, default=32, help="pictures per step")
    parser.add_argument("--keep", default="runs/methods", help="folder for the policies that are learned")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of pictures, and of training")
    options = parser.parse_args()
    stream(rows(options), options.json, _line, head(HEADINGS))


def _line(row: Row) -> str:
    gained, low, high = (100 * part for part in row.gained)
    more, least, most = row.leaked_more
    judged = f"{row.accuracy:.1%}", f"{gained:.1f} [{low:.1f}, {high:.1f}]"
    leaks = f"{row.leakage:.3f}", f"{more:.3f} [{least:.3f}, {most:.3f}]"
    return line([row.method, f"{row.saves:.0%}", *judged, f"{row.flops_saved:.1%}", f"{row.tokens:.1f}", *leaks])


if __name__ == "__main__":
    run(main)
