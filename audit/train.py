"""``atm train``: victims, codecs and heads, each written with a model card beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from atm.calibration import policy_saving
from atm.codec_training import accuracies, train_codec
from atm.data import Samples, load
from atm.data.kinds import source
from atm.data.photos import LICENCES
from atm.errors import AtmError, unknown
from atm.policy import MergePolicy
from atm.store import write
from atm.victim_training import RECIPES, train_victim
from atm.victims import Victim, probe
from atm.victims.loaded import check_size, parse_size
from atm.weight_files import file_digest, write_weights
from audit.command_lines import in_words, without_folders
from audit.probing import PROBED
from audit.target import DECODER, PROBE

PHOTOGRAPHS = (
    "## Licence of the photographs\n\n" + "\n".join(f"- {name}: {text}" for name, text in LICENCES.items()) + "\n"
)


def victim(
    data: str,
    test_data: str | None,
    recipe: str | None,
    epochs: int | None,
    size: str | None,
    grey: bool,
    seed: int,
    device: str,
    path: Path,
    say: Callable[[str], None],
) -> None:
    """Train a victim and write it with its card.

    Raises:
        AtmError: an unknown recipe, or data that cannot be read or do not match.
    """
    if epochs is not None and epochs < 1:
        raise AtmError(f"--epochs {epochs} is too few; give 1 or more")
    if recipe is not None and recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    of_one_shape = partial(load, size=parse_size(size), channels=1 if grey else 3)
    train, test = of_one_shape(data, "train"), of_one_shape(test_data or data, "test")
    if train.classes != test.classes:
        raise AtmError(f"{data} and {test_data} have different classes; give a test set of the same ones")
    if test_data is None and train.digest == test.digest:
        raise AtmError(f"{data} has no test split of its own; give other pictures with --test-data")
    if set(train.hashes) & set(test.hashes):
        say("warning: some test pictures are also training pictures; the accuracy is too good")
    height, width = train.pixels.shape[2:]
    name = recipe or ("cifar10" if min(height, width) < 48 else "photos")
    chosen = RECIPES[name] if epochs is None else replace(RECIPES[name], epochs=epochs)
    check_size((height, width), (chosen.patch_size, chosen.patch_size))
    vit, description = train_victim(train, test, chosen, seed=seed, device=device, report=say)
    write_weights(path, vit, description)
    asked = {"recipe": name, "epochs": chosen.epochs, "size": size, "grey": grey, "seed": seed}
    write_card(path, description, f"atm train victim {in_words({**_named(data, test_data), **asked})}", train)
    say(f"wrote {path}: test accuracy {description['accuracy']:.1%} on {len(test)} pictures")


def policy(
    target: Victim,
    data: str,
    saves: float,
    images: int,
    exit_layer: int | None = None,
    seed: int = 0,
    label_by: str | None = None,
) -> MergePolicy:
    """A policy that saves a part of the FLOPs of a victim's whole encoder, calibrated on pictures.

    Args:
        target: the victim.
        data: where the pictures come from; their training split.
        saves: the part, in [0, 1).
        images: how many pictures.
        exit_layer: after which the tokens leave the device; None is the last.
        seed: of the choice of pictures.
        label_by: see `atm.data.load`; what the classes are does not matter.

    Raises:
        AtmError: data that cannot be read, a layer that is not there, or more than can be saved.
    """
    if not 0 <= saves < 1:
        raise AtmError(f"a policy that saves {saves} of the FLOPs cannot be; give a part from 0 to 0.99")
    signal = target.encoder.signal
    seen = source(signal).load(signal, data, "train", limit=images, seed=seed, label_by=label_by)
    found = policy_saving(target.encoder, seen.inputs.to(target.encoder.device), saves)
    name = f"saves-{saves * 100:g}" + (f"-exit-{exit_layer}" if exit_layer else "")
    return replace(found, exit_layer=exit_layer, name=name)


def codec(
    target: Victim,
    target_options: str,
    data: str,
    test_data: str | None,
    label_by: str | None,
    rates: Sequence[int],
    exit_layer: int | None,
    steps: int,
    seed: int,
    path: Path,
    say: Callable[[str], None],
) -> None:
    """Train a codec for a victim's tokens after one of its layers (None: the last) and write it with its card.

    Accuracy over the air is measured where there are test pictures of the victim's classes that are not trained on.

    Raises:
        AtmError: rates or a layer that are none, or data that cannot be read.
    """
    if min(rates) < 1 or len(set(rates)) < len(rates):
        raise AtmError(f"--symbols {' '.join(map(str, rates))}: give different whole numbers from 1")
    if steps < 1:
        raise AtmError(f"--steps {steps} is too few; give 1 or more")
    depth = target.encoder.depth
    if exit_layer is not None and not 1 <= exit_layer <= depth:
        raise AtmError(f"--exit-layer {exit_layer} is not in 1 to {depth}, the layers of victim {target.name!r}")
    train, test = samples_of(target, data, test_data, seed, label_by)
    trained, made = train_codec(target, train, rates=rates, exit_layer=exit_layer, steps=steps, seed=seed, report=say)
    description = dict(made)
    if set(test.classes) == set(target.classes) and not set(train.hashes) & set(test.hashes):
        dense = MergePolicy.uniform(1.0, depth, name="none", exit_layer=exit_layer)
        description["accuracy"] = accuracies(target, trained, test, (0.0, 5.0, 10.0, 20.0), dense, seed)
        description["test_images"] = len(test)
        say(f"unmerged test accuracy over AWGN: {description['accuracy']}")
    write_weights(path, trained.cpu(), description)
    asked = {"label_by": label_by, "exit_layer": exit_layer, "symbols": tuple(rates), "steps": steps, "seed": seed}
    words = in_words({**_named(data, test_data), **asked})
    write_card(path, description, f"atm train codec {target_options} {words}", train)
    say(f"wrote {path}")


def head(
    target: Victim,
    target_options: str,
    data: str,
    test_data: str | None,
    label_by: str | None,
    seed: int,
    path: Path,
    say: Callable[[str], None],
) -> None:
    """Fit a linear head to labelled pictures and write it with its card.

    Raises:
        AtmError: data that cannot be read, of one class, or with test pictures of others.
    """
    train, test = samples_of(target, data, test_data, seed, label_by)
    if train.classes != test.classes:
        raise AtmError(f"{data} and {test_data} have different classes; give a test set of the same ones")
    found = probe.fit(target, train, seed=seed, report=say)
    description = dict(found.description)
    if set(train.hashes) & set(test.hashes):
        say("the test pictures are training pictures too: no test accuracy; give others with --test-data")
    else:
        logits = probe.with_head(target, found).logits(test)
        description["accuracy"] = float((logits.argmax(-1) == test.labels).double().mean())
        description["test_images"] = len(test)
        say(f"test accuracy {description['accuracy']:.1%} on {len(test)} pictures")
    write_weights(path, found.linear.cpu(), description)
    words = in_words({**_named(data, test_data), "label_by": label_by, "seed": seed})
    write_card(path, description, f"atm train head {target_options} {words}", train)
    say(f"wrote {path}")


def with_head(target: Victim, head: str | None, data: str, seed: int, label_by: str | None = None) -> Victim:
    """The victim with a task head: of a file, or fitted to training samples (`audit.target.PROBE`); None keeps it.

    Raises:
        AtmError: a file that holds no head of this victim, or data that cannot be read.
    """
    if head is None:
        return target
    if head == DECODER:
        raise AtmError("--head decoder is for atm attack, compare, sweep and search; give a file, or probe")
    if head != PROBE:
        return probe.with_head_file(target, Path(head))
    signal = target.encoder.signal
    train = source(signal).load(signal, data, "train", limit=PROBED, seed=seed, label_by=label_by)
    return probe.probed(target, train, seed=seed)


def samples_of(
    target: Victim, data: str, test_data: str | None, seed: int, label_by: str | None, most: int = 8000
) -> tuple[Samples, Samples]:
    """Samples to train and to test on, as the victim takes them; of the first at most so many."""
    signal = target.encoder.signal
    load_for = partial(source(signal).load, signal, label_by=label_by)
    return load_for(data, "train", limit=most, seed=seed), load_for(test_data or data, "test", limit=2000, seed=seed)


def write_card(path: Path, description: Mapping[str, Any], command: str, train: Samples) -> None:
    """A model card beside a file: what it is, how it was made, and what may be done with its data."""
    accuracy = description.get("accuracy")
    over_air = accuracy if isinstance(accuracy, dict) else {}
    aside = ("classes", "kind", "accuracy") if over_air else ("classes", "kind")
    rows = "\n".join(f"| {key} | {value} |" for key, value in description.items() if key not in aside)
    text = (
        f"# {path.stem}\n\nA {description['kind']} of this project, as safetensors.\n\n"
        f"Command: `{command}`\n\nSHA-256: `{file_digest(path)}`\n\n| | |\n| --- | --- |\n{rows}\n"
    )
    if over_air:
        lines = [f"| {rate} | {', '.join(f'{v:.1%} at {k}' for k, v in at.items())} |" for rate, at in over_air.items()]
        text += (
            "\nUnmerged test accuracy over AWGN:\n\n| symbols per token | |\n| --- | --- |\n" + "\n".join(lines) + "\n"
        )
    if train.name == "photos":
        text += f"\n{PHOTOGRAPHS}"
    write(path.with_suffix(".md"), text)


def _named(data: str, test_data: str | None) -> dict[str, str | None]:
    """The options that name data, without the folders of this machine."""
    return {"data": without_folders(data), "test_data": without_folders(test_data) if test_data else None}
