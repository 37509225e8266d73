"""Draws the pictures of docs/concepts: ``python docs/pictures.py``, under a minute, no network.

What shows tokens, pictures or scores is computed by the framework on the shipped victim; nothing is drawn by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

import attacks
from atm import channels, codecs
from atm.data import Splits, splits
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import ThreatModel
from atm.victims import Victim, load_victim
from attacks.ridge import Ridge
from attacks.session import Session
from audit.canary import canary
from privacy_metrics import ssim
from privacy_metrics.leakage import RECOGNISABLE_SSIM
from privacy_metrics.statistics import wilson
from reports.level import MOST, SOME

FOLDER = Path(__file__).parent / "concepts"
BLUE, RED, GREY, GREEN = "#2a6f97", "#b23a48", "#6c757d", "#4f772d"
SHOWN = (1, 2, 5, 10, 14, 17)  # of the attacked pictures
STYLE = {"font.size": 10, "svg.hashsalt": "atm", "font.family": "DejaVu Sans", "axes.spines.top": False}


class Scene:
    """The shipped victim, its pictures and one adversary, loaded once."""

    def __init__(self) -> None:
        self.victim: Victim = load_victim("vit_photos")
        self.data: Splits = splits("photos", victims=20, auxiliary=1000, size=(64, 64))
        self.codec, _ = codecs.load_codec("auto", self.victim)
        self.originals = self.data.victims.images

    def link(self, name: str) -> Link:
        """The system under a policy preset."""
        policy = MergePolicy.preset(name, self.victim.encoder.depth)
        return Link(self.victim.encoder, policy, self.codec, channels.parse("awgn:10"))

    def rebuilt(self, policy: str, name: str) -> Tensor:
        """What an attack on a policy makes of the attacked pictures."""
        session = Session(self.link(policy), ThreatModel("server"), self.data.auxiliary.images)
        _, seen, _ = session.victims(self.originals)
        rebuilt: Tensor = session.fitted(attacks.available()[name]).reconstruct(seen)
        return rebuilt.expand_as(self.originals)


def show(axes: Axes, image: Tensor, title: str = "", below: str = "", colour: str = "black") -> None:
    """One picture ``[C, H, W]`` with words above and below it."""
    axes.imshow(image.permute(1, 2, 0).clamp(0, 1), interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(below, fontsize=9, color=colour)
    axes.set_xticks([])
    axes.set_yticks([])


def policy(scene: Scene) -> Any:
    """A picture, and which of its patches three policies merge into one token."""
    image = scene.originals[SHOWN[3]]
    figure, axes = plt.subplots(1, 4, figsize=(6.6, 2.2))
    show(axes[0], image, "picture", f"{scene.victim.encoder.patch_grid[0] ** 2} patches")
    for place, name in zip(axes[1:], ("none", "moderate", "aggressive"), strict=True):
        tokens = scene.link(name).encode(image[None]).tokens
        groups = tokens.source[0].reshape(scene.victim.encoder.patch_grid)
        colours = torch.stack(
            [image.unfold(1, 8, 8).unfold(2, 8, 8).mean((-1, -2))[:, groups == g].mean(1) for g in groups.unique()]
        )
        painted = colours[torch.unique(groups, return_inverse=True)[1]].permute(2, 0, 1)
        show(place, painted.repeat_interleave(8, 1).repeat_interleave(8, 2), name, f"{int(tokens.lengths[0])} tokens")
        edge(place, groups)
    return figure


def edge(axes: Axes, groups: Tensor) -> None:
    """Lines between neighbouring patches that ended in different tokens."""
    for row in range(groups.shape[0]):
        for column in range(groups.shape[1]):
            x, y = column * 8 - 0.5, row * 8 - 0.5
            if column and groups[row, column] != groups[row, column - 1]:
                axes.plot([x, x], [y, y + 8], color="white", linewidth=0.8)
            if row and groups[row, column] != groups[row - 1, column]:
                axes.plot([x, x + 8], [y, y], color="white", linewidth=0.8)


def tap(_: Scene) -> Any:
    """The way from the picture to the answer, and where an adversary may listen."""
    figure, axes = plt.subplots(figsize=(6.6, 2.7))
    axes.set(xlim=(0, 100), ylim=(0, 42))
    axes.axis("off")
    axes.text(31, 38, "device", ha="center", color=GREY)
    axes.text(86, 38, "server", ha="center", color=GREY)
    for x, width, words in (
        (1, 17, "layers 1 to\nthe exit,\nmerging"),
        (23, 13, "defence"),
        (41, 13, "codec"),
        (59, 13, "channel"),
        (77, 22, "decoder,\nlayers after\nthe exit"),
    ):
        axes.add_patch(
            FancyBboxPatch((x, 20), width, 14, boxstyle="round,pad=0.4", facecolor="#eef3f7", edgecolor=BLUE)
        )
        axes.text(x + width / 2, 27, words, ha="center", va="center", fontsize=9)
        if x > 1:
            axes.annotate("", (x - 0.6, 27), (x - 4.2, 27), arrowprops={"arrowstyle": "->", "color": BLUE})
    taps = (
        (38.4, "before-codec", "tokens as they leave\nthe defence"),
        (56.5, "eavesdropper", "symbols through\nher own channel"),
        (88, "server", "tokens that the\nserver decodes"),
    )
    for x, name, words in taps:
        axes.annotate(
            "", (x, 10.5), (x, 19.2 if name == "server" else 26), arrowprops={"arrowstyle": "->", "color": RED}
        )
        shift = {"before-codec": -9, "eavesdropper": 5, "server": 0}[name]
        axes.text(x + shift, 9, name, ha="center", va="top", color=RED, fontsize=9, weight="bold")
        axes.text(x + shift, 5, words, ha="center", va="top", fontsize=8)
    return figure


def baselines(scene: Scene) -> Any:
    """What is reached without a token, beside what an attack reaches with them."""
    names, one = ("mean_image", "best_constant", "random_image", "ridge"), SHOWN[2]
    figure, axes = plt.subplots(1, 5, figsize=(6.6, 1.9))
    show(axes[0], scene.originals[one], "original")
    for place, name in zip(axes[1:], names, strict=True):
        rebuilt = scene.rebuilt("none", name)[one]
        score = float(ssim(rebuilt[None], scene.originals[one][None]))
        show(place, rebuilt, name, f"SSIM {score:.2f}", RED if name == "ridge" else GREY)
    return figure


def canary_(scene: Scene) -> Any:
    """The canary's rebuilt pictures, and how its score compares."""
    bare = Link(scene.victim.encoder, MergePolicy.uniform(1.0, scene.victim.encoder.depth, exit_layer=1))
    session = Session(bare, ThreatModel("canary"), scene.data.auxiliary.images[:300])
    own = scene.data.validation.images[:50:10]
    rebuilt = session.fitted(Ridge).reconstruct(session.oracle().tap(own))
    said = canary(scene.victim.encoder, scene.data)
    figure, axes = plt.subplots(2, 5, figsize=(6.6, 3.1))
    for column, (original, made) in enumerate(zip(own, rebuilt, strict=True)):
        show(axes[0, column], original)
        show(axes[1, column], made, "", f"SSIM {float(ssim(made[None], original[None])):.2f}", GREEN)
    axes[0, 0].set_ylabel("her own", fontsize=9)
    axes[1, 0].set_ylabel("rebuilt", fontsize=9)
    figure.suptitle(
        f"canary of vit_photos: {said['recognisable']:.0%} of {said['images']} pictures recognisable", fontsize=10
    )
    return figure


def leakage(scene: Scene) -> Any:
    """SSIM of each attack on each picture; the best of each column is what counts."""
    names = ("nearest", "whole", "ridge")
    scores = torch.stack([ssim(scene.rebuilt("aggressive", name), scene.originals) for name in names])[:, list(SHOWN)]
    worst = scores.max(0)
    figure, axes = plt.subplots(figsize=(6.6, 2.3))
    table = torch.cat([scores, worst.values[None]])
    axes.imshow(table, cmap="Reds", vmin=0, vmax=1, aspect="auto")
    for row in range(4):
        for column in range(len(SHOWN)):
            best = row < 3 and int(worst.indices[column]) == row
            axes.text(
                column,
                row,
                f"{float(table[row, column]):.2f}",
                ha="center",
                va="center",
                fontsize=9,
                weight="bold" if best or row == 3 else None,
            )
    axes.axhline(2.5, color="black", linewidth=1.5)
    axes.set_xticks(range(len(SHOWN)), [f"picture {n}" for n in range(1, len(SHOWN) + 1)], fontsize=8)
    axes.set_yticks(range(4), [*names, "worst case"])
    counted = int((worst.values >= RECOGNISABLE_SSIM).sum())
    words = f"leakage of these {len(SHOWN)}: {float(worst.values.mean()):.2f}; {counted} reach {RECOGNISABLE_SSIM:g}"
    axes.set_title(f"aggressive merging, {words}", fontsize=10)
    axes.tick_params(length=0)
    return figure


def verdict(_: Scene) -> Any:
    """Intervals of the rate of recognised pictures, and the word that each one earns."""
    cases = (
        (70, 100, "leaks", RED),
        (20, 100, "leaks in part", RED),
        (3, 100, "inconclusive", GREY),
        (0, 40, "inconclusive", GREY),
        (0, 100, "no leak found, if no flag is raised", GREEN),
    )
    figure, axes = plt.subplots(figsize=(6.6, 2.6))
    for row, (hits, pictures, word, colour) in enumerate(reversed(cases)):
        found = wilson(hits, pictures)
        axes.plot([found.low, found.high], [row, row], color=colour, linewidth=3)
        axes.plot(found.estimate, row, "o", color=colour)
        axes.text(min(found.high + 0.02, 0.86), row, word, va="center", color=colour, fontsize=9)
    axes.set_yticks(range(len(cases)), [f"{hits} of {pictures}" for hits, pictures, _, _ in reversed(cases)])
    for bar in (SOME, MOST):
        axes.axvline(bar, color="black", linestyle=":", linewidth=1)
    axes.set(xlim=(-0.01, 1), ylim=(-0.6, len(cases) - 0.4), xlabel="rate of pictures that count, 95% Wilson interval")
    axes.set_xticks([0, SOME, 0.25, MOST, 0.75, 1], ["0", f"{SOME:.0%}", "25%", f"{MOST:.0%}", "75%", "100%"])
    axes.spines["right"].set_visible(False)
    return figure


PICTURES: dict[str, Callable[[Scene], Any]] = {
    "policy": policy, "tap": tap, "baselines": baselines, "canary": canary_, "leakage": leakage, "verdict": verdict,
}  # fmt: skip


def draw(folder: Path = FOLDER) -> None:
    """All pictures into a folder, the same bytes each time."""
    scene = Scene()
    with plt.rc_context(STYLE):
        for name, make in PICTURES.items():
            torch.manual_seed(0)
            figure = make(scene)
            figure.tight_layout()
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)


if __name__ == "__main__":
    draw()
