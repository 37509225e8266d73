"""``atm train ...``: what makes the files that other commands read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from atm.text import printable
from audit.making import Replace, given_victim, refuse_to_replace, victim_of, words_of
from audit.next_step import next_step
from audit.options import (
    Device,
    Force,
    Head,
    ImageSize,
    Json,
    LabelBy,
    Mean,
    Resume,
    Seed,
    Std,
    Weights,
    configured,
    console,
    of_system,
    out,
)  # fmt: skip
from audit.progress import Progress, loading

TestData = Annotated[str | None, typer.Option(help="Test pictures, where --data has no test split of its own.")]
train = typer.Typer(no_args_is_help=True, help="Train a victim, or a codec, a task head, merging or a placer for one.")


@train.command("victim", epilog="Example: `atm train victim --data photos --out my_vit.safetensors`")
def train_victim(
    data: Annotated[str, typer.Option(help="photos, a folder or tar of class folders, torch/cifar10, ...")] = "photos",
    test_data: TestData = None,
    recipe: Annotated[str | None, typer.Option(help="photos or cifar10; default: by the size of the pictures.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the pictures; default: the recipe's.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Side of the pictures, or height and width as 48x32; default: their own.")
    ] = None,
    grey: Annotated[bool, typer.Option("--grey", help="Turn pictures to grey: a victim of one channel.")] = False,
    seed: Seed = 0,
    device: Device = "auto",
    out_file: Annotated[
        Path, typer.Option("--out", help="Safetensors file to write; a model card comes beside it.")
    ] = Path("victim.safetensors"),
    force: Replace = False,
) -> None:
    """Train a small vision transformer to attack."""
    with loading():
        from atm.device import resolve
        from audit.train import victim

    resolve(device)  # before pictures are read
    refuse_to_replace(out_file, force)
    victim(data, test_data, recipe, epochs, size, grey, seed, device, out_file, _say)
    next_step(victim=[out_file], data=[test_data or data])


@train.command("codec", epilog="Example: `atm train codec --victim vit_photos --data photos --out my_jscc.safetensors`")
def train_codec(
    victim: Annotated[str, typer.Option(help="Whose tokens it carries.")] = "vit_photos",
    weights: Weights = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    data: Annotated[str, typer.Option(help="Pictures to train on.")] = "photos",
    test_data: TestData = None,
    label_by: LabelBy = None,
    symbols: Annotated[
        list[int] | None,
        typer.Option(help="Complex symbols per token; repeatable, the first is the default; without: 32, 16, 48, 64."),
    ] = None,
    exit_layer: Annotated[
        int | None, typer.Option(help="Layer after which the tokens leave the device; default: the last.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 4000,
    seed: Seed = 0,
    device: Device = "auto",
    out_file: Annotated[Path, typer.Option("--out", help="Safetensors file to write.")] = Path("codec.safetensors"),
    force: Replace = False,
) -> None:
    """Train a joint source-channel codec for a victim's tokens."""
    with loading():
        from atm.codec_training import RATES
        from audit.train import codec

    refuse_to_replace(out_file, force)
    target, words = victim_of(victim, weights, image_size, mean, std, device)
    codec(target, words, data, test_data, label_by, symbols or RATES, exit_layer, steps, seed, out_file, _say)
    given = given_victim(victim, weights, image_size, mean, std, label_by)
    if exit_layer is None:  # presets send after the last layer, for which another codec was not trained
        next_step(**given, data=[test_data or data], codec=[out_file])


@train.command(
    "head",
    epilog="Example: `atm train head --victim vit_small_patch14_dinov2 --weights dinov2.safetensors "
    "--data train.tar --test-data test.tar --out head.safetensors`",
)
def train_head(
    victim: Annotated[str, typer.Option(help="Whose features it reads; see atm list victims.")] = "vit_photos",
    weights: Weights = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    data: Annotated[str, typer.Option(help="Labelled pictures to fit it to.")] = "photos",
    test_data: TestData = None,
    label_by: LabelBy = None,
    seed: Seed = 0,
    device: Device = "auto",
    out_file: Annotated[Path, typer.Option("--out", help="Safetensors file to write.")] = Path("head.safetensors"),
    force: Replace = False,
) -> None:
    """Fit a linear task head to a victim's features, which makes a backbone a classifier."""
    with loading():
        from audit.train import head

    refuse_to_replace(out_file, force)
    target, words = victim_of(victim, weights, image_size, mean, std, device)
    head(target, words, data, test_data, label_by, seed, out_file, _say)
    given = given_victim(victim, weights, image_size, mean, std, label_by)
    next_step(**given, data=[test_data or data], head=[out_file])


@train.command(
    "merging",
    epilog="Example: `atm train merging --victim vit_photos --data photos --target-flops 0.5 --out runs/learned`",
)
def train_merging(
    victim: Annotated[str, typer.Option(help="Whose tokens merge; it stays as it is.")] = "vit_photos",
    weights: Weights = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    head: Head = None,
    data: Annotated[str, typer.Option(help="Pictures to learn from.")] = "photos",
    test_data: TestData = None,
    label_by: LabelBy = None,
    target_flops: Annotated[float, typer.Option(help="Part of the device's unmerged FLOPs to spend.")] = 0.5,
    learn: Annotated[
        str, typer.Option(help="matching: what is compared, and thresholds; or thresholds alone.")
    ] = "matching",
    privacy: Annotated[float, typer.Option(help="Weight of what a linear adversary reads, against the task.")] = 0.0,
    exit_layer: Annotated[
        int | None, typer.Option(help="Layer after which the tokens leave the device; default: the last.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 400,
    batch: Annotated[int, typer.Option(help="Pictures per step.")] = 32,
    images: Annotated[int, typer.Option(help="Pictures to learn from, at most.")] = 8000,
    seed: Seed = 0,
    device: Device = "auto",
    out_folder: Annotated[
        Path, typer.Option("--out", help="Folder to write: policy.yaml, its maps, a card, checkpoints.")
    ] = Path("runs/merging"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Learn what a victim's device merges: thresholds, and what is compared."""
    with loading():
        from audit.train import with_head
        from audit.train_merging import CARD, MergingConfig, merging

    words = words_of(victim, weights, image_size, mean, std, head)
    config = MergingConfig(
        words, data, test_data, target_flops, learn, privacy, exit_layer, steps, batch, images, seed, label_by
    )
    with Progress() as say:
        target, _ = victim_of(victim, weights, image_size, mean, std, device)
        target = with_head(target, head, data, seed, label_by)
        told = merging(target, config, out_folder, resume=resume, force=force, say=say)
    if as_json:
        print(json.dumps(told, allow_nan=False))
        return
    accuracy = f", {told['task']} {told['accuracy']:.1%}" if "accuracy" in told else ""
    out.print(escape(f"{told['name']}: {told['flops']:.1%} of the FLOPs, {told['tokens']:.1f} tokens{accuracy}"))
    out.print(escape(f"policy: {told['policy']}"), soft_wrap=True)
    out.print(escape(f"card: {out_folder / CARD}"), soft_wrap=True)
    given = given_victim(victim, weights, image_size, mean, std, label_by)
    next_step(**given, head=[head], data=[test_data or data], policy=["none", told["policy"]])


@train.command(
    "projector",
    epilog="Example: `atm train projector --victim vit_base_patch16_clip_quickgelu_224 --weights clip.safetensors "
    "--image-size 112 --lm smollm2-135m-instruct --data easy_vqa --out runs/projector`",
)
def train_projector(
    victim: Annotated[str, typer.Option(help="The vision tower, by timm's name.")],
    lm: Annotated[str, typer.Option(help="Causal language model of transformers: a folder or hub name.")],
    data: Annotated[str, typer.Option(help="Folder or tar of pictures with questions.")],
    weights: Weights = None,
    image_size: ImageSize = None,
    layers: Annotated[int | None, typer.Option(help="Of the tower that are read; default: all but the last.")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="With <image> and {question} in it; default: Question: ... Answer:")
    ] = None,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 300,
    batch: Annotated[int, typer.Option(help="Questions per step.")] = 8,
    rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 1e-3,
    images: Annotated[int, typer.Option(help="Pictures to learn from, at most.")] = 2000,
    test_images: Annotated[int, typer.Option(help="Pictures that are answered at the end, at most.")] = 200,
    seed: Seed = 0,
    device: Device = "auto",
    out_folder: Annotated[
        Path, typer.Option("--out", help="Folder to write, which is the victim; checkpoints are in it.")
    ] = Path("runs/projector"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train a projector between a vision tower and a language model: a victim that answers questions."""
    with loading():
        from atm.device import resolve
        from atm.victims.assembled import PROMPT
        from atm.victims.timm_models import depth_of
        from audit.train_projector import ProjectorConfig, projector

    config = ProjectorConfig(
        victim, lm, data, weights, image_size, layers, prompt or PROMPT, steps, batch, rate, images, test_images, seed
    )
    with Progress(kept=lambda line: line.startswith("skipped")) as say:
        told = projector(config, depth_of(victim), out_folder, resolve(device), resume=resume, force=force, say=say)
    if as_json:
        print(json.dumps(told, allow_nan=False))
        return
    out.print(
        escape(
            f"{out_folder}: right about {told['accuracy']:.1%} of {told['test_images']} test pictures, exact "
            f"{told['exact']:.1%}, by the question alone {told['floor']:.1%}"
        ),
        soft_wrap=True,
    )
    next_step(victim=[out_folder], data=[data])


@train.command(
    "placer",
    epilog="Example: `atm train placer --victim vit_cifar10 --data cifar10_train.tar --test-data cifar10_test.tar "
    "--out placer.safetensors`, then `atm attack --threat server-shuffled --placer placer.safetensors ...`",
)
@of_system("head", "classes", "defense", "auxiliary_data", "threat", before="images")
def train_placer(
    context: typer.Context,
    threat: Annotated[
        str, typer.Option(help="Whose tokens are placed: somebody who runs the device and is not told where they go.")
    ] = "server-shuffled",
    policy: Annotated[str, typer.Option(help="Under which they merge: a preset or a YAML file.")] = "none",
    test_data: Annotated[
        str | None, typer.Option(help="What is attacked later, and left out here; default: the test split of --data.")
    ] = None,
    images: Annotated[int, typer.Option(help="Signals of the training split to learn from, at most.")] = 20000,
    steps: Annotated[int, typer.Option(help="Training steps, at most.")] = 8000,
    budget: Annotated[float | None, typer.Option(help="Seconds for them; default: no limit.")] = None,
    width: Annotated[int, typer.Option(help="Of the transformer.")] = 96,
    layers: Annotated[int, typer.Option(help="Of the transformer.")] = 2,
    start: Annotated[
        str | None, typer.Option(help="File of this command to go on from; width and layers are its own.")
    ] = None,
    out_file: Annotated[Path, typer.Option("--out", help="Safetensors file to write; a card comes beside it.")] = Path(
        "placer.safetensors"
    ),
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Learn once where a victim's tokens belong, from many signals: where attacks on hidden order begin."""
    with loading():
        from audit.train_placer import PlacerConfig, placer

    refuse_to_replace(out_file, force)
    config = configured(context, PlacerConfig, None)
    with Progress(kept=lambda line: True) as say:
        told = placer(config, out_file, say)
    if as_json:
        print(json.dumps(told, allow_nan=False))
        return
    cut = ", cut by --budget" if told["cut"] else ""
    out.print(
        escape(
            f"{out_file}: {told['placed']:.1%} of the patches of held-out signals are placed (blindly "
            f"{told['placed_blindly']:.1%}) after {told['steps']:,} steps{cut}"
        ),
        soft_wrap=True,
    )
    c = config
    given = given_victim(c.victim, c.weights, c.image_size, c.mean, c.std, c.label_by)
    air = {"codec": [c.codec], "channel": [c.channel], "threat": [threat]}
    next_step(**given, **air, data=[test_data or c.data], policy=[policy], placer=[out_file])


def _say(line: str) -> None:
    console.print(escape(printable(line)))
