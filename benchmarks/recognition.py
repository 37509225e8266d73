"""At which degradation each criterion says that a picture is recognised.

``python -m benchmarks.recognition --recogniser vit_base_patch16_clip_quickgelu_224
--recogniser-weights clip.safetensors --data imagenette_test.tar --size 224`` prints a row for each degradation of the
same pictures: mean SSIM, the share that SSIM says is recognised, the share whose original is the likeliest of its
gallery for the recogniser, and the share that it picks out (`privacy_metrics.recognition`). The last rows tell nothing
of what a picture shows, or nothing at all. With ``--run FOLDER`` it looks at the reconstructions of a run instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from atm import data
from atm.recogniser import Recogniser
from benchmarks.command import Parser, positive, run
from benchmarks.rows import head, line, markdown
from privacy_metrics import ssim
from privacy_metrics.recognition import disordered, sighted
from reports.level import recognised
from reports.run import Run

HEADINGS = ("degradation", "SSIM:", "recognised by SSIM:", "likeness:", "original likeliest:", "picked out:")
OF_RUN = ("policy", "attack", "by SSIM:", "original likeliest:", "picked out:", "either:")
Degrade = Callable[[Tensor], Tensor]


def blurred(pixels: int) -> Degrade:
    """As many pixels a side, and smooth between them."""
    return lambda images: _resized(_resized(images, pixels, "area"), images.shape[-1], "bicubic").clamp(0, 1)


def blocks(number: int) -> Degrade:
    """As many blocks of one colour a side."""
    return lambda images: _resized(_resized(images, number, "area"), images.shape[-1], "nearest")


def noisy(deviation: float) -> Degrade:
    """Under Gaussian noise."""
    return lambda images: (images + deviation * torch.randn_like(images)).clamp(0, 1)


def centre(share: float) -> Degrade:
    """That share of each side is there, the rest is grey."""

    def degrade(images: Tensor) -> Tensor:
        side = images.shape[-1]
        edge = round(side * (1 - share) / 2)
        kept = torch.full_like(images, 0.5)
        kept[..., edge : side - edge, edge : side - edge] = images[..., edge : side - edge, edge : side - edge]
        return kept

    return degrade


def texture(number: int) -> Degrade:
    """As many squares a side as they are, in one random order for all pictures."""

    def degrade(images: Tensor) -> Tensor:
        step = images.shape[-1] // number
        whole = images[..., : step * number, : step * number]
        squares = whole.unfold(2, step, step).unfold(3, step, step).flatten(2, 3)
        squares = squares[:, :, torch.randperm(number * number)].unflatten(2, (number, number))
        return _resized(squares.transpose(3, 4).flatten(4, 5).flatten(2, 3), images.shape[-1], "nearest")

    return degrade


def colours(images: Tensor) -> Tensor:
    """All pixels of each picture in a random order: its colours and nothing else."""
    flat = images.flatten(2)
    return torch.stack([each[:, torch.randperm(each.shape[1])] for each in flat]).view_as(images)


def mean_colour(images: Tensor) -> Tensor:
    """One colour for each picture."""
    return images.mean((2, 3), keepdim=True).expand_as(images).contiguous()


def negative(images: Tensor) -> Tensor:
    """Light and dark exchanged, which no colour statistic survives and every outline does."""
    return 1 - images


def mean_picture(images: Tensor) -> Tensor:
    """The mean of all, for each."""
    return images.mean(0, keepdim=True).expand_as(images).contiguous()


def of_another(images: Tensor) -> Tensor:
    """The picture before it."""
    return images.roll(1, 0)


DEGRADATIONS: dict[str, Degrade] = {
    "none": lambda images: images,
    **{f"blur to {n} pixels": blurred(n) for n in (64, 32, 24, 16, 12, 8, 4)},
    **{f"{n} by {n} blocks": blocks(n) for n in (32, 16, 8, 4)},
    **{f"noise of {d:g}": noisy(d) for d in (0.1, 0.3, 0.6, 1.0)},
    **{f"centre, {s:.0%} of each side": centre(s) for s in (0.75, 0.5, 0.25)},
    "negative": negative,
    **{f"texture, {n} by {n} squares shuffled": texture(n) for n in (4, 8, 16)},
    "colours only": colours,
    "mean colour": mean_colour,
    "mean picture": mean_picture,
    "another picture": of_another,
}


def rows(images: Tensor, look: Callable[[Tensor], Tensor], names: list[str]) -> list[dict[str, Any]]:
    """A row for each degradation.

    Args:
        images: ``[B, 3, H, H]``.
        look: gives features of pictures.
        names: of degradations.
    """
    truth, pieces, blind = look(images), look(disordered(images)), ssim(mean_picture(images), images)
    found = []
    for name in names:
        torch.manual_seed(0)
        rebuilt = DEGRADATIONS[name](images)
        score, seen = ssim(rebuilt, images), sighted(look(rebuilt), truth, pieces)
        found.append({
            "degradation": name, "ssim": float(score.mean()),
            "by_ssim": float(recognised(score[None], blind[None]).float().mean()),
            "likeness": float(seen.likeness.mean()),
            "first": float((seen.place == 1).float().mean()), "picked": float(seen.picked.float().mean()),
        })  # fmt: skip
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        [
            row["degradation"], f"{row['ssim']:.2f}", f"{row['by_ssim']:.0%}", f"{row['likeness']:.2f}",
            f"{row['first']:.0%}", f"{row['picked']:.0%}",
        ]
        for row in found
    ]  # fmt: skip
    return markdown(HEADINGS, lines)


def of_run(run: Run, look: Callable[[Tensor], Tensor], policies: list[str] | None = None) -> Iterator[str]:
    """A table in Markdown, row by row: what each attack's reconstructions in a run folder are recognised by.

    The last row of a policy is what counts: by any attack that is neither blind nor retrieval.
    """
    count, known = int(run.about["data"]["victims"]), run.baselines
    originals = _pictures(run, "", "original", count)
    truth, pieces = look(originals), look(disordered(originals))
    yield head(OF_RUN)
    for policy in policies or run.policies:
        blind, any_picked = run.blind_repeats(policy)[:1], torch.zeros(1, count, dtype=torch.bool)
        for attack in run.attacks:
            seen = sighted(look(_pictures(run, policy, attack, count)), truth, pieces)
            scored = recognised(run.repeated(policy, attack, run.measure)[:1], blind, run.signal.bar)
            if attack not in (*known.blind, known.retrieval):
                any_picked |= seen.picked
            yield _row(policy, attack, scored, seen.place == 1, seen.picked)
        scored = recognised(run.worst_repeats(policy)[:1], blind, run.signal.bar)
        yield _row(policy, "any", scored, None, any_picked)


def _row(policy: str, attack: str, scored: Tensor, first: Tensor | None, picked: Tensor) -> str:
    likeliest = "" if first is None else str(int(first.sum()))
    return line([policy, attack, int(scored.sum()), likeliest, int(picked.sum()), int((scored | picked).sum())])


def _pictures(run: Run, policy: str, attack: str, count: int) -> Tensor:
    return run.signal.restore([run.image_file(policy, attack, n).read_bytes() for n in range(count)])


def _resized(images: Tensor, side: int, mode: str) -> Tensor:
    return interpolate(images, size=(side, side), mode=mode)


def main() -> None:
    """The command line."""
    parser = Parser("recognition", __doc__)
    parser.add_argument("--recogniser", default="vit_cifar10", help="pretrained model that looks, as in atm attack")
    parser.add_argument("--recogniser-weights", help="safetensors file with its weights")
    parser.add_argument("--data", default="photos", help="as in atm attack")
    parser.add_argument("--size", type=positive, default=64, help="side of the pictures in pixels")
    parser.add_argument("--images", type=positive, default=100, help="pictures to degrade")
    parser.add_argument(
        "--only", nargs="+", choices=DEGRADATIONS, default=[*DEGRADATIONS], metavar="DEGRADATION",
        help="names of degradations, as the table has them; default: all",
    )  # fmt: skip
    parser.add_argument("--run", help="a run folder, whose reconstructions are looked at instead")
    parser.add_argument("--policy", nargs="+", help="of the run; default: all")
    parser.add_argument("--json", action="store_true", help="a JSON list of objects")
    asked = parser.parse_args()
    recogniser = Recogniser.load(asked.recogniser, asked.recogniser_weights, ())
    if asked.run:
        for each in of_run(Run.read(asked.run), recogniser.features, asked.policy):
            print(each, flush=True)
        return
    images = data.splits(asked.data, victims=asked.images, auxiliary=20, size=asked.size, seed=0).victims.inputs
    found = rows(images, recogniser.features, asked.only)
    print(json.dumps(found) if asked.json else table(found))


if __name__ == "__main__":
    run(main)
