"""A victim by name, wherever it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import timm

from atm.encoder import Encoder, first_kernel
from atm.errors import AtmError
from atm.finite import check_finite
from atm.victims import assembled, bert, huggingface, llava, own, probe, spectrograms, timm_models, whisper
from atm.victims.classes import read_classes
from atm.victims.hub import CONFIG, HUB, Repository
from atm.victims.loaded import Loaded, Size, parse_size
from atm.victims.victim import Victim
from atm.weight_files import PICKLES, state_digest

SOUND = dict(zip(huggingface.OF_SOUND, (whisper.load, spectrograms.load), strict=True))


def load_victim(
    name: str,
    weights: str | Path | None = None,
    *,
    image_size: int | str | Size | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    classes: str | Path | None = None,
    head: str | Path | None = None,
) -> Victim:
    """A victim by name.

    Args:
        name: a shipped victim; a ``.safetensors`` file of ``atm train victim``; a timm model; a folder or hub name
            (``owner/name``, ``hf_hub:owner/name``) with ``config.json`` and safetensors of timm or transformers.
        weights: for a timm model, a safetensors file with its state dict; None fetches timm's pretrained weights.
        image_size: height and width, or one side; positions are resampled. None: what the weights were made for.
        mean: per channel, that the model's input is normalised with; None: what the model's configuration says.
        std: per channel, likewise.
        classes: a text file with the names of the logits, one a line; None: those that came with the model.
        head: a file of ``atm train head``, which takes the place of the task head.

    Raises:
        AtmError: nothing by that name, weights of another architecture or with NaN, or a model that cannot be run.
    """
    size = parse_size(image_size)
    settings = {"weights": weights, "image_size": size, "mean": mean, "std": std, "classes": classes}
    if name in own.victims():
        loaded = _own(own.SHIPPED / f"{name}.safetensors", settings)
    elif name.endswith(".safetensors"):
        loaded = _own(Path(name), settings, f"; for a model of timm give its name, and --weights {name}")
        name = Path(name).stem
    elif name.endswith(PICKLES) and not Path(name).is_dir():
        raise AtmError(
            f"victim {name!r} is a pickle: convert it with 'atm convert', and give it as --weights of a model"
        )
    elif timm.is_model(name):
        loaded = timm_models.load(name, weights, size)
    else:
        loaded = _from_repository(name, settings, size)
    victim = _assembled(name, loaded, mean, std, classes)
    return victim if head is None else probe.with_head_file(victim, Path(head))


def _own(path: Path, settings: Mapping[str, object], otherwise: str = "") -> Loaded:
    _refuse(settings, tuple(settings), f"for victim {path.stem!r}: its file says all about it")
    return own.load(path, otherwise)


def _refuse(settings: Mapping[str, object], names: Sequence[str], why: str) -> None:
    for setting in names:
        if settings[setting] is not None:
            raise AtmError(f"--{setting.replace('_', '-')} cannot be given {why}")


def _from_repository(name: str, settings: Mapping[str, object], size: Size | None) -> Loaded:
    folder = Path(name).is_dir() if name else False
    found = HUB.fullmatch(name)
    if not folder and found is None:
        raise timm_models.no_victim(name)
    if settings["weights"] is not None:
        raise AtmError(f"--weights cannot be given for victim {name!r}: it has its own")
    repository = Repository(name if folder or found is None else found[1])
    config = repository.json(CONFIG)
    if "architecture" in config:
        return timm_models.from_repository(repository, config, size)
    if config.get("model_type") in bert.FAMILIES:
        _refuse(settings, ("image_size", "mean", "std"), f"for victim {name!r}: it reads text")
        return bert.load(repository, config)
    if config.get("model_type") == assembled.FAMILY:
        _refuse(settings, ("image_size", "mean", "std"), f"for victim {name!r}: its folder says all about it")
        return assembled.load(repository, config)
    if config.get("model_type") == llava.FAMILY:
        _refuse(settings, ("mean", "std"), f"for victim {name!r}: its folder has them")
        return llava.load(repository, config, size)
    if "model_type" in config:
        return SOUND.get(str(config["model_type"]), huggingface.load)(repository, config, size)
    raise AtmError(f"victim {name!r} has no {CONFIG} of timm or transformers")


def _assembled(
    name: str,
    loaded: Loaded,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    classes: str | Path | None,
) -> Victim:
    for part, tensor in loaded.model.state_dict().items():
        check_finite(f"weights of victim {name!r}: {part}", tensor)
    encoder = (loaded.encoder or _of_pictures(loaded, mean, std)).eval().requires_grad_(False)
    names, task = loaded.classes, loaded.task
    if classes is not None:
        outputs = int(loaded.model.num_classes)
        if not outputs:
            raise AtmError(f"--classes cannot be given for victim {name!r}: it has no logits; give it some with --head")
        names, task = read_classes(classes, outputs), "classification"
    description = {**loaded.description, "input": list(encoder.signal.shape)}
    return Victim(name, encoder, names, loaded.digest or state_digest(loaded.model), description, task)


def _of_pictures(loaded: Loaded, mean: Sequence[float] | None, std: Sequence[float] | None) -> Encoder:
    channels = first_kernel(loaded.model.patch_embed).shape[1]
    own_mean, own_std = (_for_channels(numbers, channels) for numbers in (loaded.mean, loaded.std))
    return Encoder(loaded.model, mean or own_mean, std or own_std, loaded.spectrogram)


def _for_channels(numbers: Sequence[float], channels: int) -> Sequence[float]:
    """The configuration's numbers, or where the model has other channels than those, their average for each."""
    return numbers if len(numbers) in (1, channels) else (sum(numbers) / len(numbers),)
