"""What ``atm list`` shows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import attacks
import defenses
from atm import channels, policy, threat, victims
from atm.errors import unknown
from atm.families import supported_families
from privacy_metrics import METRICS

ASKED_FOR = " (Only when asked for.)"


def listing(what: str) -> list[tuple[str, str]]:
    """Names and one line about each.

    Raises:
        AtmError: nothing is listed under that word.
    """
    if what not in LISTS:
        raise unknown("list", what, LISTS)
    return LISTS[what]()


def _classes(found: Mapping[str, type[Any]]) -> list[tuple[str, str]]:
    return [
        (name, (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")) for name, kind in sorted(found.items())
    ]


def _attacks() -> list[tuple[str, str]]:
    found = attacks.available() | attacks.inferences()
    return [(name, about + ("" if found[name].standard else ASKED_FOR)) for name, about in _classes(found)]


def _victims() -> list[tuple[str, str]]:
    rows = []
    for name in victims.victims():
        about = victims.load_victim(name).description
        rows.append((name, f"{about['data']['name']}, test accuracy {about['accuracy']:.1%}"))
    families = [(f"timm: {f.name}", f"such as {', '.join(f.models)} ({f.note})") for f in supported_families()]
    of_transformers = (
        "of transformers: ViT, DeiT, DINOv2, CLIP, SigLIP; of sound: Whisper's encoder, AST without overlap; of text: "
        "BERT, MiniLM, DistilBERT, RoBERTa; asked about pictures: LLaVA, or written by atm train projector"
    )
    return [*rows, ("FILE.safetensors", "written by atm train victim"), ("FOLDER", of_transformers), *families]


def _data() -> list[tuple[str, str]]:
    return [
        ("photos", "64x64 crops of scikit-image's photographs; needs no download"),
        ("PATH", "a folder or tar of class folders; for a victim that reads text a tsv, csv or txt file of sentences"),
        ("PATH", "for a victim that is asked about pictures, a folder or tar of pictures with files of questions"),
        ("torch/NAME", "torchvision's data sets, as timm names them, such as torch/cifar10"),
        ("hfds/NAME", "data sets of the Hugging Face hub, as timm names them"),
    ]


def _policies() -> list[tuple[str, str]]:
    presets = [(name, f"every threshold at {threshold:g}") for name, threshold in policy.PRESETS.items()]
    return [
        *presets,
        ("uniform-T", "every threshold at T, such as uniform-0.85"),
        ("tome-R", "fixed ratio: R tokens fewer at every layer"),
        ("FILE.yaml", "one threshold per layer, from a file"),
    ]


LISTS: dict[str, Callable[[], list[tuple[str, str]]]] = {
    "attacks": _attacks,
    "defenses": lambda: _classes(defenses.available()),
    "channels": lambda: _classes(channels.CHANNELS),
    "victims": _victims,
    "data": _data,
    "policies": _policies,
    "threats": lambda: [(name, model.describe()) for name, model in threat.PRESETS.items()],
    "metrics": lambda: [(name, metric.label) for name, metric in METRICS.items()],
}
